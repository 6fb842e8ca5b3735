/* Q1_0 and Q2_0 at this level: see small_tmpl.h. */
#include "kernels/arm/vec_neon.h"
#include "kernels/x86/small_tmpl.h"

void ht__q1_0_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    encode_q1(src, n_rows * row_len / Q1_LEN, dst);
}

void ht__q2_0_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    encode_q2(src, n_rows * row_len / Q2_LEN, dst);
}
