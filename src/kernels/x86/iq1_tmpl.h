/*
 * IQ1_S and IQ1_M: included by iq1_<level>.c after vec_<level>.h and iq1_vec_<level>.h.
 *
 * Lanes are blocks (32 or 16 weights), so that every sum keeps the scalar order. The scores of all
 * splits are first computed roughly and only the highest kept; then the splits that come close to
 * it are scored again as the scalar code does, in its order. What lies clearly below the highest
 * cannot change which split wins. Groups that are off the lattice are searched one by one, with
 * their neighbours in lanes.
 */
#include "kernels/codec.h"
#include "kernels/codec/iq1.h"
#include "kernels/search/iq_grid.h"
#include "kernels/x86/lanes_tmpl.h"

#include <float.h>
#include <stdbool.h>
#include <string.h>

enum { SUPER = 256, MOST = 32 };

/* The three values under a shift of +1/8, and of -1/8; as many as a vector's quarter has. */
static const float levels[2][4] = {{-0.875f, 0.125f, 1.125f}, {-1.125f, -0.125f, 0.875f}};

struct block_lanes {
    const float *rows, *weights;  /* n floats a lane */
    vf x[MOST], w[MOST];          /* the same, transposed */
    vf value[MOST], weight[MOST]; /* in ascending order of x */
    vi place[MOST];               /* where they stood */
    vm dead, odd;                 /* all zero, or no weight counts; only the scalar code is exact */
};

/* Bounds within which scores neither overflow nor lose bits. */
VEC void check_range(int n, struct block_lanes *b)
{
    vf largest = v_zero(), total = v_zero(), least = b->w[0];
    for (int i = 0; i < n; i++) {
        largest = v_max(largest, v_abs(b->x[i]));
        total = v_add(total, b->w[i]);
        least = v_min(least, b->w[i]);
    }
    vm below = v_lt(least, v_zero()); /* a total of zero then says nothing: weights may cancel */
    b->dead = v_or(v_lt(largest, v_set(n == 32 ? HT__IQ1_S_TINY : HT__IQ1_M_TINY)),
                   v_not(v_or(below, v_ne(total, v_zero()))));
    b->odd = v_or(v_not(v_gt(total, v_set(1e-16f))), v_not(v_lt(total, v_set(1e10f))));
    b->odd = v_or(b->odd, v_or(v_not(v_lt(largest, v_set(1e8f))), below));
}

/* A merge exchange network (Batcher's). */
struct network {
    uint8_t pairs[MOST * 6][2];
    int n;
};

VEC void build_network(int n, struct network *net)
{
    net->n = 0;
    for (int p = 1; p < n; p *= 2)
        for (int k = p; k >= 1; k /= 2)
            for (int j = k % p; j + k < n; j += 2 * k)
                for (int i = j; i < j + k && i + k < n; i++) {
                    if (i / (2 * p) != (i + k) / (2 * p)) continue;
                    net->pairs[net->n][0] = (uint8_t)i;
                    net->pairs[net->n++][1] = (uint8_t)(i + k);
                }
}

/* Numbers in the keys keep equal values in their order. */
VEC void sort_lanes(int n, const struct network *net, struct block_lanes *b)
{
    vk keys[MOST];
    int32_t first[VL];
    for (int i = 0; i < n; i++)
        keys[i] = v_key(b->x[i], i);
    for (int c = 0; c < net->n; c++)
        v_order(&keys[net->pairs[c][0]], &keys[net->pairs[c][1]]);
    for (int lane = 0; lane < VL; lane++)
        first[lane] = -n * lane;
    for (int i = 0; i < n; i++) {
        b->value[i] = v_key_value(keys[i]);
        b->place[i] = v_key_number(keys[i]);
        b->weight[i] = v_gather_floats(b->weights, v_sub_int(b->place[i], v_load_int(first)));
    }
}

/* ---- the best split ---- */

/* Sums over the first weights in ascending order; those of IQ1_M for each half of the block. */
struct sums {
    vf x[2][MOST + 1], w[2][MOST + 1];
};

VEC int halves_of(int n)
{
    return n == 32 ? 1 : 2;
}

/* How many combinations of shifts there are; in combination k the half h has shift shift_in(). */
VEC int shifts_of(int n)
{
    return n == 32 ? 2 : 4;
}

VEC int shift_in(int n, int k, int h)
{
    return n == 32 || h == 1 ? k & 1 : k >> 1;
}

