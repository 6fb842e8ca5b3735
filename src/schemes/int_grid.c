/*
 * Ranges and codes of integer grids: see int_grid.h.
 *
 * The search tries a few ranges from the whole one down to where clipping starts to cost more than finer steps gain, and
 * then alternates: with codes fixed the best scale is a quotient of two sums, and with the scale fixed the best codes are
 * the nearest. On normal weights this comes within 0.3 % of the error that 300 ranges reach.
 */
#include "schemes/int_grid.h"

#include "kernels/half.h"
#include "kernels/weights/weights.h"

#include <math.h>
#include <string.h>

float ht__round_to(const struct ht__codec *codec, float x)
{
    if (codec == &ht__codec_f16) return ht__f16_to_f32(ht__f32_to_f16(x));
    return codec == &ht__codec_bf16 ? ht__bf16_to_f32(ht__f32_to_bf16(x)) : x;
}

/* As it will be stored: finite, and large enough that weights divided by it are. */
static float stored_scale(const struct ht__int_grid *grid, float scale)
{
    bool half = grid->scale == &ht__codec_f16;
    float least = half ? 0x1p-24f : 0x1p-100f, most = half ? 65504.0f : 0x1.fep126f, size = fabsf(scale);
    return ht__round_to(grid->scale, copysignf(size < least ? least : size > most ? most : size, scale));
}

/* ---- ranges ---- */

struct fit {
    float scale, zero;
    float gain; /* by how much the codes lower the squared error, with the scale that suits them best */
};

struct group {
    const struct ht__int_grid *grid;
    const float *x, *importance;
    float lo, hi; /* the weights' range, with 0 */
    float most;   /* the largest code */
};

static struct fit whole_range(const struct group *g)
{
    struct fit fit = {.scale = 1, .zero = g->grid->asymmetric ? g->grid->least_zero : (g->most + 1) * 0.5f};
    float largest = -g->lo > g->hi ? -g->lo : g->hi;
    if (largest == 0) return fit; /* any scale does */
    if (!g->grid->asymmetric) {
        fit.scale = stored_scale(g->grid, largest / (g->most * 0.5f));
        return fit;
    }
    fit.scale = stored_scale(g->grid, g->hi / g->most - g->lo / g->most);
    fit.zero = rintf(-g->lo / fit.scale);
    if (fit.zero < g->grid->least_zero) { /* weights that are all above 0, and no code for a zero point of 0 */
        fit.zero = g->grid->least_zero;
        fit.scale = stored_scale(g->grid, g->hi / (g->most - fit.zero));
    }
    if (fit.zero > g->most) fit.zero = g->most;
    return fit;
}

/* By bits: how far the range is narrowed, and in how many steps. */
static const struct {
    float symmetric, asymmetric;
    int symmetric_tries, asymmetric_tries;
} ranges[9] = {
    [2] = {0.45f, 0.45f, 7, 5}, [3] = {0.55f, 0.60f, 7, 5}, [4] = {0.66f, 0.75f, 8, 5}, [5] = {0.80f, 0.85f, 7, 5},
    [6] = {0.90f, 0.92f, 6, 5}, [7] = {0.96f, 0.96f, 4, 4}, [8] = {0.98f, 0.98f, 4, 4},
};

/*
 * Groups are searched side by side: each step tries a few scales for all of them, whose sums ops->probe makes at once.
 *
 * The codes nearest under a scale are taken, and then the scale that suits those codes best. With codes q, the error
 * sum of (x - q s)^2 is least at s = xq / qq, where it is sum of x^2 less xq^2 / qq.
 */
enum { BATCH = 16, TRIES = 8 };

struct batch {
    const struct ht__weight_ops *ops;
    const struct ht__int_grid *grid;
    int n;
    struct group group[BATCH];
    struct fit best[BATCH];
    /* The tries of a step: which group, its zero point, and what they give. */
    int n_tries, of[BATCH * TRIES];
    float zero[BATCH * TRIES], xq[BATCH * TRIES], qq[BATCH * TRIES], suits[BATCH * TRIES], gain[BATCH * TRIES];
    struct ht__probe probes[BATCH * TRIES];
};

static void add_try(struct batch *b, int group, float scale, float zero)
{
    const struct group *g = &b->group[group];
    b->probes[b->n_tries] = (struct ht__probe){g->x, g->importance, 1 / scale, -zero, g->most - zero};
    b->of[b->n_tries] = group;
    b->zero[b->n_tries++] = zero;
}

