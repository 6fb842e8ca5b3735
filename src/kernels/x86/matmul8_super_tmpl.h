/* Panels of the formats with super-blocks of 256 weights. Byte diagrams are at the head of each
 * type's unit. */
#include "kernels/codec/iq4.h"
#include "kernels/x86/matmul8_panel.h"

VEC vf times_int(vf d, vi s)
{
    return v_mul(d, i_floats(s));
}

/* The six-bit scales and minima of Q4_K and Q5_K, all rows at once; head: d and dmin, then twelve
 * bytes. */
VEC void k_scales(const vi head[4], struct panel *p)
{
    vf d = i_halves(head[0]), dmin = i_halves(i_shr(head[0], 16));
    for (int j = 0; j < 4; j++) {
        vi s = field(head[1], 8 * j, 63), m = field(head[2], 8 * j, 63);
        vi both = field(head[3], 8 * j, 255);
        p->scales[j] = times_int(d, s);
        p->mins[j] = times_int(dmin, m);
        s = i_or(i_and(both, i_set32(15)), i_shl(field(head[1], 8 * j + 6, 3), 4));
        m = i_or(i_shr(both, 4), i_shl(field(head[2], 8 * j + 6, 3), 4));
        p->scales[4 + j] = times_int(d, s);
        p->mins[4 + j] = times_int(dmin, m);
    }
}

UNPACK(q4_k)
{
    vi head[4], t[16];
    (void)n_blocks;
    turn16(r, 0, head);
    k_scales(head, p);
    for (int half = 0; half < 2; half++) {
        turn64(r, 16 + 64 * (size_t)half, t);
        for (int g = 0; g < 2; g++) /* 32 bytes: the low nibbles are 32 weights, the high ones the next 32 */
            for (int j = 0; j < 8; j++) {
                p->codes[32 * half + 16 * g + j] = low_nibbles(t[8 * g + j]);
                p->codes[32 * half + 16 * g + 8 + j] = high_nibbles(t[8 * g + j]);
            }
    }
}

UNPACK(q5_k)
{
    vi head[4], high[8], t[16];
    (void)n_blocks;
    turn16(r, 0, head);
    k_scales(head, p);
    turn32(r, 16, high);
    for (int half = 0; half < 2; half++) {
        turn64(r, 48 + 64 * (size_t)half, t);
        for (int g = 0; g < 2; g++)
            for (int j = 0; j < 8; j++) {
                vi *c = p->codes + 32 * half + 16 * g + j;
                int at = 4 * half + 2 * g;
                c[0] = i_or(low_nibbles(t[8 * g + j]), bits(high[j], at, 1, 4));
                c[8] = i_or(high_nibbles(t[8 * g + j]), bits(high[j], at + 1, 1, 4));
            }
    }
}

UNPACK(q6_k)
{
    vi low[16], high[16], scales[4];
    (void)n_blocks;
    turn64(r, 128, high);
    for (int half = 0; half < 2; half++) {
        turn64(r, 64 * (size_t)half, low);
        for (int j = 0; j < 8; j++) {
            vi *c = p->codes + 32 * half + j, h = high[8 * half + j];
            c[0] = i_or(low_nibbles(low[j]), bits(h, 0, 3, 4));
            c[8] = i_or(low_nibbles(low[8 + j]), bits(h, 2, 3, 4));
            c[16] = i_or(high_nibbles(low[j]), bits(h, 4, 3, 4));
            c[24] = i_or(high_nibbles(low[8 + j]), bits(h, 6, 3, 4));
        }
    }
    turn16(r, 192, scales);
    vf d = halves(r, 208);
    for (int j = 0; j < 16; j++) /* a signed byte of the dword */
        p->scales[j] = times_int(d, i_sar(i_shl(scales[j / 4], 24 - 8 * (j % 4)), 24));
}

