/* The processor time of this thread, in seconds: what other programs on the machine do does not count. */
#ifndef HT_BENCH_CLOCK_H
#define HT_BENCH_CLOCK_H

#include <time.h>

static inline double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
