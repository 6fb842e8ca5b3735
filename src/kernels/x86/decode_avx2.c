/* Decoders at this level: see decode_tmpl.h. */
#include "kernels/x86/vec_avx2.h"
#include "kernels/x86/decode_tmpl.h"

DECODER(q8_0, avx2)
DECODER(q4_0, avx2)
DECODER(q4_1, avx2)
DECODER(q5_0, avx2)
DECODER(q5_1, avx2)
DECODER(q2_k, avx2)
DECODER(q3_k, avx2)
DECODER(q4_k, avx2)
DECODER(q5_k, avx2)
DECODER(q6_k, avx2)
DECODER(iq4_nl, avx2)
DECODER(iq4_xs, avx2)
DECODER(mxfp4, avx2)
DECODER(nvfp4, avx2)
DECODER(tq2_0, avx2)
