/* Rows of weights that another program packed: read, unpacked and decoded as many at a time as share scales. */
#include "model/rows.h"

#include "schemes/packing.h"
#include "schemes/scaled.h"

#include <math.h>
#include <string.h>

struct packed {
    struct ht__rows rows;
    const struct ht__checkpoint *ck;
    struct ht__scheme_params params;
    struct ht__matrix matrix;
    int n_parts;
    struct ht__part parts[HT__SCHEME_PARTS];
    const struct ht__tensor *tensors[HT__SCHEME_PARTS];
    int64_t multiple;         /* of rows that are unpacked together */
    const void *const *whole; /* parts that are read already; or NULL. Some may be NULL, too: they are read each time */
};

/* Rows [row, row + n) of part i, or all of it. */
static enum ht_err read_part(const struct packed *p, int i, int64_t row, int64_t n, const void **out,
                             struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct ht__part *part = &p->parts[i];
    const struct ht__tensor *t = p->tensors[i];
    struct ht__part_piece piece = {0, 0, ht__part_bytes(part)};
    bool whole = part->place == HT__PART_WHOLE;
    if (whole && p->whole && p->whole[i]) {
        *out = p->whole[i];
        return HT_OK;
    }
    char *data = ht__arena_raw(scratch, (whole ? piece.n_bytes : ht__part_rows_bytes(part, &p->matrix, row, n)) + 64);
    if (!data) return ht__fail_memory(diag, t->name);
    *out = data;
    if (whole) return ht__tensor_read_raw(p->ck, t, 0, t->n_weights, data, diag);
    for (uint64_t k = 0; ht__part_piece(part, &p->matrix, row, n, k, &piece); k++)
        HT_TRY(ht__tensor_read_bytes(p->ck, t, piece.offset, piece.n_bytes, data + piece.packed, diag));
    return HT_OK;
}

static enum ht_err read_parts(const struct packed *p, int64_t row, int64_t n, const void *data[HT__SCHEME_PARTS],
                              struct ht__arena *scratch, struct ht_diag *diag)
{
    const void *whole[HT__SCHEME_PARTS] = {NULL};
    int wrong = 0;
    for (int i = 0; i < p->n_parts; i++) {
        HT_TRY(read_part(p, i, row, n, &data[i], scratch, diag));
        if (p->parts[i].place == HT__PART_WHOLE) whole[i] = data[i];
    }
    const struct ht__scheme *s = p->params.scheme;
    const char *why = s->complaint && !p->whole ? s->complaint(&p->params, &p->matrix, whole, &wrong) : NULL;
    return why ? ht__fail(diag, HT_ERR_FORMAT, p->tensors[wrong]->name, -1, "%s", why) : HT_OK;
}

/* The part that scales, or zero points, lie in. */
static const struct ht__tensor *part_of(const struct packed *p, bool zeros)
{
    static const char *const words[] = {"scale", "SCB", "absmax", "zero"};
    for (int i = 0; i < p->n_parts; i++)
        for (int k = zeros ? 3 : 0; k < (zeros ? 4 : 3); k++)
            if (strstr(p->parts[i].suffix, words[k])) return p->tensors[i];
    return p->tensors[0];
}

static enum ht_err check_scales(const struct packed *p, const struct ht__codes *c, struct ht_diag *diag)
{
    int64_t n = p->params.scheme->groups(&p->params, &p->matrix, c->n_rows);
    for (int64_t i = 0; i < n; i++) {
        bool scale = isfinite(c->scale[i]);
        if (scale && (!c->zero || isfinite(c->zero[i]))) continue;
        return ht__fail(diag, HT_ERR_NONFINITE, part_of(p, scale)->name, -1,
                        "a %s of rows %lld to %lld is not a finite number", scale ? "zero point" : "scale",
                        (long long)c->row, (long long)(c->row + c->n_rows - 1));
    }
    return HT_OK;
}

