/*
 * The codebook types IQ2 and IQ3: included by lattice_<level>.c after vec_<level>.h and
 * lattice_vec_<level>.h.
 *
 * Lanes are super-blocks: one batch is VL of them, and their blocks are searched side by side,
 * trial by trial, so that every sum keeps the scalar order. A group that a trial puts off the
 * lattice is searched by itself, with its neighbours in lanes; in a wave of such searches each is
 * independent of the others.
 */
#include "kernels/codec.h"
#include "kernels/search/lattice.h"
#include "kernels/x86/search_tmpl.h"

#include <string.h>

enum { SUPER = HT__LATTICE_SUPER, MOST = HT__LATTICE_MAX, MAX_GROUPS = 8 };

/* One block of every super-block of the batch. */
struct lattice_lanes {
    vf x[MOST], w[MOST], wx[MOST];
    /* magnitudes and the square roots of the weights of each group together, group * VL + lane */
    float magnitudes[VL * MOST], roots[VL * MOST];
    uint8_t signs[VL][4];
};

struct lattice_codes {
    int32_t code[MAX_GROUPS * VL];
    vm on_grid[MAX_GROUPS];
};

typedef const struct ht__lattice_params search_params;

VEC int grid_dim(search_params p)
{
    return p.grid == &ht__iq3_s_grid || p.grid == &ht__iq3_xxs_grid ? 4 : 8;
}

VEC int grid_levels(search_params p)
{
    return grid_dim(p) == 4 ? 8 : 3;
}

/* The minuses of eight weights; where they must be even, the cheapest changes its sign. */
VEC uint8_t split_signs(bool even, const float *x, const float *w, float *magnitude)
{
    unsigned s = v_sign_bits8(x);
    if (!even || !__builtin_parity(s)) return (uint8_t)(even ? s & 127 : s);
    int least = 0;
    float min = w[0] * x[0] * x[0];
    for (int i = 1; i < 8; i++) {
        float cost = w[i] * x[i] * x[i];
        least = cost < min ? i : least;
        min = cost < min ? cost : min;
    }
    magnitude[least] = -magnitude[least];
    return (uint8_t)((s ^ 1u << least) & 127);
}

VEC void load_lanes(search_params p, float flat, const float *const *supers, const float *const *importance,
                    const float *sigma2, int at, struct lattice_lanes *out)
{
    const int dim = grid_dim(p);
    float rows[VL][MOST], weights[VL][MOST], roots[VL][MOST];
    for (int lane = 0; lane < VL; lane++) {
        const float *x = supers[lane] + at;
        float *w = weights[lane];
        for (int i = 0; i < p.n; i += VL) {
            vf v = v_load(x + i), sigma = v_set(sigma2[lane]), square = v_mul(v, v);
            vf weight = importance ? v_mul(v_load(importance[lane] + at + i), v_sqrt(v_add(sigma, square)))
                        : flat > 0 ? v_add(v_mul(v_set(flat), sigma), square)
                                   : square;
            v_store(w + i, weight);
            v_store(roots[lane] + i, v_sqrt(weight));
            v_store(rows[lane] + i, v_abs(v));
        }
        for (int k = 0; k < p.n / 8; k++)
            out->signs[lane][k] = split_signs(p.even_signs, x + 8 * k, w + 8 * k, rows[lane] + 8 * k);
    }
    for (int i = 0; i < p.n; i += VL) {
        v_transpose(rows[0] + i, MOST, out->x + i);
        v_transpose(weights[0] + i, MOST, out->w + i);
    }
    for (int k = 0; k < p.n / dim; k++)
        for (int lane = 0; lane < VL; lane++) {
            memcpy(out->magnitudes + dim * (k * VL + lane), rows[lane] + dim * k, sizeof(float) * (size_t)dim);
            memcpy(out->roots + dim * (k * VL + lane), roots[lane] + dim * k, sizeof(float) * (size_t)dim);
        }
    for (int i = 0; i < p.n; i++)
        out->wx[i] = v_mul(out->w[i], out->x[i]);
}

