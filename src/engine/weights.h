/*
 * A model's weights as the engine takes them: vectors decoded, matrices in their numeric format, a layer at a
 * time. A GGUF file is mapped; other checkpoints are read into memory; under a memory cap layers are read when
 * they are needed, the next one ahead.
 */
#ifndef HT_ENGINE_WEIGHTS_H
#define HT_ENGINE_WEIGHTS_H

#include "base/json_write.h"
#include "base/pool.h"
#include "model/hparams.h"

#include <stdatomic.h>

struct ht__vector {
    const float *w, *b; /* NULL: absent */
    int64_t n, n_bias;
};

struct ht__kept_matrix {
    const struct ht__weight *weight; /* NULL: absent */
    const struct ht__codec *type;
    int64_t n_in, n_out, n_mats; /* experts, or heads of a split factor */
    size_t row_bytes;
    const float *bias; /* n_mats x n_out, or NULL */
    int64_t n_bias;
    uint64_t offset;     /* of its bytes in the layer's buffer */
    const uint8_t *data; /* while its layer is held */
};

struct ht__layer {
#define HT_MATRIX(field, role) struct ht__kept_matrix field;
#define HT_VECTOR(field, role) struct ht__vector field;
#include "engine/roles.def"
#undef HT_MATRIX
#undef HT_VECTOR
    uint64_t n_bytes; /* of its matrices */
};

struct ht__weights_stats {
    bool taking_turns;     /* not all layers have a place of their own */
    uint64_t layer_hits;   /* layers that were there when they were needed */
    uint64_t layer_misses; /* layers that had to be waited for */
    uint64_t layer_reads;  /* layers read, from the source or from where they were spilled to */
    uint64_t spill_reads;  /* the latter */
    uint64_t bytes_read;
};

/* The member "layers"; nothing where all layers are in memory. */
void ht__weights_put_stats(const struct ht__weights_stats *stats, struct ht__jw *w);

struct ht__weights_params {
    uint64_t memory;              /* bytes that matrices may take; 0: as many as there are */
    const char *spill_dir;        /* under a cap: layers that had to be computed are kept in a file here; or NULL */
    const atomic_bool *cancelled; /* or NULL */
};

struct ht__weights {
    const struct ht__model *model;
    const struct ht__hparams *hparams;
    struct ht__arena arena;
    struct ht__layer *layers;
    struct ht__kept_matrix embedding, positions, output; /* output is the embedding where they are tied */
    struct ht__vector output_norm;
    struct ht__vector output_bias, rope_freqs, rope_long, rope_short; /* their w */
    struct ht__weight_store *store;
};

HT_MUST_CHECK enum ht_err ht__weights_open(const struct ht__model *model, const struct ht__hparams *hparams,
                                           const struct ht__weights_params *params, const struct ht__alloc *alloc,
                                           struct ht__weights **out, struct ht_diag *diag);
void ht__weights_close(struct ht__weights **weights);

/* The layer with its matrices' data, until the next call. One at a time. */
HT_MUST_CHECK enum ht_err ht__weights_layer(struct ht__weights *weights, int layer, const struct ht__layer **out,
                                            struct ht_diag *diag);

#endif
