/*
 * The operations of lanes.h. Included once for every CPU level, after LANES_OPS is defined as the table's name and
 * LANES_WIDTH as the floats of a vector. The vectors are those of GCC and Clang: operators work on every lane.
 */
#include "kernels/best/lanes.h"
#include "kernels/codec/iq4.h"

#include <stdint.h>
#include <string.h>

typedef float vf __attribute__((vector_size(4 * LANES_WIDTH)));
typedef int32_t vi __attribute__((vector_size(4 * LANES_WIDTH)));
enum { VECTORS = HT__LANES / LANES_WIDTH };
#define LANES_INLINE static inline __attribute__((always_inline))

LANES_INLINE vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

LANES_INLINE vf pick(vi mask, vf yes, vf no)
{
    return (vf)(((vi)yes & mask) | ((vi)no & ~mask));
}

/* To the nearest whole number, for |u| < 2^22. */
LANES_INLINE vf whole(vf u)
{
    return (u + 12582912.0f) - 12582912.0f;
}

/* What is not a number becomes the lower bound. */
LANES_INLINE vf held(vf u, float low, float high)
{
    u = pick(u > low, u, low - (vf){0});
    return pick(u < high, u, high - (vf){0});
}

/* Of 0, 1, 2, 3, 4, 6, 8, 12 and a sign. */
LANES_INLINE vf nearest_e2m1(vf u)
{
    const vi sign = (vi){0} | INT32_MIN;
    vf a = held((vf)((vi)u & ~sign), 0, 12);
    vf v = pick(a < 4, whole(a), pick(a < 7, 2 * whole(0.5f * a), 4 * whole(0.25f * a)));
    return (vf)((vi)v | ((vi)u & sign));
}

LANES_INLINE vf nearest_iq4(vf u)
{
    vf v = (float)ht__iq4_values[0] - (vf){0};
    for (int k = 0; k < 15; k++) {
        float low = (float)ht__iq4_values[k], high = (float)ht__iq4_values[k + 1];
        v += (vf)((vi)((high - low) - (vf){0}) & (u > 0.5f * (low + high)));
    }
    return v;
}

LANES_INLINE vf nearest(struct ht__best_values values, vf u)
{
    if (values.kind == HT__VALUES_IQ4) return nearest_iq4(u);
    if (values.kind == HT__VALUES_E2M1) return nearest_e2m1(u);
    return whole(held(u, values.low, values.high));
}

LANES_INLINE vf inverse_of(vf scale)
{
    return (vf)((vi)(1 / scale) & (scale != 0));
}

LANES_INLINE void errors_of(struct ht__best_values values, int n, const float *x, const float *w, const float *scale,
                            const float *offset, float *error)
{
    vf s[VECTORS], o[VECTORS], inverse[VECTORS], sum[VECTORS];
    for (int k = 0; k < VECTORS; k++) {
        s[k] = load(scale + k * LANES_WIDTH);
        o[k] = load(offset + k * LANES_WIDTH);
        inverse[k] = inverse_of(s[k]);
        sum[k] = (vf){0};
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < VECTORS; k++) {
            vf diff = s[k] * nearest(values, (x[i] - o[k]) * inverse[k]) + o[k] - x[i];
            sum[k] += w[i] * (diff * diff);
        }
    memcpy(error, sum, sizeof sum);
}

LANES_INLINE void sums_of(struct ht__best_values values, int n, const float *x, const float *w, const float *scale,
                          const float *offset, float *sum_v, float *sum_vv, float *sum_xv)
{
    vf o[VECTORS], inverse[VECTORS], sv[VECTORS], svv[VECTORS], sxv[VECTORS];
    for (int k = 0; k < VECTORS; k++) {
        o[k] = load(offset + k * LANES_WIDTH);
        inverse[k] = inverse_of(load(scale + k * LANES_WIDTH));
        sv[k] = svv[k] = sxv[k] = (vf){0};
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < VECTORS; k++) {
            vf v = nearest(values, (x[i] - o[k]) * inverse[k]), wv = w[i] * v;
            sv[k] += wv;
            svv[k] += wv * v;
            sxv[k] += wv * x[i];
        }
    memcpy(sum_v, sv, sizeof sv);
    memcpy(sum_vv, svv, sizeof svv);
    memcpy(sum_xv, sxv, sizeof sxv);
}

static void errors(struct ht__best_values values, int n, const float *x, const float *w, int lanes, const float *scale,
                   const float *offset, float *error)
{
    const struct ht__best_values iq4 = {.kind = HT__VALUES_IQ4}, e2m1 = {.kind = HT__VALUES_E2M1};
    for (int l = 0; l < lanes; l += HT__LANES) {
        if (values.kind == HT__VALUES_IQ4)
            errors_of(iq4, n, x, w, scale + l, offset + l, error + l);
        else if (values.kind == HT__VALUES_E2M1)
            errors_of(e2m1, n, x, w, scale + l, offset + l, error + l);
        else
            errors_of((struct ht__best_values){HT__VALUES_WHOLE, values.low, values.high}, n, x, w, scale + l,
                      offset + l, error + l);
    }
}

static void sums(struct ht__best_values values, int n, const float *x, const float *w, int lanes, const float *scale,
                 const float *offset, struct ht__best_sums *s)
{
    const struct ht__best_values iq4 = {.kind = HT__VALUES_IQ4}, e2m1 = {.kind = HT__VALUES_E2M1};
    for (int l = 0; l < lanes; l += HT__LANES) {
        if (values.kind == HT__VALUES_IQ4)
            sums_of(iq4, n, x, w, scale + l, offset + l, s->v + l, s->vv + l, s->xv + l);
        else if (values.kind == HT__VALUES_E2M1)
            sums_of(e2m1, n, x, w, scale + l, offset + l, s->v + l, s->vv + l, s->xv + l);
        else
            sums_of((struct ht__best_values){HT__VALUES_WHOLE, values.low, values.high}, n, x, w, scale + l, offset + l,
                    s->v + l, s->vv + l, s->xv + l);
    }
}

const struct ht__best_ops LANES_OPS = {errors, sums};
