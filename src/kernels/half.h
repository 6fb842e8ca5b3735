/* Half and bfloat16 conversions, exact on every level and without the F16C instruction. */
#ifndef HT_KERNELS_HALF_H
#define HT_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t ht__f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float ht__f32_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* IEEE half to float: exact, subnormals kept; NaN keeps its payload and becomes quiet as VCVTPH2PS does. */
static inline float ht__f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 31u, mantissa = h & 0x3ffu;
    if (exponent == 31) {
        uint32_t quiet = mantissa ? 0x400000u : 0;
        return ht__f32_from_bits(sign | 0x7f800000u | quiet | mantissa << 13);
    }
    if (exponent != 0) return ht__f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f; /* exact: mantissa has 10 bits */
    return ht__f32_from_bits(sign | ht__f32_bits(magnitude));
}

/* Float to IEEE half, round to nearest even, overflow to infinity, subnormals kept, NaN quiet. */
static inline uint16_t ht__f32_to_f16(float x)
{
    uint32_t bits = ht__f32_bits(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) /* NaN */
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) /* 65520 and up round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: a half subnormal; adding 0.5 rounds at 2^-24 */
        float shifted = ht__f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (ht__f32_bits(shifted) - 0x3f000000u));
    }
    uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

static inline float ht__bf16_to_f32(uint16_t b)
{
    return ht__f32_from_bits((uint32_t)b << 16);
}

/* Float to bfloat16, round to nearest even; NaN keeps its upper bits and becomes quiet. */
static inline uint16_t ht__f32_to_bf16(float x)
{
    uint32_t bits = ht__f32_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 64u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* Rounded to what bfloat16 and half hold, as floats; x must be finite. No branches, so that loops become vectors. */
static inline float ht__round_bf16(float x)
{
    uint32_t bits = ht__f32_bits(x);
    return ht__f32_from_bits((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
}

static inline float ht__round_f16(float x)
{
    uint32_t bits = ht__f32_bits(x), sign = bits & 0x80000000u;
    int32_t magnitude = (int32_t)(bits & 0x7fffffffu);
    int32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1)) & ~0x1fff;
    int32_t tiny = (int32_t)ht__f32_bits(ht__f32_from_bits((uint32_t)magnitude) + 0.5f - 0.5f); /* to 2^-24 */
    int32_t held = magnitude < 0x38800000 ? tiny : normal;
    return ht__f32_from_bits(sign | (uint32_t)(held > 0x477fe000 ? 0x7f800000 : held));
}

static inline uint16_t ht__load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void ht__store_u16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

/* The whole part; INT32_MIN for what int cannot hold, as x86 converts them (C leaves it open). */
static inline int ht__truncate(float x)
{
    return x >= -2147483648.0f && x < 2147483648.0f ? (int)x : INT32_MIN;
}

/*
 * Round to nearest, ties to even, for |x| < 2^22: what llama.cpp's encoders mean by rounding. 12582912 is 1.5 * 2^23:
 * floats there are whole numbers, so that the sum rounds x, and its lower 23 bits hold x + 2^22.
 */
static inline int ht__round_even(float x)
{
    return (int)(ht__f32_bits(x + 12582912.0f) & 0x007fffffu) - 0x00400000;
}

#endif
