/*
 * PyTorch zip checkpoints: <root>/data.pkl describes tensors as views of storages, <root>/data/<key> holds a
 * storage's bytes. Offsets, sizes and strides count elements.
 */
#include "base/check.h"
#include "formats/pickle.h"
#include "formats/container.h"
#include "formats/pytorch_parts.h"
#include "formats/table.h"
#include "formats/zip.h"

#include <stdio.h>
#include <string.h>

enum { LARGEST_PICKLE = 256 << 20, MAX_NESTING = 8 };

typedef struct ht__pickle_value value;

struct reader {
    struct ht__checkpoint *ck;
    uint32_t file;
    struct ht__zip zip;
    bool big_endian;
    struct ht_diag *diag;
};

static const struct {
    const char *global, *dtype;
} dtypes[] = {
    {"torch FloatStorage", "f32"},
    {"torch DoubleStorage", "f64"},
    {"torch HalfStorage", "f16"},
    {"torch BFloat16Storage", "bf16"},
    {"torch LongStorage", "i64"},
    {"torch IntStorage", "i32"},
    {"torch ShortStorage", "i16"},
    {"torch CharStorage", "i8"},
    {"torch ByteStorage", "u8"},
    {"torch BoolStorage", "bool"},
    {"torch float32", "f32"},
    {"torch float64", "f64"},
    {"torch float16", "f16"},
    {"torch bfloat16", "bf16"},
    {"torch int64", "i64"},
    {"torch int32", "i32"},
    {"torch int16", "i16"},
    {"torch int8", "i8"},
    {"torch uint8", "u8"},
    {"torch uint16", "u16"},
    {"torch uint32", "u32"},
    {"torch uint64", "u64"},
    {"torch bool", "bool"},
    {"torch float8_e4m3fn", "f8_e4m3"},
    {"torch float8_e5m2", "f8_e5m2"},
    {"torch float8_e4m3fnuz", "f8_e4m3fnuz"},
    {"torch float8_e5m2fnuz", "f8_e5m2fnuz"},
    {"torch float8_e8m0fnu", "f8_e8m0"},
};

static const struct ht__codec *dtype_of(const value *global)
{
    for (size_t i = 0; global->type == HT__PICKLE_GLOBAL && i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(global->text, dtypes[i].global) == 0) return ht__codec_by_name(dtypes[i].dtype);
    return NULL;
}

const char *ht__pytorch_global(const struct ht__codec *dtype, bool storage)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].dtype, dtype->name) == 0 && (strstr(dtypes[i].global, "Storage") != NULL) == storage)
            return dtypes[i].global;
    return NULL;
}

static enum ht_err fault(struct reader *r, const char *name, const char *message)
{
    return ht__fail(r->diag, HT_ERR_FORMAT, ht__table_where(r->ck, r->file, name), -1, "%s", message);
}

static bool is_call(const value *v, const char *name)
{
    return v->type == HT__PICKLE_CALL && strcmp(v->items[0]->text, name) == 0 && v->items[1]->type == HT__PICKLE_LIST;
}

/* A tuple of natural numbers. */
static int read_numbers(const value *list, int64_t *out)
{
    if (list->type != HT__PICKLE_LIST || list->n > HT__MAX_DIMS) return -1;
    for (size_t i = 0; i < list->n; i++) {
        if (list->items[i]->type != HT__PICKLE_INT || list->items[i]->integer < 0) return -1;
        out[i] = list->items[i]->integer;
    }
    return (int)list->n;
}

/* ('storage', class, key, location, numel), where the record must hold exactly numel elements. */
static enum ht_err read_storage(struct reader *r, const char *name, const value *persid, const struct ht__codec *dtype,
                                const struct ht__codec **found, const struct ht__zip_entry **record)
{
    const value *id = persid->type == HT__PICKLE_PERSID ? persid->items[0] : NULL;
    if (!id || id->type != HT__PICKLE_LIST || id->n < 5 || id->items[2]->type != HT__PICKLE_STR ||
        id->items[4]->type != HT__PICKLE_INT || id->items[4]->integer < 0 || id->items[1]->type != HT__PICKLE_GLOBAL)
        return fault(r, name, "its storage is not described in PyTorch's form");
    const struct ht__codec *own = dtype_of(id->items[1]);
    uint64_t unit = own ? own->block_size : 1, bytes;
    *found = dtype ? dtype : own;
    if (!*found)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, ht__table_where(r->ck, r->file, name), -1,
                        "storage \"%.60s\" is not supported", id->items[1]->text);
    char path[256];
    if (id->items[2]->n > 200) return fault(r, name, "its storage's key is too long");
    snprintf(path, sizeof path, "data/%s", id->items[2]->text);
    *record = ht__zip_find(&r->zip, path);
    if (!*record)
        return ht__fail(r->diag, HT_ERR_FORMAT, ht__table_where(r->ck, r->file, name), -1, "the archive lacks %.100s",
                        path);
    if (!ht__mul_ok((uint64_t)id->items[4]->integer, unit, &bytes) || bytes != (*record)->size)
        return fault(r, name, "its storage's size is not that of its record");
    return HT_OK;
}

