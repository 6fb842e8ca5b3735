/*
 * Formats without a search, a block at a time with its weights in natural order. Included after vec_<level>.h.
 * What needs an order here is only which of equal extremes comes first.
 */
#ifndef HT_KERNELS_BLOCKS_TMPL_H
#define HT_KERNELS_BLOCKS_TMPL_H

#include <stdint.h>

VEC float block_amax(const float *x, int n)
{
    vf top = v_abs(v_load(x));
    for (int i = VL; i < n; i += VL)
        top = v_max(top, v_abs(v_load(x + i)));
    return v_hmax(top);
}

/* Of 32 weights at most: the largest magnitude with its sign, the first of equals; 0 if all are zeros. */
VEC float block_largest(const float *x, int n)
{
    float amax = block_amax(x, n);
    unsigned at = 0;
    if (!(amax > 0)) return 0;
    for (int i = 0; i < n; i += VL)
        at |= v_bits(v_le(v_set(amax), v_abs(v_load(x + i)))) << i;
    return x[__builtin_ctz(at)];
}

/* Of 32 weights at most. A zero has the sign of the first. */
VEC void block_range(const float *x, int n, float *low, float *high)
{
    vf bottom = v_load(x), top = bottom;
    unsigned at = 0;
    for (int i = VL; i < n; i += VL) {
        bottom = v_min(bottom, v_load(x + i));
        top = v_max(top, v_load(x + i));
    }
    *low = v_hmin(bottom);
    *high = v_hmax(top);
    if (*low != 0) return;
    for (int i = 0; i < n; i += VL)
        at |= v_bits(v_le(v_load(x + i), v_zero())) << i;
    *low = x[__builtin_ctz(at)];
    if (*high == 0) *high = *low;
}

/* For |v| < 2^22: what truncates to the whole number that roundf gives, halves away from zero. One half less an
 * ulp, so that the sum of what lies just below a half stays below one. */
VEC vf before_truncation(vf v)
{
    return v_add(v, v_signed(v_set(0x1.fffffep-2f), v));
}

#endif