/* Groups of lanes (group * VL + lane) that are off the lattice. */
struct lattice_queue {
    /* with up to eight neighbours to look at, and with more; room for the last vector */
    uint8_t few[MAX_GROUPS * VL + VL], many[MAX_GROUPS * VL + VL];
    int n_few, n_many;
    int32_t entries[MAX_GROUPS * VL];
    unsigned at_edge[MAX_GROUPS]; /* lanes whose list must be the whole one */
};

VEC struct lattice_query query_of(int dim, const struct lattice_lanes *b, const uint16_t *near, const float *scales,
                                  const struct lattice_queue *q, int at, struct lattice_codes *out)
{
    return (struct lattice_query){near - q->entries[at] - 1, b->magnitudes + dim * at, b->roots + dim * at,
                                  scales[at % VL], &out->code[at]};
}

VEC void snap_queue(search_params p, const struct lattice_lanes *b, const float *scales, const struct lattice_queue *q,
                    struct lattice_codes *out)
{
    const int dim = grid_dim(p);
    const uint16_t *near = p.grid->near;
    for (int j = 0; j < q->n_few; j += 2)
        nearest_two(dim, query_of(dim, b, near, scales, q, q->few[j], out),
                    query_of(dim, b, near, scales, q, q->few[j + (j + 1 < q->n_few)], out));
    for (int j = 0; j < q->n_many; j++) {
        struct lattice_query one = query_of(dim, b, near, scales, q, q->many[j], out);
        if (q->at_edge[q->many[j] / VL] >> q->many[j] % VL & 1)
            one.list = p.grid->neighbour_codes - p.grid->map[*one.found] - 1;
        *one.found = nearest(dim, one.list, one.x, one.root, one.scale);
    }
}

/* The digits of every group at these scales, and the groups of `active` lanes that are off the
 * lattice put on their nearest neighbour. Inactive lanes keep their codes. */
VEC void snap_groups(search_params p, const struct lattice_lanes *b, vf inverse, vf scale, vm active, const vm *groups,
                     struct lattice_codes *out)
{
    const int dim = grid_dim(p), bits = dim == 4 ? 3 : 2;
    const vf half = v_set(0.5f), one = v_set(1), top = v_set((float)grid_levels(p) - 1), margin = v_set(1.0f / 4096);
    float scales[VL];
    struct lattice_queue q;
    q.n_few = q.n_many = 0;
    v_store(scales, scale);
    for (int k = 0; k < p.n / dim; k++) {
        vf code = v_zero(), edge = one;
        vm wanted = groups ? v_and(active, groups[k]) : active;
        for (int i = 0; i < dim; i++) {
            vf u = v_mul(half, v_sub(v_mul(inverse, b->x[dim * k + i]), one));
            vf l = v_max(v_min(v_round(u), top), v_zero()); /* in this order NaN becomes a digit too */
            edge = v_min(edge, v_abs(v_sub(v_abs(v_sub(u, l)), half)));
            code = v_add(code, v_mul(v_set((float)(1 << bits * i)), l));
        }
        vi digits = v_to_int(code), entry = v_gather(p.grid->near_map, digits);
        v_store_int_where(out->code + k * VL, digits, wanted);
        v_store_int(q.entries + k * VL, entry);
        vm off = v_less_int(entry, 0);
        out->on_grid[k] = v_not(off);
        q.at_edge[k] = v_bits(v_lt(edge, margin));
        unsigned many = v_bits(v_less_int(entry, -p.grid->near_long)) | q.at_edge[k], all = v_bits(v_and(off, wanted));
        q.n_few += v_put_lanes(q.few + q.n_few, all & ~many, k * VL);
        q.n_many += v_put_lanes(q.many + q.n_many, all & many, k * VL);
    }
    snap_queue(p, b, scales, &q, out);
}

VEC void code_sums(search_params p, const struct lattice_lanes *b, const struct lattice_codes *c, vf *qx, vf *q2)
{
    const int dim = grid_dim(p);
    vf sum_x = v_zero(), sum_2 = v_zero();
    for (int k = 0; k < p.n / dim; k++) {
        vi code = v_load_int(c->code + k * VL);
        for (int i = 0; i < dim; i++) {
            vf q = dim == 4 ? v_odd_of_three_bits(code, 3 * i) : v_odd_of_two_bits(code, 2 * i);
            sum_x = v_add(sum_x, v_mul(b->wx[dim * k + i], q));
            sum_2 = v_add(sum_2, v_mul(v_mul(b->w[dim * k + i], q), q));
        }
    }
    *qx = sum_x;
    *q2 = sum_2;
}

