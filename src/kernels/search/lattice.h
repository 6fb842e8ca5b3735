/* What the codebook types IQ2 and IQ3 share: signs, snapping to a lattice, the search for a scale. */
#ifndef HT_KERNELS_LATTICE_H
#define HT_KERNELS_LATTICE_H

#include "kernels/search/iq_grid.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    HT__LATTICE_SUPER = 256,
    HT__LATTICE_MAX = 32, /* weights a block, at most */
};

/* How a type searches one block of n weights with magnitudes 2l + 1 times the scale. */
struct ht__lattice_params {
    const struct ht__iq_grid *grid;
    int n;     /* weights a block: 16 or 32 */
    int steps; /* trials -steps … steps */
    float step;
    bool even_signs;   /* only seven signs of eight are stored: their number of minuses must be even */
    bool positive_max; /* the trials start from a search for a non-negative scale (IQ2_XXS) */
    enum { HT__SNAP_OFF_GRID, HT__SNAP_ALL_IF_ANY, HT__SNAP_ALL } snap;
    float tiny; /* blocks below this stay all zero; 0: only those that are zero */
};

struct ht__lattice_block {
    float scale;        /* >= 0; 0 where the block stays all zero */
    uint16_t points[8]; /* lattice index of every group */
    uint8_t signs[4];   /* of every eight weights; a set bit is a minus */
};

void ht__lattice_search(const struct ht__lattice_params *params, const float *x, const float *w,
                        struct ht__lattice_block *block);

/* A codebook type: how its super-blocks of 256 are weighed, searched and packed. */
struct ht__lattice_type {
    struct ht__lattice_params search;
    float sigma; /* sigma^2 is so many times the mean square of the super-block */
    float flat;  /* without importance the weights are flat * sigma^2 + x^2 */
    int block_size;
    /* 256 / n searched blocks to the bytes of a super-block */
    void (*pack)(const struct ht__lattice_block *blocks, uint8_t *out);
};

void ht__iq2_xxs_pack(const struct ht__lattice_block *blocks, uint8_t *out);
void ht__iq2_xs_pack(const struct ht__lattice_block *blocks, uint8_t *out);
void ht__iq2_s_pack(const struct ht__lattice_block *blocks, uint8_t *out);
void ht__iq3_xxs_pack(const struct ht__lattice_block *blocks, uint8_t *out);
void ht__iq3_s_pack(const struct ht__lattice_block *blocks, uint8_t *out);

/*
 * In a header, so that vector variants are compiled with these numbers as constants. Trials, steps, what counts as zero
 * and the weights without importance (sigma, flat) are llama.cpp's choices (search.h).
 */
static const struct ht__lattice_type ht__iq2_xxs_lattice = {
    {&ht__iq2_xxs_grid, 32, 6, 0.1f, true, true, HT__SNAP_ALL, 1e-15f}, 1, 0.25f, 66, ht__iq2_xxs_pack};
static const struct ht__lattice_type ht__iq2_xs_lattice = {
    {&ht__iq2_xs_grid, 16, 9, 0.1f, true, false, HT__SNAP_OFF_GRID, 1e-15f}, 1, 0.25f, 74, ht__iq2_xs_pack};
static const struct ht__lattice_type ht__iq2_s_lattice = {
    {&ht__iq2_s_grid, 16, 9, 0.1f, false, false, HT__SNAP_OFF_GRID, 1e-8f}, 2, 0.25f, 82, ht__iq2_s_pack};
static const struct ht__lattice_type ht__iq3_xxs_lattice = {
    {&ht__iq3_xxs_grid, 32, 15, 0.2f, true, false, HT__SNAP_OFF_GRID, 1e-8f}, 2, 0, 98, ht__iq3_xxs_pack};
static const struct ht__lattice_type ht__iq3_s_lattice = {
    {&ht__iq3_s_grid, 32, 9, 0.2f, false, false, HT__SNAP_ALL_IF_ANY, 0}, 2, 0, 110, ht__iq3_s_pack};

/* Rows of 256-weight super-blocks, scalar; importance as in codec.h. */
void ht__lattice_encode(const struct ht__lattice_type *type, const float *src, int64_t n_rows, int64_t row_len,
                        const float *importance, void *dst);

/* 4-bit codes of the scales: (2l + 1) * d/… ; gives d, or 0 when every scale is 0. */
float ht__lattice_scales(const struct ht__lattice_block *blocks, int n, uint8_t *codes);

/* The sign index of seven bits as eight: the eighth makes the number of minuses even. */
static inline uint8_t ht__even_signs(unsigned index)
{
    return (uint8_t)(index | (unsigned)__builtin_parity(index) << 7);
}

#endif
