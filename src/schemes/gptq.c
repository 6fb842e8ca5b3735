/*
 * GPTQ's layout, whichever method chose the codes: a weight is (q - zero) * scale, computed in the scales' dtype.
 *
 *   .qweight   I32 [n_in * bits / 32, n_out]            codes of each column of the file, along the inputs, first in the
 *                                                       lowest bits; words have no gaps (3 bits: 32 codes in 3 words)
 *   .qzeros    I32 [n_in / group, n_out * bits / 32]    zero points along the outputs, packed alike; version 1 stores
 *                                                       zero - 1
 *   .scales    F16 [n_in / group, n_out]
 *   .g_idx     I32 [n_in]                               the group of each input
 *
 * AutoRound's own layout is the same without g_idx.
 */
#include "schemes/gptq.h"

#include "schemes/auto_round.h"
#include "schemes/bits.h"
#include "schemes/int_grid.h"

#include <string.h>

enum part { QWEIGHT, QZEROS, SCALE, G_IDX };

static int bits_of(const struct ht__scheme_params *p)
{
    return (int)p->option[HT__GPTQ_BITS];
}

static bool is_v1(const struct ht__scheme_params *p)
{
    return p->option[HT__GPTQ_VERSION] == HT__GPTQ_V1;
}

static int64_t group_of(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return p->option[HT__GPTQ_GROUP] > 0 ? (int64_t)p->option[HT__GPTQ_GROUP] : m->n_in;
}

static const struct ht__codec *scale_dtype(const struct ht__scheme_params *p)
{
    static const struct ht__codec *const dtypes[] = {&ht__codec_f16, &ht__codec_bf16, &ht__codec_f32};
    return dtypes[(int)p->option[HT__GPTQ_SCALES]];
}

static struct ht__int_grid grid_of(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return (struct ht__int_grid){
        .bits = bits_of(p),
        .group = group_of(p, m),
        .asymmetric = !p->option[HT__GPTQ_SYM],
        .search = p->option[HT__GPTQ_RANGE] == 1,
        .least_zero = is_v1(p), /* version 1 has no way to store a zero point of 0 */
        .scale = scale_dtype(p),
        .value = scale_dtype(p),
    };
}

static const char *unsuited(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    if (m->n_in % 32 || m->n_out % 32) return "both of its sides must be multiples of 32";
    if (p->option[HT__GPTQ_ACT_ORDER] && p->option[HT__GPTQ_CONFIG] == HT__GPTQ_CONFIG_AUTO_ROUND)
        return "AutoRound's files do not list the groups of inputs, as act_order needs";
    return m->n_in % group_of(p, m) ? "its rows do not divide into groups of that size" : NULL;
}

/* Rows whose zero points fill whole words. */
static int64_t rows_of_zeros(int bits)
{
    return bits == 3 ? 32 : 32 / bits;
}

static int parts(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__part out[HT__SCHEME_PARTS])
{
    int64_t bits = bits_of(p), groups = m->n_in / group_of(p, m), rows = rows_of_zeros((int)bits);
    const struct ht__codec *scales = scale_dtype(p);
    out[QWEIGHT] = (struct ht__part){.suffix = ".qweight",
                                     .dtype = &ht__codec_i32,
                                     .n_dims = 2,
                                     .shape = {m->n_in * bits / 32, m->n_out},
                                     .place = HT__PART_COLUMNS,
                                     .rows = 1,
                                     .bytes = 4};
    out[QZEROS] = (struct ht__part){.suffix = ".qzeros",
                                    .dtype = &ht__codec_i32,
                                    .n_dims = 2,
                                    .shape = {groups, m->n_out * bits / 32},
                                    .place = HT__PART_COLUMNS,
                                    .rows = rows,
                                    .bytes = (uint64_t)(rows * bits / 8)};
    out[SCALE] = (struct ht__part){.suffix = ".scales",
                                   .dtype = scales,
                                   .n_dims = 2,
                                   .shape = {groups, m->n_out},
                                   .place = HT__PART_COLUMNS,
                                   .rows = 1,
                                   .bytes = scales->block_size};
    out[G_IDX] = (struct ht__part){
        .suffix = ".g_idx", .dtype = &ht__codec_i32, .n_dims = 1, .shape = {m->n_in}, .place = HT__PART_WHOLE};
    bool listed = p->option[HT__GPTQ_G_IDX] && p->option[HT__GPTQ_CONFIG] == HT__GPTQ_CONFIG_GPTQ;
    return listed ? 4 : 3;
}

