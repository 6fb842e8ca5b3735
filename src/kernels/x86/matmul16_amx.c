/* Products in BF16 with tiles: see matmul16_tmpl.h. */
#include "kernels/x86/tiles_amx.h"
#include "kernels/x86/rows_avx512.h"

#define SPLIT_PARTS 2
#include "kernels/x86/matmul16_tmpl.h"

ht__matmul16_fn *ht__matmul16_amx(const struct ht__codec *codec)
{
    return matmul16_of(codec);
}

void ht__split_amx(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i)
{
    split(x, ldx, n, out, i);
}
