/*
 * Q2_K: 256 weights in 84 bytes, 2.625 bits each. Sixteen sub-blocks of 16: x ~ d*s*q - dmin*m.
 *   0..15   scales: s (low nibble), m (high nibble) of each sub-block
 *   16..79  q: two bits each (see ht__k_pack_crumbs)
 *   80..81  d: half     82..83  dmin: half
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/codec/k_block.h"
#include "kernels/search/search.h"

#include <math.h>
#include <string.h>

enum { SUBS = 16, LEN = 16 };

static int clamp(int v, int high)
{
    return v < 0 ? 0 : v > high ? high : v;
}

/* Without importance: sub-scales have four bits, so that the largest is 15. */
static uint16_t code_plain(const float *values, uint8_t *codes)
{
    float max = 0;
    for (int j = 0; j < SUBS; j++)
        if (values[j] > max) max = values[j];
    memset(codes, 0, SUBS);
    if (!(max > 0)) return ht__f32_to_f16(0);
    float inverse = 15.0f / max;
    for (int j = 0; j < SUBS; j++)
        codes[j] = (uint8_t)ht__round_even(inverse * values[j]);
    return ht__f32_to_f16(max / 15.0f);
}

static void search(const float *x, const float *importance, struct ht__q2_k_block *block, uint8_t codes[HT__K],
                   uint8_t s[SUBS], uint8_t m[SUBS])
{
    static const struct ht__affine_params plain = {3, -0.5f, 0.1f, 15, true};
    static const struct ht__affine_params weighted = {3, -0.9f, 0.05f, 36, false};
    float scales[SUBS], mins[SUBS], sums[SUBS], w[LEN];
    float sigma2 = importance ? ht__sum_squares(HT__K, x) / HT__K : 0;
    for (int j = 0; j < SUBS; j++) {
        const float *sub = x + LEN * j;
        sums[j] = 0;
        if (importance)
            ht__search_weights(LEN, sub, importance + LEN * j, sigma2, w);
        else
            for (int i = 0; i < LEN; i++)
                w[i] = fabsf(sub[i]);
        for (int i = 0; i < LEN; i++)
            sums[j] += w[i];
        scales[j] = ht__search_affine(importance ? &weighted : &plain, LEN, sub, w, codes + LEN * j, &mins[j]);
    }
    if (importance) {
        block->d = ht__f32_to_f16(ht__search_positive(15, SUBS, scales, sums, s));
        block->dmin = ht__f32_to_f16(ht__search_positive(15, SUBS, mins, sums, m));
    } else {
        block->d = code_plain(scales, s);
        block->dmin = code_plain(mins, m);
    }
}

static void encode_block(const float *x, const float *importance, struct ht__q2_k_block *block)
{
    uint8_t codes[HT__K], s[SUBS], m[SUBS];
    search(x, importance, block, codes, s, m);
    float d = ht__f16_to_f32(block->d), dmin = ht__f16_to_f32(block->dmin);
    for (int j = 0; j < SUBS; j++) {
        block->scales[j] = (uint8_t)(s[j] | m[j] << 4);
        /* from the byte as it stands: a code below zero wraps and spills into the min's nibble */
        float scale = d * (float)(block->scales[j] & 15), min = dmin * (float)(block->scales[j] >> 4);
        if (scale == 0) continue; /* the codes of the search stay */
        for (int i = LEN * j; i < LEN * (j + 1); i++)
            codes[i] = (uint8_t)clamp(ht__round_even((x[i] + min) / scale), 3);
    }
    ht__k_pack_crumbs(codes, block->qs);
}

static void encode(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    struct ht__q2_k_block *block = dst;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < row_len; i += HT__K, src += HT__K)
            encode_block(src, importance ? importance + i : NULL, block++);
}

static void decode(const void *src, int64_t n_weights, float *dst)
{
    const struct ht__q2_k_block *block = src;
    for (int64_t b = 0; b < n_weights / HT__K; b++, block++, dst += HT__K) {
        float d = ht__f16_to_f32(block->d), dmin = ht__f16_to_f32(block->dmin);
        for (int g = 0; g < 8; g++)
            for (int half = 0; half < 2; half++) {
                uint8_t sc = block->scales[2 * g + half];
                float scale = d * (float)(sc & 15), min = dmin * (float)(sc >> 4);
                const uint8_t *q = block->qs + 32 * (g / 4) + 16 * half;
                for (int i = 0; i < LEN; i++)
                    dst[32 * g + 16 * half + i] = scale * (float)(q[i] >> 2 * (g % 4) & 3) - min;
            }
    }
}

static void read_block(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const struct ht__q2_k_block *block = src;
    float d = ht__f16_to_f32(block->d), dmin = ht__f16_to_f32(block->dmin);
    for (int j = 0; j < SUBS; j++) {
        scale[j] = d * (float)(block->scales[j] & 15);
        offset[j] = -(dmin * (float)(block->scales[j] >> 4));
    }
    ht__k_unpack_crumbs(block->qs, codes);
}

static void write_codes(void *dst, const uint8_t *codes)
{
    struct ht__q2_k_block *block = dst;
    ht__k_pack_crumbs(codes, block->qs);
}

static const struct ht__grid grid = {.n_codes = 4, .group = LEN, .read = read_block, .write = write_codes};

static void get_scales(const void *src, float *d, float *dmin, int *s, int *m)
{
    const struct ht__q2_k_block *block = src;
    *d = ht__f16_to_f32(block->d);
    *dmin = ht__f16_to_f32(block->dmin);
    for (int j = 0; j < SUBS; j++) {
        s[j] = block->scales[j] & 15;
        m[j] = block->scales[j] >> 4;
    }
}

static void put_scales(void *dst, float d, float dmin, const int *s, const int *m)
{
    struct ht__q2_k_block *block = dst;
    block->d = ht__f32_to_f16(d);
    block->dmin = ht__f32_to_f16(dmin);
    for (int j = 0; j < SUBS; j++)
        block->scales[j] = (uint8_t)(s[j] | m[j] << 4);
}

static const struct ht__best best = {
    .codec = &ht__codec_q2_k,
    .improve = ht__best_affine,
    .values = {HT__VALUES_WHOLE, 0, 3},
    .len = LEN,
    .subs = SUBS,
    .high = 15,
    .get = get_scales,
    .put = put_scales,
};

static void encode_best(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&best, src, n_rows, row_len, importance, dst);
}

static int64_t check(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, sizeof(struct ht__q2_k_block), 80, 82);
}

const struct ht__codec ht__codec_q2_k = {
    .name = "q2_k",
    .label = "Q2_K",
    .ggml_id = 10,
    .block_len = HT__K,
    .block_size = sizeof(struct ht__q2_k_block),
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "q4_0",
    .rmse_bound = 0.35f,
    .encode = encode,
    .decode = decode,
    .check = check,
    .grid = &grid,
    .encode_best = encode_best,
};
