/* How much memory the model itself takes where it is run in a job: for collecting importance, and for measuring. */
#ifndef HT_ENGINE_MEMORY_H
#define HT_ENGINE_MEMORY_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__model;
struct ht__codec;

/* Bytes of a model's matrices as the engine holds them. */
struct ht__engine_need {
    uint64_t all;   /* in memory at once */
    uint64_t least; /* the embedding, the output and two layers: the others are read when they are needed */
    uint64_t one;   /* the same with one layer: it is waited for whenever another is read */
    /* what is outside layers, and what ht__engine_release gives back at least; 0: nothing, as files may be mapped */
    uint64_t outside, turns;
};
/* With these types, one for each of the model's weights; or (NULL) as the model itself is. */
struct ht__engine_need ht__engine_need(const struct ht__model *model, const struct ht__codec *const *types);
/* What one of several models may take of `memory` bytes for all of them; at least its least. `sum` is of all needs. */
uint64_t ht__engine_share(uint64_t memory, const struct ht__engine_need *need, const struct ht__engine_need *sum);

/* Chunks of n_ctx tokens a pass: enough tokens to share the work of reading weights, few enough
 * that a layer takes less than a second, so that a run can be stopped. */
int ht__engine_seqs(const struct ht__model *model, int n_ctx);

/* How the engine is to run. */
struct ht__engine_use {
    int n_threads, n_ctx, n_seqs, n_batch;
    size_t n_models;     /* beside each other */
    uint64_t text_bytes; /* of the text that is run; 0: the program's own */
    double more_bytes;   /* for what is done with the results */
    bool cache, fast;    /* as struct ht__engine_params has them; the cache of one of the models */
};
/* Bytes beside the matrices: activations, keys and values, logits, tokenizer, buffers of readers. */
HT_MUST_CHECK enum ht_err ht__engine_besides(const struct ht__model *model, const struct ht__engine_use *use,
                                             uint64_t *bytes, struct ht_diag *diag);
/* The text's size; 0 where it is the program's own. */
uint64_t ht__engine_text_bytes(const char *path);

/*
 * `limit` bytes are allowed for matrices and everything else (`besides`). *total is what is taken, *matrices the cap of
 * the matrices (0: none is needed). Where not even the least fits, *total is above the limit.
 */
void ht__engine_fit(uint64_t limit, uint64_t besides, const struct ht__engine_need *need, uint64_t *total,
                    uint64_t *matrices);

#endif
