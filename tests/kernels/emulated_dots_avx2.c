/* Products of BF16 by AVX-512's instruction (VDPBF16PS), in plain C: odd numbers before even ones, subnormal ones are zeros. */
#define WAVE_GROUPS 2
#define SPLIT_PARTS 1
#include "kernels/emulated.h"
#include "kernels/half.h"
#include "kernels/x86/rows_avx2.h"

#include <math.h>

static float bf16_of(uint32_t pair, int shift)
{
    uint16_t half = (uint16_t)(pair >> shift);
    return ht__bf16_to_f32((half & 0x7f80) == 0 ? half & 0x8000 : half);
}

VEC vf v_dots16(vf sums, vi x, vi w)
{
    float sum[VL];
    uint32_t a[VL], b[VL];
    v_store(sum, sums);
    memcpy(a, &x, sizeof a);
    memcpy(b, &w, sizeof b);
    for (int i = 0; i < VL; i++)
        for (int shift = 16; shift >= 0; shift -= 16)
            sum[i] = fmaf(bf16_of(a[i], shift), bf16_of(b[i], shift), sum[i]);
    return v_load(sum);
}

#include "kernels/x86/matmul16_tmpl.h"

ht__matmul16_fn *emulated_matmul16_dots(const struct ht__codec *codec)
{
    return matmul16_of(codec);
}

void emulated_split_dots(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i)
{
    split(x, ldx, n, out, i);
}
