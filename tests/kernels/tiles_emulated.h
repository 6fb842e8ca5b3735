/*
 * The tile instructions in plain C, for machines without them: as Intel's manual defines them, faults included, which
 * are failed assertions here. See kernels/x86/tiles.h.
 */
#ifndef HT_TESTS_TILES_EMULATED_H
#define HT_TESTS_TILES_EMULATED_H

#include "kernels/x86/tiles.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { TILE_COUNT = 8, TILE_BYTES = 64 };

static _Thread_local struct {
    bool set;
    struct tile_shapes shapes;
    uint8_t rows[TILE_COUNT][TILE_TOKENS][TILE_BYTES];
} emulated;

static inline void emulated_shape(const struct tile_shapes *shapes)
{
    assert(shapes->palette == 1 && shapes->start_row == 0);
    for (int i = 0; i < 14; i++)
        assert(shapes->reserved[i] == 0);
    for (int i = 0; i < 16; i++) {
        assert(shapes->bytes[i] <= TILE_BYTES && shapes->rows[i] <= TILE_TOKENS);
        assert((shapes->bytes[i] == 0) == (shapes->rows[i] == 0));
        assert(i < TILE_COUNT || shapes->rows[i] == 0);
    }
    memset(&emulated, 0, sizeof emulated);
    emulated.shapes = *shapes;
    emulated.set = true;
}

static inline void emulated_keep(struct tile_shapes *kept)
{
    *kept = emulated.set ? emulated.shapes : (struct tile_shapes){0};
}

/* No shapes at all: as TILERELEASE. */
static inline void emulated_restore(const struct tile_shapes *kept)
{
    emulated.set = false;
    if (kept->palette) emulated_shape(kept);
}

static inline void emulated_used(int tile)
{
    assert(emulated.set && tile >= 0 && tile < TILE_COUNT && emulated.shapes.rows[tile] > 0);
}

static inline void emulated_zero(int tile)
{
    emulated_used(tile);
    memset(emulated.rows[tile], 0, sizeof emulated.rows[tile]);
}

static inline void emulated_load(int tile, const void *from, int64_t stride)
{
    emulated_zero(tile);
    for (int i = 0; i < emulated.shapes.rows[tile]; i++)
        memcpy(emulated.rows[tile][i], (const uint8_t *)from + i * stride, emulated.shapes.bytes[tile]);
}

static inline void emulated_store(int tile, void *to, int64_t stride)
{
    emulated_used(tile);
    for (int i = 0; i < emulated.shapes.rows[tile]; i++)
        memcpy((uint8_t *)to + i * stride, emulated.rows[tile][i], emulated.shapes.bytes[tile]);
}

/* TDPBSSD */
static inline void emulated_dots(int sums, int a, int b)
{
    const struct tile_shapes *s = &emulated.shapes;
    emulated_used(sums), emulated_used(a), emulated_used(b);
    assert(sums != a && sums != b && a != b);
    assert(s->bytes[sums] % 4 == 0 && s->bytes[a] % 4 == 0 && s->bytes[b] % 4 == 0);
    assert(s->rows[sums] == s->rows[a] && s->bytes[a] / 4 == s->rows[b] && s->bytes[sums] == s->bytes[b]);
    for (int i = 0; i < s->rows[sums]; i++)
        for (int j = 0; j < s->bytes[sums] / 4; j++) {
            int32_t sum;
            memcpy(&sum, &emulated.rows[sums][i][4 * j], sizeof sum);
            for (int k = 0; k < s->bytes[a]; k++)
                sum += (int8_t)emulated.rows[a][i][k] * (int8_t)emulated.rows[b][k / 4][4 * j + k % 4];
            memcpy(&emulated.rows[sums][i][4 * j], &sum, sizeof sum);
        }
}

static inline float emulated_bf16(int tile, int row, int i)
{
    uint16_t half;
    memcpy(&half, &emulated.rows[tile][row][2 * i], sizeof half);
    uint32_t bits = (half & 0x7f80) == 0 ? 0 : (uint32_t)half << 16; /* subnormal numbers are zeros */
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* TDPBF16PS */
static inline void emulated_dots_bf16(int sums, int a, int b)
{
    const struct tile_shapes *s = &emulated.shapes;
    emulated_used(sums), emulated_used(a), emulated_used(b);
    assert(sums != a && sums != b && a != b);
    assert(s->bytes[sums] % 4 == 0 && s->bytes[a] % 4 == 0 && s->bytes[b] % 4 == 0);
    assert(s->rows[sums] == s->rows[a] && s->bytes[a] / 4 == s->rows[b] && s->bytes[sums] == s->bytes[b]);
    for (int i = 0; i < s->rows[sums]; i++)
        for (int j = 0; j < s->bytes[sums] / 4; j++) {
            float sum, even = 0, odd = 0;
            memcpy(&sum, &emulated.rows[sums][i][4 * j], sizeof sum);
            for (int k = 0; k < s->rows[b]; k++) {
                even = fmaf(emulated_bf16(a, i, 2 * k), emulated_bf16(b, k, 2 * j), even);
                odd = fmaf(emulated_bf16(a, i, 2 * k + 1), emulated_bf16(b, k, 2 * j + 1), odd);
            }
            sum += even + odd;
            memcpy(&emulated.rows[sums][i][4 * j], &sum, sizeof sum);
        }
}

#define TILES_KEEP(kept) emulated_keep(kept)
#define TILES_SHAPE(shapes) emulated_shape(shapes)
#define TILES_RESTORE(kept) emulated_restore(kept)
#define TILE_ZERO(tile) emulated_zero(tile)
#define TILE_LOAD(tile, from, stride) emulated_load(tile, from, (int64_t)(stride))
#define TILE_STORE(tile, to, stride) emulated_store(tile, to, (int64_t)(stride))
#define TILE_DOTS(sums, a, b) emulated_dots(sums, a, b)
#define TILE_DOTS_BF16(sums, a, b) emulated_dots_bf16(sums, a, b)

#endif