VEC void sum_sorted(int n, const struct block_lanes *b, struct sums *s)
{
    for (int h = 0; h < halves_of(n); h++)
        s->x[h][0] = s->w[h][0] = v_zero();
    for (int j = 0; j < n; j++) {
        vf wx = v_mul(b->weight[j], b->value[j]);
        vm first = v_less_int(b->place[j], n == 32 ? 32 : 8);
        for (int h = 0; h < halves_of(n); h++) {
            s->x[h][j + 1] = v_add_where(s->x[h][j], wx, h == 0 ? first : v_not(first));
            s->w[h][j + 1] = v_add_where(s->w[h][j], b->weight[j], h == 0 ? first : v_not(first));
        }
    }
}

/* As the scalar code computes them, with `low` weights at the lowest level and those up to `high`
 * at the middle one. */
VEC void split_s(const struct sums *s, int low, int high, vf qx[2], vf q2[2])
{
    const vf *x = s->x[0], *w = s->w[0];
    vf x_middle = v_sub(x[high], x[low]), x_top = v_sub(x[32], x[high]);
    vf w_middle = v_sub(w[high], w[low]), w_top = v_sub(w[32], w[high]);
    for (int k = 0; k < 2; k++) {
        const vf v0 = v_set(levels[k][0]), v1 = v_set(levels[k][1]), v2 = v_set(levels[k][2]);
        qx[k] = v_add(v_add(v_mul(x[low], v0), v_mul(x_middle, v1)), v_mul(x_top, v2));
        q2[k] = v_add(v_add(v_mul(v_mul(w[low], v0), v0), v_mul(v_mul(w_middle, v1), v1)), v_mul(v_mul(w_top, v2), v2));
    }
}

VEC float step_of_squares(int shift, int level)
{
    const float *v = levels[shift];
    return v[level] * v[level] - v[level + 1] * v[level + 1];
}

VEC void split_m(const struct sums *s, int low, int high, vf qx[4], vf q2[4])
{
    vf x[2][2], w[2][2];
    for (int h = 0; h < 2; h++) {
        vf below = v_add(s->x[h][low], s->x[h][high]);
        for (int k = 0; k < 2; k++) {
            const vf top = v_set(levels[k][2]);
            x[k][h] = v_sub(v_mul(s->x[h][16], top), below);
            w[k][h] =
                v_add(v_add(v_mul(v_mul(s->w[h][16], top), top), v_mul(s->w[h][low], v_set(step_of_squares(k, 0)))),
                      v_mul(s->w[h][high], v_set(step_of_squares(k, 1))));
        }
    }
    for (int k = 0; k < 4; k++) {
        qx[k] = v_add(x[k >> 1][0], x[k & 1][1]);
        q2[k] = v_add(w[k >> 1][0], w[k & 1][1]);
    }
}

/* Only the highest score of each chunk of splits is kept: more would not fit the first cache. There
 * are 198 chunks of the 561 splits of 32 weights, and 153 splits of 16. */
enum { MAX_CHUNK = 3, MAX_CHUNKS = 208 };

VEC int chunk_of(int n)
{
    return n == 32 ? 3 : 1;
}

struct splits {
    vf scores[MAX_CHUNKS], top;
    uint8_t low[MAX_CHUNKS], high[MAX_CHUNKS], close[MAX_CHUNKS];
    int n, n_close;
};

/*
 * For the roots of all scores, about. Levels are one apart, so that the sum of wqx is a number less
 * a term of `low` and a term of `high`, and so is that of wqq (codec/iq1.c has the formula).
 * Against those of the scalar code they err by some 2^-22 of the sums of w|x| and of w. Near the
 * highest score the sum of wqx is at least a ninth of that of w|x|, and the sum of wqq always 1/64
 * of that of w: that leaves an error of at most 2^-15 of a root, beside that of the approximation.
 */
struct rough {
    vf x[MOST + MAX_CHUNK], high[4][MOST + MAX_CHUNK]; /* the last is repeated, to fill up a chunk */
    vf low[4][MOST + 1], all[4];
};

