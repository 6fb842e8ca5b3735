/*
 * Ranges and codes of integer grids: see int_grid.h.
 *
 * The search tries a few ranges from the whole one down to where clipping starts to cost more than finer steps gain, and
 * then alternates: with codes fixed the best scale is a quotient of two sums, and with the scale fixed the best codes are
 * the nearest. On normal weights this comes within 0.3 % of the error that 300 ranges reach.
 */
#include "schemes/int_grid.h"

#include "kernels/half.h"

#include <math.h>
#include <string.h>

enum { LANES = 8 };
#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding it rounds to a whole number, half to even */

float ht__round_to(const struct ht__codec *codec, float x)
{
    if (codec == &ht__codec_f16) return ht__f16_to_f32(ht__f32_to_f16(x));
    return codec == &ht__codec_bf16 ? ht__bf16_to_f32(ht__f32_to_bf16(x)) : x;
}

/* As it will be stored: finite, and large enough that weights divided by it are. */
static float stored_scale(const struct ht__int_grid *grid, float scale)
{
    bool half = grid->scale == &ht__codec_f16;
    float least = half ? 0x1p-24f : 0x1p-100f, most = half ? 65504.0f : 0x1.fep126f;
    return ht__round_to(grid->scale, scale < least ? least : scale > most ? most : scale);
}

/* ---- sums over a group ---- */

struct sums {
    float xq, qq;
};

