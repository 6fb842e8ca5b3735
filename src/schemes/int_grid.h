/*
 * Weights on a grid of whole numbers: w = (q - zero) * scale, one scale and one zero point for each `group` weights of a
 * row, codes from 0 to 2^bits - 1. GPTQ, AWQ and the integer formats of compressed-tensors are layouts of this.
 *
 * Sums run in eight lanes that are written out, so that every compiler and processor gives the same bits.
 */
#ifndef HT_SCHEMES_INT_GRID_H
#define HT_SCHEMES_INT_GRID_H

#include "schemes/scheme.h"

struct ht__int_grid {
    int bits;                      /* 2 … 8 */
    int64_t group;                 /* divides the length of rows */
    bool asymmetric;               /* otherwise zero is 2^(bits - 1) everywhere */
    bool search;                   /* the range with the least squared error, instead of the whole range */
    float least_zero;              /* asymmetric: zero points start here: 0 or 1 */
    const struct ht__codec *scale; /* f16, bf16 or f32: what scales are stored as */
    const struct ht__codec *value; /* what programs that load it compute weights in */
};

/* x: n_rows x n_in. scale, zero: a row's groups, row after row. importance: n_in floats that errors are weighted with, or
 * NULL. */
void ht__int_grid_fit(const struct ht__int_grid *grid, const float *x, int64_t n_rows, int64_t n_in,
                      const float *importance, float *scale, float *zero);
/* Fills codes->q, by its scales, zero points and groups of columns. */
void ht__int_grid_nearest(const struct ht__int_grid *grid, const float *x, int64_t n_in, struct ht__codes *codes);
/* (q - zero) * scale, rounded once to grid->value. */
void ht__int_grid_value(const struct ht__int_grid *grid, const struct ht__codes *codes, int64_t n_in, float *dst);

/* What is wrong with a file's list of the group of each column (n_in numbers of 32 bits); NULL: nothing. Each group must
 * have `group` columns, in whatever order. */
const char *ht__column_groups_complaint(const void *list, int64_t n_in, int64_t group);

/* The nearest number that the codec holds. */
float ht__round_to(const struct ht__codec *codec, float x);
void ht__round_values(const struct ht__codec *codec, float *x, int64_t n);

#endif
