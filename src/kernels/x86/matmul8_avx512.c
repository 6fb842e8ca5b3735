/* Products in eight bits at this level: see matmul8_vnni.h. */
#include "kernels/x86/matmul8_vnni.h"

ht__matmul8_fn *ht__matmul8_avx512(const struct ht__codec *codec)
{
    return matmul8_of(codec);
}
