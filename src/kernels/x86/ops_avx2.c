#include "kernels/x86/vec_avx2.h"

#define TOKENS_MOST 6
enum { TOKENS = TOKENS_MOST, PASS = 2 }; /* 12 sums, 2 weights and a value of the 16 registers */
VEC vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }

#include "kernels/x86/matmul_tmpl.h"

static ht__matmul8_fn *no_matmul8(const struct ht__codec *codec)
{
    (void)codec;
    return NULL;
}

static ht__vector_fn *no_vector(const struct ht__codec *codec)
{
    (void)codec;
    return NULL;
}

#define OPS_MATMUL8 no_matmul8
#define OPS_VECTOR no_vector
#define OPS_LEVEL avx2
#include "kernels/ops/ops_tmpl.h"
