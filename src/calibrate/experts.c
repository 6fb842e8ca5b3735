#include "calibrate/experts.h"

#include <string.h>

enum { ENOUGH_HELD = 32 }; /* tokens: with fewer an error says little */

enum ht_err ht__expert_open(struct ht__expert_stats *e, int64_t n_in, int64_t most_held, const struct ht__alloc *alloc,
                            struct ht_diag *diag)
{
    size_t size = (size_t)n_in * sizeof(float);
    *e = (struct ht__expert_stats){.site.alloc = alloc};
    HT_TRY(ht__site_open(&e->site, n_in, 0, most_held, alloc, diag));
    e->f = ht__new_array(alloc, HT__EXPERT_ROWS, size);
    e->q = ht__new_array(alloc, HT__EXPERT_ROWS, size);
    return e->f && e->q ? HT_OK : ht__fail_memory(diag, "activation statistics");
}

void ht__expert_close(struct ht__expert_stats *e)
{
    const struct ht__alloc *alloc = e->site.alloc;
    ht__free(alloc, e->f);
    ht__free(alloc, e->q);
    ht__site_close(&e->site);
    *e = (struct ht__expert_stats){.site.alloc = alloc};
}

uint64_t ht__expert_bytes(int64_t n_in, int64_t most_held)
{
    uint64_t n = (uint64_t)n_in, rows = (uint64_t)most_held + 2 * HT__EXPERT_ROWS; /* panels too */
    return (n * n + (uint64_t)ht__lower_size(n_in)) * sizeof(double) + 2 * rows * n * sizeof(float);
}

static enum ht_err add_waiting(struct ht__expert_stats *e, const struct ht__ops *ops, struct ht__pool *pool,
                               struct ht_diag *diag)
{
    int64_t n = e->n_waiting;
    e->n_waiting = 0;
    return ht__site_add(&e->site, e->f, e->q, NULL, n, ops, pool, diag);
}

enum ht_err ht__expert_add(struct ht__expert_stats *e, const float *f, const float *q, bool held_out,
                           const struct ht__ops *ops, struct ht__pool *pool, struct ht_diag *diag)
{
    int64_t n_in = e->site.n_in;
    if (held_out) {
        ht__site_hold(&e->site, f, q, NULL, 1);
        return HT_OK;
    }
    memcpy(e->f + e->n_waiting * n_in, f, (size_t)n_in * sizeof *f);
    memcpy(e->q + e->n_waiting * n_in, q, (size_t)n_in * sizeof *q);
    e->n_waiting++;
    return e->n_waiting == HT__EXPERT_ROWS ? add_waiting(e, ops, pool, diag) : HT_OK;
}

enum ht_err ht__expert_finish(struct ht__expert_stats *e, const struct ht__ops *ops, struct ht__pool *pool,
                              struct ht_diag *diag)
{
    HT_TRY(add_waiting(e, ops, pool, diag));
    ht__site_finish(&e->site);
    return HT_OK;
}

/* n of the numbers of a row: own * x + (1 - own) * toward, or, without that, the diagonal of x. */
static void draw(double *x, const double *toward, int64_t row, int64_t n, double own)
{
    for (int64_t j = 0; j < n; j++)
        if (toward)
            x[j] = own * x[j] + (1 - own) * toward[j];
        else if (row != j)
            x[j] *= own;
}

static void draw_all(struct ht__site_stats *s, const struct ht__site_stats *all, double own)
{
    for (int64_t i = 0; i < s->n_in; i++) {
        int64_t half = ht__lower_row(i), whole = i * s->n_in;
        draw(s->gram + half, all ? all->gram + half : NULL, i, i + 1, own);
        draw(s->cross + whole, all ? all->cross + whole : NULL, i, s->n_in, own);
    }
}

void ht__expert_shrink(struct ht__expert_stats *e, const struct ht__expert_stats *all)
{
    struct ht__site_stats *s = &e->site;
    double prior = (double)s->n_in / 4, own = (double)s->n_rows / ((double)s->n_rows + prior);
    for (int64_t i = 0; !all && s->n_rows == 0 && i < s->n_in; i++)
        s->gram[ht__lower_at(i, i)] = s->cross[i * (s->n_in + 1)] = 1; /* nothing is known: all inputs count as much */
    draw_all(s, all ? &all->site : NULL, own);
    if (!all || s->n_held >= ENOUGH_HELD) return;
    s->n_held = 0;
    ht__site_hold(s, all->site.held_f, all->site.held_q, NULL, all->site.n_held);
}
