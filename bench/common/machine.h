/* The machine that a table was measured on. */
#ifndef HT_BENCH_MACHINE_H
#define HT_BENCH_MACHINE_H

#include "base/json_write.h"

enum { MACHINE_PLACES = 2 }; /* of read bandwidth: with one thread, with two */

struct machine {
    char vendor[16], model[64];
    int family, number; /* of the model, as the processor says */
    const char *level;  /* the best of the program's CPU levels */
    int cores;          /* that the process may use */
    /* Of one core, a multiplication and an addition being two, in Gop/s: floats, bytes, and bytes in tiles, or 0. */
    double floats, bytes, tiles;
    double read[MACHINE_PLACES]; /* GB/s, in huge pages; 0 where there are not the cores */
};

/* Takes less than a second. */
void machine_measure(struct machine *machine);
void machine_print(const struct machine *machine);
void machine_put(const struct machine *machine, struct ht__jw *w);

#endif
