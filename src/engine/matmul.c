/* Matrix products, by the engine's device. */
#include "engine/state.h"

static void matmul(struct ht__engine *e, const struct ht__kept_matrix *m, int64_t mat, const float *x, int64_t ldx,
                   int64_t n, float *y, int64_t ldy, bool same_x)
{
    struct ht__product p = {.type = m->type,
                            .rows = m->data + (size_t)(mat * m->n_out) * m->row_bytes,
                            .row_bytes = m->row_bytes,
                            .n_in = m->n_in,
                            .n_out = m->n_out,
                            .bias = m->bias ? m->bias + mat * m->n_out : NULL,
                            .x = x,
                            .ldx = ldx,
                            .n = n,
                            .y = y,
                            .ldy = ldy,
                            .same_x = same_x,
                            .whole = e->observe != NULL};
    if (e->enough) return;
    if (e->inputs && m->weight && e->inputs(e->inputs_ctx, m->weight, x, ldx, n, m->n_in, e->taken)) {
        p.x = e->taken;
        p.ldx = m->n_in;
    }
    if (e->inputs) p.same_x = false; /* the product before may have taken another */
    e->device->backend->matmul(e->device, &p);
}

void ht__engine_matmul(struct ht__engine *e, const struct ht__kept_matrix *m, int64_t mat, const float *x, int64_t ldx,
                       int64_t n, float *y, int64_t ldy)
{
    matmul(e, m, mat, x, ldx, n, y, ldy, false);
}

void ht__engine_matmul_again(struct ht__engine *e, const struct ht__kept_matrix *m, int64_t mat, const float *x,
                             int64_t ldx, int64_t n, float *y, int64_t ldy)
{
    matmul(e, m, mat, x, ldx, n, y, ldy, true);
}

void ht__engine_row(const struct ht__kept_matrix *m, int64_t row, float *dst)
{
    m->type->decode(m->data + (size_t)row * m->row_bytes, m->n_in, dst);
}