static int64_t groups(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    return n_rows * (m->n_in / group_of(p, m));
}

static void fit(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x, const float *importance,
                struct ht__codes *c)
{
    struct ht__int_grid grid = grid_of(p, m);
    ht__int_grid_fit(&grid, x, c->n_rows, m->n_in, importance, c->scale, c->zero);
}

static void nearest(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x, struct ht__codes *c)
{
    struct ht__int_grid grid = grid_of(p, m);
    ht__int_grid_nearest(&grid, x, m->n_in, c);
}

static void value(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c, float *dst)
{
    struct ht__int_grid grid = grid_of(p, m);
    ht__int_grid_value(&grid, c, m->n_in, dst);
}

enum { ZEROS = 32 }; /* zero points that are packed at once: whole words for all bits */

/* Line g of qzeros and scales holds group g of these rows. */
static void pack(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                 void *const dst[])
{
    int bits = bits_of(p);
    int64_t n_groups = m->n_in / group_of(p, m), line = c->n_rows * bits / 8;
    uint8_t zeros[ZEROS], less = is_v1(p), most = (uint8_t)((1 << bits) - 1);
    const struct ht__codec *scales = scale_dtype(p);
    ht__bits_pack_columns(c->q, c->n_rows, m->n_in, bits, dst[QWEIGHT]);
    for (int64_t g = 0; g < n_groups; g++)
        for (int64_t row = 0; row < c->n_rows; row += ZEROS) {
            int64_t n = c->n_rows - row < ZEROS ? c->n_rows - row : ZEROS;
            float line_scales[ZEROS];
            for (int64_t i = 0; i < n; i++) {
                line_scales[i] = c->scale[(row + i) * n_groups + g];
                zeros[i] = (uint8_t)((uint8_t)c->zero[(row + i) * n_groups + g] - less) & most;
            }
            ht__bits_pack(zeros, n, bits, (uint8_t *)dst[QZEROS] + g * line + row * bits / 8);
            scales->encode(line_scales, 1, n, NULL, (uint8_t *)dst[SCALE] + (g * c->n_rows + row) * scales->block_size);
        }
}

static void finish(const struct ht__scheme_params *p, const struct ht__matrix *m, void *const whole[])
{
    int32_t *g_idx = whole[G_IDX];
    for (int64_t k = 0; g_idx && k < m->n_in; k++)
        g_idx[k] = m->column_group ? m->column_group[k] : (int32_t)(k / group_of(p, m));
}

static unsigned flags_with(const struct ht__scheme_params *p)
{
    return p->option[HT__GPTQ_ACT_ORDER] ? HT__SCHEME_LISTED : 0;
}

/*
 * Version 1 stores zero - 1. GPTQModel writes a zero point of 0 by subtracting from whole words and undoes it by adding
 * to whole words, so that what one field borrows another gives back; with 3 bits, whose fields lie across words, each
 * field is taken by itself.
 */
static void restore_zeros(uint32_t *words, int64_t n_words, int bits)
{
    uint32_t one = bits == 2 ? 0x55555555 : bits == 4 ? 0x11111111 : 0x01010101;
    for (int64_t i = 0; bits != 3 && i < n_words; i++)
        words[i] += one;
}

static void unpack_zeros(const void *src, int64_t n, int bits, bool v1, uint8_t zeros[ZEROS])
{
    uint32_t words[ZEROS / 4];
    size_t size = (size_t)ht__bits_bytes(n, bits);
    memcpy(words, src, size);
    if (v1) restore_zeros(words, (int64_t)size / 4, bits);
    ht__bits_unpack(words, n, bits, zeros);
    for (int64_t i = 0; v1 && bits == 3 && i < n; i++)
        zeros[i] = (zeros[i] + 1) & 7;
}

