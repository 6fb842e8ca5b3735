/* What the IQ1 template needs beside lattice_vec_avx2.h. See iq1_vec_avx512.h for the same names. */
#ifndef HT_KERNELS_IQ1_VEC_AVX2_H
#define HT_KERNELS_IQ1_VEC_AVX2_H

#include "kernels/x86/lattice_vec_avx2.h"

/* An approximate 1/sqrt(a), within 1.5 * 2^-12 of it; and a margin of more than twice this and
 * 2^-15. */
VEC vf v_reciprocal_root(vf a)
{
    return _mm256_rsqrt_ps(a);
}
#define V_ROOT_MARGIN (1.0f / 1024)

/* The larger magnitude of a, which is not below zero, and b. */
VEC vf v_max_magnitude(vf a, vf b)
{
    return _mm256_max_ps(a, v_abs(b));
}

VEC vi v_set_int(int32_t a)
{
    return _mm256_set1_epi32(a);
}
VEC vi v_sub_int(vi a, vi b)
{
    return _mm256_sub_epi32(a, b);
}
VEC vi v_and_int(vi a, vi b)
{
    return _mm256_and_si256(a, b);
}
VEC vi v_shift_right(vi a, int n)
{
    return _mm256_srli_epi32(a, n);
}
/* Lane by lane; by 32 or more, or less than none, gives zero. */
VEC vi v_shift_left_each(vi a, vi n)
{
    return _mm256_sllv_epi32(a, n);
}
VEC vi v_add_int_where(vi a, vi b, vm m)
{
    return _mm256_add_epi32(a, _mm256_and_si256(b, _mm256_castps_si256(m)));
}
VEC vi v_pick_int(vi a, vi b, vm m)
{
    return _mm256_blendv_epi8(a, b, _mm256_castps_si256(m));
}
VEC vf v_add_where(vf a, vf b, vm m)
{
    return _mm256_add_ps(a, _mm256_and_ps(b, m));
}
VEC vf v_gather_floats(const float *table, vi index)
{
    return _mm256_i32gather_ps(table, index, 4);
}
/* Bytes as floats. */
VEC vf v_floats_of_bytes(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
/* l - 1 of the digit l at this bit. */
VEC vf v_level(vi code, int shift)
{
    return _mm256_permutevar_ps(_mm256_setr_ps(-1, 0, 1, 0, -1, 0, 1, 0), _mm256_srli_epi32(code, shift));
}

/*
 * A float of every lane with the number of its place, as a double in whose last bits the number
 * stands: of equal floats the earlier is less. Below zero the bits count downwards.
 */
typedef struct {
    __m256d low, high;
} vk;

VEC __m256d with_number(__m256d x, int number)
{
    __m256d up = _mm256_castsi256_pd(_mm256_set1_epi64x(number));
    __m256d down = _mm256_castsi256_pd(_mm256_set1_epi64x(31 - number));
    return _mm256_or_pd(x, _mm256_blendv_pd(up, down, x));
}

VEC vk v_key(vf x, int number)
{
    x = _mm256_add_ps(x, _mm256_setzero_ps()); /* -0 is 0 */
    return (vk){with_number(_mm256_cvtps_pd(_mm256_castps256_ps128(x)), number),
                with_number(_mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)), number)};
}

VEC void v_order(vk *a, vk *b)
{
    vk min = {_mm256_min_pd(a->low, b->low), _mm256_min_pd(a->high, b->high)};
    b->low = _mm256_max_pd(a->low, b->low);
    b->high = _mm256_max_pd(a->high, b->high);
    *a = min;
}

/* The numbers are too small to change the nearest float. */
VEC vf v_key_value(vk k)
{
    return _mm256_set_m128(_mm256_cvtpd_ps(k.high), _mm256_cvtpd_ps(k.low));
}

VEC __m256 numbers_of(__m256d x)
{
    __m256d last = _mm256_castsi256_pd(_mm256_set1_epi64x(31));
    __m256d flip = _mm256_blendv_pd(_mm256_setzero_pd(), last, x);
    return _mm256_castpd_ps(_mm256_and_pd(_mm256_xor_pd(x, flip), last));
}

VEC vi v_key_number(vk k)
{
    __m256 both = _mm256_shuffle_ps(numbers_of(k.low), numbers_of(k.high), 0x88);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(both), 0xd8);
}

VEC void errors_of_eight(const float *x, const float *w, float scale, const float *levels, __m256 e[8])
{
    __m256 values = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_broadcast_ps((const __m128 *)levels));
    for (int d = 0; d < 8; d++)
        e[d] = errors_of(values, x[d], w[d]);
}

/* The distances of eight points. */
VEC __m256 distances(const __m256 e[8], const uint16_t *codes)
{
    __m256i code = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)codes));
    __m256 distance = look_up(8, e[0], code);
    for (int d = 1; d < 8; d++)
        distance = _mm256_add_ps(distance, look_up(8, e[d], _mm256_srli_epi32(code, 2 * d)));
    return distance;
}

/* The first of the smallest of sixteen distances, of which `least` gives the value. */
VEC int first_smallest(__m256 a, __m256 b, float *least)
{
    __m256 m = _mm256_min_ps(a, b);
    m = _mm256_min_ps(m, _mm256_permute2f128_ps(m, m, 1));
    m = _mm256_min_ps(m, _mm256_permute_ps(m, 0x4e));
    m = _mm256_min_ps(m, _mm256_permute_ps(m, 0xb1));
    *least = _mm256_cvtss_f32(m);
    unsigned low = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, m, _CMP_EQ_OQ)),
             high = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(b, m, _CMP_EQ_OQ));
    return __builtin_ctz(low | high << 8);
}

enum { SHORT_LIST = 16 };

/* The code of the list's nearest point, the first of equals: eight weights with these three values. */
VEC int32_t nearest_of_few(const uint16_t *list, const float *x, const float *w, float scale, const float *levels)
{
    __m256 e[8];
    float least;
    errors_of_eight(x, w, scale, levels, e);
    __m256 a = distances(e, list + 1);
    /* after eight another list may follow */
    return list[1 + first_smallest(a, list[0] <= 8 ? a : distances(e, list + 9), &least)];
}

VEC int32_t nearest_of_many(const uint16_t *list, const float *x, const float *w, float scale, const float *levels)
{
    __m256 e[8];
    float best;
    errors_of_eight(x, w, scale, levels, e);
    int first = first_smallest(distances(e, list + 1), distances(e, list + 9), &best);
    int32_t found = list[1 + first];
    for (int j = 17; j <= list[0]; j += 8)
        keep_nearest(distances(e, list + j), list + j, &best, &found);
    return found;
}

#endif
