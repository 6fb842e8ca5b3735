/*
 * The K types with sixteen sub-blocks of 16 (Q2_K, Q3_K, Q6_K): included by k_sixteen_<level>.c after
 * vec_<level>.h. A batch is GROUPS * VL sub-blocks: one or two super-blocks.
 */
#include "kernels/codec.h"
#include "kernels/codec/k_block.h"
#include "kernels/half.h"
#include "kernels/x86/quotients_tmpl.h"
#include "kernels/x86/search_tmpl.h"
#include "kernels/x86/sixteen_tmpl.h"

#include <math.h>
#include <string.h>

enum { SUBS = 16, LEN = 16, BATCH = BATCH_SUBS / SUBS };

struct batch {
    float scales[BATCH_SUBS], mins[BATCH_SUBS], sums[BATCH_SUBS];
    unsigned odd; /* a bit for each sub-block */
};

enum kind { KIND_Q2, KIND_Q3, KIND_Q6 };

/* iw, or iw * sqrt(sigma2 + x*x), or by kind without importance. */
VEC void load_weights(enum kind kind, const float *importance, const float *squares, vf (*x)[GROUPS], vf (*w)[GROUPS])
{
    float sigma2[BATCH_SUBS];
    if (!importance) {
        for (int i = 0; i < LEN; i++)
            for (int g = 0; g < GROUPS; g++)
                w[i][g] = kind == KIND_Q2 ? v_abs(x[i][g]) : v_mul(x[i][g], x[i][g]);
        return;
    }
    lanes_load(importance, LEN, w);
    if (kind == KIND_Q6) return;
    for (int s = 0; s < BATCH_SUBS; s++)
        sigma2[s] = (kind == KIND_Q3 ? 2 * squares[s / SUBS] : squares[s / SUBS]) / HT__K;
    lanes_weigh(sigma2, LEN, x, w);
}

VEC void search_q2(bool weighted, vf (*x)[GROUPS], vf (*w)[GROUPS], struct batch *out)
{
    const struct ht__affine_params plain = {3, -0.5f, 0.1f, 15, true}, fine = {3, -0.9f, 0.05f, 36, false};
    struct affine_lanes lanes[GROUPS];
    if (weighted)
        affine_search(fine, LEN, x, w, lanes);
    else
        affine_search(plain, LEN, x, w, lanes);
    for (int g = 0; g < GROUPS; g++) {
        v_store(out->scales + g * VL, lanes[g].scale);
        v_store(out->mins + g * VL, v_sub(v_zero(), lanes[g].offset));
        out->odd |= v_bits(lanes[g].odd) << g * VL;
    }
}

VEC void search_q3_plain(vf (*x)[GROUPS], struct batch *out)
{
    struct descent_lanes lanes[GROUPS];
    descent_search(LEN, x, lanes);
    for (int g = 0; g < GROUPS; g++) {
        v_store(out->scales + g * VL, lanes[g].scale);
        out->odd |= v_bits(lanes[g].odd) << g * VL;
    }
}

VEC void search_levels(int levels, vf (*x)[GROUPS], vf (*w)[GROUPS], struct batch *out)
{
    struct symmetric_lanes lanes[GROUPS];
    symmetric_search(levels, LEN, x, w, lanes);
    for (int g = 0; g < GROUPS; g++) {
        v_store(out->scales + g * VL, lanes[g].scale);
        out->odd |= v_bits(lanes[g].odd) << g * VL;
    }
}

VEC void search_batch(enum kind kind, const float *src, const float *importance, const float *squares,
                      struct batch *out)
{
    vf x[LEN][GROUPS], w[LEN][GROUPS];
    out->odd = 0;
    lanes_load(src, LEN, x);
    if (kind != KIND_Q3 || importance) load_weights(kind, importance, squares, x, w);
    if (importance) lanes_sum(LEN, w, out->sums);
    if (kind == KIND_Q2)
        search_q2(importance != NULL, x, w, out);
    else if (kind == KIND_Q3 && !importance)
        search_q3_plain(x, out);
    else
        search_levels(kind == KIND_Q3 ? 4 : 32, x, w, out);
}

