/*
 * compressed-tensors, whole numbers: w4a16 and w8a16 ("pack-quantized"), w8a8 ("int-quantized"). A weight is
 * (q - zero) * scale, computed in the scales' dtype. In memory q and zero are from 0; as the client counts, from
 * -2^(bits - 1).
 *
 *   .weight_packed       I32 [n_out, n_in * bits / 32]     codes along the inputs, first in the lowest bits, without gaps;
 *                                                          the last word of a row is filled up with 0
 *   .weight_scale        the model's dtype [n_out, n_in / group]
 *   .weight_shape        I64 [2]                           n_out, n_in
 *   .weight_zero_point   I32 [n_out * bits / 32, n_in / group], where it is not symmetric: along the outputs, packed alike
 *
 * int-quantized:
 *   .weight              I8 [n_out, n_in]
 *   .weight_scale        the model's dtype [n_out, 1]
 */
#include "schemes/bits.h"
#include "schemes/compressed_tensors.h"
#include "schemes/int_grid.h"

#include <string.h>

/* The options of all three begin alike. */
enum option { RANGE, SCALES, GROUP, SYM, BITS, G_IDX };
enum part { WEIGHT, SCALE, SHAPE, ZERO };

static const struct ht__codec *scale_dtype(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    static const struct ht__codec *const dtypes[] = {NULL, &ht__codec_f16, &ht__codec_bf16, &ht__codec_f32};
    int choice = (int)p->option[SCALES];
    return choice ? dtypes[choice] : m->dtype;
}

static void fit_grid(const struct ht__int_grid *grid, const struct ht__matrix *m, const float *x,
                     const float *importance, struct ht__codes *c)
{
    ht__int_grid_fit(grid, x, c->n_rows, m->n_in, importance, c->scale, c->zero);
}

/* ---- pack-quantized ---- */

static int bits_of(const struct ht__scheme_params *p)
{
    return (int)p->option[BITS];
}

static int64_t group_of(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return p->option[GROUP] > 0 ? (int64_t)p->option[GROUP] : m->n_in;
}

static struct ht__int_grid packed_grid(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    const struct ht__codec *dtype = scale_dtype(p, m);
    return (struct ht__int_grid){.bits = bits_of(p),
                                 .group = group_of(p, m),
                                 .asymmetric = !p->option[SYM],
                                 .search = p->option[RANGE] == 1,
                                 .scale = dtype,
                                 .value = dtype};
}

static const char *packed_unsuited(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return m->n_in % group_of(p, m) ? "its rows do not divide into groups of that size" : NULL;
}

static struct ht__part by_rows(const char *suffix, const struct ht__codec *dtype, int64_t lines, int64_t length,
                               int64_t rows, int64_t lines_of_rows)
{
    return (struct ht__part){.suffix = suffix,
                             .dtype = dtype,
                             .n_dims = 2,
                             .shape = {lines, length},
                             .rows = rows,
                             .bytes = (uint64_t)(lines_of_rows * length) * dtype->block_size};
}

/* Rows whose zero points fill whole words: 32, but for bits that divide 32. */
static int64_t rows_of_zeros(int bits)
{
    return 32 % bits ? 32 : 32 / bits;
}

static int packed_parts(const struct ht__scheme_params *p, const struct ht__matrix *m,
                        struct ht__part out[HT__SCHEME_PARTS])
{
    int bits = bits_of(p), n = 3;
    int64_t groups = m->n_in / group_of(p, m), rows = rows_of_zeros(bits);
    out[WEIGHT] = by_rows(".weight_packed", &ht__codec_i32, m->n_out, ht__bits_bytes(m->n_in, bits) / 4, 1, 1);
    out[SCALE] = by_rows(".weight_scale", scale_dtype(p, m), m->n_out, groups, 1, 1);
    out[SHAPE] = (struct ht__part){
        .suffix = ".weight_shape", .dtype = &ht__codec_i64, .n_dims = 1, .shape = {2}, .place = HT__PART_WHOLE};
    if (!p->option[SYM])
        out[n++] = by_rows(".weight_zero_point", &ht__codec_i32, ht__bits_bytes(m->n_out, bits) / 4, groups, rows,
                           rows * bits / 32);
    if (p->option[G_IDX])
        out[n++] = (struct ht__part){.suffix = ".weight_g_idx",
                                     .dtype = &ht__codec_i32,
                                     .n_dims = 1,
                                     .shape = {m->n_in},
                                     .place = HT__PART_WHOLE};
    return n;
}

