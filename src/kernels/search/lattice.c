#include "kernels/search/lattice.h"
#include "kernels/half.h"
#include "kernels/search/search.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef const struct ht__lattice_params params;

static int clamp(int v, int high)
{
    return v < 0 ? 0 : v > high ? high : v;
}

/* Magnitudes and signs. Where minuses must be even, the element that costs least changes its sign,
 * and its magnitude becomes negative: the search then pulls it to the smallest level. */
static void split_signs(params *p, const float *x, const float *w, float *magnitude, uint8_t *signs)
{
    for (int k = 0; k < p->n / 8; k++) {
        unsigned s = 0;
        for (int i = 8 * k; i < 8 * k + 8; i++) {
            magnitude[i] = x[i] >= 0 ? x[i] : -x[i];
            s |= (unsigned)!(x[i] >= 0) << (i - 8 * k);
        }
        if (p->even_signs && __builtin_parity(s)) {
            int least = 8 * k;
            float min = w[least] * x[least] * x[least];
            for (int i = 8 * k + 1; i < 8 * k + 8; i++) {
                float cost = w[i] * x[i] * x[i];
                if (cost < min) {
                    min = cost;
                    least = i;
                }
            }
            magnitude[least] = -magnitude[least];
            s ^= 1u << (least - 8 * k);
        }
        signs[k] = (uint8_t)(p->even_signs ? s & 127 : s);
    }
}

static int code_of(params *p, const uint8_t *l)
{
    int code = 0;
    for (int i = 0; i < p->grid->dim; i++)
        code |= l[i] << p->grid->bits * i;
    return code;
}

/* The neighbour nearest to the magnitudes, weighed by the square roots of the weights. */
static void best_neighbour(params *p, int32_t entry, const float *x, const float *root, float scale, uint8_t *l)
{
    const uint16_t *list = p->grid->neighbour_codes - entry - 1;
    int dim = p->grid->dim, bits = p->grid->bits, digit = (1 << bits) - 1, found = -1;
    float best = FLT_MAX;
    for (int j = 1; j <= list[0]; j++) {
        float distance = 0;
        for (int i = 0; i < dim; i++) {
            float diff = scale * (float)(2 * (list[j] >> bits * i & digit) + 1) - x[i];
            distance += root[i] * diff * diff;
        }
        if (distance < best) {
            best = distance;
            found = list[j];
        }
    }
    for (int i = 0; i < dim; i++) /* where no distance is a number: the first point */
        l[i] = found < 0 ? p->grid->points[i] : (uint8_t)(found >> bits * i & digit);
}

/* One group at this inverse scale; true when its codes were on the lattice by themselves. */
static bool snap(params *p, const float *x, const float *root, float inverse, float scale, uint8_t *l)
{
    for (int i = 0; i < p->grid->dim; i++)
        l[i] = (uint8_t)clamp(ht__round_even(0.5f * (inverse * x[i] - 1)), p->grid->levels - 1);
    int32_t entry = p->grid->map[code_of(p, l)];
    if (entry >= 0) return true;
    best_neighbour(p, entry, x, root, scale, l);
    return false;
}

static void sums(params *p, const float *x, const float *w, const uint8_t *l, float *qx, float *q2)
{
    *qx = *q2 = 0;
    for (int i = 0; i < p->n; i++) {
        float q = (float)(2 * l[i] + 1);
        *qx += w[i] * x[i] * q;
        *q2 += w[i] * q * q;
    }
}

struct state {
    float scale;
    uint8_t l[HT__LATTICE_MAX];
    bool on_grid[8];
};

static void try_scales(params *p, const float *x, const float *w, const float *root, float max, struct state *best)
{
    int top = 2 * p->grid->levels - 1, dim = p->grid->dim;
    float score = 0;
    for (int t = -p->steps; t <= p->steps; t++) {
        struct state trial = {.scale = 0};
        float inverse = ((float)top + (float)t * p->step) / max, qx, q2;
        for (int k = 0; k < p->n / dim; k++)
            trial.on_grid[k] = snap(p, x + dim * k, root + dim * k, inverse, 1 / inverse, trial.l + dim * k);
        sums(p, x, w, trial.l, &qx, &q2);
        if (q2 > 0 && qx * qx > score * q2) {
            *best = trial;
            best->scale = qx / q2;
            score = best->scale * qx;
        }
    }
}

