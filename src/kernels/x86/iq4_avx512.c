/* IQ4_NL and IQ4_XS at this level: see iq4_tmpl.h. */
#include "kernels/x86/vec_avx512.h"
#include "kernels/x86/search_tmpl.h"

#include <math.h>

/*
 * By cells 9.3 wide: neighbouring midpoints are at least 11.5 apart, so that a cell holds at most one; cells without
 * one have an infinite one.
 */
#define NONE INFINITY
static const float cell_midpoint[32] = {NONE,   NONE, -115.5f, NONE,  -93.5f, NONE, -74,   NONE, -57,   -42,  NONE,
                                        -28.5f, -16,  NONE,    -4.5f, 7,      19,   31.5f, NONE, 45.5f, NONE, 61,
                                        79,     NONE, NONE,    101,   NONE,   NONE, NONE,  NONE, NONE,  NONE};
static const float cell_low[32] = {-127, -127, -127, -104, -104, -83, -83, -65, -65, -49, -35, -35, -22, -10, -10, 1,
                                   13,   25,   38,   38,   53,   53,  69,  89,  89,  89,  113, 113, 113, 113, 113, 113};
static const float cell_high[32] = {-127, -127, -104, -104, -83, -83, -65, -65, -49, -35, -35, -22, -10, -10, 1,   13,
                                    25,   38,   38,   53,   53,  69,  89,  89,  89,  113, 113, 113, 113, 113, 113, 113};
/* the code of cell_low */
static const float cell_code[32] = {0, 0,  0,  1,  1,  2,  2,  3,  3,  4,  5,  5,  6,  7,  7,  8,
                                    9, 10, 11, 11, 12, 12, 13, 14, 14, 14, 15, 15, 15, 15, 15, 15};

/* table[index] */
VEC vf look_up(const float table[32], vf index)
{
    return _mm512_permutex2var_ps(v_load(table), _mm512_cvtps_epi32(index), v_load(table + 16));
}

/* The cell of each value, as a table index. */
VEC vf cell_of(vf x)
{
    vf c = v_add(v_round(v_mul(x, v_set(1.0f / 9.3f))), v_set(14));
    return v_min(v_max(c, v_zero()), v_set(31));
}

VEC vf nearest_value(vf x)
{
    vf c = cell_of(x);
    return v_pick(look_up(cell_high, c), look_up(cell_low, c), v_lt(x, look_up(cell_midpoint, c)));
}

VEC vf nearest_code(vf x)
{
    vf c = cell_of(x), code = look_up(cell_code, c);
    vm above = v_and(v_not(v_lt(x, look_up(cell_midpoint, c))), v_ne(look_up(cell_high, c), look_up(cell_low, c)));
    return v_pick(code, v_add(code, v_set(1)), above);
}

#include "kernels/x86/iq4_tmpl.h"

void ht__iq4_nl_encode_avx512(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    if (importance)
        encode_iq4(&ht__codec_iq4_nl, LEN, src, n_rows, row_len, importance, dst);
    else
        encode_iq4(&ht__codec_iq4_nl, LEN, src, n_rows, row_len, NULL, dst);
}

void ht__iq4_xs_encode_avx512(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    if (importance)
        encode_iq4(&ht__codec_iq4_xs, SUPER, src, n_rows, row_len, importance, dst);
    else
        encode_iq4(&ht__codec_iq4_xs, SUPER, src, n_rows, row_len, NULL, dst);
}
