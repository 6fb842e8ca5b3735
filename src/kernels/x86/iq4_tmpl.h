/*
 * IQ4_NL and IQ4_XS with one sub-block of 32 a lane: included by iq4_<level>.c after vec_<level>.h and that level's
 * nearest_value and nearest_code: the nearest of the 16 values and its code, as floats. Of two as near that is the
 * upper one (llama.cpp's rule is: the lower where x - lower < upper - x), so the decisions are at the
 * midpoints, which are exact.
 */
#include "kernels/codec.h"
#include "kernels/half.h"
#include "kernels/x86/search_tmpl.h"

#include <math.h>
#include <string.h>

enum { LEN = 32, SUPER = 256, BATCH = BATCH_SUBS, TRIALS = 7 };

VEC void try_inverse(vf (*x)[GROUPS], vf (*w)[GROUPS], const vf inverse[GROUPS], vf qx[GROUPS], vf q2[GROUPS])
{
    for (int g = 0; g < GROUPS; g++)
        qx[g] = q2[g] = v_zero();
    for (int i = 0; i < LEN; i++)
        for (int g = 0; g < GROUPS; g++) {
            vf q = nearest_value(v_mul(inverse[g], x[i][g])), wq = v_mul(w[i][g], q);
            qx[g] = v_add(qx[g], v_mul(wq, x[i][g]));
            q2[g] = v_add(q2[g], v_mul(wq, q));
        }
}

/* The scale of every lane; 0 for lanes of zeros. */
VEC void search_scales(vf (*x)[GROUPS], vf (*w)[GROUPS], float *scales, unsigned *odd_bits)
{
    vf max[GROUPS], amax[GROUPS], d[GROUPS], best[GROUPS], inverse[GROUPS], qx[GROUPS], q2[GROUPS];
    const vf zero = v_zero();
    *odd_bits = 0;
    lanes_largest(LEN, x, max, amax);
    for (int g = 0; g < GROUPS; g++) {
        *odd_bits |= v_bits(v_odd(amax[g], 1e-12f, 1e12f)) << g * VL;
        inverse[g] = v_div(v_set(1), v_div(v_sub(zero, max[g]), v_set(-127)));
    }
    try_inverse(x, w, inverse, qx, q2);
    for (int g = 0; g < GROUPS; g++) {
        d[g] = v_div(qx[g], q2[g]);
        best[g] = v_mul(d[g], qx[g]);
    }
    for (int t = -TRIALS; t <= TRIALS; t++) {
        for (int g = 0; g < GROUPS; g++)
            inverse[g] = v_div(v_set((float)t - 127), max[g]);
        try_inverse(x, w, inverse, qx, q2);
        for (int g = 0; g < GROUPS; g++) {
            vm accept = v_and(v_gt(q2[g], zero), v_gt(v_mul(qx[g], qx[g]), v_mul(best[g], q2[g])));
            vf scale = v_div(qx[g], q2[g]);
            d[g] = v_pick(d[g], scale, accept);
            best[g] = v_pick(best[g], v_mul(scale, qx[g]), accept);
        }
    }
    for (int g = 0; g < GROUPS; g++)
        v_store(scales + g * VL, v_pick(d[g], zero, v_lt(amax[g], v_set(HT__TINY))));
}

/* sigma2 is over a sub-block itself (IQ4_NL) or over its super-block (IQ4_XS), whose sums of squares are given. */
VEC void weigh(const float *importance, const float *squares, int span, vf (*x)[GROUPS], vf (*w)[GROUPS])
{
    float sigma2[BATCH];
    if (importance) {
        if (span == LEN) lanes_squares(LEN, x, sigma2);
        for (int s = 0; s < BATCH; s++)
            sigma2[s] = (span == LEN ? sigma2[s] : squares[s * LEN / span]) * 2 / (float)span;
        lanes_load(importance, LEN, w);
        lanes_weigh(sigma2, LEN, x, w);
        return;
    }
    for (int i = 0; i < LEN; i++)
        for (int g = 0; g < GROUPS; g++)
            w[i][g] = v_mul(x[i][g], x[i][g]);
}

VEC void put_codes(const float *x, float d, uint8_t out[16])
{
    vf codes[LEN / VL];
    float inverse = d != 0 ? 1 / d : 0;
    for (int i = 0; i < LEN / VL; i++)
        codes[i] = nearest_code(v_mul(v_set(inverse), v_load(x + i * VL)));
    b_pack_nibbles(v_bytes32(codes), out);
}

/* Products beyond the range of exact rounding cannot arise below this. */
VEC bool fits(const float *x, int n, float d)
{
    float amax = 0;
    for (int i = 0; i < n; i++)
        amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    return amax < fabsf(d) * 1e5f && fabsf(d) > 1e-30f;
}

VEC void finish_nl(const float *x, float d, uint8_t *out)
{
    ht__store_u16(out, ht__f32_to_f16(d));
    put_codes(x, d, out + 2);
}

VEC bool finish_xs(const float *x, const float *scales, uint8_t *out)
{
    float max = 0, amax = 0;
    for (int j = 0; j < 8; j++)
        if (fabsf(scales[j]) > amax) {
            amax = fabsf(scales[j]);
            max = scales[j];
        }
    float d = -max / 32, inverse = d != 0 ? 1 / d : 0;
    uint16_t high = 0;
    if (!fits(x, SUPER, d)) return false;
    memset(out, 0, 8);
    ht__store_u16(out, ht__f32_to_f16(d));
    for (int j = 0; j < 8; j++) {
        int l = ht__round_even(inverse * scales[j]);
        l = l < -32 ? -32 : l > 31 ? 31 : l;
        put_codes(x + LEN * j, d * (float)l, out + 8 + 16 * j);
        l += 32;
        out[4 + j / 2] = (uint8_t)(out[4 + j / 2] | (l & 15) << 4 * (j % 2));
        high = (uint16_t)(high | l >> 4 << 2 * j);
    }
    ht__store_u16(out + 2, high);
    return true;
}

/* `span` weights make a block: 32 or 256. */
VEC void encode_iq4(const struct ht__codec *codec, int span, const float *src, int64_t n_rows, int64_t row_len,
                    const float *importance, void *dst)
{
    const int per_batch = BATCH * LEN / span, subs = span / LEN;
    int64_t n = n_rows * row_len / span, per_row = row_len / span;
    float squares[VL];
    for (int64_t first = 0; first < n; first += per_batch) {
        float x_room[BATCH * LEN], w_room[BATCH * LEN], scales[BATCH];
        vf lanes[LEN][GROUPS], w[LEN][GROUPS];
        unsigned odd;
        const float *iw = NULL, *x = batch_weights(src, first, n, per_batch, span, x_room);
        if (importance) iw = batch_importance(importance, first, n, per_row, per_batch, span, w_room);
        lanes_load(x, LEN, lanes);
        if (importance && span == SUPER && first % VL == 0) squares_ahead(src + first * span, n - first, span, squares);
        weigh(iw, squares + first % VL, span, lanes, w);
        search_scales(lanes, w, scales, &odd);
        for (int b = 0; b < per_batch && first + b < n; b++) {
            uint8_t *block = (uint8_t *)dst + (first + b) * codec->block_size;
            const float *sub = x + b * span;
            bool done = !(odd >> b * subs & ((1u << subs) - 1));
            if (done && span == LEN && (done = fits(sub, LEN, scales[b]))) finish_nl(sub, scales[b], block);
            if (done && span == SUPER) done = finish_xs(sub, scales + b * subs, block);
            if (!done) codec->encode(sub, 1, span, iw ? iw + b * span : NULL, block);
        }
    }
}
