/* Scale and offset of a sub-block: the range cut short at both ends by several amounts, each fitted to its codes. */
#include "kernels/best/best.h"
#include "kernels/half.h"

#include <math.h>
#include <string.h>

struct totals {
    float w, wx;
};

/* Least squares for the codes of every lane; lanes whose codes are all the same stay. */
static void refit(const struct ht__best *type, const float *x, const float *w, struct totals total, bool bound,
                  int lanes, float *scale, float *offset)
{
    struct ht__best_sums sums;
    ht__best_ops()->sums(type->values, type->len, x, w, lanes, scale, offset, &sums);
    for (int l = 0; l < lanes; l++) {
        float determinant = total.w * sums.vv[l] - sums.v[l] * sums.v[l];
        if (!(determinant > 0)) continue;
        float s = (total.w * sums.xv[l] - total.wx * sums.v[l]) / determinant;
        float o = (sums.vv[l] * total.wx - sums.v[l] * sums.xv[l]) / determinant;
        if (bound && o > 0) {
            o = 0;
            s = sums.xv[l] / sums.vv[l];
        }
        if (!(s > 0) || !isfinite(s) || !isfinite(o)) continue;
        scale[l] = s;
        offset[l] = o;
    }
}

void ht__best_fit_line(const struct ht__best *type, const float *x, const float *w, bool bound,
                       struct ht__best_line *fit)
{
    enum { SIDE = 8, N = SIDE * SIDE };
    float scale[N], offset[N], error[N], low = INFINITY, high = -INFINITY;
    struct totals total = {0, 0};
    struct ht__best_sums sums;
    for (int i = 0; i < type->len; i++) {
        total.w += w[i];
        total.wx += w[i] * x[i];
        if (!(w[i] > 0)) continue;
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    memset(fit, 0, sizeof *fit);
    if (bound && low > 0) low = 0;
    if (!(high > low)) { /* all alike: an offset alone */
        fit->offset = isfinite(low) && low < 0 ? low : 0;
        if (!bound && isfinite(low)) fit->offset = low;
        fit->offset_curve = total.w;
        return;
    }
    /* few levels: what is cut off may be much */
    float range = high - low, step = 0.35f / type->values.high + 0.01f;
    for (int a = 0; a < SIDE; a++)
        for (int b = 0; b < SIDE; b++) {
            float from = low + step * (float)(a - 1) * range, to = high - step * (float)(b - 1) * range;
            if (bound && from > 0) from = 0;
            if (to - from < 0.05f * range) to = from + 0.05f * range;
            offset[SIDE * a + b] = from;
            scale[SIDE * a + b] = (to - from) / type->values.high;
        }
    for (int round = 0; round < 2; round++)
        refit(type, x, w, total, bound, N, scale, offset);
    ht__best_ops()->errors(type->values, type->len, x, w, N, scale, offset, error);
    int best = ht__best_least(N, error);
    float at_scale[HT__LANES] = {scale[best]}, at_offset[HT__LANES] = {offset[best]};
    ht__best_ops()->sums(type->values, type->len, x, w, HT__LANES, at_scale, at_offset, &sums);
    fit->scale = scale[best];
    fit->offset = offset[best];
    fit->scale_curve = sums.vv[0] - sums.v[0] * sums.v[0] / total.w;
    fit->offset_curve = sums.vv[0] > 0 ? total.w - sums.v[0] * sums.v[0] / sums.vv[0] : total.w;
}

void ht__best_pair(const struct ht__best *type, const float *x, const float *w, void *block)
{
    enum { NEAR = 1, SIDE = 2 * NEAR + 1, N = 24 };
    struct ht__best_line fit;
    uint8_t *bytes = block;
    float d = ht__f16_to_f32(ht__load_u16(bytes)), m = ht__f16_to_f32(ht__load_u16(bytes + 2));
    float scale[N], offset[N], error[N];
    ht__best_fit_line(type, x, w, false, &fit);
    if (!isfinite(d) || !isfinite(m)) d = m = 0;
    for (int i = 0; i < N; i++) {
        bool stock = i >= SIDE * SIDE;
        int k = i % (SIDE * SIDE);
        scale[i] = ht__best_half_step(stock ? d : ht__best_half(fit.scale), k / SIDE - NEAR);
        offset[i] = ht__best_half_step(stock ? m : ht__best_half(fit.offset), k % SIDE - NEAR);
    }
    ht__best_ops()->errors(type->values, type->len, x, w, N, scale, offset, error);
    int best = ht__best_least(N, error);
    ht__store_u16(bytes, ht__f32_to_f16(scale[best]));
    ht__store_u16(bytes + 2, ht__f32_to_f16(offset[best]));
}
