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
#include "kernels/x86/lanes_tmpl.h"

VEC vf v_round(vf a)
{
    const vf magic = v_set(12582912.0f);
    return v_sub(v_add(a, magic), magic);
}

VEC vf v_clamp(vf a, float low, float high)
{
    return v_min(v_max(a, v_set(low)), v_set(high));
}

/* Lanes whose numbers leave the range in which vectors and reference agree. */
#define V_LARGE 1e30f
#define V_SMALL 1e-30f

/* Magnitudes, not zero, that are out of range. */
VEC vm v_odd(vf amax, float small, float large)
{
    return v_or(v_and(v_lt(amax, v_set(small)), v_ne(amax, v_zero())), v_not(v_lt(amax, v_set(large))));
}

/* ---- affine ---- */

struct affine_lanes {
    vf scale, offset; /* x ~ scale * l + offset; offset <= 0 */
    vf inverse, base; /* the codes: l = inverse * (x - base), rounded and clamped */
    vm odd;           /* flagged */
    vm dead;          /* high <= low: scale 0, all codes 0 */
    vf low, high, sum_w, sum_x, best;
};

/* Operands of min and max stand so that of equal zeros the first in index order stays, as in the scalar code:
 * its sign shows where the minimum is stored as it is. */
VEC void affine_ranges(int n, vf (*x)[GROUPS], vf (*w)[GROUPS], struct affine_lanes s[GROUPS])
{
    for (int g = 0; g < GROUPS; g++) {
        s[g].low = s[g].high = x[0][g];
        s[g].sum_w = w[0][g];
        s[g].sum_x = v_mul(w[0][g], x[0][g]);
    }
    for (int i = 1; i < n; i++)
        for (int g = 0; g < GROUPS; g++) {
            s[g].low = v_min(x[i][g], s[g].low);
            s[g].high = v_max(x[i][g], s[g].high);
            s[g].sum_w = v_add(s[g].sum_w, w[i][g]);
            s[g].sum_x = v_add(s[g].sum_x, v_mul(w[i][g], x[i][g]));
        }
    for (int g = 0; g < GROUPS; g++)
        s[g].low = v_min(v_zero(), s[g].low);
}

VEC vf affine_difference(bool absolute, vf scale, vf offset, vf l, vf x)
{
    vf diff = v_sub(v_add(v_mul(scale, l), offset), x);
    return absolute ? v_abs(diff) : v_mul(diff, diff);
}

/* The whole range on all levels, without a fit. */
VEC void affine_first(const struct ht__affine_params p, int n, vf (*x)[GROUPS], vf (*w)[GROUPS],
                      struct affine_lanes s[GROUPS])
{
    for (int g = 0; g < GROUPS; g++) {
        vf range = v_sub(s[g].high, s[g].low);
        s[g].dead = v_le(s[g].high, s[g].low);
        s[g].odd = v_or(v_not(v_gt(range, v_set(V_SMALL))), v_not(v_lt(range, v_set(V_LARGE))));
        s[g].inverse = v_div(v_set((float)p.levels), range);
        s[g].scale = v_div(v_set(1), s[g].inverse);
        s[g].base = s[g].offset = s[g].low;
        s[g].best = v_zero();
        for (int i = 0; i < n; i++) {
            vf l = v_round(v_mul(s[g].inverse, v_sub(x[i][g], s[g].low)));
            vf diff = affine_difference(p.absolute, s[g].scale, s[g].offset, l, x[i][g]);
            s[g].best = v_add(s[g].best, v_mul(w[i][g], diff));
        }
    }
}

struct affine_sums {
    vf inverse, l, l2, xl;
};