/* At the winning scale groups are put on the lattice once more, and the scale is fitted to them. */
static void settle(params *p, const float *x, const float *w, const float *root, struct state *s)
{
    int dim = p->grid->dim;
    bool any_off = p->snap == HT__SNAP_ALL;
    for (int k = 0; k < p->n / dim; k++)
        any_off |= !s->on_grid[k];
    if (!any_off || !(s->scale > 0)) return;
    float inverse = 1 / s->scale, scale = s->scale, qx, q2;
    for (int k = 0; k < p->n / dim; k++)
        if (p->snap != HT__SNAP_OFF_GRID || !s->on_grid[k])
            snap(p, x + dim * k, root + dim * k, inverse, scale, s->l + dim * k);
    sums(p, x, w, s->l, &qx, &q2);
    if (q2 > 0) s->scale = qx / q2;
}

void ht__lattice_search(params *p, const float *x, const float *w, struct ht__lattice_block *block)
{
    float magnitude[HT__LATTICE_MAX] = {0}, root[HT__LATTICE_MAX];
    struct state s = {.scale = 0};
    memset(block, 0, sizeof *block);
    for (int i = 0; i < p->n; i++)
        root[i] = sqrtf(w[i]);
    split_signs(p, x, w, magnitude, block->signs);
    float max = magnitude[0];
    for (int i = 1; i < p->n; i++)
        if (magnitude[i] > max) max = magnitude[i];
    if (max < p->tiny || max == 0) {
        memset(block->signs, 0, sizeof block->signs);
        return;
    }
    if (p->positive_max) {
        max = 3 * ht__search_positive(4, p->n, magnitude, w, s.l);
        if (!(max > 0)) {
            memset(block->signs, 0, sizeof block->signs);
            return;
        }
        s.scale = max / 3;
    } else {
        s.scale = max / (float)(2 * p->grid->levels - 1);
        for (int k = 0; k < 8; k++)
            s.on_grid[k] = p->snap == HT__SNAP_OFF_GRID;
    }
    try_scales(p, magnitude, w, root, max, &s);
    settle(p, magnitude, w, root, &s);
    if (s.scale < 0) { /* the mirror image */
        s.scale = -s.scale;
        for (int k = 0; k < p->n / 8 && k < (int)sizeof block->signs; k++) /* gcc for ARM sees no other end */
            block->signs[k] = (uint8_t)(~block->signs[k] & (p->even_signs ? 127 : 255));
    }
    for (int k = 0; k < p->n / p->grid->dim; k++) {
        int32_t entry = p->grid->map[code_of(p, s.l + p->grid->dim * k)];
        block->points[k] = (uint16_t)(entry >= 0 ? entry : 0);
    }
    block->scale = s.scale;
}

static void weigh(const struct ht__lattice_type *type, const float *x, const float *importance, float sigma2, float *w)
{
    if (importance)
        ht__search_weights(type->search.n, x, importance, sigma2, w);
    else
        for (int i = 0; i < type->search.n; i++)
            w[i] = type->flat > 0 ? type->flat * sigma2 + x[i] * x[i] : x[i] * x[i];
}

static void encode_super(const struct ht__lattice_type *type, const float *x, const float *importance, uint8_t *out)
{
    struct ht__lattice_block blocks[HT__LATTICE_SUPER / 16];
    float w[HT__LATTICE_MAX], sigma2 = type->sigma * ht__sum_squares(HT__LATTICE_SUPER, x) / HT__LATTICE_SUPER;
    for (int b = 0; b < HT__LATTICE_SUPER / type->search.n; b++) {
        int at = type->search.n * b;
        weigh(type, x + at, importance ? importance + at : NULL, sigma2, w);
        ht__lattice_search(&type->search, x + at, w, &blocks[b]);
    }
    type->pack(blocks, out);
}

void ht__lattice_encode(const struct ht__lattice_type *type, const float *src, int64_t n_rows, int64_t row_len,
                        const float *importance, void *dst)
{
    uint8_t *out = dst;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < row_len; i += HT__LATTICE_SUPER) {
            encode_super(type, src, importance ? importance + i : NULL, out);
            src += HT__LATTICE_SUPER;
            out += type->block_size;
        }
}

float ht__lattice_scales(const struct ht__lattice_block *blocks, int n, uint8_t *codes)
{
    float max = 0;
    for (int i = 0; i < n; i++)
        if (blocks[i].scale > max) max = blocks[i].scale;
    memset(codes, 0, n < 16 ? 8 : 16);
    if (max == 0) return 0;
    float d = max / 31, inverse = 1 / d;
    for (int i = 0; i < n; i++)
        codes[i] =
            (uint8_t)clamp(ht__round_even(0.5f * (inverse * blocks[i].scale - 1)), 15); /* scale = d*(2*code + 1) */
    return d;
}
