/* What the lattice template needs beside vec_avx2.h. See lattice_vec_avx512.h for the same names. */
#ifndef HT_KERNELS_LATTICE_VEC_AVX2_H
#define HT_KERNELS_LATTICE_VEC_AVX2_H

#include "kernels/x86/vec_avx2.h"

typedef __m256i vi;

VEC vi v_zero_int(void)
{
    return _mm256_setzero_si256();
}
VEC vi v_to_int(vf a)
{
    return _mm256_cvtps_epi32(a);
}
VEC vi v_load_int(const int32_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
VEC void v_store_int(int32_t *p, vi a)
{
    _mm256_storeu_si256((__m256i *)p, a);
}
VEC void v_store_int_where(int32_t *p, vi a, vm m)
{
    _mm256_maskstore_epi32(p, _mm256_castps_si256(m), a);
}
VEC vi v_gather(const int32_t *table, vi index)
{
    return _mm256_i32gather_epi32(table, index, 4);
}
VEC vm v_less_int(vi a, int32_t b)
{
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(b), a));
}

/* The numbers of these lanes, plus base, as bytes; writes VL of them and gives how many count. */
VEC int v_put_lanes(uint8_t *p, unsigned lanes, int base)
{
    const uint64_t each = 0x0101010101010101, numbers = 0x0706050403020100 + each * (unsigned)base;
    uint64_t bytes = _pext_u64(numbers, _pdep_u64(lanes, each) * 255);
    __builtin_memcpy(p, &bytes, sizeof bytes);
    return __builtin_popcount(lanes);
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

/* Digits by permutes over whole vectors (four weights, three bits) or within 128 bits (eight
 * weights, two bits). */
VEC __m256 odd_values(int dim)
{
    return dim == 4 ? _mm256_setr_ps(1, 3, 5, 7, 9, 11, 13, 15) : _mm256_setr_ps(1, 3, 5, 7, 1, 3, 5, 7);
}

VEC __m256 look_up(int dim, __m256 errors, __m256i digits)
{
    return dim == 4 ? _mm256_permutevar8x32_ps(errors, digits) : _mm256_permutevar_ps(errors, digits);
}

/* The code of the list's nearest neighbour; dim weights and the square roots of their weights. */
VEC int32_t nearest(int dim, const uint16_t *list, const float *x, const float *root, float scale)
{
    __m256 values = _mm256_mul_ps(_mm256_set1_ps(scale), odd_values(dim)), e[8];
    for (int d = 0; d < dim; d++)
        e[d] = errors_of(values, x[d], root[d]);
    float best = 3.4e38f;
    int32_t found = 0;
    for (int j = 1; j <= list[0]; j += 8) {
        __m256i code = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(list + j)));
        __m256 distance = look_up(dim, e[0], code);
        for (int d = 1; d < dim; d++) {
            __m256i digits = _mm256_srli_epi32(code, (dim == 4 ? 3 : 2) * d);
            distance = _mm256_add_ps(distance, look_up(dim, e[d], digits));
        }
        keep_nearest(distance, list + j, &best, &found);
    }
    return found;
}

struct lattice_query {
    const uint16_t *list; /* of up to eight */
    const float *x, *root;
    float scale;
    int32_t *found;
};

VEC void nearest_two(int dim, struct lattice_query a, struct lattice_query b)
{
    *a.found = nearest(dim, a.list, a.x, a.root, a.scale);
    if (b.found != a.found) *b.found = nearest(dim, b.list, b.x, b.root, b.scale);
}

#endif