/* Codes of a trial, and their sums. */
VEC void affine_codes(const struct ht__affine_params p, float factor, int n, vf (*x)[GROUPS], vf (*w)[GROUPS],
                      struct affine_lanes s[GROUPS], vf (*codes)[GROUPS], struct affine_sums sum[GROUPS])
{
    const int clamp_top = factor > (float)p.levels + 0.45f;
    for (int g = 0; g < GROUPS; g++) {
        sum[g].inverse = v_div(v_set(factor), v_sub(s[g].high, s[g].offset));
        /* the most negative value to round; NaN and infinity fail the comparison too */
        vf least = v_mul(sum[g].inverse, v_sub(s[g].low, s[g].offset));
        s[g].odd = v_or(s[g].odd, v_not(v_gt(least, v_set(-1e6f))));
        /* an offset that the fit put above all of x: products pass the factor, and the top clamp */
        s[g].odd = v_or(s[g].odd, v_not(v_gt(sum[g].inverse, v_zero())));
        sum[g].l = sum[g].l2 = sum[g].xl = v_zero();
    }
    for (int i = 0; i < n; i++)
        for (int g = 0; g < GROUPS; g++) {
            vf q = v_max(v_round(v_mul(sum[g].inverse, v_sub(x[i][g], s[g].offset))), v_zero());
            if (clamp_top) q = v_min(q, v_set((float)p.levels));
            codes[i][g] = q;
            vf wl = v_mul(w[i][g], q);
            sum[g].l = v_add(sum[g].l, wl);
            sum[g].l2 = v_add(sum[g].l2, v_mul(wl, q));
            sum[g].xl = v_add(sum[g].xl, v_mul(wl, x[i][g]));
        }
}

/* Least squares; lanes whose codes are all the same are not valid. */
VEC vm affine_fit(const struct affine_lanes *s, const struct affine_sums *sum, vf *scale, vf *offset)
{
    vf d = v_sub(v_mul(s->sum_w, sum->l2), v_mul(sum->l, sum->l));
    *scale = v_div(v_sub(v_mul(s->sum_w, sum->xl), v_mul(s->sum_x, sum->l)), d);
    *offset = v_div(v_sub(v_mul(sum->l2, s->sum_x), v_mul(sum->l, sum->xl)), d);
    vm positive = v_gt(*offset, v_zero());
    if (v_any(positive)) {
        *scale = v_pick(*scale, v_div(sum->xl, sum->l2), positive);
        *offset = v_pick(*offset, v_zero(), positive);
    }
    return v_gt(d, v_zero());
}

VEC void affine_trial(const struct ht__affine_params p, float factor, int n, vf (*x)[GROUPS], vf (*w)[GROUPS],
                      struct affine_lanes s[GROUPS])
{
    vf codes[HT__SEARCH_MAX][GROUPS], scale[GROUPS], offset[GROUPS], error[GROUPS];
    struct affine_sums sum[GROUPS];
    vm valid[GROUPS];
    affine_codes(p, factor, n, x, w, s, codes, sum);
    for (int g = 0; g < GROUPS; g++) {
        valid[g] = affine_fit(&s[g], &sum[g], &scale[g], &offset[g]);
        error[g] = v_zero();
    }
    for (int i = 0; i < n; i++)
        for (int g = 0; g < GROUPS; g++) {
            vf diff = affine_difference(p.absolute, scale[g], offset[g], codes[i][g], x[i][g]);
            error[g] = v_add(error[g], v_mul(w[i][g], diff));
        }
    for (int g = 0; g < GROUPS; g++) {
        vm accept = v_and(valid[g], v_lt(error[g], s[g].best));
        s[g].best = v_pick(s[g].best, error[g], accept);
        s[g].inverse = v_pick(s[g].inverse, sum[g].inverse, accept);
        s[g].base = v_pick(s[g].base, s[g].offset, accept);
        s[g].scale = v_pick(s[g].scale, scale[g], accept);
        s[g].offset = v_pick(s[g].offset, offset[g], accept);
    }
}

/*
 * x, w: n vectors of each group. The caller's constants make every trial's factor and clamp known when
 * compiling.
 */
