/*
 * The scale searches with one sub-block a lane. Included after vec_<level>.h. Each lane adds in index
 * order, so its sums are the scalar reference's to the last bit (src/kernels/search/search.c); accepting
 * a trial is a blend.
 *
 * Rounding is done by adding and subtracting 1.5 * 2^23, right while |v| < 2^22. Where a lane could
 * leave that range it is flagged, and the caller encodes that super-block with the scalar code.
 */
#ifndef HT_KERNELS_SEARCH_TMPL_H
#define HT_KERNELS_SEARCH_TMPL_H

#include "kernels/search/search.h"

#define GROUPS 2 /* of lanes, side by side, so that one's adds hide the other's latency */

VEC vf v_round(vf a)
{
    const vf magic = v_set(12582912.0f);
    return v_sub(v_add(a, magic), magic);
}

/* Lanes whose numbers leave the range in which vectors and reference agree. */
#define V_LARGE 1e30f
#define V_SMALL 1e-30f

struct affine_lanes {
    vf scale, offset; /* x ~ scale * l + offset; offset <= 0 */
    vm odd;           /* flagged */
    vm dead;          /* high <= low: scale 0, all codes 0 */
};

/*
 * x, w: n vectors of each group. The caller's constants make every trial's factor and clamp known when
 * compiling.
 */
VEC void affine_search(const struct ht__affine_params p, int n, vf (*x)[GROUPS], vf (*w)[GROUPS],
                       struct affine_lanes out[GROUPS])
{
    vf low[GROUPS], high[GROUPS], sum_w[GROUPS], sum_x[GROUPS], best[GROUPS];
    vf scale[GROUPS], offset[GROUPS];
    const vf zero = v_zero(), levels = v_set((float)p.levels);
    for (int g = 0; g < GROUPS; g++) {
        low[g] = high[g] = x[0][g];
        sum_w[g] = w[0][g];
        sum_x[g] = v_mul(w[0][g], x[0][g]);
    }
    for (int i = 1; i < n; i++)
        for (int g = 0; g < GROUPS; g++) {
            low[g] = v_min(low[g], x[i][g]);
            high[g] = v_max(high[g], x[i][g]);
            sum_w[g] = v_add(sum_w[g], w[i][g]);
            sum_x[g] = v_add(sum_x[g], v_mul(w[i][g], x[i][g]));
        }
    for (int g = 0; g < GROUPS; g++) {
        low[g] = v_min(low[g], zero);
        vf range = v_sub(high[g], low[g]);
        out[g].dead = v_le(high[g], low[g]);
        out[g].odd = v_or(v_not(v_gt(range, v_set(V_SMALL))), v_not(v_lt(range, v_set(V_LARGE))));
        vf inverse = v_div(levels, range);
        scale[g] = v_div(v_set(1), inverse);
        offset[g] = low[g];
        best[g] = zero;
        for (int i = 0; i < n; i++) {
            vf l = v_round(v_mul(inverse, v_sub(x[i][g], low[g])));
            vf diff = v_sub(v_add(v_mul(scale[g], l), offset[g]), x[i][g]);
            diff = p.absolute ? v_abs(diff) : v_mul(diff, diff);
            best[g] = v_add(best[g], v_mul(w[i][g], diff));
        }
    }
    for (int t = 0; t <= p.steps; t++) {
        const float factor = p.first + p.delta * (float)t + (float)p.levels;
        const int clamp_top = factor > (float)p.levels + 0.45f;
        vf l[HT__SEARCH_MAX][GROUPS], inverse[GROUPS];
        vf sum_l[GROUPS], sum_l2[GROUPS], sum_xl[GROUPS], error[GROUPS];
        for (int g = 0; g < GROUPS; g++) {
            inverse[g] = v_div(v_set(factor), v_sub(high[g], offset[g]));
            /* the most negative value to round; NaN and infinity fail the comparison too */
            vf least = v_mul(inverse[g], v_sub(low[g], offset[g]));
            out[g].odd = v_or(out[g].odd, v_not(v_gt(least, v_set(-1e6f))));
            /* an offset that the fit put above all of x: products pass the factor, and the top clamp */
            out[g].odd = v_or(out[g].odd, v_not(v_gt(inverse[g], zero)));
            sum_l[g] = sum_l2[g] = sum_xl[g] = error[g] = zero;
        }
        for (int i = 0; i < n; i++)
            for (int g = 0; g < GROUPS; g++) {
                vf q = v_max(v_round(v_mul(inverse[g], v_sub(x[i][g], offset[g]))), zero);
                if (clamp_top) q = v_min(q, levels);
                l[i][g] = q;
                vf wl = v_mul(w[i][g], q);
                sum_l[g] = v_add(sum_l[g], wl);
                sum_l2[g] = v_add(sum_l2[g], v_mul(wl, q));
                sum_xl[g] = v_add(sum_xl[g], v_mul(wl, x[i][g]));
            }
        vf new_scale[GROUPS], new_offset[GROUPS];
        vm valid[GROUPS];
        for (int g = 0; g < GROUPS; g++) {
            vf d = v_sub(v_mul(sum_w[g], sum_l2[g]), v_mul(sum_l[g], sum_l[g]));
            valid[g] = v_gt(d, zero);
            vf s = v_div(v_sub(v_mul(sum_w[g], sum_xl[g]), v_mul(sum_x[g], sum_l[g])), d);
            vf o = v_div(v_sub(v_mul(sum_l2[g], sum_x[g]), v_mul(sum_l[g], sum_xl[g])), d);
            vm positive = v_gt(o, zero);
            if (v_any(positive)) {
                s = v_pick(s, v_div(sum_xl[g], sum_l2[g]), positive);
                o = v_pick(o, zero, positive);
            }
            new_scale[g] = s;
            new_offset[g] = o;
        }
        for (int i = 0; i < n; i++)
            for (int g = 0; g < GROUPS; g++) {
                vf diff = v_sub(v_add(v_mul(new_scale[g], l[i][g]), new_offset[g]), x[i][g]);
                diff = p.absolute ? v_abs(diff) : v_mul(diff, diff);
                error[g] = v_add(error[g], v_mul(w[i][g], diff));
            }
        for (int g = 0; g < GROUPS; g++) {
            vm accept = v_and(valid[g], v_lt(error[g], best[g]));
            best[g] = v_pick(best[g], error[g], accept);
            scale[g] = v_pick(scale[g], new_scale[g], accept);
            offset[g] = v_pick(offset[g], new_offset[g], accept);
        }
    }
    for (int g = 0; g < GROUPS; g++) {
        out[g].odd = v_and(out[g].odd, v_not(out[g].dead));
        out[g].scale = v_pick(scale[g], zero, out[g].dead);
        out[g].offset = v_pick(offset[g], low[g], out[g].dead);
    }
}

