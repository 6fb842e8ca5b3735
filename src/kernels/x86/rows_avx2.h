/* Eight rows of a matrix in lanes, integers: a vector holds one dword of each. See rows_avx512.h
 * for the same names. */
#ifndef HT_KERNELS_ROWS_AVX2_H
#define HT_KERNELS_ROWS_AVX2_H

#include "kernels/x86/vec_avx2.h"

#include <string.h>

typedef __m256i vi;

struct rows {
    const uint8_t *at[VL];
};

VEC vi i_zero(void)
{
    return _mm256_setzero_si256();
}
VEC vi i_set8(int a)
{
    return _mm256_set1_epi8((char)a);
}
VEC vi i_set32(int a)
{
    return _mm256_set1_epi32(a);
}
VEC vi i_and(vi a, vi b)
{
    return _mm256_and_si256(a, b);
}
VEC vi i_or(vi a, vi b)
{
    return _mm256_or_si256(a, b);
}
VEC vi i_xor(vi a, vi b)
{
    return _mm256_xor_si256(a, b);
}
VEC vi i_add8(vi a, vi b)
{
    return _mm256_add_epi8(a, b);
}
VEC vi i_sub8(vi a, vi b)
{
    return _mm256_sub_epi8(a, b);
}
VEC vi i_shl(vi a, int n)
{
    return _mm256_slli_epi32(a, n);
}
VEC vi i_shr(vi a, int n)
{
    return _mm256_srli_epi32(a, n);
}
VEC vi i_sar(vi a, int n)
{
    return _mm256_srai_epi32(a, n);
}
VEC vi i_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
VEC vi i_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}
VEC vi i_sub(vi a, vi b)
{
    return _mm256_sub_epi32(a, b);
}
VEC vf i_floats(vi a)
{
    return _mm256_cvtepi32_ps(a);
}
VEC vf i_as_floats(vi a)
{
    return _mm256_castsi256_ps(a);
}
VEC vi i_as_bits(vf a)
{
    return _mm256_castps_si256(a);
}
/* The half in the low 16 bits of each dword. */
VEC vf i_halves(vi a)
{
    a = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)));
}
/* Ones in bytes that are not below `least`, without sign. */
VEC vi i_not_below8(vi a, int least)
{
    __m256i is = _mm256_cmpeq_epi8(_mm256_max_epu8(a, _mm256_set1_epi8((char)least)), a);
    return _mm256_and_si256(is, _mm256_set1_epi8(1));
}
/* Entry of sixteen bytes for each byte 0 … 15. */
VEC vi i_lookup(const void *table, vi a)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)), a);
}
/* Byte i is 255 where bit i of the dword is set, i < 4. */
VEC vi i_masks(vi a)
{
    const __m256i low = _mm256_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12, 0, 0, 0, 0, 4, 4, 4, 4, 8,
                                         8, 8, 8, 12, 12, 12, 12);
    const __m256i bit = _mm256_set1_epi32(0x08040201);
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(a, low), bit), bit);
}
/* Dwords at base + 4 * index, base + 8 * index */
VEC vi i_gather4(const void *base, vi index)
{
    return _mm256_i32gather_epi32((const int *)base, index, 4);
}
VEC vi i_gather8(const void *base, vi index)
{
    return _mm256_i32gather_epi32((const int *)base, index, 8);
}

/* Dword j of eight rows of 32 bytes goes to out[j]. */
VEC void turn32(const struct rows *r, size_t offset, vi out[8])
{
    __m256i a[8], t[8];
    for (int i = 0; i < 4; i++) { /* halves of rows i and i + 4 side by side */
        __m256i p = _mm256_loadu_si256((const __m256i *)(r->at[i] + offset));
        __m256i q = _mm256_loadu_si256((const __m256i *)(r->at[i + 4] + offset));
        a[i] = _mm256_permute2x128_si256(p, q, 0x20);
        a[i + 4] = _mm256_permute2x128_si256(p, q, 0x31);
    }
    for (int i = 0; i < 8; i += 4) {
        t[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
        t[i + 2] = _mm256_unpacklo_epi32(a[i + 2], a[i + 3]);
        t[i + 3] = _mm256_unpackhi_epi32(a[i + 2], a[i + 3]);
        out[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        out[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        out[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        out[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
}

VEC void turn64(const struct rows *r, size_t offset, vi out[16])
{
    turn32(r, offset, out);
    turn32(r, offset + 32, out + 8);
}

VEC void turn16(const struct rows *r, size_t offset, vi out[4])
{
    __m256i a[4];
    for (int i = 0; i < 4; i++) {
        __m128i p = _mm_loadu_si128((const __m128i *)(r->at[i] + offset));
        a[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(p),
                                       _mm_loadu_si128((const __m128i *)(r->at[i + 4] + offset)), 1);
    }
    __m256i p = _mm256_unpacklo_epi32(a[0], a[1]), q = _mm256_unpackhi_epi32(a[0], a[1]);
    __m256i s = _mm256_unpacklo_epi32(a[2], a[3]), u = _mm256_unpackhi_epi32(a[2], a[3]);
    out[0] = _mm256_unpacklo_epi64(p, s);
    out[1] = _mm256_unpackhi_epi64(p, s);
    out[2] = _mm256_unpacklo_epi64(q, u);
    out[3] = _mm256_unpackhi_epi64(q, u);
}

/* A half of each row. */
VEC vf halves(const struct rows *r, size_t offset)
{
    uint16_t h[VL];
    for (int i = 0; i < VL; i++)
        memcpy(&h[i], r->at[i] + offset, 2);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h));
}

/* A dword of each row. */
VEC vi words(const struct rows *r, size_t offset)
{
    uint32_t h[VL];
    for (int i = 0; i < VL; i++)
        memcpy(&h[i], r->at[i] + offset, 4);
    return _mm256_loadu_si256((const __m256i *)h);
}

#endif