/* round((x + min) / scale) clamped, plus zero, of the sub-blocks of a super-block. */
VEC void put_codes(const float *x, const float *mins, const float *scales, float low, float high, float zero,
                   uint8_t *codes)
{
    float inverses[SUBS];
    for (int j = 0; j < SUBS; j += VL)
        v_store(inverses + j, v_div(v_set(1), v_load(scales + j)));
    for (int j = 0; j < SUBS; j++)
        for (int i = LEN * j; i < LEN * (j + 1); i += VL) {
            vf v = v_load(x + i);
            if (mins) v = v_add(v, v_set(mins[j]));
            v = v_min(v_max(rounded_quotient(v, scales[j], inverses[j]), v_set(low)), v_set(high));
            v_store_bytes(codes + i, v_add(v, v_set(zero)));
        }
}

VEC float largest_of(const float *x, int n, float *sign)
{
    float amax = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            *sign = x[i];
        }
    return amax;
}

VEC uint16_t q2_plain(const float *values, uint8_t *codes)
{
    float max = 0;
    for (int j = 0; j < SUBS; j++)
        if (values[j] > max) max = values[j];
    memset(codes, 0, SUBS);
    if (!(max > 0)) return 0;
    float inverse = 15.0f / max;
    for (int j = 0; j < SUBS; j++)
        codes[j] = (uint8_t)ht__round_even(inverse * values[j]);
    return ht__f32_to_f16(max / 15.0f);
}

VEC bool finish_q2(const float *x, const struct batch *batch, int b, bool weighted, struct ht__q2_k_block *block)
{
    const float *scales = batch->scales + b * SUBS, *mins = batch->mins + b * SUBS, *sums = batch->sums + b * SUBS;
    uint8_t codes[HT__K], s[SUBS], m[SUBS];
    float sub_scales[SUBS], sub_mins[SUBS];
    if (weighted) {
        block->d = ht__f32_to_f16(ht__search_positive(15, SUBS, scales, sums, s));
        block->dmin = ht__f32_to_f16(ht__search_positive(15, SUBS, mins, sums, m));
    } else {
        block->d = q2_plain(scales, s);
        block->dmin = q2_plain(mins, m);
    }
    float d = ht__f16_to_f32(block->d), dmin = ht__f16_to_f32(block->dmin);
    if (!quotients_fit(x, 16 * dmin, d)) return false;
    for (int j = 0; j < SUBS; j++) {
        if (s[j] == 0 || s[j] > 15 || m[j] > 15) return false;
        block->scales[j] = (uint8_t)(s[j] | m[j] << 4);
        sub_scales[j] = d * (float)s[j];
        sub_mins[j] = dmin * (float)m[j];
    }
    put_codes(x, sub_mins, sub_scales, 0, 3, 0, codes);
    ht__k_pack_crumbs(codes, block->qs);
    return true;
}

VEC uint16_t q3_plain(const float *scales, uint8_t *codes)
{
    float max = 0;
    largest_of(scales, SUBS, &max);
    memset(codes, 0, SUBS);
    if (max == 0) return 0;
    float inverse = -32.0f / max;
    for (int j = 0; j < SUBS; j++) {
        int l = ht__round_even(inverse * scales[j]);
        codes[j] = (uint8_t)((l < -32 ? -32 : l > 31 ? 31 : l) + 32);
    }
    return ht__f32_to_f16(1 / inverse);
}

