/* Q4_0, Q4_1, Q5_0 and Q5_1 at this level: see legacy_tmpl.h. */
#include "kernels/arm/vec_neon.h"
#include "kernels/x86/legacy_tmpl.h"

void ht__q4_0_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    encode_legacy((struct ht__legacy){8, false, false, 18}, src, n_rows, row_len, importance, dst);
}

void ht__q4_1_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    encode_legacy((struct ht__legacy){15, true, false, 20}, src, n_rows, row_len, importance, dst);
}

void ht__q5_0_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    encode_legacy((struct ht__legacy){16, false, true, 22}, src, n_rows, row_len, importance, dst);
}

void ht__q5_1_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    encode_legacy((struct ht__legacy){31, true, true, 24}, src, n_rows, row_len, importance, dst);
}