static int64_t packed_groups(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    return n_rows * (m->n_in / group_of(p, m));
}

static void packed_fit(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                       const float *importance, struct ht__codes *c)
{
    struct ht__int_grid grid = packed_grid(p, m);
    fit_grid(&grid, m, x, importance, c);
}

static void packed_nearest(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                           struct ht__codes *c)
{
    struct ht__int_grid grid = packed_grid(p, m);
    ht__int_grid_nearest(&grid, x, m->n_in, c);
}

static void packed_value(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                         float *dst)
{
    struct ht__int_grid grid = packed_grid(p, m);
    ht__int_grid_value(&grid, c, m->n_in, dst);
}

enum { ZEROS = 32 };

/* Words of the zero points of rows [row, row + n) lie a line of groups apart. */
static void pack_zeros(const struct ht__codes *c, int64_t n_groups, int bits, uint8_t *dst)
{
    uint8_t zeros[ZEROS], words[ZEROS];
    for (int64_t row = 0; row < c->n_rows; row += ZEROS)
        for (int64_t g = 0; g < n_groups; g++) {
            int64_t n = c->n_rows - row < ZEROS ? c->n_rows - row : ZEROS;
            for (int64_t i = 0; i < n; i++)
                zeros[i] = (uint8_t)c->zero[(row + i) * n_groups + g];
            ht__bits_pack(zeros, n, bits, words);
            for (int64_t w = 0; w < ht__bits_bytes(n, bits) / 4; w++)
                memcpy(dst + ((row * bits / 32 + w) * n_groups + g) * 4, words + 4 * w, 4);
        }
}

static void unpack_zeros(const uint8_t *src, int64_t n_groups, int bits, struct ht__codes *c)
{
    uint8_t zeros[ZEROS], words[ZEROS];
    for (int64_t row = 0; row < c->n_rows; row += ZEROS)
        for (int64_t g = 0; g < n_groups; g++) {
            int64_t n = c->n_rows - row < ZEROS ? c->n_rows - row : ZEROS;
            for (int64_t w = 0; w < ht__bits_bytes(n, bits) / 4; w++)
                memcpy(words + 4 * w, src + ((row * bits / 32 + w) * n_groups + g) * 4, 4);
            ht__bits_unpack(words, n, bits, zeros);
            for (int64_t i = 0; i < n; i++)
                c->zero[(row + i) * n_groups + g] = zeros[i];
        }
}

static void packed_pack(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                        void *const dst[])
{
    int bits = bits_of(p);
    int64_t n_groups = m->n_in / group_of(p, m), row_bytes = ht__bits_bytes(m->n_in, bits);
    for (int64_t row = 0; row < c->n_rows; row++)
        ht__bits_pack(c->q + row * m->n_in, m->n_in, bits, (uint8_t *)dst[WEIGHT] + row * row_bytes);
    scale_dtype(p, m)->encode(c->scale, c->n_rows, n_groups, NULL, dst[SCALE]);
    if (!p->option[SYM]) pack_zeros(c, n_groups, bits, dst[ZERO]);
}

static void packed_finish(const struct ht__scheme_params *p, const struct ht__matrix *m, void *const whole[])
{
    int64_t shape[2] = {m->n_out, m->n_in};
    memcpy(whole[SHAPE], shape, sizeof shape);
}

