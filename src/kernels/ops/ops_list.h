#ifndef HT_KERNELS_OPS_LIST_H
#define HT_KERNELS_OPS_LIST_H

#include "kernels/ops/ops.h"

extern const struct ht__ops ht__ops_scalar;
#if defined(__x86_64__)
extern const struct ht__ops ht__ops_avx2, ht__ops_avx512;
#endif

#endif
