/*
 * safetensors:
 *   u64 length L of the header | L bytes of JSON | weights
 * Header: {"name": {"dtype": "BF16", "shape": [..], "data_offsets": [begin, end]}, …,
 *          "__metadata__": {"key": "text"}}; offsets count from the end of the header.
 * Sorted by offset the tensors tile the weights: no hole, overlap or byte left over.
 */
#include "base/check.h"
#include "base/json.h"
#include "base/json_write.h"
#include "formats/container.h"
#include "formats/table.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST_HEADER = 100000000 };

struct reader {
    struct ht__checkpoint *ck;
    uint32_t file;
    uint64_t data_start, data_size;
    struct ht__json json;
    struct ht_diag *diag;
};

struct entry {
    struct ht__tensor tensor;
    uint64_t begin, end;
    bool has_dtype, has_shape, has_offsets;
};

/* Names of the format, and of our types. Other readers do not support those that are missing here either. */
static const char *const dtypes[][2] = {
    {"BOOL", "bool"},
    {"U8", "u8"},
    {"I8", "i8"},
    {"F8_E5M2", "f8_e5m2"},
    {"F8_E4M3", "f8_e4m3"},
    {"F8_E8M0", "f8_e8m0"},
    {"F8_E4M3FNUZ", "f8_e4m3fnuz"},
    {"F8_E5M2FNUZ", "f8_e5m2fnuz"},
    {"I16", "i16"},
    {"U16", "u16"},
    {"F16", "f16"},
    {"BF16", "bf16"},
    {"I32", "i32"},
    {"U32", "u32"},
    {"F32", "f32"},
    {"F64", "f64"},
    {"I64", "i64"},
    {"U64", "u64"},
};

static const struct ht__codec *dtype_by_name(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strlen(dtypes[i][0]) == len && memcmp(dtypes[i][0], name, len) == 0) return ht__codec_by_name(dtypes[i][1]);
    return NULL;
}

static enum ht_err fault(struct reader *r, const struct entry *e, const char *message)
{
    return ht__fail(r->diag, HT_ERR_FORMAT, ht__table_where(r->ck, r->file, e->tensor.name), (int64_t)(8 + r->json.pos),
                    "%s", message);
}

static enum ht_err read_dtype(struct reader *r, struct entry *e, const struct ht__json_value *v)
{
    if (v->type != HT__JSON_STRING) return fault(r, e, "\"dtype\" is not a string");
    e->tensor.dtype = dtype_by_name(v->text, v->len);
    e->has_dtype = true;
    if (e->tensor.dtype) return HT_OK;
    return ht__fail(r->diag, HT_ERR_UNSUPPORTED, ht__table_where(r->ck, r->file, e->tensor.name), -1,
                    "dtype \"%.*s\" is not supported", (int)(v->len < 40 ? v->len : 40), v->text);
}

static enum ht_err read_shape(struct reader *r, struct entry *e, const struct ht__json_value *v)
{
    if (v->type != HT__JSON_ARRAY) return fault(r, e, "\"shape\" is not an array");
    struct ht__json_value dim;
    while ((dim = ht__json_next(&r->json)).type == HT__JSON_NUMBER) {
        if (!dim.is_int || dim.integer < 0) return fault(r, e, "a dimension is not a natural number");
        if (e->tensor.n_dims == HT__MAX_DIMS) return fault(r, e, "more than 8 dimensions");
        e->tensor.shape[e->tensor.n_dims++] = dim.integer;
    }
    if (r->json.err) return r->json.err;
    e->has_shape = true;
    return dim.type == HT__JSON_END ? HT_OK : fault(r, e, "a dimension is not a number");
}

static enum ht_err read_offsets(struct reader *r, struct entry *e, const struct ht__json_value *v)
{
    struct ht__json_value begin = {0}, end = {0}, stop = {0};
    if (v->type == HT__JSON_ARRAY) {
        begin = ht__json_next(&r->json);
        end = ht__json_next(&r->json);
        stop = ht__json_next(&r->json);
    }
    if (r->json.err) return r->json.err;
    if (v->type != HT__JSON_ARRAY || !begin.is_int || !end.is_int || stop.type != HT__JSON_END)
        return fault(r, e, "\"data_offsets\" is not a pair of whole numbers");
    if (begin.integer < 0 || end.integer < begin.integer || (uint64_t)end.integer > r->data_size)
        return ht__fail(r->diag, HT_ERR_FORMAT, ht__table_where(r->ck, r->file, e->tensor.name), -1,
                        "bytes %lld to %lld do not lie within the %llu bytes of weights", (long long)begin.integer,
                        (long long)end.integer, (unsigned long long)r->data_size);
    e->begin = (uint64_t)begin.integer;
    e->end = (uint64_t)end.integer;
    e->has_offsets = true;
    return HT_OK;
}

