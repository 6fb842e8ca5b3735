/*
 * Several texts from one model at once: each step reads the weights once for all of them.
 *
 *     add -> reads its prompt, a piece a step, beside the others -> a token a step -> ended -> removed
 *
 * What a place has read stays there after its text was removed: a later one that begins alike, in whatever place,
 * takes that over. On the exact path a text does not depend on what else is in the batch.
 */
#ifndef HT_ENGINE_BATCH_H
#define HT_ENGINE_BATCH_H

#include "engine/generator.h"
#include "engine/mask.h"

enum { HT__BATCH_MOST_TOP = 20 };

struct ht__batch;

struct ht__batch_request {
    const int32_t *ids;
    size_t n;
    int max_new;
    unsigned flags; /* enum ht__generator_flags */
    struct ht__sampler_params sampling;
    const char *const *stops;
    size_t n_stops;
    int n_top;             /* likeliest tokens that are told with each; -1: not even its own probability */
    bool echo;             /* the prompt's tokens are told, too, with n_top */
    bool states;           /* no text: the last layer's output for each token of the prompt */
    struct ht__mask *mask; /* the batch's from then on, also after an error; or NULL */
};

/* A token that was made, or read with echo. */
struct ht__batch_token {
    int32_t id;
    size_t at;     /* where its text begins, in what is made; of the prompt: 0 */
    float logprob; /* NaN: of the first of a prompt, which nothing predicts */
    int n_top;     /* likeliest first */
    int32_t top[HT__BATCH_MOST_TOP];
    float top_logprob[HT__BATCH_MOST_TOP];
};

/* What the last step brought for one text, until the next step. */
struct ht__batch_out {
    struct ht__str piece;
    const struct ht__batch_token *tokens; /* whose text the pieces so far have begun */
    size_t n_tokens;
    const float *states; /* of n_states tokens: n_states x n_embd */
    int n_states;
    enum ht__ending ending;
    enum ht_err err; /* of this text alone; diag says why */
    const struct ht_diag *diag;
    const struct ht__generator_stats *stats;
};

/* Of params, cache is set here. n_seqs: places for texts. */
HT_MUST_CHECK enum ht_err ht__batch_open(const struct ht__model *model, const struct ht__tokenizer *text,
                                         const struct ht__engine_params *params, const struct ht__alloc *alloc,
                                         struct ht__batch **out, struct ht_diag *diag);
/* NULL-safe. */
void ht__batch_close(struct ht__batch **batch);
struct ht__engine *ht__batch_engine(struct ht__batch *batch);
/* Tokens that a text can have. */
int ht__batch_context(const struct ht__batch *batch);
/* Places that are free; those that are in use. */
int ht__batch_free(const struct ht__batch *batch);
int ht__batch_used(const struct ht__batch *batch);
/* *place names it until it is removed. HT_ERR_LIMIT: the prompt does not fit the context; HT_ERR_USAGE: no place is
 * free, or a setting is out of its range. */
HT_MUST_CHECK enum ht_err ht__batch_add(struct ht__batch *batch, const struct ht__batch_request *request, int *place,
                                        struct ht_diag *diag);
void ht__batch_remove(struct ht__batch *batch, int place);
/* One pass. An error is of all texts: none of them can go on. With none in use, nothing happens. */
HT_MUST_CHECK enum ht_err ht__batch_step(struct ht__batch *batch, struct ht_diag *diag);
struct ht__batch_out ht__batch_take(struct ht__batch *batch, int place);

#endif
