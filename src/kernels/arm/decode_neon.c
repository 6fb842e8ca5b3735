/* Decoders at this level: see decode_tmpl.h. */
#include "kernels/arm/vec_neon.h"
#include "kernels/x86/decode_tmpl.h"

DECODER(q8_0, neon)
DECODER(q4_0, neon)
DECODER(q4_1, neon)
DECODER(q5_0, neon)
DECODER(q5_1, neon)
DECODER(q2_k, neon)
DECODER(q3_k, neon)
DECODER(q4_k, neon)
DECODER(q5_k, neon)
DECODER(q6_k, neon)
DECODER(iq4_nl, neon)
DECODER(iq4_xs, neon)
DECODER(mxfp4, neon)
DECODER(nvfp4, neon)
DECODER(tq2_0, neon)
