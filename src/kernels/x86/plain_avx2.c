/* F16, BF16 and 8-bit floats at this level: see plain_tmpl.h. */
#include "kernels/x86/vec_avx2.h"
#include "kernels/x86/plain_tmpl.h"

VEC void put_f16(uint8_t *out, vf x)
{
    _mm_storeu_si128((__m128i *)out, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

VEC vf get_f16(const uint8_t *in)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)in));
}

/* Nearest, ties to even; NaN keeps its upper bits and becomes quiet. */
VEC void put_bf16(uint8_t *out, vf x)
{
    __m256i bits = _mm256_castps_si256(x), half = _mm256_srli_epi32(bits, 16);
    __m256i odd = _mm256_and_si256(half, _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(half, _mm256_set1_epi32(64));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    half = _mm256_blendv_epi8(_mm256_srli_epi32(rounded, 16), quiet, nan);
    __m128i low = _mm256_castsi256_si128(half), high = _mm256_extracti128_si256(half, 1);
    _mm_storeu_si128((__m128i *)out, _mm_packus_epi32(low, high));
}

VEC vf get_bf16(const uint8_t *in)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)in));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* 8-bit floats go through halves: the same bits further up, and a factor where the bias is another. The codes whose
 * magnitude is above `top` are NaN. */
VEC vf through_half(__m128i codes, int shift, float factor, int top)
{
    __m128i magnitude = _mm_and_si128(codes, _mm_set1_epi16(0x7f));
    __m128i sign = _mm_slli_epi16(_mm_and_si128(codes, _mm_set1_epi16(0x80)), 8);
    vf x = _mm256_cvtph_ps(_mm_or_si128(sign, _mm_slli_epi16(magnitude, shift)));
    __m256i nan = _mm256_cvtepi16_epi32(_mm_cmpgt_epi16(magnitude, _mm_set1_epi16((short)top)));
    vf quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    return v_pick(v_mul(x, v_set(factor)), quiet, _mm256_castsi256_ps(nan));
}

VEC __m128i load_codes(const uint8_t *in)
{
    return _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)in));
}

VEC vf get_f8_e4m3(const uint8_t *in)
{
    return through_half(load_codes(in), 7, 256, 0x7e);
}

VEC vf get_f8_e5m2(const uint8_t *in)
{
    return through_half(load_codes(in), 8, 1, 0x7c);
}

ENCODER(f16, avx2)
ENCODER(bf16, avx2)
DECODER(f16, 2, avx2)
DECODER(bf16, 2, avx2)
DECODER(f8_e4m3, 1, avx2)
DECODER(f8_e5m2, 1, avx2)
