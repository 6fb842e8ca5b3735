/*
 * Panels of the codebook types: a point of the lattice is one dword of codes, or two, which all
 * rows gather at once. Byte diagrams are at the head of each type's unit.
 */
#include "kernels/search/iq_grid.h"
#include "kernels/x86/matmul8_panel.h"

static const uint8_t iq2_values[16] = {8, 25, 43}, iq3_xxs_values[16] = {4, 12, 20, 28, 36, 44, 52, 62};
static const uint8_t iq3_s_values[16] = {1, 3, 5, 7, 9, 11, 13, 15}, iq1_values[16] = {0, 8, 16};

/* Magnitudes, negative where one of the low four bits of `signs` is set, above `offset`. */
VEC vi with_signs(vi magnitudes, vi signs, int offset)
{
    vi minus = i_masks(signs);
    return i_add8(i_sub8(i_xor(magnitudes, minus), minus), i_set8(offset));
}

/* The eighth sign makes the number of minuses even. */
VEC vi even_signs(vi seven)
{
    vi odd = i_xor(seven, i_shr(seven, 4));
    odd = i_xor(odd, i_shr(odd, 2));
    odd = i_xor(odd, i_shr(odd, 1));
    return i_or(seven, i_shl(i_and(odd, i_set32(1)), 7));
}

/* Eight weights: two dwords of a point. */
VEC void eight(const struct ht__iq_grid *grid, const uint8_t *values, vi index, vi signs, int offset, vi codes[2])
{
    codes[0] = with_signs(i_lookup(values, i_gather8(grid->points, index)), signs, offset);
    codes[1] = with_signs(i_lookup(values, i_gather8(grid->points + 4, index)), i_shr(signs, 4), offset);
}

/* (half + s) * factor * d, in the order of the decoders: a product with a power of two is exact. */
VEC vf scale_of(vf d, vi s, float factor)
{
    return v_mul(v_mul(d, v_add(v_set(0.5f), i_floats(s))), v_set(factor));
}

UNPACK(iq3_xxs)
{
    vf d = halves(r, 0);
    (void)n_blocks;
    for (int b = 0; b < 8; b++) {
        vi word = words(r, 66 + 4 * (size_t)b);
        for (int k = 0; k < 4; k++) {
            vi signs = even_signs(field(word, 7 * k, 127));
            for (int i = 0; i < 2; i++) {
                vi four = words(r, 2 + 8 * (size_t)b + 4 * (size_t)(k / 2));
                vi point = i_gather4(ht__iq3_xxs_grid.points, field(four, 8 * (2 * (k % 2) + i), 255));
                p->codes[8 * b + 2 * k + i] = with_signs(i_lookup(iq3_xxs_values, point), i_shr(signs, 4 * i), 64);
            }
        }
        p->scales[b] = scale_of(d, i_shr(word, 28), 0.5f);
    }
}

UNPACK(iq3_s)
{
    vf d = halves(r, 0);
    vi codes = words(r, 106);
    (void)n_blocks;
    for (int b = 0; b < 8; b++) {
        vi low[2] = {words(r, 2 + 8 * (size_t)b), words(r, 6 + 8 * (size_t)b)};
        vi ninth = i_shr(words(r, 66 + 4 * (size_t)(b / 4)), 8 * (b % 4)), signs = words(r, 74 + 4 * (size_t)b);
        for (int k = 0; k < 8; k++) {
            vi index = i_or(field(low[k / 4], 8 * (k % 4), 255), i_shl(field(ninth, k, 1), 8));
            vi point = i_gather4(ht__iq3_s_grid.points, index);
            p->codes[8 * b + k] = with_signs(i_lookup(iq3_s_values, point), i_shr(signs, 4 * k), 16);
        }
        vi s = field(codes, 4 * b, 15);
        p->scales[b] = v_mul(d, i_floats(i_or(i_shl(s, 1), i_set32(1))));
    }
}

UNPACK(iq2_xxs)
{
    vf d = halves(r, 0);
    (void)n_blocks;
    for (int b = 0; b < 8; b++) {
        vi four = words(r, 2 + 8 * (size_t)b), word = words(r, 6 + 8 * (size_t)b);
        for (int k = 0; k < 4; k++)
            eight(&ht__iq2_xxs_grid, iq2_values, field(four, 8 * k, 255), even_signs(field(word, 7 * k, 127)), 64,
                  p->codes + 8 * b + 2 * k);
        p->scales[b] = scale_of(d, i_shr(word, 28), 0.25f);
    }
}

