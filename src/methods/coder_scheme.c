/*
 * Schemes as coders: the coded matrix is its codes, then its scales, then its zero points. A scheme says what a weight's
 * value is, not how it comes about; but all of them multiply a code's level by the scale of a group and shift it by a zero
 * point. So levels and groups are read off the values of a few matrices that are made up for it, in float32, which no
 * dtype rounds.
 */
#include "methods/coder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 128, MOST_CODES = 256 };

/* ---- where codes, scales and zero points lie ---- */

static int64_t groups_of(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    return p->scheme->groups(p, m, n_rows);
}

static size_t scales_at(const struct ht__matrix *m)
{
    return ((size_t)(m->n_out * m->n_in) + 15) / 16 * 16;
}

static bool has_zero(const struct ht__scheme_params *p)
{
    return ht__scheme_flags(p) & HT__SCHEME_ZERO;
}

size_t ht__coded_size(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return scales_at(m) + (size_t)groups_of(p, m, m->n_out) * (has_zero(p) ? 2 : 1) * sizeof(float);
}

/* One scale for the whole matrix stands before every row. */
static int64_t first_group(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t row)
{
    return row == 0 || groups_of(p, m, m->n_out) == 1 ? 0 : groups_of(p, m, row);
}

struct ht__codes ht__coded_rows(const struct ht__scheme_params *p, const struct ht__matrix *m, void *coded, int64_t row,
                                int64_t n_rows)
{
    float *scales = (float *)(void *)((uint8_t *)coded + scales_at(m)) + first_group(p, m, row);
    return (struct ht__codes){
        .row = row,
        .n_rows = n_rows,
        .q = (uint8_t *)coded + row * m->n_in,
        .scale = scales,
        .zero = has_zero(p) ? scales + groups_of(p, m, m->n_out) : NULL,
        .column_group = m->column_group,
    };
}

bool ht__coder_takes(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    return !(ht__scheme_flags(p) & HT__SCHEME_READ_ONLY) && m->n_experts == 0 && ht__scheme_rows(p, m) <= MOST_ROWS;
}

/* ---- what the scheme's numbers are ---- */

struct probe {
    struct ht__coder *c;
    struct ht__matrix matrix; /* `rows` rows of the matrix's length */
    struct ht__codes codes;
    int64_t n_groups;
    float *values;
    struct ht__arena arena;
};

static int64_t weights_of(const struct probe *k)
{
    return k->matrix.n_out * k->matrix.n_in;
}

static void set_scales(struct probe *k, float scale, float zero)
{
    for (int64_t i = 0; i < k->n_groups; i++)
        k->codes.scale[i] = scale;
    for (int64_t i = 0; k->codes.zero && i < k->n_groups; i++)
        k->codes.zero[i] = zero;
}

/* Values of all weights, with codes `first` and up, over and over, as many as there can be. */
static void values_of(struct probe *k, float scale, float zero, int first)
{
    set_scales(k, scale, zero);
    for (int64_t i = 0; i < weights_of(k); i++)
        k->codes.q[i] = (uint8_t)(first + i);
    k->c->params->scheme->value(k->c->params, &k->matrix, &k->codes, k->values);
}

struct level {
    float value;
    uint8_t code;
};

static int by_value(const void *a, const void *b)
{
    const struct level *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->code < y->code ? -1 : 1;
}

/* Codes that the scheme itself gives to their values, with these, ascending. */
static int find_levels(struct probe *k, struct level level[MOST_CODES])
{
    int n = 0, at_once = (int)(weights_of(k) < MOST_CODES ? weights_of(k) : MOST_CODES);
    for (int first = 0; first < MOST_CODES; first += at_once) {
        values_of(k, 1, 0, first);
        for (int64_t i = 0; i < weights_of(k); i++)
            if (!isfinite(k->values[i])) k->values[i] = 0; /* codes of no number */
        k->c->params->scheme->nearest(k->c->params, &k->matrix, k->values, &k->codes);
        for (int i = 0; i < at_once && first + i < MOST_CODES; i++)
            if (k->codes.q[i] == first + i) level[n++] = (struct level){k->values[i], (uint8_t)(first + i)};
    }
    qsort(level, (size_t)n, sizeof *level, by_value);
    return n;
}

