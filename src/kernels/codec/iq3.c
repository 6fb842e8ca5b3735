/*
 * IQ3: four magnitudes from a lattice of odd numbers, times a scale of four bits.
 *   IQ3_XXS, 256 weights in 98 bytes:  d half | 64 lattice indices (256 points, values 4l + 4 …) |
 *            eight u32: four times seven sign bits, scale in the top four              x ~ d*(0.5 + s)/2 * value
 *   IQ3_S,   256 weights in 110 bytes: d half | 64 low bytes of indices (512 points) | 8 bytes of their ninth bits |
 *            32 bytes of signs | 4 bytes of scales, two each                           x ~ d*(1 + 2s) * (2l + 1)
 *
 * Where a group of 32 weights is all zero, llama.cpp's encoder of IQ3_S writes the groups after it to wrong places.
 * Ours are right: the one deliberate difference of all types (doc/formats/iq3_s.md).
 */
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/search/lattice.h"

#include <string.h>

enum { SUPER = 256, LEN = 32, XXS_SIZE = 98, S_SIZE = 110 };
/* Corrections of the fitted scale after coding, found by llama.cpp by experiment (search.h). */
#define IQ3_XXS_LONGER 1.0125f
#define IQ3_S_LONGER 1.033f

/* Published with the type: the bytes of llama.cpp's iq3xxs_grid. */
static const uint8_t xxs_values[8] = {4, 12, 20, 28, 36, 44, 52, 62};

void ht__iq3_xxs_pack(const struct ht__lattice_block *blocks, uint8_t *out)
{
    uint8_t codes[8];
    float d = ht__lattice_scales(blocks, 8, codes);
    memset(out, 0, XXS_SIZE);
    if (d == 0) return;
    ht__store_u16(out, ht__f32_to_f16(d * IQ3_XXS_LONGER));
    for (int b = 0; b < 8; b++) {
        uint32_t word = (uint32_t)codes[b] << 28;
        for (int k = 0; k < 8; k++)
            out[2 + 8 * b + k] = (uint8_t)blocks[b].points[k];
        for (int k = 0; k < 4; k++)
            word |= (uint32_t)blocks[b].signs[k] << 7 * k;
        memcpy(out + 66 + 4 * b, &word, sizeof word);
    }
}

void ht__iq3_s_pack(const struct ht__lattice_block *blocks, uint8_t *out)
{
    uint8_t codes[8];
    float d = ht__lattice_scales(blocks, 8, codes);
    memset(out, 0, S_SIZE);
    for (int b = 0; b < 8; b++) {
        for (int k = 0; k < 8; k++) {
            out[2 + 8 * b + k] = (uint8_t)blocks[b].points[k];
            out[66 + b] = (uint8_t)(out[66 + b] | blocks[b].points[k] >> 8 << k);
        }
        memcpy(out + 74 + 4 * b, blocks[b].signs, 4);
        out[106 + b / 2] = (uint8_t)(out[106 + b / 2] | codes[b] << 4 * (b % 2));
    }
    ht__store_u16(out, d == 0 ? 0 : ht__f32_to_f16(d * IQ3_S_LONGER));
}

#define KERNELS(id, size)                                                                                              \
    static void encode_##id(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)     \
    {                                                                                                                  \
        ht__lattice_encode(&ht__iq3_##id##_lattice, src, n_rows, row_len, importance, dst);                            \
    }                                                                                                                  \
    static int64_t check_##id(const void *src, int64_t n_blocks)                                                       \
    {                                                                                                                  \
        return ht__check_halves(src, n_blocks, size, 0, -1);                                                           \
    }
KERNELS(xxs, XXS_SIZE)
KERNELS(s, S_SIZE)

static void decode_xxs(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t n = 0; n < n_weights / SUPER; n++, in += XXS_SIZE, dst += SUPER) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int b = 0; b < 8; b++) {
            uint32_t word;
            memcpy(&word, in + 66 + 4 * b, sizeof word);
            float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
            for (int i = 0; i < LEN; i++) {
                const uint8_t *point = ht__iq3_xxs_grid.points + 4 * in[2 + 8 * b + i / 4];
                uint8_t signs = ht__even_signs(word >> 7 * (i / 8) & 127);
                float v = scale * (float)xxs_values[point[i % 4]];
                dst[LEN * b + i] = signs >> i % 8 & 1 ? -v : v;
            }
        }
    }
}

static void decode_s(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t n = 0; n < n_weights / SUPER; n++, in += S_SIZE, dst += SUPER) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int b = 0; b < 8; b++) {
            float scale = d * (float)(1 + 2 * (in[106 + b / 2] >> 4 * (b % 2) & 15));
            for (int i = 0; i < LEN; i++) {
                int k = i / 4, index = in[2 + 8 * b + k] | (in[66 + b] >> k & 1) << 8;
                float v = scale * (float)(2 * ht__iq3_s_grid.points[4 * index + i % 4] + 1);
                dst[LEN * b + i] = in[74 + 4 * b + i / 8] >> i % 8 & 1 ? -v : v;
            }
        }
    }
}

const struct ht__codec ht__codec_iq3_xxs = {
    .name = "iq3_xxs",
    .label = "IQ3_XXS",
    .ggml_id = 18,
    .block_len = SUPER,
    .block_size = XXS_SIZE,
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "iq4_nl",
    .rmse_bound = 0.26f,
    .encode = encode_xxs,
    .decode = decode_xxs,
    .check = check_xxs,
};

const struct ht__codec ht__codec_iq3_s = {
    .name = "iq3_s",
    .label = "IQ3_S",
    .ggml_id = 21,
    .block_len = SUPER,
    .block_size = S_SIZE,
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "iq4_nl",
    .rmse_bound = 0.22f,
    .encode = encode_s,
    .decode = decode_s,
    .check = check_s,
};