UNPACK(iq2_xs)
{
    vf d = halves(r, 0);
    (void)n_blocks;
    for (int g = 0; g < 32; g += 2) {
        vi two = words(r, 2 + 2 * (size_t)g), code = words(r, 66 + (size_t)(g / 16) * 4);
        for (int k = 0; k < 2; k++)
            eight(&ht__iq2_xs_grid, iq2_values, field(two, 16 * k, 511), even_signs(field(two, 16 * k + 9, 127)), 64,
                  p->codes + 2 * (g + k));
        p->scales[g / 2] = scale_of(d, field(code, g % 16 / 2 * 4, 15), 0.25f);
    }
}

UNPACK(iq2_s)
{
    vf d = halves(r, 0);
    (void)n_blocks;
    for (int g = 0; g < 32; g++) {
        size_t four = (size_t)(g / 4) * 4;
        vi top = words(r, 66 + (size_t)(g / 16) * 4), code = words(r, 74 + (size_t)(g / 16) * 4);
        vi low = words(r, 2 + four), signs = i_shr(words(r, 34 + four), g % 4 * 8);
        vi index = i_or(field(low, g % 4 * 8, 255), i_shl(field(top, g % 16 * 2, 3), 8));
        eight(&ht__iq2_s_grid, iq2_values, index, signs, 64, p->codes + 2 * g);
        if (g % 2 == 0) p->scales[g / 2] = scale_of(d, field(code, g % 16 / 2 * 4, 15), 0.25f);
    }
}

/* Eight times the values: 8 l - 8 + 1 or - 1, above 9; minus: bit 0. */
VEC void eight_shifted(vi index, vi minus, vi codes[2])
{
    vi shift = i_and(i_xor(i_masks(i_sub(i_zero(), i_and(minus, i_set32(1)))), i_set8(255)), i_set8(2));
    codes[0] = i_add8(i_lookup(iq1_values, i_gather8(ht__iq1_grid.points, index)), shift);
    codes[1] = i_add8(i_lookup(iq1_values, i_gather8(ht__iq1_grid.points + 4, index)), shift);
}

/* d * (2 s + 1) / 8 */
VEC vf odd_scale(vf d, vi s)
{
    return v_mul(v_mul(d, i_floats(i_or(i_shl(s, 1), i_set32(1)))), v_set(0.125f));
}

UNPACK(iq1_s)
{
    vf d = halves(r, 0);
    (void)n_blocks;
    for (int b = 0; b < 8; b++) {
        vi low = words(r, 2 + 4 * (size_t)b), word = i_shr(words(r, 34 + (size_t)(b / 2) * 4), b % 2 * 16);
        for (int k = 0; k < 4; k++)
            eight_shifted(i_or(field(low, 8 * k, 255), i_shl(field(word, 3 * k, 7), 8)), i_shr(word, 15),
                          p->codes + 8 * b + 2 * k);
        p->scales[b] = odd_scale(d, field(word, 12, 7));
    }
}

UNPACK(iq1_m)
{
    vi first = words(r, 48), second = words(r, 52);
    vi h = i_or(i_or(field(first, 12, 15), i_shl(i_shr(first, 28), 4)),
                i_or(i_shl(field(second, 12, 15), 8), i_shl(i_shr(second, 28), 12)));
    vf d = i_halves(h);
    (void)n_blocks;
    for (int g = 0; g < 32; g++) {
        vi low = words(r, (size_t)(g / 4) * 4), nibble = i_shr(words(r, 32 + (size_t)(g / 8) * 4), g % 8 * 4);
        eight_shifted(i_or(field(low, g % 4 * 8, 255), i_shl(i_and(nibble, i_set32(7)), 8)), i_shr(nibble, 3),
                      p->codes + 2 * g);
        vi scales = g < 16 ? first : second;
        if (g % 2 == 0) p->scales[g / 2] = odd_scale(d, field(scales, g % 16 / 8 * 16 + g % 8 / 2 * 3, 7));
    }
}
