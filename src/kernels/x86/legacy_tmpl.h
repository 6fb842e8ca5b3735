/*
 * Q4_0, Q4_1, Q5_0 and Q5_1 with vectors: included by legacy_<level>.c after vec_<level>.h. With importance a
 * block a lane through the searches; without, a block at a time. sigma^2 is a sum over the whole row in index
 * order, so rows stand in lanes for it, VL of them.
 */
#include "kernels/codec.h"
#include "kernels/codec/legacy.h"
#include "kernels/half.h"
#include "kernels/x86/blocks_tmpl.h"
#include "kernels/x86/search_tmpl.h"

enum { LEN = 32, ROWS = VL };

/* What a search leaves for a batch: codes are (x - base) * inverse, rounded and clamped. */
struct batch {
    float scale[BATCH_SUBS], offset[BATCH_SUBS], inverse[BATCH_SUBS], base[BATCH_SUBS];
    unsigned odd, dead; /* a bit for each block */
};

VEC void search_symmetric(int levels, vf (*x)[GROUPS], vf (*w)[GROUPS], struct batch *out)
{
    struct symmetric_lanes lanes[GROUPS];
    symmetric_search(levels, LEN, x, w, lanes);
    for (int g = 0; g < GROUPS; g++) {
        v_store(out->scale + g * VL, lanes[g].scale);
        v_store(out->inverse + g * VL, lanes[g].inverse);
        out->odd |= v_bits(lanes[g].odd) << g * VL;
        out->dead |= v_bits(lanes[g].dead) << g * VL;
    }
}

VEC void search_affine(int levels, vf (*x)[GROUPS], vf (*w)[GROUPS], struct batch *out)
{
    const struct ht__affine_params params = {levels, -0.9f, 0.05f, 36, false};
    struct affine_lanes lanes[GROUPS];
    affine_search(params, LEN, x, w, lanes);
    for (int g = 0; g < GROUPS; g++) {
        v_store(out->scale + g * VL, lanes[g].scale);
        v_store(out->offset + g * VL, lanes[g].offset);
        v_store(out->inverse + g * VL, lanes[g].inverse);
        v_store(out->base + g * VL, lanes[g].base);
        out->odd |= v_bits(lanes[g].odd) << g * VL;
        out->dead |= v_bits(lanes[g].dead) << g * VL;
    }
}

VEC void pack(const struct ht__legacy type, vb codes, uint8_t *out)
{
    if (type.five) {
        uint32_t high = b_fifth_bits(codes);
        memcpy(out, &high, sizeof high);
        out += sizeof high;
    }
    b_pack_nibbles(codes, out);
}

VEC void put_block(const struct ht__legacy type, const struct batch *batch, int b, const float *x, uint8_t *out)
{
    vf codes[LEN / VL];
    const float levels = (float)type.levels;
    const vf inverse = v_set(batch->inverse[b]), base = v_set(batch->base[b]);
    ht__store_u16(out, half_of(batch->scale[b]));
    if (type.min) ht__store_u16(out + 2, half_of(batch->offset[b]));
    for (int i = 0; i < LEN / VL; i++) {
        vf x_i = v_load(x + i * VL);
        if (type.min)
            codes[i] = v_clamp(v_round(v_mul(inverse, v_sub(x_i, base))), 0, levels);
        else
            codes[i] = v_add(v_clamp(v_round(v_mul(inverse, x_i)), -levels, levels - 1), v_set(levels));
        if (batch->dead >> b & 1) codes[i] = v_zero();
    }
    pack(type, v_bytes32(codes), out + (type.min ? 4 : 2));
}

/* Up to ROWS rows with importance. */
VEC void encode_rows(const struct ht__legacy type, const float *src, int64_t n_rows, int64_t row_len,
                     const float *importance, uint8_t *out)
{
    int64_t per_row = row_len / LEN, n = n_rows * per_row;
    float squares[ROWS], sigma2[BATCH_SUBS], x_room[BATCH_SUBS * LEN], w_room[BATCH_SUBS * LEN];
    squares_ahead(src, n_rows, row_len, squares);
    for (int64_t first = 0; first < n; first += BATCH_SUBS) {
        vf lanes[LEN][GROUPS], w[LEN][GROUPS];
        struct batch batch = {.odd = 0};
        const float *x = batch_weights(src, first, n, BATCH_SUBS, LEN, x_room);
        const float *iw = batch_importance(importance, first, n, per_row, BATCH_SUBS, LEN, w_room);
        for (int64_t b = 0, row = first / per_row, next = (row + 1) * per_row; b < BATCH_SUBS; b++) {
            if (first + b == next && row + 1 < n_rows) row++, next += per_row;
            sigma2[b] = squares[row] / (float)row_len;
        }
        lanes_load(x, LEN, lanes);
        lanes_load(iw, LEN, w);
        lanes_weigh(sigma2, LEN, lanes, w);
        if (type.min)
            search_affine(type.levels, lanes, w, &batch);
        else
            search_symmetric(type.levels, lanes, w, &batch);
        for (int b = 0; b < BATCH_SUBS && first + b < n; b++, out += type.size)
            if (batch.odd >> b & 1)
                ht__legacy_encode_block(type, x + b * LEN, iw + b * LEN, sigma2[b], out);
            else
                put_block(type, &batch, b, x + b * LEN, out);
    }
}

/* Without importance: the largest magnitude on -levels. */
VEC vb plain_symmetric(int levels, const float *x, uint16_t *d)
{
    vf v[LEN / VL];
    float max = block_largest(x, LEN), scale = max / (float)-levels, inverse = scale != 0 ? 1.0f / scale : 0;
    for (int i = 0; i < LEN / VL; i++)
        v[i] = v_add(v_mul(v_load(x + i * VL), v_set(inverse)), v_set((float)levels + 0.5f));
    *d = half_of(scale);
    return b_min(v_bytes32(v), b_set(2 * levels - 1));
}

/* Without importance, with a minimum: the whole range. */
VEC vb plain_affine(int levels, const float *x, uint16_t *d, uint16_t *m)
{
    vf v[LEN / VL];
    float low, high;
    block_range(x, LEN, &low, &high);
    float scale = (high - low) / (float)levels, inverse = scale != 0 ? 1.0f / scale : 0;
    for (int i = 0; i < LEN / VL; i++)
        v[i] = v_add(v_mul(v_sub(v_load(x + i * VL), v_set(low)), v_set(inverse)), v_set(0.5f));
    *d = half_of(scale);
    *m = half_of(low);
    vb codes = v_bytes32(v);
    return levels == 15 ? b_min(codes, b_set(15)) : codes;
}

VEC void encode_plain(const struct ht__legacy type, const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += LEN, out += type.size) {
        uint16_t d, m = 0;
        vb codes = type.min ? plain_affine(type.levels, src, &d, &m) : plain_symmetric(type.levels, src, &d);
        ht__store_u16(out, d);
        if (type.min) ht__store_u16(out + 2, m);
        pack(type, codes, out + (type.min ? 4 : 2));
    }
}

VEC void encode_legacy(const struct ht__legacy type, const float *src, int64_t n_rows, int64_t row_len,
                       const float *importance, void *dst)
{
    uint8_t *out = dst;
    if (!importance) {
        encode_plain(type, src, n_rows * row_len / LEN, out);
        return;
    }
    for (int64_t r = 0; r < n_rows; r += ROWS) {
        int64_t rows = n_rows - r < ROWS ? n_rows - r : ROWS;
        encode_rows(type, src + r * row_len, rows, row_len, importance, out + r * row_len / LEN * type.size);
    }
}
