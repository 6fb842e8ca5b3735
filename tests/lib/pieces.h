/* malloc by pieces: what an arena hands out is then a block of its own, whose ends a sanitizer guards. */
#ifndef HT_TESTS_LIB_PIECES_H
#define HT_TESTS_LIB_PIECES_H

#include "base/alloc.h"

#include <stdlib.h>

static inline void *pieces_resize(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (size > 0) return realloc(ptr, size);
    free(ptr);
    return NULL;
}

static const struct ht__alloc pieces = {pieces_resize, NULL, true};

#endif
