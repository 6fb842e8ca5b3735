/* The parts of measuring, for the files eval*.c. */
#ifndef HT_EVAL_PARTS_H
#define HT_EVAL_PARTS_H

#include "eval/perplexity.h"
#include "engine/memory.h"
#include "eval/eval.h"
#include "base/progress.h"

struct ht__tokenizer;

struct ht__eval_model {
    const char *path, *label; /* the label: the file's or folder's name */
    const char *type;         /* "Q4_K_M" */
    uint64_t size_bytes;      /* of its files */
    double bpw;               /* bits of all tensors over all weights */
    struct ht__checkpoint *checkpoint;
    struct ht__model *model;
    struct ht__scored scored; /* scored.engine: open from ht__eval_open on */
    struct ht__alloc alloc;   /* counts what this model holds */
    struct ht__eval_memory {
        const struct ht__alloc *from;
        uint64_t now, most;
    } memory;
    struct ht__divergence_result result;
    bool front; /* no other model is both smaller and nearer to the reference */
    /* retention: continuations of all prompts, those that are equal, and how long the equal start
     * is */
    int n_prompts, n_equal;
    double equal_tokens;
    /* multiple choice */
    size_t n_tasks, n_right, n_right_by_length;
};

struct ht__eval {
    struct ht__run run;
    const struct ht__eval_settings *settings;
    struct ht__arena arena;
    struct ht__eval_model *models; /* those asked for, then the reference if it is none of them */
    size_t n_models, n_all;
    struct ht__eval_model *reference; /* or NULL */
    const char *text_name;
    int32_t *tokens;
    size_t n_tokens, n_chunks;
    int n_ctx, n_seqs, n_batch;   /* as the engines are open: n_batch tokens a pass, at most n_seqs sequences */
    uint64_t memory;              /* for the matrices of all models; 0: no cap */
    struct ht__engine_need needs; /* of all models */
    int32_t bos;
    double seconds;
    struct ht__passes passes; /* without `at`: all are made here, and none is kept */
    struct ht__progress progress;
    uint64_t progress_base; /* tokens of earlier runs */
};

/* passes_of.c: which passes are made here, and those that others made; then, of a part, the file. Engines are open. */
HT_MUST_CHECK enum ht_err ht__eval_open_passes(struct ht__eval *eval, const struct ht__perplexity_params *params,
                                               struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__eval_keep_passes(const struct ht__eval *eval, struct ht_diag *diag);

/* Refuses a model whose tokens are not the reference's: their probabilities could not be compared. */
HT_MUST_CHECK enum ht_err ht__eval_same_vocabulary(const struct ht__eval_model *model,
                                                   const struct ht__eval_model *reference, struct ht_diag *diag);
/* Fills tokens, n_chunks, bos and text_name. */
HT_MUST_CHECK enum ht_err ht__eval_read_text(struct ht__eval *eval, struct ht_diag *diag);

/* The tokenizer of the reference, or of the first model. */
HT_MUST_CHECK enum ht_err ht__eval_open_tokenizer(struct ht__eval *eval, struct ht__tokenizer **out,
                                                  struct ht_diag *diag);

/* With the run's threads, memory and cancellation. */
HT_MUST_CHECK enum ht_err ht__eval_open_engine(struct ht__eval *eval, struct ht__eval_model *model,
                                               const struct ht__engine_params *params, struct ht_diag *diag);
/* Tokens of each prompt of the retention: the most that are taken. */
enum { HT__PROMPT_TOKENS = 24 };
/* Tokens of all prompts and continuations; 0 where none are asked for. */
int ht__eval_continued(const struct ht__eval *eval);
/* Both do nothing when they were not asked for. Retention is last: it takes the reference's engine. */
HT_MUST_CHECK enum ht_err ht__eval_choices(struct ht__eval *eval, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__eval_retention(struct ht__eval *eval, struct ht_diag *diag);

/* Bytes that running the model takes: what it allocated at most, and its mapped files. */
uint64_t ht__eval_memory(const struct ht__eval *eval, const struct ht__eval_model *model);

/* Progress; true stops. ctx is the eval. */
bool ht__eval_tell(void *ctx, uint64_t tokens);

#endif