static inline float add_lanes(const float a[LANES])
{
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

static inline void add_code(float x, float inverse, float least, float most, const float *importance, float *xq,
                            float *qq)
{
    float y = x * inverse;
    y = y < least ? least : y;
    y = y > most ? most : y;
    float q = (y + ROUNDER) - ROUNDER, wq = importance ? *importance * q : q;
    *xq += x * wq;
    *qq += q * wq;
}

/* Of the codes nearest to x under the scale, counted from the zero point: from `least` to `most`. */
static inline struct sums measure_with(const float *x, const float *importance, int64_t n, float scale, float least,
                                       float most)
{
    float xq[LANES] = {0}, qq[LANES] = {0}, inverse = 1 / scale;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            add_code(x[i + k], inverse, least, most, importance ? &importance[i + k] : NULL, &xq[k], &qq[k]);
    for (int k = 0; i < n; i++, k++)
        add_code(x[i], inverse, least, most, importance ? &importance[i] : NULL, &xq[k], &qq[k]);
    return (struct sums){add_lanes(xq), add_lanes(qq)};
}

static struct sums measure(const float *x, const float *importance, int64_t n, float scale, float least, float most)
{
    if (importance) return measure_with(x, importance, n, scale, least, most);
    return measure_with(x, NULL, n, scale, least, most);
}

static void find_range(const float *x, int64_t n, float *lo, float *hi)
{
    float low[LANES] = {0}, high[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            low[k] = x[i + k] < low[k] ? x[i + k] : low[k];
            high[k] = x[i + k] > high[k] ? x[i + k] : high[k];
        }
    for (; i < n; i++) {
        low[0] = x[i] < low[0] ? x[i] : low[0];
        high[0] = x[i] > high[0] ? x[i] : high[0];
    }
    *lo = *hi = 0;
    for (int k = 0; k < LANES; k++) {
        *lo = low[k] < *lo ? low[k] : *lo;
        *hi = high[k] > *hi ? high[k] : *hi;
    }
}

/* ---- ranges ---- */

struct fit {
    float scale, zero;
    float gain; /* by how much the codes lower the squared error, with the scale that suits them best */
};

struct group {
    const struct ht__int_grid *grid;
    const float *x, *importance;
    int64_t n;
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

/*
 * The codes nearest under a scale, and then the scale that suits those codes best. With codes q, the error
 * sum of (x - q s)^2 is least at s = xq / qq, where it is sum of x^2 less xq^2 / qq.
 */
static struct fit try_scale(const struct group *g, float scale, float zero)
{
    struct sums sums = measure(g->x, g->importance, g->n, scale, -zero, g->most - zero);
    struct fit fit = {scale, zero, 0};
    if (sums.xq > 0 && sums.qq > 0) {
        fit.scale = stored_scale(g->grid, sums.xq / sums.qq);
        fit.gain = sums.xq * (sums.xq / sums.qq);
    }
    return fit;
}

static void keep_better(struct fit *best, struct fit other)
{
    if (other.gain > best->gain) *best = other;
}

/* By bits: how far the range is narrowed, and in how many steps. */
static const struct {
    float symmetric, asymmetric;
    int symmetric_tries, asymmetric_tries;
} ranges[9] = {
    [2] = {0.45f, 0.45f, 7, 5}, [3] = {0.55f, 0.60f, 7, 5}, [4] = {0.66f, 0.75f, 8, 5}, [5] = {0.80f, 0.85f, 7, 5},
    [6] = {0.90f, 0.92f, 6, 5}, [7] = {0.96f, 0.96f, 4, 4}, [8] = {0.98f, 0.98f, 4, 4},
};

static struct fit search(const struct group *g)
{
    bool asymmetric = g->grid->asymmetric;
    int tries = asymmetric ? ranges[g->grid->bits].asymmetric_tries : ranges[g->grid->bits].symmetric_tries;
    /* The whole range puts the largest weight half a step beyond the outermost code where it is symmetric. */
    float wide = asymmetric ? 1 : g->most / (g->most - 1),
          narrow = asymmetric ? ranges[g->grid->bits].asymmetric : ranges[g->grid->bits].symmetric;
    struct fit plain = whole_range(g), best = plain;
    if (g->lo == 0 && g->hi == 0) return plain;
    for (int i = 0; i < tries; i++)
        keep_better(&best,
                    try_scale(g, plain.scale * (wide + (narrow - wide) * (float)i / (float)(tries - 1)), plain.zero));
    for (int step = -1; step <= 1 && asymmetric; step += 2) {
        float zero = best.zero + (float)step;
        if (zero >= g->grid->least_zero && zero <= g->most) keep_better(&best, try_scale(g, best.scale, zero));
    }
    for (int i = 0; i < 2; i++)
        keep_better(&best, try_scale(g, best.scale, best.zero));
    return best;
}

void ht__int_grid_fit(const struct ht__int_grid *grid, const float *x, int64_t n_rows, int64_t n_in,
                      const float *importance, float *scale, float *zero)
{
    for (int64_t i = 0; i < n_rows * n_in; i += grid->group) {
        struct group g = {.grid = grid, .x = x + i, .n = grid->group, .most = exp2f((float)grid->bits) - 1};
        if (importance) g.importance = importance + i % n_in;
        find_range(g.x, g.n, &g.lo, &g.hi);
        struct fit fit = grid->search ? search(&g) : whole_range(&g);
        scale[i / grid->group] = fit.scale;
        if (zero) zero[i / grid->group] = fit.zero;
    }
}

/* ---- codes ---- */

static void nearest_in_group(const float *x, int64_t n, float scale, float zero, float most, uint8_t *q)
{
    float least = -zero, top = most - zero, shift = ROUNDER + zero;
    for (int64_t i = 0; i < n; i++) {
        float y = x[i] / scale;
        y = y < least ? least : y;
        y = y > top ? top : y;
        q[i] = (uint8_t)ht__f32_bits(((y + ROUNDER) - ROUNDER) + shift); /* below 256: the lowest bits */
    }
}

void ht__int_grid_nearest(const struct ht__int_grid *grid, const float *x, int64_t n_rows, int64_t n_in,
                          const float *scale, const float *zero, uint8_t *q)
{
    float middle = exp2f((float)(grid->bits - 1));
    for (int64_t i = 0; i < n_rows * n_in; i += grid->group) {
        int64_t g = i / grid->group;
        nearest_in_group(x + i, grid->group, scale[g], zero ? zero[g] : middle, 2 * middle - 1, q + i);
    }
}

static void values_of_group(const uint8_t *q, int64_t n, float scale, float zero, float *dst)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = ((float)q[i] - zero) * scale;
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

void ht__int_grid_value(const struct ht__int_grid *grid, const struct ht__codes *codes, int64_t n_in, float *dst)
{
    int64_t groups = n_in / grid->group;
    float middle = exp2f((float)(grid->bits - 1));
    for (int64_t row = 0; row < codes->n_rows; row++) {
        const uint8_t *q = codes->q + row * n_in;
        const float *scale = codes->scale + row * groups, *zero = codes->zero ? codes->zero + row * groups : NULL;
        float *to = dst + row * n_in;
        for (int64_t k = 0; codes->column_group && k < n_in; k++) {
            int32_t g = codes->column_group[k];
            to[k] = ((float)q[k] - (zero ? zero[g] : middle)) * scale[g];
        }
        for (int64_t g = 0; !codes->column_group && g < groups; g++)
            values_of_group(q + g * grid->group, grid->group, scale[g], zero ? zero[g] : middle, to + g * grid->group);
        ht__round_values(grid->value, to, n_in);
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
