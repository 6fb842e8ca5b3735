#include "kernels/x86/vec_avx512.h"

#define TOKENS_MOST 12
enum { TOKENS = TOKENS_MOST, PASS = 2 }; /* 24 sums, 2 weights and a value fill the 32 registers */
VEC vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

#include "kernels/x86/matmul_tmpl.h"

#define OPS_MATMUL8 ht__matmul8_avx512
#define OPS_SPLIT ht__split_avx512bf16
#define OPS_PARTS 1
#define OPS_MATMUL16 ht__matmul16_avx512bf16
#define OPS_VECTOR ht__vector_avx512
#define OPS_BYTES 64
#define OPS_LEVEL avx512bf16
#include "kernels/ops/ops_tmpl.h"