VEC void affine_search(const struct ht__affine_params p, int n, vf (*x)[GROUPS], vf (*w)[GROUPS],
                       struct affine_lanes s[GROUPS])
{
    affine_ranges(n, x, w, s);
    affine_first(p, n, x, w, s);
    for (int t = 0; t <= p.steps; t++)
        affine_trial(p, p.first + p.delta * (float)t + (float)p.levels, n, x, w, s);
    for (int g = 0; g < GROUPS; g++) {
        s[g].odd = v_and(s[g].odd, v_not(s[g].dead));
        s[g].scale = v_pick(s[g].scale, v_zero(), s[g].dead);
        s[g].inverse = v_pick(s[g].inverse, v_zero(), s[g].dead);
        s[g].offset = v_pick(s[g].offset, s[g].low, s[g].dead);
    }
}

/* ---- symmetric ---- */

struct symmetric_lanes {
    vf scale;   /* 0 for lanes of zeros */
    vf inverse; /* the codes: inverse * x, rounded and clamped */
    vm odd;     /* flagged */
    vm dead;    /* all zeros */
    vf max, best;
};

VEC void symmetric_sums(int levels, float factor, int n, vf (*x)[GROUPS], vf (*w)[GROUPS], vf (*wx)[GROUPS],
                        const struct symmetric_lanes s[GROUPS], vf inverse[GROUPS], vf sum_xl[GROUPS],
                        vf sum_l2[GROUPS])
{
    const vf bottom = v_set(-(float)levels), top = v_set((float)levels - 1);
    const int clamp_low = factor < -((float)levels + 0.45f), clamp_top = factor < -((float)levels - 0.55f);
    for (int g = 0; g < GROUPS; g++) {
        inverse[g] = v_div(v_set(factor), s[g].max);
        sum_xl[g] = sum_l2[g] = v_zero();
    }
    for (int i = 0; i < n; i++)
        for (int g = 0; g < GROUPS; g++) {
            vf l = v_round(v_mul(inverse[g], x[i][g]));
            if (clamp_top) l = v_min(l, top);
            if (clamp_low) l = v_max(l, bottom);
            sum_xl[g] = v_add(sum_xl[g], v_mul(wx[i][g], l));
            sum_l2[g] = v_add(sum_l2[g], v_mul(v_mul(w[i][g], l), l));
        }
}

/*
 * The trial values are bounded by levels + 0.9, so that rounding needs no check; the magnitudes need one.
 */
VEC void symmetric_search(int levels, int n, vf (*x)[GROUPS], vf (*w)[GROUPS], struct symmetric_lanes s[GROUPS])
{
    vf amax[GROUPS], max[GROUPS], inverse[GROUPS], sum_xl[GROUPS], sum_l2[GROUPS], wx[HT__SEARCH_MAX][GROUPS];
    lanes_largest(n, x, max, amax);
    for (int i = 0; i < n; i++)
        for (int g = 0; g < GROUPS; g++)
            wx[i][g] = v_mul(w[i][g], x[i][g]);
    for (int g = 0; g < GROUPS; g++) {
        s[g].max = max[g];
        s[g].odd = v_odd(amax[g], V_SMALL, V_LARGE);
        s[g].dead = v_lt(amax[g], v_set(HT__TINY));
    }
    symmetric_sums(levels, -(float)levels, n, x, w, wx, s, inverse, sum_xl, sum_l2);
    for (int g = 0; g < GROUPS; g++) {
        s[g].inverse = inverse[g];
        s[g].scale = v_pick(v_zero(), v_div(sum_xl[g], sum_l2[g]), v_ne(sum_l2[g], v_zero()));
        s[g].best = v_mul(s[g].scale, sum_xl[g]);
    }
    for (int t = -9; t <= 9; t++) {
        if (t == 0) continue;
        symmetric_sums(levels, -((float)levels + 0.1f * (float)t), n, x, w, wx, s, inverse, sum_xl, sum_l2);
        for (int g = 0; g < GROUPS; g++) {
            vm accept =
                v_and(v_gt(sum_l2[g], v_zero()), v_gt(v_mul(sum_xl[g], sum_xl[g]), v_mul(s[g].best, sum_l2[g])));
            s[g].inverse = v_pick(s[g].inverse, inverse[g], accept);
            s[g].scale = v_pick(s[g].scale, v_div(sum_xl[g], sum_l2[g]), accept);
            s[g].best = v_pick(s[g].best, v_mul(s[g].scale, sum_xl[g]), accept);
        }
    }
    for (int g = 0; g < GROUPS; g++)
        s[g].scale = v_pick(s[g].scale, v_zero(), s[g].dead);
}

