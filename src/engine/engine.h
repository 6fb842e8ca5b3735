/*
 * Running a model: tokens in, logits out. One decoder for every architecture; weights in any numeric format.
 *
 * A pass takes n_seqs sequences of n_tokens each, all at position `at`; or runs, each of a sequence, a length and a
 * position of its own. With a cache, later passes continue the sequences; without one, a pass stands for itself, and keys
 * and values are kept for one layer only.
 * Results do not depend on the threads or on the memory cap; nor, unless `fast`, on how tokens are grouped into
 * passes or on the CPU. `fast` multiplies quantized weights with activations rounded to eight bits (relative error of
 * a product about 0.4 %), BF16 weights with activations in BF16 where that is what the CPU multiplies (less), and takes
 * sums in the order that suits the CPU.
 */
#ifndef HT_ENGINE_ENGINE_H
#define HT_ENGINE_ENGINE_H

#include "base/log.h"
#include "base/pool.h"
#include "model/hparams.h"
#include "engine/weights.h"

#include <stdatomic.h>

struct ht__engine;
struct ht__backend;

struct ht__engine_params {
    int n_threads;         /* 0: every core */
    uint64_t memory;       /* bytes for matrices; 0: no cap */
    const char *spill_dir; /* see struct ht__weights_params; NULL: none */
    int n_ctx;             /* longest sequence */
    int n_seqs;            /* most sequences a pass */
    int n_batch;           /* most tokens a pass, of all sequences together */
    bool fast;             /* activations in eight bits where the weights are quantized; see below */
    bool wide;  /* with fast: activations of types of 256-weight blocks share a scale by 256, as in llama.cpp */
    bool cache; /* keep keys and values of all layers */
    const struct ht__backend *backend; /* NULL: the first of backends.def */
    const atomic_bool *cancelled;      /* may be NULL: ends a pass within its layer, or with an observer behind it */
    const char *name;                  /* of the model, for errors; outlives the engine; may be NULL */
};

HT_MUST_CHECK enum ht_err ht__engine_open(const struct ht__model *model, const struct ht__engine_params *params,
                                          const struct ht__alloc *alloc, struct ht__engine **out, struct ht_diag *diag);
void ht__engine_close(struct ht__engine **engine);

const char *ht__engine_name(const struct ht__engine *engine); /* "model" where it was given none */
const struct ht__hparams *ht__engine_hparams(const struct ht__engine *engine);
struct ht__weights_stats ht__engine_stats(const struct ht__engine *engine);

/*
 * Called before a matrix is multiplied: rows x of n_in floats, n of them, that matrix `mat` of the weight
 * (an expert; 0 otherwise) takes as input. From the thread that runs the pass.
 */
typedef void ht__observe_fn(void *ctx, const struct ht__weight *weight, int64_t mat, const float *x, int64_t n_rows,
                            int64_t n_in);
void ht__engine_observe(struct ht__engine *engine, ht__observe_fn *fn, void *ctx);
/* Called after a layer: the residual stream, n_rows x n_embd. */
typedef void ht__layer_fn(void *ctx, int layer, const float *x, int64_t n_rows);
void ht__engine_on_layer(struct ht__engine *engine, ht__layer_fn *fn, void *ctx);

/* Are these all tokens of the model's vocabulary? `where` names them in the error. */
HT_MUST_CHECK enum ht_err ht__engine_check_tokens(const struct ht__engine *engine, const char *where,
                                                  const int32_t *tokens, size_t n, struct ht_diag *diag);
/* tokens: n_seqs x n_tokens, a sequence's together. Token ids outside the vocabulary are refused. */
HT_MUST_CHECK enum ht_err ht__engine_pass(struct ht__engine *engine, const int32_t *tokens, int n_seqs, int n_tokens,
                                          int at, struct ht_diag *diag);
/* Some tokens of one sequence; with a cache, at > 0 continues what the sequence has before `at`. */
struct ht__engine_run {
    int seq, n_tokens, at;
};
/* tokens: those of the runs, one run after the other; no sequence may be in two of them. */
HT_MUST_CHECK enum ht_err ht__engine_pass_runs(struct ht__engine *engine, const int32_t *tokens,
                                               const struct ht__engine_run *runs, int n_runs, struct ht_diag *diag);
/* Logits after rows of the last pass, counted over all runs: n x n_vocab. n_batch rows at most. */
HT_MUST_CHECK enum ht_err ht__engine_row_logits(struct ht__engine *engine, const int *rows, int n, float *logits,
                                                struct ht_diag *diag);
/* The last layer's output behind the final norm, of n rows of the last pass from `row` on: n x n_embd. */
HT_MUST_CHECK enum ht_err ht__engine_row_states(struct ht__engine *engine, int row, int n, float *states,
                                                struct ht_diag *diag);
/* Sequence `to` becomes what the first n positions of `from` are. With a cache only. */
void ht__engine_copy_seq(struct ht__engine *engine, int from, int to, int n);
/* Logits after token `token` of sequence `seq` of the last pass, n of them one after the other, running on into
 * the next sequences: n x n_vocab. */