static void unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                   struct ht__codes *c)
{
    int bits = bits_of(p);
    int64_t n_groups = m->n_in / group_of(p, m), line = c->n_rows * bits / 8;
    const struct ht__codec *scales = scale_dtype(p);
    uint8_t zeros[ZEROS];
    ht__bits_unpack_columns(src[QWEIGHT], c->n_rows, m->n_in, bits, c->q);
    for (int64_t g = 0; g < n_groups; g++)
        for (int64_t row = 0; row < c->n_rows; row += ZEROS) {
            int64_t n = c->n_rows - row < ZEROS ? c->n_rows - row : ZEROS;
            float line_scales[ZEROS];
            unpack_zeros((const uint8_t *)src[QZEROS] + g * line + row * bits / 8, n, bits, is_v1(p), zeros);
            scales->decode((const uint8_t *)src[SCALE] + (g * c->n_rows + row) * scales->block_size, n, line_scales);
            for (int64_t i = 0; i < n; i++) {
                c->scale[(row + i) * n_groups + g] = line_scales[i];
                c->zero[(row + i) * n_groups + g] = zeros[i];
            }
        }
    c->column_group = src[G_IDX];
}

static const char *complaint(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                             int *part)
{
    *part = G_IDX;
    return src[G_IDX] ? ht__column_groups_complaint(src[G_IDX], m->n_in, group_of(p, m)) : NULL;
}

static void config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    if (package->params->option[HT__GPTQ_CONFIG] == HT__GPTQ_CONFIG_AUTO_ROUND)
        ht__auto_round_config(package, is_v1(package->params) ? "auto_round:auto_gptq" : "auto_round", w);
    else
        ht__gptq_config(package, w);
}

/* Each module may have bits, group and symmetry of its own; the layout is the folder's. */
static const char *apart(const struct ht__scheme_params *p, const struct ht__scheme_params *other)
{
    static const int shared[] = {HT__GPTQ_VERSION, HT__GPTQ_CONFIG};
    if (other->scheme != p->scheme) return "GPTQ's modules can differ in bits, group and sym alone";
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        if (p->option[shared[i]] != other->option[shared[i]]) return "all its modules have the same version and config";
    return NULL;
}

/* quantize_config.json is what GPTQModel and AutoGPTQ look at first. */
static void side(const struct ht__scheme_package *package, struct ht__jw *w)
{
    if (package->params->option[HT__GPTQ_CONFIG] == HT__GPTQ_CONFIG_GPTQ) ht__gptq_config(package, w);
}

static const struct ht__scheme_option options[] = {
    [HT__GPTQ_BITS] = {"bits", "bits a weight", "2 3 4 8", .otherwise = 4},
    [HT__GPTQ_GROUP] = {"group", "weights of a row that share a scale; -1: all of them", "32 64 128 -1",
                        .otherwise = 128},
    [HT__GPTQ_SYM] = {"sym", "the same zero point everywhere", "off on", .otherwise = 1},
    [HT__GPTQ_VERSION] = {"version", "how zero points are stored: v1 less one, v2 as they are", "v1 v2",
                          .otherwise = 0},
    [HT__GPTQ_RANGE] = {"range", "the range of codes: all weights of a group, or the least squared error", "absmax mse",
                        .otherwise = 1},
    [HT__GPTQ_CONFIG] = {"config", "whose configuration is written, and AutoRound's files have no g_idx",
                         "gptq auto-round", .otherwise = 0},
    [HT__GPTQ_ACT_ORDER] =
        {"act_order", "groups are of inputs that are about as large, not of neighbours; needs a method that calibrates",
         "off on", .otherwise = 0},
    [HT__GPTQ_G_IDX] = {"g_idx", "the file lists the group of each input", NULL, .otherwise = 1, 0, 1, .reading = true},
    [HT__GPTQ_SCALES] = {"scales", "dtype of scales", "f16 bf16 f32", .reading = true},
    {.name = NULL},
};

const struct ht__scheme ht__scheme_gptq = {
    .name = "gptq",
    .label = "GPTQ",
    .family = "GPTQ",
    .about = "2, 3, 4 or 8 bits, groups of a row share a scale and a zero point",
    .loaders = "transformers with GPTQModel, vLLM, SGLang",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .flags = HT__SCHEME_ZERO,
    .flags_with = flags_with,
    .options = options,
    .unsuited = unsuited,
    .parts = parts,
    .groups = groups,
    .fit = fit,
    .nearest = nearest,
    .value = value,
    .pack = pack,
    .finish = finish,
    .unpack = unpack,
    .complaint = complaint,
    .apart = apart,
    .config = config,
    .side_file = "quantize_config.json",
    .side = side,
};
