/* The inside of an engine, for the files of its folder. */
#ifndef HT_ENGINE_STATE_H
#define HT_ENGINE_STATE_H

#include "engine/backends/backend.h"
#include "engine/engine.h"
#include "kernels/ops/ops.h"

/* Keys and values, as floats: [layer][sequence][key-value head][position][length]. */
struct ht__cache {
    float *k, *v;
    size_t k_head, v_head, k_seq, v_seq, k_layer, v_layer; /* strides in floats */
    bool every_layer;
};

struct ht__rope {
    float *cos_sin; /* [position][n_rot / 2][2] */
};

struct ht__engine {
    const struct ht__alloc *alloc;
    struct ht__engine_params params;
    struct ht__hparams hparams;
    struct ht__weights *weights;
    const struct ht__ops *ops;
    struct ht__pool *pool;
    struct ht__device *device; /* that multiplies */
    struct ht__cache cache;
    struct ht__rope rope, sliding_rope;
    ht__observe_fn *observe;
    void *observe_ctx;
    ht__layer_fn *on_layer;
    void *layer_ctx;
    ht__replace_fn *replace;
    void *replace_ctx;
    ht__inputs_fn *inputs;
    void *inputs_ctx;
    float *taken; /* what it gives: n_batch x widest; NULL before the first */
    int64_t widest;
    struct ht__route *routes;
    bool take_routes;
    bool enough;            /* of this layer: nothing is multiplied any more */
    enum ht__mark from, to; /* what of a layer is computed */
    /* buffers for n_batch tokens */
    float *x, *normed, *attended, *out; /* n_embd, or heads x value_len if that is more */
    float *q, *k, *v;
    float *hidden, *hidden2; /* feed-forward: the widest */
    float *latent;
    float *scratch; /* per thread: HT__MATMUL_SCRATCH */
    float *scores;  /* per thread: a block of attention */
    size_t n_scores;
    struct ht__moe *moe;
    /* the pass */
    struct ht__engine_run *runs;
    int n_runs, n_rows;   /* rows: tokens of all runs together */
    int n_seqs, n_tokens; /* of a pass whose sequences are alike; of another 0 */
    struct ht_diag *diag;
};

/* Is the pass cancelled? An observer sees whole layers or nothing of them: with one, layers are finished. */
static inline bool ht__engine_stopped(const struct ht__engine *e)
{
    return e->params.cancelled && atomic_load_explicit(e->params.cancelled, memory_order_relaxed);
}

/* y [n x n_out] = x [n x n_in] * matrix `mat`, plus its bias. Rows of x are ldx apart, of y ldy. */
void ht__engine_matmul(struct ht__engine *e, const struct ht__kept_matrix *m, int64_t mat, const float *x, int64_t ldx,
                       int64_t n, float *y, int64_t ldy);
/* The same with the x of the product before it, which need not be put in eight bits again. */
void ht__engine_matmul_again(struct ht__engine *e, const struct ht__kept_matrix *m, int64_t mat, const float *x,
                             int64_t ldx, int64_t n, float *y, int64_t ldy);
/* Rows of a matrix as floats: embeddings. */
void ht__engine_row(const struct ht__kept_matrix *m, int64_t row, float *dst);

/* Cosines and sines of every position; the sliding layers' own where they differ. */
HT_MUST_CHECK enum ht_err ht__engine_open_rope(struct ht__engine *e, struct ht_diag *diag);
/* Turns the heads of n tokens in place; rows are ld apart, the turned part starts `skip` into each head. */
void ht__engine_rope(struct ht__engine *e, int layer, float *x, int64_t ld, int heads, int head_len, int skip);

/* normed -> attended (heads x value length), */
void ht__engine_attend(struct ht__engine *e, const struct ht__layer *l, int layer);
/* and through the output matrix to out. */
void ht__engine_attention_output(struct ht__engine *e, const struct ht__layer *l);
/* Feed-forward of `in` to out: dense, experts, shared experts. The first half of a dense one goes to hidden. */
void ht__engine_feed_forward(struct ht__engine *e, const struct ht__layer *l, const float *in);
void ht__engine_experts(struct ht__engine *e, const struct ht__layer *l, const float *in, float *out);
HT_MUST_CHECK enum ht_err ht__engine_open_experts(struct ht__engine *e, struct ht_diag *diag);
void ht__engine_close_experts(struct ht__engine *e);
void ht__engine_activate(const struct ht__engine *e, float *gate, const float *up, int64_t n);

#endif
