/*
 * Many scales tried at once on one sub-block, one in a lane. The unit lanes_tmpl.h is compiled for several CPU levels;
 * each lane adds in index order without fused multiply-add, so that all levels give the same bits.
 */
#ifndef HT_KERNELS_BEST_LANES_H
#define HT_KERNELS_BEST_LANES_H

enum { HT__LANES = 8, HT__LANES_MAX = 64 }; /* lanes come in eights */

struct ht__best_values {
    enum { HT__VALUES_WHOLE, HT__VALUES_IQ4, HT__VALUES_E2M1 } kind;
    float low, high; /* the least and largest value */
};

struct ht__best_sums {
    float v[HT__LANES_MAX], vv[HT__LANES_MAX], xv[HT__LANES_MAX]; /* of w*v, w*v^2, w*x*v */
};

struct ht__best_ops {
    /* Sum of w * (x - (scale*v + offset))^2 with the nearest value v. */
    void (*errors)(struct ht__best_values values, int n, const float *x, const float *w, int lanes, const float *scale,
                   const float *offset, float *error);
    void (*sums)(struct ht__best_values values, int n, const float *x, const float *w, int lanes, const float *scale,
                 const float *offset, struct ht__best_sums *sums);
};

extern const struct ht__best_ops ht__best_ops_scalar, ht__best_ops_avx2;

/* Those of the best level that runs here. */
const struct ht__best_ops *ht__best_ops(void);

#endif
