/* The vector layer of the search templates: AVX-512, 16 floats. See vec_avx2.h for the same names. */
#ifndef HT_KERNELS_VEC_AVX512_H
#define HT_KERNELS_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

enum { VL = 16 };
typedef __m512 vf;
typedef __mmask16 vm;

#define VEC static inline __attribute__((always_inline))

/* clang-format off: an operation a line, to be compared at a glance. */
VEC vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
VEC void v_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}
VEC vf v_set(float a)
{
    return _mm512_set1_ps(a);
}
VEC vf v_zero(void)
{
    return _mm512_setzero_ps();
}
VEC vf v_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
VEC vf v_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
VEC vf v_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
VEC vf v_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
VEC vf v_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
VEC vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
VEC vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
VEC vf v_abs(vf a)
{
    return _mm512_abs_ps(a);
}
VEC vm v_lt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
VEC vm v_le(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}
VEC vm v_gt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
VEC vm v_ne(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ);
}
VEC vm v_and(vm a, vm b)
{
    return a & b;
}
VEC vm v_or(vm a, vm b)
{
    return a | b;
}
VEC vm v_not(vm a)
{
    return (vm)~a;
}
VEC vm v_none(void)
{
    return 0;
}
VEC unsigned v_bits(vm m)
{
    return m;
}
VEC int v_any(vm m)
{
    return m != 0;
}
/* b where m, else a */
VEC vf v_pick(vf a, vf b, vm m)
{
    return _mm512_mask_blend_ps(m, a, b);
}

/* 16 x 16: column i of 16 rows that are `stride` floats apart goes to out[i]. */
VEC void v_transpose(const float *src, int64_t stride, vf out[16])
{
    __m512 r[16], t[16];
    for (int i = 0; i < 16; i++)
        r[i] = _mm512_loadu_ps(src + i * stride);
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[4 * i + j]), b = _mm512_castps_pd(t[4 * i + 2 + j]);
            r[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int j = 0; j < 4; j++) {
        __m512 a = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88), b = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
        __m512 c = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd), d = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
        out[j] = _mm512_shuffle_f32x4(a, b, 0x88);
        out[8 + j] = _mm512_shuffle_f32x4(a, b, 0xdd);
        out[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88);
        out[12 + j] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

/* Sixteen floats that hold whole numbers 0..255, as bytes. */
VEC void v_store_bytes(uint8_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)));
}

/* The low bytes of 32 floats' whole parts (what is out of int's range gives 0). */
VEC __m256i v_bytes32(const vf v[2])
{
    __m128i low = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v[0]));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v[1])), 1);
}

/* Sixteen signed bytes as floats. */
VEC void v_floats16(__m128i bytes, vf out[1])
{
    out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

/* Across lanes; which of equal zeros is not said. */
VEC float v_hmax(vf a)
{
    return _mm512_reduce_max_ps(a);
}
VEC float v_hmin(vf a)
{
    return _mm512_reduce_min_ps(a);
}
/* a + 1 where m */
VEC vf v_count(vf a, vm m)
{
    return _mm512_mask_add_ps(a, m, a, _mm512_set1_ps(1));
}
/* a with the sign of b; a is not negative */
VEC vf v_signed(vf a, vf b)
{
    return _mm512_or_ps(a, _mm512_and_ps(b, _mm512_set1_ps(-0.0f)));
}

/* As ht__round_even: to a whole number with the wrap of its bit mask, for quotients that may explode. */
VEC vf v_round_wrapped(vf a)
{
    __m512i bits = _mm512_castps_si512(_mm512_add_ps(a, _mm512_set1_ps(12582912.0f)));
    bits = _mm512_and_si512(bits, _mm512_set1_epi32(0x007fffff));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(bits, _mm512_set1_epi32(0x00400000)));
}
/* clang-format on */

#include "kernels/x86/bytes_x86.h"

#endif
