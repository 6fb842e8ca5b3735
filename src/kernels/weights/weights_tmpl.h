/*
 * The loops of weights.h in plain C that compilers make vectors of. Included once a CPU level, after WEIGHTS_NAME and
 * WEIGHTS_BYTES, the bytes of its vectors, are defined and probe, look_up and replace are there.
 */
#include "kernels/small_float.h"
#include "kernels/sum.h"
#include "kernels/weights/weights.h"

#include <string.h>

#define WHOLE_ROUNDER 12582912.0f /* 1.5 * 2^23: adding it rounds to a whole number, half to even */

/* ---- ranges and sums ---- */

/* Magnitudes compare as their bits do, and integers become vectors where floats would not. */
static int32_t largest_bits(const float *x, int64_t n)
{
    int32_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t bits = (int32_t)(ht__f32_bits(x[i]) & 0x7fffffffu);
        most = bits > most ? bits : most;
    }
    return most;
}

static float largest(const float *x, int64_t n)
{
    return ht__f32_from_bits((uint32_t)largest_bits(x, n));
}

/* Numbers above zero are the larger, the larger their bits are as a signed number; below zero, as an unsigned one. */
static void range(const float *x, int64_t n, float *lo, float *hi)
{
    int32_t most = 0;
    uint32_t least = 0x80000000u;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = ht__f32_bits(x[i]);
        most = (int32_t)bits > most ? (int32_t)bits : most;
        least = bits > least ? bits : least;
    }
    *lo = least == 0x80000000u ? 0 : ht__f32_from_bits(least);
    *hi = ht__f32_from_bits((uint32_t)most);
}

/* An exponent of all ones. */
static bool all_finite(const float *x, int64_t n)
{
    return largest_bits(x, n) < 0x7f800000;
}

enum { SQUARES = 16, WIDE = WEIGHTS_BYTES / 8, WIDES = SQUARES / WIDE };
typedef double wide __attribute__((vector_size(WEIGHTS_BYTES)));
typedef float narrow __attribute__((vector_size(WEIGHTS_BYTES / 2)));

static inline wide load_wide(const float *x)
{
    narrow v;
    memcpy(&v, x, sizeof v);
    return __builtin_convertvector(v, wide);
}

static double squares(const float *x, const float *y, int64_t n)
{
    wide lanes[WIDES] = {{0}};
    double sum = 0;
    int64_t i = 0;
    for (; y && i + SQUARES <= n; i += SQUARES)
        for (int j = 0; j < WIDES; j++) {
            wide d = load_wide(x + i + j * WIDE) - load_wide(y + i + j * WIDE);
            lanes[j] += d * d;
        }
    for (; !y && i + SQUARES <= n; i += SQUARES)
        for (int j = 0; j < WIDES; j++) {
            wide d = load_wide(x + i + j * WIDE);
            lanes[j] += d * d;
        }
    for (int j = 0; j < SQUARES; j++)
        sum += lanes[j / WIDE][j % WIDE];
    for (; i < n; i++) {
        double d = y ? (double)x[i] - (double)y[i] : (double)x[i];
        sum += d * d;
    }
    return sum;
}

/* ---- codebooks ---- */

/* How many midpoints lie below each number, all fifteen of them in registers. */
static void count_below(const float m[15], const float *scaled, int n, uint8_t *count)
{
    for (int i = 0; i < n; i++) {
        float y = scaled[i];
        int32_t a = (y > m[0]) + (y > m[1]) + (y > m[2]) + (y > m[3]), b = (y > m[4]) + (y > m[5]) + (y > m[6]);
        int32_t c = (y > m[7]) + (y > m[8]) + (y > m[9]) + (y > m[10]), d = (y > m[11]) + (y > m[12]) + (y > m[13]);
        count[i] = (uint8_t)((a + b) + (c + d) + (y > m[14]));
    }
}

static void codebook_nearest(const struct ht__codebook *book, const float *x, int64_t n, float by, bool divide,
                             uint8_t *q)
{
    enum { SPAN = 512 };
    float scaled[SPAN], inverse = 1 / by;
    for (int64_t at = 0; at < n; at += SPAN) {
        int count = (int)(n - at < SPAN ? n - at : SPAN);
        for (int i = 0; divide && i < count; i++)
            scaled[i] = x[at + i] / by;
        for (int i = 0; !divide && i < count; i++)
            scaled[i] = x[at + i] * inverse;
        for (int i = 0; i < count; i++)
            scaled[i] = scaled[i] > 1 ? 1 : scaled[i] < -1 ? -1 : scaled[i];
        count_below(book->midpoint, scaled, count, q + at);
        replace(book->code, q + at, count);
    }
}

/* ---- whole numbers ---- */

static float as_f32(float x)
{
    return x;
}

