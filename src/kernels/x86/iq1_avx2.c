#include "kernels/x86/vec_avx2.h"

#include "kernels/x86/iq1_vec_avx2.h"

#include "kernels/x86/iq1_tmpl.h"

IQ1_ENCODER(iq1_s, 32, avx2)
IQ1_ENCODER(iq1_m, 16, avx2)
