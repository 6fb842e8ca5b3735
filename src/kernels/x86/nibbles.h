/* Packing of 32 codes into nibbles: element i < 16 in the low one of byte i, element 16 + i in the high one. */
#ifndef HT_KERNELS_NIBBLES_H
#define HT_KERNELS_NIBBLES_H

#include <immintrin.h>
#include <stdint.h>

static inline __attribute__((always_inline)) void pack_nibbles(const uint8_t codes[32], uint8_t out[16])
{
    const __m128i low_bits = _mm_set1_epi8(15);
    __m128i low = _mm_and_si128(_mm_loadu_si128((const __m128i *)codes), low_bits);
    __m128i high = _mm_and_si128(_mm_loadu_si128((const __m128i *)(codes + 16)), low_bits);
    _mm_storeu_si128((__m128i *)out, _mm_or_si128(low, _mm_slli_epi16(high, 4)));
}

/* The fifth bit of each code, of element 0 in bit 0. */
static inline __attribute__((always_inline)) uint32_t fifth_bits(const uint8_t codes[32])
{
    __m256i all = _mm256_loadu_si256((const __m256i *)codes);
    return (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(all, 3));
}

#endif
