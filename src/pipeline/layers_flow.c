/* Residual streams on their way through a layer, from mark to mark: so a pass through it is computed once, however many of its
 * sites are looked at in between. */
#include "pipeline/layers_parts.h"

/* What is kept at marks takes no more than this: where it would, passes are repeated from the mark before. */
static const uint64_t most_bytes = (uint64_t)2 << 30;

int64_t ht__layers_widest_kept(const struct ht__layers *d)
{
    const struct ht__model *m = d->plan->model;
    int64_t widest = 0;
    for (size_t i = 0; i < m->n_weights; i++) {
        struct ht__slot slot = m->weights[i].slot;
        int64_t n = m->weights[i].ne[0];
        if (slot.bias || (slot.role != HT__ROLE_ATTN_OUTPUT && slot.role != HT__ROLE_FFN_DOWN)) continue;
        if (n > widest && ht__layers_kept_bytes(d, n) <= most_bytes) widest = n;
    }
    return widest;
}

uint64_t ht__layers_kept_bytes(const struct ht__layers *d, int64_t width)
{
    return 2 * sizeof(float) * (uint64_t)d->n_tokens * (uint64_t)width;
}

bool ht__layers_can_stop(const struct ht__layers *d, int layer, enum ht__mark mark)
{
    int64_t width = ht__engine_mark_width(d->engine, layer, mark);
    return width >= 0 && width <= d->most_kept;
}

enum ht__mark ht__layers_next_mark(const struct ht__layers *d, int layer, enum ht__mark mark)
{
    do
        mark++;
    while (!ht__layers_can_stop(d, layer, mark));
    return mark;
}

static float *kept_rows(const struct ht__layers *d, float *rows, int layer, enum ht__mark mark, size_t chunk)
{
    int64_t width = ht__engine_mark_width(d->engine, layer, mark);
    return width > 0 ? rows + (int64_t)chunk * d->cal.n_ctx * width : NULL;
}

enum ht_err ht__layers_move(struct ht__layers *d, struct ht__course *course, int layer, enum ht__mark to, double share,
                            struct ht_diag *diag)
{
    struct ht__flow *flow = course ? &course->flow : &d->flow;
    float *rows = d->rows[course ? 1 : 0];
    enum ht_err err = HT_OK;
    if (flow->mark == to) return HT_OK;
    ht__engine_replace(d->engine, course ? ht__course_weight : NULL, course);
    for (size_t chunk = 0; err == HT_OK && chunk < d->cal.windows.n; chunk += (size_t)d->cal.n_seqs) {
        struct ht__stretch stretch = {.layer = layer, .from = flow->mark, .to = to};
        int n = ht__layers_seqs(d, chunk);
        stretch.rows = kept_rows(d, rows, layer, stretch.from, chunk);
        stretch.kept = kept_rows(d, rows, layer, stretch.to, chunk);
        err = ht__engine_stretch(d->engine, &stretch, ht__layers_rows(d, flow->x, chunk), n, d->cal.n_ctx, diag);
        double done = (double)(chunk + (size_t)n) / (double)d->cal.windows.n;
        if (err == HT_OK) err = ht__layers_tell(d, share * done, "", diag);
    }
    ht__engine_replace(d->engine, NULL, NULL);
    flow->mark = to;
    d->done += share * d->step;
    return err;
}
