/*
 * Scale searches that the block formats share: scalar reference. Every sum is float, in index order,
 * without fused multiply-add: the order is part of the format's bytes.
 */
#ifndef HT_KERNELS_SEARCH_H
#define HT_KERNELS_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

/* Below this a block counts as all zeros. */
#define HT__TINY 1e-15f

enum { HT__SEARCH_MAX = 32 }; /* weights a sub-block, at most */

/*
 * Affine: x ~ scale * l - min with l in 0..levels and min >= 0. Trials t = 0..steps use the inverse scale
 * (first + delta*t + levels) / (max - offset); each is refined by weighted least squares, and the best by
 * squared (or, with `absolute`, absolute) error is kept. Returns the scale; *min is >= 0.
 */
struct ht__affine_params {
    int levels;
    float first, delta;
    int steps;
    bool absolute;
};
float ht__search_affine(const struct ht__affine_params *params, int n, const float *x,
                        const float *w, uint8_t *codes, float *min);

/*
 * Symmetric: x ~ scale * l with l in -levels..levels-1, stored as l + levels. One trial puts the largest
 * magnitude on -levels, 18 more vary that by up to 0.9. w NULL stands for x*x.
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
