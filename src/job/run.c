/* The stages after planning. Whatever fails, nothing is left that looks finished. */
#include "job/hub.h"
#include "job/measure.h"
#include "job/run.h"
#include "job/source.h"
#include "job/space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum ht_err make_folder(const char *path, struct ht_diag *diag)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder) return HT_OK;
    *slash = '\0';
    return ht__make_dirs(folder, diag);
}

/* All outputs go to one folder: its free space against what they need. A resumed run has its space. */
static enum ht_err check_disk(const struct ht__plan *plan, bool resuming, struct ht_diag *diag)
{
    struct ht__space space;
    HT_TRY(ht__space_ask(plan, &space, diag));
    return resuming ? HT_OK : ht__space_check_disk(plan, &space, diag);
}

/* An output must never be one of the files that are read. */
static enum ht_err check_paths(const struct ht__plan *plan, const struct ht__plan_file *file,
                               struct ht_diag *diag)
{
    char real[4096], out[4096];
    if (!realpath(file->path, out)) return HT_OK; /* does not exist */
    for (uint32_t i = 0; i < plan->checkpoint->n_files; i++)
        if (realpath(plan->checkpoint->files[i].path, real) && strcmp(real, out) == 0)
            return ht__fail(diag, HT_ERR_USAGE, file->path, -1, "the output would replace the source");
    return HT_OK;
}

static enum ht_err open_outputs(struct ht__plan *plan, bool resuming, struct ht_diag *diag)
{
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++) {
            struct ht__plan_file *file = &plan->outputs[i].files[f];
            HT_TRY(check_paths(plan, file, diag));
            HT_TRY(ht__output_open(&file->out, file->path, file->size, plan->job->options.overwrite,
                                   resuming, diag));
            HT_TRY(ht__output_write(&file->out, 0, file->head.data, file->head.len, diag));
        }
    return HT_OK;
}

/* Between tensors and after the last there is padding; a file that is written anew has zeros there by
 * itself, a resumed one too: its length never changes. */
static enum ht_err verify_all(struct ht__plan *plan, struct ht_diag *diag)
{
    struct ht__meter meter;
    uint64_t done = 0;
    ht__meter_begin(&meter, plan->job, "verify", "bytes", plan->out_bytes);
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            HT_TRY(ht__verify_file(plan, &plan->outputs[i].files[f], &meter, &done, diag));
    return HT_OK;
}

/* The caller frees it with free(), whatever the job's allocator is. */
static enum ht_err hand_out(struct ht__buf *buf, char **json, struct ht_diag *diag)
{
    const char *text = ht__buf_text(buf);
    *json = buf->failed ? NULL : strdup(text);
    return *json ? HT_OK : ht__fail_memory(diag, "report");
}

/* Syncing is what may fail, so it comes first; then the renames. When one fails all the same, what was
 * published before it goes again. */
static enum ht_err publish_all(struct ht__plan *plan, struct ht_diag *diag)
{
    enum ht_err err = HT_OK;
    for (size_t i = 0; i < plan->n_outputs && err == HT_OK; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files && err == HT_OK; f++)
            err = ht__output_sync(&plan->outputs[i].files[f].out, diag);
    for (size_t i = 0; i < plan->n_outputs && err == HT_OK; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files && err == HT_OK; f++)
            err = ht__output_publish(&plan->outputs[i].files[f].out, diag);
    return err;
}

static void retract_all(struct ht__plan *plan)
{
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            ht__output_retract(&plan->outputs[i].files[f].out);
}

static enum ht_err prepare(struct ht__plan *plan, struct ht__stream_result *result,
                           struct ht__journal *journal, struct ht_diag *diag)
{
    size_t n = plan->model->n_weights;
    journal->fd = -1;
    result->stats = ht__arena_array(&plan->arena, n, sizeof *result->stats);
    journal->finished = ht__arena_array(&plan->arena, n, sizeof *journal->finished);
    double *errors = ht__arena_array(&plan->arena, n * plan->n_outputs, sizeof *errors);
    if (!result->stats || !journal->finished || !errors) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < n; i++)
        result->stats[i].errors = errors + i * plan->n_outputs;
    return make_folder(plan->outputs[0].files[0].path, diag);
}

/* What a resumed run needs must all be there, or it starts anew. */
static bool parts_exist(const struct ht__plan *plan)
{
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++) {
            char part[4200];
            snprintf(part, sizeof part, "%s.part", plan->outputs[i].files[f].path);
            if (!ht__path_exists(part)) return false;
        }
    return true;
}

static enum ht_err work(struct ht__plan *plan, struct ht__stream_result *result,
                        struct ht__journal *journal, struct ht_diag *diag)
{
    bool resume = plan->job->options.resume && ht__journal_exists(plan) && parts_exist(plan), found;
    if (plan->job->options.resume && !resume)
        ht__log_printf(&plan->job->log, HT__LOG_INFO, "no earlier run to continue: starting anew");
    HT_TRY(check_disk(plan, resume, diag));
    HT_TRY(ht__journal_open(journal, plan, result->stats, resume, &found, diag));
    HT_TRY(open_outputs(plan, found, diag));
    struct ht__source_hash *hash;
    HT_TRY(ht__source_hash_start(plan, &hash, diag));
    enum ht_err err = ht__stream_run(plan, journal, result, diag);
    if (err == HT_OK) err = verify_all(plan, diag);
    if (err == HT_OK) err = ht__source_hash_wait(hash, diag);
    ht__source_hash_close(&hash);
    return err;
}

