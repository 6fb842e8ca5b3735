/*
 * A PyTorch archive: ZIP of data.pkl, data/<key> (one record a storage), byteorder.
 * The pickle says {name: _rebuild_tensor_v2(storage, first, shape, strides, …)}; several tensors
 * may share a storage.
 */
#include "base/check.h"
#include "formats/pickle.h"
#include "formats/table.h"
#include "formats/zip.h"

#include <string.h>

enum { LARGEST_PICKLE = 256 << 20 };

struct reader {
    struct ht__checkpoint *ck;
    uint32_t file;
    struct ht__arena tree; /* gone when the tensors are listed */
    struct ht__zip zip;
    bool big_endian;
    struct ht_diag *diag;
};

static enum ht_err fault(struct reader *r, const char *name, const char *what)
{
    return ht__fail(r->diag, HT_ERR_FORMAT, ht__table_where(r->ck, r->file, name), -1, "%s", what);
}

static const struct ht__codec *dtype_of(const char *global)
{
    static const char *const names[][2] = {
        {"FloatStorage", "f32"},
        {"DoubleStorage", "f64"},
        {"HalfStorage", "f16"},
        {"BFloat16Storage", "bf16"},
        {"LongStorage", "i64"},
        {"IntStorage", "i32"},
        {"ShortStorage", "i16"},
        {"CharStorage", "i8"},
        {"ByteStorage", "u8"},
        {"BoolStorage", "bool"},
        {"float8_e4m3fn", "f8_e4m3"},
        {"float8_e5m2", "f8_e5m2"},
        {"float8_e4m3fnuz", "f8_e4m3fnuz"},
        {"float8_e5m2fnuz", "f8_e5m2fnuz"},
        {"float8_e8m0fnu", "f8_e8m0"},
        {"uint16", "u16"},
        {"uint32", "u32"},
        {"uint64", "u64"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(global, "torch ", 6) == 0 && strcmp(global + 6, names[i][0]) == 0)
            return ht__codec_by_name(names[i][1]);
    return NULL;
}

/* Argument i of a list when it has this type, or NULL. */
static const struct ht__pickle *arg(const struct ht__pickle *list, size_t i,
                                    enum ht__pickle_type type)
{
    return list && i < list->n && list->items[i]->type == type ? list->items[i] : NULL;
}

static bool read_layout(struct ht__tensor *t, const struct ht__pickle *shape,
                        const struct ht__pickle *steps, int64_t *strides)
{
    if (!shape || !steps || shape->n != steps->n || shape->n > HT__MAX_DIMS) return false;
    t->n_dims = (int)shape->n;
    for (size_t i = 0; i < shape->n; i++) {
        if (!arg(shape, i, HT__PICKLE_INT) || !arg(steps, i, HT__PICKLE_INT)) return false;
        t->shape[i] = shape->items[i]->integer;
        strides[i] = steps->items[i]->integer;
        if (t->shape[i] < 0 || strides[i] < 0) return false;
    }
    return ht__extents_ok(t->shape, t->n_dims, &t->n_weights);
}

/* Elements from the first to the last that is reached; false on overflow. */
static bool reach(const struct ht__tensor *t, const int64_t *strides, uint64_t *span, bool *plain)
{
    uint64_t step = 1, far;
    *plain = true;
    *span = t->n_weights != 0;
    for (int d = t->n_dims - 1; d >= 0 && t->n_weights; d--) {
        uint64_t extent = (uint64_t)t->shape[d];
        if (extent > 1 && (uint64_t)strides[d] != step) *plain = false;
        if (!ht__mul_ok(extent - 1, (uint64_t)strides[d], &far) || !ht__add_ok(*span, far, span))
            return false;
        step *= extent;
    }
    return true;
}

static enum ht_err place(struct reader *r, struct ht__tensor *t, const char *key, int64_t first,
                         const int64_t *strides)
{
    char path[256];
    bool plain;
    uint64_t span, start;
    size_t size = t->dtype->block_size;
    if (strlen(key) > 200) return fault(r, t->name, "its storage has a name too long");
    memcpy(path, "data/", 5);
    memcpy(path + 5, key, strlen(key) + 1);
    const struct ht__zip_record *rec = ht__zip_find(&r->zip, path);
    if (!rec) return fault(r, t->name, "its storage is not in the archive");
    if (first < 0 || !reach(t, strides, &span, &plain) ||
        !ht__mul_ok((uint64_t)first, size, &start) || !ht__mul_ok(span, size, &t->n_bytes) ||
        !ht__range_ok(start, t->n_bytes, rec->size))
        return fault(r, t->name, "it reaches past the end of its storage");
    if (t->n_weights > rec->size / size)
        return fault(r, t->name, "it has more weights than its storage");
    t->offset = rec->offset + start;
    if (plain) return HT_OK;
    int64_t *kept = ht__arena_array(&r->ck->arena, HT__MAX_DIMS, sizeof *kept);
    if (!kept) return ht__fail_memory(r->diag, t->name);
    memcpy(kept, strides, HT__MAX_DIMS * sizeof *kept);
    t->strides = kept;
    return HT_OK;
}

static const struct ht__pickle *tensor_args(const struct ht__pickle *v)
{
    for (int depth = 0; depth < 4 && v && v->type == HT__PICKLE_CALL; depth++) {
        const struct ht__pickle *args = arg(v, 0, HT__PICKLE_TUPLE);
        if (!args) return NULL;
        if (strncmp(v->text, "torch._utils _rebuild_tensor", 28) == 0) return args;
        if (strcmp(v->text, "torch._utils _rebuild_parameter") != 0) return NULL;
        v = arg(args, 0, HT__PICKLE_CALL);
    }
    return NULL;
}

static enum ht_err add_tensor(struct reader *r, const struct ht__pickle *key,
                              const struct ht__pickle *args)
{
    struct ht__tensor t = {.file = r->file, .big_endian = r->big_endian};
    int64_t strides[HT__MAX_DIMS] = {0};
    if (!key->len || key->len > HT__MAX_NAME || memchr(key->text, 0, key->len))
        return fault(r, NULL, "a tensor's name is empty, too long or holds a NUL");
    if (!(t.name = ht__arena_copy(&r->ck->arena, key->text, key->len)))
        return ht__fail_memory(r->diag, key->text);
    const struct ht__pickle *id = arg(args, 0, HT__PICKLE_PERSID);
    id = id ? arg(id, 0, HT__PICKLE_TUPLE) : NULL;
    const struct ht__pickle *type = arg(id, 1, HT__PICKLE_GLOBAL);
    const struct ht__pickle *storage = arg(id, 2, HT__PICKLE_STRING);
    const struct ht__pickle *first = arg(args, 1, HT__PICKLE_INT);
    if (!type || !storage || !first ||
        !read_layout(&t, arg(args, 2, HT__PICKLE_TUPLE), arg(args, 3, HT__PICKLE_TUPLE), strides))
        return fault(r, t.name, "its storage, shape or strides are malformed");
    const struct ht__pickle *later = arg(args, 6, HT__PICKLE_GLOBAL);
    t.dtype = dtype_of(later ? later->text : type->text);
    if (!t.dtype)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, ht__table_where(r->ck, r->file, t.name), -1,
                        "dtype \"%.60s\" is not supported", later ? later->text : type->text);
    HT_TRY(place(r, &t, storage->text, first->integer, strides));
    return ht__table_add(r->ck, &t, r->diag);
}