/* Two bits each: element e of a half of 128 stands in byte e % 32 at bit 2 * (e / 32). */
VEC void crumbs(const struct rows *r, size_t at, vi codes[64])
{
    vi t[16];
    turn64(r, at, t);
    for (int j = 0; j < 64; j++)
        codes[j] = i_and(i_shr(t[j / 32 * 8 + j % 8], j % 32 / 8 * 2), i_set8(3));
}

UNPACK(q2_k)
{
    vi scales[4], both = words(r, 80);
    vf d = i_halves(both), dmin = i_halves(i_shr(both, 16));
    (void)n_blocks;
    crumbs(r, 16, p->codes);
    turn16(r, 0, scales);
    for (int j = 0; j < 16; j++) {
        p->scales[j] = times_int(d, field(scales[j / 4], j % 4 * 8, 15));
        p->mins[j] = times_int(dmin, field(scales[j / 4], j % 4 * 8 + 4, 15));
    }
}

UNPACK(q3_k)
{
    vi t[4], high[8];
    (void)n_blocks;
    crumbs(r, 32, p->codes);
    turn32(r, 0, high);
    for (int j = 0; j < 64; j++)
        p->codes[j] = i_or(p->codes[j], bits(high[j % 8], j / 8, 1, 2));
    turn16(r, 94, t); /* the last sixteen bytes: twelve of scales after two, then d */
    vf d = i_halves(i_shr(t[3], 16));
    vi packed[3];
    for (int i = 0; i < 3; i++)
        packed[i] = i_or(i_shr(t[i], 16), i_shl(t[i + 1], 16));
    for (int j = 0; j < 16; j++) {
        vi low = field(packed[j / 4 % 2], j % 4 * 8 + j / 8 * 4, 15), top = field(packed[2], j % 4 * 8 + j / 4 * 2, 3);
        p->scales[j] = times_int(d, i_sub(i_or(low, i_shl(top, 4)), i_set32(32)));
    }
}

UNPACK(iq4_xs)
{
    vi t[16], first = words(r, 0), low = words(r, 4), high = i_shr(first, 16);
    vf d = i_halves(first);
    (void)n_blocks;
    for (int half = 0; half < 2; half++) {
        turn64(r, 8 + 64 * (size_t)half, t);
        for (int j = 0; j < 16; j++) {
            vi *c = p->codes + 32 * half + j / 4 * 8 + j % 4;
            c[0] = i_xor(i_lookup(ht__iq4_values, low_nibbles(t[j])), i_set8(0x80));
            c[4] = i_xor(i_lookup(ht__iq4_values, high_nibbles(t[j])), i_set8(0x80));
        }
    }
    for (int b = 0; b < 8; b++) {
        vi s = i_or(field(low, 4 * b, 15), i_shl(field(high, 2 * b, 3), 4));
        p->scales[b] = times_int(d, i_sub(s, i_set32(32)));
    }
}

UNPACK(tq2_0)
{
    (void)n_blocks;
    crumbs(r, 0, p->codes);
    vf d = halves(r, 64);
    for (int b = 0; b < 8; b++)
        p->scales[b] = d;
}

/* Bytes hold fractions v / 256; the trit is the whole part of 3 v / 256, and what is left goes on. */
VEC vi trit(vi *v)
{
    vi t = i_add8(i_not_below8(*v, 86), i_not_below8(*v, 171));
    *v = i_add8(*v, i_add8(*v, *v));
    return t;
}

UNPACK(tq1_0)
{
    vi wide[8], narrow[4], last = words(r, 48);
    (void)n_blocks;
    turn32(r, 0, wide);
    turn16(r, 32, narrow);
    for (int n = 0; n < 5; n++) {
        for (int j = 0; j < 8; j++)
            p->codes[8 * n + j] = trit(&wide[j]);
        for (int j = 0; j < 4; j++)
            p->codes[40 + 4 * n + j] = trit(&narrow[j]);
        if (n < 4) p->codes[60 + n] = trit(&last);
    }
    vf d = halves(r, 52);
    for (int b = 0; b < 8; b++)
        p->scales[b] = d;
}