static void whole_nearest(const float *x, int64_t n, float scale, float zero, float most, uint8_t *q)
{
    float least = -zero, top = most - zero, shift = WHOLE_ROUNDER + zero;
    for (int64_t i = 0; i < n; i++) {
        float y = x[i] / scale;
        y = y < least ? least : y;
        y = y > top ? top : y;
        q[i] = (uint8_t)ht__f32_bits(((y + WHOLE_ROUNDER) - WHOLE_ROUNDER) + shift); /* below 256: the lowest bits */
    }
}

#define WHOLE_VALUE(rounding, round)                                                                                   \
    static void whole_value_##rounding(const uint8_t *q, int64_t n, float scale, float zero, float *x)                 \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++)                                                                                \
            x[i] = round(((float)q[i] - zero) * scale);                                                                \
    }
WHOLE_VALUE(f32, as_f32)
WHOLE_VALUE(bf16, ht__round_bf16)
WHOLE_VALUE(f16, ht__round_f16)

/* As half holds it, but never infinite. */
static inline float held(float x)
{
    x = ht__round_f16(x);
    return x > 65504 ? 65504 : x < -65504 ? -65504 : x;
}

static void signed_nearest(const float *x, int64_t n, float by, uint8_t *q)
{
    for (int64_t i = 0; i < n; i++)
        q[i] = (uint8_t)(ht__f32_bits(held(x[i]) * by + WHOLE_ROUNDER) & 0xff);
}

static void signed_value(const uint8_t *q, int64_t n, float scale, float factor, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(int8_t)q[i] * scale * factor;
}

/* ---- small floats ---- */

#define SMALL(element, rounding, round)                                                                                \
    static void small_nearest_##element##_##rounding(const float *x, int64_t n, float scale, uint8_t *q)               \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++)                                                                                \
            q[i] = ht__f32_to_##element(round(x[i] / scale));                                                          \
    }                                                                                                                  \
    static void small_value_##element##_##rounding(const uint8_t *q, int64_t n, float scale, float *x)                 \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++)                                                                                \
            x[i] = round(ht__##element##_to_f32(q[i]) * scale);                                                        \
    }
SMALL(e4m3, f32, as_f32)
SMALL(e4m3, bf16, ht__round_bf16)
SMALL(e4m3, f16, ht__round_f16)
SMALL(e2m1, f32, as_f32)
SMALL(e2m1, bf16, ht__round_bf16)
SMALL(e2m1, f16, ht__round_f16)

/* ---- pairs of four bits ---- */

static void join_nibbles(const uint8_t *q, int64_t n_pairs, bool first_upper, uint8_t *dst)
{
    for (int64_t i = 0; first_upper && i < n_pairs; i++)
        dst[i] = (uint8_t)(q[2 * i] << 4 | q[2 * i + 1]);
    for (int64_t i = 0; !first_upper && i < n_pairs; i++)
        dst[i] = (uint8_t)(q[2 * i] | q[2 * i + 1] << 4);
}

static void part_nibbles(const uint8_t *src, int64_t n_pairs, bool first_upper, uint8_t *q)
{
    for (int64_t i = 0; first_upper && i < n_pairs; i++) {
        q[2 * i] = src[i] >> 4;
        q[2 * i + 1] = src[i] & 15;
    }
    for (int64_t i = 0; !first_upper && i < n_pairs; i++) {
        q[2 * i] = src[i] & 15;
        q[2 * i + 1] = src[i] >> 4;
    }
}

/* ---- sums of bytes ---- */

static inline uint64_t load_word(const uint8_t *data)
{
    uint64_t value;
    memcpy(&value, data, sizeof value);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static void sum_words(const uint8_t *words, uint64_t n, uint64_t first, uint64_t sums[3])
{
    uint64_t low = 0, high = 0, factors = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t value = load_word(words + 8 * i), factor = ht__sum_factor(first + i);
        low += (value & UINT32_MAX) * factor;
        high += (value >> 32) * factor;
        factors += factor;
    }
    sums[0] = low;
    sums[1] = high;
    sums[2] = factors;
}

const struct ht__weight_ops WEIGHTS_NAME = {
    .largest = largest,
    .range = range,
    .finite = all_finite,
    .squares = squares,
    .codebook_nearest = codebook_nearest,
    .look_up = look_up,
    .probe = probe,
    .whole_nearest = whole_nearest,
    .whole_value = {whole_value_f32, whole_value_bf16, whole_value_f16},
    .small_nearest = {{small_nearest_e4m3_f32, small_nearest_e4m3_bf16, small_nearest_e4m3_f16},
                      {small_nearest_e2m1_f32, small_nearest_e2m1_bf16, small_nearest_e2m1_f16}},
    .small_value = {{small_value_e4m3_f32, small_value_e4m3_bf16, small_value_e4m3_f16},
                    {small_value_e2m1_f32, small_value_e2m1_bf16, small_value_e2m1_f16}},
    .signed_nearest = signed_nearest,
    .signed_value = signed_value,
    .join_nibbles = join_nibbles,
    .part_nibbles = part_nibbles,
    .sum_words = sum_words,
};