/* The last element that the view reaches, counted from its first. */
static bool reach(const struct ht__tensor *t, const int64_t *strides, uint64_t *last)
{
    *last = 0;
    for (int i = 0; i < t->n_dims; i++) {
        uint64_t far;
        if (t->shape[i] == 0) return true; /* empty: reaches nothing */
        if (!ht__mul_ok((uint64_t)(t->shape[i] - 1), (uint64_t)strides[i], &far) || !ht__add_ok(*last, far, last))
            return false;
    }
    return true;
}

static bool is_contiguous(const struct ht__tensor *t, const int64_t *strides)
{
    int64_t expected = 1;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && strides[i] != expected) return false;
        expected *= t->shape[i];
    }
    return true;
}

static enum ht_err place(struct reader *r, struct ht__tensor *t, const int64_t *strides, int64_t offset,
                         const struct ht__zip_entry *record)
{
    uint64_t last, start, bytes, size = t->dtype->block_size;
    if (!ht__extents_ok(t->shape, t->n_dims, &t->n_weights) || !reach(t, strides, &last))
        return fault(r, t->name, "its shape overflows");
    if (!ht__mul_ok((uint64_t)offset, size, &start) || !ht__mul_ok(last + 1, size, &bytes))
        return fault(r, t->name, "its offset overflows");
    if (t->n_weights == 0) start = bytes = 0;
    if (!ht__range_ok(start, bytes, record->size)) return fault(r, t->name, "it reaches past its storage");
    t->offset = record->offset + start;
    t->n_bytes = bytes;
    if (is_contiguous(t, strides)) {
        t->n_bytes = t->n_weights * size;
        return HT_OK;
    }
    int64_t *own = ht__arena_array(&r->ck->arena, (size_t)t->n_dims, sizeof *own);
    if (!own) return ht__fail_memory(r->diag, t->name);
    memcpy(own, strides, (size_t)t->n_dims * sizeof *own);
    t->strides = own;
    return HT_OK;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, …); v3 has the dtype as its seventh argument. */
static enum ht_err add_tensor(struct reader *r, const char *name, const value *call)
{
    const value *a = call->items[1];
    bool v3 = strcmp(call->items[0]->text, "torch._utils _rebuild_tensor_v3") == 0;
    struct ht__tensor t = {.file = r->file, .big_endian = r->big_endian};
    int64_t strides[HT__MAX_DIMS];
    const struct ht__zip_entry *record = NULL;
    if (a->n < 4 || (v3 && a->n < 7) || a->items[1]->type != HT__PICKLE_INT || a->items[1]->integer < 0)
        return fault(r, name, "it is not described in PyTorch's form");
    const struct ht__codec *dtype = v3 ? dtype_of(a->items[6]) : NULL;
    if (v3 && !dtype) return fault(r, name, "its dtype is not supported");
    if (!(t.name = ht__arena_str(&r->ck->arena, name))) return ht__fail_memory(r->diag, name);
    HT_TRY(read_storage(r, name, a->items[0], dtype, &t.dtype, &record));
    t.n_dims = read_numbers(a->items[2], t.shape);
    if (t.n_dims < 0 || read_numbers(a->items[3], strides) != t.n_dims)
        return fault(r, name, "its size and stride are not tuples of natural numbers of one length");
    HT_TRY(place(r, &t, strides, a->items[1]->integer, record));
    return ht__table_add(r->ck, &t, r->diag);
}

static const value *as_tensor(const value *v)
{
    static const char *const rebuilds[] = {"torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2",
                                           "torch._utils _rebuild_tensor_v3"};
    if ((is_call(v, "torch._utils _rebuild_parameter") || is_call(v, "torch._utils _rebuild_parameter_with_state")) &&
        v->items[1]->n > 0)
        v = v->items[1]->items[0];
    for (size_t i = 0; i < sizeof rebuilds / sizeof rebuilds[0]; i++)
        if (is_call(v, rebuilds[i])) return v;
    return NULL;
}

static const value *member(const value *dict, const char *key)
{
    for (size_t i = 0; i + 1 < dict->n; i += 2)
        if (dict->items[i]->type == HT__PICKLE_STR && strcmp(dict->items[i]->text, key) == 0) return dict->items[i + 1];
    return NULL;
}

/* Checkpoints of trainers nest the weights. */
static const value *state_dict(const value *v)
{
    static const char *const wrappers[] = {"state_dict", "model", "module", "model_state_dict"};
    for (int depth = 0; depth < MAX_NESTING && v->type == HT__PICKLE_DICT; depth++) {
        const value *inner = NULL;
        for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0] && !inner; i++) {
            inner = member(v, wrappers[i]);
            if (inner && inner->type != HT__PICKLE_DICT) inner = NULL;
        }
        if (!inner) break;
        v = inner;
    }
    return v;
}

