#include "kernels/best/best.h"
#include "kernels/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Importance as weights up to 1; all alike where none counts. */
static void weigh(const struct ht__best *type, int n, const float *x, const float *importance, float *w)
{
    float max = 0;
    for (int i = 0; i < n; i++) {
        w[i] = importance ? importance[i] : type->square ? x[i] * x[i] : 1;
        if (w[i] > max) max = w[i];
    }
    for (int i = 0; i < n; i++)
        w[i] = max > 0 ? w[i] / max : 1;
}

static double error_of(const struct ht__best *type, const float *x, const float *w, const void *block)
{
    float decoded[HT__BEST_LEN];
    double sum = 0;
    int n = (int)type->codec->block_len;
    type->codec->decode(block, n, decoded);
    for (int i = 0; i < n; i++) {
        double diff = (double)x[i] - (double)decoded[i];
        sum += (double)w[i] * (diff * diff);
    }
    return sum;
}

static uint8_t nearest_whole(float x, float scale, float offset, float low, float high)
{
    float u = (x - offset) / scale;
    u = u > low ? u : low;
    u = u < high ? u : high;
    return (uint8_t)((int)ht__round_even(u) - (int)low);
}

static uint8_t nearest_listed(const struct ht__grid *grid, float x, float scale)
{
    int best = 0;
    float least = fabsf(scale * (float)grid->values[0] - x);
    for (int c = 1; c < grid->n_codes; c++) {
        float error = fabsf(scale * (float)grid->values[c] - x);
        if (error < least || (error == least && grid->values[c] == 0)) { /* of two zeros the positive one */
            least = error;
            best = c;
        }
    }
    return (uint8_t)best;
}

/* The nearest codes under the block's scales. */
static void set_codes(const struct ht__best *type, const float *x, void *block)
{
    const struct ht__grid *grid = type->codec->grid;
    uint8_t codes[HT__BEST_LEN];
    float scale[HT__BEST_LEN], offset[HT__BEST_LEN];
    grid->read(block, codes, scale, offset);
    for (int i = 0; i < (int)type->codec->block_len; i++) {
        int s = i / grid->group;
        bool none = scale[s] == 0; /* all codes decode alike: the one of 0 then */
        if (type->values.kind == HT__VALUES_WHOLE)
            codes[i] = nearest_whole(none ? 0 : x[i], none ? 1 : scale[s], none ? 0 : offset[s], type->values.low,
                                     type->values.high);
        else
            codes[i] = nearest_listed(grid, none ? 0 : x[i], none ? 1 : scale[s]);
    }
    grid->write(block, codes);
}

/* Far above what the largest halves reach: searches with squares of it stay finite. */
#define HUGE_WEIGHT 1e12f

static void improve_block(const struct ht__best *type, const float *x, const float *importance, uint8_t *block)
{
    const struct ht__codec *codec = type->codec;
    float w[HT__BEST_LEN], held[HT__BEST_LEN];
    uint8_t trial[HT__BEST_LEN];
    int n = (int)codec->block_len;
    weigh(type, n, x, importance, w);
    for (int i = 0; i < n; i++)
        held[i] = x[i] < -HUGE_WEIGHT ? -HUGE_WEIGHT : x[i] > HUGE_WEIGHT ? HUGE_WEIGHT : x[i];
    memcpy(trial, block, codec->block_size);
    type->improve(type, held, w, trial);
    set_codes(type, x, trial);
    bool sound = !codec->check || codec->check(block, 1) < 0;
    if (!sound || error_of(type, x, w, trial) < error_of(type, x, w, block)) memcpy(block, trial, codec->block_size);
}

void ht__best_encode(const struct ht__best *type, const float *src, int64_t n_rows, int64_t row_len,
                     const float *importance, void *dst)
{
    const struct ht__codec *codec = type->codec;
    uint8_t *out = dst;
    ht__encoder(codec, ht__cpu_best())(src, n_rows, row_len, importance, dst);
    for (int64_t r = 0; r < n_rows; r++, src += row_len)
        for (int64_t i = 0; i < row_len; i += codec->block_len, out += codec->block_size)
            improve_block(type, src + i, importance ? importance + i : NULL, out);
}

