/*
 * The divergence that has come about after each layer: the final norm and the output matrix of each model are put
 * behind every layer of it (the "logit lens"), and the distributions compared. Only a few positions are looked at,
 * as each costs as much as an output for every layer.
 */
#ifndef HT_EVAL_LOGIT_LENS_H
#define HT_EVAL_LOGIT_LENS_H

#include "engine/engine.h"

enum {
    HT__LOGIT_LENS_PASSES = 8, /* passes with positions, spread over the run */
    HT__LOGIT_LENS_ROWS = 16,  /* positions in each, spread over its scored tokens */
};

struct ht__logit_lens_model {
    float *rows; /* layer x position x n_embd, of this pass; NULL: this model has another number of layers */
    double *kld; /* by layer: sums, then means; the reference has none */
    int64_t n_embd;
};

struct ht__logit_lens {
    const struct ht__alloc *alloc;
    struct ht__logit_lens_model *models; /* the reference first */
    size_t n_models;
    int n_layers;
    int at[HT__LOGIT_LENS_ROWS], n; /* rows of this pass that are kept; n of 0: none */
    int n_positions;                /* of all passes */
};

/* engine_of gives the index-th model's engine; 0 is the reference. Close it on failure too. */
HT_MUST_CHECK enum ht_err ht__logit_lens_open(struct ht__logit_lens *lens,
                                              struct ht__engine *(*engine_of)(void *ctx, size_t index), void *ctx,
                                              size_t n_models, const struct ht__alloc *alloc, struct ht_diag *diag);
void ht__logit_lens_close(struct ht__logit_lens *lens);

/* Which rows of pass `pass` of n_passes are kept: its chunks are n_seqs x n_ctx tokens, scored from n_ctx / 2 on. */
void ht__logit_lens_plan(struct ht__logit_lens *lens, size_t pass, size_t n_passes, int n_seqs, int n_ctx);
/* The residual stream x of a model after a layer. */
void ht__logit_lens_keep(struct ht__logit_lens *lens, size_t model, int layer, const float *x);
/* The rows that were kept, from the first-th on. */
const float *ht__logit_lens_rows(const struct ht__logit_lens *lens, size_t model, int layer, int first);

/* Sums become means. */
void ht__logit_lens_finish(struct ht__logit_lens *lens);

#endif
