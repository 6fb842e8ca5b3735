/*
 * HQQ, which is only read: the weights, row after row, are laid out as a matrix of lines: [weights / group, group] for
 * axis 1, [group, weights / group] for axis 0, and weights of a line (axis 1) or column (axis 0) share a scale and a zero
 * point, which need not be whole. A weight is (q - zero) * scale, with both steps rounded to the scales' dtype.
 *
 *   .W_q     4 bits: U8, line i in the upper bits and line i + lines / 2 in the lower ones of the same bytes
 *            2 and 1 bits: U8, four or eight lines alike
 *            3 bits: I32, ten lines, from bit 27 down by threes; lines are filled up to a multiple of ten
 *            8 bits (5 and 6 too): U8, as they are
 *   .scale   [weights / group, 1] or [1, weights / group]
 *   .zero    likewise
 *
 * Lines far apart share bytes: read one after the other, weights begin at the start of the codes again as often as there are
 * codes in a byte, and those that follow each other lie side by side.
 */
#include "schemes/int_grid.h"

#include <string.h>

enum option { BITS, GROUP, AXIS, DTYPE };
enum part { CODES, SCALE, ZERO };

static const struct ht__codec *dtype_of(const struct ht__scheme_params *p)
{
    static const struct ht__codec *const dtypes[] = {&ht__codec_f16, &ht__codec_bf16, &ht__codec_f32};
    return dtypes[(int)p->option[DTYPE]];
}

/* The matrix of lines. */
struct lines {
    int64_t n, length, group;
    int fold;     /* lines in a byte or word */
    int64_t step; /* lines of bytes or words */
    bool along;   /* axis 1: a line is a group */
};

static struct lines lines_of(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    int bits = (int)p->option[BITS];
    struct lines l = {.along = p->option[AXIS] == 1, .fold = bits == 3 ? 10 : bits > 4 ? 1 : 8 / bits};
    l.group = p->option[GROUP] > 0 ? (int64_t)p->option[GROUP] : l.along ? m->n_in : m->n_out;
    l.n = l.along ? m->n_out * m->n_in / l.group : l.group;
    l.length = l.along ? l.group : m->n_out * m->n_in / l.group;
    l.step = (l.n + l.fold - 1) / l.fold;
    return l;
}

static const char *unsuited(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    struct lines l = lines_of(p, m);
    if (m->n_out * m->n_in % l.group) return "its weights do not divide into groups of that size";
    return l.fold < 10 && l.n % l.fold ? "its groups do not fill whole bytes" : NULL;
}

/* Rows after which groups begin a row again. */
static int64_t rows_of_groups(const struct lines *l, const struct ht__matrix *m)
{
    int64_t a = l->group, b = m->n_in;
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return l->group / a;
}

static int parts(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__part out[HT__SCHEME_PARTS])
{
    struct lines l = lines_of(p, m);
    int64_t across = l.along ? l.n : 1, down = l.along ? 1 : l.length, rows = l.along ? rows_of_groups(&l, m) : 1;
    const struct ht__codec *codes = l.fold == 10 ? &ht__codec_i32 : &ht__codec_u8, *dtype = dtype_of(p);
    struct ht__part numbers = {.dtype = dtype,
                               .n_dims = 2,
                               .shape = {across, down},
                               .place = l.along ? HT__PART_ROWS : HT__PART_FOLDED,
                               .rows = rows,
                               .bytes = (uint64_t)(l.along ? rows * m->n_in / l.group : m->n_in) * dtype->block_size};
    out[CODES] = (struct ht__part){.suffix = ".W_q",
                                   .dtype = codes,
                                   .n_dims = 2,
                                   .shape = {l.step, l.length},
                                   .place = HT__PART_FOLDED,
                                   .rows = 1,
                                   .bytes = (uint64_t)m->n_in * codes->block_size};
    out[SCALE] = out[ZERO] = numbers;
    out[SCALE].suffix = ".scale";
    out[ZERO].suffix = ".zero";
    return 3;
}

/* Across rows, the weights of a window have each their own. */
static int64_t groups(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    struct lines l = lines_of(p, m);
    return l.along ? n_rows * m->n_in / l.group : n_rows * m->n_in;
}

/* n codes at this place of their bytes or words. */
static void unfold(const struct lines *l, const uint8_t *src, int64_t place, int64_t n, uint8_t *q)
{
    int bits = 8 / l->fold, shift = l->fold < 10 ? 8 - bits * (int)(place + 1) : 27 - 3 * (int)place;
    for (int64_t i = 0; l->fold < 10 && i < n; i++)
        q[i] = (uint8_t)(src[i] >> shift & ((1 << bits) - 1));
    for (int64_t i = 0; l->fold == 10 && i < n; i++) {
        uint32_t word;
        memcpy(&word, src + 4 * i, 4);
        q[i] = word >> shift & 7;
    }
}

static void unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                   struct ht__codes *c)
{
    struct lines l = lines_of(p, m);
    const struct ht__codec *dtype = dtype_of(p);
    int64_t first = c->row * m->n_in, n = c->n_rows * m->n_in, fold = l.step * l.length, run;
    const uint8_t *codes = src[CODES];
    for (int64_t i = 0; i < n; i += run) {
        run = fold - (first + i) % fold;
        if (run > n - i) run = n - i;
        unfold(&l, codes + i * (l.fold == 10 ? 4 : 1), (first + i) / fold, run, c->q + i);
    }
    dtype->decode(src[SCALE], groups(p, m, c->n_rows), c->scale);
    dtype->decode(src[ZERO], groups(p, m, c->n_rows), c->zero);
}

static void value(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c, float *dst)
{
    struct lines l = lines_of(p, m);
    int64_t n = c->n_rows * m->n_in, run = l.along ? l.group : 1;
    for (int64_t i = 0; i < n; i += run)
        for (int64_t k = i; k < i + run; k++)
            dst[k] = (float)c->q[k] - c->zero[i / run];
    ht__round_values(dtype_of(p), dst, n);
    for (int64_t i = 0; i < n; i += run)
        for (int64_t k = i; k < i + run; k++)
            dst[k] *= c->scale[i / run];
    ht__round_values(dtype_of(p), dst, n);
}

static const struct ht__scheme_option options[] = {
    [BITS] = {"bits", "bits a weight", "1 2 3 4 5 6 8", .otherwise = 4, .reading = true},
    [GROUP] = {"group", "weights that share a scale; -1: a row, or a column for axis 0", NULL, .otherwise = 64, -1,
               1 << 24, .reading = true},
    [AXIS] = {"axis", "1: groups along the inputs, 0: across them", "0 1", .otherwise = 1, .reading = true},
    [DTYPE] = {"dtype", "of scales, zero points and the arithmetic", "f16 bf16 f32", .reading = true},
    {.name = NULL},
};

const struct ht__scheme ht__scheme_hqq = {
    .name = "hqq",
    .label = "HQQ",
    .family = "HQQ",
    .about = "1 to 8 bits, groups share a scale and a zero point that need not be whole",
    .loaders = "hqq",
    .flags = HT__SCHEME_READ_ONLY | HT__SCHEME_ZERO,
    .options = options,
    .unsuited = unsuited,
    .parts = parts,
    .groups = groups,
    .value = value,
    .unpack = unpack,
};
