/* IQ4_NL and IQ4_XS at this level: see iq4_tmpl.h. */
#include "kernels/x86/vec_avx512.h"
#include "kernels/x86/iq4_tmpl.h"

void ht__iq4_nl_encode_avx512(const float *src, int64_t n_rows, int64_t row_len, const float *importance,
                              void *dst)
{
    if (importance)
        encode_iq4(&ht__codec_iq4_nl, LEN, src, n_rows, row_len, importance, dst);
    else
        encode_iq4(&ht__codec_iq4_nl, LEN, src, n_rows, row_len, NULL, dst);
}

void ht__iq4_xs_encode_avx512(const float *src, int64_t n_rows, int64_t row_len, const float *importance,
                              void *dst)
{
    if (importance)
        encode_iq4(&ht__codec_iq4_xs, SUPER, src, n_rows, row_len, importance, dst);
    else
        encode_iq4(&ht__codec_iq4_xs, SUPER, src, n_rows, row_len, NULL, dst);
}
