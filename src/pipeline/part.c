#include "pipeline/part.h"
#include "pipeline/journal_parts.h"
#include "pipeline/layers_driver.h"
#include "pipeline/scales.h"

#include <string.h>

static enum ht_err refuse(const char *why, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_UNSUPPORTED, "part", -1, "%s: such a run cannot be made in parts", why);
}

enum ht_err ht__part_check(const struct ht__pipeline_settings *s, struct ht_diag *diag)
{
    if (s->publish.parts == 0) return HT_OK;
    if (s->importance.collect) return refuse("importance is collected first (use --imatrix)", diag);
    if (ht__scales_wanted(s)) return refuse("the model is scaled first", diag);
    if (s->budget.kind) return refuse("types are chosen by measuring first (use the recipe)", diag);
    return s->measure.wanted ? refuse("files are measured", diag) : HT_OK;
}

bool ht__part_possible(const struct ht__plan *plan)
{
    const struct ht__pipeline_settings *s = plan->settings;
    return !ht__layers_wanted(plan) && !s->importance.collect && !ht__scales_wanted(s) && !s->budget.kind;
}

/* Written by all outputs together. */
static uint64_t bytes_of(const struct ht__plan *plan, uint32_t item)
{
    uint64_t bytes = 0;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        struct ht__journal_piece pieces[HT__SCHEME_PARTS];
        size_t n = ht__journal_pieces(plan, &plan->outputs[o], item, pieces);
        for (size_t i = 0; i < n; i++)
            bytes += pieces[i].extent->n_bytes;
    }
    return bytes;
}

/* Matrices that share what is known of all of them only (struct ht__stream's amax) stay together. */
static bool is_tied(const struct ht__plan *plan, uint32_t item, uint32_t before)
{
    struct ht__slot a = ht__item_any(plan, item)->slot, b = ht__item_any(plan, before)->slot;
    if (a.layer != b.layer || a.expert != b.expert) return false;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        struct ht__packed *const *packed = plan->outputs[o].packed;
        for (size_t i = 0; packed && i < plan->n_items; i++)
            if (packed[i] && packed[i]->flags & HT__SCHEME_SHARED) return true;
    }
    return false;
}

enum ht_err ht__part_choose(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__publish_settings *s = &plan->settings->publish;
    uint64_t total = 0, sum = 0;
    size_t kept = 0;
    if (ht__layers_wanted(plan)) return refuse("codes are chosen layer by layer, each after the one before", diag);
    for (size_t i = 0; i < plan->n_work; i++)
        total += bytes_of(plan, plan->work[i]);
    uint64_t each = total / s->parts + 1, part = 0;
    uint32_t before = 0;
    plan->out_bytes = 0;
    for (size_t i = 0; i < plan->n_work; i++) {
        uint32_t item = plan->work[i];
        uint64_t bytes = bytes_of(plan, item);
        if (i == 0 || !is_tied(plan, item, before)) part = (sum + bytes / 2) / each;
        before = item;
        sum += bytes;
        if (part + 1 != s->part) continue;
        plan->work[kept++] = item;
        plan->out_bytes += bytes;
    }
    plan->n_work = kept;
    return HT_OK;
}
