#include "calibrate/site.h"

#include <string.h>

enum { STRIP = HT__MATMUL_ROWS }; /* columns of a product that a task makes */

static enum ht_err no_memory(struct ht_diag *diag)
{
    return ht__fail_memory(diag, "activation statistics");
}

static void *doubles(struct ht__site_stats *s, int64_t rows, int64_t columns)
{
    return ht__new_array(s->alloc, (size_t)rows, (size_t)columns * sizeof(double));
}

static float *floats(struct ht__site_stats *s, int64_t columns)
{
    return ht__new_array(s->alloc, (size_t)s->most_held + 1, (size_t)columns * sizeof(float));
}

enum ht_err ht__site_open(struct ht__site_stats *s, int64_t n_in, int64_t n_stream, int64_t most_held,
                          const struct ht__alloc *alloc, struct ht_diag *diag)
{
    *s = (struct ht__site_stats){.alloc = alloc, .n_in = n_in, .n_stream = n_stream, .most_held = most_held};
    s->gram = doubles(s, n_in, n_in);
    s->cross = doubles(s, n_in, n_in);
    s->held_f = floats(s, n_in);
    s->held_q = floats(s, n_in);
    bool enough = s->gram && s->cross && s->held_f && s->held_q;
    if (n_stream) {
        s->stream = doubles(s, n_in, n_stream);
        s->held_r = floats(s, n_stream);
        enough = enough && s->stream && s->held_r;
    }
    return enough ? HT_OK : no_memory(diag);
}

enum ht_err ht__site_open_float(struct ht__site_stats *s, int64_t n_in, int64_t most_held,
                                const struct ht__alloc *alloc, struct ht_diag *diag)
{
    *s = (struct ht__site_stats){.alloc = alloc, .n_in = n_in, .most_held = most_held};
    s->gram = doubles(s, n_in, n_in);
    s->held_q = floats(s, n_in);
    return s->gram && s->held_q ? HT_OK : no_memory(diag);
}

void ht__site_close(struct ht__site_stats *s)
{
    ht__free(s->alloc, s->gram);
    ht__free(s->alloc, s->cross);
    ht__free(s->alloc, s->stream);
    ht__free(s->alloc, s->held_f);
    ht__free(s->alloc, s->held_q);
    ht__free(s->alloc, s->held_r);
    ht__free_aligned(s->alloc, s->turned);
    *s = (struct ht__site_stats){.alloc = s->alloc};
}

/* sum += a'b, of columns as rows: a is n_a x n, b is n_b x n. */
struct products {
    const struct ht__ops *ops;
    const float *a, *b;
    int64_t n_a, n_b, n;
    double *sum;
    bool symmetric;  /* a is b: only what lies on and below the diagonal */
    float *parts;    /* per thread: n_a x STRIP */
    float *scratch;  /* per thread */
    int64_t n_parts; /* floats of parts for each thread */
};

static void strip(void *ctx, int64_t task, int thread)
{
    const struct products *p = ctx;
    int64_t column = task * STRIP, n = p->n_b - column < STRIP ? p->n_b - column : STRIP;
    int64_t first = p->symmetric ? column : 0;
    float *part = p->parts + thread * p->n_parts;
    ht__ops_product(p->ops, p->b + column * p->n, p->n, n, p->n, p->a + first * p->n, p->n, p->n_a - first, part, STRIP,
                    p->scratch + (int64_t)thread * HT__MATMUL_SCRATCH);
    for (int64_t i = first; i < p->n_a; i++)
        for (int64_t j = 0; j < n; j++)
            p->sum[i * p->n_b + column + j] += (double)part[(i - first) * STRIP + j];
}

struct turn {
    const float *rows;
    float *columns;
    int64_t n, n_columns;
};

static void turn_columns(void *ctx, int64_t task, int thread)
{
    const struct turn *t = ctx;
    int64_t from = task * STRIP, to = from + STRIP < t->n_columns ? from + STRIP : t->n_columns;
    (void)thread;
    for (int64_t row = 0; row < t->n; row++)
        for (int64_t c = from; c < to; c++)
            t->columns[c * t->n + row] = t->rows[row * t->n_columns + c];
}

