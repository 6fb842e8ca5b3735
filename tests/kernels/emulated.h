/* Products of levels amx, with emulated tiles, and avx512bf16, on machines of lesser levels. */
#ifndef HT_TESTS_EMULATED_H
#define HT_TESTS_EMULATED_H

#include "kernels/ops/ops.h"
#include "kernels/x86/tiles.h"

ht__matmul8_fn *emulated_matmul8_avx2(const struct ht__codec *codec);
ht__matmul8_fn *emulated_matmul8_avx512(const struct ht__codec *codec);
ht__matmul16_fn *emulated_matmul16_avx2(const struct ht__codec *codec);
ht__matmul16_fn *emulated_matmul16_avx512(const struct ht__codec *codec);
void emulated_split_avx2(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i);
void emulated_split_avx512(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i);
ht__matmul16_fn *emulated_matmul16_dots(const struct ht__codec *codec);
void emulated_split_dots(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i);
/* The shapes that the thread's tiles have (zeros: none), and others for them. */
void emulated_shapes_avx2(struct tile_shapes *now, const struct tile_shapes *next);
void emulated_shapes_avx512(struct tile_shapes *now, const struct tile_shapes *next);

#endif
