/*
 * AWQ's "gemm" layout, 4 bits: a weight is (q - zero) * scale, computed in the scales' dtype.
 *
 *   .qweight   I32 [n_in, n_out / 8]            eight outputs of an input in a word, lowest bits first in the order
 *                                               0 2 4 6 1 3 5 7
 *   .qzeros    I32 [n_in / group, n_out / 8]    zero points, alike
 *   .scales    F16 [n_in / group, n_out]
 */
#include "base/json_write.h"
#include "schemes/auto_round.h"
#include "schemes/int_grid.h"

#include <string.h>

enum option { GROUP, RANGE, CONFIG, SCALES };
enum part { QWEIGHT, QZEROS, SCALE };
enum { CONFIG_AWQ, CONFIG_AUTO_ROUND };
enum { FOLD = 8 }; /* outputs in a word */

static const int order[FOLD] = {0, 2, 4, 6, 1, 3, 5, 7};

static int64_t group_of(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return p->option[GROUP] > 0 ? (int64_t)p->option[GROUP] : m->n_in;
}

static const struct ht__codec *scale_dtype(const struct ht__scheme_params *p)
{
    static const struct ht__codec *const dtypes[] = {&ht__codec_f16, &ht__codec_bf16, &ht__codec_f32};
    return dtypes[(int)p->option[SCALES]];
}

static struct ht__int_grid grid_of(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return (struct ht__int_grid){.bits = 4,
                                 .group = group_of(p, m),
                                 .asymmetric = true,
                                 .search = p->option[RANGE] == 1,
                                 .scale = scale_dtype(p),
                                 .value = scale_dtype(p)};
}

static const char *unsuited(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    if (m->n_out % FOLD) return "the number of its rows must be a multiple of 8";
    return m->n_in % group_of(p, m) ? "its rows do not divide into groups of that size" : NULL;
}

static struct ht__part columns(const char *suffix, const struct ht__codec *dtype, int64_t lines, int64_t length,
                               int64_t rows)
{
    return (struct ht__part){.suffix = suffix,
                             .dtype = dtype,
                             .n_dims = 2,
                             .shape = {lines, length},
                             .place = HT__PART_COLUMNS,
                             .rows = rows,
                             .bytes = dtype->block_size};
}

static int parts(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__part out[HT__SCHEME_PARTS])
{
    int64_t groups = m->n_in / group_of(p, m);
    out[QWEIGHT] = columns(".qweight", &ht__codec_i32, m->n_in, m->n_out / FOLD, FOLD);
    out[QZEROS] = columns(".qzeros", &ht__codec_i32, groups, m->n_out / FOLD, FOLD);
    out[SCALE] = columns(".scales", scale_dtype(p), groups, m->n_out, 1);
    return 3;
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

enum { TILE = 256 };

/* Eight rows of codes, ld apart, to n words, and back. */
static void fold(const uint8_t *q, int64_t ld, int64_t n, uint32_t *words)
{
    memset(words, 0, (size_t)n * sizeof *words);
    for (int i = 0; i < FOLD; i++)
        for (int64_t k = 0; k < n; k++)
            words[k] |= (uint32_t)q[order[i] * ld + k] << 4 * i;
}

static void unfold(const uint32_t *words, int64_t ld, int64_t n, uint8_t *q)
{
    for (int i = 0; i < FOLD; i++)
        for (int64_t k = 0; k < n; k++)
            q[order[i] * ld + k] = words[k] >> 4 * i & 15;
}

static void pack_codes(const struct ht__codes *c, int64_t n_in, uint8_t *dst)
{
    int64_t line = c->n_rows / FOLD * 4;
    uint32_t words[TILE];
    for (int64_t at = 0; at < n_in; at += TILE)
        for (int64_t row = 0; row < c->n_rows; row += FOLD) {
            int64_t n = n_in - at < TILE ? n_in - at : TILE;
            fold(c->q + row * n_in + at, n_in, n, words);
            for (int64_t k = 0; k < n; k++)
                memcpy(dst + (at + k) * line + row / FOLD * 4, &words[k], 4);
        }
}

static void unpack_codes(const uint8_t *src, int64_t n_in, struct ht__codes *c)
{
    int64_t line = c->n_rows / FOLD * 4;
    uint32_t words[TILE];
    for (int64_t at = 0; at < n_in; at += TILE)
        for (int64_t row = 0; row < c->n_rows; row += FOLD) {
            int64_t n = n_in - at < TILE ? n_in - at : TILE;
            for (int64_t k = 0; k < n; k++)
                memcpy(&words[k], src + (at + k) * line + row / FOLD * 4, 4);
            unfold(words, n_in, n, c->q + row * n_in + at);
        }
}

static void pack(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                 void *const dst[])
{
    int64_t n_groups = m->n_in / group_of(p, m), n = c->n_rows;
    const struct ht__codec *dtype = scale_dtype(p);
    uint8_t *zeros = dst[QZEROS], *scales = dst[SCALE];
    pack_codes(c, m->n_in, dst[QWEIGHT]);
    for (int64_t g = 0; g < n_groups; g++)
        for (int64_t row = 0; row < n; row += FOLD) {
            float scale[FOLD];
            uint8_t zero[FOLD];
            uint32_t word;
            for (int i = 0; i < FOLD; i++) {
                scale[i] = c->scale[(row + i) * n_groups + g];
                zero[i] = (uint8_t)c->zero[(row + i) * n_groups + g];
            }
            fold(zero, 1, 1, &word);
            memcpy(zeros + g * n / FOLD * 4 + row / FOLD * 4, &word, 4);
            dtype->encode(scale, 1, FOLD, NULL, scales + (g * n + row) * dtype->block_size);
        }
}

static void unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                   struct ht__codes *c)
{
    int64_t n_groups = m->n_in / group_of(p, m), n = c->n_rows;
    const struct ht__codec *dtype = scale_dtype(p);
    const uint8_t *zeros = src[QZEROS], *scales = src[SCALE];
    unpack_codes(src[QWEIGHT], m->n_in, c);
    for (int64_t g = 0; g < n_groups; g++)
        for (int64_t row = 0; row < n; row += FOLD) {
            float scale[FOLD];
            uint8_t zero[FOLD];
            uint32_t word;
            memcpy(&word, zeros + g * n / FOLD * 4 + row / FOLD * 4, 4);
            unfold(&word, 1, 1, zero);
            dtype->decode(scales + (g * n + row) * dtype->block_size, FOLD, scale);
            for (int i = 0; i < FOLD; i++) {
                c->scale[(row + i) * n_groups + g] = scale[i];
                c->zero[(row + i) * n_groups + g] = zero[i];
            }
        }
}

