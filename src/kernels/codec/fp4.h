/* The values and scales of MXFP4 and NVFP4, for the scalar unit and the vector variants. */
#ifndef HT_KERNELS_CODEC_FP4_H
#define HT_KERNELS_CODEC_FP4_H

#include "kernels/half.h"

/* Twice the E2M1 values. */
static const int8_t ht__fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128): e = 0 and 1 give subnormals. */
static inline float ht__mx_scale(uint8_t e)
{
    return ht__f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half of unsigned E4M3 (bias 7); 0 and the NaN code give 0. */
static inline float ht__nv_scale(uint8_t code)
{
    if (code == 0 || code == 0x7f) return 0;
    int exponent = code >> 3, mantissa = code & 7;
    float v = exponent == 0 ? (float)mantissa * 0x1p-9f
                            : (1.0f + (float)mantissa / 8.0f) * ht__f32_from_bits((uint32_t)(exponent - 7 + 127) << 23);
    return v * 0.5f;
}

/* To unsigned E4M3: only the next mantissa bit rounds. */
static inline uint8_t ht__nv_code(float x)
{
    if (!(x > 0)) return 0;
    if (x > 448.0f) x = 448.0f;
    uint32_t bits = ht__f32_bits(x);
    int exponent = (int)(bits >> 23 & 0xff) - 127 + 7, mantissa = (int)(bits >> 20 & 7);
    if (exponent <= 0) {
        int m = (int)(x * 512.0f + 0.5f);
        return (uint8_t)(m > 7 ? 7 : m < 1 ? 0 : m);
    }
    if (exponent >= 15 && mantissa == 7) return 0x7e;
    mantissa += (int)(bits >> 19 & 1);
    if (mantissa > 7) {
        mantissa = 0;
        exponent++;
        if (exponent > 15) return 0x7e;
    }
    uint8_t code = (uint8_t)(exponent << 3 | mantissa);
    return code > 0x7e ? 0x7e : code;
}

#endif
