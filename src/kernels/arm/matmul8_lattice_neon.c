#include "kernels/arm/rows_neon.h"

#define LEVEL neon
#include "kernels/x86/matmul8_lattice_tmpl.h"
