/* Q4_K and Q5_K at this level: see q4_k_tmpl.h. */
#include "kernels/arm/vec_neon.h"
#include "kernels/x86/q4_k_tmpl.h"

void ht__q4_k_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    encode_q4(src, n_rows, row_len, importance, dst);
}

void ht__q5_k_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    encode_q5(src, n_rows, row_len, importance, dst);
}
