#include "kernels/x86/vec_avx512.h"

#include "kernels/x86/iq1_vec_avx512.h"

#include "kernels/x86/iq1_tmpl.h"

IQ1_ENCODER(iq1_s, 32, avx512)
IQ1_ENCODER(iq1_m, 16, avx512)
