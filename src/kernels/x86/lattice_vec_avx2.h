/* What the lattice template needs beside vec_avx2.h. See lattice_vec_avx512.h for the same names. */
#ifndef HT_KERNELS_LATTICE_VEC_AVX2_H
#define HT_KERNELS_LATTICE_VEC_AVX2_H

#include "kernels/x86/vec_avx2.h"

typedef __m256i vi;

VEC vi v_zero_int(void) { return _mm256_setzero_si256(); }
VEC vi v_to_int(vf a) { return _mm256_cvtps_epi32(a); }
VEC vi v_load_int(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
VEC void v_store_int(int32_t *p, vi a) { _mm256_storeu_si256((__m256i *)p, a); }
VEC void v_store_int_where(int32_t *p, vi a, vm m) { _mm256_maskstore_epi32(p, _mm256_castps_si256(m), a); }
VEC vi v_gather(const int32_t *table, vi index) { return _mm256_i32gather_epi32(table, index, 4); }
VEC unsigned v_negative(vi a) { return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(a)); }
VEC vm v_mask(unsigned bits)
{
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), each), each));
}

/* Bit i: weight i is below zero. */
VEC unsigned v_sign_bits8(const float *x)
{
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_setzero_ps(), _CMP_LT_OQ));
}

/* Whole numbers modulo 256. */
VEC vf v_wrap_to_byte(vf a)
{
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_cvtps_epi32(a), _mm256_set1_epi32(255)));
}

/* 2l + 1 of the digit l at this bit. Permutes look at three bits or two of an index. */
VEC vf v_odd_of_three_bits(vi code, int shift)
{
    return _mm256_permutevar8x32_ps(_mm256_setr_ps(1, 3, 5, 7, 9, 11, 13, 15), _mm256_srli_epi32(code, shift));
}

VEC vf v_odd_of_two_bits(vi code, int shift)
{
    return _mm256_permutevar_ps(_mm256_setr_ps(1, 3, 5, 7, 1, 3, 5, 7), _mm256_srli_epi32(code, shift));
}

VEC __m256 errors_of(__m256 values, float x, float root)
{
    __m256 diff = _mm256_sub_ps(values, _mm256_set1_ps(x));
    return _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(root), diff), diff);
}

/* Keeps the first of the smallest. */
VEC void keep_nearest(__m256 distance, const uint16_t *codes, float *best, int32_t *found)
{
    __m256 m = _mm256_min_ps(distance, _mm256_permute2f128_ps(distance, distance, 1));
    m = _mm256_min_ps(m, _mm256_permute_ps(m, 0x4e));
    m = _mm256_min_ps(m, _mm256_permute_ps(m, 0xb1));
    float least = _mm256_cvtss_f32(m);
    if (least < *best) {
        *best = least;
        *found = codes[__builtin_ctz((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(distance, m, _CMP_EQ_OQ)))];
    }
}

VEC int32_t nearest4(const uint16_t *list, const float *x, const float *root, float scale)
{
    __m256 values = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_setr_ps(1, 3, 5, 7, 9, 11, 13, 15)), e[4];
    for (int d = 0; d < 4; d++)
        e[d] = errors_of(values, x[d], root[d]);
    float best = 3.4e38f;
    int32_t found = 0;
    for (int j = 1; j <= list[0]; j += 8) {
        __m256i code = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(list + j)));
        __m256 distance = _mm256_permutevar8x32_ps(e[0], code);
        for (int d = 1; d < 4; d++)
            distance = _mm256_add_ps(distance, _mm256_permutevar8x32_ps(e[d], _mm256_srli_epi32(code, 3 * d)));
        keep_nearest(distance, list + j, &best, &found);
    }
    return found;
}

VEC int32_t nearest8(const uint16_t *list, const float *x, const float *root, float scale)
{
    __m256 values = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_setr_ps(1, 3, 5, 7, 1, 3, 5, 7)), e[8];
    for (int d = 0; d < 8; d++)
        e[d] = errors_of(values, x[d], root[d]);
    float best = 3.4e38f;
    int32_t found = 0;
    for (int j = 1; j <= list[0]; j += 8) {
        __m256i code = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(list + j)));
        __m256 distance = _mm256_permutevar_ps(e[0], code);
        for (int d = 1; d < 8; d++)
            distance = _mm256_add_ps(distance, _mm256_permutevar_ps(e[d], _mm256_srli_epi32(code, 2 * d)));
        keep_nearest(distance, list + j, &best, &found);
    }
    return found;
}

#endif
