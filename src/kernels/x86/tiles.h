/*
 * What tiles_amx.h and tiles_emulated.h share. A tile is a register of up to 16 rows of up to 64 bytes; shapes are set for
 * all tiles of a thread at once. Both define TILE_TOKENS and
 *   TILES_BEGIN(shapes), TILES_END()      shapes: const struct tile_shapes *
 *   TILE_ZERO(tile)
 *   TILE_LOAD(tile, from, stride), TILE_STORE(tile, to, stride)
 *   TILE_DOTS(sums, signed, unsigned)     sums[i][j] += signed[i][4k + b] * unsigned[k][4j + b] over k and b, in 32 bits
 * with tiles named by literal numbers.
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
