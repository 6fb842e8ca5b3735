/* An allocator that counts, and that fails when it is told to. Thread-safe. */
#ifndef HT_TESTS_LIB_COUNTING_H
#define HT_TESTS_LIB_COUNTING_H

#include "base/alloc.h"

#include <stdatomic.h>

struct counting {
    struct ht__alloc alloc;     /* what is handed to the code under test */
    long fail_at;               /* the request that fails, counted from 1; 0: none */
    bool fail_on;               /* and every one after it */
    atomic_long requests, live; /* blocks asked for; not given back */
    atomic_size_t held, peak;   /* bytes now, and at most */
};

/* Everything at zero; the fail_at-th request fails. piecewise: arenas ask for each piece by itself. */
void counting_begin(struct counting *counting, long fail_at, bool piecewise);

#endif
