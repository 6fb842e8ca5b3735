/*
 * Q5_K: 256 weights in 176 bytes, 5.5 bits each. As Q4_K, with a fifth bit.
 *   0..1    d: half     2..3  dmin: half
 *   4..15   eight 6-bit pairs (s, m) (see ht__k_pack_scales)
 *   16..47  fifth bits: element e has bit e/32 of byte e%32
 *   48..175 low four bits: sub-blocks 2g and 2g+1 in the nibbles of 32 bytes
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/codec/k_affine.h"
#include "kernels/codec/k_block.h"

#include <string.h>

static void write_codes(void *dst, const uint8_t *codes)
{
    struct ht__q5_k_block *block = dst;
    memset(block->qh, 0, sizeof block->qh);
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < 32; i++) {
            uint8_t low = codes[64 * g + i], high = codes[64 * g + 32 + i];
            block->qs[32 * g + i] = (uint8_t)((low & 15) | high << 4);
            block->qh[i] = (uint8_t)(block->qh[i] | (low >> 4) << 2 * g | (high >> 4) << (2 * g + 1));
        }
}

static void encode_block(const float *x, const float *importance, struct ht__q5_k_block *block)
{
    static const struct ht__affine_params plain = {31, -0.5f, 0.1f, 15, false};
    static const struct ht__affine_params weighted = {31, -0.9f, 0.05f, 36, false};
    uint8_t codes[HT__K];
    ht__k_affine_encode(importance ? &weighted : &plain, x, importance, &block->d, &block->dmin, block->scales, codes);
    write_codes(block, codes);
}

static void encode(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    struct ht__q5_k_block *block = dst;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < row_len; i += HT__K, src += HT__K)
            encode_block(src, importance ? importance + i : NULL, block++);
}

static void decode(const void *src, int64_t n_weights, float *dst)
{
    const struct ht__q5_k_block *block = src;
    for (int64_t b = 0; b < n_weights / HT__K; b++, block++, dst += HT__K) {
        float scales[8], mins[8];
        ht__k_affine_scales(block->d, block->dmin, block->scales, scales, mins);
        for (int g = 0; g < 4; g++)
            for (int i = 0; i < 32; i++) {
                int q = block->qs[32 * g + i], h = block->qh[i] >> 2 * g;
                int low = (q & 15) | (h & 1) << 4, high = q >> 4 | (h >> 1 & 1) << 4;
                dst[64 * g + i] = scales[2 * g] * (float)low - mins[2 * g];
                dst[64 * g + 32 + i] = scales[2 * g + 1] * (float)high - mins[2 * g + 1];
            }
    }
}

static void read_block(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const struct ht__q5_k_block *block = src;
    ht__k_affine_scales(block->d, block->dmin, block->scales, scale, offset);
    for (int j = 0; j < 8; j++)
        offset[j] = -offset[j];
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < 32; i++) {
            int q = block->qs[32 * g + i], h = block->qh[i] >> 2 * g;
            codes[64 * g + i] = (uint8_t)((q & 15) | (h & 1) << 4);
            codes[64 * g + 32 + i] = (uint8_t)(q >> 4 | (h >> 1 & 1) << 4);
        }
}

static const struct ht__grid grid = {.n_codes = 32, .group = 32, .read = read_block, .write = write_codes};

static const struct ht__best best = {
    .codec = &ht__codec_q5_k,
    .improve = ht__best_affine,
    .values = {HT__VALUES_WHOLE, 0, 31},
    .len = 32,
    .subs = 8,
    .high = 63,
    .get = ht__k_affine_get,
    .put = ht__k_affine_put,
};

static void encode_best(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&best, src, n_rows, row_len, importance, dst);
}

static int64_t check(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, sizeof(struct ht__q5_k_block), 0, 2);
}

const struct ht__codec ht__codec_q5_k = {
    .name = "q5_k",
    .label = "Q5_K",
    .ggml_id = 13,
    .block_len = HT__K,
    .block_size = sizeof(struct ht__q5_k_block),
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "q5_1",
    .rmse_bound = 0.05f,
    .encode = encode,
    .decode = decode,
    .check = check,
    .grid = &grid,
    .encode_best = encode_best,
};
