/*
 * Four-bit floats (E2M1): sign, two exponent bits, one mantissa bit.
 *   MXFP4, 32 weights in 17 bytes: e, a power of two | 16 bytes: element i < 16 in the low nibble of byte
 *          i, element 16 + i in the high one                      x ~ 2^(e - 128) * F[q]
 *   NVFP4, 64 weights in 36 bytes: four scales (unsigned E4M3) | 32 bytes, 8 for each sub-block of 16:
 *          element i < 8 in the low nibble, 8 + i in the high one  x ~ U(s) * F[q]
 * F holds twice the E2M1 values, the scale half of what the name says, so that F is whole numbers.
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "kernels/codec/fp4.h"

#include <math.h>
#include <string.h>

enum { MX_LEN = 32, MX_SIZE = 17, NV_LEN = 64, NV_SIZE = 36, NV_SUB = 16 };

/* The nearest value; of several as near, the first. */
static uint8_t nearest(float x, float scale)
{
    uint8_t best = 0;
    float error = fabsf((float)ht__fp4_values[0] * scale - x);
    for (uint8_t i = 1; i < 16; i++) {
        float e = fabsf((float)ht__fp4_values[i] * scale - x);
        if (e < error) {
            error = e;
            best = i;
        }
    }
    return best;
}

/* floor(log2(amax)) - 2 + 127: the largest value, 6 = 1.5 * 2^2, covers amax up to rounding. */
static uint8_t mx_exponent(float amax)
{
    if (!(amax > 0)) return 0;
    int e = (int)floorf(log2f(amax)) - 2 + 127;
    return (uint8_t)e;
}

static float largest(const float *x, int n)
{
    float amax = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > amax) amax = fabsf(x[i]);
    return amax;
}

static void encode_mx(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    uint8_t *out = dst;
    for (int64_t b = 0; b < n_rows * row_len / MX_LEN; b++, src += MX_LEN, out += MX_SIZE) {
        out[0] = mx_exponent(largest(src, MX_LEN));
        float scale = ht__mx_scale(out[0]);
        for (int i = 0; i < 16; i++)
            out[1 + i] = (uint8_t)(nearest(src[i], scale) | nearest(src[i + 16], scale) << 4);
    }
}

static void decode_mx(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / MX_LEN; b++, in += MX_SIZE, dst += MX_LEN) {
        float scale = ht__mx_scale(in[0]);
        for (int i = 0; i < 16; i++) {
            dst[i] = scale * (float)ht__fp4_values[in[1 + i] & 15];
            dst[i + 16] = scale * (float)ht__fp4_values[in[1 + i] >> 4];
        }
    }
}

static int64_t check_mx(const void *src, int64_t n_blocks)
{
    const uint8_t *in = src;
    for (int64_t i = 0; i < n_blocks; i++)
        if (in[i * MX_SIZE] == 255) return i;
    return -1;
}

static void encode_nv(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    uint8_t *out = dst;
    for (int64_t b = 0; b < n_rows * row_len / NV_LEN; b++, src += NV_LEN, out += NV_SIZE)
        for (int s = 0; s < 4; s++) {
            const float *x = src + NV_SUB * s;
            out[s] = ht__nv_code(largest(x, NV_SUB) / 6.0f); /* the largest E2M1 value */
            float scale = ht__nv_scale(out[s]);
            for (int i = 0; i < 8; i++)
                out[4 + 8 * s + i] = (uint8_t)(nearest(x[i], scale) | nearest(x[i + 8], scale) << 4);
        }
}

static void decode_nv(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t b = 0; b < n_weights / NV_LEN; b++, in += NV_SIZE, dst += NV_LEN)
        for (int s = 0; s < 4; s++) {
            float scale = ht__nv_scale(in[s]);
            for (int i = 0; i < 8; i++) {
                dst[NV_SUB * s + i] = scale * (float)ht__fp4_values[in[4 + 8 * s + i] & 15];
                dst[NV_SUB * s + 8 + i] = scale * (float)ht__fp4_values[in[4 + 8 * s + i] >> 4];
            }
        }
}

/* Stored are sign and magnitude. Ascending, the negative values come first, from the largest magnitude on. */
static const int8_t ascending[16] = {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12};

static uint8_t code_of(int stored)
{
    return (uint8_t)(stored < 8 ? stored + 8 : 15 - stored);
}

static int stored_of(uint8_t code)
{
    return code < 8 ? 15 - code : code - 8;
}

