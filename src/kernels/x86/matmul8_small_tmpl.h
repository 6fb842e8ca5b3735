/* Panels of the formats with blocks of 32 … 128 weights. Byte diagrams are at the head of each
 * type's unit. */
#include "kernels/codec/fp4.h"
#include "kernels/codec/iq4.h"
#include "kernels/x86/matmul8_panel.h"

UNPACK(q8_0)
{
    for (int b = 0; b < n_blocks; b++) {
        vi t[8];
        size_t at = (size_t)b * 34;
        turn32(r, at + 2, t);
        for (int j = 0; j < 8; j++) /* signed to 0 … 255 */
            p->codes[8 * b + j] = i_xor(t[j], i_set8(0x80));
        p->scales[b] = halves(r, at);
    }
}

/* 32 nibbles of each row at `at`: element i < 16 in the low one of byte i, element 16 + i in the
 * high one. */
VEC void nibbles(const struct rows *r, size_t at, vi codes[8])
{
    vi t[4];
    turn16(r, at, t);
    for (int j = 0; j < 4; j++) {
        codes[j] = low_nibbles(t[j]);
        codes[4 + j] = high_nibbles(t[j]);
    }
}

VEC void fifth_bits(const struct rows *r, size_t at, vi codes[8])
{
    vi high = words(r, at);
    for (int j = 0; j < 8; j++)
        codes[j] = i_or(codes[j], i_and(i_masks(i_shr(high, 4 * j)), i_set8(16)));
}

UNPACK(q4_0)
{
    for (int b = 0; b < n_blocks; b++) {
        nibbles(r, (size_t)b * 18 + 2, p->codes + 8 * b);
        p->scales[b] = halves(r, (size_t)b * 18);
    }
}

UNPACK(q4_1)
{
    for (int b = 0; b < n_blocks; b++) {
        vi both = words(r, (size_t)b * 20);
        nibbles(r, (size_t)b * 20 + 4, p->codes + 8 * b);
        p->scales[b] = i_halves(both);
        p->mins[b] = v_sub(v_zero(), i_halves(i_shr(both, 16)));
    }
}

UNPACK(q5_0)
{
    for (int b = 0; b < n_blocks; b++) {
        nibbles(r, (size_t)b * 22 + 6, p->codes + 8 * b);
        fifth_bits(r, (size_t)b * 22 + 2, p->codes + 8 * b);
        p->scales[b] = halves(r, (size_t)b * 22);
    }
}

UNPACK(q5_1)
{
    for (int b = 0; b < n_blocks; b++) {
        vi both = words(r, (size_t)b * 24);
        nibbles(r, (size_t)b * 24 + 8, p->codes + 8 * b);
        fifth_bits(r, (size_t)b * 24 + 4, p->codes + 8 * b);
        p->scales[b] = i_halves(both);
        p->mins[b] = v_sub(v_zero(), i_halves(i_shr(both, 16)));
    }
}

UNPACK(iq4_nl)
{
    for (int b = 0; b < n_blocks; b++) {
        vi *codes = p->codes + 8 * b;
        nibbles(r, (size_t)b * 18 + 2, codes);
        for (int j = 0; j < 8; j++)
            codes[j] = i_xor(i_lookup(ht__iq4_values, codes[j]), i_set8(0x80));
        p->scales[b] = halves(r, (size_t)b * 18);
    }
}

UNPACK(mxfp4)
{
    for (int b = 0; b < n_blocks; b++) {
        vi *codes = p->codes + 8 * b;
        float scales[VL];
        nibbles(r, (size_t)b * 17 + 1, codes);
        for (int j = 0; j < 8; j++)
            codes[j] = i_add8(i_lookup(ht__fp4_values, codes[j]), i_set8(12));
        for (int i = 0; i < VL; i++)
            scales[i] = ht__mx_scale(r->at[i][17 * b]);
        p->scales[b] = v_load(scales);
    }
}

UNPACK(nvfp4)
{
    for (int b = 0; b < n_blocks; b += 2) {
        size_t at = (size_t)(b / 2) * 36;
        vi t[8], *codes = p->codes + 8 * b;
        turn32(r, at + 4, t);
        for (int j = 0; j < 8; j++) { /* eight bytes a sub-block: its first half in the low nibbles */
            int to = j / 2 * 4 + j % 2;
            codes[to] = i_add8(i_lookup(ht__fp4_values, low_nibbles(t[j])), i_set8(12));
            codes[to + 2] = i_add8(i_lookup(ht__fp4_values, high_nibbles(t[j])), i_set8(12));
        }
        for (int g = 0; g < 4; g++) {
            float scales[VL];
            for (int i = 0; i < VL; i++)
                scales[i] = ht__nv_scale(r->at[i][at + (size_t)g]);
            p->scales[2 * b + g] = v_load(scales);
        }
    }
}

UNPACK(q1_0)
{
    for (int b = 0; b < n_blocks; b++) {
        size_t at = (size_t)(b / 4) * 18;
        vi w = words(r, at + 2 + 4 * (size_t)(b % 4));
        for (int j = 0; j < 8; j++)
            p->codes[8 * b + j] = i_and(i_masks(i_shr(w, 4 * j)), i_set8(2));
        p->scales[b] = halves(r, at);
    }
}

UNPACK(q2_0)
{
    for (int b = 0; b < n_blocks; b += 2) {
        size_t at = (size_t)(b / 2) * 18;
        vi t[4];
        turn16(r, at + 2, t);
        for (int j = 0; j < 16; j++) { /* a byte holds four codes: two bits to each byte */
            vi v = field(t[j / 4], 8 * (j % 4), 255);
            v = i_or(i_or(v, i_shl(v, 6)), i_or(i_shl(v, 12), i_shl(v, 18)));
            p->codes[8 * b + j] = i_and(v, i_set8(3));
        }
        p->scales[b] = p->scales[b + 1] = halves(r, at);
    }
}
