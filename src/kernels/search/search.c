#include "kernels/search/search.h"
#include "kernels/half.h"

#include <math.h>
#include <string.h>

static int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

static void zero(int n, uint8_t *codes)
{
    for (int i = 0; i < n; i++)
        codes[i] = 0;
}

float ht__sum_squares(int64_t n, const float *x)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

void ht__search_weights(int n, const float *x, const float *importance, float sigma2, float *w)
{
    for (int i = 0; i < n; i++)
        w[i] = importance[i] * sqrtf(sigma2 + x[i] * x[i]);
}

/* ---- affine ---- */

static float affine_error(int n, const float *x, const float *w, const uint8_t *codes, float scale, float offset,
                          bool absolute)
{
    float error = 0;
    for (int i = 0; i < n; i++) {
        float diff = scale * (float)codes[i] + offset - x[i];
        diff = absolute ? fabsf(diff) : diff * diff;
        error += w[i] * diff;
    }
    return error;
}

static void affine_codes(int n, const float *x, float inverse, float offset, int levels, uint8_t *codes)
{
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)clamp(ht__round_even(inverse * (x[i] - offset)), 0, levels);
}

/* Least squares for these codes; false when they are all the same. */
static bool affine_fit(int n, const float *x, const float *w, const uint8_t *codes, float sum_w, float sum_x,
                       float *scale, float *offset)
{
    float sum_l = 0, sum_l2 = 0, sum_xl = 0;
    for (int i = 0; i < n; i++) {
        float l = (float)codes[i], wl = w[i] * l;
        sum_l += wl;
        sum_l2 += wl * l;
        sum_xl += wl * x[i];
    }
    float determinant = sum_w * sum_l2 - sum_l * sum_l;
    if (!(determinant > 0)) return false;
    *scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    *offset = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    if (*offset > 0) {
        *offset = 0;
        *scale = sum_xl / sum_l2;
    }
    return true;
}

float ht__search_affine(const struct ht__affine_params *p, int n, const float *x, const float *w, uint8_t *codes,
                        float *min)
{
    float low = x[0], high = x[0], sum_w = w[0], sum_x = sum_w * x[0];
    for (int i = 1; i < n; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (low > 0) low = 0;
    if (high <= low) {
        zero(n, codes);
        *min = -low;
        return 0;
    }
    float inverse = (float)p->levels / (high - low), scale = 1 / inverse, offset = low;
    affine_codes(n, x, inverse, offset, p->levels, codes);
    float best = affine_error(n, x, w, codes, scale, offset, p->absolute);
    for (int t = 0; t <= p->steps; t++) {
        uint8_t trial[HT__SEARCH_MAX];
        float this_scale, this_offset;
        inverse = (p->first + p->delta * (float)t + (float)p->levels) / (high - offset);
        affine_codes(n, x, inverse, offset, p->levels, trial);
        if (!affine_fit(n, x, w, trial, sum_w, sum_x, &this_scale, &this_offset)) continue;
        float error = affine_error(n, x, w, trial, this_scale, this_offset, p->absolute);
        if (error < best) {
            memcpy(codes, trial, (size_t)n);
            best = error;
            scale = this_scale;
            offset = this_offset;
        }
    }
    *min = -offset;
    return scale;
}

/* ---- symmetric ---- */

/* The element of largest magnitude, with its sign; the first of equals. */
static float largest(int n, const float *x)
{
    float max = 0, amax = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            max = x[i];
        }
    return max;
}

static void symmetric_sums(int levels, int n, const float *x, const float *w, float inverse, float *sum_xl,
                           float *sum_l2)
{
    *sum_xl = *sum_l2 = 0;
    for (int i = 0; i < n; i++) {
        float l = (float)clamp(ht__round_even(inverse * x[i]), -levels, levels - 1);
        float weight = w ? w[i] : x[i] * x[i];
        *sum_xl += weight * x[i] * l;
        *sum_l2 += weight * l * l;
    }
}

float ht__search_symmetric(int levels, int n, const float *x, const float *w, uint8_t *codes)
{
    float max = largest(n, x), sum_xl, sum_l2;
    if (fabsf(max) < HT__TINY) {
        zero(n, codes);
        return 0;
    }
    float inverse = -(float)levels / max;
    symmetric_sums(levels, n, x, w, inverse, &sum_xl, &sum_l2);
    float scale = sum_l2 != 0 ? sum_xl / sum_l2 : 0, best = scale * sum_xl;
    for (int t = -9; t <= 9; t++) {
        if (t == 0) continue;
        float trial = -((float)levels + 0.1f * (float)t) / max;
        symmetric_sums(levels, n, x, w, trial, &sum_xl, &sum_l2);
        if (sum_l2 > 0 && sum_xl * sum_xl > best * sum_l2) {
            inverse = trial;
            scale = sum_xl / sum_l2;
            best = scale * sum_xl;
        }
    }
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(clamp(ht__round_even(inverse * x[i]), -levels, levels - 1) + levels);
    return scale;
}