VEC void prepare_rough(int n, const struct sums *s, struct rough *r)
{
    for (int j = 0; j < n + chunk_of(n); j++) {
        const int at = j < n ? j : n;
        r->x[j] = s->x[0][at];
        if (n == 16) r->x[j] = v_add(r->x[j], s->x[1][at]);
        for (int k = 0; k < shifts_of(n); k++) {
            vf low = v_zero(), high = v_zero();
            for (int h = 0; h < halves_of(n); h++) {
                const int shift = shift_in(n, k, h);
                const float top = levels[shift][2];
                low = v_add(low, v_mul(s->w[h][n], v_set(top * top)));
                low = v_add(low, v_mul(s->w[h][at], v_set(step_of_squares(shift, 0))));
                high = v_add(high, v_mul(s->w[h][at], v_set(step_of_squares(shift, 1))));
            }
            r->high[k][j] = high;
            if (j <= n) r->low[k][j] = low;
        }
    }
    for (int k = 0; k < shifts_of(n); k++) {
        r->all[k] = v_zero();
        for (int h = 0; h < halves_of(n); h++)
            r->all[k] = v_add(r->all[k], v_mul(s->x[h][n], v_set(levels[shift_in(n, k, h)][2])));
    }
}

VEC void score_roughly(int n, const struct rough *r, struct splits *p)
{
    p->n = 0;
    p->top = v_zero();
    for (int low = 0; low <= n; low++) {
        vf x[4], w[4];
        for (int k = 0; k < shifts_of(n); k++) {
            x[k] = v_sub(r->all[k], r->x[low]);
            w[k] = r->low[k][low];
        }
        for (int high = low; high <= n; high += chunk_of(n)) {
            vf score = v_zero();
            for (int c = high; c < high + chunk_of(n); c++)
                for (int k = 0; k < shifts_of(n); k++) {
                    vf root = v_reciprocal_root(v_add(w[k], r->high[k][c]));
                    score = v_max_magnitude(score, v_mul(v_sub(x[k], r->x[c]), root));
                }
            p->scores[p->n] = score;
            p->low[p->n] = (uint8_t)low;
            p->high[p->n++] = (uint8_t)high;
            p->top = v_max(p->top, score);
        }
    }
}

/* The chunks in which some lane has a score close to its highest. */
VEC void choose_close(struct splits *p)
{
    vf bound = v_mul(p->top, v_set(1 - V_ROOT_MARGIN));
    p->n_close = 0;
    for (int c = 0; c < p->n; c++) {
        p->close[p->n_close] = (uint8_t)c;
        p->n_close += !!v_any(v_le(bound, p->scores[c]));
    }
}

struct winner {
    vf best, scale, low, high, shifts;
};

/* As the scalar code: where the score is higher, this split wins. */
VEC void accept_split(struct winner *w, vm lanes, vf qx, vf q2, int low, int high, int shifts)
{
    vm accept = v_and(lanes, v_gt(v_mul(qx, qx), v_mul(w->best, q2)));
    if (!v_any(accept)) return;
    vf scale = v_div(qx, q2);
    w->scale = v_pick(w->scale, scale, accept);
    w->best = v_pick(w->best, v_mul(scale, qx), accept);
    w->low = v_pick(w->low, v_set((float)low), accept);
    w->high = v_pick(w->high, v_set((float)high), accept);
    w->shifts = v_pick(w->shifts, v_set((float)shifts), accept);
}

VEC void choose_split(int n, const struct sums *s, const struct splits *p, struct winner *w)
{
    vf bound = v_mul(p->top, v_set(1 - V_ROOT_MARGIN)), qx[4], q2[4];
    for (int i = 0; i < p->n_close; i++) {
        const int chunk = p->close[i], low = p->low[chunk], first = p->high[chunk];
        vm lanes = v_le(bound, p->scores[chunk]);
        for (int high = first; high < first + chunk_of(n) && high <= n; high++) {
            if (n == 32)
                split_s(s, low, high, qx, q2);
            else
                split_m(s, low, high, qx, q2);
            for (int k = 0; k < shifts_of(n); k++)
                accept_split(w, lanes, qx[k], q2[k], low, high, k);
        }
    }
}

/* ---- the lattice ---- */

struct lattice_state {
    vf scale;
    vm down[4];           /* lanes whose group is shifted down */
    int32_t codes[4][VL]; /* digits of each group */
};

