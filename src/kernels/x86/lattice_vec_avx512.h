/* What the lattice template needs beside vec_avx512.h. See lattice_vec_avx2.h for the same names. */
#ifndef HT_KERNELS_LATTICE_VEC_AVX512_H
#define HT_KERNELS_LATTICE_VEC_AVX512_H

#include "kernels/x86/vec_avx512.h"

typedef __m512i vi;

VEC vi v_zero_int(void) { return _mm512_setzero_si512(); }
VEC vi v_to_int(vf a) { return _mm512_cvtps_epi32(a); }
VEC vi v_load_int(const int32_t *p) { return _mm512_loadu_si512(p); }
VEC void v_store_int(int32_t *p, vi a) { _mm512_storeu_si512(p, a); }
VEC void v_store_int_where(int32_t *p, vi a, vm m) { _mm512_mask_storeu_epi32(p, m, a); }
VEC vi v_gather(const int32_t *table, vi index) { return _mm512_i32gather_epi32(index, table, 4); }
VEC unsigned v_negative(vi a) { return _mm512_movepi32_mask(a); }
VEC vm v_mask(unsigned bits) { return (vm)bits; }

/* Bit i: weight i is below zero. */
VEC unsigned v_sign_bits8(const float *x)
{
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_setzero_ps(), _CMP_LT_OQ));
}

/* Whole numbers modulo 256. */
VEC vf v_wrap_to_byte(vf a)
{
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_cvtps_epi32(a), _mm512_set1_epi32(255)));
}

/* 2l + 1 of the digit l at this bit. Permutes look at four bits or two of an index; tables repeat for the rest. */
VEC vf v_odd_of_three_bits(vi code, int shift)
{
    const __m512 odd = _mm512_setr_ps(1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm512_permutexvar_ps(_mm512_srli_epi32(code, (unsigned)shift), odd);
}

VEC vf v_odd_of_two_bits(vi code, int shift)
{
    const __m512 odd = _mm512_broadcast_f32x4(_mm_setr_ps(1, 3, 5, 7));
    return _mm512_permutevar_ps(odd, _mm512_srli_epi32(code, (unsigned)shift));
}

VEC __m512 errors_of(__m512 values, float x, float root)
{
    __m512 diff = _mm512_sub_ps(values, _mm512_set1_ps(x));
    return _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(root), diff), diff);
}

/* Keeps the first of the smallest. */
VEC void keep_nearest(__m512 distance, const uint16_t *codes, float *best, int32_t *found)
{
    __m512 m = _mm512_min_ps(distance, _mm512_shuffle_f32x4(distance, distance, 0x4e));
    m = _mm512_min_ps(m, _mm512_shuffle_f32x4(m, m, 0xb1));
    m = _mm512_min_ps(m, _mm512_permute_ps(m, 0x4e));
    m = _mm512_min_ps(m, _mm512_permute_ps(m, 0xb1));
    float least = _mm512_cvtss_f32(m);
    if (least < *best) {
        *best = least;
        *found = codes[__builtin_ctz(_mm512_cmpeq_ps_mask(distance, m))];
    }
}

VEC int32_t nearest4(const uint16_t *list, const float *x, const float *root, float scale)
{
    const __m512 odd = _mm512_setr_ps(1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15);
    __m512 values = _mm512_mul_ps(_mm512_set1_ps(scale), odd), e[4];
    for (int d = 0; d < 4; d++)
        e[d] = errors_of(values, x[d], root[d]);
    float best = 3.4e38f;
    int32_t found = 0;
    for (int j = 1; j <= list[0]; j += 16) {
        __m512i code = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(list + j)));
        __m512 distance = _mm512_permutexvar_ps(code, e[0]);
        for (int d = 1; d < 4; d++)
            distance = _mm512_add_ps(distance, _mm512_permutexvar_ps(_mm512_srli_epi32(code, 3 * (unsigned)d), e[d]));
        keep_nearest(distance, list + j, &best, &found);
    }
    return found;
}

VEC int32_t nearest8(const uint16_t *list, const float *x, const float *root, float scale)
{
    const __m512 odd = _mm512_broadcast_f32x4(_mm_setr_ps(1, 3, 5, 7));
    __m512 values = _mm512_mul_ps(_mm512_set1_ps(scale), odd), e[8];
    for (int d = 0; d < 8; d++)
        e[d] = errors_of(values, x[d], root[d]);
    float best = 3.4e38f;
    int32_t found = 0;
    for (int j = 1; j <= list[0]; j += 16) {
        __m512i code = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(list + j)));
        __m512 distance = _mm512_permutevar_ps(e[0], code);
        for (int d = 1; d < 8; d++)
            distance = _mm512_add_ps(distance, _mm512_permutevar_ps(e[d], _mm512_srli_epi32(code, 2 * (unsigned)d)));
        keep_nearest(distance, list + j, &best, &found);
    }
    return found;
}

#endif