HT_MUST_CHECK enum ht_err ht__engine_logits(struct ht__engine *engine, int seq, int token, int n, float *logits,
                                            struct ht_diag *diag);

/*
 * A pass in pieces, for callers that keep the residual stream themselves: x has n_seqs x n_tokens rows of n_embd floats,
 * a sequence's together, from position 0 on. embed fills it, layer carries it through one layer.
 */
HT_MUST_CHECK enum ht_err ht__engine_embed(struct ht__engine *engine, const int32_t *tokens, int n_seqs, int n_tokens,
                                           float *x, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__engine_layer(struct ht__engine *engine, int layer, float *x, int n_seqs, int n_tokens,
                                           struct ht_diag *diag);

/* Where a layer may be left and gone on with later, so that a caller may change weights in between. */
enum ht__mark {
    HT__MARK_START,
    HT__MARK_ATTENDED, /* before the output matrix of attention; its input is kept */
    HT__MARK_FEED,     /* attention is in the residual stream */
    HT__MARK_HIDDEN,   /* before the last matrix of the feed-forward; its input is kept */
    HT__MARK_END,
};
/* Floats a token that are kept at a mark beside the residual stream; -1: this layer cannot be left there. */
int64_t ht__engine_mark_width(const struct ht__engine *engine, int layer, enum ht__mark mark);

struct ht__stretch {
    int layer;
    enum ht__mark from, to;
    const float *rows; /* what is kept at `from`: n_seqs x n_tokens x its width */
    float *kept;       /* gets the same of `to` */
};
/* ht__engine_layer from one mark to another. An observer sees what is multiplied in between. */
HT_MUST_CHECK enum ht_err ht__engine_stretch(struct ht__engine *engine, const struct ht__stretch *stretch, float *x,
                                             int n_seqs, int n_tokens, struct ht_diag *diag);
/* Gives back memory: of layers' matrices, this one's among them, until they are needed again (ht__engine_need's `turns` at least); of
 * those outside layers for good: no tokens, and no logits from now on. Nothing where files are mapped. */
void ht__engine_release(struct ht__engine *engine, int layer);
void ht__engine_drop_outside(struct ht__engine *engine);
/* What the output matrix takes of n rows of the residual stream (n_batch at most): n x n_embd. */
void ht__engine_output_input(struct ht__engine *engine, const float *x, int n, float *out);

/* Other weights in the place of the model's, in ht__engine_stretch and, of the output matrix, in ht__engine_logit_lens:
 * n_out x n_in numbers of all matrices of a weight in some format, which must last as long as that runs; rows NULL: its own. fn
 * NULL: no more of that. */
struct ht__replacement {
    const struct ht__codec *type;
    const void *rows;
};
typedef struct ht__replacement ht__replace_fn(void *ctx, const struct ht__weight *weight);
void ht__engine_replace(struct ht__engine *engine, ht__replace_fn *fn, void *ctx);
/*
 * Other inputs of products: n rows of n_in floats, ldx apart, become those of out, which lie together. False: this weight takes
 * what it would take anyway. From the thread that runs the pass. fn NULL: no more of that.
 */
typedef bool ht__inputs_fn(void *ctx, const struct ht__weight *weight, const float *x, int64_t ldx, int64_t n,
                           int64_t n_in, float *out);
HT_MUST_CHECK enum ht_err ht__engine_inputs(struct ht__engine *engine, ht__inputs_fn *fn, void *ctx,
                                            struct ht_diag *diag);
/* An expert that a token is sent to, and its share of the sum. */
struct ht__route {
    int expert;
    float share;
};
/*
 * In ht__engine_stretch: routes gets those of every row, rows x hparams.n_used, one row after the other, as the layer's router
 * chooses them; or, with `take`, experts are sent the tokens that it says, whatever the router would choose. NULL: no more of that.
 */
void ht__engine_routes(struct ht__engine *engine, struct ht__route *routes, bool take);

/* For an observer: the residual stream that what it sees was made from, n_rows x n_embd. */
const float *ht__engine_stream(const struct ht__engine *engine);
/* What the products of this weight are multiplied with before they are added to the residual stream; 0: they are not added
 * to it as they are. */
double ht__engine_stream_share(const struct ht__engine *engine, const struct ht__weight *weight);
/* What is added to these products before that; NULL: nothing. */
const float *ht__engine_stream_bias(const struct ht__engine *engine, const struct ht__weight *weight);
/* For an observer, in ht__engine_stretch: it has seen what it came for. The layer ends without computing, x is as it was. */
void ht__engine_enough(struct ht__engine *engine);

/* Logits that n rows of the residual stream (n_batch at most) would have if the last layer were behind them: the final
 * norm and the output matrix. No observer is called. */
void ht__engine_logit_lens(struct ht__engine *engine, const float *x, int n, float *logits);

/* Shows the observer what the output matrix would take after the last pass: every token's row, without the product. */
void ht__engine_show_output(struct ht__engine *engine);

#endif
