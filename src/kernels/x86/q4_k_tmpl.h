/* Q4_K and Q5_K: batches of super-blocks through the affine search, then packing. */
#include "kernels/x86/k_affine_tmpl.h"

VEC void pack_q4(const struct coded *c, struct ht__q4_k_block *block)
{
    block->d = c->d;
    block->dmin = c->dmin;
    memcpy(block->scales, c->packed, sizeof block->scales);
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < 32; i++)
            block->qs[32 * g + i] = (uint8_t)(c->codes[64 * g + i] | c->codes[64 * g + 32 + i] << 4);
}

VEC void pack_q5(const struct coded *c, struct ht__q5_k_block *block)
{
    uint8_t high[32] = {0};
    block->d = c->d;
    block->dmin = c->dmin;
    memcpy(block->scales, c->packed, sizeof block->scales);
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < 32; i++) {
            uint8_t a = c->codes[64 * g + i], b = c->codes[64 * g + 32 + i];
            block->qs[32 * g + i] = (uint8_t)((a & 15) | b << 4);
            high[i] = (uint8_t)(high[i] | (a >> 4) << 2 * g | (b >> 4) << (2 * g + 1));
        }
    memcpy(block->qh, high, sizeof high);
}

VEC void encode_k_affine(const struct ht__codec *codec, const struct ht__affine_params p, bool five, const float *src,
                         int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    int64_t n = n_rows * row_len / HT__K, per_row = row_len / HT__K;
    uint8_t *out = dst;
    float squares[VL];
    for (int64_t first = 0; first < n; first += BATCH) {
        float x_room[BATCH * HT__K], w_room[BATCH * HT__K];
        struct batch batch;
        const float *w = NULL, *x = batch_weights(src, first, n, BATCH, HT__K, x_room);
        if (importance) w = batch_importance(importance, first, n, per_row, BATCH, HT__K, w_room);
        if (importance && first % VL == 0) squares_ahead(src + first * HT__K, n - first, HT__K, squares);
        search_batch(p, x, w, squares + first % VL, &batch);
        for (int b = 0; b < BATCH && first + b < n; b++) {
            struct coded coded;
            void *block = out + (first + b) * codec->block_size;
            if (!finish(x + b * HT__K, p.levels, &batch, b, w != NULL, &coded))
                codec->encode(x + b * HT__K, 1, HT__K, w ? w + b * HT__K : NULL, block);
            else if (five)
                pack_q5(&coded, block);
            else
                pack_q4(&coded, block);
        }
    }
}

static void encode_q4(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    static const struct ht__affine_params plain = {15, -1.0f, 0.1f, 20, false};
    static const struct ht__affine_params weighted = {15, -0.9f, 0.05f, 36, false};
    if (importance)
        encode_k_affine(&ht__codec_q4_k, weighted, false, src, n_rows, row_len, importance, dst);
    else
        encode_k_affine(&ht__codec_q4_k, plain, false, src, n_rows, row_len, NULL, dst);
}

static void encode_q5(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    static const struct ht__affine_params plain = {31, -0.5f, 0.1f, 15, false};
    static const struct ht__affine_params weighted = {31, -0.9f, 0.05f, 36, false};
    if (importance)
        encode_k_affine(&ht__codec_q5_k, weighted, true, src, n_rows, row_len, importance, dst);
    else
        encode_k_affine(&ht__codec_q5_k, plain, true, src, n_rows, row_len, NULL, dst);
}