/* The digits that the winning split gives, and the shifts; mirrored where the scale is below zero. */
VEC void place_levels(int n, const struct block_lanes *b, const struct winner *w, struct lattice_state *s)
{
    vi low = v_to_int(w->low), high = v_to_int(w->high), shifts = v_to_int(w->shifts);
    vi code[2] = {v_zero_int(), v_zero_int()};
    vm mirror = v_lt(w->scale, v_zero());
    for (int j = 0; j < n; j++) {
        vi at = v_sub_int(b->place[j], v_sub_int(v_zero_int(), b->place[j]));
        vm at_least_0 = v_less_int(low, j + 1), at_least_1 = v_less_int(high, j + 1);
        for (int part = 0; part < n / 16; part++) {
            vi bit = v_shift_left_each(v_set_int(1), v_sub_int(at, v_set_int(32 * part)));
            code[part] = v_add_int_where(v_add_int_where(code[part], bit, at_least_0), bit, at_least_1);
        }
    }
    for (int k = 0; k < n / 8; k++) {
        vi c = code[k / 2];
        c = v_pick_int(c, v_sub_int(v_set_int((int32_t)0xaaaaaaaa), c), mirror); /* 2 - every digit */
        v_store_int(s->codes[k], v_and_int(v_shift_right(c, k % 2 * 16), v_set_int(0xffff)));
        vi bit = v_set_int(n == 16 && k == 0 ? 2 : 1); /* of the shifts, this group's */
        vm down = v_not(v_less_int(v_and_int(shifts, bit), 1));
        s->down[k] = v_or(v_and(down, v_not(mirror)), v_and(v_not(down), mirror));
    }
    s->scale = v_abs(w->scale);
}

VEC vf shift_of(vm down)
{
    return v_pick(v_set(0.125f), v_set(-0.125f), down);
}

/* Whether all weights are nearest to their own digit, with a margin: then the pruned lists will do. */
VEC vm well_inside(const vf *x, vi code, vf inverse, vf shift)
{
    vf farthest = v_zero();
    for (int i = 0; i < 8; i++) {
        vf t = v_sub(v_mul(x[i], inverse), shift);
        t = v_max(v_min(t, v_set(1)), v_set(-1));
        farthest = v_max(farthest, v_abs(v_sub(t, v_level(code, 2 * i))));
    }
    return v_lt(farthest, v_set(0.5f - 1.0f / 4096));
}

/* Groups (k * VL + lane) that are off the lattice, with lists of up to SHORT_LIST points and
 * longer; there is room for one that does not count. */
struct snap_queue {
    uint8_t groups[2][4 * VL + 1];
    const uint16_t *lists[2][4 * VL + 1];
    int n[2];
};

/* Gives the lanes in which a group is off. */
VEC vm queue_groups(int n, const struct block_lanes *b, vm alive, const struct lattice_state *s, struct snap_queue *q)
{
    const struct ht__iq_grid *grid = &ht__iq1_grid;
    vf inverse = v_div(v_set(1), s->scale);
    vm any_off = v_none();
    q->n[0] = q->n[1] = 0;
    for (int k = 0; k < n / 8; k++) {
        int32_t entries[VL];
        vi code = v_load_int(s->codes[k]), entry = v_gather(grid->near_map, code);
        vm off = v_and(alive, v_less_int(entry, 0));
        unsigned inside = v_bits(well_inside(b->x + 8 * k, code, inverse, shift_of(s->down[k])));
        v_store_int(entries, entry);
        for (unsigned left = v_bits(off); left; left &= left - 1) {
            int lane = __builtin_ctz(left);
            const uint16_t *list = grid->near - entries[lane] - 1;
            if (!(inside >> lane & 1)) list = grid->neighbour_codes - grid->map[s->codes[k][lane]] - 1;
            int longer = list[0] > SHORT_LIST, at = q->n[longer]++;
            q->groups[longer][at] = (uint8_t)(k * VL + lane);
            q->lists[longer][at] = list;
        }
        any_off = v_or(any_off, off);
    }
    return any_off;
}

/* Puts groups on the lattice; gives the lanes in which one was not. */
VEC vm snap_lanes(int n, const struct block_lanes *b, vm alive, struct lattice_state *s)
{
    struct snap_queue q;
    vm any_off = queue_groups(n, b, alive, s, &q);
    float scales[VL];
    unsigned down[4];
    v_store(scales, s->scale);
    for (int k = 0; k < n / 8; k++)
        down[k] = v_bits(s->down[k]);
    for (int longer = 0; longer < 2; longer++)
        for (int i = 0; i < q.n[longer]; i++) {
            int k = q.groups[longer][i] / VL, lane = q.groups[longer][i] % VL, at = n * lane + 8 * k;
            const float *values = levels[down[k] >> lane & 1];
            const uint16_t *list = q.lists[longer][i];
            s->codes[k][lane] = longer ? nearest_of_many(list, b->rows + at, b->weights + at, scales[lane], values)
                                       : nearest_of_few(list, b->rows + at, b->weights + at, scales[lane], values);
        }
    return any_off;
}