struct lattice_state {
    vf scale;
    struct lattice_codes codes;
};

/* snap_groups for one type: a function of its own, which the trials and the last fit call. */
typedef void snap_fn(const struct lattice_lanes *b, vf inverse, vf scale, vm active, const vm *groups,
                     struct lattice_codes *out);

VEC void try_scales(search_params p, snap_fn *snap, const struct lattice_lanes *b, vf max, vm alive,
                    struct lattice_state *best)
{
    const int top = 2 * grid_levels(p) - 1, groups = p.n / grid_dim(p);
    vf score = v_zero();
    for (int t = -p.steps; t <= p.steps; t++) {
        struct lattice_codes trial;
        vf inverse = v_div(v_set((float)top + (float)t * p.step), max), qx, q2;
        for (int k = 0; k < groups; k++)
            v_store_int(trial.code + k * VL, v_zero_int());
        snap(b, inverse, v_div(v_set(1), inverse), alive, NULL, &trial);
        code_sums(p, b, &trial, &qx, &q2);
        vm accept = v_and(alive, v_and(v_gt(q2, v_zero()), v_gt(v_mul(qx, qx), v_mul(score, q2))));
        if (!v_any(accept)) continue;
        best->scale = v_pick(best->scale, v_div(qx, q2), accept);
        score = v_pick(score, v_mul(best->scale, qx), accept);
        for (int k = 0; k < groups; k++) {
            v_store_int_where(best->codes.code + k * VL, v_load_int(trial.code + k * VL), accept);
            best->codes.on_grid[k] =
                v_or(v_and(accept, trial.on_grid[k]), v_and(v_not(accept), best->codes.on_grid[k]));
        }
    }
}

/*
 * At the winning scale groups are put on the lattice once more, and the scale is fitted to them. Gives the lanes
 * whose scale is so small (heavy weights on zeros) that quotients leave the range in which vectors round as the
 * scalar code does.
 */
VEC vm settle(search_params p, snap_fn *snap, const struct lattice_lanes *b, vf largest, vm alive,
              struct lattice_state *s)
{
    const int groups = p.n / grid_dim(p);
    vm any_off = v_none(), off[MAX_GROUPS];
    for (int k = 0; k < groups; k++) {
        off[k] = v_not(s->codes.on_grid[k]);
        any_off = v_or(any_off, off[k]);
    }
    vm active = v_and(alive, v_gt(s->scale, v_zero()));
    if (p.snap != HT__SNAP_ALL) active = v_and(active, any_off);
    vf qx, q2, inverse = v_div(v_set(1), s->scale);
    vm wild = v_and(active, v_not(v_lt(v_mul(largest, inverse), v_set(1e6f))));
    active = v_and(active, v_not(wild));
    if (!v_any(active)) return wild;
    snap(b, inverse, s->scale, active, p.snap == HT__SNAP_OFF_GRID ? off : NULL, &s->codes);
    code_sums(p, b, &s->codes, &qx, &q2);
    s->scale = v_pick(s->scale, v_div(qx, q2), v_and(active, v_gt(q2, v_zero())));
    return wild;
}

/* A whole number in a byte, as llama.cpp keeps the codes of this search: below zero they wrap. */
VEC vf wrap_byte(vf l)
{
    return v_pick(l, v_add(l, v_set(256)), v_lt(l, v_zero()));
}

/* The scale of the search for non-negative values, with four levels (src/kernels/search/search.c).
 * Codes below -256 wrap more than once: the caller has flagged such lanes. */
