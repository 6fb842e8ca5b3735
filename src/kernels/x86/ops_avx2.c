#include "kernels/x86/vec_avx2.h"

#define TOKENS_MOST 6
enum { TOKENS = TOKENS_MOST, PASS = 2 }; /* 12 sums, 2 weights and a value of the 16 registers */
VEC vf v_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

#include "kernels/x86/matmul_tmpl.h"

#define OPS_MATMUL8 ht__matmul8_avx2
#define OPS_VECTOR ht__vector_avx2
#define OPS_BYTES 32
#define OPS_LEVEL avx2
#include "kernels/ops/ops_tmpl.h"