/* The report is made and stands on the disk before the outputs are published: a run that cannot tell
 * what it did has failed, and leaves nothing. */
static enum ht_err report_and_publish(struct ht__plan *plan, const struct ht__stream_result *result,
                                      struct ht__measured *measured, char **json, struct ht_diag *diag)
{
    const char *path = plan->job->options.report;
    struct ht__output file = {.fd = -1};
    struct ht__buf buf;
    ht__buf_init(&buf, plan->job->alloc);
    enum ht_err err = ht__report(plan, result, NULL, &buf, diag);
    if (err == HT_OK && json) err = hand_out(&buf, json, diag);
    if (err == HT_OK && path) err = ht__output_open(&file, path, 0, true, false, diag);
    if (err == HT_OK && path) err = ht__output_write(&file, 0, buf.data, buf.len, diag);
    if (err == HT_OK) err = ht__measured_write(measured, plan->job, diag);
    if (err == HT_OK) err = publish_all(plan, diag);
    if (err == HT_OK) err = ht__measured_publish(measured, diag);
    if (err == HT_OK && path) err = ht__output_publish(&file, diag);
    if (err != HT_OK) {
        retract_all(plan);
        if (json) {
            free(*json);
            *json = NULL;
        }
    }
    ht__output_close(&file);
    ht__buf_close(&buf);
    return err;
}

static enum ht_err run(struct ht__plan *plan, char **json, struct ht_diag *diag)
{
    struct ht__stream_result result = {0};
    struct ht__journal journal = {.fd = -1};
    struct ht__measured measured;
    HT_TRY(ht__measure_check(plan, diag));
    HT_TRY(prepare(plan, &result, &journal, diag));
    ht__measured_init(&measured, plan->job->alloc);
    enum ht_err err = work(plan, &result, &journal, diag);
    if (err == HT_OK) err = ht__measure_run(plan, &measured, diag);
    if (err == HT_OK) err = report_and_publish(plan, &result, &measured, json, diag);
    ht__measured_close(&measured);
    ht__journal_close(&journal, false);
    return err;
}

static enum ht_err open_plan(struct ht_job *job, bool rehearsal, struct ht__plan **plan, struct ht_diag *diag)
{
    job->rehearsal = rehearsal;
    enum ht_err err = ht__plan_open(job, plan, diag);
    job->rehearsal = false;
    return err;
}

/* Collecting importance takes minutes or hours: what can be refused is refused before. */
static enum ht_err rehearse(struct ht_job *job, struct ht_diag *diag)
{
    struct ht__plan *plan;
    struct ht__log log = job->log;
    job->log.line = NULL; /* the run itself will say it all */
    enum ht_err err = open_plan(job, true, &plan, diag);
    job->log = log;
    if (err != HT_OK) return err;
    for (size_t i = 0; i < plan->n_outputs && !job->options.overwrite; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files && err == HT_OK; f++)
            if (ht__path_exists(plan->outputs[i].files[f].path))
                err = ht__fail(diag, HT_ERR_EXISTS, plan->outputs[i].files[f].path, -1,
                               "the file exists; --overwrite replaces it");
    if (err == HT_OK) err = check_disk(plan, job->options.resume, diag);
    ht__plan_close(&plan);
    return err;
}

enum ht_err ht__job_run(struct ht_job *job, char **json, struct ht_diag *diag)
{
    struct ht__plan *plan;
    if (json) *json = NULL;
    HT_TRY(ht__hub_source(job, job->options.no_cache, diag));
    if (job->options.calibration) HT_TRY(rehearse(job, diag));
    HT_TRY(open_plan(job, false, &plan, diag));
    enum ht_err err = run(plan, json, diag);
    ht__plan_close(&plan);
    return err;
}

static enum ht_err estimate(const struct ht__plan *plan, char **json, struct ht_diag *diag)
{
    struct ht__estimate *e = ht__new(plan->job->alloc, sizeof *e);
    struct ht__buf buf;
    if (!e) return ht__fail_memory(diag, "estimate");
    ht__buf_init(&buf, plan->job->alloc);
    enum ht_err err = ht__estimate_make(plan, e, diag);
    if (err == HT_OK) err = ht__report(plan, NULL, e, &buf, diag);
    if (err == HT_OK) err = hand_out(&buf, json, diag);
    ht__buf_close(&buf);
    ht__free(plan->job->alloc, e);
    return err;
}

enum ht_err ht__job_estimate(struct ht_job *job, char **json, struct ht_diag *diag)
{
    struct ht__plan *plan;
    *json = NULL;
    HT_TRY(ht__hub_source(job, true, diag));
    job->estimating = true;
    enum ht_err err = open_plan(job, true, &plan, diag);
    if (err == HT_OK) {
        err = estimate(plan, json, diag);
        ht__plan_close(&plan);
    }
    job->estimating = false;
    return err;
}