/*
 * Symmetric: returns the scale of each lane; lanes of zeros have scale 0. The trial values are bounded by
 * levels + 0.9, so that rounding needs no check; the magnitudes need one.
 */
VEC void symmetric_search(int levels, int n, vf (*x)[GROUPS], vf (*w)[GROUPS], vf scale_out[GROUPS],
                          vm odd[GROUPS])
{
    vf max[GROUPS], amax[GROUPS], best[GROUPS], scale[GROUPS];
    const vf zero = v_zero(), bottom = v_set(-(float)levels), top = v_set((float)levels - 1);
    for (int g = 0; g < GROUPS; g++) {
        max[g] = amax[g] = zero;
        for (int i = 0; i < n; i++) {
            vf a = v_abs(x[i][g]);
            vm larger = v_gt(a, amax[g]);
            amax[g] = v_pick(amax[g], a, larger);
            max[g] = v_pick(max[g], x[i][g], larger);
        }
        odd[g] = v_or(v_and(v_lt(amax[g], v_set(V_SMALL)), v_ne(amax[g], zero)),
                      v_not(v_lt(amax[g], v_set(V_LARGE))));
    }
    for (int t = -10; t <= 9; t++) { /* -10 stands for the plain one, which comes first */
        if (t == 0) continue;
        const float factor = t == -10 ? -(float)levels : -((float)levels + 0.1f * (float)t);
        const int clamp_low = t >= 5, clamp_top = t >= -5 || t == -10;
        vf inverse[GROUPS], sum_xl[GROUPS], sum_l2[GROUPS];
        for (int g = 0; g < GROUPS; g++) {
            inverse[g] = v_div(v_set(factor), max[g]);
            sum_xl[g] = sum_l2[g] = zero;
        }
        for (int i = 0; i < n; i++)
            for (int g = 0; g < GROUPS; g++) {
                vf l = v_round(v_mul(inverse[g], x[i][g]));
                if (clamp_top) l = v_min(l, top);
                if (clamp_low) l = v_max(l, bottom);
                vf wx = v_mul(w[i][g], x[i][g]);
                sum_xl[g] = v_add(sum_xl[g], v_mul(wx, l));
                sum_l2[g] = v_add(sum_l2[g], v_mul(v_mul(w[i][g], l), l));
            }
        for (int g = 0; g < GROUPS; g++) {
            if (t == -10) {
                scale[g] = v_pick(zero, v_div(sum_xl[g], sum_l2[g]), v_ne(sum_l2[g], zero));
                best[g] = v_mul(scale[g], sum_xl[g]);
                continue;
            }
            vm accept = v_and(v_gt(sum_l2[g], zero),
                              v_gt(v_mul(sum_xl[g], sum_xl[g]), v_mul(best[g], sum_l2[g])));
            if (!v_any(accept)) continue;
            scale[g] = v_pick(scale[g], v_div(sum_xl[g], sum_l2[g]), accept);
            best[g] = v_pick(best[g], v_mul(scale[g], sum_xl[g]), accept);
        }
    }
    for (int g = 0; g < GROUPS; g++)
        scale_out[g] = v_pick(scale[g], zero, v_lt(amax[g], v_set(HT__TINY)));
}

