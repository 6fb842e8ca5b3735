/*
 * A Gram matrix made ready for the methods: damped, its columns in the order in which they are worked on, and factored:
 * H + damping = L L', L lower.
 */
#ifndef HT_METHODS_FACTOR_H
#define HT_METHODS_FACTOR_H

#include "base/alloc.h"
#include "base/err.h"
#include "base/pool.h"
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

struct ht__factor {
    const struct ht__alloc *alloc;
    int64_t n;
    double damping;  /* what was added to the diagonal: grown where the matrix could not be factored with less */
    int32_t *column; /* place -> column. Columns are worked on from the last place to the first */
    int32_t *place;  /* column -> place */
    float *gram;     /* n x n, by places, damped */
    float *lower;    /* L, by rows */
    float *upper;    /* L', by rows */
};

/* damping: times the mean of the diagonal. */
HT_MUST_CHECK enum ht_err ht__factor_open(struct ht__factor *factor, const double *gram, int64_t n, double damping,
                                          struct ht__order order, struct ht__pool *pool, const struct ht__alloc *alloc,
                                          struct ht_diag *diag);
void ht__factor_close(struct ht__factor *factor);

/* rows (n_rows x n, by places) become rows (H + damping)^-1. */
void ht__factor_solve(const struct ht__factor *factor, const struct ht__ops *ops, float *rows, int64_t n_rows,
                      float *scratch);

#endif
