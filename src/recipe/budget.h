/*
 * What to choose under a budget: each group (a matrix, or several that must be alike) takes one of its options, so that the
 * sum of costs is least and the sum of bytes is no more than the limit. (The multiple-choice knapsack problem.)
 *
 * Solved exactly, by partial sums in order of bytes: of two that have come through the same groups the one with more bytes
 * and no less cost is dropped, and so is one that cannot end below the best solution known, by Lagrange's bound
 *
 *   cost + sum over the groups to come of min (cost + m bytes) - m (limit - bytes so far),      any m >= 0.
 */
#ifndef HT_RECIPE_BUDGET_H
#define HT_RECIPE_BUDGET_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__budget_option {
    uint64_t bytes;
    double cost; /* finite */
};
struct ht__budget_group {
    const struct ht__budget_option *options; /* in any order; at least one */
    size_t n;
};

struct ht__budget_sum {
    uint64_t bytes;
    double cost;
};

/* The least bytes that any choice has. Sums of bytes are the caller's to keep below 2^63. */
uint64_t ht__budget_least(const struct ht__budget_group *groups, size_t n);

/*
 * Fills chosen[i] with an option of each group. The limit must be at least ht__budget_least: HT_ERR_LIMIT otherwise.
 * *exact is false where so many partial sums were left that some had to be dropped; `bound` is what no choice can go below.
 */
HT_MUST_CHECK enum ht_err ht__budget_solve(const struct ht__budget_group *groups, size_t n, uint64_t limit,
                                           const struct ht__alloc *alloc, uint32_t *chosen, struct ht__budget_sum *sum,
                                           double *bound, bool *exact, struct ht_diag *diag);

/*
 * Least cost by bytes, from the smallest choice to the one with the least cost: the corners of its convex hull, each of
 * which is the exact solution for its own bytes. `points` has room for `most`; evenly thinned to them. Returns how many.
 */
HT_MUST_CHECK enum ht_err ht__budget_curve(const struct ht__budget_group *groups, size_t n,
                                           const struct ht__alloc *alloc, size_t most, struct ht__budget_sum *points,
                                           size_t *n_points, struct ht_diag *diag);

#endif
