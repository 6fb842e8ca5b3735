/*
 * What is known of a site (model/slot.h) when its matrices are quantized: products of the activations that the float
 * model (f) and the model as it is quantized so far (q) show there for the same tokens, and what the residual stream of
 * the quantized one lacks by then (r = x - x~). Rows are tokens. Some of the tokens are held out: they are in no
 * product, but kept, to judge what was made of the products.
 *
 * Products are summed in float over one call of ht__site_add, in double over the calls. They do not depend on threads nor
 * on the CPU.
 */
#ifndef HT_CALIBRATE_SITE_H
#define HT_CALIBRATE_SITE_H

#include "base/alloc.h"
#include "base/err.h"
#include "base/pool.h"
#include "calibrate/lower.h"
#include "kernels/ops/ops.h"

struct ht__site_stats {
    const struct ht__alloc *alloc;
    int64_t n_in, n_stream; /* columns of f and q; of r (0: it is not looked at) */
    int64_t n_rows;         /* tokens in the products */
    double *gram;           /* q'q, its lower half (lower.h) */
    double *cross;          /* n_in x n_in: q'f; NULL: see open_wanted, or, where there are held_f, f is q */
    double *stream;         /* n_in x n_stream: q'r; NULL */
    int64_t n_held, most_held;
    float *held_f, *held_q, *held_r; /* held-out rows; held_f NULL like cross, held_r like stream */
    float *panels;                   /* while adding */
    size_t n_panels;
};

HT_MUST_CHECK enum ht_err ht__site_open(struct ht__site_stats *site, int64_t n_in, int64_t n_stream, int64_t most_held,
                                        const struct ht__alloc *alloc, struct ht_diag *diag);
/* The same where it is known what the products with f add to the residual stream: r = x + share f W' - x~, all that is wanted.
 * Without cross and held_f; f is NULL then. Where a matrix has fewer rows than columns it takes less to sum. */
HT_MUST_CHECK enum ht_err ht__site_open_wanted(struct ht__site_stats *site, int64_t n_in, int64_t n_stream,
                                               int64_t most_held, const struct ht__alloc *alloc, struct ht_diag *diag);
/* The same where the model is not quantized: q alone, without cross, stream and held_f; f and r are NULL then. */
HT_MUST_CHECK enum ht_err ht__site_open_float(struct ht__site_stats *site, int64_t n_in, int64_t most_held,
                                              const struct ht__alloc *alloc, struct ht_diag *diag);
void ht__site_close(struct ht__site_stats *site);
/* Frees gram, cross and panels; cross and panels; stream: for those who have copied them, as they are the largest of what a site holds. */
void ht__site_spend(struct ht__site_stats *site);
void ht__site_spend_cross(struct ht__site_stats *site);
void ht__site_spend_stream(struct ht__site_stats *site);

/* n rows of f, q, and, where the site has n_stream, r. */
HT_MUST_CHECK enum ht_err ht__site_add(struct ht__site_stats *site, const float *f, const float *q, const float *r,
                                       int64_t n, const struct ht__ops *ops, struct ht__pool *pool,
                                       struct ht_diag *diag);
/* The same rows kept instead, until there are most_held; those behind are dropped. */
void ht__site_hold(struct ht__site_stats *site, const float *f, const float *q, const float *r, int64_t n);
/* After the last row: means instead of sums. */
void ht__site_finish(struct ht__site_stats *site);

#endif
