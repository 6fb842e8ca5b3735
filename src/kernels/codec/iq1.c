/*
 * IQ1: eight values -1, 0 or 1 from a lattice of 2048 points, all moved by +1/8 or -1/8.
 *   IQ1_S, 256 weights in 50 bytes: d half | 32 low bytes of indices | for each 32 weights a u16: four times
 *          three high bits of an index, three bits of scale, the shift's sign      d*(2s + 1) * (value + shift)
 *   IQ1_M, 256 weights in 56 bytes: 32 low bytes of indices | 16 bytes: for each 8 weights a nibble of three
 *          high bits and the shift's sign | four u16: four times three bits of scale for 16 weights each, and in
 *          the top four bits a quarter of the half d
 */
#include "kernels/codec/iq1.h"
#include "kernels/codec.h"
#include "kernels/codec/check.h"
#include "kernels/search/iq_grid.h"
#include "kernels/search/search.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { SUPER = 256, S_SIZE = 50, M_SIZE = 56, MOST = 32, M_SUB = 16 };

/* The three values under a shift of +1/8, and of -1/8. */
static const float plus[3] = {-1 + 0.125f, 0.125f, 1 + 0.125f}, minus[3] = {-1 - 0.125f, -0.125f, 1 - 0.125f};

/* Corrections of the fitted scale after coding, found by llama.cpp by experiment (search.h). */
#define IQ1_S_LONGER 1.125f
#define IQ1_M_LONGER 1.1125f

struct pair {
    float x;
    int index;
};

/* Ascending; equal values keep their order. Insertion: 32 elements at most. */
static void sort(const float *x, int n, struct pair *pairs)
{
    for (int i = 0; i < n; i++) {
        struct pair p = {x[i], i};
        int j = i;
        for (; j > 0 && pairs[j - 1].x > p.x; j--)
            pairs[j] = pairs[j - 1];
        pairs[j] = p;
    }
}

static float largest(const float *x, int n)
{
    float max = fabsf(x[0]);
    for (int i = 1; i < n; i++)
        if (fabsf(x[i]) > max) max = fabsf(x[i]);
    return max;
}

/* The first `low` of the sorted elements are -1, those up to `high` 0, the rest 1; mirrored below zero. */
static void put_levels(const struct pair *pairs, int n, int low, int high, bool mirror, uint8_t *l)
{
    for (int j = 0; j < n; j++) {
        int level = j < low ? 0 : j < high ? 1 : 2;
        l[pairs[j].index] = (uint8_t)(mirror ? 2 - level : level);
    }
}

/* The lattice index of eight levels; off the lattice, the neighbour that costs least. */
static int snap(const float *x, const float *w, float scale, const float *values, uint8_t *l, bool *on_grid)
{
    int code = 0;
    for (int i = 0; i < 8; i++)
        code |= l[i] << 2 * i;
    int32_t entry = ht__iq1_grid.map[code];
    if (entry >= 0) return entry;
    const uint16_t *list = ht__iq1_grid.neighbour_codes - entry - 1;
    float best = FLT_MAX;
    int found = list[1];
    *on_grid = false;
    for (int j = 1; j <= list[0]; j++) {
        float distance = 0;
        for (int i = 0; i < 8; i++) {
            float diff = scale * values[list[j] >> 2 * i & 3] - x[i];
            distance += w[i] * diff * diff;
        }
        if (distance < best) {
            best = distance;
            found = list[j];
        }
    }
    for (int i = 0; i < 8; i++)
        l[i] = (uint8_t)(found >> 2 * i & 3);
    return ht__iq1_grid.map[found];
}

static void add_sums(const float *x, const float *w, const float *values, const uint8_t *l, float *qx, float *q2)
{
    for (int i = 0; i < 8; i++) {
        float q = values[l[i]];
        *qx += w[i] * q * x[i];
        *q2 += w[i] * q * q;
    }
}

/* ---- IQ1_S ---- */

