/*
 * Q6_K: 256 weights in 210 bytes, 6.5625 bits each. Sixteen sub-blocks of 16: x ~ d*s*(q - 32).
 *   0..127   low four bits: half h, group g of 32: byte 64h + 32(g&1) + l, nibble g/2
 *   128..191 high two bits: byte 32h + l, bits 2g
 *   192..207 s: signed bytes      208..209  d: half
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/codec/grid.h"
#include "kernels/codec/k_block.h"
#include "kernels/search/search.h"

#include <math.h>
#include <string.h>

enum { SUBS = 16, LEN = 16, LEVELS = 32 };

static void write_codes(void *dst, const uint8_t *codes)
{
    struct ht__q6_k_block *block = dst;
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *c = codes + 128 * h + l;
            block->ql[64 * h + l] = (uint8_t)((c[0] & 15) | (c[64] & 15) << 4);
            block->ql[64 * h + 32 + l] = (uint8_t)((c[32] & 15) | (c[96] & 15) << 4);
            block->qh[32 * h + l] = (uint8_t)(c[0] >> 4 | c[32] >> 4 << 2 | c[64] >> 4 << 4 | c[96] >> 4 << 6);
        }
}

static void encode_block(const float *x, const float *importance, struct ht__q6_k_block *block)
{
    uint8_t codes[HT__K];
    float scales[SUBS], max = 0, amax = 0;
    for (int j = 0; j < SUBS; j++) {
        scales[j] =
            ht__search_symmetric(LEVELS, LEN, x + LEN * j, importance ? importance + LEN * j : NULL, codes + LEN * j);
        if (fabsf(scales[j]) > amax) {
            amax = fabsf(scales[j]);
            max = scales[j];
        }
    }
    memset(block, 0, sizeof *block);
    if (amax < HT__TINY) return;
    float inverse = -128.0f / max; /* sub-scales are signed bytes: the largest lies on the longer side */
    block->d = ht__f32_to_f16(1 / inverse);
    float d = ht__f16_to_f32(block->d);
    for (int j = 0; j < SUBS; j++) {
        int s = ht__round_even(inverse * scales[j]);
        block->scales[j] = (int8_t)(s < 127 ? s : 127);
        float scale = d * (float)block->scales[j];
        if (scale == 0) continue; /* the codes of the search stay */
        for (int i = LEN * j; i < LEN * (j + 1); i++) {
            int q = ht__round_even(x[i] / scale);
            codes[i] = (uint8_t)((q < -LEVELS ? -LEVELS : q > LEVELS - 1 ? LEVELS - 1 : q) + LEVELS);
        }
    }
    write_codes(block, codes);
}

static void encode(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    struct ht__q6_k_block *block = dst;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < row_len; i += HT__K, src += HT__K)
            encode_block(src, importance ? importance + i : NULL, block++);
}

static void decode(const void *src, int64_t n_weights, float *dst)
{
    const struct ht__q6_k_block *block = src;
    for (int64_t b = 0; b < n_weights / HT__K; b++, block++, dst += HT__K) {
        float d = ht__f16_to_f32(block->d);
        for (int g = 0; g < 8; g++)
            for (int half = 0; half < 2; half++) {
                float scale = d * (float)block->scales[2 * g + half];
                int h = g / 4, k = g % 4;
                const uint8_t *low = block->ql + 64 * h + 32 * (k & 1) + 16 * half;
                const uint8_t *high = block->qh + 32 * h + 16 * half;
                for (int i = 0; i < LEN; i++) {
                    int q = (low[i] >> 4 * (k / 2) & 15) | (high[i] >> 2 * k & 3) << 4;
                    dst[32 * g + 16 * half + i] = scale * (float)(q - LEVELS);
                }
            }
    }
}

static void read_block(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const struct ht__q6_k_block *block = src;
    float d = ht__f16_to_f32(block->d);
    for (int j = 0; j < SUBS; j++) {
        scale[j] = d * (float)block->scales[j];
        offset[j] = 0;
    }
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++)
            for (int k = 0; k < 4; k++) {
                int low = block->ql[64 * h + 32 * (k & 1) + l] >> 4 * (k / 2) & 15;
                codes[128 * h + 32 * k + l] = (uint8_t)(low | (block->qh[32 * h + l] >> 2 * k & 3) << 4);
            }
}

static const struct ht__grid grid = {
    .n_codes = 2 * LEVELS,
    .group = LEN,
    .values = HT__WHOLE_VALUES(-LEVELS),
    .read = read_block,
    .write = write_codes,
};

static void get_scales(const void *src, float *d, float *dmin, int *s, int *m)
{
    const struct ht__q6_k_block *block = src;
    *d = ht__f16_to_f32(block->d);
    for (int j = 0; j < SUBS; j++)
        s[j] = block->scales[j];
}

static void put_scales(void *dst, float d, float dmin, const int *s, const int *m)
{
    struct ht__q6_k_block *block = dst;
    block->d = ht__f32_to_f16(d);
    for (int j = 0; j < SUBS; j++)
        block->scales[j] = (int8_t)s[j];
}

static const struct ht__best best = {
    .codec = &ht__codec_q6_k,
    .improve = ht__best_signed,
    .values = {HT__VALUES_WHOLE, -LEVELS, LEVELS - 1},
    .len = LEN,
    .subs = SUBS,
    .low = -128,
    .high = 127,
    .get = get_scales,
    .put = put_scales,
};

static void encode_best(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&best, src, n_rows, row_len, importance, dst);
}

static int64_t check(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, sizeof(struct ht__q6_k_block), 208, -1);
}

const struct ht__codec ht__codec_q6_k = {
    .name = "q6_k",
    .label = "Q6_K",
    .ggml_id = 14,
    .block_len = HT__K,
    .block_size = sizeof(struct ht__q6_k_block),
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "q8_0",
    .rmse_bound = 0.025f,
    .encode = encode,
    .decode = decode,
    .check = check,
    .grid = &grid,
    .encode_best = encode_best,
};
