/*
 * The codes of a block once its scales are known: quotients rounded to whole numbers. Included after vec_<level>.h.
 */
#ifndef HT_KERNELS_QUOTIENTS_TMPL_H
#define HT_KERNELS_QUOTIENTS_TMPL_H

#include "kernels/x86/blocks_tmpl.h"
#include "kernels/x86/search_tmpl.h"

#include <math.h>

/* Of 256 weights and what is added to them: quotients must stay below 2^22, where vectors round as the scalar code does. */
VEC bool quotients_fit(const float *x, float more, float d)
{
    return block_amax(x, 256) + more < fabsf(d) * 1e6f && fabsf(d) > 1e-7f && fabsf(d) < 6e4f;
}

/*
 * round(a / scale), right where it lies between -512 and 512, and beyond them outside of that range. The product with the
 * rounded reciprocal is off by less than two units in the last place, there less than 2^-13: it rounds to another whole
 * number than the quotient only next to a half. Such vectors divide.
 */
VEC vf rounded_quotient(vf a, float scale, float inverse)
{
    vf q = v_mul(a, v_set(inverse)), l = v_round(q);
    if (__builtin_expect(v_any(v_gt(v_abs(v_sub(q, l)), v_set(0.5f - 0x1p-12f))), 0))
        l = v_round(v_div(a, v_set(scale)));
    return l;
}

#endif