/* All splits of the sorted elements under both shifts, by prefix sums; false if no weight counts. */
static bool best_split(const float *sum_x, const float *sum_w, int n, int *low, int *high, float *scale, int *shifts)
{
    float best = -FLT_MAX;
    for (int i = 0; i <= n; i++)
        for (int j = i; j <= n; j++)
            for (int s = 0; s < 2; s++) {
                const float *v = s ? minus : plus;
                float qx = (sum_x[i] - sum_x[0]) * v[0] + (sum_x[j] - sum_x[i]) * v[1] + (sum_x[n] - sum_x[j]) * v[2];
                float q2 = (sum_w[i] - sum_w[0]) * v[0] * v[0] + (sum_w[j] - sum_w[i]) * v[1] * v[1] +
                           (sum_w[n] - sum_w[j]) * v[2] * v[2];
                if (q2 > 0 && qx * qx > best * q2) {
                    *scale = qx / q2;
                    best = *scale * qx;
                    *low = i;
                    *high = j;
                    *shifts = s;
                }
            }
    return best > -FLT_MAX;
}

static void search_s(const float *x, const float *w, struct ht__iq1_block *b)
{
    struct pair pairs[MOST];
    float sum_x[MOST + 1] = {0}, sum_w[MOST + 1] = {0};
    uint8_t l[MOST];
    int low = 0, high = 0;
    memset(b, 0, sizeof *b);
    if (largest(x, MOST) < HT__IQ1_S_TINY) return;
    sort(x, MOST, pairs);
    for (int j = 0; j < MOST; j++) {
        int i = pairs[j].index;
        sum_x[j + 1] = sum_x[j] + w[i] * x[i];
        sum_w[j + 1] = sum_w[j] + w[i];
    }
    if (!best_split(sum_x, sum_w, MOST, &low, &high, &b->scale, &b->shifts)) return;
    put_levels(pairs, MOST, low, high, b->scale < 0, l);
    if (b->scale < 0) {
        b->scale = -b->scale;
        b->shifts = 1 - b->shifts;
    }
    const float *values = b->shifts ? minus : plus;
    bool on_grid = true;
    for (int k = 0; k < 4; k++)
        b->points[k] = (uint16_t)snap(x + 8 * k, w + 8 * k, b->scale, values, l + 8 * k, &on_grid);
    if (on_grid) return;
    float qx = 0, q2 = 0;
    for (int k = 0; k < 4; k++)
        add_sums(x + 8 * k, w + 8 * k, values, l + 8 * k, &qx, &q2);
    if (qx > 0 && q2 > 0) b->scale = qx / q2;
}

static int scale_code(float inverse, float scale)
{
    int l = ht__round_even(0.5f * (inverse * scale - 1));
    return l < 0 ? 0 : l > 7 ? 7 : l;
}

static float largest_scale(const struct ht__iq1_block *blocks, int n)
{
    float max = 0;
    for (int b = 0; b < n; b++)
        if (blocks[b].scale > max) max = blocks[b].scale;
    return max;
}

void ht__iq1_s_pack(const struct ht__iq1_block *blocks, uint8_t *out)
{
    float max = largest_scale(blocks, 8), d = max / 15, inverse = 1 / d;
    ht__store_u16(out, ht__f32_to_f16(d * IQ1_S_LONGER));
    for (int b = 0; b < 8; b++) {
        unsigned word = 0;
        if (max > 0) word = (unsigned)(scale_code(inverse, blocks[b].scale) | blocks[b].shifts << 3) << 12;
        for (int k = 0; k < 4; k++) {
            out[2 + 4 * b + k] = (uint8_t)blocks[b].points[k];
            word |= (unsigned)(blocks[b].points[k] >> 8) << 3 * k;
        }
        ht__store_u16(out + 34 + 2 * b, (uint16_t)word);
    }
}

