#include "calibrate/site.h"

#include <string.h>

enum {
    PANEL = HT__MATMUL_ROWS, /* columns of a product that are made at a time: a strip's of a symmetric one */
    GROUP = 4,               /* panels of a task: each panel of the other side is read once for all of them */
};

_Static_assert((int)PANEL == (int)HT__LOWER, "a strip is a panel");

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

static enum ht_err open_stream(struct ht__site_stats *s, struct ht_diag *diag)
{
    if (s->n_stream == 0) return HT_OK;
    s->stream = doubles(s, s->n_in, s->n_stream);
    s->held_r = floats(s, s->n_stream);
    return s->stream && s->held_r ? HT_OK : no_memory(diag);
}

enum ht_err ht__site_open(struct ht__site_stats *s, int64_t n_in, int64_t n_stream, int64_t most_held,
                          const struct ht__alloc *alloc, struct ht_diag *diag)
{
    *s = (struct ht__site_stats){.alloc = alloc, .n_in = n_in, .n_stream = n_stream, .most_held = most_held};
    s->gram = doubles(s, 1, ht__lower_size(n_in));
    s->cross = doubles(s, n_in, n_in);
    s->held_f = floats(s, n_in);
    s->held_q = floats(s, n_in);
    bool enough = s->gram && s->cross && s->held_f && s->held_q;
    return enough ? open_stream(s, diag) : no_memory(diag);
}

enum ht_err ht__site_open_wanted(struct ht__site_stats *s, int64_t n_in, int64_t n_stream, int64_t most_held,
                                 const struct ht__alloc *alloc, struct ht_diag *diag)
{
    *s = (struct ht__site_stats){.alloc = alloc, .n_in = n_in, .n_stream = n_stream, .most_held = most_held};
    s->gram = doubles(s, 1, ht__lower_size(n_in));
    s->held_q = floats(s, n_in);
    return s->gram && s->held_q ? open_stream(s, diag) : no_memory(diag);
}

enum ht_err ht__site_open_float(struct ht__site_stats *s, int64_t n_in, int64_t most_held,
                                const struct ht__alloc *alloc, struct ht_diag *diag)
{
    *s = (struct ht__site_stats){.alloc = alloc, .n_in = n_in, .most_held = most_held};
    s->gram = doubles(s, 1, ht__lower_size(n_in));
    s->held_q = floats(s, n_in);
    return s->gram && s->held_q ? HT_OK : no_memory(diag);
}

void ht__site_spend_cross(struct ht__site_stats *s)
{
    ht__free(s->alloc, s->cross);
    ht__free_aligned(s->alloc, s->panels);
    s->cross = NULL;
    s->panels = NULL;
    s->n_panels = 0;
}

void ht__site_spend_stream(struct ht__site_stats *s)
{
    ht__free(s->alloc, s->stream);
    s->stream = NULL;
}

void ht__site_spend(struct ht__site_stats *s)
{
    ht__site_spend_cross(s);
    ht__free(s->alloc, s->gram);
    s->gram = NULL;
}

void ht__site_close(struct ht__site_stats *s)
{
    ht__site_spend(s);
    ht__site_spend_stream(s);
    ht__free(s->alloc, s->held_f);
    ht__free(s->alloc, s->held_q);
    ht__free(s->alloc, s->held_r);
    *s = (struct ht__site_stats){.alloc = s->alloc};
}

/*
 * Activations of a call as panels of PANEL columns, one behind the other, each with all rows: what products with them read lies
 * together, whatever the number of columns.
 */
struct panels {
    const float *rows;
    float *at;
    int64_t n, n_columns;
};

static int64_t panels_of(int64_t n_columns)
{
    return (n_columns + PANEL - 1) / PANEL;
}