static enum ht_err read_field(struct reader *r, struct entry *e, const char *key, size_t len,
                              const struct ht__json_value *v)
{
    if (len == 5 && memcmp(key, "dtype", 5) == 0 && !e->has_dtype) return read_dtype(r, e, v);
    if (len == 5 && memcmp(key, "shape", 5) == 0 && !e->has_shape) return read_shape(r, e, v);
    if (len == 12 && memcmp(key, "data_offsets", 12) == 0 && !e->has_offsets) return read_offsets(r, e, v);
    return fault(r, e, "an unknown or repeated field");
}

static enum ht_err add_entry(struct reader *r, struct entry *e)
{
    uint64_t bytes;
    if (!e->has_dtype || !e->has_shape || !e->has_offsets)
        return fault(r, e, "dtype, shape or data_offsets is missing");
    if (!ht__extents_ok(e->tensor.shape, e->tensor.n_dims, &e->tensor.n_weights) ||
        !ht__mul_ok(e->tensor.n_weights, e->tensor.dtype->block_size, &bytes))
        return fault(r, e, "the shape's product overflows");
    if (bytes != e->end - e->begin)
        return ht__fail(r->diag, HT_ERR_FORMAT, ht__table_where(r->ck, r->file, e->tensor.name), -1,
                        "shape and dtype make %llu bytes, but data_offsets %llu", (unsigned long long)bytes,
                        (unsigned long long)(e->end - e->begin));
    e->tensor.file = r->file;
    e->tensor.n_bytes = bytes;
    e->tensor.offset = r->data_start + e->begin;
    return ht__table_add(r->ck, &e->tensor, r->diag);
}

static enum ht_err read_metadata(struct reader *r, const struct ht__json_value *v)
{
    const char *key;
    size_t len;
    struct ht__json_value text;
    if (v->type != HT__JSON_OBJECT) return ht__json_fail(&r->json, "__metadata__ is not an object");
    while (ht__json_member(&r->json, &key, &len, &text))
        if (text.type != HT__JSON_STRING)
            return ht__json_fail(&r->json, "__metadata__ holds something other than strings");
    return r->json.err;
}

static enum ht_err read_tensor(struct reader *r, const char *name, size_t len, const struct ht__json_value *v)
{
    struct entry e = {.tensor = {.n_weights = 1}};
    struct ht__json_value field;
    if (len == 0 || len > HT__MAX_NAME || memchr(name, '\0', len))
        return ht__json_fail(&r->json, "a tensor's name is empty, too long or holds a NUL");
    if (!(e.tensor.name = ht__arena_copy(&r->ck->arena, name, len))) return ht__fail_memory(r->diag, r->json.where);
    if (v->type != HT__JSON_OBJECT) return fault(r, &e, "not an object");
    ht__map_expect(&r->ck->by_name, name, len); /* it arrives while the fields are read */
    const char *key;
    while (ht__json_member(&r->json, &key, &len, &field))
        HT_TRY(read_field(r, &e, key, len, &field));
    if (r->json.err) return r->json.err;
    return add_entry(r, &e);
}

static enum ht_err read_header(struct reader *r)
{
    struct ht__json_value v = ht__json_next(&r->json);
    if (r->json.err) return r->json.err;
    if (v.type != HT__JSON_OBJECT) return ht__json_fail(&r->json, "the header is not an object");
    const char *name;
    size_t len;
    bool metadata = false;
    while (ht__json_member(&r->json, &name, &len, &v)) {
        if (len == 12 && memcmp(name, "__metadata__", 12) == 0) {
            if (metadata) return ht__json_fail(&r->json, "__metadata__ is given twice");
            metadata = true;
            HT_TRY(read_metadata(r, &v));
        } else {
            HT_TRY(read_tensor(r, name, len, &v));
        }
    }
    if (r->json.err) return r->json.err;
    ht__json_next(&r->json); /* nothing but blanks may follow */
    return r->json.err;
}

