/* The loops over weights at this level: see weights.h. */
#include "kernels/x86/vec_avx2.h"

VEC vf v_eights(const float *const x[1], int64_t at)
{
    return v_load(x[0] + at);
}

#include "kernels/x86/probe_tmpl.h"

static void look_up(const float value[16], const uint8_t *q, int64_t n, float *x)
{
    vf low = v_load(value), high = v_load(value + 8);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(q + i)));
        vf a = _mm256_permutevar8x32_ps(low, at), b = _mm256_permutevar8x32_ps(high, at);
        v_store(x + i, _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32(at, 28))));
    }
    for (; i < n; i++)
        x[i] = value[q[i] & 15];
}

static void replace(const uint8_t code[16], uint8_t *q, int n)
{
    __m128i table = _mm_loadu_si128((const __m128i *)(const void *)code);
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i *at = (__m128i *)(void *)(q + i);
        _mm_storeu_si128(at, _mm_shuffle_epi8(table, _mm_loadu_si128(at)));
    }
    for (; i < n; i++)
        q[i] = code[q[i] & 15];
}

#define WEIGHTS_BYTES 32
#define WEIGHTS_NAME ht__weight_ops_avx2
#include "kernels/weights/weights_tmpl.h"
