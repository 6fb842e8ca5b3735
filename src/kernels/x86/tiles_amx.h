/* Tiles by the instructions of AMX: see tiles.h. */
#ifndef HT_KERNELS_TILES_AMX_H
#define HT_KERNELS_TILES_AMX_H

#include "kernels/x86/tiles.h"

#include <immintrin.h>

#define WAVE_GROUPS 2

/* Compilers do not all know that these read memory. */
#define TILES_FENCE __asm__ volatile("" ::: "memory")
#define TILES_KEEP(kept)                                                                                               \
    do {                                                                                                               \
        _tile_storeconfig(kept);                                                                                       \
        TILES_FENCE;                                                                                                   \
    } while (0)
#define TILES_SHAPE(shapes)                                                                                            \
    do {                                                                                                               \
        TILES_FENCE;                                                                                                   \
        _tile_loadconfig(shapes);                                                                                      \
    } while (0)
#define TILES_RESTORE(kept)                                                                                            \
    do {                                                                                                               \
        TILES_FENCE;                                                                                                   \
        if ((kept)->palette)                                                                                           \
            _tile_loadconfig(kept);                                                                                    \
        else                                                                                                           \
            _tile_release();                                                                                           \
    } while (0)
#define TILE_ZERO(tile) _tile_zero(tile)
#define TILE_LOAD(tile, from, stride)                                                                                  \
    do {                                                                                                               \
        TILES_FENCE;                                                                                                   \
        _tile_loadd(tile, from, stride);                                                                               \
    } while (0)
#define TILE_STORE(tile, to, stride)                                                                                   \
    do {                                                                                                               \
        _tile_stored(tile, to, stride);                                                                                \
        TILES_FENCE;                                                                                                   \
    } while (0)
#define TILE_DOTS(sums, a, b) _tile_dpbssd(sums, a, b)
#define TILE_DOTS_BF16(sums, a, b) _tile_dpbf16ps(sums, a, b)

#endif