VEC vf positive_scale(int n, const vf *x, const vf *w, vf max)
{
    const vf zero = v_zero(), top = v_set(4);
    vf best_inverse = v_div(top, max), best = zero, sum_xl = zero, sum_l2 = zero, l[MOST];
    for (int t = -5; t <= 4; t++) { /* -5 stands for the plain one, which comes first */
        if (t == 0) continue;
        vf inverse = t == -5 ? best_inverse : v_div(v_set(0.1f * (float)t + 4), max);
        vf scale = v_div(v_set(1), inverse), error = zero;
        for (int i = 0; i < n; i++) {
            vf q = v_min(v_round(v_mul(inverse, x[i])), top);
            if (t == -5) q = wrap_byte(q);
            vf diff = v_sub(x[i], v_mul(scale, q));
            error = v_add(error, v_mul(v_mul(w[i], diff), diff));
        }
        vm better = v_lt(error, best);
        best = t == -5 ? error : v_pick(best, error, better);
        if (t != -5) best_inverse = v_pick(best_inverse, inverse, better);
    }
    for (int i = 0; i < n; i++) {
        vf first = v_min(v_round(v_mul(best_inverse, x[i])), top);
        sum_xl = v_add(sum_xl, v_mul(v_mul(w[i], x[i]), first));
        sum_l2 = v_add(sum_l2, v_mul(v_mul(w[i], first), first));
        l[i] = wrap_byte(first);
    }
    for (int sweep = 0, changed = 1; sweep < 5 && changed; sweep++) {
        changed = 0;
        for (int i = 0; i < n; i++) {
            vf wx = v_mul(w[i], x[i]);
            vf xl = v_sub(sum_xl, v_mul(wx, l[i])), l2 = v_sub(sum_l2, v_mul(v_mul(w[i], l[i]), l[i]));
            vf other = v_min(v_round_wrapped(v_div(v_mul(x[i], l2), xl)), top);
            vm step = v_and(v_and(v_gt(xl, zero), v_gt(l2, zero)), v_ne(other, l[i]));
            if (!v_any(step)) continue;
            xl = v_add(xl, v_mul(wx, other));
            l2 = v_add(l2, v_mul(v_mul(w[i], other), other));
            step = v_and(step, v_gt(v_mul(v_mul(xl, xl), sum_l2), v_mul(v_mul(sum_xl, sum_xl), l2)));
            l[i] = v_pick(l[i], v_wrap_to_byte(other), step);
            sum_xl = v_pick(sum_xl, xl, step);
            sum_l2 = v_pick(sum_l2, l2, step);
            changed |= v_any(step);
        }
    }
    return v_pick(zero, v_div(sum_xl, sum_l2), v_gt(sum_l2, zero));
}

VEC void store_blocks(search_params p, const struct lattice_lanes *b, const struct lattice_state *s, unsigned alive,
                      struct ht__lattice_block *blocks, int stride)
{
    float scales[VL];
    v_store(scales, s->scale);
    for (int lane = 0; lane < VL; lane++) {
        struct ht__lattice_block *block = blocks + lane * stride;
        memset(block, 0, sizeof *block);
        if (!(alive >> lane & 1)) continue;
        uint8_t flip = scales[lane] < 0 ? (p.even_signs ? 127 : 255) : 0; /* the mirror image */
        block->scale = flip ? -scales[lane] : scales[lane];
        for (int k = 0; k < p.n / 8; k++)
            block->signs[k] = b->signs[lane][k] ^ flip;
        for (int k = 0; k < p.n / grid_dim(p); k++) {
            int32_t entry = p.grid->map[s->codes.code[k * VL + lane]];
            block->points[k] = (uint16_t)(entry >= 0 ? entry : 0);
        }
    }
}

