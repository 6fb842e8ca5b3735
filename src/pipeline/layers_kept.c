/* Codes chosen by statistics that were kept, layer by layer: the float model's alone, so that all layers are as good as known
 * before, and none has to be run. */
#include "calibrate/kept.h"
#include "pipeline/layers_parts.h"

#include <string.h>

enum ht_err ht__layers_kept_memory(const struct ht__plan *plan, uint64_t *total, struct ht_diag *diag)
{
    struct ht__kept kept;
    enum ht_err err = ht__kept_open(&kept, plan->settings->importance.stats, plan->run.alloc, diag);
    *total = 0;
    for (size_t i = 0; err == HT_OK && i < kept.n_layers; i++)
        if (ht__kept_bytes(&kept.layers[i]) > *total) *total = ht__kept_bytes(&kept.layers[i]);
    ht__kept_close(&kept);
    return err;
}

/* As the method knows a site: the float model is the quantized one too. */
static enum ht_err open_site(const struct ht__kept_site *k, const struct ht__alloc *alloc, struct ht__site_stats *site,
                             struct ht_diag *diag)
{
    int64_t n = (int64_t)k->n_in;
    *site = (struct ht__site_stats){.alloc = alloc, .n_in = n, .n_rows = (int64_t)k->gram_rows};
    site->n_held = site->most_held = (int64_t)k->n_held;
    site->held_f = site->held_q = k->held;
    site->gram = ht__new_array(alloc, (size_t)ht__lower_size(n), sizeof *site->gram);
    if (!site->gram) return ht__fail_memory(diag, "activation statistics");
    for (int64_t i = 0, at = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++, at++)
            site->gram[ht__lower_row(i) + j] = k->gram[at] / (double)k->gram_rows;
    return HT_OK;
}

/* All of it: such an item is in one part. */
static bool in_part(const struct ht__plan *plan, size_t item)
{
    return !plan->ranges || plan->ranges[item].from < plan->ranges[item].to;
}

static bool takes(const struct ht__layers *d, const struct ht__course *c, const struct ht__kept_site *k, size_t item)
{
    const struct ht__weight *w = ht__course_matrix(c, item, k->site.layer);
    struct ht__site site = w ? ht__slot_site(w->slot) : k->site;
    return w && memcmp(&site, &k->site, sizeof site) == 0 && (uint64_t)w->ne[0] == k->n_in &&
           !d->journal->finished[item] && in_part(d->plan, item) && ht__course_changes(c, item) &&
           ht__course_can_choose(c, w, item);
}

static bool has_work(const struct ht__layers *d, const struct ht__course *c, const struct ht__kept_site *k)
{
    for (size_t i = 0; i < d->plan->n_items; i++)
        if (takes(d, c, k, i)) return true;
    return false;
}

/* Outputs may differ in the order that they work on columns in: each has factors of its own. */
static enum ht_err choose_at(struct ht__layers *d, struct ht__course *c, const struct ht__kept_site *k,
                             struct ht__site_stats *site, struct ht_diag *diag)
{
    struct ht__best *best = NULL;
    if (!has_work(d, c, k)) return HT_OK;
    enum ht_err err = ht__best_open(site, ht__best_lean(site->n_in), ht__course_order(c), d->ops, d->pool,
                                    d->plan->run.alloc, &best, diag);
    for (size_t i = 0; err == HT_OK && i < d->plan->n_items; i++) {
        if (!takes(d, c, k, i)) continue;
        err = ht__course_choose(d, c, i, best, 0, diag);
        if (err == HT_OK) err = ht__layers_tell(d, 0, ht__item_any(d->plan, i)->name, diag);
    }
    ht__best_close(&best);
    return err;
}

static bool any_work(const struct ht__layers *d, const struct ht__kept_site *k)
{
    for (size_t c = 0; c < d->n_courses; c++)
        if (has_work(d, &d->courses[c], k)) return true;
    return false;
}

static enum ht_err one_site(struct ht__layers *d, const struct ht__kept_site *k, struct ht_diag *diag)
{
    struct ht__site_stats site = {.gram = NULL};
    if (!k->dense || k->gram_rows == 0 || k->n_held == 0 || !any_work(d, k)) return HT_OK;
    enum ht_err err = open_site(k, d->plan->run.alloc, &site, diag);
    for (size_t c = 0; err == HT_OK && c < d->n_courses; c++)
        err = choose_at(d, &d->courses[c], k, &site, diag);
    ht__free(d->plan->run.alloc, site.gram);
    return err;
}

static enum ht_err write_layer(struct ht__layers *d, int32_t layer, struct ht_diag *diag)
{
    const struct ht__plan *plan = d->plan;
    bool *now = ht__new_array(plan->run.alloc, plan->n_items, sizeof *now);
    if (!now) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < plan->n_items; i++)
        now[i] = ht__item_any(plan, i)->slot.layer == layer;
    enum ht_err err = ht__stream_items(d->stream, layer < 0 ? NULL : now, diag);
    for (size_t i = 0; i < d->n_courses; i++)
        ht__course_forget(&d->courses[i]);
    ht__free(plan->run.alloc, now);
    return err;
}

static enum ht_err one_layer(struct ht__layers *d, const struct ht__kept *kept, size_t at, struct ht_diag *diag)
{
    struct ht__kept_layer layer;
    struct ht__arena arena;
    bool any = false;
    for (size_t i = 0; i < kept->layers[at].n; i++)
        any = any || any_work(d, &kept->layers[at].sites[i]);
    ht__arena_init(&arena, d->plan->run.alloc);
    enum ht_err err = any ? ht__kept_read(kept, at, true, &arena, &layer, diag) : HT_OK;
    for (size_t i = 0; any && err == HT_OK && i < layer.n; i++)
        err = one_site(d, &layer.sites[i], diag);
    ht__arena_close(&arena);
    d->done += (double)ht__kept_bytes(&kept->layers[at]);
    return err == HT_OK && kept->layers[at].layer >= 0 ? write_layer(d, kept->layers[at].layer, diag) : err;
}

static enum ht_err all_layers(struct ht__layers *d, const struct ht__kept *kept, struct ht_diag *diag)
{
    HT_TRY(ht__kept_check(kept, d->plan->model, diag));
    HT_TRY(ht__pool_open(d->plan->run.n_threads, d->plan->run.alloc, &d->pool, diag));
    HT_TRY(ht__courses_open(d, diag));
    uint64_t bytes = 0;
    for (size_t i = 0; i < kept->n_layers; i++)
        bytes += ht__kept_bytes(&kept->layers[i]);
    ht__progress_begin(&d->progress, &d->plan->run, "best", "bytes", bytes);
    d->most_done = (double)bytes;
    for (size_t i = 0; i < kept->n_layers; i++)
        HT_TRY(one_layer(d, kept, i, diag));
    return write_layer(d, -1, diag); /* and whatever is left */
}

enum ht_err ht__layers_run_kept(struct ht__layers *d, struct ht_diag *diag)
{
    struct ht__kept kept;
    d->n_tokens = d->n_embd = 1; /* there is no residual stream to carry */
    enum ht_err err = ht__kept_open(&kept, d->plan->settings->importance.stats, d->plan->run.alloc, diag);
    if (err == HT_OK) err = all_layers(d, &kept, diag);
    ht__kept_close(&kept);
    return err;
}
