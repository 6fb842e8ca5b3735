/* Row sources that change values: offsets, block-scaled FP8, MXFP4 blocks. */
#include "model/rows.h"

#include <string.h>

struct affine {
    struct ht__rows rows;
    const struct ht__rows *of;
    float scale, offset;
};

static enum ht_err read_affine(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                               struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct affine *a = rows->ctx;
    HT_TRY(a->of->read(a->of, row, n, dst, scratch, diag));
    for (int64_t i = 0; i < n * rows->row_len; i++)
        dst[i] = dst[i] * a->scale + a->offset;
    return HT_OK;
}

struct ht__rows *ht__rows_affine(struct ht__arena *arena, const struct ht__rows *of, float scale,
                                 float offset)
{
    struct affine *a = of ? ht__arena_new(arena, sizeof *a) : NULL;
    if (!a) return NULL;
    *a = (struct affine){.of = of, .scale = scale, .offset = offset};
    a->rows = (struct ht__rows){
        .n_rows = of->n_rows, .row_len = of->row_len, .read = read_affine, .first = of, .ctx = a};
    return &a->rows;
}

struct scaled {
    struct ht__rows rows;
    const struct ht__rows *of, *scales;
    int64_t block[2];
};

static enum ht_err read_scaled(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                               struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct scaled *s = rows->ctx;
    int64_t first = row / s->block[0], last = (row + n - 1) / s->block[0];
    size_t count = (size_t)((last - first + 1) * s->scales->row_len);
    float *scales = ht__arena_raw(scratch, count * sizeof *scales);
    if (!scales) return ht__fail_memory(diag, "rows");
    HT_TRY(s->scales->read(s->scales, first, last - first + 1, scales, scratch, diag));
    HT_TRY(s->of->read(s->of, row, n, dst, scratch, diag));
    for (int64_t i = 0; i < n; i++) {
        const float *factors = scales + ((row + i) / s->block[0] - first) * s->scales->row_len;
        for (int64_t j = 0; j < rows->row_len; j++)
            dst[i * rows->row_len + j] *= factors[j / s->block[1]];
    }
    return HT_OK;
}

struct ht__rows *ht__rows_scaled(struct ht__arena *arena, const struct ht__rows *of,
                                 const struct ht__rows *scales, const int64_t block[2])
{
    struct scaled *s = of && scales ? ht__arena_new(arena, sizeof *s) : NULL;
    if (!s) return NULL;
    *s = (struct scaled){.of = of, .scales = scales, .block = {block[0], block[1]}};
    s->rows = (struct ht__rows){
        .n_rows = of->n_rows, .row_len = of->row_len, .read = read_scaled, .first = of, .ctx = s};
    return &s->rows;
}

struct mxfp4 {
    struct ht__rows rows;
    const struct ht__checkpoint *ck;
    const struct ht__tensor *blocks, *scales;
    const struct ht__codec *codec;
};

enum { BLOCK = 32, HALF = 16, GGUF_BLOCK = 17 };

/* GGUF: scale byte, then byte j holds element j (low) and j + 16 (high). */
static void repack(const uint8_t *pairs, uint8_t scale, uint8_t *out)
{
    uint8_t codes[BLOCK];
    for (int i = 0; i < HALF; i++) {
        codes[2 * i] = pairs[i] & 15;
        codes[2 * i + 1] = pairs[i] >> 4;
    }
    out[0] = scale;
    for (int j = 0; j < HALF; j++)
        out[1 + j] = (uint8_t)(codes[j] | codes[j + HALF] << 4);
}

static enum ht_err read_mxfp4_raw(const struct ht__rows *rows, int64_t row, int64_t n, void *dst,
                                  struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct mxfp4 *m = rows->ctx;
    uint64_t per_row = (uint64_t)rows->row_len / BLOCK, count = (uint64_t)n * per_row;
    uint8_t *pairs = ht__arena_raw(scratch, count * HALF), *scales = ht__arena_raw(scratch, count);
    if (!pairs || !scales) return ht__fail_memory(diag, m->blocks->name);
    uint64_t first = (uint64_t)row * per_row;
    HT_TRY(ht__tensor_read_raw(m->ck, m->blocks, first * HALF, count * HALF, pairs, diag));
    HT_TRY(ht__tensor_read_raw(m->ck, m->scales, first, count, scales, diag));
    for (uint64_t i = 0; i < count; i++)
        repack(pairs + i * HALF, scales[i], (uint8_t *)dst + i * GGUF_BLOCK);
    return HT_OK;
}

static enum ht_err read_mxfp4(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                              struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct mxfp4 *m = rows->ctx;
    uint64_t weights = (uint64_t)(n * rows->row_len);
    void *raw = ht__arena_raw(scratch, ht__codec_bytes(m->codec, weights));
    if (!raw) return ht__fail_memory(diag, m->blocks->name);
    HT_TRY(read_mxfp4_raw(rows, row, n, raw, scratch, diag));
    m->codec->decode(raw, (int64_t)weights, dst);
    return HT_OK;
}

struct ht__rows *ht__rows_mxfp4(struct ht__arena *arena, const struct ht__checkpoint *ck,
                                const struct ht__tensor *blocks, const struct ht__tensor *scales)
{
    const struct ht__codec *codec = ht__codec_by_name("mxfp4");
    struct mxfp4 *m = codec ? ht__arena_new(arena, sizeof *m) : NULL;
    if (!m) return NULL;
    int64_t per_row = blocks->shape[blocks->n_dims - 2];
    *m = (struct mxfp4){.ck = ck, .blocks = blocks, .scales = scales, .codec = codec};
    m->rows = (struct ht__rows){.n_rows = (int64_t)scales->n_weights / per_row,
                                .row_len = per_row * BLOCK,
                                .read = read_mxfp4,
                                .raw_type = codec,
                                .read_raw = read_mxfp4_raw,
                                .ctx = m};
    return &m->rows;
}