/* ---- coordinate descent ---- */

struct descent_lanes {
    vf scale;
    vm odd;
    vf sum_xl, sum_l2;
};

VEC void descent_first(int n, vf (*x)[GROUPS], const vf max[GROUPS], vf (*l)[GROUPS], struct descent_lanes s[GROUPS])
{
    for (int g = 0; g < GROUPS; g++) {
        vf inverse = v_div(v_set(-4), max[g]);
        s[g].sum_xl = s[g].sum_l2 = v_zero();
        for (int i = 0; i < n; i++) {
            vf w = v_mul(x[i][g], x[i][g]);
            l[i][g] = v_max(v_min(v_round(v_mul(inverse, x[i][g])), v_set(3)), v_set(-4));
            s[g].sum_xl = v_add(s[g].sum_xl, v_mul(v_mul(w, x[i][g]), l[i][g]));
            s[g].sum_l2 = v_add(s[g].sum_l2, v_mul(v_mul(w, l[i][g]), l[i][g]));
        }
    }
}

/* The best code of one element, the others as they are; whether a lane changed. */
VEC int descent_step(vf v, vf *l, struct descent_lanes *s)
{
    vf old = *l, w = v_mul(v, v), wx = v_mul(w, v);
    vf xl = v_sub(s->sum_xl, v_mul(wx, old));
    vf l2 = v_sub(s->sum_l2, v_mul(v_mul(w, old), old));
    vf q = v_max(v_min(v_round_wrapped(v_div(v_mul(v, l2), xl)), v_set(3)), v_set(-4));
    vm step = v_and(v_gt(xl, v_zero()), v_ne(q, old));
    if (!v_any(step)) return 0;
    xl = v_add(xl, v_mul(wx, q));
    l2 = v_add(l2, v_mul(v_mul(w, q), q));
    vm better = v_gt(v_mul(v_mul(xl, xl), s->sum_l2), v_mul(v_mul(s->sum_xl, s->sum_xl), l2));
    step = v_and(step, v_and(v_gt(l2, v_zero()), better));
    *l = v_pick(old, q, step);
    s->sum_xl = v_pick(s->sum_xl, xl, step);
    s->sum_l2 = v_pick(s->sum_l2, l2, step);
    return v_any(step);
}

/* With weights x*x and four levels a side (Q3_K without importance). A lane that no longer changes is a fixed
 * point, so all go on until none does. */
VEC void descent_search(int n, vf (*x)[GROUPS], struct descent_lanes s[GROUPS])
{
    vf l[HT__SEARCH_MAX][GROUPS], amax[GROUPS], max[GROUPS];
    lanes_largest(n, x, max, amax);
    descent_first(n, x, max, l, s);
    for (int sweep = 0, changed = 1; sweep < 5 && changed; sweep++) {
        changed = 0;
        for (int i = 0; i < n; i++)
            for (int g = 0; g < GROUPS; g++)
                changed |= descent_step(x[i][g], &l[i][g], &s[g]);
    }
    for (int g = 0; g < GROUPS; g++) {
        s[g].odd = v_odd(amax[g], 1e-9f, 1e9f);
        s[g].scale = v_pick(v_div(s[g].sum_xl, s[g].sum_l2), v_zero(), v_lt(amax[g], v_set(HT__TINY)));
    }
}

#endif
