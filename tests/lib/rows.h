/* Rows of weights for kernel tests: many kinds, all finite, the same on every machine. */
#ifndef HT_TESTS_ROWS_H
#define HT_TESTS_ROWS_H

#include <stdint.h>

enum row_kind {
    ROWS_GAUSSIAN, /* heavy tails */
    ROWS_HALVES,   /* half-integers: ties of every rounding */
    ROWS_PATCHES,  /* zero, constant, one-signed and 1e-4-scaled sub-blocks */
    ROWS_FADING,   /* magnitudes falling to subnormal */
    ROWS_LEVELS,   /* few levels, shifted */
    ROWS_SPIKES,   /* sparse, with x1000 spikes */
    ROWS_HUGE,     /* up to 1e30 */
    ROWS_BELOW,    /* narrow sub-blocks far below zero */
    ROWS_ZERO,
    ROWS_TIES,         /* whole and half numbers up to 127, and their neighbours: scales of 1 */
    ROWS_SIGNED_ZEROS, /* not negative, or not positive, with zeros of both signs; blocks of zeros only */
    ROWS_PRODUCTS,     /* whole and half numbers times scales of two factors: quotients by these are ties */
    ROWS_N_KINDS
};

void rows_fill(enum row_kind kind, uint64_t seed, int64_t n, float *x);
/* Not negative; a tenth of it zero, some blocks all zero. */
void rows_importance(uint64_t seed, int64_t n, float *w);
/* The golden rows: 8 x 1024 weights and 1024 importances. */
void rows_golden(float x[8192], float importance[1024]);
uint64_t rows_hash(const void *data, uint64_t n);

#endif
