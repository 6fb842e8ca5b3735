/* Jobs: argument checks and one call down. */
#include "api/export.h"
#include "job/run.h"

#include <stdlib.h>
#include <string.h>

static void log_line(void *ctx, enum ht__log_level level, const char *line)
{
    struct ht_job *job = ctx;
    pthread_mutex_lock(&job->log_lock);
    if (job->log_line) job->log_line(job->log_ctx, (int)level, line);
    pthread_mutex_unlock(&job->log_lock);
}

HT_EXPORT enum ht_err ht_job_open(struct ht_job **out)
{
    if (!out) return HT_ERR_USAGE;
    struct ht_job *job = calloc(1, sizeof *job);
    *out = job;
    if (!job) return HT_ERR_MEMORY;
    ht__arena_init(&job->arena, NULL);
    pthread_mutex_init(&job->log_lock, NULL);
    job->log = (struct ht__log){log_line, job};
    return HT_OK;
}

HT_EXPORT void ht_job_close(struct ht_job **p)
{
    if (!p || !*p) return;
    pthread_mutex_destroy(&(*p)->log_lock);
    ht__arena_close(&(*p)->arena);
    free(*p);
    *p = NULL;
}

HT_EXPORT enum ht_err ht_job_set(struct ht_job *job, const char *name, const char *value,
                                 struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !name) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job or no option's name");
    return ht__options_set(job, name, value, diag);
}

HT_EXPORT enum ht_err ht_job_config(struct ht_job *job, const char *path, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !path) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job or no file");
    return ht__options_load_yaml(job, path, diag);
}

HT_EXPORT void ht_job_on_progress(struct ht_job *job, ht_progress_fn *fn, void *ctx)
{
    job->progress = fn;
    job->progress_ctx = ctx;
}

HT_EXPORT void ht_job_on_log(struct ht_job *job, ht_log_fn *fn, void *ctx)
{
    job->log_line = fn;
    job->log_ctx = ctx;
}

HT_EXPORT void ht_job_cancel(struct ht_job *job)
{
    if (job) atomic_store_explicit(&job->cancelled, true, memory_order_relaxed);
}

static enum ht_err hand_out(struct ht__buf *buf, char **json, struct ht_diag *diag)
{
    *json = strdup(ht__buf_text(buf));
    return *json && !buf->failed ? HT_OK : ht__fail_memory(diag, "report");
}

HT_EXPORT enum ht_err ht_job_estimate(struct ht_job *job, char **json, struct ht_diag *diag)
{
    struct ht__plan *plan;
    struct ht__buf buf;
    ht__diag_clear(diag);
    if (!job || !json) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job or no place for the result");
    *json = NULL;
    HT_TRY(ht__plan_open(job, &plan, diag));
    ht__buf_init(&buf, NULL);
    enum ht_err err = ht__report(plan, NULL, &buf, diag);
    if (err == HT_OK) err = hand_out(&buf, json, diag);
    ht__buf_close(&buf);
    ht__plan_close(&plan);
    return err;
}

HT_EXPORT enum ht_err ht_job_run(struct ht_job *job, char **json, struct ht_diag *diag)
{
    struct ht__plan *plan;
    struct ht__stream_result result;
    struct ht__buf buf;
    ht__diag_clear(diag);
    if (!job) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job");
    if (json) *json = NULL;
    HT_TRY(ht__plan_open(job, &plan, diag));
    ht__buf_init(&buf, NULL);
    enum ht_err err = ht__plan_run(plan, &result, diag);
    if (err == HT_OK) err = ht__report(plan, &result, &buf, diag);
    if (err == HT_OK && job->options.report)
        err = ht__file_publish(job->options.report, buf.data, buf.len, diag);
    if (err == HT_OK && json) err = hand_out(&buf, json, diag);
    ht__buf_close(&buf);
    ht__plan_close(&plan);
    return err;
}

HT_EXPORT enum ht_err ht_quantize(const char *source, const char *types, const char *out_dir,
                                  struct ht_diag *diag)
{
    struct ht_job *job;
    ht__diag_clear(diag);
    if (!source || !types || !out_dir)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "source, types and folder are all wanted");
    if (ht_job_open(&job) != HT_OK) return ht__fail_memory(diag, "job");
    enum ht_err err = ht_job_set(job, "source", source, diag);
    if (err == HT_OK) err = ht_job_set(job, "type", types, diag);
    if (err == HT_OK) err = ht_job_set(job, "output", out_dir, diag);
    if (err == HT_OK) err = ht_job_run(job, NULL, diag);
    ht_job_close(&job);
    return err;
}