/* The scale is fitted to the lattice points. */
VEC void refit(int n, const struct block_lanes *b, vm lanes, struct lattice_state *s)
{
    vf qx = v_zero(), q2 = v_zero();
    for (int i = 0; i < n; i++) {
        vf q = v_add(v_level(v_load_int(s->codes[i / 8]), 2 * (i % 8)), shift_of(s->down[i / 8]));
        vf wq = v_mul(b->w[i], q);
        qx = v_add(qx, v_mul(wq, b->x[i]));
        q2 = v_add(q2, v_mul(wq, q));
    }
    lanes = v_and(lanes, v_and(v_gt(qx, v_zero()), v_gt(q2, v_zero())));
    s->scale = v_pick(s->scale, v_div(qx, q2), lanes);
}

VEC void store_blocks(int n, const struct lattice_state *s, unsigned alive, struct ht__iq1_block *blocks)
{
    float scales[VL];
    unsigned down[4];
    v_store(scales, s->scale);
    for (int k = 0; k < n / 8; k++)
        down[k] = v_bits(s->down[k]);
    for (int lane = 0; lane < VL; lane++) {
        memset(&blocks[lane], 0, sizeof blocks[lane]);
        if (!(alive >> lane & 1)) continue;
        blocks[lane].scale = scales[lane];
        blocks[lane].shifts = (int)(n == 32 ? down[0] >> lane & 1 : (down[0] >> lane & 1) << 1 | (down[1] >> lane & 1));
        for (int k = 0; k < n / 8; k++)
            blocks[lane].points[k] = (uint16_t)ht__iq1_grid.map[s->codes[k][lane]];
    }
}

/* VL blocks of n weights, one after the other; gives the lanes that only the scalar code encodes
 * exactly. */
VEC unsigned search_lanes(int n, const struct network *net, const float *rows, const float *weights,
                          struct ht__iq1_block *blocks)
{
    struct block_lanes b = {.rows = rows, .weights = weights};
    struct winner w = {v_set(-FLT_MAX), v_set(1), v_zero(), v_zero(), v_zero()};
    struct splits p;
    struct sums sums;
    struct rough rough;
    struct lattice_state s;
    for (int i = 0; i < n; i += VL) {
        v_transpose(rows + i, n, b.x + i);
        v_transpose(weights + i, n, b.w + i);
    }
    check_range(n, &b);
    sort_lanes(n, net, &b);
    sum_sorted(n, &b, &sums);
    prepare_rough(n, &sums, &rough);
    score_roughly(n, &rough, &p);
    choose_close(&p);
    choose_split(n, &sums, &p, &w);
    b.odd = v_and(v_not(b.dead), v_or(b.odd, v_not(v_gt(p.top, v_set(1e-9f)))));
    vm alive = v_and(v_not(b.dead), v_not(b.odd));
    place_levels(n, &b, &w, &s);
    vm off = snap_lanes(n, &b, alive, &s);
    if (v_any(off)) refit(n, &b, off, &s);
    store_blocks(n, &s, v_bits(alive), blocks);
    return v_bits(b.odd);
}

/* ---- super-blocks ---- */

/* Sums of VL rows of 256, each in index order; of their squares where asked. */
VEC vf sum_rows(const float *rows, bool squares)
{
    vf sum = v_zero(), t[VL];
    for (int i = 0; i < SUPER; i += VL) {
        v_transpose(rows + i, SUPER, t);
        for (int j = 0; j < VL; j++)
            sum = v_add(sum, squares ? v_mul(t[j], t[j]) : t[j]);
    }
    return sum;
}

VEC void weigh_batch(const float *x, const float *importance, float *w)
{
    float sigma2[VL];
    v_store(sigma2, v_div(v_mul(v_set(2), sum_rows(x, true)), v_set(SUPER)));
    for (int i = 0; i < VL * SUPER; i += VL) {
        vf v = v_load(x + i), square = v_mul(v, v);
        if (importance) square = v_mul(v_load(importance + i), v_sqrt(v_add(v_set(sigma2[i / SUPER]), square)));
        v_store(w + i, square);
    }
}

