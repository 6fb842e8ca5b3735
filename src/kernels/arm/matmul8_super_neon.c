#include "kernels/arm/rows_neon.h"

#define LEVEL neon
#include "kernels/x86/matmul8_super_tmpl.h"
