#include "pipeline/attach.h"
#include "pipeline/collect.h"

#include <string.h>

static bool contains_any(const char *name, const struct ht__list *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (strstr(name, list->items[i])) return true;
    return false;
}

static const char *origin(const struct ht__importance_settings *s)
{
    return s->imatrix ? s->imatrix : s->stats ? s->stats : "calibration";
}

/* The weight's own name, or the one it had before layers were pruned. */
static enum ht_err find_importance(struct ht__plan *plan, size_t i, struct ht_diag *diag)
{
    const struct ht__importance_settings *s = &plan->settings->importance;
    const struct ht__weight *w = &plan->model->weights[i];
    const char *name = plan->imatrix_names[i];
    if ((s->include.n && !contains_any(name, &s->include)) || contains_any(name, &s->exclude)) return HT_OK;
    const struct ht__imatrix_entry *e = ht__imatrix_find(plan->imatrix, name);
    if (!e) return HT_OK;
    uint64_t want = (uint64_t)w->ne[0] * (uint64_t)w->ne[2];
    if (e->n_cols * e->n_mat == want) {
        plan->importance[i] = e->values;
        return HT_OK;
    }
    if (ht__slot_is(w->slot, HT__ROLE_EMBEDDING)) return HT_OK; /* collected for a tied output */
    return ht__fail(diag, HT_ERR_FORMAT, origin(s), -1,
                    "%s: importance of %llu columns, but the tensor has %llu: was it collected from "
                    "another model?",
                    name, (unsigned long long)(e->n_cols * e->n_mat), (unsigned long long)want);
}

/* ---- the native view ---- */

/* Which weights of the GGUF view have importance, by layer, and by role or by site; from 1, 0: none has. */
struct index {
    uint32_t *by_role, *by_site;
    int32_t n_layers; /* layer -1 too */
};

enum { N_SITES = HT__SITE_OUTPUT + 1 };

static enum ht_err make_index(struct ht__plan *plan, struct index *index, struct ht_diag *diag)
{
    const struct ht__model *model = plan->model;
    enum { MOST_LAYERS = 1 << 16 };
    for (size_t i = 0; i < model->n_weights; i++) {
        int32_t layer = model->weights[i].slot.layer;
        if (layer < MOST_LAYERS && layer + 2 > index->n_layers) index->n_layers = layer + 2;
    }
    index->by_role = ht__arena_array(&plan->arena, (size_t)index->n_layers * HT__N_ROLES + 1, sizeof(uint32_t));
    index->by_site = ht__arena_array(&plan->arena, (size_t)index->n_layers * N_SITES + 1, sizeof(uint32_t));
    if (!index->by_role || !index->by_site) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < model->n_weights; i++) {
        struct ht__slot slot = model->weights[i].slot;
        size_t layer = (size_t)(slot.layer + 1);
        if (!plan->importance[i] || slot.bias || layer >= (size_t)index->n_layers) continue;
        index->by_role[layer * HT__N_ROLES + slot.role] = (uint32_t)i + 1;
        index->by_site[layer * N_SITES + ht__slot_site(slot).kind] = (uint32_t)i + 1;
    }
    return HT_OK;
}

/* Of the GGUF weight `at` (from 1), for one matrix of the native view; NULL: it is not that of its input. */
static const float *take(const struct ht__plan *plan, uint32_t at, const struct ht__weight *w)
{
    if (!at) return NULL;
    const struct ht__weight *from = &plan->model->weights[at - 1];
    int64_t expert = w->slot.expert < 0 ? 0 : w->slot.expert;
    if (from->ne[0] != w->ne[0] || expert >= from->ne[2] || (w->slot.expert < 0 && from->ne[2] > 1)) return NULL;
    return plan->importance[at - 1] + expert * from->ne[0];
}

/* Importance belongs to the inputs of a matrix, whatever its rows are called and in which order they lie: a Linear has that
 * of its own role, or of another matrix with the same input. */
static enum ht_err share_with_native(struct ht__plan *plan, struct ht_diag *diag)
{
    struct index index = {.n_layers = 0};
    if (plan->n_items == plan->model->n_weights) return HT_OK;
    HT_TRY(make_index(plan, &index, diag));
    for (size_t i = plan->model->n_weights; i < plan->n_items; i++) {
        const struct ht__weight *w = plan->items[i].in[HT__DIALECT_NATIVE];
        size_t layer = (size_t)(w->slot.layer + 1);
        enum ht__site_kind site = ht__slot_site(w->slot).kind;
        if (!w->linear || site == HT__SITE_NONE || layer >= (size_t)index.n_layers) continue;
        plan->importance[i] = take(plan, index.by_role[layer * HT__N_ROLES + w->slot.role], w);
        if (!plan->importance[i]) plan->importance[i] = take(plan, index.by_site[layer * N_SITES + site], w);
    }
    return HT_OK;
}

/* ---- all of it ---- */

enum ht_err ht__plan_importance(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__importance_settings *s = &plan->settings->importance;
    plan->importance = ht__arena_array(&plan->arena, plan->n_items, sizeof(float *));
    if (!plan->importance) return ht__fail_memory(diag, "plan");
    if (!s->imatrix && !s->collect && !s->stats) return HT_OK;
    if (s->stats && plan->settings->best && plan->settings->prune.n)
        return ht__fail(
            diag, HT_ERR_USAGE, "prune-layers", -1,
            "--effort best takes --calibration-stats of the whole model alone; give a text (--calibration)");
    HT_TRY(s->imatrix ? ht__imatrix_open(s->imatrix, plan->run.alloc, &plan->imatrix, diag)
           : s->stats ? ht__kept_importance_of(plan, diag)
                      : ht__collect_importance(plan, diag));
    size_t used = 0;
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        HT_TRY(find_importance(plan, i, diag));
        used += plan->importance[i] != NULL;
    }
    HT_TRY(share_with_native(plan, diag));
    if (used == 0)
        return ht__fail(diag, HT_ERR_FORMAT, origin(s), -1, "none of its entries is for a tensor of this model");
    ht__log_printf(plan->run.log, HT__LOG_INFO, "importance for %zu of %zu tensors from %s", used,
                   plan->model->n_weights, s->imatrix ? s->imatrix : plan->imatrix->datasets[0]);
    return HT_OK;
}
