/*
 * Floats of eight and four bits, as matrices and their scales are stored in them:
 *   E4M3  sign, four exponent bits (bias 7), three mantissa bits; no infinity, 0x7f is not a number; largest 448
 *   E2M1  sign, two exponent bits (bias 1), one mantissa bit; largest 6
 *   E8M0  a power of two, 2^(code - 127); 255 is not a number
 * Rounding is to nearest, ties to even, and what is too large becomes the largest: as PyTorch converts after clamping.
 * No branches, so that compilers make vectors of loops over them; the same on every processor.
 */
#ifndef HT_KERNELS_SMALL_FLOAT_H
#define HT_KERNELS_SMALL_FLOAT_H

#include "kernels/half.h"

/*
 * The code of a magnitude (a float's bits without the sign) with m mantissa bits and this exponent bias.
 * Adding 2^(24 - bias - m) to what is below the smallest normal number puts its last bit at the float's last place.
 */
static inline int32_t ht__small_code(int32_t magnitude, int m, int bias, int32_t largest)
{
    int32_t held = magnitude > largest ? largest : magnitude, drop = 23 - m;
    int32_t normal = ((held + (1 << (drop - 1)) - 1 + (held >> drop & 1)) >> drop) - ((127 - bias) << m);
    int32_t shift = (127 + 24 - bias - m) << 23;
    int32_t tiny =
        (int32_t)ht__f32_bits(ht__f32_from_bits((uint32_t)held) + ht__f32_from_bits((uint32_t)shift)) - shift;
    return held < (128 - bias) << 23 ? tiny : normal;
}

static inline uint8_t ht__f32_to_e4m3(float x)
{
    uint32_t bits = ht__f32_bits(x);
    int32_t magnitude = (int32_t)(bits & 0x7fffffffu);
    int32_t not_number = magnitude > 0x7f800000;
    return (uint8_t)((uint32_t)(ht__small_code(magnitude, 3, 7, 0x43e00000) | not_number) | (bits >> 24 & 0x80u));
}

static inline float ht__e4m3_to_f32(uint8_t code)
{
    uint32_t held = (uint32_t)(code & 0x7f) << 20, sign = (uint32_t)(code & 0x80) << 24;
    float normal = ht__f32_from_bits(held + (120u << 23));
    float tiny = ht__f32_from_bits(held + (121u << 23)) - 0x1p-6f; /* without subnormal numbers, which are slow */
    uint32_t bits = ht__f32_bits(held < 1u << 23 ? tiny : normal);
    return ht__f32_from_bits(held == 0x7f00000u ? 0x7fc00000u : sign | bits);
}

/* A negative number that rounds to zero keeps its sign; zero itself has none. */
static inline uint8_t ht__f32_to_e2m1(float x)
{
    int32_t magnitude = (int32_t)(ht__f32_bits(x) & 0x7fffffffu);
    return (uint8_t)(ht__small_code(magnitude, 1, 1, 0x40c00000) | (x < 0 ? 8 : 0));
}

static inline float ht__e2m1_to_f32(uint8_t code)
{
    static const float values[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6};
    return values[code & 15];
}

/* 2^-127 is a subnormal float. */
static inline float ht__e8m0_to_f32(uint8_t code)
{
    return ht__f32_from_bits(code == 255 ? 0x7fc00000u : code == 0 ? 0x00400000u : (uint32_t)code << 23);
}

#endif
