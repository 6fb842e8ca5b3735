#include "kernels/arm/vec_neon.h"

#include "kernels/arm/lattice_vec_neon.h"

#include "kernels/x86/lattice_tmpl.h"

LATTICE_ENCODER(iq2_xxs, neon)
LATTICE_ENCODER(iq2_xs, neon)
LATTICE_ENCODER(iq2_s, neon)
LATTICE_ENCODER(iq3_xxs, neon)
LATTICE_ENCODER(iq3_s, neon)