static void measure_tries(struct batch *b)
{
    b->ops->probe(b->probes, b->n_tries, b->grid->group, b->xq, b->qq);
    for (int i = 0; i < b->n_tries; i++) {
        b->suits[i] = b->xq[i] / b->qq[i];
        b->gain[i] = b->xq[i] * b->suits[i];
    }
}

/* Keeps of each group the best: the first of those that gain alike. */
static void take_tries(struct batch *b)
{
    int taken[BATCH];
    if (b->n_tries > 0) measure_tries(b);
    for (int k = 0; k < b->n; k++)
        taken[k] = -1;
    for (int i = 0; i < b->n_tries; i++)
        if (b->xq[i] * b->probes[i].inverse > 0 && b->qq[i] > 0 && b->gain[i] > b->best[b->of[i]].gain) {
            b->best[b->of[i]].gain = b->gain[i];
            taken[b->of[i]] = i;
        }
    for (int k = 0; k < b->n; k++) {
        int i = taken[k];
        if (i >= 0) b->best[k] = (struct fit){stored_scale(b->grid, b->suits[i]), b->zero[i], b->gain[i]};
    }
    b->n_tries = 0;
}

/* From the whole range down to a narrow one; sign -1: of scales below zero, under which the outermost code is on the other side. */
static void try_ranges(struct batch *b, float sign)
{
    bool asymmetric = b->grid->asymmetric;
    int tries = asymmetric ? ranges[b->grid->bits].asymmetric_tries : ranges[b->grid->bits].symmetric_tries;
    for (int k = 0; k < b->n; k++) {
        struct fit plain = b->best[k];
        /* The whole range puts the largest weight half a step beyond the outermost code where it is symmetric. */
        float wide = asymmetric ? 1 : b->group[k].most / (b->group[k].most - 1);
        float narrow = asymmetric ? ranges[b->grid->bits].asymmetric : ranges[b->grid->bits].symmetric;
        for (int i = 0; i < tries; i++)
            add_try(b, k, sign * fabsf(plain.scale) * (wide + (narrow - wide) * (float)i / (float)(tries - 1)),
                    plain.zero);
    }
    take_tries(b);
}

static void try_zeros(struct batch *b, float step)
{
    for (int k = 0; k < b->n; k++) {
        float zero = b->best[k].zero + step;
        if (zero >= b->grid->least_zero && zero <= b->group[k].most) add_try(b, k, b->best[k].scale, zero);
    }
    take_tries(b);
}

static void try_again(struct batch *b)
{
    for (int k = 0; k < b->n; k++)
        add_try(b, k, b->best[k].scale, b->best[k].zero);
    take_tries(b);
}

/* A group of zeros gains nothing and keeps its whole range. */
static void search(struct batch *b)
{
    enum { FEW = 3 }; /* bits, where one code more on a side counts */
    try_ranges(b, 1);
    if (!b->grid->asymmetric && b->grid->bits <= FEW) try_ranges(b, -1);
    if (b->grid->asymmetric) {
        try_zeros(b, -1);
        try_zeros(b, 1);
    }
    try_again(b);
    try_again(b);
}

void ht__int_grid_fit(const struct ht__int_grid *grid, const float *x, int64_t n_rows, int64_t n_in,
                      const float *importance, float *scale, float *zero)
{
    struct batch b = {.ops = ht__weight_ops(ht__cpu_best()), .grid = grid};
    int64_t group = grid->group, n_groups = n_rows * n_in / group;
    float most = exp2f((float)grid->bits) - 1;
    for (int64_t at = 0; at < n_groups; at += b.n) {
        b.n = (int)(n_groups - at < BATCH ? n_groups - at : BATCH);
        for (int k = 0; k < b.n; k++) {
            struct group *g = &b.group[k];
            *g = (struct group){.grid = grid, .x = x + (at + k) * group, .most = most};
            if (importance) g->importance = importance + (at + k) * group % n_in;
            b.ops->range(g->x, group, &g->lo, &g->hi);
            b.best[k] = whole_range(g);
        }
        if (grid->search) search(&b);
        for (int k = 0; k < b.n; k++) {
            scale[at + k] = b.best[k].scale;
            if (zero) zero[at + k] = b.best[k].zero;
        }
    }
}

/* ---- codes ---- */

