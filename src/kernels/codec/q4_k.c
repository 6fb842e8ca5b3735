/*
 * Q4_K: 256 weights in 144 bytes, 4.5 bits each. Eight sub-blocks of 32: x ~ d*s*q - dmin*m.
 *   0..1    d: half     2..3  dmin: half
 *   4..15   eight 6-bit pairs (s, m) (see ht__k_pack_scales)
 *   16..143 q: sub-blocks 2g and 2g+1 in the low and high nibbles of 32 bytes
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/codec/k_block.h"
#include "kernels/codec/k_affine.h"

static void write_codes(void *dst, const uint8_t *codes)
{
    struct ht__q4_k_block *block = dst;
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < 32; i++)
            block->qs[32 * g + i] = (uint8_t)(codes[64 * g + i] | codes[64 * g + 32 + i] << 4);
}

static void encode_block(const float *x, const float *importance, struct ht__q4_k_block *block)
{
    static const struct ht__affine_params plain = {15, -1.0f, 0.1f, 20, false};
    static const struct ht__affine_params weighted = {15, -0.9f, 0.05f, 36, false};
    uint8_t codes[HT__K];
    ht__k_affine_encode(importance ? &weighted : &plain, x, importance, &block->d, &block->dmin, block->scales, codes);
    write_codes(block, codes);
}

static void encode(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    struct ht__q4_k_block *block = dst;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < row_len; i += HT__K, src += HT__K)
            encode_block(src, importance ? importance + i : NULL, block++);
}

static void decode(const void *src, int64_t n_weights, float *dst)
{
    const struct ht__q4_k_block *block = src;
    for (int64_t b = 0; b < n_weights / HT__K; b++, block++, dst += HT__K) {
        float scales[8], mins[8];
        ht__k_affine_scales(block->d, block->dmin, block->scales, scales, mins);
        for (int g = 0; g < 4; g++)
            for (int i = 0; i < 32; i++) {
                uint8_t q = block->qs[32 * g + i];
                dst[64 * g + i] = scales[2 * g] * (float)(q & 15) - mins[2 * g];
                dst[64 * g + 32 + i] = scales[2 * g + 1] * (float)(q >> 4) - mins[2 * g + 1];
            }
    }
}

static void read_block(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const struct ht__q4_k_block *block = src;
    ht__k_affine_scales(block->d, block->dmin, block->scales, scale, offset);
    for (int j = 0; j < 8; j++)
        offset[j] = -offset[j];
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < 32; i++) {
            codes[64 * g + i] = block->qs[32 * g + i] & 15;
            codes[64 * g + 32 + i] = block->qs[32 * g + i] >> 4;
        }
}

static const struct ht__grid grid = {.n_codes = 16, .group = 32, .read = read_block, .write = write_codes};

static const struct ht__best best = {
    .codec = &ht__codec_q4_k,
    .improve = ht__best_affine,
    .values = {HT__VALUES_WHOLE, 0, 15},
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
    return ht__check_halves(src, n_blocks, sizeof(struct ht__q4_k_block), 0, 2);
}

const struct ht__codec ht__codec_q4_k = {
    .name = "q4_k",
    .label = "Q4_K",
    .ggml_id = 12,
    .block_len = HT__K,
    .block_size = sizeof(struct ht__q4_k_block),
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "q5_0",
    .rmse_bound = 0.09f,
    .encode = encode,
    .decode = decode,
    .check = check,
    .grid = &grid,
    .encode_best = encode_best,
};