static void packed_unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                          struct ht__codes *c)
{
    int bits = bits_of(p);
    int64_t n_groups = m->n_in / group_of(p, m), row_bytes = ht__bits_bytes(m->n_in, bits);
    for (int64_t row = 0; row < c->n_rows; row++)
        ht__bits_unpack((const uint8_t *)src[WEIGHT] + row * row_bytes, m->n_in, bits, c->q + row * m->n_in);
    scale_dtype(p, m)->decode(src[SCALE], c->n_rows * n_groups, c->scale);
    if (!p->option[SYM])
        unpack_zeros(src[ZERO], n_groups, bits, c);
    else
        for (int64_t i = 0; i < c->n_rows * n_groups; i++)
            c->zero[i] = (float)(1 << (bits - 1));
    if (p->option[G_IDX]) c->column_group = src[ZERO + !p->option[SYM]];
}

static const char *packed_complaint(const struct ht__scheme_params *p, const struct ht__matrix *m,
                                    const void *const src[], int *part)
{
    int64_t shape[2];
    int columns = ZERO + !p->option[SYM];
    memcpy(shape, src[SHAPE], sizeof shape);
    *part = SHAPE;
    if (shape[0] != m->n_out || shape[1] != m->n_in) return "it does not say the shape of the packed weights";
    *part = columns;
    return p->option[G_IDX] ? ht__column_groups_complaint(src[columns], m->n_in, group_of(p, m)) : NULL;
}

static void packed_describe(const struct ht__scheme_params *p, struct ht__ct_group *group)
{
    int size = (int)p->option[GROUP];
    group->format = "pack-quantized";
    group->weights = (struct ht__ct_args){.num_bits = bits_of(p),
                                          .type = "int",
                                          .strategy = size > 0 ? "group" : "channel",
                                          .dynamic = "false",
                                          .asymmetric = !p->option[SYM],
                                          .group_size = size > 0 ? size : 0};
}

static const struct ht__ct_scheme packed_family = {.describe = packed_describe};

#define RANGE_OPTION                                                                                                   \
    {                                                                                                                  \
        "range", "the range of codes: all weights of a group, or the least squared error", "absmax mse",               \
            .otherwise = 1                                                                                             \
    }
#define SCALES_OPTION                                                                                                  \
    {                                                                                                                  \
        "scales", "dtype of scales", "model f16 bf16 f32", .reading = true                                             \
    }
#define PACKED_OPTIONS(bits, group)                                                                                    \
    {                                                                                                                  \
        [RANGE] = RANGE_OPTION, [SCALES] = SCALES_OPTION,                                                              \
        [GROUP] = {"group", "weights of a row that share a scale; -1: all of them", "32 64 128 -1",                    \
                   .otherwise = (group)},                                                                              \
        [SYM] = {"sym", "the same zero point everywhere", "off on", .otherwise = 1},                                   \
        [BITS] = {"bits", "bits a weight", "2 3 4 5 6 7 8", .otherwise = (bits), .reading = true},                     \
        [G_IDX] = {"g_idx", "the file lists the group of each input", "off on", .reading = true}, {.name = NULL},      \
    }

static const struct ht__scheme_option w4a16_options[] = PACKED_OPTIONS(4, 128);
static const struct ht__scheme_option w8a16_options[] = PACKED_OPTIONS(8, -1);

#define PACKED_SCHEME(id, title, text)                                                                                 \
    const struct ht__scheme ht__scheme_##id = {                                                                        \
        .name = #id,                                                                                                   \
        .label = title,                                                                                                \
        .family = "compressed-tensors",                                                                                \
        .about = text,                                                                                                 \
        .loaders = "vLLM, transformers with compressed-tensors",                                                       \
        .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,                                                  \
        .unpacked_by = HT__LOADED_BY_TRANSFORMERS,                                                                     \
        .flags = HT__SCHEME_ZERO,                                                                                      \
        .options = id##_options,                                                                                       \
        .unsuited = packed_unsuited,                                                                                   \
        .parts = packed_parts,                                                                                         \
        .groups = packed_groups,                                                                                       \
        .fit = packed_fit,                                                                                             \
        .nearest = packed_nearest,                                                                                     \
        .value = packed_value,                                                                                         \
        .pack = packed_pack,                                                                                           \
        .finish = packed_finish,                                                                                       \
        .unpack = packed_unpack,                                                                                       \
        .complaint = packed_complaint,                                                                                 \
        .apart = ht__ct_apart,                                                                                         \
        .config = ht__ct_config,                                                                                       \
        .family_data = &packed_family,                                                                                 \
    }

