/*
 * Q3_K: 256 weights in 110 bytes, 3.4375 bits each. Sixteen sub-blocks of 16: x ~ d*(s - 32)*(q - 4).
 *   0..31   third bits: element e has bit e/32 of byte e%32 (set: q >= 4)
 *   32..95  low two bits (see ht__k_pack_crumbs)
 *   96..107 sixteen 6-bit s (see ht__q3_k_pack_scales)      108..109  d: half
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/codec/grid.h"
#include "kernels/codec/k_block.h"
#include "kernels/search/search.h"

#include <math.h>
#include <string.h>

enum { SUBS = 16, LEN = 16, LEVELS = 4 };

static int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

/* Without importance: signed 6-bit codes, the largest scale on -32. */
static uint16_t code_plain(const float scales[SUBS], uint8_t codes[SUBS])
{
    float max = 0, amax = 0;
    for (int j = 0; j < SUBS; j++)
        if (fabsf(scales[j]) > amax) {
            amax = fabsf(scales[j]);
            max = scales[j];
        }
    memset(codes, 0, SUBS);
    if (max == 0) return ht__f32_to_f16(0);
    float inverse = -32.0f / max; /* sub-scales have six signed bits, -32 … 31: the largest lies on the longer side */
    for (int j = 0; j < SUBS; j++)
        codes[j] = (uint8_t)(clamp(ht__round_even(inverse * scales[j]), -32, 31) + 32);
    return ht__f32_to_f16(1 / inverse);
}

static uint16_t search(const float *x, const float *importance, uint8_t codes[HT__K], uint8_t s[SUBS])
{
    float scales[SUBS], sums[SUBS], w[LEN];
    if (!importance) {
        for (int j = 0; j < SUBS; j++)
            scales[j] = ht__search_descent(LEN, x + LEN * j, codes + LEN * j);
        return code_plain(scales, s);
    }
    float sigma2 = 2 * ht__sum_squares(HT__K, x) / HT__K;
    for (int j = 0; j < SUBS; j++) {
        ht__search_weights(LEN, x + LEN * j, importance + LEN * j, sigma2, w);
        sums[j] = 0;
        for (int i = 0; i < LEN; i++)
            sums[j] += w[i];
        scales[j] = ht__search_symmetric(LEVELS, LEN, x + LEN * j, w, codes + LEN * j);
    }
    return ht__f32_to_f16(ht__search_symmetric(32, SUBS, scales, sums, s));
}

static void write_codes(void *dst, const uint8_t *codes)
{
    struct ht__q3_k_block *block = dst;
    memset(block->hmask, 0, sizeof block->hmask);
    for (int e = 0; e < HT__K; e++)
        if (codes[e] >= LEVELS) block->hmask[e % 32] = (uint8_t)(block->hmask[e % 32] | 1 << e / 32);
    ht__k_pack_crumbs(codes, block->qs);
}

static void encode_block(const float *x, const float *importance, struct ht__q3_k_block *block)
{
    uint8_t codes[HT__K], s[SUBS];
    block->d = search(x, importance, codes, s);
    ht__q3_k_pack_scales(s, block->scales);
    float d = ht__f16_to_f32(block->d);
    for (int j = 0; j < SUBS; j++) {
        float scale = d * (float)(s[j] - 32);
        if (scale == 0) continue; /* the codes of the search stay */
        for (int i = LEN * j; i < LEN * (j + 1); i++)
            codes[i] = (uint8_t)(clamp(ht__round_even(x[i] / scale), -LEVELS, LEVELS - 1) + LEVELS);
    }
    write_codes(block, codes);
}

static void encode(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    struct ht__q3_k_block *block = dst;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < row_len; i += HT__K, src += HT__K)
            encode_block(src, importance ? importance + i : NULL, block++);
}

static void decode(const void *src, int64_t n_weights, float *dst)
{
    const struct ht__q3_k_block *block = src;
    for (int64_t b = 0; b < n_weights / HT__K; b++, block++, dst += HT__K) {
        float d = ht__f16_to_f32(block->d);
        int s[SUBS];
        ht__q3_k_unpack_scales(block->scales, s);
        for (int g = 0; g < 8; g++)
            for (int half = 0; half < 2; half++) {
                float scale = d * (float)(s[2 * g + half] - 32);
                const uint8_t *q = block->qs + 32 * (g / 4) + 16 * half, *h = block->hmask + 16 * half;
                for (int i = 0; i < LEN; i++) {
                    int code = (q[i] >> 2 * (g % 4) & 3) | (h[i] >> g & 1) << 2;
                    dst[32 * g + 16 * half + i] = scale * (float)(code - LEVELS);
                }
            }
    }
}

static void read_block(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const struct ht__q3_k_block *block = src;
    float d = ht__f16_to_f32(block->d);
    int s[SUBS];
    ht__q3_k_unpack_scales(block->scales, s);
    for (int j = 0; j < SUBS; j++) {
        scale[j] = d * (float)(s[j] - 32);
        offset[j] = 0;
    }
    ht__k_unpack_crumbs(block->qs, codes);
    for (int e = 0; e < HT__K; e++)
        codes[e] = (uint8_t)(codes[e] | (block->hmask[e % 32] >> e / 32 & 1) << 2);
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
    const struct ht__q3_k_block *block = src;
    *d = ht__f16_to_f32(block->d);
    ht__q3_k_unpack_scales(block->scales, s);
    for (int j = 0; j < SUBS; j++)
        s[j] -= 32;
}

static void put_scales(void *dst, float d, float dmin, const int *s, const int *m)
{
    struct ht__q3_k_block *block = dst;
    uint8_t codes[SUBS];
    for (int j = 0; j < SUBS; j++)
        codes[j] = (uint8_t)(s[j] + 32);
    block->d = ht__f32_to_f16(d);
    ht__q3_k_pack_scales(codes, block->scales);
}

static const struct ht__best best = {
    .codec = &ht__codec_q3_k,
    .improve = ht__best_signed,
    .values = {HT__VALUES_WHOLE, -LEVELS, LEVELS - 1},
    .len = LEN,
    .subs = SUBS,
    .low = -32,
    .high = 31,
    .get = get_scales,
    .put = put_scales,
};

static void encode_best(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&best, src, n_rows, row_len, importance, dst);
}

static int64_t check(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, sizeof(struct ht__q3_k_block), 108, -1);
}

const struct ht__codec ht__codec_q3_k = {
    .name = "q3_k",
    .label = "Q3_K",
    .ggml_id = 11,
    .block_len = HT__K,
    .block_size = sizeof(struct ht__q3_k_block),
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "q4_0",
    .rmse_bound = 0.2f,
    .encode = encode,
    .decode = decode,
    .check = check,
    .grid = &grid,
    .encode_best = encode_best,
};
