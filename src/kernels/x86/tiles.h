/*
 * What tiles_amx.h and tiles_emulated.h share. A tile is a register of up to 16 rows of up to 64 bytes; shapes are set for
 * all tiles of a thread at once. Both define TILE_TOKENS and
 *   TILES_KEEP(kept)                      the shapes that the thread has now, none: zeros; kept, shapes: struct tile_shapes *
 *   TILES_SHAPE(shapes)                   what is in tiles is lost
 *   TILES_RESTORE(kept)                   as they were before TILES_KEEP
 *   TILE_ZERO(tile)
 *   TILE_LOAD(tile, from, stride), TILE_STORE(tile, to, stride)
 *   TILE_DOTS(sums, x, y)                 sums[i][j] += x[i][4k + b] * y[k][4j + b] over k and b, signed, in 32 bits
 *   TILE_DOTS_BF16(sums, x, y)            the same of BF16, in pairs and in floats: x[i][2k + b] * y[k][2j + b], b < 2
 * with tiles named by literal numbers. Shapes are a thread's: programs that set them once and call us in between must find
 * them again.
 */
#ifndef HT_KERNELS_TILES_H
#define HT_KERNELS_TILES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define TILE_TOKENS 16 /* rows of a full tile */

/* As LDTILECFG reads it: 64 bytes. */
struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
};
static_assert(sizeof(struct tile_shapes) == 64, "shapes of tiles");
static_assert(offsetof(struct tile_shapes, rows) == 48, "shapes of tiles");

#endif