/* ---- what the searches share ---- */

float ht__best_half(float x)
{
    return ht__f16_to_f32(ht__f32_to_f16(x > 65504 ? 65504 : x < -65504 ? -65504 : x));
}

float ht__best_half_step(float half, int steps)
{
    uint16_t bits = ht__f32_to_f16(half);
    int magnitude = (bits & 0x7fff) + steps;
    magnitude = magnitude < 0 ? 0 : magnitude > 0x7bff ? 0x7bff : magnitude;
    return ht__f16_to_f32((uint16_t)((bits & 0x8000) | magnitude));
}

float ht__best_largest(int n, const float *x, const float *w)
{
    float max = 0;
    for (int i = 0; i < n; i++)
        if (w[i] > 0 && fabsf(x[i]) > max) max = fabsf(x[i]);
    return max;
}

int ht__best_least(int n, const float *error)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (error[i] < error[best]) best = i;
    return best;
}

int ht__best_code(float value, float unit, int low, int high)
{
    if (unit == 0) return 0;
    float u = value / unit;
    u = u > (float)low ? u : (float)low;
    u = u < (float)high ? u : (float)high;
    return ht__round_even(u);
}

static float unit_error(int n, const float *values, const float *weights, int low, int high, float unit)
{
    float error = 0;
    for (int j = 0; j < n; j++) {
        float diff = values[j] - unit * (float)ht__best_code(values[j], unit, low, high);
        error += weights[j] * (diff * diff);
    }
    return error;
}

void ht__best_units(int n, const float *values, const float *weights, int low, int high, int n_units, float *units)
{
    float max = 0, errors[8];
    int found = 0;
    for (int j = 0; j < n; j++)
        if (fabsf(values[j]) > fabsf(max)) max = values[j];
    for (int k = 0; k < n_units; k++)
        units[k] = 0;
    if (max == 0) return;
    for (int code = low; code <= high; code++) {
        if (5 * abs(code) < 2 * high) continue;
        float unit = ht__best_half(max / (float)code), error = unit_error(n, values, weights, low, high, unit);
        int at = found < n_units ? found++ : n_units;
        while (at > 0 && error < errors[at - 1]) { /* the last one drops out */
            if (at < n_units) {
                errors[at] = errors[at - 1];
                units[at] = units[at - 1];
            }
            at--;
        }
        if (at < n_units) {
            errors[at] = error;
            units[at] = unit;
        }
    }
}

void ht__best_fit_scale(const struct ht__best *type, const float *x, const float *w, struct ht__best_scale *fit)
{
    enum { N = 64, SIDE = N / 2 };
    static const float zero[N];
    float scale[N], score[N], top = fmaxf(type->values.high, -type->values.low);
    float max = ht__best_largest(type->len, x, w);
    struct ht__best_sums sums;
    memset(fit, 0, sizeof *fit);
    if (max < 1e-15f) return;
    for (int t = 0; t < SIDE; t++) {
        /* the largest weight on 0.8 … 1.28 of the largest value, then ever further out of range */
        float reach = t < 25 ? 0.8f + 0.02f * (float)t : 1.28f * powf(1.1f, (float)(t - 24));
        scale[t] = max / (top * reach);
        scale[SIDE + t] = -scale[t];
    }
    for (int round = 0; round < 3; round++) {
        ht__best_ops()->sums(type->values, type->len, x, w, N, scale, zero, &sums);
        for (int t = 0; t < N; t++) {
            score[t] = sums.vv[t] > 0 ? -(sums.xv[t] * sums.xv[t] / sums.vv[t]) : 0;
            if (sums.vv[t] > 0) scale[t] = sums.xv[t] / sums.vv[t];
        }
    }
    int a = ht__best_least(SIDE, score), b = SIDE + ht__best_least(SIDE, score + SIDE);
    int best = score[b] < score[a] ? b : a;
    fit->scale = scale[best];
    fit->other = scale[best == a ? b : a];
    fit->curve = sums.vv[best];
}
