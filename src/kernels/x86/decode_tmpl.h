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

VEC float float_of(const void *half)
{
    return _cvtsh_ss(ht__load_u16(half));
}

VEC void put16(__m128i codes, float scale, enum min how, float min, float *dst)
{
    vf v[16 / VL];
    v_floats16(codes, v);
    for (int i = 0; i < 16 / VL; i++) {
        v[i] = v_mul(v_set(scale), v[i]);
        if (how == PLUS) v[i] = v_add(v[i], v_set(min));
        if (how == MINUS) v[i] = v_sub(v[i], v_set(min));
        v_store(dst + i * VL, v[i]);
    }
}

/* Two sub-blocks of 16, or one of 32 with the same numbers twice. */
VEC void put32(__m256i codes, const float scale[2], enum min how, const float min[2], float *dst)
{
    put16(_mm256_castsi256_si128(codes), scale[0], how, min ? min[0] : 0, dst);
    put16(_mm256_extracti128_si256(codes, 1), scale[1], how, min ? min[1] : 0, dst + 16);
}

VEC void put_scaled(__m256i codes, float scale, float *dst)
{
    put32(codes, (const float[2]){scale, scale}, NO_MIN, NULL, dst);
}

VEC __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Bits `shift` on of every byte, as many as `mask` has. */
VEC __m256i bits_of(__m256i bytes, int shift, int mask)
{
    return _mm256_and_si256(_mm256_srli_epi16(bytes, shift), _mm256_set1_epi8((char)mask));
}

/* The same, moved to bit `to`. */
VEC __m256i moved_bits(__m256i bytes, int shift, int mask, int to)
{
    return _mm256_slli_epi16(bits_of(bytes, shift, mask), to);
}

VEC __m256i less(__m256i codes, int zero)
{
    return _mm256_sub_epi8(codes, _mm256_set1_epi8((char)zero));
}

/* Sixteen bytes: their low nibbles, then their high ones. */
VEC __m256i nibbles(const uint8_t *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* The same of each eight bytes for itself. */
VEC __m256i nibbles_16(const uint8_t *p)
{
    return _mm256_permute4x64_epi64(nibbles(p), 0xd8);
}

/* ---- blocks of 32 ---- */

VEC void decode_q8_0(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 32; b++, in += 34, dst += 32)
        put_scaled(load32(in + 2), float_of(in), dst);
}

/* 32 bits, each as 16 in its byte. */
VEC __m256i fifth_bits_of(const uint8_t *p)
{
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3,
                                            3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    int bits;
    memcpy(&bits, p, sizeof bits);
    __m256i bytes = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(bytes, bit), _mm256_set1_epi8(16));
}

VEC void decode_legacy(const uint8_t *in, int64_t n, float *dst, int zero, bool min, bool five)
{
    const int head = min ? 4 : 2, size = head + (five ? 4 : 0) + 16;
    for (int64_t b = 0; b < n / 32; b++, in += size, dst += 32) {
        __m256i codes = nibbles(in + size - 16);
        float d = float_of(in), m = min ? float_of(in + 2) : 0;
        if (five) codes = _mm256_or_si256(codes, fifth_bits_of(in + head));
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

VEC __m256i looked_up(__m256i codes, const int8_t table[16])
{
    __m128i t = _mm_loadu_si128((const __m128i *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), codes);
}

VEC void decode_iq4_nl(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 32; b++, in += 18, dst += 32)
        put_scaled(looked_up(nibbles(in + 2), ht__iq4_values), float_of(in), dst);
}

VEC void decode_iq4_xs(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 256; b++, in += 136, dst += 256) {
        float d = float_of(in);
        uint16_t high = ht__load_u16(in + 2);
        for (int j = 0; j < 8; j++) {
            int s = (in[4 + j / 2] >> 4 * (j % 2) & 15) | (high >> 2 * j & 3) << 4;
            put_scaled(looked_up(nibbles(in + 8 + 16 * j), ht__iq4_values), d * (float)(s - 32), dst + 32 * j);
        }
    }
}

