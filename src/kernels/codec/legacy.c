/*
 * The legacy 32-blocks. Codes stand in nibbles: element i < 16 in the low one of byte i, element 16 + i
 * in the high one. Fifth bits are one little-endian word.
 *   Q4_0, 18 bytes: d half | 16 bytes            x ~ d*(q - 8)
 *   Q4_1, 20 bytes: d half, m half | 16 bytes    x ~ d*q + m
 *   Q5_0, 22 bytes: d half | u32 | 16 bytes      x ~ d*(q - 16)
 *   Q5_1, 24 bytes: d half, m half | u32 | 16    x ~ d*q + m
 * Four types, one unit: they differ in the number of levels and in having a minimum.
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/codec/grid.h"
#include "kernels/codec/legacy.h"
#include "kernels/search/search.h"

#include <math.h>
#include <string.h>

enum { LEN = 32 };

static void pack(const uint8_t codes[LEN], bool five, uint8_t *out)
{
    if (five) {
        uint32_t high = 0;
        for (int i = 0; i < LEN; i++)
            high |= (uint32_t)(codes[i] >> 4 & 1) << i;
        memcpy(out, &high, sizeof high);
        out += sizeof high;
    }
    for (int i = 0; i < 16; i++)
        out[i] = (uint8_t)((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

static void unpack(const uint8_t *in, bool five, uint8_t codes[LEN])
{
    uint32_t high = 0;
    if (five) {
        memcpy(&high, in, sizeof high);
        in += sizeof high;
    }
    for (int i = 0; i < 16; i++) {
        codes[i] = (uint8_t)((in[i] & 15) | (high >> i & 1) << 4);
        codes[i + 16] = (uint8_t)(in[i] >> 4 | (high >> (i + 16) & 1) << 4);
    }
}

/* llama.cpp truncates to a signed byte first: only values below -1 or above 127 could tell. */
static uint8_t truncate_code(float v, int top)
{
    int q = (int)(int8_t)ht__truncate(v);
    return (uint8_t)(q < top ? q : top);
}

/* Symmetric: the largest magnitude on -levels. */
static uint16_t plain_symmetric(const float *x, int levels, uint8_t *codes)
{
    float max = 0, amax = 0;
    for (int i = 0; i < LEN; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            max = x[i];
        }
    float d = max / (float)-levels, inverse = d != 0 ? 1.0f / d : 0;
    for (int i = 0; i < LEN; i++)
        codes[i] = truncate_code(x[i] * inverse + ((float)levels + 0.5f), 2 * levels - 1);
    return ht__f32_to_f16(d);
}

/* With a minimum: the whole range. */
static uint16_t plain_affine(const float *x, int levels, uint8_t *codes, uint16_t *m)
{
    float low = x[0], high = x[0];
    for (int i = 1; i < LEN; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    float d = (high - low) / (float)levels, inverse = d != 0 ? 1.0f / d : 0;
    for (int i = 0; i < LEN; i++) {
        float v = (x[i] - low) * inverse + 0.5f;
        codes[i] = levels == 15 ? truncate_code(v, 15) : (uint8_t)ht__truncate(v);
    }
    *m = ht__f32_to_f16(low);
    return ht__f32_to_f16(d);
}

void ht__legacy_encode_block(struct ht__legacy type, const float *x, const float *importance, float sigma2,
                             uint8_t *out)
{
    uint8_t codes[LEN];
    uint16_t d, m = 0;
    float w[LEN];
    if (importance) ht__search_weights(LEN, x, importance, sigma2, w);
    if (!type.min) {
        d = importance ? ht__f32_to_f16(ht__search_symmetric(type.levels, LEN, x, w, codes))
                       : plain_symmetric(x, type.levels, codes);
    } else if (importance) {
        const struct ht__affine_params params = {type.levels, -0.9f, 0.05f, 36, false};
        float offset;
        d = ht__f32_to_f16(ht__search_affine(&params, LEN, x, w, codes, &offset));
        m = ht__f32_to_f16(-offset);
    } else {
        d = plain_affine(x, type.levels, codes, &m);
    }
    ht__store_u16(out, d);
    if (type.min) ht__store_u16(out + 2, m);
    pack(codes, type.five, out + (type.min ? 4 : 2));
}

static void encode(struct ht__legacy type, const float *src, int64_t n_rows, int64_t row_len, const float *importance,
                   void *dst)
{
    uint8_t *out = dst;
    for (int64_t r = 0; r < n_rows; r++, src += row_len) {
        float sigma2 = importance ? ht__sum_squares(row_len, src) / (float)row_len : 0;
        for (int64_t i = 0; i < row_len; i += LEN, out += type.size)
            ht__legacy_encode_block(type, src + i, importance ? importance + i : NULL, sigma2, out);
    }
}

static void decode(const void *src, int64_t n_weights, float *dst, int zero, bool min, bool five, size_t size)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / LEN; b++, in += size, dst += LEN) {
        uint8_t codes[LEN];
        float d = ht__f16_to_f32(ht__load_u16(in)), m = min ? ht__f16_to_f32(ht__load_u16(in + 2)) : 0;
        unpack(in + (min ? 4 : 2), five, codes);
        for (int i = 0; i < LEN; i++)
            dst[i] = min ? d * (float)codes[i] + m : d * (float)(codes[i] - zero);
    }
}

