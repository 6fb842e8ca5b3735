/* The operations of best/lanes.h with vectors of eight. */
#define LANES_OPS ht__best_ops_avx2
#define LANES_WIDTH 8
#include "kernels/best/lanes_tmpl.h"
