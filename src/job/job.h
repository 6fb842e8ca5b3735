/* A job: its options, and what the stages share. */
#ifndef HT_JOB_JOB_H
#define HT_JOB_JOB_H

#include "halftone/halftone.h"

#include "base/arena.h"
#include "base/list.h"
#include "base/run.h"
#include "hub/remote.h"

#include <pthread.h>

/* Values are as given: job/settings.h parses them. */
struct ht__options {
    const char *source, *output, *format, *name, *imatrix, *output_tensor_type, *token_embedding_type, *max_error;
    const char *prune_layers, *split_max_size, *split_max_tensors, *threads, *memory, *cpu, *report;
    const char *text, *tokens, *against, *ctx, *chunks, *retention, *choices, *html;
    const char *from_chunk, *save_every, *checkpoint_seconds, *calibration, *calibration_length, *calibration_stats,
        *calibration_seed, *effort, *layer_cache, *cache_type, *gpu, *gpu_count, *program, *fit, *bpw, *budget_time;
    const char *method, *awq_group_size, *part, *collect_part;
    const char *tokenizer, *batch_size, *cleanup_temp, *verbose; /* of recipe files alone: keys.def */
    struct ht__list type, include_weights, exclude_weights, tensor_type, rule, skip_modules, override_kv, fail_if,
        in_file, in_stats, take_from;
    struct ht__list include; /* patterns of pull */
    struct ht__list models;  /* not an option: what eval and compare look at */
    struct ht__list notes;   /* likewise: what a method became, and which keys change nothing */
    bool pure, strict, leave_output_tensor, allow_requantize, keep_split, vocab_only, overwrite, resume, no_source_hash,
        measure, fast;
    bool process_output, statistics;
    bool offline, no_cache; /* of a hub */
    bool convert;           /* not an option: the verb */
    bool writes;            /* likewise: it is quantize or convert, rather than none or estimate */
};

/* Where models that are named as ORG/NAME come from: see job/hub.h. */
struct ht__job_hub {
    struct ht__hub_settings settings; /* texts are the job's arena's */
    /* of the source, while the job runs */
    struct ht__hub *hub;
    struct ht__pulled pulled;
    bool is_pulled;
    struct ht__remote *remote;
    int socket;                       /* to a process that lends what is on the hub; 0: none */
    struct ht__lent *lent;            /* for the whole job: its greeting comes once */
    const char *asked, *path, *named; /* the name, what is opened, and what outputs are called after */
};

struct ht_job {
    struct ht__arena arena;        /* of the options */
    const struct ht__alloc *alloc; /* of all that the job needs */
    struct ht__options options;
    struct ht__job_hub hub;
    double measured_seconds; /* how long an estimate measures this machine */
    ht_progress_fn *progress;
    void *progress_ctx;
    ht_log_fn *log_line;
    void *log_ctx;
    pthread_mutex_t log_lock;
    struct ht__log log; /* hands lines to log_line, one at a time */
    atomic_bool cancelled;
};

/* NULL means malloc; an allocator must serve several threads at once and outlive the job. */
enum ht_err ht__job_open(const struct ht__alloc *alloc, struct ht_job **job);
void ht__job_close(struct ht_job **job);

/* Set by name; also "source" and "verb" (quantize or convert). */
enum ht_err ht__options_set(struct ht_job *job, const char *name, const char *value, struct ht_diag *diag);
/* The option that a key of a recipe file means (keys.def), or the name itself. */
const char *ht__options_key(const char *name);
/* One more sentence for the report. */
HT_MUST_CHECK enum ht_err ht__options_note(struct ht_job *job, const char *text, struct ht_diag *diag);
enum ht_err ht__options_load_yaml(struct ht_job *job, const char *path, struct ht_diag *diag);

/* The options that say what is in the files, each on a line of a YAML mapping, but for types and budgets. */
void ht__options_yaml(const struct ht_job *job, struct ht__buf *out);

/* "512M", "2G", "1.5GiB", "300000": bytes. K, M, G, T are decimal; Ki, Mi, Gi, Ti binary. */
enum ht_err ht__parse_size(const char *option, const char *text, uint64_t *bytes, struct ht_diag *diag);
enum ht_err ht__parse_count(const char *option, const char *text, uint64_t least, uint64_t most, uint64_t *value,
                            struct ht_diag *diag);

/* The job's allocator, log, progress and cancellation, without limits; for as long as the job is open. */
struct ht__run ht__job_run_context(struct ht_job *job);

#endif
