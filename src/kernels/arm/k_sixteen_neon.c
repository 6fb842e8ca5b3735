/* Q2_K, Q3_K and Q6_K at this level: see k_sixteen_tmpl.h. */
#include "kernels/arm/vec_neon.h"
#include "kernels/x86/k_sixteen_tmpl.h"

void ht__q2_k_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    if (importance)
        encode_sixteen(KIND_Q2, &ht__codec_q2_k, src, n_rows, row_len, importance, dst);
    else
        encode_sixteen(KIND_Q2, &ht__codec_q2_k, src, n_rows, row_len, NULL, dst);
}

void ht__q3_k_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    if (importance)
        encode_sixteen(KIND_Q3, &ht__codec_q3_k, src, n_rows, row_len, importance, dst);
    else
        encode_sixteen(KIND_Q3, &ht__codec_q3_k, src, n_rows, row_len, NULL, dst);
}

void ht__q6_k_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    if (importance)
        encode_sixteen(KIND_Q6, &ht__codec_q6_k, src, n_rows, row_len, importance, dst);
    else
        encode_sixteen(KIND_Q6, &ht__codec_q6_k, src, n_rows, row_len, NULL, dst);
}
