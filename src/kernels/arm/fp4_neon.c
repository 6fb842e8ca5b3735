/* MXFP4 and NVFP4 at this level: see fp4_tmpl.h. */
#include "kernels/arm/vec_neon.h"
#include "kernels/x86/fp4_tmpl.h"

void ht__mxfp4_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    encode_mx(src, n_rows * row_len / MX_LEN, dst);
}

void ht__nvfp4_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    encode_nv(src, n_rows * row_len / NV_LEN, dst);
}