static void encode_s_block(const float *x, const float *importance, uint8_t *out)
{
    struct ht__iq1_block blocks[8];
    float w[MOST], sigma2 = 2 * ht__sum_squares(SUPER, x) / SUPER;
    for (int b = 0; b < 8; b++) {
        ht__search_weights(MOST, x + MOST * b, importance + MOST * b, sigma2, w);
        search_s(x + MOST * b, w, &blocks[b]);
    }
    ht__iq1_s_pack(blocks, out);
}

/* ---- IQ1_M ---- */

/*
 * Sums over the first elements in sorted order, each half of the block for itself since its shift is its own.
 * Both shifts have levels one apart: with the sum T over all, A over those at the lowest level and B over those at
 * the lower two, the sum of w*q*x is T*v2 - (A + B), and that of w*q*q is T*v2*v2 + A*(v0*v0 - v1*v1) +
 * B*(v1*v1 - v2*v2). The roundings of these formulas decide between splits of equal score.
 */
struct m_sums {
    float x[2][M_SUB + 1], w[2][M_SUB + 1];
};

static void sum_halves(const struct pair *pairs, const float *w, struct m_sums *s)
{
    s->x[0][0] = s->x[1][0] = s->w[0][0] = s->w[1][0] = 0;
    for (int j = 0; j < M_SUB; j++) {
        int i = pairs[j].index, h = i >= 8;
        s->x[h][j + 1] = s->x[h][j] + w[i] * pairs[j].x;
        s->w[h][j + 1] = s->w[h][j] + w[i];
        s->x[1 - h][j + 1] = s->x[1 - h][j];
        s->w[1 - h][j + 1] = s->w[1 - h][j];
    }
}

/* The first `low` elements at the lowest level, those up to `high` at the middle one: [shift][half]. */
static void split_sums(const struct m_sums *s, int low, int high, float qx[2][2], float q2[2][2])
{
    for (int h = 0; h < 2; h++) {
        float below = s->x[h][low] + s->x[h][high], x = s->x[h][M_SUB], w = s->w[h][M_SUB];
        qx[0][h] = x * plus[2] - below;
        qx[1][h] = x * minus[2] - below;
        q2[0][h] = w * plus[2] * plus[2] + s->w[h][low] * (plus[0] * plus[0] - plus[1] * plus[1]) +
                   s->w[h][high] * (plus[1] * plus[1] - plus[2] * plus[2]);
        q2[1][h] = w * minus[2] * minus[2] + s->w[h][low] * (minus[0] * minus[0] - minus[1] * minus[1]) +
                   s->w[h][high] * (minus[1] * minus[1] - minus[2] * minus[2]);
    }
}

static const float *values_of(int shifts, int half)
{
    return shifts >> (1 - half) & 1 ? minus : plus;
}

/* All splits under all shifts; false if no weight counts. */
static bool best_m_split(const struct m_sums *s, int *low, int *high, struct ht__iq1_block *b)
{
    float best = -FLT_MAX;
    for (int i = 0; i <= M_SUB; i++)
        for (int j = i; j <= M_SUB; j++) {
            float x[2][2], w[2][2];
            split_sums(s, i, j, x, w);
            for (int k = 0; k < 4; k++) {
                float qx = x[k >> 1][0] + x[k & 1][1], q2 = w[k >> 1][0] + w[k & 1][1];
                if (q2 > 0 && qx * qx > best * q2) {
                    b->scale = qx / q2;
                    best = b->scale * qx;
                    *low = i;
                    *high = j;
                    b->shifts = k;
                }
            }
        }
    return best > -FLT_MAX;
}

