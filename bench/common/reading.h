/* Reading memory and doing nothing else: what no product of a matrix with one token can be faster than. */
#ifndef HT_BENCH_READING_H
#define HT_BENCH_READING_H

#include <stddef.h>
#include <stdint.h>

struct reading {
    const uint8_t *from;
    size_t size;
    int threads; /* each reads a part of its own, one after the other within it */
    int streams; /* of a thread: places in its part that it reads from in turn */
    int ahead;   /* bytes ahead of the read that are asked for; 0: what the processor does by itself */
};

/* Bytes a second by the wall clock, the best of some tries: others on the machine count. */
double reading_speed(const struct reading *reading, int tries);

/* Memory that is there, in huge pages where the kernel gives them, or without; NULL where there is none. Free with munmap. */
uint8_t *reading_room(size_t size, int huge);

#endif
