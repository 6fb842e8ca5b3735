/*
 * What running a model takes, from its metadata and the sizes of its tensors: weights, the cache of keys and
 * values, and buffers to compute in. The sizes are those that llama.cpp allocates (tests/parity/check_fit.py
 * compares):
 *
 *   cache    for each layer, (key + value widths) x cells in the cache's type. Cells: the context, rounded up to
 * 256; in a layer with a sliding window the window and one batch, rounded up likewise, if that is less. Latent
 *            attention keeps one row of rank + turned weights for all heads, and no values: they are part of it.
 *   compute  floats for a batch of 512 tokens, of the widest stage of a pass:
 *              logits         vocabulary + 2 x embedding
 *              feed-forward   3 x hidden + 4 x embedding; with experts 3 x hidden + embedding for each that is used
 *              attention      what queries, keys, values and results take, + 4 x embedding
 *            The latter two also hold the mask, two bytes for each token of the batch and each cell (flash
 * attention: no matrix of scores exists). Then a row of logits.
 */
#ifndef HT_ADVISE_FIT_H
#define HT_ADVISE_FIT_H

#include "base/json_write.h"
#include "model/model.h"

enum { HT__FIT_LAYERS = 1024, HT__FIT_BATCH = 512, HT__FIT_CELLS = 256, HT__FIT_MOST_CTX = 1 << 26 };

struct ht__fit_shape {
    uint64_t n_layers, n_embd, n_vocab, n_ctx_train;
    uint64_t ff;        /* floats a token of the feed-forward stage, embedding rows not counted */
    uint64_t attention; /* the same of attention */
    uint64_t experts, experts_used;
    struct ht__fit_layer {
        uint64_t k, v;     /* widths of a row of the cache */
        uint64_t window;   /* tokens; 0: all */
        uint64_t unfolded; /* latent attention: widths of the keys and values of all heads; otherwise 0 */
    } layers[HT__FIT_LAYERS];
};

struct ht__fit_need {
    uint64_t ctx, weights, cache, overhead, total, with_margin;
};

/* The cache's type: NULL means F16. HT_ERR_USAGE for others than F16, Q8_0, Q4_0 and F32. */
HT_MUST_CHECK enum ht_err ht__fit_cache_type(const char *name, const struct ht__codec **type, struct ht_diag *diag);

/* HT_ERR_UNSUPPORTED, with the reason, where the metadata do not say (recurrent models; keys missing or absurd). */
HT_MUST_CHECK enum ht_err ht__fit_shape(const struct ht__model *model, struct ht__fit_shape *shape,
                                        struct ht_diag *diag);

/* The smaller of 4096 and what the model was trained with. */
uint64_t ht__fit_default_ctx(const struct ht__fit_shape *shape);
uint64_t ht__fit_cache_of_layer(const struct ht__fit_shape *shape, uint64_t layer, uint64_t ctx,
                                const struct ht__codec *type);
uint64_t ht__fit_overhead(const struct ht__fit_shape *shape, uint64_t ctx);
/* All together. The margin is a fifth of the whole, on top. */
struct ht__fit_need ht__fit_need(const struct ht__fit_shape *shape, uint64_t weights, uint64_t ctx,
                                 const struct ht__codec *cache_type);
/* The most bytes of weights with which all together, with the margin, is at most `memory`; 0: not even none. */
uint64_t ht__fit_room(const struct ht__fit_shape *shape, uint64_t memory, uint64_t ctx,
                      const struct ht__codec *cache_type);
/* As the member "run_memory". */
void ht__fit_put_need(struct ht__jw *w, const struct ht__fit_need *need, const struct ht__codec *cache_type);

#endif
