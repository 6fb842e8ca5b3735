/*
 * Ternary and binary formats, for models that were trained so.
 *   TQ1_0, 256 weights in 54 bytes: five trits a byte. 48 bytes (32 hold elements 0..159, 16 hold
 *          160..239, element e: trit number e / width), 4 bytes (240..255, four trits each) | d half
 *   TQ2_0, 256 weights in 66 bytes: 64 bytes of two bits (as the K types) | d half      x ~ d*(q - 1)
 *   Q1_0,  128 weights in 18 bytes: d half | 16 bytes, a bit each                       x ~ +d or -d
 *   Q2_0,   64 weights in 18 bytes: d half | 16 bytes of two bits, in order             x ~ d*(q - 1)
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/codec/grid.h"
#include "kernels/codec/k_block.h"

#include <math.h>
#include <string.h>

enum { SUPER = 256, TQ1_SIZE = 54, TQ2_SIZE = 66, Q1_LEN = 128, Q2_LEN = 64, SMALL_SIZE = 18 };

static float largest(const float *x, int n)
{
    float amax = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > amax) amax = fabsf(x[i]);
    return amax;
}

static int trit(float x, float inverse)
{
    return (int8_t)ht__truncate(roundf(x * inverse)) + 1;
}

/* n trits of elements `step` apart, the first one most significant; 256/243 rounds up so that the
 * decoder's multiplications find them again. */
static uint8_t pack_trits(const uint8_t *codes, int n, int step)
{
    int q = 0;
    for (int i = 0; i < 5; i++)
        q = q * 3 + (i < n ? codes[i * step] : 0);
    return (uint8_t)((q * 256 + 242) / 243);
}

static void write_tq1(void *dst, const uint8_t *codes)
{
    uint8_t *out = dst;
    for (int i = 0; i < 32; i++)
        out[i] = pack_trits(codes + i, 5, 32);
    for (int i = 0; i < 16; i++)
        out[32 + i] = pack_trits(codes + 160 + i, 5, 16);
    for (int i = 0; i < 4; i++)
        out[48 + i] = pack_trits(codes + 240 + i, 4, 4);
}

static void encode_tq1(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    uint8_t *out = dst;
    for (int64_t b = 0; b < n_rows * row_len / SUPER; b++, src += SUPER, out += TQ1_SIZE) {
        float d = largest(src, SUPER), inverse = d != 0 ? 1.0f / d : 0;
        uint8_t codes[SUPER];
        for (int i = 0; i < SUPER; i++)
            codes[i] = (uint8_t)trit(src[i], inverse);
        write_tq1(out, codes);
        ht__store_u16(out + 52, ht__f32_to_f16(d));
    }
}

static uint8_t unpack_trit(uint8_t byte, int n)
{
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    uint8_t v = (uint8_t)(byte * powers[n]);
    return (uint8_t)(v * 3 >> 8);
}

static void read_tq1(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const uint8_t *in = src;
    *scale = ht__f16_to_f32(ht__load_u16(in + 52));
    *offset = 0;
    for (int n = 0; n < 5; n++)
        for (int i = 0; i < 32; i++)
            codes[32 * n + i] = unpack_trit(in[i], n);
    for (int n = 0; n < 5; n++)
        for (int i = 0; i < 16; i++)
            codes[160 + 16 * n + i] = unpack_trit(in[32 + i], n);
    for (int n = 0; n < 4; n++)
        for (int i = 0; i < 4; i++)
            codes[240 + 4 * n + i] = unpack_trit(in[48 + i], n);
}

static void decode_tq1(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / SUPER; b++, in += TQ1_SIZE, dst += SUPER) {
        uint8_t codes[SUPER];
        float d, offset;
        read_tq1(in, codes, &d, &offset);
        for (int i = 0; i < SUPER; i++)
            dst[i] = d * (float)(codes[i] - 1);
    }
}

static void encode_tq2(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    uint8_t *out = dst;
    for (int64_t b = 0; b < n_rows * row_len / SUPER; b++, src += SUPER, out += TQ2_SIZE) {
        float d = largest(src, SUPER), inverse = d != 0 ? 1.0f / d : 0;
        for (int i = 0; i < 64; i++) {
            const float *x = src + 128 * (i / 32) + i % 32;
            out[i] = (uint8_t)(trit(x[0], inverse) | trit(x[32], inverse) << 2 | trit(x[64], inverse) << 4 |
                               trit(x[96], inverse) << 6);
        }
        ht__store_u16(out + 64, ht__f32_to_f16(d));
    }
}

static void decode_tq2(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / SUPER; b++, in += TQ2_SIZE, dst += SUPER) {
        float d = ht__f16_to_f32(ht__load_u16(in + 64));
        for (int g = 0; g < 8; g++)
            for (int i = 0; i < 32; i++)
                dst[32 * g + i] = d * (float)((in[32 * (g / 4) + i] >> 2 * (g % 4) & 3) - 1);
    }
}

static void encode_q1(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    uint8_t *out = dst;
    for (int64_t b = 0; b < n_rows * row_len / Q1_LEN; b++, src += Q1_LEN, out += SMALL_SIZE) {
        float sum = 0;
        for (int i = 0; i < Q1_LEN; i++)
            sum += fabsf(src[i]);
        memset(out, 0, SMALL_SIZE);
        ht__store_u16(out, ht__f32_to_f16(sum / Q1_LEN));
        for (int i = 0; i < Q1_LEN; i++)
            if (src[i] >= 0) out[2 + i / 8] = (uint8_t)(out[2 + i / 8] | 1 << i % 8);
    }
}