static enum ht_err decode(const struct packed *p, const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                          struct ht__arena *scratch, struct ht_diag *diag)
{
    const void *data[HT__SCHEME_PARTS] = {NULL};
    struct ht__codes codes;
    int64_t first = row / p->multiple * p->multiple, end = (row + n + p->multiple - 1) / p->multiple * p->multiple;
    if (end > p->matrix.n_out) end = p->matrix.n_out;
    HT_TRY(read_parts(p, first, end - first, data, scratch, diag));
    bool exact = first == row && end == row + n;
    float *values = exact ? dst : ht__arena_raw(scratch, (size_t)((end - first) * rows->row_len) * sizeof *values);
    if (!values || !ht__codes_new(&codes, &p->params, &p->matrix, first, end - first, scratch))
        return ht__fail_memory(diag, p->tensors[0]->name);
    p->params.scheme->unpack(&p->params, &p->matrix, data, &codes);
    HT_TRY(check_scales(p, &codes, diag));
    p->params.scheme->value(&p->params, &p->matrix, &codes, values);
    if (!exact) memcpy(dst, values + (row - first) * rows->row_len, (size_t)(n * rows->row_len) * sizeof *dst);
    return HT_OK;
}

static enum ht_err read_packed(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                               struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct packed *p = rows->ctx;
    if (ht__rows_overlaid(rows, row, n, 0, rows->row_len, dst)) return HT_OK;
    return ht__packing_in_file(p->ck, p->tensors[0], decode(p, rows, row, n, dst, scratch, diag), diag);
}

static enum ht_err read_packed_raw(const struct ht__rows *rows, int64_t row, int64_t n, void *dst,
                                   struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct packed *p = rows->ctx;
    const void *data[HT__SCHEME_PARTS] = {NULL};
    HT_TRY(ht__packing_in_file(p->ck, p->tensors[0], read_parts(p, row, n, data, scratch, diag), diag));
    ht__scaled_gguf_rows(&p->params, &p->matrix, data, n, dst);
    return HT_OK;
}

static void prefetch_packed(const struct ht__rows *rows)
{
    enum { AHEAD = 8 << 20 };
    const struct packed *p = rows->ctx;
    for (int i = 0; i < p->n_parts; i++) {
        const struct ht__tensor *t = p->tensors[i];
        const struct ht__file *file = &p->ck->files[t->file];
        if (file->backend) ht__file_expect(file, t->offset, t->n_bytes < AHEAD ? t->n_bytes : AHEAD);
    }
}

/* Blocks that a GGUF type holds whole. */
static const struct ht__codec *raw_type(const struct packed *p)
{
    if (p->params.scheme != &ht__scheme_small_float) return NULL;
    const struct ht__codec *type = ht__scaled_gguf(&p->params, &p->matrix);
    return type == &ht__codec_mxfp4 ? type : NULL; /* NVFP4 would lack the global scale */
}

struct ht__rows *ht__rows_packed(struct ht__arena *arena, const struct ht__checkpoint *ck,
                                 const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                                 const struct ht__tensor *const tensors[], const void *const whole[])
{
    enum { STRIPS = 1 << 20, CHUNK = 128 << 10 };
    struct packed *p = ht__arena_new(arena, sizeof *p);
    if (!p) return NULL;
    *p = (struct packed){.ck = ck, .params = *params, .matrix = *matrix, .whole = whole};
    p->n_parts = params->scheme->parts(params, matrix, p->parts);
    for (int i = 0; i < p->n_parts; i++)
        p->tensors[i] = tensors[i];
    p->multiple = ht__scheme_rows(params, matrix);
    p->rows = (struct ht__rows){.n_rows = matrix->n_out,
                                .row_len = matrix->n_in,
                                .read = read_packed,
                                .raw_type = raw_type(p),
                                .together = p->multiple,
                                .prefetch = prefetch_packed,
                                .ctx = p};
    if (p->rows.raw_type) p->rows.read_raw = read_packed_raw;
    for (int i = 0; i < p->n_parts; i++)
        if (p->parts[i].place == HT__PART_COLUMNS) p->rows.chunk_weights = STRIPS;
    for (int i = 0; i < p->n_parts; i++) /* read again for each chunk */
        if (p->parts[i].place == HT__PART_WHOLE && whole && !whole[i]) p->rows.chunk_weights = STRIPS;
    /* memory is planned for the rows that are asked for, which are at least those that are unpacked together */
    int64_t together = (p->multiple < matrix->n_out ? p->multiple : matrix->n_out) * matrix->n_in;
    if (together > CHUNK && together > p->rows.chunk_weights) p->rows.chunk_weights = together;
    return &p->rows;
}
