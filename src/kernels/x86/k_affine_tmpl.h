/*
 * Q4_K and Q5_K with vectors: included by k_affine_<level>.c after vec_<level>.h. A batch is GROUPS * VL
 * sub-blocks, that is several super-blocks; rows are adjacent, so super-blocks follow each other.
 */
#include "kernels/codec.h"
#include "kernels/codec/k_affine.h"
#include "kernels/codec/k_block.h"
#include "kernels/half.h"
#include "kernels/x86/quotients_tmpl.h"
#include "kernels/x86/search_tmpl.h"

#include <math.h>
#include <string.h>

enum { SUBS = 8, LEN = 32, BATCH = BATCH_SUBS / SUBS, TOP = 63 };

/* What a search leaves for a batch. */
struct batch {
    float scales[BATCH_SUBS], mins[BATCH_SUBS], sums[BATCH_SUBS];
    unsigned odd; /* a bit for each sub-block */
};

VEC void plain_weights(vf (*x)[GROUPS], vf (*w)[GROUPS])
{
    for (int g = 0; g < GROUPS; g++) {
        vf sum = v_zero();
        for (int i = 0; i < LEN; i++)
            sum = v_add(sum, v_mul(x[i][g], x[i][g]));
        vf rms = v_sqrt(v_div(sum, v_set(LEN)));
        for (int i = 0; i < LEN; i++)
            w[i][g] = v_add(rms, v_abs(x[i][g]));
    }
}

/* importance, sums of squares: the super-blocks' of the batch. */
VEC void importance_weights(const float *importance, const float *squares, vf (*x)[GROUPS], vf (*w)[GROUPS])
{
    float sigma2[BATCH_SUBS];
    for (int s = 0; s < BATCH_SUBS; s++)
        sigma2[s] = 2 * squares[s / SUBS] / HT__K;
    lanes_load(importance, LEN, w);
    lanes_weigh(sigma2, LEN, x, w);
}

VEC void search_batch(const struct ht__affine_params p, const float *src, const float *importance, const float *squares,
                      struct batch *out)
{
    vf x[LEN][GROUPS], w[LEN][GROUPS];
    struct affine_lanes lanes[GROUPS];
    lanes_load(src, LEN, x);
    if (importance)
        importance_weights(importance, squares, x, w);
    else
        plain_weights(x, w);
    affine_search(p, LEN, x, w, lanes);
    if (importance) lanes_sum(LEN, w, out->sums);
    out->odd = 0;
    for (int g = 0; g < GROUPS; g++) {
        v_store(out->scales + g * VL, lanes[g].scale);
        v_store(out->mins + g * VL, v_sub(v_zero(), lanes[g].offset));
        out->odd |= v_bits(lanes[g].odd) << g * VL;
    }
}

/* Without importance: each value as a 63rd of the largest. */
VEC uint16_t code_plain(const float *values, uint8_t *codes)
{
    float max = 0;
    for (int j = 0; j < SUBS; j++)
        if (values[j] > max) max = values[j];
    float inverse = max > 0 ? (float)TOP / max : 0;
    for (int j = 0; j < SUBS; j++) {
        uint8_t l = (uint8_t)ht__round_even(inverse * values[j]);
        codes[j] = l < TOP ? l : TOP;
    }
    return ht__f32_to_f16(max / (float)TOP);
}

/* Codes of one super-block; false where a sub-block's scale came out as 0 although it was searched. */
VEC bool requantize(const float *x, int levels, uint16_t d, uint16_t dmin, const uint8_t packed[12],
                    uint8_t codes[HT__K])
{
    float scales[SUBS], mins[SUBS];
    ht__k_affine_scales(d, dmin, packed, scales, mins);
    for (int j = 0; j < SUBS; j++) {
        if (scales[j] == 0) return false;
        float inverse = 1 / scales[j];
        for (int i = LEN * j; i < LEN * (j + 1); i += VL) {
            vf l = rounded_quotient(v_add(v_load(x + i), v_set(mins[j])), scales[j], inverse);
            v_store_bytes(codes + i, v_min(v_max(l, v_zero()), v_set((float)levels)));
        }
    }
    return true;
}

struct coded {
    uint16_t d, dmin;
    uint8_t packed[12], codes[HT__K];
};

/* One super-block from its searched scales; false: the scalar code must do it. |x + min| is at most twice the range, so a
 * tiny rounded scale decides. */
VEC bool finish(const float *x, int levels, const struct batch *batch, int b, bool weighted, struct coded *out)
{
    uint8_t s[SUBS], m[SUBS];
    const float *scales = batch->scales + b * SUBS, *mins = batch->mins + b * SUBS;
    if (batch->odd >> b * SUBS & 0xff) return false;
    if (weighted) {
        const float *sums = batch->sums + b * SUBS;
        out->d = ht__f32_to_f16(ht__search_positive(TOP, SUBS, scales, sums, s));
        out->dmin = ht__f32_to_f16(ht__search_positive(TOP, SUBS, mins, sums, m));
    } else {
        out->d = code_plain(scales, s);
        out->dmin = code_plain(mins, m);
    }
    if (!quotients_fit(x, 64 * ht__f16_to_f32(out->dmin), ht__f16_to_f32(out->d))) return false;
    ht__k_pack_scales(s, m, out->packed);
    return requantize(x, levels, out->d, out->dmin, out->packed, out->codes);
}
