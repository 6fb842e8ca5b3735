/* Q8_0, TQ1_0 and TQ2_0, which round to the nearest without a search: included by rounded_<level>.c after
 * vec_<level>.h. */
#include "kernels/codec.h"
#include "kernels/half.h"
#include "kernels/x86/blocks_tmpl.h"

#include <string.h>

enum { Q8_LEN = 32, Q8_SIZE = 34, SUPER = 256, TQ1_SIZE = 54, TQ2_SIZE = 66 };

/* 32 weights times `inverse`, rounded with halves away from zero: the low bytes. */
VEC __m256i rounded32(const float *x, float inverse)
{
    vf v[32 / VL];
    for (int i = 0; i < 32 / VL; i++)
        v[i] = before_truncation(v_mul(v_load(x + i * VL), v_set(inverse)));
    return v_bytes32(v);
}

VEC void encode_q8(const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += Q8_LEN, out += Q8_SIZE) {
        float d = block_amax(src, Q8_LEN) / 127, inverse = d != 0 ? 1.0f / d : 0;
        ht__store_u16(out, half_of(d));
        _mm256_storeu_si256((__m256i *)(out + 2), rounded32(src, inverse));
    }
}

/* The trits of a super-block as bytes 0..2; its scale. */
VEC float trits_of(const float *src, __m256i trits[8])
{
    float d = block_amax(src, SUPER), inverse = d != 0 ? 1.0f / d : 0;
    for (int g = 0; g < 8; g++)
        trits[g] = _mm256_add_epi8(rounded32(src + 32 * g, inverse), _mm256_set1_epi8(1));
    return d;
}

VEC void encode_tq2(const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += SUPER, out += TQ2_SIZE) {
        __m256i t[8];
        ht__store_u16(out + 64, half_of(trits_of(src, t)));
        for (int h = 0; h < 2; h++, t[0] = t[4], t[1] = t[5], t[2] = t[6], t[3] = t[7]) {
            __m256i low = _mm256_or_si256(t[0], _mm256_slli_epi16(t[1], 2));
            __m256i high = _mm256_or_si256(_mm256_slli_epi16(t[2], 4), _mm256_slli_epi16(t[3], 6));
            _mm256_storeu_si256((__m256i *)(out + 32 * h), _mm256_or_si256(low, high));
        }
    }
}

VEC __m256i times3(__m256i q)
{
    return _mm256_add_epi8(q, _mm256_add_epi8(q, q));
}

/* (256 q + 242) / 243 = q + (13 q + 242) / 243 of every byte q <= 242. The quotient of t <= 3388 by 243 is
 * t * 4316 >> 20: 4316 * 243 = 2^20 + 212, and 3388 * 212 / 2^20 < 1. */
VEC __m256i spread_trits(__m256i q)
{
    const __m256i thirteen = _mm256_set1_epi16(13), more = _mm256_set1_epi16(242), magic = _mm256_set1_epi16(4316);
    __m256i even = _mm256_and_si256(q, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(q, 8);
    even = _mm256_mulhi_epu16(_mm256_add_epi16(_mm256_mullo_epi16(even, thirteen), more), magic);
    odd = _mm256_mulhi_epu16(_mm256_add_epi16(_mm256_mullo_epi16(odd, thirteen), more), magic);
    even = _mm256_srli_epi16(even, 4);
    odd = _mm256_slli_epi16(_mm256_srli_epi16(odd, 4), 8);
    return _mm256_add_epi8(q, _mm256_or_si256(even, odd));
}

/* Bytes 32..51 hold elements 160..255: sixteen of five trits 16 apart, then four of four trits 4 apart. Eighty of
 * the first and sixteen of the last are put side by side, so that one Horner scheme does both. */
VEC void put_tq1_rest(const __m256i trits[8], uint8_t *out)
{
    uint8_t all[96], lined[5][32] = {{0}};
    for (int g = 0; g < 3; g++)
        _mm256_storeu_si256((__m256i *)(all + 32 * g), trits[5 + g]);
    for (int n = 0; n < 5; n++) {
        memcpy(lined[n], all + 16 * n, 16);
        if (n < 4) memcpy(lined[n] + 16, all + 80 + 4 * n, 4);
    }
    __m256i q = _mm256_loadu_si256((const __m256i *)lined[0]);
    for (int n = 1; n < 5; n++)
        q = _mm256_add_epi8(times3(q), _mm256_loadu_si256((const __m256i *)lined[n]));
    q = spread_trits(q);
    _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(q));
    int last = _mm_cvtsi128_si32(_mm256_extracti128_si256(q, 1));
    memcpy(out + 16, &last, sizeof last);
}

VEC void encode_tq1(const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += SUPER, out += TQ1_SIZE) {
        __m256i t[8];
        ht__store_u16(out + 52, half_of(trits_of(src, t)));
        __m256i q = t[0];
        for (int n = 1; n < 5; n++)
            q = _mm256_add_epi8(times3(q), t[n]);
        _mm256_storeu_si256((__m256i *)out, spread_trits(q));
        put_tq1_rest(t, out + 32);
    }
}
