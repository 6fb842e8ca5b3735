#include "lib/counting.h"

#include <stdint.h>

#include <stdlib.h>
#include <string.h>

/* In front of each block, so that what is given back is known to the byte. */
enum { HEAD = 16 };

static void grow(struct counting *c, size_t from, size_t to)
{
    size_t now = atomic_fetch_add(&c->held, to - from) + (to - from), peak = atomic_load(&c->peak);
    while (now > peak && to > from && !atomic_compare_exchange_weak(&c->peak, &peak, now))
        ;
}

static void *resize(void *ctx, void *ptr, size_t size)
{
    struct counting *c = ctx;
    char *block = ptr ? (char *)ptr - HEAD : NULL;
    size_t old = 0;
    if (block) memcpy(&old, block, sizeof old);
    if (size == 0) {
        if (block) atomic_fetch_sub(&c->live, 1);
        grow(c, old, 0);
        free(block);
        return NULL;
    }
    long n = atomic_fetch_add(&c->requests, 1) + 1;
    if (c->fail_at && (n == c->fail_at || (c->fail_on && n > c->fail_at))) return NULL;
    char *moved = size <= SIZE_MAX - HEAD ? realloc(block, size + HEAD) : NULL;
    if (!moved) return NULL;
    if (!block) atomic_fetch_add(&c->live, 1);
    grow(c, old, size);
    memcpy(moved, &size, sizeof size);
    return moved + HEAD;
}

void counting_begin(struct counting *c, long fail_at, bool piecewise)
{
    memset(c, 0, sizeof *c);
    c->alloc = (struct ht__alloc){resize, c, piecewise};
    c->fail_at = fail_at;
}