/* What a zero point of 1 adds to a value. */
static float find_shift(struct probe *k)
{
    if (!k->codes.zero) return 0;
    values_of(k, 1, 0, k->c->code[k->c->n_codes - 1]);
    float without = k->values[0];
    values_of(k, 1, 1, k->c->code[k->c->n_codes - 1]);
    return k->values[0] - without;
}

static enum ht_err keep_levels(struct probe *k, struct ht__arena *arena, struct ht_diag *diag)
{
    struct level level[MOST_CODES];
    int n = find_levels(k, level);
    float *value = ht__arena_array(arena, MOST_CODES, sizeof *value);
    uint8_t *code = ht__arena_array(arena, MOST_CODES, 1), *place = ht__arena_array(arena, MOST_CODES, 1);
    if (!value || !code || !place) return ht__fail_memory(diag, "levels");
    for (int i = 0; i < n; i++) {
        value[i] = level[i].value;
        code[i] = level[i].code;
        place[level[i].code] = (uint8_t)i;
    }
    k->c->n_codes = n;
    k->c->level = value;
    k->c->code = code;
    k->c->place = place;
    if (n < 2) return ht__fail(diag, HT_ERR_UNSUPPORTED, k->c->params->scheme->name, -1, "it has no codes");
    k->c->per_zero = find_shift(k);
    return HT_OK;
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Each weight's group, digit by digit: the scale of a group is 2 where the digit is 1. group: as many as there are weights. */
static bool tell_groups(struct probe *k, int32_t *group)
{
    float once = k->c->level[k->c->n_codes - 1], twice = 2 * once;
    memset(k->codes.q, k->c->code[k->c->n_codes - 1], (size_t)weights_of(k));
    set_scales(k, 1, 0);
    for (int digit = 0; (int64_t)1 << digit <= k->n_groups; digit++) {
        for (int64_t i = 0; i < k->n_groups; i++)
            k->codes.scale[i] = i >> digit & 1 ? 2 : 1;
        k->c->params->scheme->value(k->c->params, &k->matrix, &k->codes, k->values);
        for (int64_t i = 0; i < weights_of(k); i++) {
            if (k->values[i] != once && k->values[i] != twice) return false;
            if (k->values[i] == twice) group[i] |= (int32_t)1 << digit;
        }
    }
    return true;
}

static enum ht_err keep_groups(struct probe *k, struct ht__arena *arena, struct ht_diag *diag)
{
    int64_t n = k->matrix.n_in, width = n, all = weights_of(k);
    int32_t *group = ht__arena_array(&k->arena, (size_t)all, sizeof *group);
    if (!group) return ht__fail_memory(diag, "groups");
    if (!tell_groups(k, group))
        return ht__fail(diag, HT_ERR_UNSUPPORTED, k->c->params->scheme->name, -1,
                        "its values do not grow with its scales");
    for (int64_t i = 1; i < all; i++)
        if (i % n && group[i] != group[i - 1]) width = gcd(width, i % n);
    int32_t *map = ht__arena_array(arena, (size_t)(all / width), sizeof *map);
    if (!map) return ht__fail_memory(diag, "groups");
    for (int64_t i = 0; i < all / width; i++)
        map[i] = group[i * width];
    k->c->map = map;
    k->c->group = (int)width;
    return HT_OK;
}

static enum ht_err ask(struct probe *k, struct ht__arena *arena, struct ht_diag *diag)
{
    size_t n = (size_t)(k->matrix.n_out * k->matrix.n_in);
    k->values = ht__arena_raw(&k->arena, n * sizeof(float));
    if (!k->values || !ht__codes_new(&k->codes, k->c->params, &k->matrix, 0, k->matrix.n_out, &k->arena))
        return ht__fail_memory(diag, "levels");
    k->n_groups = groups_of(k->c->params, &k->matrix, k->matrix.n_out);
    HT_TRY(keep_levels(k, arena, diag));
    return keep_groups(k, arena, diag);
}

/* ---- the coder ---- */

static struct ht__codes rows_of(const struct ht__coder *c, const void *coded, int64_t row, int64_t n_rows)
{
    return ht__coded_rows(c->params, &c->matrix, (void *)(uintptr_t)coded, row, n_rows);
}

static void sort_row(const struct ht__coder *c, const float *x, float *sorted)
{
    for (int64_t i = 0; i < c->n_in; i++)
        sorted[i] = x[c->order[i]];
}

static void encode(const struct ht__coder *c, const float *x, int64_t row, int64_t n_rows, const float *importance,
                   float *sorted, void *coded)
{
    struct ht__codes codes = rows_of(c, coded, row, n_rows);
    const float *fitted = x;
    if (c->order) {
        for (int64_t r = 0; r < n_rows; r++)
            sort_row(c, x + r * c->n_in, sorted + r * c->n_in);
        if (importance) sort_row(c, importance, sorted + n_rows * c->n_in);
        fitted = sorted;
        importance = importance ? sorted + n_rows * c->n_in : NULL;
    }
    c->params->scheme->fit(c->params, &c->matrix, fitted, importance, &codes);
    c->params->scheme->nearest(c->params, &c->matrix, x, &codes);
}

static void decode(const struct ht__coder *c, const void *coded, int64_t row, int64_t n_rows, float *x)
{
    struct ht__codes codes = rows_of(c, coded, row, n_rows);
    c->params->scheme->value(c->params, &c->matrix, &codes, x);
}

/* Groups of rows within the span of c->rows that they lie in. */
static void read(const struct ht__coder *c, const void *coded, int64_t row, int64_t n_rows, uint8_t *codes,
                 float *scale, float *offset)
{
    int64_t first = row / c->rows * c->rows, per_row = c->n_in / c->group;
    struct ht__codes all = rows_of(c, coded, first, c->n_out - first < c->rows ? c->n_out - first : c->rows);
    const uint8_t *q = all.q + (row - first) * c->n_in;
    const int32_t *map = c->map + (row - first) * per_row;
    for (int64_t i = 0; i < n_rows * c->n_in; i++)
        codes[i] = c->place[q[i]];
    for (int64_t i = 0; i < n_rows * per_row; i++) {
        scale[i] = all.scale[map[i]];
        offset[i] = all.zero ? scale[i] * all.zero[map[i]] * c->per_zero : 0;
    }
}

static void write(const struct ht__coder *c, const uint8_t *codes, int64_t row, int64_t n_rows, void *coded)
{
    uint8_t *q = (uint8_t *)coded + row * c->n_in;
    for (int64_t i = 0; i < n_rows * c->n_in; i++)
        q[i] = c->code[codes[i]];
}

/* ---- scales ---- */

/* As they will be read back: the scheme lays them out and reads them. */
static bool store(const struct ht__coder *c, struct ht__codes *codes, struct ht__arena *arena)
{
    struct ht__part parts[HT__SCHEME_PARTS];
    struct ht__codes again;
    void *rows[HT__SCHEME_PARTS] = {NULL};
    const void *from[HT__SCHEME_PARTS] = {NULL};
    int n = c->params->scheme->parts(c->params, &c->matrix, parts);
    for (int i = 0; i < n; i++) {
        bool whole = parts[i].place == HT__PART_WHOLE;
        size_t size = whole ? 0 : ht__part_rows_bytes(&parts[i], &c->matrix, codes->row, codes->n_rows);
        if (!whole && !(rows[i] = ht__arena_raw(arena, size + 64))) return false;
        from[i] = whole ? c->whole[i] : rows[i];
    }
    if (!ht__codes_new(&again, c->params, &c->matrix, codes->row, codes->n_rows, arena)) return false;
    c->params->scheme->pack(c->params, &c->matrix, codes, rows);
    c->params->scheme->unpack(c->params, &c->matrix, from, &again);
    memcpy(codes->scale, again.scale, (size_t)groups_of(c->params, &c->matrix, codes->n_rows) * sizeof(float));
    return true;
}

static bool rescale(const struct ht__coder *c, const float *scale, int64_t row, int64_t n_rows, void *coded)
{
    int64_t first = row / c->rows * c->rows, per_row = c->n_in / c->group;
    struct ht__codes codes = rows_of(c, coded, row, n_rows);
    const int32_t *map = c->map + (row - first) * per_row;
    struct ht__arena arena;
    for (int64_t i = 0; i < n_rows * per_row; i++)
        codes.scale[map[i] - map[0]] = scale[i];
    ht__arena_init(&arena, NULL);
    bool done = store(c, &codes, &arena);
    ht__arena_close(&arena);
    return done;
}

static bool is_own(const struct ht__coder *c, const struct ht__part *parts, int n)
{
    int64_t rows = c->rows < c->n_out ? c->rows : c->n_out;
    for (int i = 0; i < n; i++)
        if (parts[i].place == HT__PART_WORK) return false; /* scales are changed when all of them are known */
    return groups_of(c->params, &c->matrix, rows) == rows * c->n_in / c->group;
}

/* Scales of a few bits lose more by being stored than a better one gains. */
static bool are_fine(const struct ht__coder *c, struct ht__arena *arena)
{
    const float wanted = 0.0123f;
    int64_t rows = c->rows < c->n_out ? c->rows : c->n_out;
    struct ht__codes codes;
    if (!ht__codes_new(&codes, c->params, &c->matrix, 0, rows, arena)) return false;
    memset(codes.q, c->code[0], (size_t)(rows * c->n_in));
    for (int64_t i = 0; i < rows * c->n_in / c->group; i++) {
        codes.scale[i] = wanted;
        if (codes.zero) codes.zero[i] = 1;
    }
    return store(c, &codes, arena) && fabsf(codes.scale[0] - wanted) < .004f * wanted;
}

static enum ht_err open_rescale(struct ht__coder *c, struct ht__arena *arena, struct ht_diag *diag)
{
    struct ht__part parts[HT__SCHEME_PARTS];
    int n = c->params->scheme->parts(c->params, &c->matrix, parts);
    if (!is_own(c, parts, n)) return HT_OK;
    c->whole = ht__arena_array(arena, HT__SCHEME_PARTS, sizeof *c->whole);
    if (!c->whole) return ht__fail_memory(diag, "scales");
    for (int i = 0; i < n; i++)
        if (parts[i].place == HT__PART_WHOLE && !(c->whole[i] = ht__arena_raw(arena, ht__part_bytes(&parts[i]) + 64)))
            return ht__fail_memory(diag, "scales");
    if (c->params->scheme->finish) c->params->scheme->finish(c->params, &c->matrix, c->whole);
    if (are_fine(c, arena)) c->rescale = rescale;
    return HT_OK;
}

/* The columns by their groups: each has as many as the others. */
static enum ht_err keep_order(struct ht__coder *c, struct ht__arena *arena, struct ht_diag *diag)
{
    int32_t *order = ht__arena_array(arena, (size_t)c->n_in, sizeof *order);
    int32_t *used = ht__arena_array(arena, (size_t)(c->n_in / c->group), sizeof *used);
    if (!order || !used) return ht__fail_memory(diag, "groups");
    for (int64_t i = 0; i < c->n_in; i++) {
        int32_t g = c->matrix.column_group[i];
        order[(int64_t)g * c->group + used[g]++] = (int32_t)i;
    }
    c->order = order;
    return HT_OK;
}

enum ht_err ht__coder_of_scheme(struct ht__coder *c, const struct ht__scheme_params *params,
                                const struct ht__matrix *matrix, struct ht__arena *arena, struct ht_diag *diag)
{
    enum { ROWS = 32 };
    int64_t rows = ht__scheme_rows(params, matrix);
    *c = (struct ht__coder){
        .n_out = matrix->n_out,
        .n_in = matrix->n_in,
        .rows = rows * ROWS / gcd(rows, ROWS),
        .size = ht__coded_size(params, matrix),
        .encode = encode,
        .decode = decode,
        .read = read,
        .write = write,
        .params = params,
        .matrix = *matrix,
    };
    struct probe k = {.c = c, .matrix = *matrix};
    k.matrix.dtype = &ht__codec_f32;
    k.matrix.n_out = c->rows < matrix->n_out ? c->rows : matrix->n_out;
    k.matrix.column_group = NULL;
    ht__arena_init(&k.arena, NULL);
    enum ht_err err = ask(&k, arena, diag);
    ht__arena_close(&k.arena);
    if (err == HT_OK && matrix->column_group) err = keep_order(c, arena, diag);
    return err == HT_OK ? open_rescale(c, arena, diag) : err;
}