static void search_m(const float *x, const float *w, struct ht__iq1_block *b)
{
    struct pair pairs[M_SUB];
    struct m_sums sums;
    uint8_t l[M_SUB];
    int low = 0, high = 0;
    memset(b, 0, sizeof *b);
    if (largest(x, M_SUB) < HT__IQ1_M_TINY) return;
    sort(x, M_SUB, pairs);
    sum_halves(pairs, w, &sums);
    if (!best_m_split(&sums, &low, &high, b)) return;
    put_levels(pairs, M_SUB, low, high, b->scale < 0, l);
    if (b->scale < 0) {
        b->scale = -b->scale;
        b->shifts = 3 - b->shifts;
    }
    bool on_grid = true;
    for (int k = 0; k < 2; k++)
        b->points[k] = (uint16_t)snap(x + 8 * k, w + 8 * k, b->scale, values_of(b->shifts, k), l + 8 * k, &on_grid);
    if (on_grid) return;
    float qx = 0, q2 = 0;
    for (int k = 0; k < 2; k++)
        add_sums(x + 8 * k, w + 8 * k, values_of(b->shifts, k), l + 8 * k, &qx, &q2);
    if (qx > 0 && q2 > 0) b->scale = qx / q2;
}

static void weigh_m(const float *x, const float *importance, float sigma2, float *w)
{
    if (importance)
        ht__search_weights(16, x, importance, sigma2, w);
    else
        for (int i = 0; i < 16; i++)
            w[i] = x[i] * x[i];
}

/* d by least squares over all codes. */
static float fit_m(const float *x, const float *importance, float sigma2, const struct ht__iq1_block *blocks,
                   const int *codes, float d)
{
    float w[16], qx = 0, q2 = 0;
    for (int b = 0; b < 16; b++) {
        const float *sub = x + 16 * b;
        weigh_m(sub, importance ? importance + 16 * b : NULL, sigma2, w);
        for (int k = 0; k < 2; k++) {
            const uint8_t *point = ht__iq1_grid.points + 8 * blocks[b].points[k];
            const float *values = values_of(blocks[b].shifts, k);
            for (int i = 8 * k; i < 8 * k + 8; i++) {
                float q = values[point[i - 8 * k]] * (float)(2 * codes[b] + 1);
                qx += w[i] * q * sub[i];
                q2 += w[i] * q * q;
            }
        }
    }
    const float overflowed = ht__f32_from_bits(0xffc00000u); /* as x86 makes it: ARM's has the other sign */
    if (q2 > 0) d = qx / q2;
    return d == d ? d : overflowed;
}

bool ht__iq1_m_codes(const struct ht__iq1_block *blocks, int codes[16], float *d)
{
    float max = largest_scale(blocks, 16), inverse;
    if (!(max > 0)) return false;
    *d = max / 15;
    inverse = 1 / *d;
    for (int b = 0; b < 16; b++)
        codes[b] = scale_code(inverse, blocks[b].scale);
    return true;
}

void ht__iq1_m_pack(const struct ht__iq1_block *blocks, const int *codes, float d, uint8_t *out)
{
    uint16_t h = codes ? ht__f32_to_f16(d * IQ1_M_LONGER) : 0, words[4] = {0};
    for (int b = 0; b < 16; b++) {
        const struct ht__iq1_block *block = blocks + b;
        out[2 * b] = (uint8_t)block->points[0];
        out[2 * b + 1] = (uint8_t)block->points[1];
        out[32 + b] = (uint8_t)(block->points[0] >> 8 | block->points[1] >> 8 << 4);
        if (!codes) continue;
        out[32 + b] |= (uint8_t)((block->shifts & 2) << 2 | (block->shifts & 1) << 7);
        words[b / 4] = (uint16_t)(words[b / 4] | codes[b] << 3 * (b % 4));
    }
    for (int i = 0; i < 4; i++)
        ht__store_u16(out + 48 + 2 * i, (uint16_t)(words[i] | (h >> 4 * i & 15) << 12));
}

static void encode_m_block(const float *x, const float *importance, uint8_t *out)
{
    struct ht__iq1_block blocks[16];
    float w[M_SUB], d = 0, sigma2 = 2 * ht__sum_squares(SUPER, x) / SUPER;
    int codes[16];
    for (int b = 0; b < 16; b++) {
        weigh_m(x + M_SUB * b, importance ? importance + M_SUB * b : NULL, sigma2, w);
        search_m(x + M_SUB * b, w, &blocks[b]);
    }
    bool any = ht__iq1_m_codes(blocks, codes, &d);
    if (any) d = fit_m(x, importance, sigma2, blocks, codes, d);
    ht__iq1_m_pack(blocks, any ? codes : NULL, d, out);
}

