/* The products of level amx with emulated tiles, on machines of lesser levels. */
#ifndef HT_TESTS_EMULATED_H
#define HT_TESTS_EMULATED_H

#include "kernels/ops/ops.h"

ht__matmul8_fn *emulated_matmul8_avx2(const struct ht__codec *codec);
ht__matmul8_fn *emulated_matmul8_avx512(const struct ht__codec *codec);

#endif
