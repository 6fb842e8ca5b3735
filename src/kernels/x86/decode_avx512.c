/* Decoders at this level: see decode_tmpl.h. */
#include "kernels/x86/vec_avx512.h"
#include "kernels/x86/decode_tmpl.h"

DECODER(q8_0, avx512)
DECODER(q4_0, avx512)
DECODER(q4_1, avx512)
DECODER(q5_0, avx512)
DECODER(q5_1, avx512)
DECODER(q2_k, avx512)
DECODER(q3_k, avx512)
DECODER(q4_k, avx512)
DECODER(q5_k, avx512)
DECODER(q6_k, avx512)
DECODER(iq4_nl, avx512)
DECODER(iq4_xs, avx512)
DECODER(mxfp4, avx512)
DECODER(nvfp4, avx512)
DECODER(tq2_0, avx512)