/* Names in full, because programs match them by different rules: as a part of a name, as its end, or as a pattern. */
static void config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    if (package->params->option[CONFIG] == CONFIG_AUTO_ROUND) {
        ht__auto_round_config(package, "auto_round:auto_awq", w);
        return;
    }
    ht__jw_str(w, "quant_method", "awq");
    ht__jw_str(w, "version", "gemm");
    ht__jw_int(w, "bits", 4);
    ht__jw_int(w, "group_size", (int64_t)package->params->option[GROUP]);
    ht__jw_bool(w, "zero_point", true);
    ht__jw_array(w, "modules_to_not_convert");
    for (size_t i = 0; i < package->n_modules; i++)
        if (!ht__scheme_same(package->modules[i].params, package->params))
            ht__jw_str(w, NULL, package->modules[i].name);
    ht__jw_end(w);
}

/* Only AutoRound's configuration names groups of single modules. */
static const char *apart(const struct ht__scheme_params *p, const struct ht__scheme_params *other)
{
    bool both = other->scheme == p->scheme && p->option[CONFIG] == CONFIG_AUTO_ROUND &&
                other->option[CONFIG] == CONFIG_AUTO_ROUND;
    return both ? NULL : "AWQ's configuration describes one kind, and which modules are left out";
}

static const struct ht__scheme_option options[] = {
    [GROUP] = {"group", "weights of a row that share a scale; -1: all of them", "32 64 128 -1", .otherwise = 128},
    [RANGE] = {"range", "the range of codes: all weights of a group, or the least squared error", "absmax mse",
               .otherwise = 1},
    [CONFIG] = {"config", "whose configuration is written", "awq auto-round", .otherwise = 0},
    [SCALES] = {"scales", "dtype of scales", "f16 bf16 f32", .reading = true},
    {.name = NULL},
};

const struct ht__scheme ht__scheme_awq = {
    .name = "awq",
    .label = "AWQ",
    .family = "AWQ",
    .about = "4 bits, groups of a row share a scale and a zero point",
    .loaders = "transformers with GPTQModel, vLLM, SGLang",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .flags = HT__SCHEME_ZERO,
    .options = options,
    .unsuited = unsuited,
    .parts = parts,
    .groups = groups,
    .fit = fit,
    .nearest = nearest,
    .value = value,
    .pack = pack,
    .unpack = unpack,
    .apart = apart,
    .config = config,
};