/* Coordinate descent with weights x*x and four levels a side (Q3_K without importance). A lane that no
 * longer changes is a fixed point, so all go on until none does. */
VEC void descent_search(int n, vf (*x)[GROUPS], vf scale_out[GROUPS], vm odd[GROUPS])
{
    vf l[HT__SEARCH_MAX][GROUPS], amax[GROUPS], max[GROUPS], sum_xl[GROUPS], sum_l2[GROUPS];
    const vf zero = v_zero(), bottom = v_set(-4), top = v_set(3);
    for (int g = 0; g < GROUPS; g++) {
        max[g] = amax[g] = sum_xl[g] = sum_l2[g] = zero;
        for (int i = 0; i < n; i++) {
            vf a = v_abs(x[i][g]);
            vm larger = v_gt(a, amax[g]);
            amax[g] = v_pick(amax[g], a, larger);
            max[g] = v_pick(max[g], x[i][g], larger);
        }
        odd[g] = v_or(v_and(v_lt(amax[g], v_set(1e-9f)), v_ne(amax[g], zero)), v_not(v_lt(amax[g], v_set(1e9f))));
        vf inverse = v_div(v_set(-4), max[g]);
        for (int i = 0; i < n; i++) {
            vf w = v_mul(x[i][g], x[i][g]);
            l[i][g] = v_max(v_min(v_round(v_mul(inverse, x[i][g])), top), bottom);
            sum_xl[g] = v_add(sum_xl[g], v_mul(v_mul(w, x[i][g]), l[i][g]));
            sum_l2[g] = v_add(sum_l2[g], v_mul(v_mul(w, l[i][g]), l[i][g]));
        }
    }
    for (int sweep = 0, changed = 1; sweep < 5 && changed; sweep++) {
        changed = 0;
        for (int i = 0; i < n; i++)
            for (int g = 0; g < GROUPS; g++) {
                vf v = x[i][g], old = l[i][g], w = v_mul(v, v), wx = v_mul(w, v);
                vf xl = v_sub(sum_xl[g], v_mul(wx, old));
                vf l2 = v_sub(sum_l2[g], v_mul(v_mul(w, old), old));
                vf q = v_max(v_min(v_round_wrapped(v_div(v_mul(v, l2), xl)), top), bottom);
                vm step = v_and(v_gt(xl, zero), v_ne(q, old));
                if (!v_any(step)) continue;
                xl = v_add(xl, v_mul(wx, q));
                l2 = v_add(l2, v_mul(v_mul(w, q), q));
                vm better = v_gt(v_mul(v_mul(xl, xl), sum_l2[g]), v_mul(v_mul(sum_xl[g], sum_xl[g]), l2));
                step = v_and(step, v_and(v_gt(l2, zero), better));
                l[i][g] = v_pick(old, q, step);
                sum_xl[g] = v_pick(sum_xl[g], xl, step);
                sum_l2[g] = v_pick(sum_l2[g], l2, step);
                changed |= v_any(step);
            }
    }
    for (int g = 0; g < GROUPS; g++)
        scale_out[g] = v_pick(v_div(sum_xl[g], sum_l2[g]), zero, v_lt(amax[g], v_set(HT__TINY)));
}

#endif
