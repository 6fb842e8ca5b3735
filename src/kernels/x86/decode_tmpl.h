/*
 * Decoders with vectors: included by decode_<level>.c after vec_<level>.h. Codes are unpacked as bytes, 32 at a
 * time; then each is a float times a scale, plus or minus a minimum, as the scalar units compute it. The byte
 * diagrams are theirs too.
 */
#include "kernels/codec.h"
#include "kernels/codec/fp4.h"
#include "kernels/codec/iq4.h"
#include "kernels/codec/k_affine.h"
#include "kernels/codec/k_block.h"

#include <string.h>

enum min { NO_MIN, PLUS, MINUS };

VEC float half_at(const void *half)
{
    return float_of(ht__load_u16(half));
}

VEC void put16(const vf *codes, float scale, enum min how, float min, float *dst)
{
    for (int i = 0; i < 16 / VL; i++) {
        vf v = v_mul(v_set(scale), codes[i]);
        if (how == PLUS) v = v_add(v, v_set(min));
        if (how == MINUS) v = v_sub(v, v_set(min));
        v_store(dst + i * VL, v);
    }
}

/* Two sub-blocks of 16, or one of 32 with the same numbers twice. */
VEC void put32(vb codes, const float scale[2], enum min how, const float min[2], float *dst)
{
    vf v[32 / VL];
    v_floats32(codes, v);
    put16(v, scale[0], how, min ? min[0] : 0, dst);
    put16(v + 16 / VL, scale[1], how, min ? min[1] : 0, dst + 16);
}

VEC void put_scaled(vb codes, float scale, float *dst)
{
    put32(codes, (const float[2]){scale, scale}, NO_MIN, NULL, dst);
}

/* Bits `shift` on of every byte, as many as `mask` has, moved to bit `to`. */
VEC vb moved_bits(vb bytes, int shift, int mask, int to)
{
    return b_up(b_bits(bytes, shift, mask), to);
}

VEC vb less(vb codes, int zero)
{
    return b_sub(codes, b_set(zero));
}

/* ---- blocks of 32 ---- */

VEC void decode_q8_0(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 32; b++, in += 34, dst += 32)
        put_scaled(b_load(in + 2), half_at(in), dst);
}

VEC vb fifth_bits_at(const uint8_t *p)
{
    uint32_t bits;
    memcpy(&bits, p, sizeof bits);
    return b_fifth_bits_of(bits);
}

VEC void decode_legacy(const uint8_t *in, int64_t n, float *dst, int zero, bool min, bool five)
{
    const int head = min ? 4 : 2, size = head + (five ? 4 : 0) + 16;
    for (int64_t b = 0; b < n / 32; b++, in += size, dst += 32) {
        vb codes = b_nibbles(in + size - 16);
        float d = half_at(in), m = min ? half_at(in + 2) : 0;
        if (five) codes = b_or(codes, fifth_bits_at(in + head));
        if (min)
            put32(codes, (const float[2]){d, d}, PLUS, (const float[2]){m, m}, dst);
        else
            put_scaled(less(codes, zero), d, dst);
    }
}

VEC void decode_q4_0(const uint8_t *in, int64_t n, float *dst)
{
    decode_legacy(in, n, dst, 8, false, false);
}
VEC void decode_q4_1(const uint8_t *in, int64_t n, float *dst)
{
    decode_legacy(in, n, dst, 0, true, false);
}
VEC void decode_q5_0(const uint8_t *in, int64_t n, float *dst)
{
    decode_legacy(in, n, dst, 16, false, true);
}
VEC void decode_q5_1(const uint8_t *in, int64_t n, float *dst)
{
    decode_legacy(in, n, dst, 0, true, true);
}

/* ---- codes into a table of 16 ---- */

VEC void decode_iq4_nl(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 32; b++, in += 18, dst += 32)
        put_scaled(b_lookup(b_nibbles(in + 2), ht__iq4_values), half_at(in), dst);
}

VEC void decode_iq4_xs(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 256; b++, in += 136, dst += 256) {
        float d = half_at(in);
        uint16_t high = ht__load_u16(in + 2);
        for (int j = 0; j < 8; j++) {
            int s = (in[4 + j / 2] >> 4 * (j % 2) & 15) | (high >> 2 * j & 3) << 4;
            put_scaled(b_lookup(b_nibbles(in + 8 + 16 * j), ht__iq4_values), d * (float)(s - 32), dst + 32 * j);
        }
    }
}

VEC void decode_mxfp4(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 32; b++, in += 17, dst += 32)
        put_scaled(b_lookup(b_nibbles(in + 1), ht__fp4_values), ht__mx_scale(in[0]), dst);
}

VEC void decode_nvfp4(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 64; b++, in += 36, dst += 64)
        for (int h = 0; h < 2; h++) {
            float scales[2] = {ht__nv_scale(in[2 * h]), ht__nv_scale(in[2 * h + 1])};
            put32(b_lookup(b_nibbles_16(in + 4 + 16 * h), ht__fp4_values), scales, NO_MIN, NULL, dst + 32 * h);
        }
}

