/* The operations of lanes.h for any processor, and the choice among levels. */
#define LANES_OPS ht__best_ops_scalar
#define LANES_WIDTH 4
#include "kernels/best/lanes_tmpl.h"

#include "kernels/codec.h"

const struct ht__best_ops *ht__best_ops(void)
{
#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
    if (ht__cpu_has(HT__CPU_avx2)) return &ht__best_ops_avx2;
#endif
    return &ht__best_ops_scalar;
}
