#include "base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void *ht__resize(const struct ht__alloc *alloc, void *ptr, size_t size)
{
    if (alloc) return alloc->resize(alloc->ctx, ptr, size);
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

void *ht__new(const struct ht__alloc *alloc, size_t size)
{
    if (!alloc) return calloc(1, size ? size : 1);
    void *p = ht__resize(alloc, NULL, size ? size : 1);
    if (p) memset(p, 0, size);
    return p;
}

void *ht__new_array(const struct ht__alloc *alloc, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) return NULL;
    return ht__new(alloc, bytes);
}

void ht__free(const struct ht__alloc *alloc, void *ptr)
{
    if (ptr) ht__resize(alloc, ptr, 0);
}

enum { ALIGNMENT = 64 };

/* The distance to the block's true start is kept in the word before the aligned address. */
void *ht__new_aligned(const struct ht__alloc *alloc, size_t size)
{
    if (size > SIZE_MAX - 2 * ALIGNMENT) return NULL;
    unsigned char *raw = ht__resize(alloc, NULL, size + 2 * ALIGNMENT);
    if (!raw) return NULL;
    uintptr_t aligned = ((uintptr_t)raw + 2 * ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1);
    size_t shift = aligned - (uintptr_t)raw;
    unsigned char *p = raw + shift;
    memcpy(p - sizeof shift, &shift, sizeof shift);
    return p;
}

/* Advice only: what the kernel does not give stays in small pages. The ends, which share a huge page with others, do so too. */
void *ht__new_walked(const struct ht__alloc *alloc, size_t size)
{
    const uintptr_t huge = (uintptr_t)2 << 20;
    char *p = ht__new_aligned(alloc, size);
    if (!p || size < 2 * huge) return p;
    size_t before = (huge - (uintptr_t)p % huge) % huge;
    madvise(p + before, (size - before) / huge * huge, MADV_HUGEPAGE);
    return p;
}

void ht__free_aligned(const struct ht__alloc *alloc, void *ptr)
{
    if (!ptr) return;
    size_t shift;
    memcpy(&shift, (unsigned char *)ptr - sizeof shift, sizeof shift);
    ht__free(alloc, (unsigned char *)ptr - shift);
}