/* Columns of a row whose groups are listed. */
static void listed_nearest(const struct ht__codes *codes, const float *x, int64_t n_in, const float *scale,
                           const float *zero, float middle, uint8_t *q)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    for (int64_t k = 0; k < n_in; k++) {
        int32_t g = codes->column_group[k];
        ops->whole_nearest(x + k, 1, scale[g], zero ? zero[g] : middle, 2 * middle - 1, q + k);
    }
}

void ht__int_grid_nearest(const struct ht__int_grid *grid, const float *x, int64_t n_in, struct ht__codes *codes)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    int64_t group = grid->group, groups = n_in / group;
    float middle = exp2f((float)(grid->bits - 1));
    for (int64_t row = 0; row < codes->n_rows; row++, x += n_in) {
        uint8_t *q = codes->q + row * n_in;
        const float *scale = codes->scale + row * groups, *zero = codes->zero ? codes->zero + row * groups : NULL;
        for (int64_t g = 0; !codes->column_group && g < groups; g++)
            ops->whole_nearest(x + g * group, group, scale[g], zero ? zero[g] : middle, 2 * middle - 1, q + g * group);
        if (codes->column_group) listed_nearest(codes, x, n_in, scale, zero, middle, q);
    }
}

void ht__round_values(const struct ht__codec *codec, float *x, int64_t n)
{
    enum { CHUNK = 512 };
    char held[CHUNK * 4];
    ht__encode_fn *encode = ht__encoder(codec, ht__cpu_best());
    ht__decode_fn *decode = ht__decoder(codec, ht__cpu_best());
    if (codec == &ht__codec_f32) return;
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = n - i < CHUNK ? n - i : CHUNK;
        encode(x + i, 1, count, NULL, held);
        decode(held, count, x + i);
    }
}

/* Columns of a row whose groups a file lists. */
static void listed_values(const struct ht__codes *codes, const uint8_t *q, int64_t n_in, const float *scale,
                          const float *zero, float middle, float *dst)
{
    for (int64_t k = 0; k < n_in; k++) {
        int32_t g = codes->column_group[k];
        dst[k] = ((float)q[k] - (zero ? zero[g] : middle)) * scale[g];
    }
}

void ht__int_grid_value(const struct ht__int_grid *grid, const struct ht__codes *codes, int64_t n_in, float *dst)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    enum ht__rounding rounding = ht__rounding_of(grid->value);
    int64_t group = grid->group, groups = n_in / group;
    float middle = exp2f((float)(grid->bits - 1));
    for (int64_t row = 0; row < codes->n_rows; row++) {
        const uint8_t *q = codes->q + row * n_in;
        const float *scale = codes->scale + row * groups, *zero = codes->zero ? codes->zero + row * groups : NULL;
        float *to = dst + row * n_in;
        bool sound = true; /* numbers that are not finite are rounded by the codec, which looks at each */
        for (int64_t g = 0; g < groups; g++)
            sound &= isfinite(scale[g]) && (!zero || isfinite(zero[g]));
        for (int64_t g = 0; !codes->column_group && g < groups; g++)
            ops->whole_value[sound ? rounding : HT__TO_F32](q + g * group, group, scale[g], zero ? zero[g] : middle,
                                                            to + g * group);
        if (codes->column_group) listed_values(codes, q, n_in, scale, zero, middle, to);
        if (codes->column_group || !sound) ht__round_values(grid->value, to, n_in);
    }
}

/* ---- lists of columns ---- */

enum { COUNTED = 512 };

/* Do groups from `first` on, as many as are counted at a time, have `group` columns each? */
static bool are_full(const uint8_t *list, int64_t n_in, int64_t group, int64_t first, int64_t n_groups)
{
    int64_t members[COUNTED] = {0}, n = n_groups - first < COUNTED ? n_groups - first : COUNTED;
    for (int64_t k = 0; k < n_in; k++) {
        int32_t g;
        memcpy(&g, list + 4 * k, 4);
        if (g >= first && g < first + n) members[g - first]++;
    }
    for (int64_t i = 0; i < n; i++)
        if (members[i] != group) return false;
    return true;
}

const char *ht__column_groups_complaint(const void *list, int64_t n_in, int64_t group)
{
    int64_t n_groups = n_in / group;
    for (int64_t k = 0; k < n_in; k++) {
        int32_t g;
        memcpy(&g, (const uint8_t *)list + 4 * k, 4);
        if (g < 0 || g >= n_groups) return "it names a group that is not there";
    }
    for (int64_t g = 0; g < n_groups; g += COUNTED)
        if (!are_full(list, n_in, group, g, n_groups))
            return "its groups do not have as many inputs as group_size says";
    return NULL;
}
