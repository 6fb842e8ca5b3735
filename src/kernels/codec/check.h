/* Checks that codecs share: halves that must be finite. */
#ifndef HT_KERNELS_CODEC_CHECK_H
#define HT_KERNELS_CODEC_CHECK_H

#include "kernels/half.h"

#include <stdbool.h>
#include <stdint.h>

static inline bool ht__f16_is_finite(uint16_t h)
{
    return (h & 0x7c00u) != 0x7c00u;
}

/* Index of the first block whose half at `offset` (and, if not negative, at `other`) is not finite. */
static inline int64_t ht__check_halves(const void *src, int64_t n_blocks, int64_t size, int offset, int other)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n_blocks; i++, p += size)
        if (!ht__f16_is_finite(ht__load_u16(p + offset)) || (other >= 0 && !ht__f16_is_finite(ht__load_u16(p + other))))
            return i;
    return -1;
}

#endif
