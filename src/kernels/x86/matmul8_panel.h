/*
 * A block of a matrix, unpacked for products in eight bits: included after rows_<level>.h and
 * LEVEL. What a type must do is fill it (matmul8_*_tmpl.h); the sums are the same for all
 * (matmul8_tmpl.h).
 */
#ifndef HT_KERNELS_MATMUL8_PANEL_H
#define HT_KERNELS_MATMUL8_PANEL_H

#include "kernels/codec.h"
#include "kernels/half.h"

enum { SUPER = 256 };

/* 256 weights of VL rows: w = scale * (code - offset) - min, with code 0 … 255. */
struct panel {
    vi codes[SUPER / 4]; /* four neighbouring codes of each row */
    vf scales[SUPER / 16], mins[SUPER / 16];
};

#define UNPACK_NAME3(id, level) ht__unpack_##id##_##level
#define UNPACK_NAME2(id, level) UNPACK_NAME3(id, level)
#define UNPACK_NAME(id) UNPACK_NAME2(id, LEVEL)
/* n_blocks: of 32 weights, eight or fewer where the row ends. */
#define UNPACK(id) void UNPACK_NAME(id)(const struct rows *r, int n_blocks, struct panel *p)

/* A row of matmul8.def. */
struct form {
    void (*unpack)(const struct rows *r, int n_blocks, struct panel *p);
    int sub, offset, most;
    bool mins;
};

#define MATMUL8(id, sub, offset, mins, most) UNPACK(id);
#include "kernels/x86/matmul8.def"
#undef MATMUL8

VEC vi low_nibbles(vi v)
{
    return i_and(v, i_set8(15));
}
VEC vi high_nibbles(vi v)
{
    return low_nibbles(i_shr(v, 4));
}

/* Bits of each byte of a dword: (v >> shift & mask) << up. */
VEC vi bits(vi v, int shift, int mask, int up)
{
    return i_shl(i_and(i_shr(v, shift), i_set8(mask)), up);
}

/* Bits of each dword. */
VEC vi field(vi v, int shift, int mask)
{
    return i_and(i_shr(v, shift), i_set32(mask));
}

#endif
