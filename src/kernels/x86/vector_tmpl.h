/*
 * One token with rows of a float format: a row at a time, in order, as fast as memory gives it.
 * Included after vec_<level>.h with v_fma and the loads.
 */
#include "kernels/ops/ops_list.h"
#include "kernels/x86/ahead.h"

/* Across lanes. */
VEC float sum_of(vf a)
{
    float lanes[VL], sum = 0;
    v_store(lanes, a);
    for (int i = 0; i < VL; i++)
        sum += lanes[i];
    return sum;
}

/* Four sums hide the time an addition takes; load is known where this is inlined. size: bytes a
 * weight. */
VEC void rows_of(vf (*load)(const uint8_t *), int64_t size, const struct ht__matmul_weights *w, const float *x,
                 float *y)
{
    const size_t ahead = ht__cpu_row_ahead();
    for (int r = 0; r < w->n_rows; r++) {
        const uint8_t *row = (const uint8_t *)w->rows + (size_t)r * w->row_bytes;
        vf sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
        int64_t k = 0;
        for (; k + 4 * VL <= w->n_in; k += 4 * VL) {
            fetch_behind(row + size * k, (size_t)(4 * VL * size), ahead);
            for (int i = 0; i < 4; i++)
                sum[i] = v_fma(load(row + size * (k + VL * i)), v_load(x + k + VL * i), sum[i]);
        }
        float rest[4 * VL], total = sum_of(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
        if (k < w->n_in) w->decode(row + size * k, w->n_in - k, rest);
        for (int64_t i = k; i < w->n_in; i++)
            total += rest[i - k] * x[i];
        y[r] = total;
    }
}

#define VECTOR(id, size)                                                                                               \
    static void vector_##id(const struct ht__matmul_weights *w, const float *x, float *y)                              \
    {                                                                                                                  \
        rows_of(load_##id, size, w, x, y);                                                                             \
    }
VECTOR(f32, 4)
VECTOR(f16, 2)
VECTOR(bf16, 2)
#undef VECTOR

static ht__vector_fn *vector_of(const struct ht__codec *codec)
{
    return codec == &ht__codec_bf16  ? vector_bf16
           : codec == &ht__codec_f16 ? vector_f16
           : codec == &ht__codec_f32 ? vector_f32
                                     : NULL;
}