static void fill_panel(void *ctx, int64_t task, int thread)
{
    const struct panels *p = ctx;
    int64_t from = task * PANEL, n = p->n_columns - from < PANEL ? p->n_columns - from : PANEL;
    float *at = p->at + from * p->n;
    (void)thread;
    for (int64_t row = 0; row < p->n; row++, at += PANEL) {
        const float *x = p->rows + row * p->n_columns + from;
        if (n == PANEL) {
            memcpy(at, x, PANEL * sizeof *at);
            continue;
        }
        memset(at, 0, PANEL * sizeof *at);
        memcpy(at, x, (size_t)n * sizeof *at);
    }
}

static void fill(struct ht__pool *pool, struct panels *p)
{
    ht__pool_run(pool, panels_of(p->n_columns), fill_panel, p);
}

/* sum += a'b */
struct products {
    const struct ht__ops *ops;
    const struct panels *a, *b;
    double *sum;    /* a->n_columns x b->n_columns, */
    bool symmetric; /* or, where a is b, its lower half */
};

static int wide(const struct panels *p, int64_t panel)
{
    int64_t left = p->n_columns - panel * PANEL;
    return left < PANEL ? (int)left : PANEL;
}

static void tile(const struct products *p, int64_t i, int64_t j)
{
    int64_t row = i * PANEL, ld = p->symmetric ? ht__lower_columns(row) : p->b->n_columns, n = p->a->n;
    double *sum = p->sum + (p->symmetric ? ht__lower_row(row) : row * ld);
    if (p->symmetric && i < j) return;
    p->ops->add_outer(sum + j * PANEL, ld, p->a->at + row * n, wide(p->a, i), p->b->at + j * PANEL * n, wide(p->b, j),
                      n);
}

static void strip(void *ctx, int64_t task, int thread)
{
    const struct products *p = ctx;
    int64_t from = task * GROUP, to = from + GROUP, panels = panels_of(p->b->n_columns);
    (void)thread;
    for (int64_t i = p->symmetric ? from : 0; i < panels_of(p->a->n_columns); i++)
        for (int64_t j = from; j < to && j < panels; j++)
            tile(p, i, j);
}

static void add(const struct ht__ops *ops, struct ht__pool *pool, const struct panels *a, const struct panels *b,
                double *sum)
{
    struct products p = {.ops = ops, .a = a, .b = b, .sum = sum, .symmetric = a == b};
    ht__pool_run(pool, (panels_of(b->n_columns) + GROUP - 1) / GROUP, strip, &p);
}

/* Room for three sets of panels. */
static enum ht_err reserve(struct ht__site_stats *s, size_t n, struct ht_diag *diag)
{
    if (n <= s->n_panels) return HT_OK;
    ht__free_aligned(s->alloc, s->panels);
    s->panels = ht__new_aligned(s->alloc, n * sizeof *s->panels);
    s->n_panels = s->panels ? n : 0;
    return s->panels ? HT_OK : no_memory(diag);
}

enum ht_err ht__site_add(struct ht__site_stats *s, const float *f, const float *q, const float *r, int64_t n,
                         const struct ht__ops *ops, struct ht__pool *pool, struct ht_diag *diag)
{
    int64_t columns = panels_of(s->n_in) * PANEL, size = columns * n;
    if (n == 0) return HT_OK;
    HT_TRY(reserve(s, (size_t)(size * (f ? 2 : 1) + panels_of(s->n_stream) * PANEL * n), diag));
    struct panels of_q = {q, s->panels, n, s->n_in}, of_f = {f, s->panels + size, n, s->n_in};
    struct panels of_r = {r, s->panels + size * (f ? 2 : 1), n, s->n_stream};
    fill(pool, &of_q);
    add(ops, pool, &of_q, &of_q, s->gram);
    if (f) {
        fill(pool, &of_f);
        add(ops, pool, &of_q, &of_f, s->cross);
    }
    if (s->n_stream) {
        fill(pool, &of_r);
        add(ops, pool, &of_q, &of_r, s->stream);
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
    scale(s->gram, ht__lower_size(s->n_in), by);
    scale(s->cross, s->n_in * s->n_in, by);
    scale(s->stream, s->n_in * s->n_stream, by);
}