/* Anything but tensors (counters, configurations) is skipped. */
static enum ht_err add_all(struct reader *r, const value *dict)
{
    const char *path = r->ck->files[r->file].path;
    uint32_t before = r->ck->n_tensors;
    if (dict->type != HT__PICKLE_DICT)
        return ht__fail(r->diag, HT_ERR_FORMAT, path, -1, "it holds no dictionary of tensors");
    for (size_t i = 0; i + 1 < dict->n; i += 2) {
        const value *key = dict->items[i], *tensor = as_tensor(dict->items[i + 1]);
        if (!tensor) continue;
        if (key->type != HT__PICKLE_STR || key->n == 0 || key->n > HT__MAX_NAME || strlen(key->text) != key->n)
            return ht__fail(r->diag, HT_ERR_FORMAT, path, -1,
                            "a tensor's name is not text, is too long or holds a NUL");
        HT_TRY(add_tensor(r, key->text, tensor));
    }
    if (r->ck->n_tensors == before) return ht__fail(r->diag, HT_ERR_FORMAT, path, -1, "it holds no tensors");
    return HT_OK;
}

static enum ht_err read_record(struct reader *r, const struct ht__zip_entry *e, uint64_t limit, struct ht__buf *out)
{
    const struct ht__file *file = &r->ck->files[r->file];
    if (e->size > limit)
        return ht__fail(r->diag, HT_ERR_LIMIT, file->path, (int64_t)e->offset, "%s of %llu bytes", e->name,
                        (unsigned long long)e->size);
    void *bytes = ht__buf_grow(out, (size_t)e->size);
    if (!bytes && e->size) return ht__fail_memory(r->diag, file->path);
    return ht__file_read(file, e->offset, bytes, e->size, r->diag);
}

static enum ht_err read_byte_order(struct reader *r)
{
    const struct ht__zip_entry *e = ht__zip_find(&r->zip, "byteorder");
    if (!e) return HT_OK;
    struct ht__buf text;
    ht__buf_init(&text, r->ck->arena.alloc);
    enum ht_err err = read_record(r, e, 64, &text);
    if (err == HT_OK) r->big_endian = strncmp(ht__buf_text(&text), "big", 3) == 0;
    ht__buf_close(&text);
    return err;
}

static enum ht_err read_archive(struct reader *r)
{
    const char *path = r->ck->files[r->file].path;
    HT_TRY(ht__zip_open(&r->zip, &r->ck->files[r->file], &r->ck->arena, r->diag));
    if (ht__zip_find(&r->zip, "constants.pkl"))
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, path, -1, "a TorchScript program, not a checkpoint of weights");
    const struct ht__zip_entry *pickle = ht__zip_find(&r->zip, "data.pkl");
    if (!pickle) return ht__fail(r->diag, HT_ERR_FORMAT, path, -1, "a ZIP archive without data.pkl");
    HT_TRY(read_byte_order(r));
    struct ht__buf text;
    struct ht__arena tree;
    value *root = NULL;
    ht__buf_init(&text, r->ck->arena.alloc);
    ht__arena_init(&tree, r->ck->arena.alloc);
    enum ht_err err = read_record(r, pickle, LARGEST_PICKLE, &text);
    if (err == HT_OK) err = ht__pickle_read(text.data, text.len, path, &tree, &root, r->diag);
    if (err == HT_OK) err = add_all(r, state_dict(root));
    ht__arena_close(&tree);
    ht__buf_close(&text);
    return err;
}

enum ht_err ht__pytorch_open(struct ht__checkpoint *checkpoint, uint32_t file, struct ht_diag *diag)
{
    struct reader r = {.ck = checkpoint, .file = file, .diag = diag};
    ht__map_init(&r.zip.by_name, checkpoint->arena.alloc);
    enum ht_err err = read_archive(&r);
    ht__map_close(&r.zip.by_name);
    return err;
}

/* A zip file. */
static bool probe(const unsigned char *head, uint64_t n)
{
    return n >= 4 && memcmp(head, "PK\3\4", 4) == 0;
}

const struct ht__container ht__container_pytorch = {
    .name = "pytorch",
    .title = "PyTorch folder",
    .about = "PyTorch files (.bin) with their configuration, which transformers and older programs load",
    .suffix = ".bin",
    .dialect = HT__DIALECT_NATIVE,
    .stem = "pytorch_model",
    .probe = probe,
    .open = ht__pytorch_open,
    .open_alone = ht__pytorch_open,
    .shares = true,
    .lay_out = ht__pytorch_lay_out,
    .seal = ht__pytorch_seal,
};
