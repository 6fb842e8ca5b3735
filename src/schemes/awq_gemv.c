/*
 * AWQ's "gemv" layout, which is only read: 4 bits along the inputs in their order.
 *
 *   .qweight   I32 [n_out, n_in / 8]
 *   .qzeros    I32 [n_out, width]        zero points of a row's groups, in the lowest bits first; the rest is padding
 *   .scales    F16 [n_out, 8 * width]    likewise
 *
 * width: the words that the zero points fill, up to a multiple of 2 for groups of 64, of 4 for 32 and of 8 for 16.
 */
#include "schemes/bits.h"
#include "schemes/int_grid.h"

#include <string.h>

enum option { GROUP };
enum part { QWEIGHT, QZEROS, SCALE };

static int64_t group_of(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return p->option[GROUP] > 0 ? (int64_t)p->option[GROUP] : m->n_in;
}

static int64_t width_of(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    int64_t group = group_of(p, m), multiple = group >= 128 ? 1 : 128 / group, words = (m->n_in / group + 7) / 8;
    return (words + multiple - 1) / multiple * multiple;
}

static const char *unsuited(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    if (group_of(p, m) < 16) return "its groups are shorter than 16";
    if (m->n_in % 8) return "the length of its rows must be a multiple of 8";
    return m->n_in % group_of(p, m) ? "its rows do not divide into groups of that size" : NULL;
}

static struct ht__part rows_of(const char *suffix, const struct ht__codec *dtype, const struct ht__matrix *m,
                               int64_t length)
{
    return (struct ht__part){.suffix = suffix,
                             .dtype = dtype,
                             .n_dims = 2,
                             .shape = {m->n_out, length},
                             .rows = 1,
                             .bytes = (uint64_t)length * dtype->block_size};
}

static int parts(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__part out[HT__SCHEME_PARTS])
{
    out[QWEIGHT] = rows_of(".qweight", &ht__codec_i32, m, m->n_in / 8);
    out[QZEROS] = rows_of(".qzeros", &ht__codec_i32, m, width_of(p, m));
    out[SCALE] = rows_of(".scales", &ht__codec_f16, m, 8 * width_of(p, m));
    return 3;
}

static int64_t groups(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    return n_rows * (m->n_in / group_of(p, m));
}

static void unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                   struct ht__codes *c)
{
    int64_t n_groups = m->n_in / group_of(p, m), width = width_of(p, m);
    const uint8_t *zeros = src[QZEROS], *scales = src[SCALE];
    ht__bits_unpack(src[QWEIGHT], c->n_rows * m->n_in, 4, c->q);
    for (int64_t row = 0; row < c->n_rows; row++)
        for (int64_t g = 0; g < n_groups; g++) {
            uint8_t byte = zeros[row * width * 4 + g / 2];
            c->zero[row * n_groups + g] = g % 2 ? byte >> 4 : byte & 15;
            ht__codec_f16.decode(scales + (row * width * 8 + g) * 2, 1, &c->scale[row * n_groups + g]);
        }
}

static void value(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c, float *dst)
{
    struct ht__int_grid grid = {.bits = 4, .group = group_of(p, m), .asymmetric = true, .value = &ht__codec_f16};
    ht__int_grid_value(&grid, c, m->n_in, dst);
}

static const struct ht__scheme_option options[] = {
    [GROUP] = {"group", "weights of a row that share a scale; -1: all of them", "16 32 64 128 -1", .otherwise = 128,
               .reading = true},
    {.name = NULL},
};

const struct ht__scheme ht__scheme_awq_gemv = {
    .name = "awq-gemv",
    .label = "AWQ-GEMV",
    .family = "AWQ",
    .about = "4 bits, AWQ's older layout along the inputs",
    .loaders = "AutoAWQ",
    .flags = HT__SCHEME_READ_ONLY | HT__SCHEME_ZERO,
    .options = options,
    .unsuited = unsuited,
    .parts = parts,
    .groups = groups,
    .value = value,
    .unpack = unpack,
};
