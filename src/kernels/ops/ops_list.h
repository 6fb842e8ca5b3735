#ifndef HT_KERNELS_OPS_LIST_H
#define HT_KERNELS_OPS_LIST_H

#include "kernels/ops/ops.h"

extern const struct ht__ops ht__ops_scalar;
#if defined(__x86_64__)
extern const struct ht__ops ht__ops_avx2, ht__ops_avx512;
ht__matmul8_fn *ht__matmul8_avx512(const struct ht__codec *codec);
ht__vector_fn *ht__vector_avx512(const struct ht__codec *codec);
#endif

#endif
