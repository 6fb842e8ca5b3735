/* 32 bytes at a time, for the templates: included by vec_<level>.h. See ../arm/bytes_neon.h for the same names. */
#ifndef HT_KERNELS_BYTES_X86_H
#define HT_KERNELS_BYTES_X86_H

typedef __m256i vb;

VEC vb b_load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

VEC void b_store(uint8_t *p, vb a)
{
    _mm256_storeu_si256((__m256i *)p, a);
}

VEC vb b_set(int a)
{
    return _mm256_set1_epi8((char)a);
}

VEC vb b_or(vb a, vb b)
{
    return _mm256_or_si256(a, b);
}

VEC vb b_add(vb a, vb b)
{
    return _mm256_add_epi8(a, b);
}

VEC vb b_sub(vb a, vb b)
{
    return _mm256_sub_epi8(a, b);
}

/* Of bytes with a sign. */
VEC vb b_min(vb a, vb b)
{
    return _mm256_min_epi8(a, b);
}

/* Bits `shift` on of every byte, as many as `mask` has. */
VEC vb b_bits(vb bytes, int shift, int mask)
{
    return _mm256_and_si256(_mm256_srli_epi16(bytes, shift), _mm256_set1_epi8((char)mask));
}

/* Every byte moved up; none loses a bit. */
VEC vb b_up(vb bytes, int shift)
{
    return _mm256_slli_epi16(bytes, shift);
}

/* Sixteen bytes: their low nibbles, then their high ones. */
VEC vb b_nibbles(const uint8_t *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* The same of each eight bytes for itself. */
VEC vb b_nibbles_16(const uint8_t *p)
{
    return _mm256_permute4x64_epi64(b_nibbles(p), 0xd8);
}

/* Element i < 16 in the low half of byte i, element 16 + i in the high one. */
VEC void b_pack_nibbles(vb codes, uint8_t out[16])
{
    codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
    __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(codes, 1), 4);
    _mm_storeu_si128((__m128i *)out, _mm_or_si128(_mm256_castsi256_si128(codes), high));
}

/* Each sixteen for itself: element i < 8 in the low half of byte i, element 8 + i in the high one. */
VEC void b_pack_nibbles_16(vb codes, uint8_t out[16])
{
    codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
    codes = _mm256_or_si256(codes, _mm256_slli_epi16(_mm256_srli_si256(codes, 8), 4));
    codes = _mm256_permute4x64_epi64(codes, 0x08);
    _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(codes));
}

/* The fifth bit of each code, of element 0 in bit 0. */
VEC uint32_t b_fifth_bits(vb codes)
{
    return (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(codes, 3));
}

/* 32 bits, each as 16 in its byte. */
VEC vb b_fifth_bits_of(uint32_t bits)
{
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3,
                                            3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i bytes = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(bytes, bit), _mm256_set1_epi8(16));
}

/* Entry of the table for each code 0 … 15. */
VEC vb b_lookup(vb codes, const int8_t table[16])
{
    __m128i t = _mm_loadu_si128((const __m128i *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), codes);
}

/* 32 codes of two bits in eight bytes, in order. */
VEC void b_put_crumbs(vb codes, uint8_t *out)
{
    __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x0401));
    __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00100001));
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
    _mm_storel_epi64((__m128i *)out, _mm_packus_epi16(words, words));
}

/* (256 q + 242) / 243 = q + (13 q + 242) / 243 of every byte q <= 242. The quotient of t <= 3388 by 243 is
 * t * 4316 >> 20: 4316 * 243 = 2^20 + 212, and 3388 * 212 / 2^20 < 1. */
VEC vb b_spread_trits(vb q)
{
    const __m256i thirteen = _mm256_set1_epi16(13), more = _mm256_set1_epi16(242), magic = _mm256_set1_epi16(4316);
    __m256i even = _mm256_and_si256(q, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(q, 8);
    even = _mm256_mulhi_epu16(_mm256_add_epi16(_mm256_mullo_epi16(even, thirteen), more), magic);
    odd = _mm256_mulhi_epu16(_mm256_add_epi16(_mm256_mullo_epi16(odd, thirteen), more), magic);
    even = _mm256_srli_epi16(even, 4);
    odd = _mm256_slli_epi16(_mm256_srli_epi16(odd, 4), 8);
    return _mm256_add_epi8(q, _mm256_or_si256(even, odd));
}

/* Signed bytes as floats. */
VEC void v_floats32(vb bytes, vf out[32 / VL])
{
    v_floats16(_mm256_castsi256_si128(bytes), out);
    v_floats16(_mm256_extracti128_si256(bytes, 1), out + 16 / VL);
}

/* As ht__f32_to_f16 and ht__f16_to_f32, by the instruction. */
VEC uint16_t half_of(float x)
{
    return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
}

VEC float float_of(uint16_t half)
{
    return _cvtsh_ss(half);
}

#endif
