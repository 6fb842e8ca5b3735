/*
 * Text from a model, token by token.
 *
 *     ids so far -> what the cache lacks is run -> logits -> sampler -> id -> whole characters -> stop texts
 *
 * A new sequence keeps what it has in common with the last one from its start: a conversation goes on
 * without being read anew.
 */
#ifndef HT_ENGINE_GENERATOR_H
#define HT_ENGINE_GENERATOR_H

#include "engine/engine.h"
#include "engine/made.h"
#include "engine/sampler.h"

enum ht__ending {
    HT__GOING_ON,
    HT__ENDED_BY_MODEL, /* an end of text or of turn */
    HT__ENDED_BY_STOP,  /* a stop text */
    HT__ENDED_BY_COUNT, /* as many tokens as were wanted */
    HT__ENDED_BY_CONTEXT,
};

struct ht__generator_stats {
    int n_prompt;                   /* tokens of the sequence before what is made */
    int n_read;                     /* of them, those that were not in the cache yet */
    int n_new;                      /* tokens made, an end's included */
    double prompt_seconds, seconds; /* reading the prompt; making tokens */
    enum ht__ending ending;
};

struct ht__generator;

/* The text and the engine's model outlive the generator. Of params, n_seqs and cache are set here. */
HT_MUST_CHECK enum ht_err ht__generator_open(const struct ht__model *model, const struct ht__tokenizer *text,
                                             const struct ht__engine_params *params, const struct ht__alloc *alloc,
                                             struct ht__generator **out, struct ht_diag *diag);
/* NULL-safe. */
void ht__generator_close(struct ht__generator **generator);

HT_MUST_CHECK enum ht_err ht__generator_sampling(struct ht__generator *generator,
                                                 const struct ht__sampler_params *params, struct ht_diag *diag);
/* Texts at which to stop; they are not part of what is made. Copied; empty ones are refused. */
HT_MUST_CHECK enum ht_err ht__generator_stops(struct ht__generator *generator, const char *const *stops, size_t n,
                                              struct ht_diag *diag);
/* Begins to continue the ids, by at most max_new. A sequence that the context cannot hold is HT_ERR_LIMIT, and what was
 * there before stays. */
HT_MUST_CHECK enum ht_err ht__generator_begin(struct ht__generator *generator, const int32_t *ids, size_t n,
                                              int max_new, unsigned flags, struct ht_diag *diag);
/* The next piece of text, valid until the next call; of length 0 at the end, and only there. After
 * HT_ERR_CANCELLED it can be called again. */
HT_MUST_CHECK enum ht_err ht__generator_next(struct ht__generator *generator, struct ht__str *piece,
                                             struct ht_diag *diag);
/* What is held back because it may become a stop text or a character, as it is: for those who stop early. */
struct ht__str ht__generator_rest(struct ht__generator *generator);
const struct ht__generator_stats *ht__generator_stats(const struct ht__generator *generator);

#endif
