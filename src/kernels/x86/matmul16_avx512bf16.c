/* Products in BF16 by AVX-512's dot product of pairs: see matmul16_tmpl.h. A second part of activations would take as long as
 * floats do. */
#include "kernels/x86/rows_avx512.h"

#define WAVE_GROUPS 2
#define SPLIT_PARTS 1

VEC vf v_dots16(vf sums, vi x, vi w)
{
    return _mm512_dpbf16_ps(sums, (__m512bh)w, (__m512bh)x);
}

#include "kernels/x86/matmul16_tmpl.h"

ht__matmul16_fn *ht__matmul16_avx512bf16(const struct ht__codec *codec)
{
    return matmul16_of(codec);
}

void ht__split_avx512bf16(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i)
{
    split(x, ldx, n, out, i);
}
