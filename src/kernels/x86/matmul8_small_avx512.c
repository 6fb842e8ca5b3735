#include "kernels/x86/rows_avx512.h"

#define LEVEL avx512
#include "kernels/x86/matmul8_small_tmpl.h"
