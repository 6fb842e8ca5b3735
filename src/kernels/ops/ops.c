/* The scalar level of the operations, and the choice of a level. */
#include "kernels/ops/ops_list.h"

#include <math.h>
#include <stdint.h>

static void turn_panel(const float *decoded, int64_t depth, float *panel)
{
    for (int64_t k = 0; k < depth; k++)
        for (int r = 0; r < HT__MATMUL_ROWS; r++)
            panel[k * HT__MATMUL_ROWS + r] = decoded[r * HT__MATMUL_DEPTH + k];
}

static void matmul_panel(const float *panel, int64_t depth, const float *x, int64_t ldx, int64_t n_tokens, float *y,
                         int64_t ldy, int n_rows, bool first)
{
    for (int64_t t = 0; t < n_tokens; t++)
        for (int r = 0; r < n_rows; r++) {
            float sum = first ? 0 : y[t * ldy + r];
            for (int64_t k = 0; k < depth; k++)
                sum = fmaf(x[t * ldx + k], panel[k * HT__MATMUL_ROWS + r], sum);
            y[t * ldy + r] = sum;
        }
}

static void panel_products(const float *a, int n_a, const float *b, int64_t depth, float *y, bool first)
{
    for (int i = 0; i < n_a; i++)
        for (int j = 0; j < HT__MATMUL_ROWS; j++) {
            float sum = first ? 0 : y[i * HT__MATMUL_ROWS + j];
            for (int64_t k = 0; k < depth; k++)
                sum = fmaf(a[k * HT__MATMUL_ROWS + i], b[k * HT__MATMUL_ROWS + j], sum);
            y[i * HT__MATMUL_ROWS + j] = sum;
        }
}

static ht__matmul8_fn *no_matmul8(const struct ht__codec *codec)
{
    (void)codec;
    return NULL;
}

static ht__vector_fn *no_vector(const struct ht__codec *codec)
{
    (void)codec;
    return NULL;
}

#define OPS_MATMUL8 no_matmul8
#define OPS_VECTOR no_vector
#define OPS_BYTES 16
#define OPS_LEVEL scalar
#include "kernels/ops/ops_tmpl.h"

const struct ht__ops *ht__ops(enum ht__cpu_level level)
{
#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
    if (level >= HT__CPU_amx && ht__cpu_has(HT__CPU_amx)) return &ht__ops_amx;
    if (level >= HT__CPU_avx512bf16 && ht__cpu_has(HT__CPU_avx512bf16)) return &ht__ops_avx512bf16;
    if (level >= HT__CPU_avx512 && ht__cpu_has(HT__CPU_avx512)) return &ht__ops_avx512;
    if (level >= HT__CPU_avx2 && ht__cpu_has(HT__CPU_avx2)) return &ht__ops_avx2;
#elif defined(__aarch64__) && !defined(HT_SCALAR_ALONE)
    if (level >= HT__CPU_neon && ht__cpu_has(HT__CPU_neon)) return &ht__ops_neon;
#endif
    (void)level;
    return &ht__ops_scalar;
}

void ht__ops_product(const struct ht__ops *ops, const float *w, int64_t ldw, int64_t n_rows, int64_t n_in,
                     const float *x, int64_t ldx, int64_t n_tokens, float *y, int64_t ldy, float *scratch)
{
    const struct ht__codec *f32 = &ht__codec_f32;
    struct ht__matmul_weights m = {
        .decode = f32->decode, .row_bytes = (size_t)ldw * sizeof *w, .block_len = 1, .block_size = 4, .n_in = n_in};
    for (int64_t r = 0; r < n_rows; r += HT__MATMUL_ROWS) {
        m.n_rows = n_rows - r < HT__MATMUL_ROWS ? (int)(n_rows - r) : HT__MATMUL_ROWS;
        m.rows = w + r * ldw;
        ops->matmul(&m, x, ldx, n_tokens, y + r, ldy, scratch);
    }
}
