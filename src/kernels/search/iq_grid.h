/*
 * The lattices of the codebook types (IQ1, IQ2, IQ3) and, for points that are not on them, the list of
 * near lattice points that llama.cpp's encoder tries. The tables are computed when the program is
 * built (tools/gen_iq_tables.c) from the published lattice points in iq_grids.def.
 *
 * A group of `dim` weights has digits l[i] in 0 .. levels-1; its code is the sum of l[i] << (bits*i).
 */
#ifndef HT_KERNELS_IQ_GRID_H
#define HT_KERNELS_IQ_GRID_H

#include <stdint.h>

struct ht__iq_grid {
    int dim;      /* weights a group: 8 (IQ1, IQ2) or 4 (IQ3) */
    int bits;     /* bits a digit: 2 or 3 */
    int levels;   /* digits run from 0 to levels-1: 3 or 8 */
    int n_points; /* lattice points */
    /* n_points x dim: the digits of each point */
    const uint8_t *points;
    /* by code (1 << bits*dim entries): >= 0 the index of the lattice point with these digits;
     * < 0: -(offset+1), where neighbour_codes[offset] is the number of neighbours and their codes follow. */
    const int32_t *map;
    /* all points in the nearest K distinct squared-distance shells, ordered by (distance, index). Lists are filled
     * up to a multiple of sixteen with their first point: no tie of it wins against itself. */
    const uint16_t *neighbour_codes;
    /* as map and neighbour_codes, without the neighbours that cannot win where no weight is within 1/4096 of
     * the edge between two digits; filled up to eight, or to a multiple of sixteen */
    const int32_t *near_map;
    const uint16_t *near;
    int32_t near_long; /* lists from this offset on have more than eight points */
};

extern const struct ht__iq_grid ht__iq2_xxs_grid; /* K = 2 */
extern const struct ht__iq_grid ht__iq2_xs_grid;  /* K = 2 */
extern const struct ht__iq_grid ht__iq2_s_grid;   /* K = 1 */
extern const struct ht__iq_grid ht__iq1_grid;     /* K = 3 */
extern const struct ht__iq_grid ht__iq3_xxs_grid; /* K = 2 */
extern const struct ht__iq_grid ht__iq3_s_grid;   /* K = 3 */

#endif
