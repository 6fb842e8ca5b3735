/* The loops over weights at this level: see weights.h. */
#include "kernels/x86/vec_avx512.h"

VEC vf v_eights(const float *const x[2], int64_t at)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(x[0] + at)), _mm256_loadu_ps(x[1] + at), 1);
}

#include "kernels/x86/probe_tmpl.h"

static void look_up(const float value[16], const uint8_t *q, int64_t n, float *x)
{
    vf table = v_load(value);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        __m512i at = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(q + i)));
        v_store(x + i, _mm512_permutexvar_ps(at, table));
    }
    for (; i < n; i++)
        x[i] = value[q[i] & 15];
}

static void replace(const uint8_t code[16], uint8_t *q, int n)
{
    __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)code));
    int i = 0;
    for (; i + 64 <= n; i += 64)
        _mm512_storeu_si512(q + i, _mm512_shuffle_epi8(table, _mm512_loadu_si512(q + i)));
    for (; i < n; i++)
        q[i] = code[q[i] & 15];
}

#define WEIGHTS_BYTES 64
#define WEIGHTS_NAME ht__weight_ops_avx512
#include "kernels/weights/weights_tmpl.h"