/* Trainers put the weights one folder deeper. */
static const struct ht__pickle *weights_of(const struct ht__pickle *root)
{
    static const char *const names[] = {"state_dict", "model", "module"};
    for (int depth = 0; depth < 4; depth++) {
        const struct ht__pickle *inner = NULL;
        for (size_t i = 0; i + 1 < root->n && !inner; i += 2)
            for (size_t k = 0; k < 3 && !inner; k++)
                if (root->items[i]->type == HT__PICKLE_STRING &&
                    strcmp(root->items[i]->text, names[k]) == 0)
                    inner = arg(root, i + 1, HT__PICKLE_DICT);
        if (!inner) break;
        root = inner;
    }
    return root;
}

static enum ht_err read_archive(struct reader *r)
{
    const struct ht__file *f = &r->ck->files[r->file];
    HT_TRY(ht__zip_open(&r->zip, f, &r->tree, r->diag));
    const struct ht__zip_record *pkl = ht__zip_find(&r->zip, "data.pkl");
    const struct ht__zip_record *order = ht__zip_find(&r->zip, "byteorder");
    if (!pkl || ht__zip_find(&r->zip, "constants.pkl"))
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, f->path, -1,
                        "a ZIP file, but not of weights alone (no data.pkl, or TorchScript)");
    if (pkl->size > LARGEST_PICKLE) return fault(r, "data.pkl", "more than 256 MiB");
    char byte = 'l';
    if (order && order->size) HT_TRY(ht__file_read(f, order->offset, &byte, 1, r->diag));
    r->big_endian = byte == 'b';
    void *bytes = ht__arena_raw(&r->tree, pkl->size + 1);
    struct ht__pickle *root;
    if (!bytes) return ht__fail_memory(r->diag, f->path);
    HT_TRY(ht__file_read(f, pkl->offset, bytes, pkl->size, r->diag));
    HT_TRY(ht__pickle_read(&r->tree, bytes, pkl->size, f->path, &root, r->diag));
    if (root->type != HT__PICKLE_DICT) return fault(r, "data.pkl", "it holds no dictionary");
    const struct ht__pickle *weights = weights_of(root);
    uint32_t before = r->ck->n_tensors;
    for (size_t i = 0; i + 1 < weights->n; i += 2) {
        const struct ht__pickle *args = tensor_args(weights->items[i + 1]);
        if (args && weights->items[i]->type == HT__PICKLE_STRING)
            HT_TRY(add_tensor(r, weights->items[i], args));
    }
    return r->ck->n_tensors > before ? HT_OK : fault(r, "data.pkl", "it holds no tensors");
}

enum ht_err ht__pytorch_open(struct ht__checkpoint *checkpoint, uint32_t file, struct ht_diag *diag)
{
    struct reader r = {.ck = checkpoint, .file = file, .diag = diag};
    ht__arena_init(&r.tree, checkpoint->arena.alloc);
    ht__map_init(&r.zip.by_name, checkpoint->arena.alloc);
    enum ht_err err = read_archive(&r);
    ht__map_close(&r.zip.by_name);
    ht__arena_close(&r.tree);
    return err;
}