static int by_offset(const void *a, const void *b)
{
    const struct ht__tensor *x = *(const struct ht__tensor *const *)a;
    const struct ht__tensor *y = *(const struct ht__tensor *const *)b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes); /* empty ones first */
}

static enum ht_err check_tiling(struct reader *r, uint32_t first)
{
    struct ht__checkpoint *ck = r->ck;
    uint32_t n = ck->n_tensors - first;
    const struct ht__tensor **sorted = ht__new_array(ck->arena.alloc, n, sizeof *sorted);
    if (!sorted) return ht__fail_memory(r->diag, r->json.where);
    bool in_order = true; /* as in most files */
    for (uint32_t i = 0; i < n; i++) {
        sorted[i] = &ck->tensors[first + i];
        in_order = in_order && (i == 0 || by_offset(&sorted[i - 1], &sorted[i]) <= 0);
    }
    if (!in_order) qsort(sorted, n, sizeof *sorted, by_offset);
    uint64_t at = r->data_start;
    enum ht_err err = HT_OK;
    for (uint32_t i = 0; i < n && err == HT_OK; i++) {
        if (sorted[i]->offset != at)
            err = ht__fail(r->diag, HT_ERR_FORMAT, ht__table_where(ck, r->file, sorted[i]->name),
                           (int64_t)sorted[i]->offset, "its bytes %s",
                           sorted[i]->offset < at ? "overlap another tensor's"
                                                  : "begin after a hole that belongs to no tensor");
        at = sorted[i]->offset + sorted[i]->n_bytes;
    }
    if (err == HT_OK && at != r->data_start + r->data_size)
        err = ht__fail(r->diag, HT_ERR_FORMAT, r->json.where, (int64_t)at,
                       "%llu bytes after the last tensor belong to none",
                       (unsigned long long)(r->data_start + r->data_size - at));
    ht__free(ck->arena.alloc, sorted);
    return err;
}

static enum ht_err read_file(struct reader *r, struct ht__buf *header)
{
    const struct ht__file *file = &r->ck->files[r->file];
    uint64_t len;
    HT_TRY(ht__file_read(file, 0, &len, sizeof len, r->diag));
    if (len > LARGEST_HEADER)
        return ht__fail(r->diag, HT_ERR_FORMAT, file->path, 0, "a header of %llu bytes; at most %d are allowed",
                        (unsigned long long)len, LARGEST_HEADER);
    if (!ht__range_ok(8, len, file->size))
        return ht__fail(r->diag, HT_ERR_FORMAT, file->path, 0,
                        "the header's %llu bytes go past the end of the file: it is truncated",
                        (unsigned long long)len);
    char *text = ht__buf_grow(header, (size_t)len);
    if (!text && len) return ht__fail_memory(r->diag, file->path);
    HT_TRY(ht__file_read(file, 8, text, len, r->diag));
    if (len < 2 || text[0] != '{')
        return ht__fail(r->diag, HT_ERR_FORMAT, file->path, 8, "the header does not begin with '{'");
    r->data_start = 8 + len;
    r->data_size = file->size - r->data_start;
    uint32_t first = r->ck->n_tensors;
    ht__json_init(&r->json, text, (size_t)len, file->path, r->ck->arena.alloc, r->diag);
    enum ht_err err = read_header(r);
    if (err == HT_OK) err = check_tiling(r, first);
    ht__json_close(&r->json);
    return err;
}

enum ht_err ht__safetensors_open(struct ht__checkpoint *checkpoint, uint32_t file, struct ht_diag *diag)
{
    struct reader r = {.ck = checkpoint, .file = file, .diag = diag};
    struct ht__buf header;
    ht__buf_init(&header, checkpoint->arena.alloc);
    enum ht_err err = read_file(&r, &header);
    ht__buf_close(&header);
    return err;
}

/* ---- writing ---- */

static const char *name_of(const struct ht__codec *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i][1], dtype->name) == 0) return dtypes[i][0];
    return NULL;
}