VEC bool finish_q3(const float *x, const struct batch *batch, int b, bool weighted, struct ht__q3_k_block *block)
{
    const float *scales = batch->scales + b * SUBS, *sums = batch->sums + b * SUBS;
    uint8_t codes[HT__K], s[SUBS], hmask[32] = {0};
    float sub_scales[SUBS];
    block->d = weighted ? ht__f32_to_f16(symmetric_sixteen(32, scales, sums, s)) : q3_plain(scales, s);
    float d = ht__f16_to_f32(block->d);
    if (!quotients_fit(x, 0, d)) return false;
    ht__q3_k_pack_scales(s, block->scales);
    for (int j = 0; j < SUBS; j++) {
        if (s[j] == 32) return false;
        sub_scales[j] = d * (float)(s[j] - 32);
    }
    put_codes(x, NULL, sub_scales, -4, 3, 4, codes);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++)
            hmask[i] = (uint8_t)(hmask[i] | (codes[32 * g + i] >> 2) << g);
    memcpy(block->hmask, hmask, sizeof hmask);
    ht__k_pack_crumbs(codes, block->qs);
    return true;
}

VEC bool finish_q6(const float *x, const struct batch *batch, int b, struct ht__q6_k_block *block)
{
    const float *scales = batch->scales + b * SUBS;
    uint8_t codes[HT__K];
    float sub_scales[SUBS], max = 0;
    if (largest_of(scales, SUBS, &max) < HT__TINY) return false;
    float inverse = -128.0f / max;
    block->d = ht__f32_to_f16(1 / inverse);
    float d = ht__f16_to_f32(block->d);
    if (!quotients_fit(x, 0, d)) return false;
    for (int j = 0; j < SUBS; j++) {
        int s = ht__round_even(inverse * scales[j]);
        s = s < 127 ? s : 127;
        if (s == 0) return false;
        block->scales[j] = (int8_t)s;
        sub_scales[j] = d * (float)s;
    }
    put_codes(x, NULL, sub_scales, -32, 31, 32, codes);
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *c = codes + 128 * h + l;
            block->ql[64 * h + l] = (uint8_t)((c[0] & 15) | (c[64] & 15) << 4);
            block->ql[64 * h + 32 + l] = (uint8_t)((c[32] & 15) | (c[96] & 15) << 4);
            block->qh[32 * h + l] = (uint8_t)(c[0] >> 4 | c[32] >> 4 << 2 | c[64] >> 4 << 4 | c[96] >> 4 << 6);
        }
    return true;
}

VEC bool finish(enum kind kind, const float *x, const struct batch *batch, int b, bool weighted, void *block)
{
    if (batch->odd >> b * SUBS & 0xffff) return false;
    if (kind == KIND_Q2) return finish_q2(x, batch, b, weighted, block);
    if (kind == KIND_Q3) return finish_q3(x, batch, b, weighted, block);
    return finish_q6(x, batch, b, block);
}

/* What vectors cannot do the scalar code does. */
VEC void encode_sixteen(enum kind kind, const struct ht__codec *codec, const float *src, int64_t n_rows,
                        int64_t row_len, const float *importance, void *dst)
{
    int64_t n = n_rows * row_len / HT__K, per_row = row_len / HT__K;
    float squares[VL];
    for (int64_t first = 0; first < n; first += BATCH) {
        float x_room[BATCH * HT__K], w_room[BATCH * HT__K];
        struct batch batch;
        const float *w = NULL, *x = batch_weights(src, first, n, BATCH, HT__K, x_room);
        if (importance) w = batch_importance(importance, first, n, per_row, BATCH, HT__K, w_room);
        if (importance && kind != KIND_Q6 && first % VL == 0)
            squares_ahead(src + first * HT__K, n - first, HT__K, squares);
        search_batch(kind, x, w, squares + first % VL, &batch);
        for (int b = 0; b < BATCH && first + b < n; b++) {
            void *block = (uint8_t *)dst + (first + b) * codec->block_size;
            if (!finish(kind, x + b * HT__K, &batch, b, w != NULL, block))
                codec->encode(x + b * HT__K, 1, HT__K, w ? w + b * HT__K : NULL, block);
        }
    }
}
