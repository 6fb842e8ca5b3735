/* Matrix products, shared out by strips of output rows. */
#include "engine/state.h"

#include <string.h>

struct product {
    const struct ht__engine *e;
    struct ht__matmul_weights w; /* of the whole matrix */
    const struct ht__matrix *m;
    const float *x, *bias;
    int64_t ldx, n, ldy;
    float *y;
};

static void strip(void *ctx, int64_t task, int thread)
{
    const struct product *p = ctx;
    int64_t row = task * HT__MATMUL_ROWS, left = p->m->n_out - row;
    struct ht__matmul_weights w = p->w;
    w.n_rows = (int)(left < HT__MATMUL_ROWS ? left : HT__MATMUL_ROWS);
    w.rows = (const uint8_t *)p->w.rows + (size_t)row * p->w.row_bytes;
    p->e->ops->matmul(&w, p->x, p->ldx, p->n, p->y + row, p->ldy,
                      p->e->scratch + (size_t)thread * HT__MATMUL_SCRATCH);
    for (int64_t t = 0; p->bias && t < p->n; t++)
        for (int r = 0; r < w.n_rows; r++)
            p->y[t * p->ldy + row + r] += p->bias[row + r];
}

void ht__engine_multiply(struct ht__engine *e, const struct ht__matrix *m, int64_t mat, const float *x, int64_t ldx,
                         int64_t n, float *y, int64_t ldy)
{
    struct product p = {
        .e = e,
        .m = m,
        .x = x,
        .ldx = ldx,
        .n = n,
        .y = y,
        .ldy = ldy,
        .bias = m->bias ? m->bias + mat * m->n_out : NULL,
        .w = {.decode = ht__decoder(m->type, ht__cpu_best()),
              .rows = m->data + (size_t)(mat * m->n_out) * m->row_bytes,
              .row_bytes = m->row_bytes,
              .block_len = m->type->block_len,
              .block_size = m->type->block_size,
              .n_in = m->n_in},
    };
    ht__pool_run(e->pool, (m->n_out + HT__MATMUL_ROWS - 1) / HT__MATMUL_ROWS, strip, &p);
}

void ht__engine_row(const struct ht__matrix *m, int64_t row, float *dst)
{
    m->type->decode(m->data + (size_t)row * m->row_bytes, m->n_in, dst);
}
