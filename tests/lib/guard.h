/* Buffers that end (or begin) exactly at an unmapped page, so that any access outside them traps. */
#ifndef HT_TESTS_GUARD_H
#define HT_TESTS_GUARD_H

#include <stddef.h>

struct guard {
    void *data; /* `size` usable bytes, flush against an unmapped page */
    size_t size;
    void *map;
    size_t map_size;
};

/* Flush against the page after it; filled with 0xA5. Aborts when memory cannot be had (tests only). */
struct guard guard_after(size_t size);
/* Flush against the page before it. */
struct guard guard_before(size_t size);
void guard_free(struct guard *guard);

#endif
