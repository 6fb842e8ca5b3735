/* The CPU levels that this machine can run, and after them what of others is emulated: tests of operations walk them all. */
#ifndef HT_TESTS_LEVELS_H
#define HT_TESTS_LEVELS_H

#include "kernels/ops/ops.h"

/* Tiles of amx, and dot products of BF16, without the machine for them. */
enum { EMULATED_AVX2 = HT__CPU_N_LEVELS, EMULATED_AVX512, EMULATED_DOTS, N_LEVELS };

#define EACH_LEVEL(l) (int l = 0; l < N_LEVELS; l = next_level(l))
int next_level(int level);

/* That one's operations serve but for what is emulated; it is also how weights are decoded. */
enum ht__cpu_level base_of(int level);
const struct ht__ops *ops_of(int level);
const char *name_of(int level);

#endif
