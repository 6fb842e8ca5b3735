/* One token with rows of a float format: a row at a time, in order, as fast as memory gives it. */
#include "kernels/ops/ops_list.h"
#include "kernels/x86/vec_avx512.h"

VEC __m512 load_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}

VEC __m512 load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

#define VECTOR(id, load)                                                                           \
    static void vector_##id(const struct ht__matmul_weights *w, const float *x, float *y)          \
    {                                                                                              \
        for (int r = 0; r < w->n_rows; r++) {                                                      \
            const uint8_t *row = (const uint8_t *)w->rows + (size_t)r * w->row_bytes;              \
            __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),        \
                             _mm512_setzero_ps()};                                                 \
            int64_t k = 0;                                                                         \
            for (; k + 64 <= w->n_in; k += 64)                                                     \
                for (int i = 0; i < 4; i++)                                                        \
                    sum[i] = _mm512_fmadd_ps(load(row + 2 * (k + 16 * i)),                         \
                                             _mm512_loadu_ps(x + k + 16 * i), sum[i]);             \
            float rest[64], total;                                                                 \
            total = _mm512_reduce_add_ps(                                                          \
                _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));      \
            if (k < w->n_in) w->decode(row + 2 * k, w->n_in - k, rest);                            \
            for (int64_t i = k; i < w->n_in; i++)                                                  \
                total += rest[i - k] * x[i];                                                       \
            y[r] = total;                                                                          \
        }                                                                                          \
    }
VECTOR(bf16, load_bf16)
VECTOR(f16, load_f16)
#undef VECTOR

ht__vector_fn *ht__vector_avx512(const struct ht__codec *codec)
{
    return codec == &ht__codec_bf16 ? vector_bf16 : codec == &ht__codec_f16 ? vector_f16 : NULL;
}
