/* Super-blocks x ~ d * s * v - dmin * m with codes s and m that are not negative. */
#include "kernels/best/best.h"

#include <math.h>
#include <string.h>

struct state {
    float d, dmin, error;
    int s[HT__BEST_SUBS], m[HT__BEST_SUBS];
};

struct sums {
    double ss, sm, mm, sx, mx; /* of (s*v)^2, (s*v)*m, m^2, (s*v)*x, m*x, all weighed */
};

static int held(int code, int high)
{
    return code < 0 ? 0 : code > high ? high : code;
}

/* Five by five codes around those of sub-block j, and further around what fits without regard to storage. */
static float choose_sub(const struct ht__best *type, const float *x, const float *w, float d, float dmin,
                        const struct ht__best_line *fit, int *s, int *m)
{
    enum { N = 32 };
    static const int free_steps[7][2] = {{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}, {-1, -1}, {1, 1}};
    float scale[N], offset[N], error[N];
    int cs[N], cm[N], fs = ht__best_code(fit->scale, d, 0, type->high);
    int fm = ht__best_code(-fit->offset, dmin, 0, type->high);
    for (int k = 0; k < N; k++) {
        int near = (k + 12) % 25; /* the codes as they are come first */
        cs[k] = held(k < 25 ? *s + near / 5 - 2 : fs + free_steps[k - 25][0], type->high);
        cm[k] = held(k < 25 ? *m + near % 5 - 2 : fm + free_steps[k - 25][1], type->high);
        scale[k] = d * (float)cs[k];
        offset[k] = -(dmin * (float)cm[k]);
    }
    ht__best_ops()->errors(type->values, type->len, x, w, N, scale, offset, error);
    int best = ht__best_least(N, error);
    *s = cs[best];
    *m = cm[best];
    return error[best];
}

static void add_sums(const struct ht__best *type, const float *x, const float *w, float d, float dmin, int s, int m,
                     struct sums *total)
{
    struct ht__best_sums sums;
    float scale[HT__LANES] = {d * (float)s}, offset[HT__LANES] = {-(dmin * (float)m)}, sum_w = 0, sum_wx = 0;
    ht__best_ops()->sums(type->values, type->len, x, w, HT__LANES, scale, offset, &sums);
    for (int i = 0; i < type->len; i++) {
        sum_w += w[i];
        sum_wx += w[i] * x[i];
    }
    total->ss += (double)sums.vv[0] * (s * s);
    total->sm += (double)sums.v[0] * (s * m);
    total->mm += (double)sum_w * (m * m);
    total->sx += (double)sums.xv[0] * s;
    total->mx += (double)sum_wx * m;
}

/* d and dmin by least squares; they stay where the sums do not tell. */
static void solve(const struct sums *t, float *d, float *dmin)
{
    double determinant = t->ss * t->mm - t->sm * t->sm;
    if (determinant > 1e-9 * t->ss * t->mm) {
        *d = ht__best_half((float)((t->sx * t->mm - t->mx * t->sm) / determinant));
        *dmin = ht__best_half((float)((t->sx * t->sm - t->mx * t->ss) / determinant));
    } else if (t->ss > 0 && t->mm == 0) {
        *d = ht__best_half((float)(t->sx / t->ss));
    }
}

static void descend(const struct ht__best *type, const float *x, const float *w, const struct ht__best_line *fits,
                    struct state now, struct state *best)
{
    float last = INFINITY;
    for (int round = 0; round < HT__BEST_ROUNDS; round++) {
        struct sums sums = {0};
        now.error = 0;
        for (int j = 0; j < type->subs; j++) {
            int at = type->len * j;
            now.error += choose_sub(type, x + at, w + at, now.d, now.dmin, &fits[j], &now.s[j], &now.m[j]);
        }
        if (!(now.error < last)) break;
        last = now.error;
        if (now.error < best->error) *best = now;
        for (int j = 0; j < type->subs; j++)
            add_sums(type, x + type->len * j, w + type->len * j, now.d, now.dmin, now.s[j], now.m[j], &sums);
        solve(&sums, &now.d, &now.dmin);
    }
}

void ht__best_affine(const struct ht__best *type, const float *x, const float *w, void *block)
{
    enum { UNITS = 2 };
    struct ht__best_line fits[HT__BEST_SUBS];
    float scales[HT__BEST_SUBS], mins[HT__BEST_SUBS], curves[HT__BEST_SUBS], min_curves[HT__BEST_SUBS];
    float d[UNITS], dmin[UNITS];
    struct state best = {.error = INFINITY}, start = {.error = 0};
    for (int j = 0; j < type->subs; j++) {
        ht__best_fit_line(type, x + type->len * j, w + type->len * j, true, &fits[j]);
        scales[j] = fits[j].scale;
        mins[j] = -fits[j].offset;
        curves[j] = fits[j].scale_curve;
        min_curves[j] = fits[j].offset_curve;
    }
    type->get(block, &start.d, &start.dmin, start.s, start.m);
    if (isfinite(start.d) && isfinite(start.dmin)) descend(type, x, w, fits, start, &best);
    ht__best_units(type->subs, scales, curves, 0, type->high, UNITS, d);
    ht__best_units(type->subs, mins, min_curves, 0, type->high, UNITS, dmin);
    for (int u = 0; u < UNITS; u++) {
        start.d = d[u];
        start.dmin = dmin[u];
        for (int j = 0; j < type->subs; j++) {
            start.s[j] = ht__best_code(scales[j], start.d, 0, type->high);
            start.m[j] = ht__best_code(mins[j], start.dmin, 0, type->high);
        }
        descend(type, x, w, fits, start, &best);
    }
    type->put(block, best.d, best.dmin, best.s, best.m);
}
