/* Checked arithmetic: every product and sum of sizes that come from a file goes through here. */
#ifndef HT_BASE_CHECK_H
#define HT_BASE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool ht__mul_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool ht__add_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* Rounds up to a multiple of a power of two. */
static inline bool ht__align_ok(uint64_t n, uint64_t alignment, uint64_t *out)
{
    uint64_t sum;
    if (!ht__add_ok(n, alignment - 1, &sum)) return false;
    *out = sum & ~(alignment - 1);
    return true;
}

/* Is [offset, offset + size) inside [0, limit)? */
static inline bool ht__range_ok(uint64_t offset, uint64_t size, uint64_t limit)
{
    return offset <= limit && size <= limit - offset;
}

/* The product of n extents; false on overflow of int64_t. An empty list gives 1. */
static inline bool ht__extents_ok(const int64_t *extents, int n, uint64_t *out)
{
    uint64_t product = 1;
    for (int i = 0; i < n; i++)
        if (extents[i] < 0 || !ht__mul_ok(product, (uint64_t)extents[i], &product) || product > INT64_MAX) return false;
    *out = product;
    return true;
}

#endif
