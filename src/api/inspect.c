#include "api/export.h"
#include "job/hub.h"
#include "job/inspect.h"

#include <string.h>

HT_EXPORT enum ht_err ht_inspect(const char *path, unsigned flags, char **json, struct ht_diag *diag)
{
    struct ht__buf buf;
    ht__diag_clear(diag);
    if (!path || !json) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no path or no place for the result");
    *json = NULL;
    ht__buf_init(&buf, NULL);
    enum ht_err err = ht__inspect(NULL, path, flags, &buf, diag);
    if (err == HT_OK && !(*json = strdup(ht__buf_text(&buf)))) err = ht__fail_memory(diag, path);
    ht__buf_close(&buf);
    return err;
}

HT_EXPORT enum ht_err ht_job_inspect(struct ht_job *job, unsigned flags, char **json, struct ht_diag *diag)
{
    struct ht__buf buf;
    ht__diag_clear(diag);
    if (!job || !json || !job->options.source) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job, no source or no place for the result");
    *json = NULL;
    ht__buf_init(&buf, NULL);
    enum ht_err err = ht__hub_source(job, true, diag);
    if (err == HT_OK) err = ht__inspect(ht__hub_remote(job), job->options.source, flags, &buf, diag);
    if (err == HT_OK && !(*json = strdup(ht__buf_text(&buf)))) err = ht__fail_memory(diag, job->options.source);
    ht__buf_close(&buf);
    return err;
}
