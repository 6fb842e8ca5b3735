#include "kernels/arm/vec_neon.h"

#undef GROUPS

#define TOKENS_MOST 6
enum { TOKENS = TOKENS_MOST, PASS = 4 }; /* 24 sums, 4 weights and a value of the 32 registers */
#define IN_REGISTER(v) __asm__("" : "+w"(v))

#include "kernels/x86/matmul_tmpl.h"

#define OPS_MATMUL8 ht__matmul8_neon
#define OPS_VECTOR ht__vector_neon
#define OPS_BYTES 16
#define OPS_LEVEL neon
#include "kernels/ops/ops_tmpl.h"
