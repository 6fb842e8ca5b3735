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
    ht__matmul8_fn *matmul8; /* or NULL */
    ht__vector_fn *vector;
    int64_t strips; /* of HT__MATMUL_ROWS a task: neighbours, so that what is fetched ahead serves
                       the same core */
};

static void put_eight_bits(void *ctx, int64_t task, int thread)
{
    const struct product *p = ctx;
    const struct ht__activations *all = &p->e->act;
    struct ht__activations one = {all->codes + task * all->n_in,
                                  all->scales + task * (all->n_in / 32),
                                  all->sums + task * (all->n_in / 16), all->n_in, all->wide};
    (void)thread;
    p->e->ops->activations(p->x + task * p->ldx, p->ldx, 1, &one);
}

static void one_strip(const struct product *p, int64_t row, int thread)
{
    int64_t left = p->m->n_out - row;
    struct ht__matmul_weights w = p->w;
    w.n_rows = (int)(left < HT__MATMUL_ROWS ? left : HT__MATMUL_ROWS);
    w.rows = (const uint8_t *)p->w.rows + (size_t)row * p->w.row_bytes;
    if (p->matmul8)
        p->matmul8(&w, &p->e->act, p->n, p->y + row, p->ldy);
    else if (p->vector)
        p->vector(&w, p->x, p->y + row);
    else
        p->e->ops->matmul(&w, p->x, p->ldx, p->n, p->y + row, p->ldy,
                          p->e->scratch + (size_t)thread * HT__MATMUL_SCRATCH);
    for (int64_t t = 0; p->bias && t < p->n; t++)
        for (int r = 0; r < w.n_rows; r++)
            p->y[t * p->ldy + row + r] += p->bias[row + r];
}

/* A cancelled pass is over soon, whatever the layers' size: products become zeros, and nobody sees them. */
static void nothing(const struct product *p, int64_t row)
{
    int64_t left = p->m->n_out - row, n = left < HT__MATMUL_ROWS ? left : HT__MATMUL_ROWS;
    for (int64_t t = 0; t < p->n; t++)
        memset(p->y + t * p->ldy + row, 0, (size_t)n * sizeof *p->y);
}

static void strips(void *ctx, int64_t task, int thread)
{
    const struct product *p = ctx;
    bool stopped = ht__engine_stopped(p->e) && !p->e->observe;
    for (int64_t i = task * p->strips;
         i < (task + 1) * p->strips && i * HT__MATMUL_ROWS < p->m->n_out; i++)
        if (stopped)
            nothing(p, i * HT__MATMUL_ROWS);
        else
            one_strip(p, i * HT__MATMUL_ROWS, thread);
}

static void multiply(struct ht__engine *e, const struct ht__matrix *m, int64_t mat, const float *x,
                     int64_t ldx, int64_t n, float *y, int64_t ldy, bool again)
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
    if (e->params.fast && m->n_in % 32 == 0) p.matmul8 = e->ops->matmul8(m->type);
    if (e->params.fast && n == 1) p.vector = e->ops->vector(m->type);
    bool wide = e->params.wide && m->type->block_len == 256;
    if (p.matmul8 && !(again && e->act.n_in == m->n_in && e->act.wide == wide)) {
        e->act.n_in = m->n_in;
        e->act.wide = wide;
        ht__pool_run(e->pool, n, put_eight_bits, &p);
    }
    int64_t n_strips = (m->n_out + HT__MATMUL_ROWS - 1) / HT__MATMUL_ROWS,
            parts = 8 * ht__pool_threads(e->pool);
    p.strips = n > 8 || n_strips < parts ? 1 : n_strips / parts;
    ht__pool_run(e->pool, (n_strips + p.strips - 1) / p.strips, strips, &p);
}

void ht__engine_multiply(struct ht__engine *e, const struct ht__matrix *m, int64_t mat,
                         const float *x, int64_t ldx, int64_t n, float *y, int64_t ldy)
{
    e->act.n_in = 0;
    multiply(e, m, mat, x, ldx, n, y, ldy, false);
}

void ht__engine_multiply_again(struct ht__engine *e, const struct ht__matrix *m, int64_t mat,
                               const float *x, int64_t ldx, int64_t n, float *y, int64_t ldy)
{
    multiply(e, m, mat, x, ldx, n, y, ldy, true);
}

void ht__engine_row(const struct ht__matrix *m, int64_t row, float *dst)
{
    m->type->decode(m->data + (size_t)row * m->row_bytes, m->n_in, dst);
}
