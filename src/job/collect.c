#include "job/collect.h"
#include "job/calibration.h"

#include <string.h>

/* A matrix that the engine may multiply with: what it turns out not to need does no harm here. */
static bool is_matrix(const struct ht__weight *w)
{
    size_t n = strlen(w->name), suffix = sizeof ".weight" - 1;
    return strncmp(w->name, "blk.", 4) == 0 && w->ne[1] > 1 && n > suffix && strcmp(w->name + n - suffix, ".weight") == 0;
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

static enum ht_err run(struct ht_job *job, const struct ht__model *model, struct ht__calibration *cal,
                       struct ht__importance *imp, struct ht_diag *diag)
{
    struct ht__sums_state state = {.passes = 0};
    HT_TRY(ht__calibration_run(cal, job, model, imp, &state, NULL, diag));
    ht__calibration_warn(job, imp);
    return HT_OK;
}

static enum ht_err collect(struct ht_job *job, const struct ht__model *model, struct ht__calibration *cal,
                           struct ht__importance *imp, struct ht__imatrix **out, struct ht_diag *diag)
{
    struct ht__calibration_request request = {
        .text = job->options.calibration, .ctx = ht__chunk_option(job), .chunks = job->options.chunks};
    struct ht__sums_file sums;
    HT_TRY(ht__calibration_open(cal, job, model, &request, diag));
    HT_TRY(job->rehearsal ? pretend(model, imp, diag) : run(job, model, cal, imp, diag));
    ht__importance_list(imp, &sums);
    sums.datasets = &cal->dataset;
    sums.n_datasets = 1;
    sums.chunk_size = (uint32_t)cal->n_ctx;
    sums.chunk_count = (uint32_t)cal->n_chunks;
    return ht__imatrix_of_sums(&sums, job->alloc, out, diag);
}

enum ht_err ht__collect_importance(struct ht_job *job, const struct ht__checkpoint *checkpoint,
                                   struct ht__imatrix **out, struct ht_diag *diag)
{
    struct ht__model *model;
    struct ht__importance imp;
    struct ht__calibration cal = {.alloc = job->alloc};
    int n_threads;
    *out = NULL;
    HT_TRY(ht__calibration_threads(job, &n_threads, diag));
    HT_TRY(ht__model_open(checkpoint, job->alloc, NULL, &model, diag));
    enum ht_err err = ht__importance_open(&imp, n_threads, job->alloc, diag);
    if (err == HT_OK) err = collect(job, model, &cal, &imp, out, diag);
    ht__calibration_close(&cal);
    ht__importance_close(&imp);
    ht__model_close(&model);
    return err;
}
