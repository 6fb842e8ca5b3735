/*
 * Q8_0: 32 weights in 34 bytes, 8.5 bits each: x ~ d*q.
 *   0..1  d: half      2..33  q: signed bytes
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/codec/grid.h"

#include <math.h>

enum { LEN = 32, SIZE = 34 };

static void encode(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    uint8_t *out = dst;
    for (int64_t b = 0; b < n_rows * row_len / LEN; b++, src += LEN, out += SIZE) {
        float amax = 0;
        for (int i = 0; i < LEN; i++)
            if (fabsf(src[i]) > amax) amax = fabsf(src[i]);
        float d = amax / 127, inverse = d != 0 ? 1.0f / d : 0;
        ht__store_u16(out, ht__f32_to_f16(d));
        for (int i = 0; i < LEN; i++)
            out[2 + i] = (uint8_t)ht__truncate(roundf(src[i] * inverse));
    }
}

static void decode(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / LEN; b++, in += SIZE, dst += LEN) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int i = 0; i < LEN; i++)
            dst[i] = d * (float)(int8_t)in[2 + i];
    }
}

static void read_block(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const uint8_t *in = src;
    *scale = ht__f16_to_f32(ht__load_u16(in));
    *offset = 0;
    for (int i = 0; i < LEN; i++)
        codes[i] = in[2 + i] ^ 128; /* signed: moved up by 128 */
}

static void write_codes(void *dst, const uint8_t *codes)
{
    uint8_t *out = dst;
    for (int i = 0; i < LEN; i++)
        out[2 + i] = codes[i] ^ 128;
}

static const struct ht__grid grid = {
    .n_codes = 256,
    .group = LEN,
    .values = HT__WHOLE_VALUES(-128),
    .read = read_block,
    .write = write_codes,
};

static const struct ht__best best = {
    .codec = &ht__codec_q8_0,
    .improve = ht__best_single,
    .values = {HT__VALUES_WHOLE, -128, 127},
    .len = LEN,
};

static void encode_best(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&best, src, n_rows, row_len, importance, dst);
}

static int64_t check(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, SIZE, 0, -1);
}

const struct ht__codec ht__codec_q8_0 = {
    .name = "q8_0",
    .label = "Q8_0",
    .ggml_id = 8,
    .block_len = LEN,
    .block_size = SIZE,
    .rmse_bound = 0.008f,
    .encode = encode,
    .decode = decode,
    .check = check,
    .grid = &grid,
    .encode_best = encode_best,
};
