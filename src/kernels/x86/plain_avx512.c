/* F16, BF16 and 8-bit floats at this level: see plain_tmpl.h. */
#include "kernels/x86/vec_avx512.h"
#include "kernels/x86/plain_tmpl.h"

VEC void put_f16(uint8_t *out, vf x)
{
    _mm256_storeu_si256((__m256i *)out, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

VEC vf get_f16(const uint8_t *in)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)in));
}

/* Nearest, ties to even; NaN keeps its upper bits and becomes quiet. (The instruction for it would take subnormal
 * numbers for zeros.) */
VEC void put_bf16(uint8_t *out, vf x)
{
    __m512i bits = _mm512_castps_si512(x), half = _mm512_srli_epi32(bits, 16);
    __m512i odd = _mm512_and_si512(half, _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __m512i quiet = _mm512_or_si512(half, _mm512_set1_epi32(64));
    vm nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    half = _mm512_mask_mov_epi32(_mm512_srli_epi32(rounded, 16), nan, quiet);
    _mm256_storeu_si256((__m256i *)out, _mm512_cvtepi32_epi16(half));
}

VEC vf get_bf16(const uint8_t *in)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)in));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* 8-bit floats go through halves: the same bits further up, and a factor where the bias is another. The codes whose
 * magnitude is above `top` are NaN. */
VEC vf through_half(__m256i codes, int shift, float factor, int top)
{
    __m256i magnitude = _mm256_and_si256(codes, _mm256_set1_epi16(0x7f));
    __m256i sign = _mm256_slli_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(0x80)), 8);
    vf x = _mm512_cvtph_ps(_mm256_or_si256(sign, _mm256_slli_epi16(magnitude, shift)));
    vm nan = _mm256_cmpgt_epi16_mask(magnitude, _mm256_set1_epi16((short)top));
    return v_pick(v_mul(x, v_set(factor)), _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)), nan);
}

VEC __m256i load_codes(const uint8_t *in)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)in));
}

VEC vf get_f8_e4m3(const uint8_t *in)
{
    return through_half(load_codes(in), 7, 256, 0x7e);
}

VEC vf get_f8_e5m2(const uint8_t *in)
{
    return through_half(load_codes(in), 8, 1, 0x7c);
}

ENCODER(f16, avx512)
ENCODER(bf16, avx512)
DECODER(f16, 2, avx512)
DECODER(bf16, 2, avx512)
DECODER(f8_e4m3, 1, avx512)
DECODER(f8_e5m2, 1, avx512)