VEC void decode_mxfp4(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 32; b++, in += 17, dst += 32)
        put_scaled(looked_up(nibbles(in + 1), ht__fp4_values), ht__mx_scale(in[0]), dst);
}

VEC void decode_nvfp4(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 64; b++, in += 36, dst += 64)
        for (int h = 0; h < 2; h++) {
            float scales[2] = {ht__nv_scale(in[2 * h]), ht__nv_scale(in[2 * h + 1])};
            put32(looked_up(nibbles_16(in + 4 + 16 * h), ht__fp4_values), scales, NO_MIN, NULL, dst + 32 * h);
        }
}

/* ---- super-blocks ---- */

VEC void decode_q2_k(const uint8_t *in, int64_t n, float *dst)
{
    const struct ht__q2_k_block *block = (const void *)in;
    for (int64_t b = 0; b < n / HT__K; b++, block++, dst += HT__K) {
        float d = float_of(&block->d), dmin = float_of(&block->dmin);
        for (int g = 0; g < 8; g++) {
            float scales[2], mins[2];
            for (int h = 0; h < 2; h++) {
                scales[h] = d * (float)(block->scales[2 * g + h] & 15);
                mins[h] = dmin * (float)(block->scales[2 * g + h] >> 4);
            }
            put32(bits_of(load32(block->qs + 32 * (g / 4)), 2 * (g % 4), 3), scales, MINUS, mins, dst + 32 * g);
        }
    }
}

VEC void decode_q3_k(const uint8_t *in, int64_t n, float *dst)
{
    const struct ht__q3_k_block *block = (const void *)in;
    for (int64_t b = 0; b < n / HT__K; b++, block++, dst += HT__K) {
        float d = float_of(&block->d);
        int s[16];
        ht__q3_k_unpack_scales(block->scales, s);
        for (int g = 0; g < 8; g++) {
            __m256i low = bits_of(load32(block->qs + 32 * (g / 4)), 2 * (g % 4), 3);
            __m256i codes = less(_mm256_or_si256(low, moved_bits(load32(block->hmask), g, 1, 2)), 4);
            float scales[2] = {d * (float)(s[2 * g] - 32), d * (float)(s[2 * g + 1] - 32)};
            put32(codes, scales, NO_MIN, NULL, dst + 32 * g);
        }
    }
}

/* Two sub-blocks of 32 in the low and high nibbles of 32 bytes; `high`: with fifth bits. */
VEC void put_k_affine(const uint8_t *qs, const uint8_t *high, int g, const float *scales, const float *mins, float *dst)
{
    for (int h = 0; h < 2; h++) {
        __m256i codes = bits_of(load32(qs + 32 * g), 4 * h, 15);
        float s = scales[2 * g + h], m = mins[2 * g + h];
        if (high) codes = _mm256_or_si256(codes, moved_bits(load32(high), 2 * g + h, 1, 4));
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
        float d = float_of(&block->d);
        for (int g = 0; g < 8; g++) {
            int h = g / 4, k = g % 4;
            __m256i low = bits_of(load32(block->ql + 64 * h + 32 * (k & 1)), 4 * (k / 2), 15);
            __m256i high = moved_bits(load32(block->qh + 32 * h), 2 * k, 3, 4);
            float scales[2] = {d * (float)block->scales[2 * g], d * (float)block->scales[2 * g + 1]};
            put32(less(_mm256_or_si256(low, high), 32), scales, NO_MIN, NULL, dst + 32 * g);
        }
    }
}

VEC void decode_tq2_0(const uint8_t *in, int64_t n, float *dst)
{
    for (int64_t b = 0; b < n / 256; b++, in += 66, dst += 256)
        for (int g = 0; g < 8; g++)
            put_scaled(less(bits_of(load32(in + 32 * (g / 4)), 2 * (g % 4), 3), 1), float_of(in + 64), dst + 32 * g);
}

#define DECODER(id, level)                                                                                             \
    void ht__##id##_decode_##level(const void *src, int64_t n_weights, float *dst)                                     \
    {                                                                                                                  \
        decode_##id(src, n_weights, dst);                                                                              \
    }
