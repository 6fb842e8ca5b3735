/*
 * Formats of one weight an element: F16, BF16 and the dtypes that checkpoints carry but that are never
 * written (doubles, integers, booleans, 8-bit floats).
 */
#include "kernels/codec.h"
#include "kernels/small_float.h"

#include <string.h>

static void encode_f16(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    uint16_t *out = dst;
    for (int64_t i = 0; i < n_rows * row_len; i++) {
        uint16_t h = ht__f32_to_f16(src[i]);
        memcpy(out + i, &h, sizeof h);
    }
}

static void encode_bf16(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    uint16_t *out = dst;
    for (int64_t i = 0; i < n_rows * row_len; i++) {
        uint16_t h = ht__f32_to_bf16(src[i]);
        memcpy(out + i, &h, sizeof h);
    }
}

/* Finite unless the exponent is all ones. */
static int64_t check_16(const void *src, int64_t n_blocks, uint16_t exponent)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n_blocks; i++)
        if ((ht__load_u16(p + 2 * i) & exponent) == exponent) return i;
    return -1;
}

static int64_t check_f16(const void *src, int64_t n_blocks)
{
    return check_16(src, n_blocks, 0x7c00);
}

static int64_t check_bf16(const void *src, int64_t n_blocks)
{
    return check_16(src, n_blocks, 0x7f80);
}

/* FP8 by sign, exponent and mantissa bits. `special` of the top codes are not numbers. */
static float from_f8(uint8_t code, int mantissa_bits, int bias)
{
    int exponent = (code & 0x7f) >> mantissa_bits;
    int mantissa = code & ((1 << mantissa_bits) - 1);
    int shift = (exponent ? exponent : 1) - bias - mantissa_bits;
    float magnitude = (float)(mantissa + (exponent ? 1 << mantissa_bits : 0));
    /* 2^shift is a normal float: shift lies between -18 and 15 */
    float value = magnitude * ht__f32_from_bits((uint32_t)(shift + 127) << 23);
    return code & 0x80 ? -value : value;
}

static float quiet_nan(void)
{
    return ht__f32_from_bits(0x7fc00000u);
}

static float from_e5m2(uint8_t c)
{
    if ((c & 0x7f) == 0x7c) return ht__f32_from_bits((uint32_t)(c & 0x80) << 24 | 0x7f800000u);
    return (c & 0x7f) > 0x7c ? quiet_nan() : from_f8(c, 2, 15);
}

/* The FNUZ forms have no negative zero: its code is the one NaN; biases are one higher. */
static float from_e4m3fnuz(uint8_t c)
{
    return c == 0x80 ? quiet_nan() : from_f8(c, 3, 8);
}

static float from_e5m2fnuz(uint8_t c)
{
    return c == 0x80 ? quiet_nan() : from_f8(c, 2, 16);
}

#define DECODER(id, type, expression)                                                                                  \
    static void decode_##id(const void *src, int64_t n_weights, float *dst)                                            \
    {                                                                                                                  \
        const unsigned char *p = src;                                                                                  \
        for (int64_t i = 0; i < n_weights; i++) {                                                                      \
            type v;                                                                                                    \
            memcpy(&v, p + i * (int64_t)sizeof v, sizeof v);                                                           \
            dst[i] = expression;                                                                                       \
        }                                                                                                              \
    }
DECODER(f16, uint16_t, ht__f16_to_f32(v))
DECODER(bf16, uint16_t, ht__bf16_to_f32(v))
DECODER(f64, double, (float)v)
DECODER(i8, int8_t, (float)v)
DECODER(i16, int16_t, (float)v)
DECODER(i32, int32_t, (float)v)
DECODER(i64, int64_t, (float)v)
DECODER(u8, uint8_t, (float)v)
DECODER(u16, uint16_t, (float)v)
DECODER(u32, uint32_t, (float)v)
DECODER(u64, uint64_t, (float)v)
DECODER(bool, uint8_t, v ? 1.0f : 0.0f)
DECODER(f8_e4m3, uint8_t, ht__e4m3_to_f32(v))
DECODER(f8_e5m2, uint8_t, from_e5m2(v))
DECODER(f8_e4m3fnuz, uint8_t, from_e4m3fnuz(v))
DECODER(f8_e5m2fnuz, uint8_t, from_e5m2fnuz(v))
DECODER(f8_e8m0, uint8_t, ht__e8m0_to_f32(v))

#define WRITTEN(id, label_, ggml)                                                                                      \
    const struct ht__codec ht__codec_##id = {.name = #id,                                                              \
                                             .label = label_,                                                          \
                                             .ggml_id = ggml,                                                          \
                                             .block_len = 1,                                                           \
                                             .block_size = 2,                                                          \
                                             .flags = HT__CODEC_PLAIN,                                                 \
                                             .rmse_bound = 0.003f,                                                     \
                                             .encode = encode_##id,                                                    \
                                             .decode = decode_##id,                                                    \
                                             .check = check_##id};
WRITTEN(f16, "F16", 1)
WRITTEN(bf16, "BF16", 30)

#define SOURCE(id, label_, ggml, size)                                                                                 \
    const struct ht__codec ht__codec_##id = {.name = #id,                                                              \
                                             .label = label_,                                                          \
                                             .ggml_id = ggml,                                                          \
                                             .block_len = 1,                                                           \
                                             .block_size = size,                                                       \
                                             .flags = HT__CODEC_PLAIN | HT__CODEC_SOURCE_ONLY,                         \
                                             .decode = decode_##id};
SOURCE(f64, "F64", 28, 8)
SOURCE(i8, "I8", 24, 1)
SOURCE(i16, "I16", 25, 2)
SOURCE(i32, "I32", 26, 4)
SOURCE(i64, "I64", 27, 8)
SOURCE(u8, "U8", HT__NO_GGML_ID, 1)
SOURCE(u16, "U16", HT__NO_GGML_ID, 2)
SOURCE(u32, "U32", HT__NO_GGML_ID, 4)
SOURCE(u64, "U64", HT__NO_GGML_ID, 8)
SOURCE(bool, "BOOL", HT__NO_GGML_ID, 1)
SOURCE(f8_e4m3, "F8_E4M3", HT__NO_GGML_ID, 1)
SOURCE(f8_e5m2, "F8_E5M2", HT__NO_GGML_ID, 1)
SOURCE(f8_e4m3fnuz, "F8_E4M3FNUZ", HT__NO_GGML_ID, 1)
SOURCE(f8_e5m2fnuz, "F8_E5M2FNUZ", HT__NO_GGML_ID, 1)
SOURCE(f8_e8m0, "F8_E8M0", HT__NO_GGML_ID, 1)
