/* The vector layer of the search templates: AVX2, 8 floats. See vec_avx512.h for the same names. */
#ifndef HT_KERNELS_VEC_AVX2_H
#define HT_KERNELS_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>

enum { VL = 8 };
typedef __m256 vf;
typedef __m256 vm; /* all ones or all zeros in each lane */

#define VEC static inline __attribute__((always_inline))

/* clang-format off: an operation a line, to be compared at a glance. */
VEC vf v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
VEC void v_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}
VEC vf v_set(float a)
{
    return _mm256_set1_ps(a);
}
VEC vf v_zero(void)
{
    return _mm256_setzero_ps();
}
VEC vf v_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
VEC vf v_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
VEC vf v_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
VEC vf v_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
VEC vf v_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
VEC vf v_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
VEC vf v_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
VEC vf v_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
VEC vm v_lt(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
VEC vm v_le(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_LE_OQ);
}
VEC vm v_gt(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}
VEC vm v_ne(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ);
}
VEC vm v_and(vm a, vm b)
{
    return _mm256_and_ps(a, b);
}
VEC vm v_or(vm a, vm b)
{
    return _mm256_or_ps(a, b);
}
VEC vm v_not(vm a)
{
    return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1)));
}
VEC vm v_none(void)
{
    return _mm256_setzero_ps();
}
VEC unsigned v_bits(vm m)
{
    return (unsigned)_mm256_movemask_ps(m);
}
VEC int v_any(vm m)
{
    return !_mm256_testz_ps(m, m);
}
/* b where m, else a */
VEC vf v_pick(vf a, vf b, vm m)
{
    return _mm256_blendv_ps(a, b, m);
}

/* 8 x 8: column i of 8 rows that are `stride` floats apart goes to out[i]. */
VEC void v_transpose(const float *src, int64_t stride, vf out[8])
{
    __m256 r[8], t[8];
    for (int i = 0; i < 4; i++) { /* halves of rows i and i + 4 side by side */
        __m256 a = _mm256_loadu_ps(src + i * stride), b = _mm256_loadu_ps(src + (i + 4) * stride);
        r[i] = _mm256_permute2f128_ps(a, b, 0x20);
        r[i + 4] = _mm256_permute2f128_ps(a, b, 0x31);
    }
    for (int i = 0; i < 8; i += 4) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
        t[i + 2] = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
        t[i + 3] = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        out[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        out[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        out[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        out[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
}

/* Eight floats that hold whole numbers 0..255, as bytes. */
VEC void v_store_bytes(uint8_t *p, vf a)
{
    __m256i i = _mm256_cvttps_epi32(a);
    __m128i s = _mm_packus_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(s, s));
}

/* The low bytes of 32 floats' whole parts (what is out of int's range gives 0). */
VEC __m256i v_bytes32(const vf v[4])
{
    const __m256i low = _mm256_set1_epi32(255);
    __m256i a = _mm256_and_si256(_mm256_cvttps_epi32(v[0]), low), b = _mm256_and_si256(_mm256_cvttps_epi32(v[1]), low);
    __m256i c = _mm256_and_si256(_mm256_cvttps_epi32(v[2]), low), d = _mm256_and_si256(_mm256_cvttps_epi32(v[3]), low);
    __m256i all = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
    return _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Sixteen signed bytes as floats. */
VEC void v_floats16(__m128i bytes, vf out[2])
{
    out[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
    out[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)));
}

/* Across lanes; which of equal zeros is not said. */
VEC float v_hmax(vf a)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

VEC float v_hmin(vf a)
{
    __m128 m = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_min_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_min_ss(m, _mm_movehdup_ps(m)));
}

/* a + 1 where m */
VEC vf v_count(vf a, vm m)
{
    return _mm256_add_ps(a, _mm256_and_ps(m, _mm256_set1_ps(1)));
}
/* a with the sign of b; a is not negative */
VEC vf v_signed(vf a, vf b)
{
    return _mm256_or_ps(a, _mm256_and_ps(b, _mm256_set1_ps(-0.0f)));
}

/* As ht__round_even: to a whole number with the wrap of its bit mask, for quotients that may explode. */
VEC vf v_round_wrapped(vf a)
{
    __m256i bits = _mm256_castps_si256(_mm256_add_ps(a, _mm256_set1_ps(12582912.0f)));
    bits = _mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x00400000)));
}
/* clang-format on */

#include "kernels/x86/bytes_x86.h"

#endif
