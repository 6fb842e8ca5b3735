/*
 * Importance of the matrices, from the float model's activations that the layers driver looks at anyway: the sums are those
 * of ht__importance_add, over all tokens of the text and in their order, so that a pass of its own would give the same bits.
 */
#include "pipeline/layers_parts.h"

#include <string.h>

/* Every weight that takes the site's input gets the same sums. */
static void add_site(struct ht__layers *d, const struct ht__site *site, const float *x, int64_t n_rows)
{
    const struct ht__model *m = d->plan->model;
    for (size_t i = 0; i < m->n_weights; i++) {
        const struct ht__weight *w = &m->weights[i];
        struct ht__site other = ht__slot_site(w->slot);
        if (!w->slot.bias && memcmp(&other, site, sizeof other) == 0)
            ht__importance_add(&d->sums, w, 0, x, n_rows, w->ne[0]);
    }
}

void ht__layers_learn_rows(struct ht__layers *d, const struct ht__stage *stage, const float *x, int64_t n_rows)
{
    add_site(d, &stage->site, x, n_rows);
}

/* Of all weights of a layer that have sums. */
enum ht_err ht__layers_settle(struct ht__layers *d, int layer, struct ht_diag *diag)
{
    const struct ht__model *m = d->plan->model;
    struct ht__sums sums;
    if (d->sums.failed) return ht__fail_memory(diag, "importance");
    for (size_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].slot.layer == layer && ht__importance_find(&d->sums, m->weights[i].name, &sums))
            ht__imatrix_replace(d->plan->imatrix, &sums);
    return HT_OK;
}

enum ht_err ht__layers_learnt(struct ht__layers *d, struct ht__stage *stage, struct ht_diag *diag)
{
    stage->learnt = true;
    return ht__layers_settle(d, stage->site.layer, diag);
}

/* What no site chooses is rounded before any is looked at. */
static bool rounds_with_importance(const struct ht__layers *d, const struct ht__course *c, size_t item, int layer)
{
    const struct ht__choice *choice = &c->out->choices[item];
    if (!ht__course_matrix(c, item, layer) || !d->plan->importance[item] || !ht__course_changes(c, item)) return false;
    if (ht__course_chooses(d, c, item)) return false;
    return choice->scheme || choice->type->flags & (HT__CODEC_USES_IMPORTANCE | HT__CODEC_NEEDS_IMPORTANCE);
}

static bool is_needed(const struct ht__layers *d, int layer)
{
    for (size_t c = 0; c < d->n_courses; c++)
        for (size_t i = 0; i < d->plan->n_items; i++)
            if (rounds_with_importance(d, &d->courses[c], i, layer)) return true;
    return false;
}

static enum ht_err pass(struct ht__layers *d, int layer, size_t chunk, float *x, struct ht_diag *diag)
{
    int n = ht__layers_seqs(d, chunk);
    const float *from = ht__layers_rows(d, d->flow.x, chunk);
    memcpy(x, from, (size_t)n * (size_t)d->cal.n_ctx * (size_t)d->n_embd * sizeof *x);
    HT_TRY(ht__engine_layer(d->engine, layer, x, n, d->cal.n_ctx, diag));
    return ht__layers_tell(d, 0, "", diag);
}

enum ht_err ht__layers_learn(struct ht__layers *d, int layer, struct ht_diag *diag)
{
    if (!is_needed(d, layer)) return HT_OK;
    size_t rows = (size_t)d->cal.n_seqs * (size_t)d->cal.n_ctx;
    float *x = ht__new_array(d->plan->run.alloc, rows, (size_t)d->n_embd * sizeof *x);
    enum ht_err err = x ? HT_OK : ht__fail_memory(diag, "activations");
    ht__engine_observe(d->engine, ht__importance_add, &d->sums);
    for (size_t chunk = 0; err == HT_OK && chunk < d->cal.windows.n; chunk += (size_t)d->cal.n_seqs)
        err = pass(d, layer, chunk, x, diag);
    ht__engine_observe(d->engine, NULL, NULL);
    ht__free(d->plan->run.alloc, x);
    d->learnt = err == HT_OK;
    return err == HT_OK ? ht__layers_settle(d, layer, diag) : err;
}
