#include "pipeline/collect.h"
#include "pipeline/collected.h"
#include "base/hash.h"
#include "calibrate/calibration.h"
#include "calibrate/kept.h"
#include "pipeline/layers_driver.h"
#include "pipeline/part.h"
#include "pipeline/scales.h"

/* A matrix that the engine may multiply with: what it turns out not to need does no harm here. */
static bool is_matrix(const struct ht__weight *w)
{
    return w->slot.layer >= 0 && !w->slot.bias && w->ne[1] > 1;
}

static enum ht_err pretend(const struct ht__model *model, struct ht__importance *imp, struct ht_diag *diag)
{
    struct ht__arena arena;
    enum ht_err err = HT_OK;
    ht__arena_init(&arena, imp->alloc);
    for (size_t i = 0; err == HT_OK && i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[i];
        struct ht__sums s = {w->name, (uint64_t)w->ne[0], (uint64_t)w->ne[2], 1, NULL, NULL};
        if (!is_matrix(w)) continue;
        s.counts = ht__arena_array(&arena, 1, sizeof *s.counts);
        s.sums = ht__arena_array(&arena, (size_t)(s.n_cols * s.n_mat), sizeof *s.sums);
        struct ht__sums_file one = {.n = 1, .items = &s};
        err = s.sums && s.counts ? ht__importance_merge(imp, &one, w->name, diag) : ht__fail_memory(diag, w->name);
        ht__arena_reset(&arena);
    }
    ht__arena_close(&arena);
    return err;
}

/* Outputs that are all made layer by layer look at the same activations again, and importance is needed no earlier: then the
 * first pass alone is run, which says what has importance. */
static bool comes_later(const struct ht__plan *plan)
{
    const struct ht__pipeline_settings *s = plan->settings;
    for (size_t i = 0; i < plan->n_outputs; i++)
        if (!ht__layers_output(plan, &plan->outputs[i])) return false;
    return !s->budget.kind && !s->prune.text && !plan->scales;
}

static enum ht_err identify(struct ht__plan *plan, const struct ht__calibration *cal, struct ht_diag *diag)
{
    const struct ht__windows *w = &cal->windows;
    struct ht__sha256 sha;
    ht__sha256_begin(&sha);
    ht__sha256_add(&sha, &cal->n_ctx, sizeof cal->n_ctx);
    ht__sha256_add(&sha, w->tokens, w->n * (size_t)cal->n_ctx * sizeof *w->tokens);
    ht__sha256_end(&sha, plan->text);
    return plan->text[0] ? HT_OK : ht__fail_memory(diag, "importance");
}

static enum ht_err run(struct ht__plan *plan, const struct ht__model *model, struct ht__calibration *cal,
                       struct ht__importance *imp, struct ht_diag *diag)
{
    struct ht__sums_state state = {.passes = 0};
    struct ht__calibration_watch watch;
    struct ht__collected collected;
    size_t all = cal->windows.n;
    plan->importance_later = comes_later(plan);
    if (plan->importance_later) {
        HT_TRY(identify(plan, cal, diag));
        cal->windows.n = (size_t)cal->n_seqs;
    } else {
        HT_TRY(ht__collected_open(&collected, plan, model, cal, &watch, diag));
        if (watch.from == watch.to)
            return pretend(model, imp, diag); /* a part of a text with fewer groups than parts */
    }
    enum ht_err err =
        ht__calibration_run(cal, &plan->run, model, imp, &state, plan->importance_later ? NULL : &watch, diag);
    cal->windows.n = all;
    if (err != HT_OK || plan->importance_later) return err;
    if (collected.n_taken)
        ht__log_printf(plan->run.log, HT__LOG_INFO,
                       "importance of %zu of %zu groups of chunks is taken from other runs", collected.n_taken,
                       watch.to - watch.from);
    if (plan->settings->importance.parts == 0) ht__calibration_warn(plan->run.log, imp);
    return HT_OK;
}

/* That it does not fit is an answer where the plan is an estimate, and a rehearsal refuses it by all that the job takes; without a
 * limit there is a default, which is raised to what is needed. */
static enum ht_err check_memory(struct ht__plan *plan, const struct ht__model *model, struct ht__calibration *cal,
                                struct ht_diag *diag)
{
    uint64_t matrices, limit = ht__memory_limit(&plan->run);
    bool refuses = plan->run.memory && plan->purpose == HT__RUN;
    HT_TRY(ht__calibration_memory(cal, &plan->run, model, &plan->collect_memory, &matrices, diag));
    return refuses && plan->collect_memory > limit ? ht__memory_too_small(plan->collect_memory, limit, diag) : HT_OK;
}

static enum ht_err collect(struct ht__plan *plan, const struct ht__model *model, struct ht__calibration *cal,
                           struct ht__importance *imp, struct ht_diag *diag)
{
    struct ht__sums_file sums;
    HT_TRY(ht__part_check_layers(plan, diag));
    HT_TRY(ht__calibration_open(cal, &plan->settings->importance.calibration, &plan->run, model, diag));
    HT_TRY(check_memory(plan, model, cal, diag));
    HT_TRY(plan->purpose == HT__RUN ? run(plan, model, cal, imp, diag) : pretend(model, imp, diag));
    HT_TRY(ht__importance_list(imp, &sums, diag));
    sums.datasets = &cal->dataset;
    sums.n_datasets = 1;
    sums.chunk_size = (uint32_t)cal->n_ctx;
    sums.chunk_count = (uint32_t)cal->windows.n;
    return ht__imatrix_of_sums(&sums, plan->run.alloc, &plan->imatrix, diag);
}

enum ht_err ht__collect_importance(struct ht__plan *plan, struct ht_diag *diag)
{
    struct ht__model *model;
    struct ht__importance imp;
    struct ht__calibration cal = {.alloc = plan->run.alloc};
    HT_TRY(ht__model_open(plan->checkpoint, plan->run.alloc, NULL, &model, diag));
    enum ht_err err = plan->scales ? ht__scales_fold(plan->scales, model, diag) : HT_OK;
    if (err == HT_OK) {
        err = ht__importance_open(&imp, plan->run.n_threads, plan->run.alloc, diag);
        if (err == HT_OK) err = collect(plan, model, &cal, &imp, diag);
        ht__calibration_close(&cal);
        ht__importance_close(&imp);
    }
    ht__model_close(&model);
    return err;
}

static enum ht_err read_kept(struct ht__plan *plan, const struct ht__model *model, struct ht__kept *kept,
                             struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__sums_file sums;
    HT_TRY(ht__kept_open(kept, plan->settings->importance.stats, plan->run.alloc, diag));
    HT_TRY(ht__kept_check(kept, model, diag));
    ht__arena_init(&arena, plan->run.alloc);
    enum ht_err err = ht__kept_importance(kept, &arena, &sums, diag);
    const char *dataset = kept->texts[0].name;
    sums.datasets = &dataset;
    sums.n_datasets = 1;
    if (err == HT_OK) err = ht__imatrix_of_sums(&sums, plan->run.alloc, &plan->imatrix, diag);
    ht__arena_close(&arena);
    return err;
}

enum ht_err ht__kept_importance_of(struct ht__plan *plan, struct ht_diag *diag)
{
    struct ht__model *model;
    struct ht__kept kept = {.path = NULL};
    HT_TRY(ht__model_open(plan->checkpoint, plan->run.alloc, NULL, &model, diag)); /* before layers are pruned */
    enum ht_err err = read_kept(plan, model, &kept, diag);
    ht__kept_close(&kept);
    ht__model_close(&model);
    return err;
}
