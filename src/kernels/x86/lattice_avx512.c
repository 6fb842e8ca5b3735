#include "kernels/x86/vec_avx512.h"

#include "kernels/x86/lattice_vec_avx512.h"

#include "kernels/x86/lattice_tmpl.h"

LATTICE_ENCODER(iq2_xxs, avx512)
LATTICE_ENCODER(iq2_xs, avx512)
LATTICE_ENCODER(iq2_s, avx512)
LATTICE_ENCODER(iq3_xxs, avx512)
LATTICE_ENCODER(iq3_s, avx512)
