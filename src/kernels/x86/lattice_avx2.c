#include "kernels/x86/vec_avx2.h"

#include "kernels/x86/lattice_vec_avx2.h"

#include "kernels/x86/lattice_tmpl.h"

LATTICE_ENCODER(iq2_xxs, avx2)
LATTICE_ENCODER(iq2_xs, avx2)
LATTICE_ENCODER(iq2_s, avx2)
LATTICE_ENCODER(iq3_xxs, avx2)
LATTICE_ENCODER(iq3_s, avx2)
