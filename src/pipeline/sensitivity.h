/*
 * What it costs the whole model that matrices change: the divergence of its predictions, in nats a token, on held-out
 * chunks of the calibration text (the built-in one where there is none). A layer's changed matrices are put in the place
 * of its own, and the model is run from that layer on; the streams of the layers before are as the float model has them.
 *
 * In the order of the model: open, then for each layer whatever is to be measured there, then ht__sense_next; at last
 * what is measured of the output. Results do not depend on threads or on the processor's level.
 */
#ifndef HT_PIPELINE_SENSITIVITY_H
#define HT_PIPELINE_SENSITIVITY_H

#include "base/progress.h"
#include "calibrate/calibration.h"
#include "pipeline/plan.h"

enum {
    HT__SENSE_TOKENS = 4096,   /* that are looked at, at most */
    HT__SENSE_MOST_TYPES = 32, /* whose errors are taken at a time */
};

struct ht__sense {
    struct ht__plan *plan;
    struct ht__calibration_settings text; /* where the plan has none of its own */
    struct ht__calibration cal;
    struct ht__engine *engine;
    struct ht__pool *pool;
    struct ht__progress progress; /* told in tokens x layers, where `tells` */
    bool tells;
    uint64_t done;
    double seconds;  /* that the float model took, once through its layers */
    int32_t *tokens; /* of the chunks that are looked at */
    int64_t n_chunks, n_embd, n_vocab, n_layers;
    int layer;     /* at hand; n_layers: the output */
    float *x;      /* residual stream before that layer, as the float model has it */
    float *end;    /* behind the last one */
    float *work;   /* of what is measured */
    float *logits; /* of some rows, of both models */
    float **put;   /* by weight: what is in its place, or NULL */
    bool *asked;   /* by weight: the engine computes with it */
};

/* Runs the float model. Close it on failure too. most_chunks: fewer than there are. */
HT_MUST_CHECK enum ht_err ht__sense_open(struct ht__sense *sense, struct ht__plan *plan, size_t most_chunks,
                                         struct ht_diag *diag);
void ht__sense_close(struct ht__sense *sense);
/* Bytes beside the engine's; the engine's are added. */
HT_MUST_CHECK enum ht_err ht__sense_memory(struct ht__plan *plan, uint64_t *total, struct ht_diag *diag);

/* Rounds the weight to the type, to be in its place until ht__sense_clear. Weights of the layer at hand, the embedding,
 * and the output matrix. */
HT_MUST_CHECK enum ht_err ht__sense_put(struct ht__sense *sense, const struct ht__weight *weight,
                                        const struct ht__codec *type, struct ht_diag *diag);
void ht__sense_clear(struct ht__sense *sense);

/* With what was put, from the layer at hand to the end. */
HT_MUST_CHECK enum ht_err ht__sense_divergence(struct ht__sense *sense, double *kld, struct ht_diag *diag);
/* The same through the layer at hand alone: squared change of the residual stream over its square, mean of tokens. */
HT_MUST_CHECK enum ht_err ht__sense_stream(struct ht__sense *sense, double *error, struct ht_diag *diag);
/* On to the next layer. */
HT_MUST_CHECK enum ht_err ht__sense_next(struct ht__sense *sense, struct ht_diag *diag);

/* Memory in the place of the weight, until ht__sense_clear, for all its rows as floats; NULL: memory is out. */
float *ht__sense_place(struct ht__sense *sense, const struct ht__weight *weight);
/* Its own weights again. */
void ht__sense_leave(struct ht__sense *sense, const struct ht__weight *weight);

/* The whole model with what the function puts of each layer's weights, from the embedding to the end; afterwards nothing but
 * this can be measured. Layer -1: of what lies in none, twice: before the first layer, and behind the last one. */
typedef enum ht_err (*ht__sense_put_fn)(void *ctx, int32_t layer, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__sense_model_of(struct ht__sense *sense, ht__sense_put_fn put, void *ctx, double *kld,
                                             struct ht_diag *diag);
/* All matrices at once: by weight a type, or NULL for its own. From the embedding to the end; afterwards nothing but this
 * can be measured. */
HT_MUST_CHECK enum ht_err ht__sense_model(struct ht__sense *sense, const struct ht__codec *const *types, double *kld,
                                          struct ht_diag *diag);

/* Sums of squared errors that rounding the weight to each of the types makes, each column counted by its importance; of
 * evenly spaced rows where the weight is large. */
HT_MUST_CHECK enum ht_err ht__sense_errors(const struct ht__sense *sense, const struct ht__weight *weight,
                                           const struct ht__codec *const *types, size_t n_types, double *errors,
                                           struct ht_diag *diag);

#endif