/* Dtypes of large elements first: then all lie at multiples of their size. */
static int by_size_and_name(const void *a, const void *b)
{
    const struct ht__extent *const *x = a, *const *y = b;
    uint32_t s = (*x)->type->block_size, t = (*y)->type->block_size;
    return s != t ? (s < t) - (s > t) : strcmp((*x)->name, (*y)->name);
}

static enum ht_err place(struct ht__layout *layout, struct ht__extent **sorted, uint64_t *data, struct ht_diag *diag)
{
    for (size_t i = 0; i < layout->n; i++) {
        struct ht__extent *e = sorted[i] = &layout->extents[i];
        if (!name_of(e->type))
            return ht__fail(diag, HT_ERR_UNSUPPORTED, e->name, -1, "safetensors has no dtype for %s", e->type->label);
        HT_TRY(ht__extent_size(e, diag));
    }
    qsort(sorted, layout->n, sizeof *sorted, by_size_and_name);
    *data = 0;
    for (size_t i = 0; i < layout->n; i++) {
        sorted[i]->offset = *data;
        if (!ht__add_ok(*data, sorted[i]->n_bytes, data) || *data > INT64_MAX / 2)
            return ht__fail(diag, HT_ERR_LIMIT, sorted[i]->name, -1, "the file would be too large");
    }
    return HT_OK;
}

static void write_header(struct ht__jw *w, struct ht__extent *const *sorted, size_t n)
{
    ht__jw_object(w, NULL);
    ht__jw_object(w, "__metadata__");
    ht__jw_str(w, "format", "pt"); /* transformers asks for it */
    ht__jw_end(w);
    for (size_t i = 0; i < n; i++) {
        const struct ht__extent *e = sorted[i];
        ht__jw_object(w, e->name);
        ht__jw_str(w, "dtype", name_of(e->type));
        ht__jw_array(w, "shape");
        for (int d = 0; d < e->n_dims; d++)
            ht__jw_int(w, NULL, e->shape[d]);
        ht__jw_end(w);
        ht__jw_array(w, "data_offsets");
        ht__jw_uint(w, NULL, e->offset);
        ht__jw_uint(w, NULL, e->offset + e->n_bytes);
        ht__jw_end(w);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}

/* The header's text is padded with blanks, so that the weights begin at a multiple of 8. */
static enum ht_err lay_out(struct ht__layout *layout, struct ht_diag *diag)
{
    struct ht__buf *head = layout->head;
    size_t start = head->len;
    uint64_t data = 0;
    struct ht__extent **sorted = ht__new_array(head->alloc, layout->n ? layout->n : 1, sizeof *sorted);
    if (!sorted) return ht__fail_memory(diag, "safetensors header");
    ht__buf_u64(head, 0);
    enum ht_err err = place(layout, sorted, &data, diag);
    if (err == HT_OK) {
        struct ht__jw w = ht__jw_line(head);
        write_header(&w, sorted, layout->n);
        if (!ht__jw_done(&w)) err = ht__fail_memory(diag, "safetensors header");
    }
    ht__free(head->alloc, sorted);
    if (err != HT_OK) return err;
    while (!head->failed && (head->len - start) % 8)
        ht__buf_str(head, " ");
    uint64_t length = head->len - start - 8;
    if (length > LARGEST_HEADER)
        return ht__fail(diag, HT_ERR_LIMIT, "safetensors header", -1, "%zu tensors need a header of more than %d bytes",
                        layout->n, LARGEST_HEADER);
    if (head->failed) return ht__fail_memory(diag, "safetensors header");
    memcpy(head->data + start, &length, sizeof length);
    for (size_t i = 0; i < layout->n; i++)
        layout->extents[i].offset += head->len - start;
    layout->size = head->len - start + data;
    return HT_OK;
}

/* It begins with the length of its header and then '{'. */
static bool probe(const unsigned char *head, uint64_t n)
{
    return n >= 9 && head[8] == '{';
}

const struct ht__container ht__container_safetensors = {
    .name = "safetensors",
    .title = "Hugging Face folder",
    .about = "Safetensors files with their configuration, which transformers, vLLM and others load",
    .suffix = ".safetensors",
    .dialect = HT__DIALECT_NATIVE,
    .stem = "model",
    .probe = probe,
    .open = ht__safetensors_open,
    .open_alone = ht__safetensors_open,
    .sorted = true,
    .lay_out = lay_out,
};