/* The terms of IQ1_M's last fit for one super-block. */
VEC void fit_terms(const float *x, const float *w, const struct ht__iq1_block *blocks, const int codes[16], float *wqx,
                   float *wq2)
{
    for (int i = 0; i < SUPER; i += VL) {
        const struct ht__iq1_block *b = blocks + i / 16;
        uint8_t digits[16];
        float shifts[16];
        for (int k = i / 8 % 2, part = 0; part < VL / 8; k++, part++) {
            memcpy(digits + 8 * part, ht__iq1_grid.points + 8 * b->points[k], 8);
            for (int j = 0; j < 8; j++)
                shifts[8 * part + j] = b->shifts >> (1 - k) & 1 ? -1.125f : -0.875f;
        }
        vf q = v_add(v_floats_of_bytes(digits), v_load(shifts));
        q = v_mul(q, v_set((float)(2 * codes[i / 16] + 1)));
        vf wq = v_mul(v_load(w + i), q);
        v_store(wqx + i, v_mul(wq, v_load(x + i)));
        v_store(wq2 + i, v_mul(wq, q));
    }
}

struct m_fit {
    float wqx[VL * SUPER], wq2[VL * SUPER], d[VL];
    int codes[VL][16];
    bool any[VL];
};

VEC void fit_batch(const float *x, const float *w, const struct ht__iq1_block *blocks, struct m_fit *f)
{
    memset(f->wqx, 0, sizeof f->wqx);
    memset(f->wq2, 0, sizeof f->wq2);
    for (int i = 0; i < VL; i++) {
        f->d[i] = 0;
        f->any[i] = ht__iq1_m_codes(blocks + 16 * i, f->codes[i], &f->d[i]);
        if (f->any[i])
            fit_terms(x + SUPER * i, w + SUPER * i, blocks + 16 * i, f->codes[i], f->wqx + SUPER * i,
                      f->wq2 + SUPER * i);
    }
    vf qx = sum_rows(f->wqx, false), q2 = sum_rows(f->wq2, false);
    v_store(f->d, v_pick(v_load(f->d), v_div(qx, q2), v_gt(q2, v_zero())));
}

/* A batch is VL super-blocks; the last is filled up. */
VEC void encode_iq1(const struct ht__codec *codec, int n, const float *src, int64_t n_rows, int64_t row_len,
                    const float *importance, uint8_t *out)
{
    float x_room[VL * SUPER], importance_room[VL * SUPER], w[VL * SUPER];
    struct ht__iq1_block blocks[VL * SUPER / 16];
    struct m_fit fit;
    struct network net;
    const int count = SUPER / n;
    int64_t supers = n_rows * row_len / SUPER, per_row = row_len / SUPER;
    build_network(n, &net);
    for (int64_t first = 0; first < supers; first += VL) {
        const float *x = batch_weights(src, first, supers, VL, SUPER, x_room), *given = NULL;
        bool odd[VL] = {false};
        if (importance) given = batch_importance(importance, first, supers, per_row, VL, SUPER, importance_room);
        weigh_batch(x, given, w);
        for (int b = 0; b < VL * count; b += VL) {
            unsigned lanes = search_lanes(n, &net, x + b * n, w + b * n, blocks + b);
            for (; lanes; lanes &= lanes - 1)
                odd[(b + __builtin_ctz(lanes)) / count] = true;
        }
        if (n == 16) fit_batch(x, w, blocks, &fit);
        for (int i = 0; i < VL && first + i < supers; i++) {
            uint8_t *block = out + (first + i) * (int64_t)codec->block_size;
            if (odd[i])
                codec->encode(x + SUPER * i, 1, SUPER, given ? given + SUPER * i : NULL, block);
            else if (n == 16)
                ht__iq1_m_pack(blocks + count * i, fit.any[i] ? fit.codes[i] : NULL, fit.d[i], block);
            else
                ht__iq1_s_pack(blocks + count * i, block);
        }
    }
}

#define IQ1_ENCODER(id, n, level)                                                                                      \
    void ht__##id##_encode_##level(const float *src, int64_t n_rows, int64_t row_len, const float *importance,         \
                                   void *dst)                                                                          \
    {                                                                                                                  \
        encode_iq1(&ht__codec_##id, n, src, n_rows, row_len, importance, dst);                                         \
    }