PACKED_SCHEME(w4a16, "W4A16", "4 bits, groups of a row share a scale; activations stay as they are");
PACKED_SCHEME(w8a16, "W8A16", "8 bits, a scale a row or a group; activations stay as they are");

/* ---- int-quantized ---- */

static struct ht__int_grid row_grid(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    const struct ht__codec *dtype = scale_dtype(p, m);
    return (struct ht__int_grid){
        .bits = 8, .group = m->n_in, .search = p->option[RANGE] == 1, .scale = dtype, .value = dtype};
}

static const char *row_unsuited(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return NULL;
}

static int row_parts(const struct ht__scheme_params *p, const struct ht__matrix *m,
                     struct ht__part out[HT__SCHEME_PARTS])
{
    out[WEIGHT] = by_rows(".weight", &ht__codec_i8, m->n_out, m->n_in, 1, 1);
    out[SCALE] = by_rows(".weight_scale", scale_dtype(p, m), m->n_out, 1, 1, 1);
    return 2;
}

static int64_t row_groups(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    return n_rows;
}

static void row_fit(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                    const float *importance, struct ht__codes *c)
{
    struct ht__int_grid grid = row_grid(p, m);
    fit_grid(&grid, m, x, importance, c);
}

static void row_nearest(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                        struct ht__codes *c)
{
    struct ht__int_grid grid = row_grid(p, m);
    ht__int_grid_nearest(&grid, x, m->n_in, c);
}

static void row_value(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                      float *dst)
{
    struct ht__int_grid grid = row_grid(p, m);
    ht__int_grid_value(&grid, c, m->n_in, dst);
}

/* From 0 … 255 to -128 … 127, and back. */
static void shift(const uint8_t *from, int64_t n, uint8_t *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = from[i] ^ 0x80;
}

static void row_pack(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                     void *const dst[])
{
    shift(c->q, c->n_rows * m->n_in, dst[WEIGHT]);
    scale_dtype(p, m)->encode(c->scale, c->n_rows, 1, NULL, dst[SCALE]);
}

static void row_unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                       struct ht__codes *c)
{
    shift(src[WEIGHT], c->n_rows * m->n_in, c->q);
    scale_dtype(p, m)->decode(src[SCALE], c->n_rows, c->scale);
}

static void row_describe(const struct ht__scheme_params *p, struct ht__ct_group *group)
{
    group->format = "int-quantized";
    group->weights = (struct ht__ct_args){.num_bits = 8, .type = "int", .strategy = "channel", .dynamic = "false"};
    group->inputs = (struct ht__ct_args){.num_bits = 8, .type = "int", .strategy = "token", .dynamic = "true"};
}

static const struct ht__ct_scheme row_family = {.describe = row_describe};
static const struct ht__scheme_option w8a8_options[] = {
    [RANGE] = RANGE_OPTION, [SCALES] = SCALES_OPTION, {.name = NULL}};

const struct ht__scheme ht__scheme_w8a8 = {
    .name = "w8a8",
    .label = "W8A8",
    .family = "compressed-tensors",
    .about = "8 bits, a scale a row; activations are rounded to 8 bits as they come",
    .loaders = "vLLM, transformers with compressed-tensors",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .unpacked_by = HT__LOADED_BY_TRANSFORMERS,
    .flags = HT__SCHEME_INT8_INPUTS,
    .options = w8a8_options,
    .unsuited = row_unsuited,
    .parts = row_parts,
    .groups = row_groups,
    .fit = row_fit,
    .nearest = row_nearest,
    .value = row_value,
    .pack = row_pack,
    .unpack = row_unpack,
    .apart = ht__ct_apart,
    .config = ht__ct_config,
    .family_data = &row_family,
};
