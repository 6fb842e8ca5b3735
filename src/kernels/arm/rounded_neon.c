/* Q8_0, TQ1_0 and TQ2_0 at this level: see rounded_tmpl.h. */
#include "kernels/arm/vec_neon.h"
#include "kernels/x86/rounded_tmpl.h"

void ht__q8_0_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    encode_q8(src, n_rows * row_len / Q8_LEN, dst);
}

void ht__tq1_0_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    encode_tq1(src, n_rows * row_len / SUPER, dst);
}

void ht__tq2_0_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    encode_tq2(src, n_rows * row_len / SUPER, dst);
}