/* One block of every lane; gives the lanes that only the scalar code encodes as llama.cpp does. */
VEC unsigned search_lanes(search_params p, snap_fn *snap, const struct lattice_lanes *b,
                          struct ht__lattice_block *blocks, int stride)
{
    struct lattice_state s;
    vf max = b->x[0], min = b->x[0], largest;
    for (int i = 1; i < p.n; i++) {
        max = v_max(max, b->x[i]);
        min = v_min(min, b->x[i]);
    }
    vm dead = v_not(v_gt(max, v_zero()));
    if (p.tiny > 0) dead = v_or(dead, v_lt(max, v_set(p.tiny)));
    largest = v_max(max, v_sub(v_zero(), min));
    /* beyond these bounds products overflow, vanish, or round differently */
    vm fits = v_and(v_lt(largest, v_set(1e9f)), v_gt(max, v_set(1e-9f)));
    fits = v_and(fits, v_lt(v_mul(largest, v_set(1e-1f)), max));
    vm alive = v_and(fits, v_not(dead)), odd = v_and(v_not(fits), v_not(dead));
    if (p.positive_max) {
        vf scale = positive_scale(p.n, b->x, b->w, max);
        vf fitted = v_mul(v_set(3), scale);
        vm none = v_not(v_gt(fitted, v_zero())), close = v_gt(v_mul(fitted, v_set(1e5f)), largest);
        odd = v_or(odd, v_and(alive, v_and(v_not(none), v_not(close))));
        alive = v_and(alive, v_and(v_not(none), close));
        max = fitted;
        s.scale = v_div(max, v_set(3));
    } else {
        s.scale = v_div(max, v_set((float)(2 * grid_levels(p) - 1)));
    }
    for (int k = 0; k < MAX_GROUPS; k++) {
        v_store_int(s.codes.code + k * VL, v_zero_int());
        s.codes.on_grid[k] = p.snap == HT__SNAP_OFF_GRID ? v_not(v_none()) : v_none();
    }
    try_scales(p, snap, b, max, alive, &s);
    odd = v_or(odd, settle(p, snap, b, largest, alive, &s));
    store_blocks(p, b, &s, v_bits(alive), blocks, stride);
    return v_bits(odd);
}

/* Sums of squares in index order, a super-block a lane. */
VEC void mean_squares(const struct ht__lattice_type *type, const float *const *supers, float *sigma2)
{
    vf sum = v_zero(), t[VL];
    float rows[VL][VL];
    for (int i = 0; i < SUPER; i += VL) {
        for (int lane = 0; lane < VL; lane++)
            v_store(rows[lane], v_load(supers[lane] + i));
        v_transpose(rows[0], VL, t);
        for (int j = 0; j < VL; j++)
            sum = v_add(sum, v_mul(t[j], t[j]));
    }
    v_store(sigma2, v_div(v_mul(v_set(type->sigma), sum), v_set(SUPER)));
}

/* The last batch is filled up with its last super-block. */
VEC void encode_lattice(const struct ht__lattice_type *type, snap_fn *snap, const float *src, int64_t n_rows,
                        int64_t row_len, const float *importance, uint8_t *out)
{
    int64_t n = n_rows * row_len / SUPER, per_row = row_len / SUPER;
    const int count = SUPER / type->search.n;
    for (int64_t first = 0; first < n; first += VL) {
        const float *supers[VL], *weights[VL];
        float sigma2[VL];
        unsigned odd = 0;
        struct ht__lattice_block blocks[VL][SUPER / 16];
        struct lattice_lanes lanes;
        for (int64_t lane = 0; lane < VL; lane++) {
            int64_t at = first + lane < n ? first + lane : n - 1;
            supers[lane] = src + at * SUPER;
            weights[lane] = importance ? importance + at % per_row * SUPER : NULL;
        }
        mean_squares(type, supers, sigma2);
        for (int b = 0; b < count; b++) {
            load_lanes(type->search, type->flat, supers, importance ? weights : NULL, sigma2, b * type->search.n,
                       &lanes);
            odd |= search_lanes(type->search, snap, &lanes, &blocks[0][b], SUPER / 16);
        }
        for (int lane = 0; lane < VL && first + lane < n; lane++) {
            uint8_t *block = out + (first + lane) * type->block_size;
            if (odd >> lane & 1)
                ht__lattice_encode(type, supers[lane], 1, SUPER, weights[lane], block);
            else
                type->pack(blocks[lane], block);
        }
    }
}

#define LATTICE_ENCODER(id, level)                                                                                     \
    static __attribute__((noinline)) void snap_##id(const struct lattice_lanes *b, vf inverse, vf scale, vm active,    \
                                                    const vm *groups, struct lattice_codes *out)                       \
    {                                                                                                                  \
        snap_groups(ht__##id##_lattice.search, b, inverse, scale, active, groups, out);                                \
    }                                                                                                                  \
    void ht__##id##_encode_##level(const float *src, int64_t n_rows, int64_t row_len, const float *importance,         \
                                   void *dst)                                                                          \
    {                                                                                                                  \
        encode_lattice(&ht__##id##_lattice, snap_##id, src, n_rows, row_len, importance, dst);                         \
    }
