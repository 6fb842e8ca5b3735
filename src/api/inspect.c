#include "halftone/halftone.h"
#include "job/hub.h"
#include "job/inspect.h"

enum ht_err ht_inspect(const char *path, unsigned flags, char **json, struct ht_diag *diag)
{
    struct ht__buf buf;
    ht__diag_clear(diag);
    if (!path || !json) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no path or no place for the result");
    *json = NULL;
    ht__buf_init(&buf, NULL);
    enum ht_err err = ht__inspect(NULL, path, flags, &buf, diag);
    if (err == HT_OK) err = ht__buf_hand_out(&buf, path, json, diag);
    ht__buf_close(&buf);
    return err;
}

enum ht_err ht_job_inspect(struct ht_job *job, unsigned flags, char **json, struct ht_diag *diag)
{
    struct ht__buf buf;
    ht__diag_clear(diag);
    if (!job || !json || !job->options.source)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no job, no source or no place for the result");
    *json = NULL;
    ht__buf_init(&buf, NULL);
    struct ht__source source;
    enum ht_err err = ht__hub_source(job, true, &source, diag);
    if (err == HT_OK) err = ht__inspect(source.remote, source.path, flags, &buf, diag);
    if (err == HT_OK) err = ht__buf_hand_out(&buf, job->options.source, json, diag);
    ht__buf_close(&buf);
    return err;
}
