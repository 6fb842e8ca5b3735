/* Packing of 32 codes, a byte each, into nibbles. */
#ifndef HT_KERNELS_NIBBLES_H
#define HT_KERNELS_NIBBLES_H

#include <immintrin.h>
#include <stdint.h>

#define NIBBLES static inline __attribute__((always_inline))

/* Element i < 16 in the low half of byte i, element 16 + i in the high one. */
NIBBLES void pack_nibbles(__m256i codes, uint8_t out[16])
{
    codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
    __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(codes, 1), 4);
    _mm_storeu_si128((__m128i *)out, _mm_or_si128(_mm256_castsi256_si128(codes), high));
}

/* Each sixteen for itself: element i < 8 in the low half of byte i, element 8 + i in the high one. */
NIBBLES void pack_nibbles_16(__m256i codes, uint8_t out[16])
{
    codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
    codes = _mm256_or_si256(codes, _mm256_slli_epi16(_mm256_srli_si256(codes, 8), 4));
    codes = _mm256_permute4x64_epi64(codes, 0x08);
    _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(codes));
}

/* The fifth bit of each code, of element 0 in bit 0. */
NIBBLES uint32_t fifth_bits(__m256i codes)
{
    return (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(codes, 3));
}

#endif
