/* IQ4_NL and IQ4_XS at this level: see iq4_tmpl.h. */
#include "kernels/x86/vec_avx2.h"

/*
 * By binary search over the 15 midpoints. Comparisons give 0 or -1, so `path`, twice itself plus the next one, is
 * minus the number that the bits say; permutes look at its low three bits, hence the order of the tables: entry
 * 8 - k for -k.
 */
VEC __m256i step(__m256i path, vf x, vf midpoint)
{
    __m256i above = _mm256_castps_si256(_mm256_cmp_ps(x, midpoint, _CMP_NLT_UQ));
    return _mm256_add_epi32(_mm256_add_epi32(path, path), above);
}

VEC __m256i first_steps(vf x)
{
    const vf second = _mm256_setr_ps(-57, 0, 0, 0, 0, 0, 0, 45.5f);
    const vf third = _mm256_setr_ps(-93.5f, 0, 0, 0, 0, 79, 19, -28.5f);
    __m256i path = step(_mm256_setzero_si256(), x, v_set(-4.5f));
    path = step(path, x, _mm256_permutevar8x32_ps(second, path));
    return step(path, x, _mm256_permutevar8x32_ps(third, path));
}

VEC vf last_midpoint(__m256i path)
{
    return _mm256_permutevar8x32_ps(_mm256_setr_ps(-115.5f, 101, 61, 31.5f, 7, -16, -42, -74), path);
}

VEC vf nearest_value(vf x)
{
    const vf lower = _mm256_setr_ps(-127, 89, 53, 25, 1, -22, -49, -83);
    const vf gap = _mm256_setr_ps(23, 24, 16, 13, 12, 12, 14, 18);
    __m256i path = first_steps(x);
    vf above = _mm256_cmp_ps(x, last_midpoint(path), _CMP_NLT_UQ);
    return v_add(_mm256_permutevar8x32_ps(lower, path), _mm256_and_ps(above, _mm256_permutevar8x32_ps(gap, path)));
}

VEC vf nearest_code(vf x)
{
    __m256i path = first_steps(x);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_setzero_si256(), step(path, x, last_midpoint(path))));
}

#include "kernels/x86/iq4_tmpl.h"

void ht__iq4_nl_encode_avx2(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    if (importance)
        encode_iq4(&ht__codec_iq4_nl, LEN, src, n_rows, row_len, importance, dst);
    else
        encode_iq4(&ht__codec_iq4_nl, LEN, src, n_rows, row_len, NULL, dst);
}

void ht__iq4_xs_encode_avx2(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    if (importance)
        encode_iq4(&ht__codec_iq4_xs, SUPER, src, n_rows, row_len, importance, dst);
    else
        encode_iq4(&ht__codec_iq4_xs, SUPER, src, n_rows, row_len, NULL, dst);
}
