/*
 * IQ4_NL and IQ4_XS: four-bit codes into a table of 16 values, denser near zero.
 *   IQ4_NL, 32 weights in 18 bytes:   d half | 16 bytes of nibbles (as Q4_0)     x ~ d*K[q]
 *   IQ4_XS, 256 weights in 136 bytes: d half | u16 high bits, 2 a sub-block | 4 bytes low nibbles |
 *           128 bytes of nibbles, 16 for each sub-block of 32                    x ~ d*(s - 32)*K[q]
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/codec/iq4.h"
#include "kernels/search/search.h"

#include <math.h>
#include <string.h>

enum { LEN = 32, SUPER = 256, NL_SIZE = 18, XS_SIZE = 136, TRIALS = 7 /* either way, as llama.cpp tries */ };

/* The nearest entry; of two as near, the upper. */
static int nearest(float x)
{
    if (x <= (float)ht__iq4_values[0]) return 0;
    if (x >= (float)ht__iq4_values[15]) return 15;
    int low = 0, high = 15;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (x < (float)ht__iq4_values[middle])
            high = middle;
        else
            low = middle;
    }
    return x - (float)ht__iq4_values[high - 1] < (float)ht__iq4_values[high] - x ? high - 1 : high;
}

static void sums(const float *x, const float *w, float inverse, float *qx, float *q2)
{
    *qx = *q2 = 0;
    for (int i = 0; i < LEN; i++) {
        float q = (float)ht__iq4_values[nearest(inverse * x[i])];
        *qx += w[i] * q * x[i];
        *q2 += w[i] * q * q;
    }
}

/* The scale of one sub-block; `weights` importance or NULL. */
static float search(const float *x, const float *importance, float sigma2)
{
    float w[LEN], max = 0, amax = 0, qx, q2;
    if (importance)
        ht__search_weights(LEN, x, importance, sigma2, w);
    else
        for (int i = 0; i < LEN; i++)
            w[i] = x[i] * x[i];
    for (int i = 0; i < LEN; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            max = x[i];
        }
    if (amax < HT__TINY) return 0;
    float d = -max / (float)ht__iq4_values[0], inverse = 1 / d;
    sums(x, w, inverse, &qx, &q2);
    d = qx / q2;
    float best = d * qx;
    for (int t = -TRIALS; t <= TRIALS; t++) {
        inverse = ((float)t + (float)ht__iq4_values[0]) / max;
        sums(x, w, inverse, &qx, &q2);
        if (q2 > 0 && qx * qx > best * q2) {
            d = qx / q2;
            best = d * qx;
        }
    }
    return d;
}

static void put_codes(const float *x, float d, uint8_t out[16])
{
    float inverse = d != 0 ? 1 / d : 0;
    for (int i = 0; i < 16; i++)
        out[i] = (uint8_t)(nearest(inverse * x[i]) | nearest(inverse * x[i + 16]) << 4);
}

static void encode_nl(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    uint8_t *out = dst;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < row_len; i += LEN, src += LEN, out += NL_SIZE) {
            float sigma2 = ht__sum_squares(LEN, src) * 2 / LEN;
            float d = search(src, importance ? importance + i : NULL, sigma2);
            ht__store_u16(out, ht__f32_to_f16(d));
            put_codes(src, d, out + 2);
        }
}

/* The scale of sub-block j, -32 … 31; where none stands yet. */
static void put_xs_scale(uint8_t *out, int j, int scale)
{
    int l = scale + 32;
    out[4 + j / 2] = (uint8_t)(out[4 + j / 2] | (l & 15) << 4 * (j % 2));
    ht__store_u16(out + 2, (uint16_t)(ht__load_u16(out + 2) | l >> 4 << 2 * j));
}

static void encode_xs_block(const float *x, const float *importance, uint8_t *out)
{
    float scales[8], max = 0, amax = 0, sigma2 = ht__sum_squares(SUPER, x) * 2 / SUPER;
    for (int j = 0; j < 8; j++) {
        scales[j] = search(x + LEN * j, importance ? importance + LEN * j : NULL, sigma2);
        if (fabsf(scales[j]) > amax) {
            amax = fabsf(scales[j]);
            max = scales[j];
        }
    }
    float d = -max / 32, inverse = d != 0 ? 1 / d : 0;
    memset(out, 0, 8);
    ht__store_u16(out, ht__f32_to_f16(d));
    for (int j = 0; j < 8; j++) {
        int l = ht__round_even(inverse * scales[j]);
        l = l < -32 ? -32 : l > 31 ? 31 : l;
        put_codes(x + LEN * j, d * (float)l, out + 8 + 16 * j);
        put_xs_scale(out, j, l);
    }
}

static void encode_xs(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    uint8_t *out = dst;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < row_len; i += SUPER, src += SUPER, out += XS_SIZE)
            encode_xs_block(src, importance ? importance + i : NULL, out);
}

