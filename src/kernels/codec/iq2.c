/*
 * IQ2: eight magnitudes of 8, 25 or 43 from a lattice, times a scale of four bits: x ~ d*(0.5 + s)/4 * value
 *   IQ2_XXS, 256 weights in 66 bytes: d half | for each 32: four lattice indices (256 points),
 *                                     u32 of four times seven sign bits and the scale in the top four
 *   IQ2_XS,  256 weights in 74 bytes: d half | 32 u16: index (512 points) and seven signs | 8 bytes of scales
 *   IQ2_S,   256 weights in 82 bytes: d half | 32 low bytes of indices (1024 points) | 32 bytes of signs |
 *                                     8 bytes of the indices' top two bits | 8 bytes of scales, one for each 16 weights
 */
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/search/lattice.h"

#include <string.h>

enum { SUPER = 256, XXS_SIZE = 66, XS_SIZE = 74, S_SIZE = 82 };

/* Published with the type: the bytes of llama.cpp's iq2xxs_grid. */
static const uint8_t values[3] = {8, 25, 43};
/* A correction of the fitted scale after coding, found by llama.cpp by experiment (search.h). */
#define IQ2_S_SHORTER 0.9875f

void ht__iq2_xxs_pack(const struct ht__lattice_block *blocks, uint8_t *out)
{
    uint8_t codes[8];
    float d = ht__lattice_scales(blocks, 8, codes);
    memset(out, 0, XXS_SIZE);
    if (d == 0) return;
    ht__store_u16(out, ht__f32_to_f16(d));
    for (int b = 0; b < 8; b++) {
        uint32_t word = (uint32_t)codes[b] << 28;
        for (int k = 0; k < 4; k++) {
            out[2 + 8 * b + k] = (uint8_t)blocks[b].points[k];
            word |= (uint32_t)blocks[b].signs[k] << 7 * k;
        }
        memcpy(out + 6 + 8 * b, &word, sizeof word);
    }
}

void ht__iq2_xs_pack(const struct ht__lattice_block *blocks, uint8_t *out)
{
    uint8_t codes[16];
    float d = ht__lattice_scales(blocks, 16, codes);
    memset(out, 0, XS_SIZE);
    if (d == 0) return;
    ht__store_u16(out, ht__f32_to_f16(d));
    for (int b = 0; b < 16; b++) {
        for (int k = 0; k < 2; k++)
            ht__store_u16(out + 2 + 4 * b + 2 * k, (uint16_t)(blocks[b].points[k] | blocks[b].signs[k] << 9));
        out[66 + b / 2] = (uint8_t)(out[66 + b / 2] | codes[b] << 4 * (b % 2));
    }
}

void ht__iq2_s_pack(const struct ht__lattice_block *blocks, uint8_t *out)
{
    uint8_t codes[16];
    float d = ht__lattice_scales(blocks, 16, codes);
    memset(out, 0, S_SIZE);
    for (int b = 0; b < 16; b++) {
        for (int k = 0; k < 2; k++) {
            int g = 2 * b + k;
            out[2 + g] = (uint8_t)blocks[b].points[k];
            out[34 + g] = blocks[b].signs[k];
            out[66 + g / 4] = (uint8_t)(out[66 + g / 4] | blocks[b].points[k] >> 8 << 2 * (g % 4));
        }
        out[74 + b / 2] = (uint8_t)(out[74 + b / 2] | codes[b] << 4 * (b % 2));
    }
    ht__store_u16(out, d == 0 ? 0 : ht__f32_to_f16(d * IQ2_S_SHORTER));
}

#define KERNELS(id, size)                                                                                              \
    static void encode_##id(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)     \
    {                                                                                                                  \
        ht__lattice_encode(&ht__iq2_##id##_lattice, src, n_rows, row_len, importance, dst);                            \
    }                                                                                                                  \
    static int64_t check_##id(const void *src, int64_t n_blocks)                                                       \
    {                                                                                                                  \
        return ht__check_halves(src, n_blocks, size, 0, -1);                                                           \
    }
KERNELS(xxs, XXS_SIZE)
KERNELS(xs, XS_SIZE)
KERNELS(s, S_SIZE)

static void put(const uint8_t *point, uint8_t signs, float scale, float *dst)
{
    for (int i = 0; i < 8; i++) {
        float v = scale * (float)values[point[i]];
        dst[i] = signs >> i & 1 ? -v : v;
    }
}

static float scale_of(float d, unsigned code)
{
    return d * (0.5f + (float)code) * 0.25f;
}

static void decode_xxs(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t n = 0; n < n_weights / SUPER; n++, in += XXS_SIZE, dst += SUPER) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int b = 0; b < 8; b++) {
            uint32_t word;
            memcpy(&word, in + 6 + 8 * b, sizeof word);
            for (int k = 0; k < 4; k++)
                put(ht__iq2_xxs_grid.points + 8 * in[2 + 8 * b + k], ht__even_signs(word >> 7 * k & 127),
                    scale_of(d, word >> 28), dst + 32 * b + 8 * k);
        }
    }
}

static void decode_xs(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t n = 0; n < n_weights / SUPER; n++, in += XS_SIZE, dst += SUPER) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int g = 0; g < 32; g++) {
            unsigned q = ht__load_u16(in + 2 + 2 * g), code = in[66 + g / 4] >> 4 * (g / 2 % 2) & 15u;
            put(ht__iq2_xs_grid.points + 8 * (q & 511), ht__even_signs(q >> 9), scale_of(d, code), dst + 8 * g);
        }
    }
}

static void decode_s(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t n = 0; n < n_weights / SUPER; n++, in += S_SIZE, dst += SUPER) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int g = 0; g < 32; g++) {
            int index = in[2 + g] | (in[66 + g / 4] >> 2 * (g % 4) & 3) << 8;
            unsigned code = in[74 + g / 4] >> 4 * (g / 2 % 2) & 15u;
            put(ht__iq2_s_grid.points + 8 * index, in[34 + g], scale_of(d, code), dst + 8 * g);
        }
    }
}

#define IQ2_NEEDS (HT__CODEC_USES_IMPORTANCE | HT__CODEC_NEEDS_IMPORTANCE)
const struct ht__codec ht__codec_iq2_xxs = {
    .name = "iq2_xxs",
    .label = "IQ2_XXS",
    .ggml_id = 16,
    .block_len = SUPER,
    .block_size = XXS_SIZE,
    .flags = IQ2_NEEDS,
    .fallback = "iq4_nl",
    .rmse_bound = 0.48f,
    .encode = encode_xxs,
    .decode = decode_xxs,
    .check = check_xxs,
};
const struct ht__codec ht__codec_iq2_xs = {
    .name = "iq2_xs",
    .label = "IQ2_XS",
    .ggml_id = 17,
    .block_len = SUPER,
    .block_size = XS_SIZE,
    .flags = IQ2_NEEDS,
    .fallback = "iq4_nl",
    .rmse_bound = 0.44f,
    .encode = encode_xs,
    .decode = decode_xs,
    .check = check_xs,
};
const struct ht__codec ht__codec_iq2_s = {
    .name = "iq2_s",
    .label = "IQ2_S",
    .ggml_id = 22,
    .block_len = SUPER,
    .block_size = S_SIZE,
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "iq4_nl",
    .rmse_bound = 0.36f,
    .encode = encode_s,
    .decode = decode_s,
    .check = check_s,
};
