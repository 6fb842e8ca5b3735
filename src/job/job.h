/* A job: its options, and what the stages share. */
#ifndef HT_JOB_JOB_H
#define HT_JOB_JOB_H

#include "halftone/halftone.h"

#include "base/arena.h"
#include "base/log.h"
#include "hub/remote.h"
#include "kernels/codec.h"

#include <pthread.h>
#include <stdatomic.h>

struct ht__list {
    const char **items;
    size_t n, cap;
};

/* Values are as given; stages parse what they need and say which option was wrong. */
struct ht__options {
    const char *source, *output, *name, *imatrix, *output_tensor_type, *token_embedding_type;
    const char *prune_layers, *split_max_size, *split_max_tensors, *threads, *memory, *cpu, *report;
    const char *text, *tokens, *against, *ctx, *chunks, *retention, *choices, *html;
    const char *from_chunk, *save_every, *calibration, *layer_cache, *cache_type, *gpu, *gpu_count;
    struct ht__list type, include_weights, exclude_weights, tensor_type, override_kv, fail_if, in_file;
    struct ht__list include; /* patterns of pull */
    struct ht__list models; /* not an option: what eval and compare look at */
    bool pure, leave_output_tensor, allow_requantize, keep_split, vocab_only, overwrite, resume, no_source_hash, measure, fast;
    bool process_output, statistics;
    bool offline, no_cache; /* of a hub */
    bool convert; /* not an option: the verb */
    bool writes;  /* likewise: it is quantize or convert, rather than none or estimate */
};

/* Where models that are named as ORG/NAME come from: see job/hub.h. */
struct ht__job_hub {
    struct ht__hub_settings settings; /* texts are the job's arena's */
    /* of the source, while the job runs */
    struct ht__hub *hub;
    struct ht__pulled pulled;
    bool is_pulled;
    struct ht__remote *remote;
    const char *asked, *path, *named; /* the name, what is opened, and what outputs are called after */
};

struct ht_job {
    struct ht__arena arena; /* of the options */
    const struct ht__alloc *alloc; /* of all that the job needs */
    struct ht__options options;
    struct ht__job_hub hub;
    bool rehearsal; /* a plan that is not run: importance is not collected for it */
    double measured_seconds; /* how long an estimate measures this machine */
    bool estimating; /* that it does not fit is an answer, not an error */
    bool survey;     /* likewise that a mix cannot be made; importance is taken to be at hand where one needs it */
    ht_progress_fn *progress;
    void *progress_ctx;
    ht_log_fn *log_line;
    void *log_ctx;
    pthread_mutex_t log_lock;
    struct ht__log log; /* hands lines to log_line, one at a time */
    atomic_bool cancelled;
};

/* NULL stands for malloc; an allocator must serve several threads at once and outlive the job. */
enum ht_err ht__job_open(const struct ht__alloc *alloc, struct ht_job **job);
void ht__job_close(struct ht_job **job);

/* Set by name; also "source" and "verb" (quantize or convert). */
enum ht_err ht__options_set(struct ht_job *job, const char *name, const char *value,
                            struct ht_diag *diag);
enum ht_err ht__options_load_yaml(struct ht_job *job, const char *path, struct ht_diag *diag);

/* "512M", "2G", "1.5GiB", "300000": bytes. K, M, G, T are decimal; Ki, Mi, Gi, Ti binary. */
enum ht_err ht__parse_size(const char *option, const char *text, uint64_t *bytes,
                           struct ht_diag *diag);
enum ht_err ht__parse_count(const char *option, const char *text, uint64_t least, uint64_t most,
                            uint64_t *value, struct ht_diag *diag);

static inline bool ht__job_cancelled(const struct ht_job *job)
{
    return atomic_load_explicit(&job->cancelled, memory_order_relaxed);
}

/* Tokens a chunk, as asked for; NULL: not. To an estimate the same option is the context that models will run with. */
static inline const char *ht__chunk_option(const struct ht_job *job)
{
    return job->estimating && !job->options.writes ? NULL : job->options.ctx;
}

#endif