/* 2n weights in n bytes, the second half in the high nibbles. */
static void read_nibbles(const uint8_t *in, int n, uint8_t *codes)
{
    for (int i = 0; i < n; i++) {
        codes[i] = code_of(in[i] & 15);
        codes[n + i] = code_of(in[i] >> 4);
    }
}

static void write_nibbles(uint8_t *out, int n, const uint8_t *codes)
{
    for (int i = 0; i < n; i++)
        out[i] = (uint8_t)(stored_of(codes[i]) | stored_of(codes[n + i]) << 4);
}

static void read_mx(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const uint8_t *in = src;
    *scale = ht__mx_scale(in[0]);
    *offset = 0;
    read_nibbles(in + 1, 16, codes);
}

static void write_mx(void *dst, const uint8_t *codes)
{
    write_nibbles((uint8_t *)dst + 1, 16, codes);
}

static void read_nv(const void *src, uint8_t *codes, float *scale, float *offset)
{
    const uint8_t *in = src;
    for (int s = 0; s < 4; s++) {
        scale[s] = ht__nv_scale(in[s]);
        offset[s] = 0;
        read_nibbles(in + 4 + 8 * s, 8, codes + NV_SUB * s);
    }
}

static void write_nv(void *dst, const uint8_t *codes)
{
    for (int s = 0; s < 4; s++)
        write_nibbles((uint8_t *)dst + 4 + 8 * s, 8, codes + NV_SUB * s);
}

static const struct ht__grid mx_grid = {16, MX_LEN, ascending, read_mx, write_mx};
static const struct ht__grid nv_grid = {16, NV_SUB, ascending, read_nv, write_nv};

/* Of eight exponents, from three below to four above. */
static void improve_mx(const struct ht__best *type, const float *x, const float *w, void *block)
{
    static const float zero[HT__LANES];
    uint8_t *out = block, code[HT__LANES];
    float scale[HT__LANES], error[HT__LANES];
    for (int l = 0; l < HT__LANES; l++) {
        int e = out[0] + (l + 3) % HT__LANES - 3; /* what encode chose comes first */
        code[l] = (uint8_t)(e < 2 ? 2 : e > 254 ? 254 : e);
        scale[l] = ht__mx_scale(code[l]);
    }
    ht__best_ops()->errors(type->values, MX_LEN, x, w, HT__LANES, scale, zero, error);
    out[0] = code[ht__best_least(HT__LANES, error)];
}

/* Of 32 scales from two octaves below to one above. */
static void improve_nv(const struct ht__best *type, const float *x, const float *w, void *block)
{
    enum { N = 32 };
    static const float zero[N];
    uint8_t *out = block, code[N];
    float scale[N], error[N];
    for (int s = 0; s < 4; s++) {
        for (int l = 0; l < N; l++) {
            int c = out[s] + (l + 20) % N - 20;
            code[l] = (uint8_t)(c < 0 ? 0 : c > 0x7e ? 0x7e : c);
            scale[l] = ht__nv_scale(code[l]);
        }
        ht__best_ops()->errors(type->values, NV_SUB, x + NV_SUB * s, w + NV_SUB * s, N, scale, zero, error);
        out[s] = code[ht__best_least(N, error)];
    }
}

static const struct ht__best best_mx = {
    .codec = &ht__codec_mxfp4, .improve = improve_mx, .values = {HT__VALUES_E2M1, -12, 12}};
static const struct ht__best best_nv = {
    .codec = &ht__codec_nvfp4, .improve = improve_nv, .values = {HT__VALUES_E2M1, -12, 12}};

static void encode_best_mx(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&best_mx, src, n_rows, row_len, importance, dst);
}

static void encode_best_nv(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    ht__best_encode(&best_nv, src, n_rows, row_len, importance, dst);
}

const struct ht__codec ht__codec_mxfp4 = {
    .name = "mxfp4",
    .label = "MXFP4",
    .ggml_id = 39,
    .block_len = MX_LEN,
    .block_size = MX_SIZE,
    .rmse_bound = 0.16f,
    .encode = encode_mx,
    .decode = decode_mx,
    .check = check_mx,
    .grid = &mx_grid,
    .encode_best = encode_best_mx,
};

const struct ht__codec ht__codec_nvfp4 = {
    .name = "nvfp4",
    .label = "NVFP4",
    .ggml_id = 40,
    .block_len = NV_LEN,
    .block_size = NV_SIZE,
    .rmse_bound = 0.16f,
    .encode = encode_nv,
    .decode = decode_nv,
    .grid = &nv_grid,
    .encode_best = encode_best_nv,
};
