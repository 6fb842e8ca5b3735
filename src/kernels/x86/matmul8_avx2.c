/* Products in eight bits at this level: see matmul8_pairs.h. */
#include "kernels/x86/matmul8_pairs.h"

ht__matmul8_fn *ht__matmul8_avx2(const struct ht__codec *codec)
{
    return matmul8_of(codec);
}
