/* What the codebook types IQ2 and IQ3 share: signs, snapping to a lattice, the search for a scale. */
#ifndef HT_KERNELS_LATTICE_H
#define HT_KERNELS_LATTICE_H

#include "kernels/search/iq_grid.h"

#include <stdbool.h>
#include <stdint.h>

enum { HT__LATTICE_MAX = 32 }; /* weights a block, at most */

/* How a type searches one block of n weights with magnitudes 2l + 1 times the scale. */
struct ht__lattice_params {
    const struct ht__iq_grid *grid;
    int n;             /* weights a block: 16 or 32 */
    int steps;         /* trials -steps … steps */
    float step;
    bool even_signs;   /* only seven signs of eight are stored: their number of minuses must be even */
    bool positive_max; /* the trials start from a search for a non-negative scale (IQ2_XXS) */
    enum { HT__SNAP_OFF_GRID, HT__SNAP_ALL_IF_ANY, HT__SNAP_ALL } snap;
    float tiny;        /* blocks below this stay all zero; 0: only those that are zero */
};

struct ht__lattice_block {
    float scale;       /* >= 0; 0 where the block stays all zero */
    uint16_t points[8]; /* lattice index of every group */
    uint8_t signs[4];  /* of every eight weights; a set bit is a minus */
};

void ht__lattice_search(const struct ht__lattice_params *params, const float *x, const float *w,
                        struct ht__lattice_block *block);

/* 4-bit codes of the scales: (2l + 1) * d/… ; gives d, or 0 when every scale is 0. */
float ht__lattice_scales(const float *scales, int n, uint8_t *codes);

/* The sign index of seven bits as eight: the eighth makes the number of minuses even. */
static inline uint8_t ht__even_signs(unsigned index)
{
    return (uint8_t)(index | (unsigned)__builtin_parity(index) << 7);
}

#endif