/* ---- super-blocks ---- */

VEC void decode_q2_k(const uint8_t *in, int64_t n, float *dst)
{
    const struct ht__q2_k_block *block = (const void *)in;
    for (int64_t b = 0; b < n / HT__K; b++, block++, dst += HT__K) {
        float d = half_at(&block->d), dmin = half_at(&block->dmin);
        for (int g = 0; g < 8; g++) {
            float scales[2], mins[2];
            for (int h = 0; h < 2; h++) {
                scales[h] = d * (float)(block->scales[2 * g + h] & 15);
                mins[h] = dmin * (float)(block->scales[2 * g + h] >> 4);
            }
            put32(b_bits(b_load(block->qs + 32 * (g / 4)), 2 * (g % 4), 3), scales, MINUS, mins, dst + 32 * g);
        }
    }
}

VEC void decode_q3_k(const uint8_t *in, int64_t n, float *dst)
{
    const struct ht__q3_k_block *block = (const void *)in;
    for (int64_t b = 0; b < n / HT__K; b++, block++, dst += HT__K) {
        float d = half_at(&block->d);
        int s[16];
        ht__q3_k_unpack_scales(block->scales, s);
        for (int g = 0; g < 8; g++) {
            vb low = b_bits(b_load(block->qs + 32 * (g / 4)), 2 * (g % 4), 3);
            vb codes = less(b_or(low, moved_bits(b_load(block->hmask), g, 1, 2)), 4);
            float scales[2] = {d * (float)(s[2 * g] - 32), d * (float)(s[2 * g + 1] - 32)};
            put32(codes, scales, NO_MIN, NULL, dst + 32 * g);
        }
    }
}

/* Two sub-blocks of 32 in the low and high nibbles of 32 bytes; `high`: with fifth bits. */
VEC void put_k_affine(const uint8_t *qs, const uint8_t *high, int g, const float *scales, const float *mins, float *dst)
{
    for (int h = 0; h < 2; h++) {
        vb codes = b_bits(b_load(qs + 32 * g), 4 * h, 15);
        float s = scales[2 * g + h], m = mins[2 * g + h];
        if (high) codes = b_or(codes, moved_bits(b_load(high), 2 * g + h, 1, 4));
        put32(codes, (const float[2]){s, s}, MINUS, (const float[2]){m, m}, dst + 64 * g + 32 * h);
    }
}

VEC void decode_q4_k(const uint8_t *in, int64_t n, float *dst)
{
    const struct ht__q4_k_block *block = (const void *)in;
    for (int64_t b = 0; b < n / HT__K; b++, block++, dst += HT__K) {
        float scales[8], mins[8];
        ht__k_affine_scales(ht__load_u16(&block->d), ht__load_u16(&block->dmin), block->scales, scales, mins);
        for (int g = 0; g < 4; g++)
            put_k_affine(block->qs, NULL, g, scales, mins, dst);
    }
}

VEC void decode_q5_k(const uint8_t *in, int64_t n, float *dst)
{
    const struct ht__q5_k_block *block = (const void *)in;
    for (int64_t b = 0; b < n / HT__K; b++, block++, dst += HT__K) {
        float scales[8], mins[8];
        ht__k_affine_scales(ht__load_u16(&block->d), ht__load_u16(&block->dmin), block->scales, scales, mins);
        for (int g = 0; g < 4; g++)
            put_k_affine(block->qs, block->qh, g, scales, mins, dst);
    }
}

VEC void decode_q6_k(const uint8_t *in, int64_t n, float *dst)
{
    const struct ht__q6_k_block *block = (const void *)in;
    for (int64_t b = 0; b < n / HT__K; b++, block++, dst += HT__K) {
        float d = half_at(&block->d);
        for (int g = 0; g < 8; g++) {
            int h = g / 4, k = g % 4;
            vb low = b_bits(b_load(block->ql + 64 * h + 32 * (k & 1)), 4 * (k / 2), 15);
            vb high = moved_bits(b_load(block->qh + 32 * h), 2 * k, 3, 4);
            float scales[2] = {d * (float)block->scales[2 * g], d * (float)block->scales[2 * g + 1]};
            put32(less(b_or(low, high), 32), scales, NO_MIN, NULL, dst + 32 * g);
        }
    }
}

VEC void decode_tq2_0(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 256; b++, in += 66, dst += 256)
        for (int g = 0; g < 8; g++)
            put_scaled(less(b_bits(b_load(in + 32 * (g / 4)), 2 * (g % 4), 3), 1), half_at(in + 64), dst + 32 * g);
}

#define DECODER(id, level)                                                                                             \
    void ht__##id##_decode_##level(const void *src, int64_t n_weights, float *dst)                                     \
    {                                                                                                                  \
        decode_##id(src, n_weights, dst);                                                                              \
    }
