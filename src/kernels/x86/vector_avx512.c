#include "kernels/x86/vec_avx512.h"

VEC vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

VEC vf load_f32(const uint8_t *p)
{
    return _mm512_loadu_ps((const float *)(const void *)p);
}

VEC vf load_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

VEC vf load_bf16(const uint8_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

#include "kernels/x86/vector_tmpl.h"

ht__vector_fn *ht__vector_avx512(const struct ht__codec *codec)
{
    return vector_of(codec);
}
