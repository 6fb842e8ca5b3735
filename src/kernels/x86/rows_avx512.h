/* Sixteen rows of a matrix in lanes, integers: see rows_avx2.h for the same names. */
#ifndef HT_KERNELS_ROWS_AVX512_H
#define HT_KERNELS_ROWS_AVX512_H

#include "kernels/x86/vec_avx512.h"

#include <string.h>

typedef __m512i vi;

struct rows {
    const uint8_t *at[VL];
};

VEC vi i_zero(void)
{
    return _mm512_setzero_si512();
}
VEC vi i_set8(int a)
{
    return _mm512_set1_epi8((char)a);
}
VEC vi i_set32(int a)
{
    return _mm512_set1_epi32(a);
}
VEC vi i_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
VEC vi i_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}
VEC vi i_xor(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}
VEC vi i_add8(vi a, vi b)
{
    return _mm512_add_epi8(a, b);
}
VEC vi i_sub8(vi a, vi b)
{
    return _mm512_sub_epi8(a, b);
}
VEC vi i_shl(vi a, int n)
{
    return _mm512_slli_epi32(a, (unsigned)n);
}
VEC vi i_shr(vi a, int n)
{
    return _mm512_srli_epi32(a, (unsigned)n);
}
VEC vi i_sar(vi a, int n)
{
    return _mm512_srai_epi32(a, (unsigned)n);
}
VEC vi i_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
VEC vi i_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
VEC vi i_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}
VEC vf i_floats(vi a)
{
    return _mm512_cvtepi32_ps(a);
}
VEC vf i_as_floats(vi a)
{
    return _mm512_castsi512_ps(a);
}
VEC vi i_as_bits(vf a)
{
    return _mm512_castps_si512(a);
}
/* The half in the low 16 bits of each dword. */
VEC vf i_halves(vi a)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a));
}
/* Ones in bytes that are not below `least`, without sign. */
VEC vi i_not_below8(vi a, int least)
{
    return _mm512_maskz_set1_epi8(_mm512_cmpge_epu8_mask(a, _mm512_set1_epi8((char)least)), 1);
}
/* Entry of sixteen bytes for each byte 0 … 15. */
VEC vi i_lookup(const void *table, vi a)
{
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)), a);
}
/* Byte i is 255 where bit i of the dword is set, i < 4. */
VEC vi i_masks(vi a)
{
    const __m512i four = _mm512_setr_epi32(0, 0xff, 0xff00, 0xffff, 0xff0000, 0xff00ff, 0xffff00, 0xffffff,
                                           (int)0xff000000, (int)0xff0000ff, (int)0xff00ff00, (int)0xff00ffff,
                                           (int)0xffff0000, (int)0xffff00ff, (int)0xffffff00, -1);
    return _mm512_permutexvar_epi32(a, four); /* takes the low four bits */
}
/* Dwords at base + 4 * index, base + 8 * index */
VEC vi i_gather4(const void *base, vi index)
{
    return _mm512_i32gather_epi32(index, base, 4);
}
VEC vi i_gather8(const void *base, vi index)
{
    return _mm512_i32gather_epi32(index, base, 8);
}

/* Dword j of sixteen rows of 64 bytes goes to out[j]. */
VEC void turn64(const struct rows *r, size_t offset, vi out[16])
{
    __m512i a[16], t[16];
    for (int i = 0; i < 16; i++)
        a[i] = _mm512_loadu_si512(r->at[i] + offset);
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            a[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            a[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
        }
    for (int j = 0; j < 4; j++) {
        __m512i p = _mm512_shuffle_i32x4(a[j], a[4 + j], 0x88), q = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0x88);
        __m512i s = _mm512_shuffle_i32x4(a[j], a[4 + j], 0xdd), u = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0xdd);
        out[j] = _mm512_shuffle_i32x4(p, q, 0x88);
        out[8 + j] = _mm512_shuffle_i32x4(p, q, 0xdd);
        out[4 + j] = _mm512_shuffle_i32x4(s, u, 0x88);
        out[12 + j] = _mm512_shuffle_i32x4(s, u, 0xdd);
    }
}

/* The same of 32 bytes: eight dwords. */
VEC void turn32(const struct rows *r, size_t offset, vi out[8])
{
    __m512i a[8], t[8];
    for (int i = 0; i < 8; i++) { /* rows i and i + 4 in halves, for the first eight rows and for the last */
        int row = i / 4 * 8 + i % 4;
        __m256i low = _mm256_loadu_si256((const __m256i *)(r->at[row] + offset));
        a[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low),
                                  _mm256_loadu_si256((const __m256i *)(r->at[row + 4] + offset)), 1);
    }
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            a[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            a[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
        }
    for (int j = 0; j < 4; j++) {
        out[j] = _mm512_shuffle_i32x4(a[j], a[4 + j], 0x88);
        out[4 + j] = _mm512_shuffle_i32x4(a[j], a[4 + j], 0xdd);
    }
}

/* The same of 16 bytes: four dwords. */
VEC void turn16(const struct rows *r, size_t offset, vi out[4])
{
    __m512i a[4], t[4];
    for (int i = 0; i < 4; i++) {
        __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(r->at[i] + offset)));
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(r->at[4 + i] + offset)), 1);
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(r->at[8 + i] + offset)), 2);
        a[i] = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(r->at[12 + i] + offset)), 3);
    }
    for (int i = 0; i < 2; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for (int j = 0; j < 2; j++) {
        out[2 * j] = _mm512_unpacklo_epi64(t[j], t[2 + j]);
        out[2 * j + 1] = _mm512_unpackhi_epi64(t[j], t[2 + j]);
    }
}

/* A half of each row. */
VEC vf halves(const struct rows *r, size_t offset)
{
    uint16_t h[VL];
    for (int i = 0; i < VL; i++)
        memcpy(&h[i], r->at[i] + offset, 2);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)h));
}

/* A dword of each row. */
VEC vi words(const struct rows *r, size_t offset)
{
    uint32_t h[VL];
    for (int i = 0; i < VL; i++)
        memcpy(&h[i], r->at[i] + offset, 4);
    return _mm512_loadu_si512(h);
}

#endif
