/* Opening and closing a job. */
#include "job/hub.h"

static void log_line(void *ctx, enum ht__log_level level, const char *line)
{
    struct ht_job *job = ctx;
    pthread_mutex_lock(&job->log_lock);
    if (job->log_line) job->log_line(job->log_ctx, (int)level, line);
    pthread_mutex_unlock(&job->log_lock);
}

enum ht_err ht__job_open(const struct ht__alloc *alloc, struct ht_job **out)
{
    struct ht_job *job = ht__new(alloc, sizeof *job);
    *out = job;
    if (!job) return HT_ERR_MEMORY;
    job->alloc = alloc;
    job->measured_seconds = .3; /* not felt as waiting */
    ht__arena_init(&job->arena, alloc);
    if (pthread_mutex_init(&job->log_lock, NULL) != 0) {
        ht__free(alloc, job);
        *out = NULL;
        return HT_ERR_MEMORY;
    }
    job->log = (struct ht__log){log_line, job};
    return HT_OK;
}

struct ht__run ht__job_run_context(struct ht_job *job)
{
    return (struct ht__run){.alloc = job->alloc,
                            .log = &job->log,
                            .cancelled = &job->cancelled,
                            .progress = job->progress,
                            .progress_ctx = job->progress_ctx};
}

void ht__job_close(struct ht_job **p)
{
    struct ht_job *job = *p;
    if (!job) return;
    ht__hub_job_close(job);
    pthread_mutex_destroy(&job->log_lock);
    ht__arena_close(&job->arena);
    ht__free(job->alloc, job);
    *p = NULL;
}
