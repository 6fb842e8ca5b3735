/* What the IQ1 template needs beside lattice_vec_avx512.h. See iq1_vec_avx2.h for the same names. */
#ifndef HT_KERNELS_IQ1_VEC_AVX512_H
#define HT_KERNELS_IQ1_VEC_AVX512_H

#include "kernels/x86/lattice_vec_avx512.h"

/* An approximate 1/sqrt(a), within 2^-14 of it; and a margin of more than twice this and 2^-15. */
VEC vf v_reciprocal_root(vf a)
{
    return _mm512_rsqrt14_ps(a);
}
#define V_ROOT_MARGIN (1.0f / 4096)

/* The larger magnitude of a, which is not below zero, and b. */
VEC vf v_max_magnitude(vf a, vf b)
{
    return _mm512_range_ps(a, b, 0x0b);
}

VEC vi v_set_int(int32_t a)
{
    return _mm512_set1_epi32(a);
}
VEC vi v_sub_int(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}
VEC vi v_and_int(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
VEC vi v_shift_right(vi a, int n)
{
    return _mm512_srli_epi32(a, (unsigned)n);
}
/* Lane by lane; by 32 or more, or less than none, gives zero. */
VEC vi v_shift_left_each(vi a, vi n)
{
    return _mm512_sllv_epi32(a, n);
}
VEC vi v_add_int_where(vi a, vi b, vm m)
{
    return _mm512_mask_add_epi32(a, m, a, b);
}
VEC vi v_pick_int(vi a, vi b, vm m)
{
    return _mm512_mask_blend_epi32(m, a, b);
}
VEC vf v_add_where(vf a, vf b, vm m)
{
    return _mm512_mask_add_ps(a, m, a, b);
}
VEC vf v_gather_floats(const float *table, vi index)
{
    return _mm512_i32gather_ps(index, table, 4);
}
/* Bytes as floats. */
VEC vf v_floats_of_bytes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
/* l - 1 of the digit l at this bit. */
VEC vf v_level(vi code, int shift)
{
    const __m512 levels = _mm512_broadcast_f32x4(_mm_setr_ps(-1, 0, 1, 0));
    return _mm512_permutevar_ps(levels, _mm512_srli_epi32(code, (unsigned)shift));
}

/*
 * A float of every lane with the number of its place, as a double in whose last bits the number
 * stands: of equal floats the earlier is less. Below zero the bits count downwards.
 */
typedef struct {
    __m512d low, high;
} vk;

VEC __m512d with_number(__m512d x, int number)
{
    __m512i bits = _mm512_castpd_si512(x);
    __mmask8 minus = _mm512_movepi64_mask(bits);
    bits = _mm512_or_si512(bits, _mm512_set1_epi64(number));
    return _mm512_castsi512_pd(_mm512_mask_xor_epi64(bits, minus, bits, _mm512_set1_epi64(31)));
}

VEC vk v_key(vf x, int number)
{
    x = _mm512_add_ps(x, _mm512_setzero_ps()); /* -0 is 0 */
    return (vk){with_number(_mm512_cvtps_pd(_mm512_castps512_ps256(x)), number),
                with_number(_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)), number)};
}

VEC void v_order(vk *a, vk *b)
{
    vk min = {_mm512_min_pd(a->low, b->low), _mm512_min_pd(a->high, b->high)};
    b->low = _mm512_max_pd(a->low, b->low);
    b->high = _mm512_max_pd(a->high, b->high);
    *a = min;
}

/* The numbers are too small to change the nearest float. */
VEC vf v_key_value(vk k)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(k.low)), _mm512_cvtpd_ps(k.high), 1);
}

VEC __m256i numbers_of(__m512d x)
{
    __m512i bits = _mm512_castpd_si512(x), last = _mm512_set1_epi64(31);
    bits = _mm512_mask_xor_epi64(bits, _mm512_movepi64_mask(bits), bits, last);
    return _mm512_cvtepi64_epi32(_mm512_and_si512(bits, last));
}

VEC vi v_key_number(vk k)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(numbers_of(k.low)), numbers_of(k.high), 1);
}

/* Errors of the three values for each of eight weights, repeated four times: computed for four
 * weights at a time. */
VEC void errors_of_eight(const float *x, const float *w, float scale, const float *levels, __m512 e[8])
{
    const __m512i each = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    __m512 values = _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_broadcast_f32x4(_mm_loadu_ps(levels)));
    for (int half = 0; half < 2; half++) {
        __m512 four = _mm512_broadcast_f32x4(_mm_loadu_ps(x + 4 * half)),
               weights = _mm512_broadcast_f32x4(_mm_loadu_ps(w + 4 * half));
        __m512 diff = _mm512_sub_ps(values, _mm512_permutexvar_ps(each, four));
        __m512 errors = _mm512_mul_ps(_mm512_mul_ps(_mm512_permutexvar_ps(each, weights), diff), diff);
        e[4 * half] = _mm512_shuffle_f32x4(errors, errors, 0x00);
        e[4 * half + 1] = _mm512_shuffle_f32x4(errors, errors, 0x55);
        e[4 * half + 2] = _mm512_shuffle_f32x4(errors, errors, 0xaa);
        e[4 * half + 3] = _mm512_shuffle_f32x4(errors, errors, 0xff);
    }
}

/* The distances of sixteen points. */
VEC __m512 distances(const __m512 e[8], const uint16_t *codes)
{
    __m512i code = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)codes));
    __m512 distance = look_up(8, e[0], code);
    for (int d = 1; d < 8; d++)
        distance = _mm512_add_ps(distance, look_up(8, e[d], _mm512_srli_epi32(code, (unsigned)(2 * d))));
    return distance;
}

VEC __m512 smallest(__m512 a)
{
    a = _mm512_min_ps(a, _mm512_shuffle_f32x4(a, a, 0x4e));
    a = _mm512_min_ps(a, _mm512_shuffle_f32x4(a, a, 0xb1));
    a = _mm512_min_ps(a, _mm512_permute_ps(a, 0x4e));
    return _mm512_min_ps(a, _mm512_permute_ps(a, 0xb1));
}

enum { SHORT_LIST = 16 };

/* The code of the list's nearest point, the first of equals: eight weights with these three values. */
VEC int32_t nearest_of_few(const uint16_t *list, const float *x, const float *w, float scale, const float *levels)
{
    __m512 e[8];
    errors_of_eight(x, w, scale, levels, e);
    /* after eight another list may follow */
    __mmask16 ours = list[0] <= 8 ? 0xff : 0xffff;
    __m512 d = _mm512_mask_blend_ps(ours, _mm512_set1_ps(3.4e38f), distances(e, list + 1));
    return list[1 + __builtin_ctz(_mm512_cmpeq_ps_mask(d, smallest(d)))];
}

VEC int32_t nearest_of_many(const uint16_t *list, const float *x, const float *w, float scale, const float *levels)
{
    __m512 e[8];
    errors_of_eight(x, w, scale, levels, e);
    __m512 d = distances(e, list + 1), d2 = distances(e, list + 17), least = smallest(_mm512_min_ps(d, d2));
    unsigned equal = _mm512_cmpeq_ps_mask(d, least) | (unsigned)_mm512_cmpeq_ps_mask(d2, least) << 16;
    int32_t found = list[1 + __builtin_ctz(equal)];
    float best = _mm512_cvtss_f32(least);
    for (int j = 33; j <= list[0]; j += 16)
        keep_nearest(distances(e, list + j), list + j, &best, &found);
    return found;
}

#endif
