/*
 * Perplexity as llama-perplexity computes it, and the divergence of models from a reference in the same
 * run.
 *
 * The text is cut into independent chunks of n_ctx tokens; the first token of each is replaced by
 * `bos` where the model wants one; predictions of positions n_ctx/2+1 … n_ctx-1 are scored, which
 * have half a chunk or more before them. Every engine passes over a batch of chunks and keeps its
 * last activations; logits are then made from them in blocks of rows, for all models the same rows.
 * So nothing is written down, the reference runs once for all models, and memory does not grow with
 * context times vocabulary.
 */
#ifndef HT_EVAL_PERPLEXITY_H
#define HT_EVAL_PERPLEXITY_H

#include "engine/engine.h"
#include "engine/memory.h"
#include "eval/divergence.h"
#include "eval/passes.h"

/* One model. The caller fills engine; the rest is filled by a run. */
struct ht__scored {
    struct ht__engine *engine;
    struct ht__divergence divergence;
    double *layer_error; /* by layer: relative RMSE of the residual stream; NULL: not known */
    double *layer_kld;   /* by layer: mean divergence at its output, see logit_lens.h; NULL: not known */
    int n_layers;
    int lens_positions; /* that layer_kld is a mean over */
    double seconds;     /* that its engine ran */
    uint64_t tokens;    /* that went through it */
};

/* Tokens done, of all models together; true stops the run. */
typedef bool ht__eval_tell_fn(void *ctx, uint64_t tokens);

struct ht__perplexity_params {
    const int32_t *tokens; /* n_chunks * n_ctx */
    size_t n_chunks;
    int n_ctx, n_seqs;         /* n_seqs: chunks a pass, as the engines were opened */
    int32_t bos;               /* -1: the first token of a chunk stays */
    struct ht__passes *passes; /* that are known, and that are wanted; NULL: all are made */
    int n_threads;
    ht__eval_tell_fn *tell;
    void *tell_ctx;
    const struct ht__alloc *alloc;
};

/* Bytes that comparing logits takes, for as many models beside each other. */
double ht__perplexity_bytes(const struct ht__hparams *hparams, const struct ht__engine_use *use);

/* How many passes a run has. */
size_t ht__perplexity_passes(const struct ht__perplexity_params *params);

/* reference: NULL, or an engine of its own, or one of `models`. Close what was filled with
 * ht__scored_close. */
HT_MUST_CHECK enum ht_err ht__perplexity_run(struct ht__scored *const *models, size_t n_models,
                                             struct ht__scored *reference, const struct ht__perplexity_params *params,
                                             struct ht_diag *diag);
void ht__scored_close(struct ht__scored *scored, const struct ht__alloc *alloc);

#endif