#define ENCODER(id, size)                                                                                              \
    static void encode_##id(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)     \
    {                                                                                                                  \
        uint8_t *out = dst;                                                                                            \
        for (int64_t r = 0; r < n_rows; r++)                                                                           \
            for (int64_t i = 0; i < row_len; i += SUPER, src += SUPER, out += size)                                    \
                encode_##id##_block(src, importance ? importance + i : NULL, out);                                     \
    }
ENCODER(s, S_SIZE)
ENCODER(m, M_SIZE)

static void put(const uint8_t *point, float scale, float shift, float *dst)
{
    for (int i = 0; i < 8; i++)
        dst[i] = scale * ((float)(point[i] - 1) + shift);
}

static void decode_s(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t n = 0; n < n_weights / SUPER; n++, in += S_SIZE, dst += SUPER) {
        float d = ht__f16_to_f32(ht__load_u16(in));
        for (int g = 0; g < 32; g++) {
            unsigned word = ht__load_u16(in + 34 + g / 4 * 2);
            unsigned index = in[2 + g] | (word >> 3 * (g % 4) & 7) << 8;
            put(ht__iq1_grid.points + 8 * index, d * (float)(2 * (word >> 12 & 7) + 1),
                word & 0x8000 ? -0.125f : 0.125f, dst + 8 * g);
        }
    }
}

static uint16_t half_of_m(const uint8_t *in)
{
    unsigned h = 0;
    for (int i = 0; i < 4; i++)
        h |= (unsigned)(ht__load_u16(in + 48 + 2 * i) >> 12) << 4 * i;
    return (uint16_t)h;
}

static void decode_m(const void *src, int64_t n_weights, float *dst)
{
    const uint8_t *in = src;
    for (int64_t n = 0; n < n_weights / SUPER; n++, in += M_SIZE, dst += SUPER) {
        float d = ht__f16_to_f32(half_of_m(in));
        for (int g = 0; g < 32; g++) {
            unsigned nibble = in[32 + g / 2] >> 4 * (g % 2) & 15u, index = in[g] | (nibble & 7) << 8;
            unsigned code = ht__load_u16(in + 48 + g / 8 * 2) >> 3 * (g / 2 % 4) & 7u;
            put(ht__iq1_grid.points + 8 * index, d * (float)(2 * code + 1), nibble & 8 ? -0.125f : 0.125f, dst + 8 * g);
        }
    }
}

static int64_t check_s(const void *src, int64_t n_blocks)
{
    return ht__check_halves(src, n_blocks, S_SIZE, 0, -1);
}

static int64_t check_m(const void *src, int64_t n_blocks)
{
    for (int64_t i = 0; i < n_blocks; i++)
        if (!ht__f16_is_finite(half_of_m((const uint8_t *)src + i * M_SIZE))) return i;
    return -1;
}

const struct ht__codec ht__codec_iq1_s = {
    .name = "iq1_s",
    .label = "IQ1_S",
    .ggml_id = 19,
    .block_len = SUPER,
    .block_size = S_SIZE,
    .flags = HT__CODEC_USES_IMPORTANCE | HT__CODEC_NEEDS_IMPORTANCE,
    .fallback = "iq4_nl",
    .rmse_bound = 0.7f,
    .encode = encode_s,
    .decode = decode_s,
    .check = check_s,
};
const struct ht__codec ht__codec_iq1_m = {
    .name = "iq1_m",
    .label = "IQ1_M",
    .ggml_id = 29,
    .block_len = SUPER,
    .block_size = M_SIZE,
    .flags = HT__CODEC_USES_IMPORTANCE,
    .fallback = "iq4_nl",
    .rmse_bound = 0.7f,
    .encode = encode_m,
    .decode = decode_m,
    .check = check_m,
};
