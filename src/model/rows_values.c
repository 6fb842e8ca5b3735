/* A row source that changes values. */
#include "model/rows.h"

struct affine {
    struct ht__rows rows;
    const struct ht__rows *of;
    float scale, offset;
};

static enum ht_err read_affine(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                               struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct affine *a = rows->ctx;
    HT_TRY(a->of->read(a->of, row, n, dst, scratch, diag));
    for (int64_t i = 0; i < n * rows->row_len; i++)
        dst[i] = dst[i] * a->scale + a->offset;
    return HT_OK;
}

struct ht__rows *ht__rows_affine(struct ht__arena *arena, const struct ht__rows *of, float scale, float offset)
{
    struct affine *a = of ? ht__arena_new(arena, sizeof *a) : NULL;
    if (!a) return NULL;
    *a = (struct affine){.of = of, .scale = scale, .offset = offset};
    a->rows = (struct ht__rows){.n_rows = of->n_rows,
                                .row_len = of->row_len,
                                .read = read_affine,
                                .first = of,
                                .chunk_weights = of->chunk_weights,
                                .ctx = a};
    return &a->rows;
}
