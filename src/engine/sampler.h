/*
 * Which token comes next. The same logits, settings and seed give the same tokens on every machine: the
 * random numbers and the exponential are computed here, from additions and multiplications only.
 *
 *     logits -> penalties of repetition -> top-k -> top-p -> min-p -> temperature -> one of what is left
 *
 * llama.cpp's order: top-p and min-p look at probabilities before the temperature. Equal logits rank
 * by id, the lower first; that is also the greedy choice.
 */
#ifndef HT_ENGINE_SAMPLER_H
#define HT_ENGINE_SAMPLER_H

#include "base/alloc.h"
#include "base/err.h"

struct ht__sampler_params {
    double temperature;       /* 0: the likeliest token always */
    int top_k;                /* 0: off */
    double top_p;             /* 1: off */
    double min_p;             /* 0: off; a share of the likeliest token's probability */
    double repeat_penalty;    /* 1: off; logits of tokens that occurred are divided by it, or multiplied if negative */
    double presence_penalty;  /* 0: off; is taken from the logit of a token that occurred */
    double frequency_penalty; /* 0: off; is taken from it for each time */
    int repeat_last;          /* how many of the last tokens count as having occurred; 0: none */
    uint64_t seed;
};
/* Greedy, with the filters that llama.cpp applies when a temperature is set. */
struct ht__sampler_params ht__sampler_defaults(void);
/* HT_ERR_USAGE names the parameter that is out of its range; NaN is out of every range. */
HT_MUST_CHECK enum ht_err ht__sampler_check(const struct ht__sampler_params *params, struct ht_diag *diag);

struct ht__sampler;

HT_MUST_CHECK enum ht_err ht__sampler_open(int n_vocab, const struct ht__alloc *alloc, struct ht__sampler **out,
                                           struct ht_diag *diag);
/* NULL-safe. */
void ht__sampler_close(struct ht__sampler **sampler);
/* Takes other settings; the random numbers begin anew with the seed. */
HT_MUST_CHECK enum ht_err ht__sampler_set(struct ht__sampler *sampler, const struct ht__sampler_params *params,
                                          struct ht_diag *diag);
/*
 * Picks a token: logits[n_vocab], and the tokens so far, of which the last repeat_last are penalized. A NaN or
 * an infinite logit is HT_ERR_NONFINITE; one of -infinity is a token that is never picked.
 */
HT_MUST_CHECK enum ht_err ht__sampler_pick(struct ht__sampler *sampler, const float *logits, const int32_t *so_far,
                                           size_t n, int32_t *token, struct ht_diag *diag);

#endif