static void turn(struct ht__pool *pool, const float *rows, int64_t n, int64_t n_columns, float *columns)
{
    struct turn t = {rows, columns, n, n_columns};
    ht__pool_run(pool, (n_columns + STRIP - 1) / STRIP, turn_columns, &t);
}

/* Room for three sets of columns, and for what the threads work in. */
static enum ht_err reserve(struct ht__site_stats *s, size_t n, struct ht_diag *diag)
{
    if (n <= s->n_turned) return HT_OK;
    ht__free_aligned(s->alloc, s->turned);
    s->turned = ht__new_aligned(s->alloc, n * sizeof *s->turned);
    s->n_turned = s->turned ? n : 0;
    return s->turned ? HT_OK : no_memory(diag);
}

enum ht_err ht__site_add(struct ht__site_stats *s, const float *f, const float *q, const float *r, int64_t n,
                         const struct ht__ops *ops, struct ht__pool *pool, struct ht_diag *diag)
{
    int64_t strips = (s->n_in + STRIP - 1) / STRIP, threads = ht__pool_threads(pool);
    int64_t n_parts = s->n_in * STRIP, columns = (2 * s->n_in + s->n_stream) * n, padded = (columns + 15) / 16 * 16;
    if (n == 0) return HT_OK;
    HT_TRY(reserve(s, (size_t)(padded + threads * (n_parts + HT__MATMUL_SCRATCH)), diag));
    float *scratch = s->turned + padded, *q_columns = s->turned, *f_columns = q_columns + s->n_in * n;
    float *r_columns = f_columns + s->n_in * n;
    struct products p = {.ops = ops, .n_a = s->n_in, .n = n, .n_parts = n_parts, .scratch = scratch};
    p.parts = scratch + threads * HT__MATMUL_SCRATCH;
    turn(pool, q, n, s->n_in, q_columns);
    p.a = p.b = q_columns;
    p.n_b = s->n_in;
    p.sum = s->gram;
    p.symmetric = true;
    ht__pool_run(pool, strips, strip, &p);
    p.symmetric = false;
    if (f) {
        turn(pool, f, n, s->n_in, f_columns);
        p.b = f_columns;
        p.sum = s->cross;
        ht__pool_run(pool, strips, strip, &p);
    }
    if (s->n_stream) {
        turn(pool, r, n, s->n_stream, r_columns);
        p.b = r_columns;
        p.n_b = s->n_stream;
        p.sum = s->stream;
        ht__pool_run(pool, (s->n_stream + STRIP - 1) / STRIP, strip, &p);
    }
    s->n_rows += n;
    return HT_OK;
}

void ht__site_hold(struct ht__site_stats *s, const float *f, const float *q, const float *r, int64_t n)
{
    if (n > s->most_held - s->n_held) n = s->most_held - s->n_held;
    size_t size = (size_t)n * (size_t)s->n_in * sizeof(float);
    if (f) memcpy(s->held_f + s->n_held * s->n_in, f, size);
    memcpy(s->held_q + s->n_held * s->n_in, q, size);
    if (s->n_stream) memcpy(s->held_r + s->n_held * s->n_stream, r, (size_t)n * (size_t)s->n_stream * sizeof(float));
    s->n_held += n;
}

static void scale(double *x, int64_t n, double by)
{
    for (int64_t i = 0; x && i < n; i++)
        x[i] *= by;
}

void ht__site_finish(struct ht__site_stats *s)
{
    double by = s->n_rows ? 1 / (double)s->n_rows : 0;
    for (int64_t i = 0; i < s->n_in; i++)
        for (int64_t j = i + 1; j < s->n_in; j++)
            s->gram[i * s->n_in + j] = s->gram[j * s->n_in + i];
    scale(s->gram, s->n_in * s->n_in, by);
    scale(s->cross, s->n_in * s->n_in, by);
    scale(s->stream, s->n_in * s->n_stream, by);
}
