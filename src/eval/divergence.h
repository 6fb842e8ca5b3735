/*
 * Statistics of a model over scored tokens, by itself and against a reference. P is the reference,
 * Q the model, t the token that stands in the text: nll = -ln Q(t)      base_nll = -ln P(t) kld =
 * sum over i of P(i) (ln P(i) - ln Q(i)) dp = Q(t) - P(t)    same = both have the same likeliest
 * token A mean over n tokens has the error sqrt(variance / (n - 1)).
 */
#ifndef HT_EVAL_DIVERGENCE_H
#define HT_EVAL_DIVERGENCE_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct ht__token_score {
    double nll, base_nll, kld, dp;
    bool same;
};

struct ht__divergence {
    const struct ht__alloc *alloc;
    bool against; /* a reference: everything beside nll is filled */
    size_t n, cap;
    float *kld, *dp; /* by token, for percentiles; sorted by ht__divergence_sort */
    size_t n_same;
    double nll, nll2, base, base2, cross; /* sums; cross: of products */
    double kld_sum, kld_sum2, dp_sum, dp_sum2, dp_sum4;
};

struct ht__mean {
    double value, error;
};

struct ht__divergence_result {
    size_t n;
    struct ht__mean perplexity;
    /* against a reference */
    struct ht__mean base_perplexity, ratio, ln_ratio, difference, kld, dp, dp_rms, same;
    double correlation; /* of nll and base_nll, as errors of their means */
};

void ht__divergence_init(struct ht__divergence *divergence, bool against, const struct ht__alloc *alloc);
void ht__divergence_close(struct ht__divergence *divergence);
HT_MUST_CHECK enum ht_err ht__divergence_add(struct ht__divergence *divergence, const struct ht__token_score *score,
                                             struct ht_diag *diag);
void ht__divergence_result(const struct ht__divergence *divergence, struct ht__divergence_result *result);
/* Before percentiles are asked for. */
void ht__divergence_sort(struct ht__divergence *divergence);
/* Linear between the two neighbours at share * (n - 1); sorted ascending. n of 0 gives 0. */
double ht__percentile(const float *sorted, size_t n, double share);

/*
 * Log-probabilities of one row of logits: *shift is what to take off a logit. False when a logit is
 * NaN or infinite upwards, or all are infinite downwards.
 */
bool ht__log_shift(const float *logits, int64_t n, double *shift, int64_t *best);

#endif
