/* What the lattice template needs beside vec_avx512.h. See lattice_vec_avx2.h for the same names. */
#ifndef HT_KERNELS_LATTICE_VEC_AVX512_H
#define HT_KERNELS_LATTICE_VEC_AVX512_H

#include "kernels/x86/vec_avx512.h"

typedef __m512i vi;

VEC vi v_zero_int(void)
{
    return _mm512_setzero_si512();
}
VEC vi v_to_int(vf a)
{
    return _mm512_cvtps_epi32(a);
}
VEC vi v_load_int(const int32_t *p)
{
    return _mm512_loadu_si512(p);
}
VEC void v_store_int(int32_t *p, vi a)
{
    _mm512_storeu_si512(p, a);
}
VEC void v_store_int_where(int32_t *p, vi a, vm m)
{
    _mm512_mask_storeu_epi32(p, m, a);
}
VEC vi v_gather(const int32_t *table, vi index)
{
    return _mm512_i32gather_epi32(index, table, 4);
}
VEC vm v_less_int(vi a, int32_t b)
{
    return _mm512_cmplt_epi32_mask(a, _mm512_set1_epi32(b));
}

/* The numbers of these lanes, plus base, as bytes; writes VL of them and gives how many count. */
VEC int v_put_lanes(uint8_t *p, unsigned lanes, int base)
{
    __m128i numbers = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    numbers = _mm_add_epi8(numbers, _mm_set1_epi8((char)base));
    _mm_storeu_si128((__m128i *)p, _mm_maskz_compress_epi8((__mmask16)lanes, numbers));
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
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_cvtps_epi32(a), _mm512_set1_epi32(255)));
}

/* 2l + 1 of the digit l at this bit. Permutes look at four bits or two of an index; tables repeat
 * for the rest. */
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

/* Digits by permutes over whole vectors (four weights, three bits) or within 128 bits (eight
 * weights, two bits). */
VEC __m512 odd_values(int dim)
{
    return dim == 4 ? _mm512_setr_ps(1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15)
                    : _mm512_broadcast_f32x4(_mm_setr_ps(1, 3, 5, 7));
}

VEC __m512 look_up(int dim, __m512 errors, __m512i digits)
{
    return dim == 4 ? _mm512_permutexvar_ps(digits, errors) : _mm512_permutevar_ps(errors, digits);
}

/* The code of the list's nearest neighbour; dim weights and the square roots of their weights. */
VEC int32_t nearest(int dim, const uint16_t *list, const float *x, const float *root, float scale)
{
    __m512 values = _mm512_mul_ps(_mm512_set1_ps(scale), odd_values(dim)), e[8];
    for (int d = 0; d < dim; d++)
        e[d] = errors_of(values, x[d], root[d]);
    float best = 3.4e38f;
    int32_t found = 0;
    for (int j = 1; j <= list[0]; j += 16) {
        __m512i code = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(list + j)));
        __m512 distance = look_up(dim, e[0], code);
        for (int d = 1; d < dim; d++) {
            __m512i digits = _mm512_srli_epi32(code, (unsigned)((dim == 4 ? 3 : 2) * d));
            distance = _mm512_add_ps(distance, look_up(dim, e[d], digits));
        }
        keep_nearest(distance, list + j, &best, &found);
    }
    return found;
}

VEC __m512 pair(float low, float high)
{
    return _mm512_mask_broadcastss_ps(_mm512_set1_ps(low), 0xff00, _mm_set_ss(high));
}

struct lattice_query {
    const uint16_t *list; /* of up to eight */
    const float *x, *root;
    float scale;
    int32_t *found;
};

/* Two at a time, one in each half. */
VEC void nearest_two(int dim, struct lattice_query a, struct lattice_query b)
{
    const __m512i high = _mm512_mask_set1_epi32(_mm512_setzero_si512(), 0xff00, 8), low_bits = _mm512_set1_epi32(7);
    __m512 values = _mm512_mul_ps(pair(a.scale, b.scale), odd_values(dim)), distance = _mm512_setzero_ps();
    __m256i codes = _mm256_loadu2_m128i((const __m128i *)(b.list + 1), (const __m128i *)(a.list + 1));
    __m512i code = _mm512_cvtepu16_epi32(codes);
    for (int d = 0; d < dim; d++) {
        __m512 diff = _mm512_sub_ps(values, pair(a.x[d], b.x[d]));
        __m512 error = _mm512_mul_ps(_mm512_mul_ps(pair(a.root[d], b.root[d]), diff), diff);
        __m512i digits = _mm512_srli_epi32(code, (unsigned)((dim == 4 ? 3 : 2) * d));
        if (dim == 4) digits = _mm512_ternarylogic_epi32(digits, low_bits, high, 0xea); /* (digits & 7) | high */
        __m512 term = look_up(dim, error, digits);
        distance = d == 0 ? term : _mm512_add_ps(distance, term);
    }
    __m512 m = _mm512_min_ps(distance, _mm512_shuffle_f32x4(distance, distance, 0xb1));
    m = _mm512_min_ps(m, _mm512_permute_ps(m, 0x4e));
    m = _mm512_min_ps(m, _mm512_permute_ps(m, 0xb1));
    unsigned first = _mm512_cmpeq_ps_mask(distance, m);
    *a.found = a.list[1 + __builtin_ctz(first)];
    *b.found = b.list[1 + __builtin_ctz(first >> 8)];
}

#endif
