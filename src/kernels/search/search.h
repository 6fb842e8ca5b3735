/*
 * Scale searches that the block formats share: scalar reference. Every sum is float, in index order,
 * without fused multiply-add: the order is part of the format's bytes.
 */
#ifndef HT_KERNELS_SEARCH_H
#define HT_KERNELS_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Where the numbers of the searches come from. Those that a layout fixes are derived where they are used (a largest
 * sub-scale of 15 for four bits, -32 for six signed ones). All others (where trials begin, their step and number, what
 * counts as zero, the corrections of a scale after coding) are the choices of llama.cpp's ggml-quants.c: found there by
 * experiment, no formula gives them, and only they give the same bytes. tests/golden/codecs.def and
 * tests/parity/check_encode.py hold them.
 */

/* Below this a block counts as all zeros: far below the smallest half (6e-8), so that its scale would be zero anyway. */
#define HT__TINY 1e-15f

enum { HT__SEARCH_MAX = 32 }; /* weights a sub-block, at most */

/*
 * Affine: x ~ scale * l - min with l in 0..levels and min >= 0. Trials t = 0..steps use the inverse scale
 * (first + delta*t + levels) / (max - offset); each is refined by weighted least squares, and the best by
 * squared (or, with `absolute`, absolute) error is kept. Returns the scale; *min is >= 0.
 * A trial spreads the range over `levels` + first + delta*t steps: a little less than all of it (values at the ends
 * are clipped) to a little more. {-0.9, 0.05, 36} covers levels - 0.9 … levels + 0.9, {-1, 0.1, 20} one step either
 * way, {-0.5, 0.1, 15} half a step below to one above.
 */
struct ht__affine_params {
    int levels;
    float first, delta;
    int steps;
    bool absolute;
};
float ht__search_affine(const struct ht__affine_params *params, int n, const float *x, const float *w, uint8_t *codes,
                        float *min);

/*
 * Symmetric: x ~ scale * l with l in -levels..levels-1, stored as l + levels. One trial puts the largest
 * magnitude on -levels, 18 more vary that by up to 0.9 in steps of 0.1. w NULL stands for x*x.
 */
float ht__search_symmetric(int levels, int n, const float *x, const float *w, uint8_t *codes);

/* Non-negative values (sub-scales): x ~ scale * l with l in 0..levels; then coordinate descent. */
float ht__search_positive(int levels, int n, const float *x, const float *w, uint8_t *codes);

/* Symmetric with 4 levels a side, weights x*x, by coordinate descent (Q3_K without importance). */
float ht__search_descent(int n, const float *x, uint8_t *codes);

/* w[i] = importance[i] * sqrt(sigma2 + x[i]^2) */
void ht__search_weights(int n, const float *x, const float *importance, float sigma2, float *w);
/* Sum of squares in index order. */
float ht__sum_squares(int64_t n, const float *x);

#endif
