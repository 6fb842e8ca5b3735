/* Rows of weights that are read once, one after the other: asked for ahead where the processor does not see to it. */
#ifndef HT_KERNELS_AHEAD_H
#define HT_KERNELS_AHEAD_H

#include "kernels/codec.h"

/* What lies `ahead` bytes behind the `size` bytes at hand, to the second cache; ahead is ht__cpu_row_ahead(). Inlined: for gcc 12 a
 * function that only fetches has no effect, and it drops the calls. */
static inline __attribute__((always_inline)) void fetch_behind(const uint8_t *at, size_t size, size_t ahead)
{
    if (ahead == 0) return;
    for (size_t i = 0; i < size; i += 64)
        __builtin_prefetch(at + ahead + i, 0, 2);
}

#endif
