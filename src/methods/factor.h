/*
 * A Gram matrix made ready for the methods: its columns in the order in which they are worked on; and, for each damping, its
 * factor: H + damping = L L', L lower.
 */
#ifndef HT_METHODS_FACTOR_H
#define HT_METHODS_FACTOR_H

#include "base/alloc.h"
#include "base/err.h"
#include "base/pool.h"
#include "calibrate/lower.h"
#include "kernels/ops/ops.h"

/* Which columns are worked on first. */
enum ht__order_kind {
    HT__ORDER_ACT,    /* those with the largest diagonal (GPTQ's act-order) */
    HT__ORDER_GROUP,  /* groups by their largest diagonal, and columns within a group likewise */
    HT__ORDER_NATURAL /* the first */
};
struct ht__order {
    enum ht__order_kind kind;
    int64_t group; /* HT__ORDER_GROUP: columns of a group, divides n; otherwise not looked at */
};

struct ht__gram {
    const struct ht__alloc *alloc;
    int64_t n;
    int32_t *column; /* place -> column. Columns are worked on from the last place to the first */
    int32_t *place;  /* column -> place */
    float *at;       /* n x n, by places */
    double mean;     /* of the diagonal */
};
/* products: their lower half (calibrate/lower.h) */
HT_MUST_CHECK enum ht_err ht__gram_open(struct ht__gram *gram, const double *products, int64_t n,
                                        struct ht__order order, const struct ht__alloc *alloc, struct ht_diag *diag);
void ht__gram_close(struct ht__gram *gram);

struct ht__factor {
    const struct ht__gram *gram;
    double damping; /* what is added to the diagonal: grown where the matrix could not be factored with less */
    float *root;    /* L by rows on and below the diagonal, L' by rows on and above it: one matrix is both */
};

/* damping: times the mean of the diagonal. The Gram matrix must outlive the factor. Numbers of L are floats, sums of products
 * are in double over stretches of 256 that are in floats: |L L' - (H + damping)| is at most (j + 2) 2^-23 of the largest diagonal in column j. */
HT_MUST_CHECK enum ht_err ht__factor_open(struct ht__factor *factor, const struct ht__gram *gram, double damping,
                                          struct ht__pool *pool, struct ht_diag *diag);
void ht__factor_close(struct ht__factor *factor);

/* rows (n_rows x n, by places) become rows (H + damping)^-1. */
void ht__factor_solve(const struct ht__factor *factor, const struct ht__ops *ops, float *rows, int64_t n_rows,
                      float *scratch);

#endif