/* ---- non-negative ---- */

static int positive_code(float inverse, float x, int levels)
{
    int l = ht__round_even(inverse * x);
    return l < levels ? l : levels;
}

static float positive_inverse(int levels, int n, const float *x, const float *w, float max)
{
    float best_inverse = (float)levels / max, best = 0;
    for (int t = -5; t <= 4; t++) { /* -5 stands for the plain one, which comes first */
        if (t == 0) continue;
        float inverse = t == -5 ? best_inverse : (0.1f * (float)t + (float)levels) / max;
        float scale = 1 / inverse, error = 0;
        for (int i = 0; i < n; i++) {
            int l = positive_code(inverse, x[i], levels);
            if (t == -5) l = (uint8_t)l; /* llama.cpp keeps these in bytes: below zero they wrap */
            float diff = x[i] - scale * (float)l;
            error += w[i] * diff * diff;
        }
        if (t == -5 || error < best) {
            best = error;
            best_inverse = inverse;
        }
    }
    return best_inverse;
}

float ht__search_positive(int levels, int n, const float *x, const float *w, uint8_t *codes)
{
    float max = 0, sum_xl = 0, sum_l2 = 0;
    int l[HT__SEARCH_MAX];
    for (int i = 0; i < n; i++)
        if (x[i] > max) max = x[i];
    zero(n, codes);
    if (max < HT__TINY) return 0;
    float inverse = positive_inverse(levels, n, x, w, max);
    for (int i = 0; i < n; i++) {
        int first = positive_code(inverse, x[i], levels);
        sum_xl += w[i] * x[i] * (float)first;
        sum_l2 += w[i] * (float)first * (float)first;
        l[i] = (uint8_t)first; /* a code below zero wraps, as llama.cpp's bytes do */
    }
    for (int sweep = 0, changed = 1; sweep < 5 && changed; sweep++) {
        changed = 0;
        for (int i = 0; i < n; i++) {
            float xl = sum_xl - w[i] * x[i] * (float)l[i];
            float l2 = sum_l2 - w[i] * (float)l[i] * (float)l[i];
            if (!(xl > 0 && l2 > 0)) continue;
            int other = ht__round_even(x[i] * l2 / xl);
            if (other > levels) other = levels;
            if (other == l[i]) continue;
            xl += w[i] * x[i] * (float)other;
            l2 += w[i] * (float)other * (float)other;
            if (xl * xl * sum_l2 > sum_xl * sum_xl * l2) {
                l[i] = (uint8_t)other;
                sum_xl = xl;
                sum_l2 = l2;
                changed = 1;
            }
        }
    }
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)l[i];
    return sum_l2 > 0 ? sum_xl / sum_l2 : 0;
}

/* ---- coordinate descent ---- */

float ht__search_descent(int n, const float *x, uint8_t *codes)
{
    enum { LEVELS = 4 };
    float max = largest(n, x), sum_xl = 0, sum_l2 = 0;
    int l[HT__SEARCH_MAX];
    zero(n, codes);
    if (fabsf(max) < HT__TINY) return 0;
    float inverse = -(float)LEVELS / max;
    for (int i = 0; i < n; i++) {
        float w = x[i] * x[i];
        l[i] = clamp(ht__round_even(inverse * x[i]), -LEVELS, LEVELS - 1);
        sum_xl += w * x[i] * (float)l[i];
        sum_l2 += w * (float)l[i] * (float)l[i];
    }
    for (int sweep = 0, changed = 1; sweep < 5 && changed; sweep++) {
        changed = 0;
        for (int i = 0; i < n; i++) {
            float w = x[i] * x[i], xl = sum_xl - w * x[i] * (float)l[i];
            if (!(xl > 0)) continue;
            float l2 = sum_l2 - w * (float)l[i] * (float)l[i];
            int other = clamp(ht__round_even(x[i] * l2 / xl), -LEVELS, LEVELS - 1);
            if (other == l[i]) continue;
            xl += w * x[i] * (float)other;
            l2 += w * (float)other * (float)other;
            if (l2 > 0 && xl * xl * sum_l2 > sum_xl * sum_xl * l2) {
                l[i] = other;
                sum_xl = xl;
                sum_l2 = l2;
                changed = 1;
            }
        }
    }
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(l[i] + LEVELS);
    return sum_xl / sum_l2;
}
