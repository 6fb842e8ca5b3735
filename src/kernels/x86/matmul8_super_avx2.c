#include "kernels/x86/rows_avx2.h"

#define LEVEL avx2
#include "kernels/x86/matmul8_super_tmpl.h"