static void decode_q1(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / Q1_LEN; b++, in += SMALL_SIZE, dst += Q1_LEN) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int i = 0; i < Q1_LEN; i++)
            dst[i] = in[2 + i / 8] >> i % 8 & 1 ? d : -d;
    }
}

static void encode_q2(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    uint8_t *out = dst;
    for (int64_t b = 0; b < n_rows * row_len / Q2_LEN; b++, src += Q2_LEN, out += SMALL_SIZE) {
        float d = largest(src, Q2_LEN), inverse = d > 0 ? 1.0f / d : 0;
        memset(out, 0, SMALL_SIZE);
        ht__store_u16(out, ht__f32_to_f16(d));
        for (int i = 0; i < Q2_LEN; i++) {
            int q = ht__truncate(roundf(src[i] * inverse)) + 1;
            q = q < 0 ? 0 : q > 3 ? 3 : q;
            out[2 + i / 4] = (uint8_t)(out[2 + i / 4] | q << 2 * (i % 4));
        }
    }
}

static void decode_q2(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / Q2_LEN; b++, in += SMALL_SIZE, dst += Q2_LEN) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int i = 0; i < Q2_LEN; i++)
            dst[i] = d * (float)((in[2 + i / 4] >> 2 * (i % 4) & 3) - 1);
    }
}

/* Codes 0 … 2 alone: what is trained so is ternary, although two bits would hold a fourth value. */
static void read_tq2(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const uint8_t *in = src;
    *scale = ht__f16_to_f32(ht__load_u16(in + 64));
    *offset = 0;
    ht__k_unpack_crumbs(in, codes);
}

static void write_tq2(void *dst, const uint8_t *codes)
{
    ht__k_pack_crumbs(codes, dst);
}

static void read_q1(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const uint8_t *in = src;
    *scale = ht__f16_to_f32(ht__load_u16(in));
    *offset = 0;
    for (int i = 0; i < Q1_LEN; i++)
        codes[i] = in[2 + i / 8] >> i % 8 & 1;
}

static void write_q1(void *dst, const uint8_t *codes)
{
    uint8_t *out = dst;
    memset(out + 2, 0, Q1_LEN / 8);
    for (int i = 0; i < Q1_LEN; i++)
        out[2 + i / 8] = (uint8_t)(out[2 + i / 8] | codes[i] << i % 8);
}

static void read_q2(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const uint8_t *in = src;
    *scale = ht__f16_to_f32(ht__load_u16(in));
    *offset = 0;
    for (int i = 0; i < Q2_LEN; i++)
        codes[i] = in[2 + i / 4] >> 2 * (i % 4) & 3;
}

static void write_q2(void *dst, const uint8_t *codes)
{
    uint8_t *out = dst;
    memset(out + 2, 0, Q2_LEN / 4);
    for (int i = 0; i < Q2_LEN; i++)
        out[2 + i / 4] = (uint8_t)(out[2 + i / 4] | codes[i] << 2 * (i % 4));
}

static const int8_t signs[2] = {-1, 1};
static const struct ht__grid tq1_grid = {3, SUPER, HT__WHOLE_VALUES(-1), read_tq1, write_tq1};
static const struct ht__grid tq2_grid = {3, SUPER, HT__WHOLE_VALUES(-1), read_tq2, write_tq2};
static const struct ht__grid q1_grid = {2, Q1_LEN, signs, read_q1, write_q1};
static const struct ht__grid q2_grid = {4, Q2_LEN, HT__WHOLE_VALUES(-1), read_q2, write_q2};

static const struct ht__best q2_best = {
    .codec = &ht__codec_q2_0,
    .improve = ht__best_single,
    .values = {HT__VALUES_WHOLE, -1, 2},
    .len = Q2_LEN,
};

static void encode_best_q2(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&q2_best, src, n_rows, row_len, importance, dst);
}

static int64_t check_tq1(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, TQ1_SIZE, 52, -1);
}

static int64_t check_tq2(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, TQ2_SIZE, 64, -1);
}

static int64_t check_small(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, SMALL_SIZE, 0, -1);
}

const struct ht__codec ht__codec_tq1_0 = {
    .name = "tq1_0",
    .label = "TQ1_0",
    .ggml_id = 34,
    .block_len = SUPER,
    .block_size = TQ1_SIZE,
    .fallback = "q4_0",
    .rmse_bound = 1.1f,
    .encode = encode_tq1,
    .decode = decode_tq1,
    .check = check_tq1,
    .grid = &tq1_grid,
};

const struct ht__codec ht__codec_tq2_0 = {
    .name = "tq2_0",
    .label = "TQ2_0",
    .ggml_id = 35,
    .block_len = SUPER,
    .block_size = TQ2_SIZE,
    .fallback = "q4_0",
    .rmse_bound = 1.1f,
    .encode = encode_tq2,
    .decode = decode_tq2,
    .check = check_tq2,
    .grid = &tq2_grid,
};

const struct ht__codec ht__codec_q1_0 = {
    .name = "q1_0",
    .label = "Q1_0",
    .ggml_id = 41,
    .block_len = Q1_LEN,
    .block_size = SMALL_SIZE,
    .rmse_bound = 0.8f,
    .encode = encode_q1,
    .decode = decode_q1,
    .check = check_small,
    .grid = &q1_grid,
};

const struct ht__codec ht__codec_q2_0 = {
    .name = "q2_0",
    .label = "Q2_0",
    .ggml_id = 42,
    .block_len = Q2_LEN,
    .block_size = SMALL_SIZE,
    .fallback = "q4_0",
    .rmse_bound = 1.1f,
    .encode = encode_q2,
    .decode = decode_q2,
    .check = check_small,
    .grid = &q2_grid,
    .encode_best = encode_best_q2,
};