static void read_block(const uint8_t *in, bool min, bool five, uint8_t *codes, float *scale, float *offset)
{
    *scale = ht__f16_to_f32(ht__load_u16(in));
    *offset = min ? ht__f16_to_f32(ht__load_u16(in + 2)) : 0;
    unpack(in + (min ? 4 : 2), five, codes);
}

/* id, label, GGUF id, bytes, levels a side or in all, has a minimum, has fifth bits, error bound */
#define LEGACY(id, label_, ggml, size, levels, min, five, bound)                                                       \
    static void encode_##id(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)     \
    {                                                                                                                  \
        encode((struct ht__legacy){levels, min, five, size}, src, n_rows, row_len, importance, dst);                   \
    }                                                                                                                  \
    static void decode_##id(const void *src, int64_t n_weights, float *dst)                                            \
    {                                                                                                                  \
        decode(src, n_weights, dst, levels, min, five, size);                                                          \
    }                                                                                                                  \
    static int64_t check_##id(const void *src, int64_t n_blocks)                                                       \
    {                                                                                                                  \
        return ht__check_halves(src, n_blocks, size, 0, min ? 2 : -1);                                                 \
    }                                                                                                                  \
    static void read_##id(const void *src, uint8_t *codes, float *scale, float *offset)                                \
    {                                                                                                                  \
        read_block(src, min, five, codes, scale, offset);                                                              \
    }                                                                                                                  \
    static void write_##id(void *dst, const uint8_t *codes)                                                            \
    {                                                                                                                  \
        pack(codes, five, (uint8_t *)dst + (min ? 4 : 2));                                                             \
    }                                                                                                                  \
    static const struct ht__best best_##id = {                                                                         \
        .codec = &ht__codec_##id,                                                                                      \
        .improve = min ? ht__best_pair : ht__best_single,                                                              \
        .values = {HT__VALUES_WHOLE, min ? 0 : -(levels), min ? levels : (levels)-1},                                  \
        .len = LEN,                                                                                                    \
    };                                                                                                                 \
    static void encode_best_##id(const float *src, int64_t n_rows, int64_t row_len, const float *importance,           \
                                 void *dst)                                                                            \
    {                                                                                                                  \
        ht__best_encode(&best_##id, src, n_rows, row_len, importance, dst);                                            \
    }                                                                                                                  \
    static const struct ht__grid grid_##id = {five ? 32 : 16, LEN, min ? NULL : HT__WHOLE_VALUES(-(levels)),           \
                                              read_##id, write_##id};                                                  \
    const struct ht__codec ht__codec_##id = {.name = #id,                                                              \
                                             .label = label_,                                                          \
                                             .ggml_id = ggml,                                                          \
                                             .block_len = LEN,                                                         \
                                             .block_size = size,                                                       \
                                             .flags = HT__CODEC_USES_IMPORTANCE,                                       \
                                             .rmse_bound = bound,                                                      \
                                             .encode = encode_##id,                                                    \
                                             .decode = decode_##id,                                                    \
                                             .check = check_##id,                                                      \
                                             .grid = &grid_##id,                                                       \
                                             .encode_best = encode_best_##id};
LEGACY(q4_0, "Q4_0", 2, 18, 8, false, false, 0.12f)
LEGACY(q4_1, "Q4_1", 3, 20, 15, true, false, 0.11f)
LEGACY(q5_0, "Q5_0", 6, 22, 16, false, true, 0.06f)
LEGACY(q5_1, "Q5_1", 7, 24, 31, true, true, 0.055f)
