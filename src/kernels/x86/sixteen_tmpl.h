/*
 * The symmetric search of sixteen values alone (the sub-scales of a super-block), with a trial a lane: each lane adds in
 * index order, as ht__search_symmetric does. Included after vec_<level>.h.
 */
#ifndef HT_KERNELS_SIXTEEN_TMPL_H
#define HT_KERNELS_SIXTEEN_TMPL_H

#include "kernels/x86/search_tmpl.h"

#include <math.h>
#include <string.h>

enum { SIXTEEN = 16, TRIALS = 19, TRIAL_VECTORS = (TRIALS + VL - 1) / VL, TRIAL_LANES = TRIAL_VECTORS * VL };

struct symmetric_trials {
    float inverse[TRIAL_LANES], xl[TRIAL_LANES], l2[TRIAL_LANES];
};

/* In the order of ht__search_symmetric: 0, -9 … -1, 1 … 9. */
VEC void trial_sums(int levels, const float *x, const float *w, float max, struct symmetric_trials *out)
{
    float factors[TRIAL_LANES] = {0};
    for (int k = 0; k < TRIALS; k++)
        factors[k] = -((float)levels + 0.1f * (float)(k == 0 ? 0 : k < 10 ? k - 10 : k - 9));
    for (int v = 0; v < TRIAL_LANES; v += VL) {
        vf inverse = v_div(v_load(factors + v), v_set(max)), sum_xl = v_zero(), sum_l2 = v_zero();
        for (int i = 0; i < SIXTEEN; i++) {
            vf l = v_clamp(v_round(v_mul(inverse, v_set(x[i]))), -(float)levels, (float)levels - 1);
            sum_xl = v_add(sum_xl, v_mul(v_set(w[i] * x[i]), l));
            sum_l2 = v_add(sum_l2, v_mul(v_mul(v_set(w[i]), l), l));
        }
        v_store(out->inverse + v, inverse);
        v_store(out->xl + v, sum_xl);
        v_store(out->l2 + v, sum_l2);
    }
}

VEC float symmetric_sixteen(int levels, const float *x, const float *w, uint8_t *codes)
{
    struct symmetric_trials t;
    float max = 0;
    int found = 0;
    for (int i = 0; i < SIXTEEN; i++)
        if (fabsf(x[i]) > fabsf(max)) max = x[i];
    memset(codes, 0, SIXTEEN);
    if (fabsf(max) < HT__TINY) return 0;
    trial_sums(levels, x, w, max, &t);
    float scale = t.l2[0] != 0 ? t.xl[0] / t.l2[0] : 0, best = scale * t.xl[0];
    for (int k = 1; k < TRIALS; k++)
        if (t.l2[k] > 0 && t.xl[k] * t.xl[k] > best * t.l2[k]) {
            found = k;
            scale = t.xl[k] / t.l2[k];
            best = scale * t.xl[k];
        }
    for (int i = 0; i < SIXTEEN; i += VL) {
        vf l = v_round(v_mul(v_set(t.inverse[found]), v_load(x + i)));
        v_store_bytes(codes + i, v_add(v_clamp(l, -(float)levels, (float)levels - 1), v_set((float)levels)));
    }
    return scale;
}

#endif
