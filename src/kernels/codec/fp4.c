/*
 * Four-bit floats (E2M1): sign, two exponent bits, one mantissa bit.
 *   MXFP4, 32 weights in 17 bytes: e, a power of two | 16 bytes: element i < 16 in the low nibble of byte
 *          i, element 16 + i in the high one                      x ~ 2^(e - 128) * F[q]
 *   NVFP4, 64 weights in 36 bytes: four scales (unsigned E4M3) | 32 bytes, 8 for each sub-block of 16:
 *          element i < 8 in the low nibble, 8 + i in the high one  x ~ U(s) * F[q]
 * F holds twice the E2M1 values, the scale half of what the name says, so that F is whole numbers.
 */
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

static void encode_mx(const float *src, int64_t n_rows, int64_t row_len, const float *importance,
                      void *dst)
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

static void encode_nv(const float *src, int64_t n_rows, int64_t row_len, const float *importance,
                      void *dst)
{
    (void)importance;
    uint8_t *out = dst;
    for (int64_t b = 0; b < n_rows * row_len / NV_LEN; b++, src += NV_LEN, out += NV_SIZE)
        for (int s = 0; s < 4; s++) {
            const float *x = src + NV_SUB * s;
            out[s] = ht__nv_code(largest(x, NV_SUB) / 6.0f);
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

const struct ht__codec ht__codec_mxfp4 = {
    .name = "mxfp4", .label = "MXFP4", .ggml_id = 39, .block_len = MX_LEN, .block_size = MX_SIZE,
    .rmse_bound = 0.16f,
    .encode = encode_mx, .decode = decode_mx, .check = check_mx,
};

const struct ht__codec ht__codec_nvfp4 = {
    .name = "nvfp4", .label = "NVFP4", .ggml_id = 40, .block_len = NV_LEN, .block_size = NV_SIZE,
    .rmse_bound = 0.16f,
    .encode = encode_nv, .decode = decode_nv,
};
