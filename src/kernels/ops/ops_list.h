#ifndef HT_KERNELS_OPS_LIST_H
#define HT_KERNELS_OPS_LIST_H

#include "kernels/ops/ops.h"

extern const struct ht__ops ht__ops_scalar;
#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
extern const struct ht__ops ht__ops_avx2, ht__ops_avx512, ht__ops_avx512bf16, ht__ops_amx;
void ht__tile_activations(struct ht__activations *x, int64_t token);
ht__matmul8_fn *ht__matmul8_avx2(const struct ht__codec *codec);
ht__matmul8_fn *ht__matmul8_avx512(const struct ht__codec *codec);
ht__matmul8_fn *ht__matmul8_amx(const struct ht__codec *codec);
ht__matmul16_fn *ht__matmul16_avx512bf16(const struct ht__codec *codec);
void ht__split_avx512bf16(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i);
ht__matmul16_fn *ht__matmul16_amx(const struct ht__codec *codec);
void ht__split_amx(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i);
/* One token's products in eight bits, a row at a time, n_in being a multiple of 256; NULL for
 * formats without. */
typedef void ht__rows8_fn(const struct ht__matmul_weights *w, const struct ht__activations *x, float *y);
ht__rows8_fn *ht__rows8_avx512(const struct ht__codec *codec);
ht__vector_fn *ht__vector_avx2(const struct ht__codec *codec);
ht__vector_fn *ht__vector_avx512(const struct ht__codec *codec);
#elif defined(__aarch64__) && !defined(HT_SCALAR_ALONE)
extern const struct ht__ops ht__ops_neon;
ht__matmul8_fn *ht__matmul8_neon(const struct ht__codec *codec);
ht__matmul8_fn *
ht__matmul8_i8mm(const struct ht__codec *codec); /* where there are products of matrices of bytes, too */
ht__vector_fn *ht__vector_neon(const struct ht__codec *codec);
typedef void ht__rows8_fn(const struct ht__matmul_weights *w, const struct ht__activations *x, float *y);
#endif

#endif
