/* Super-blocks x ~ d * s * v with signed codes s. */
#include "kernels/best/best.h"

#include <math.h>
#include <string.h>

struct state {
    float d, error;
    int s[HT__BEST_SUBS];
};

/* The best code of every sub-block under d, around these; their error. */
static float choose(const struct ht__best *type, const float *x, const float *w, float d, const int *around,
                    int *chosen)
{
    static const int steps[HT__LANES] = {0, -1, 1, -2, 2, 0, -1, 1};
    static const float zero[HT__LANES];
    float total = 0;
    for (int j = 0; j < type->subs; j++) {
        float scale[HT__LANES], error[HT__LANES];
        int code[HT__LANES];
        for (int k = 0; k < HT__LANES; k++) {
            int c = (k < 5 ? around[j] : -around[j]) + steps[k]; /* the last three: the other sign */
            code[k] = c < type->low ? type->low : c > type->high ? type->high : c;
            scale[k] = d * (float)code[k];
        }
        ht__best_ops()->errors(type->values, type->len, x + type->len * j, w + type->len * j, HT__LANES, scale, zero,
                               error);
        int best = ht__best_least(HT__LANES, error);
        chosen[j] = code[best];
        total += error[best];
    }
    return total;
}

/* d by least squares for the codes under d and s. */
static float refit(const struct ht__best *type, const float *x, const float *w, float d, const int *s)
{
    static const float zero[HT__LANES];
    float xv = 0, vv = 0;
    for (int j = 0; j < type->subs; j++) {
        float scale[HT__LANES] = {d * (float)s[j]};
        struct ht__best_sums sums;
        ht__best_ops()->sums(type->values, type->len, x + type->len * j, w + type->len * j, HT__LANES, scale, zero,
                             &sums);
        xv += (float)s[j] * sums.xv[0];
        vv += (float)(s[j] * s[j]) * sums.vv[0];
    }
    return vv > 0 ? ht__best_half(xv / vv) : d;
}

static void descend(const struct ht__best *type, const float *x, const float *w, float d, const int *start,
                    struct state *best)
{
    int s[HT__BEST_SUBS], next[HT__BEST_SUBS];
    float last = INFINITY;
    memcpy(s, start, sizeof s);
    for (int round = 0; round < HT__BEST_ROUNDS && d != 0; round++) {
        float error = choose(type, x, w, d, s, next);
        if (!(error < last)) break;
        last = error;
        memcpy(s, next, sizeof s);
        if (error < best->error) {
            best->error = error;
            best->d = d;
            memcpy(best->s, s, sizeof s);
        }
        d = refit(type, x, w, d, s);
    }
}

void ht__best_signed(const struct ht__best *type, const float *x, const float *w, void *block)
{
    enum { UNITS = 2 };
    struct state best = {.error = INFINITY};
    float scales[HT__BEST_SUBS], curves[HT__BEST_SUBS], units[UNITS], none;
    int s[HT__BEST_SUBS] = {0};
    type->get(block, &best.d, &none, best.s, NULL);
    memcpy(s, best.s, sizeof s);
    if (isfinite(best.d)) descend(type, x, w, best.d, s, &best);
    for (int j = 0; j < type->subs; j++) {
        struct ht__best_scale fit;
        ht__best_fit_scale(type, x + type->len * j, w + type->len * j, &fit);
        scales[j] = fit.scale;
        curves[j] = fit.curve;
    }
    ht__best_units(type->subs, scales, curves, type->low, type->high, UNITS, units);
    for (int u = 0; u < UNITS; u++) {
        for (int j = 0; j < type->subs; j++)
            s[j] = ht__best_code(scales[j], units[u], type->low, type->high);
        descend(type, x, w, units[u], s, &best);
    }
    if (!isfinite(best.d)) best.d = 0;
    type->put(block, best.d, 0, best.s, NULL);
}