static void decode_sub(const uint8_t *q, float d, float *dst)
{
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)ht__iq4_values[q[i] & 15];
        dst[i + 16] = d * (float)ht__iq4_values[q[i] >> 4];
    }
}

static void decode_nl(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / LEN; b++, in += NL_SIZE, dst += LEN)
        decode_sub(in + 2, ht__f16_to_f32(ht__load_u16(in)), dst);
}

static int xs_scale(const uint8_t *in, int j)
{
    return ((in[4 + j / 2] >> 4 * (j % 2) & 15) | (ht__load_u16(in + 2) >> 2 * j & 3) << 4) - 32;
}

static void decode_xs(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / SUPER; b++, in += XS_SIZE, dst += SUPER) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int j = 0; j < 8; j++)
            decode_sub(in + 8 + 16 * j, d * (float)xs_scale(in, j), dst + LEN * j);
    }
}

static void read_nibbles(const uint8_t in[16], uint8_t codes[LEN])
{
    for (int i = 0; i < 16; i++) {
        codes[i] = in[i] & 15;
        codes[i + 16] = in[i] >> 4;
    }
}

static void write_nibbles(uint8_t out[16], const uint8_t codes[LEN])
{
    for (int i = 0; i < 16; i++)
        out[i] = (uint8_t)(codes[i] | codes[i + 16] << 4);
}

static void read_nl(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const uint8_t *in = src;
    *scale = ht__f16_to_f32(ht__load_u16(in));
    *offset = 0;
    read_nibbles(in + 2, codes);
}

static void write_nl(void *dst, const uint8_t *codes)
{
    write_nibbles((uint8_t *)dst + 2, codes);
}

static void read_xs(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const uint8_t *in = src;
    for (int j = 0; j < 8; j++) {
        scale[j] = ht__f16_to_f32(ht__load_u16(in)) * (float)xs_scale(in, j);
        offset[j] = 0;
        read_nibbles(in + 8 + 16 * j, codes + LEN * j);
    }
}

static void write_xs(void *dst, const uint8_t *codes)
{
    for (int j = 0; j < 8; j++)
        write_nibbles((uint8_t *)dst + 8 + 16 * j, codes + LEN * j);
}

static const struct ht__grid nl_grid = {16, LEN, ht__iq4_values, read_nl, write_nl};
static const struct ht__grid xs_grid = {16, LEN, ht__iq4_values, read_xs, write_xs};

static void get_scales(const void *src, float *d, float *dmin, int *s, int *m)
{
    *d = ht__f16_to_f32(ht__load_u16(src));
    for (int j = 0; j < 8; j++)
        s[j] = xs_scale(src, j);
}

static void put_scales(void *dst, float d, float dmin, const int *s, const int *m)
{
    uint8_t *out = dst;
    memset(out, 0, 8);
    ht__store_u16(out, ht__f32_to_f16(d));
    for (int j = 0; j < 8; j++)
        put_xs_scale(out, j, s[j]);
}

static const struct ht__best best_nl = {
    .codec = &ht__codec_iq4_nl,
    .improve = ht__best_single,
    .values = {HT__VALUES_IQ4, -127, 113},
    .len = LEN,
};
static const struct ht__best best_xs = {
    .codec = &ht__codec_iq4_xs,
    .improve = ht__best_signed,
    .values = {HT__VALUES_IQ4, -127, 113},
    .len = LEN,
    .subs = 8,
    .low = -32,
    .high = 31,
    .get = get_scales,
    .put = put_scales,
};

static void encode_best_nl(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&best_nl, src, n_rows, row_len, importance, dst);
}

static void encode_best_xs(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&best_xs, src, n_rows, row_len, importance, dst);
}

static int64_t check_nl(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, NL_SIZE, 0, -1);
}

static int64_t check_xs(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, XS_SIZE, 0, -1);
}

const struct ht__codec ht__codec_iq4_nl = {
    .name = "iq4_nl",
    .label = "IQ4_NL",
    .ggml_id = 20,
    .block_len = LEN,
    .block_size = NL_SIZE,
    .flags = HT__CODEC_USES_IMPORTANCE,
    .rmse_bound = 0.1f,
    .encode = encode_nl,
    .decode = decode_nl,
    .check = check_nl,
    .grid = &nl_grid,
    .encode_best = encode_best_nl,
};

const struct ht__codec ht__codec_iq4_xs = {
    .name = "iq4_xs",
    .label = "IQ4_XS",
    .ggml_id = 23,
    .block_len = SUPER,
    .block_size = XS_SIZE,
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "iq4_nl",
    .rmse_bound = 0.1f,
    .encode = encode_xs,
    .decode = decode_xs,
    .check = check_xs,
    .grid = &xs_grid,
    .encode_best = encode_best_xs,
};
