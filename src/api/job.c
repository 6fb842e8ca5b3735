/* Jobs: argument checks and one call down. */
#include "halftone/halftone.h"
#include "hub/name.h"
#include "job/calibrate.h"
#include "job/eval.h"
#include "job/hub.h"
#include "job/imatrix.h"
#include "job/quantize.h"
#include "advise/gpus.h"

#include <string.h>

enum ht_err ht_job_open(struct ht_job **job)
{
    return job ? ht__job_open(NULL, job) : HT_ERR_USAGE;
}

void ht_job_close(struct ht_job **job)
{
    if (job) ht__job_close(job);
}

enum ht_err ht_job_set(struct ht_job *job, const char *name, const char *value, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !name) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job or no option's name");
    if (strncmp(name, "hub-", 4) == 0) return ht__hub_option(job, name, value, diag);
    return ht__options_set(job, name, value, diag);
}

enum ht_err ht_job_config(struct ht_job *job, const char *path, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !path) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job or no file");
    return ht__options_load_yaml(job, path, diag);
}

void ht_job_on_progress(struct ht_job *job, ht_progress_fn *fn, void *ctx)
{
    job->progress = fn;
    job->progress_ctx = ctx;
}

void ht_job_on_log(struct ht_job *job, ht_log_fn *fn, void *ctx)
{
    job->log_line = fn;
    job->log_ctx = ctx;
}

void ht_job_cancel(struct ht_job *job)
{
    if (job) atomic_store_explicit(&job->cancelled, true, memory_order_relaxed);
}

enum ht_err ht_job_estimate(struct ht_job *job, char **json, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !json) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job or no place for the result");
    return ht__job_estimate(job, json, diag);
}

enum ht_err ht_job_recommend(struct ht_job *job, char **json, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !json) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job or no place for the result");
    return ht__job_recommend(job, json, diag);
}

bool ht_gpu_at(size_t index, struct ht_gpu_info *info)
{
    const struct ht__gpu *gpu = ht__gpu_at(index);
    if (gpu) *info = (struct ht_gpu_info){gpu->name, gpu->memory, gpu->bandwidth};
    return gpu != NULL;
}

enum ht_err ht_job_run(struct ht_job *job, char **json, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job");
    return ht__job_run(job, json, diag);
}

enum ht_err ht_job_eval(struct ht_job *job, bool compare, char **json, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !json) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job or no place for the result");
    return ht__job_eval(job, compare, json, diag);
}

enum ht_err ht_job_imatrix(struct ht_job *job, char **json, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job");
    return ht__job_imatrix(job, json, diag);
}

enum ht_err ht_job_calibrate(struct ht_job *job, char **json, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job");
    return ht__job_calibrate(job, json, diag);
}

bool ht_hub_is_name(const char *text)
{
    return text && ht__hub_is_wanted(text);
}

enum ht_err ht_hub_pull(struct ht_job *job, const char *name, char **json, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !name || !json)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job, no name or no place for the result");
    return ht__hub_pull(job, name, json, diag);
}

enum ht_err ht_hub_lend(struct ht_job *job, const char *name, int socket, void (*ready)(void *ctx, const char *json),
                        void *ctx, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !name || !ready || socket < 0)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job, no name, no socket or nobody to tell");
    return ht__hub_lend(job, name, socket, ready, ctx, diag);
}

enum ht_err ht_hub_info(struct ht_job *job, const char *name, char **json, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !name || !json)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job, no name or no place for the result");
    return ht__hub_info(job, name, json, diag);
}

enum ht_err ht_hub_search(struct ht_job *job, const char *text, int limit, char **json, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!job || !text || !json || limit < 1)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job, no text, no limit or no place for the result");
    return ht__hub_search(job, text, limit < 100 ? limit : 100, json, diag);
}

enum ht_err ht_quantize(const char *source, const char *types, const char *out_dir, struct ht_diag *diag)
{
    struct ht_job *job;
    ht__diag_clear(diag);
    if (!source || !types || !out_dir)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a source, types and a folder");
    if (ht_job_open(&job) != HT_OK) return ht__fail_memory(diag, "job");
    enum ht_err err = ht_job_set(job, "source", source, diag);
    if (err == HT_OK) err = ht_job_set(job, "type", types, diag);
    if (err == HT_OK) err = ht_job_set(job, "output", out_dir, diag);
    if (err == HT_OK) err = ht_job_run(job, NULL, diag);
    ht_job_close(&job);
    return err;
}
