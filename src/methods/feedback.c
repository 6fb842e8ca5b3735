#include "methods/feedback.h"

#include <math.h>
#include <string.h>

enum { BLOCK = HT__MATMUL_ROWS };

/* The code whose weight is nearest to x; `before` where the scale is 0. Levels one apart: rounding finds the code;
 * otherwise the levels around it are compared. */
static int nearest_code(const struct ht__coder *c, float scale, float offset, float x, int before)
{
    float low = c->level[0], high = c->level[c->n_codes - 1], v;
    if (scale == 0) return before;
    v = (x - offset) / scale;
    if (!(v > low)) return 0;
    if (!(v < high)) return c->n_codes - 1;
    if (high - low == (float)(c->n_codes - 1)) return (int)(v - low + 0.5f);
    int code = 0, above = c->n_codes - 1; /* level[code] <= v < level[above] */
    while (above - code > 1) {
        int middle = (code + above) / 2;
        if (c->level[middle] <= v)
            code = middle;
        else
            above = middle;
    }
    return v - c->level[code] > c->level[code + 1] - v ? code + 1 : code;
}

struct work {
    const struct ht__factor *f;
    const struct ht__ops *ops;
    const float *w;
    int64_t n, n_rows;
    const struct ht__coder *coder;
    struct ht__feedback_buffers *b;
};

/* The code nearest to x in a place of a row; gives its weight. */
static float take(const struct work *k, int64_t row, int64_t place, float x)
{
    const struct ht__coder *c = k->coder;
    int64_t column = k->f->gram->column[place], group = row * (k->n / c->group) + ht__coder_group(c, column);
    uint8_t *code = k->b->codes + row * k->n + column;
    *code = (uint8_t)nearest_code(c, k->b->scale[group], k->b->offset[group], x, *code);
    return k->b->scale[group] * c->level[*code] + k->b->offset[group];
}

/* The errors of one block, from its last place to its first: the rows stand beside each other, so that each adds in the
 * order of its places and none waits for itself. done: the products with the errors behind the block, or NULL. */
static void feed_block(const struct work *k, int64_t first, int n, const float *done)
{
    float sum[HT__FEEDBACK_ROWS], errors[BLOCK][HT__FEEDBACK_ROWS] = {{0}};
    for (int i = n - 1; i >= 0; i--) {
        const float *u = k->f->root + (first + i) * k->n + first;
        for (int64_t r = 0; r < HT__FEEDBACK_ROWS; r++)
            sum[r] = done && r < k->n_rows ? done[r * BLOCK + i] : 0;
        for (int j = i + 1; j < n; j++)
            for (int r = 0; r < HT__FEEDBACK_ROWS; r++)
                sum[r] += errors[j][r] * u[j];
        for (int64_t r = 0; r < k->n_rows; r++) {
            float w = k->w[r * k->n + first + i];
            errors[i][r] = w - take(k, r, first + i, w + sum[r] / u[i]);
        }
    }
    for (int64_t r = 0; r < k->n_rows; r++)
        for (int i = 0; i < n; i++)
            k->b->error[r * k->n + first + i] = errors[i][r];
}

static void feed(const struct work *k)
{
    const struct ht__factor *f = k->f;
    float done[HT__FEEDBACK_ROWS * BLOCK];
    for (int64_t first = (k->n - 1) / BLOCK * BLOCK; first >= 0; first -= BLOCK) {
        int n = (int)(k->n - first < BLOCK ? k->n - first : BLOCK);
        int64_t last = first + n;
        if (last < k->n)
            ht__ops_product(k->ops, f->root + first * k->n + last, k->n, n, k->n - last, k->b->error + last, k->n,
                            k->n_rows, done, BLOCK, k->b->scratch);
        feed_block(k, first, n, last < k->n ? done : NULL);
    }
}

/* gradient = error (H + damping), kept up to date with every change. All rows take a place before the next: H is read
 * once, not once a row. */
static void sweep(const struct work *k)
{
    float damping = (float)k->f->damping;
    for (int64_t i = k->n - 1; i >= 0; i--) {
        const float *h = k->f->gram->at + i * k->n;
        for (int64_t r = 0; r < k->n_rows; r++) {
            float *error = k->b->error + r * k->n, *gradient = k->b->gradient + r * k->n, w = k->w[r * k->n + i];
            float now = w - error[i], next = take(k, r, i, now + gradient[i] / (h[i] + damping));
            if (next == now) continue;
            error[i] = w - next;
            k->ops->add_scaled(gradient, h, now - next, k->n);
            gradient[i] += (now - next) * damping;
        }
    }
}

bool ht__feedback_open(struct ht__feedback_buffers *b, const struct ht__coder *coder, struct ht__arena *arena)
{
    size_t all = (size_t)coder->n_in * HT__FEEDBACK_ROWS, groups = coder->n_codes ? all / (size_t)coder->group : 1;
    b->error = ht__arena_raw(arena, all * sizeof(float));
    b->gradient = ht__arena_raw(arena, all * sizeof(float));
    b->scale = ht__arena_raw(arena, groups * sizeof(float));
    b->offset = ht__arena_raw(arena, groups * sizeof(float));
    b->codes = ht__arena_raw(arena, all);
    b->change = ht__arena_raw(arena, (size_t)coder->n_in * sizeof(float));
    b->scratch = ht__arena_raw(arena, HT__MATMUL_SCRATCH * sizeof(float) + 64);
    if (!b->error || !b->gradient || !b->scale || !b->offset || !b->codes || !b->change || !b->scratch) return false;
    b->scratch += (64 - (uintptr_t)b->scratch % 64) % 64 / sizeof(float);
    return true;
}

static void find_gradient(const struct work *k)
{
    float damping = (float)k->f->damping;
    ht__ops_product(k->ops, k->f->gram->at, k->n, k->n, k->n, k->b->error, k->n, k->n_rows, k->b->gradient, k->n,
                    k->b->scratch);
    for (int64_t i = 0; i < k->n_rows * k->n; i++)
        k->b->gradient[i] += k->b->error[i] * damping;
}

/* The error of every weight under codes and scales as they are, and its gradient. */
static void find_errors(const struct work *k)
{
    const struct ht__coder *c = k->coder;
    for (int64_t r = 0; r < k->n_rows; r++)
        for (int64_t i = 0; i < k->n; i++) {
            int64_t column = k->f->gram->column[i], group = r * (k->n / c->group) + ht__coder_group(c, column);
            float level = c->level[k->b->codes[r * k->n + column]];
            k->b->error[r * k->n + i] = k->w[r * k->n + i] - (k->b->scale[group] * level + k->b->offset[group]);
        }
    find_gradient(k);
}

/*
 * The best scale of one group while all else stays: a weight is scale * v, so the loss is least where the gradient along v is 0,
 * which is a step of (gradient v) / (v' H v).
 */
static void refit(const struct work *k, int64_t r, int64_t g)
{
    const struct ht__coder *c = k->coder;
    const int32_t *place = k->f->gram->place;
    float *error = k->b->error + r * k->n, *gradient = k->b->gradient + r * k->n;
    float *scale = &k->b->scale[r * (k->n / c->group) + g], *offset = &k->b->offset[r * (k->n / c->group) + g];
    float shift = *scale != 0 ? *offset / *scale : 0;
    const uint8_t *codes = k->b->codes + r * k->n;
    double along = 0, curve = 0;
    memset(k->b->change, 0, (size_t)k->n * sizeof(float));
    for (int i = 0; i < c->group; i++) {
        int64_t column = ht__coder_column(c, g, i), at = place[column];
        float v = c->level[codes[column]] + shift;
        if (v != 0) {
            k->ops->add_scaled(k->b->change, k->f->gram->at + at * k->n, v, k->n);
            k->b->change[at] += v * (float)k->f->damping;
        }
        along += (double)gradient[at] * (double)v;
    }
    for (int i = 0; i < c->group; i++) {
        int64_t column = ht__coder_column(c, g, i);
        curve += (double)k->b->change[place[column]] * (double)(c->level[codes[column]] + shift);
    }
    if (!(curve > 0) || *scale == 0) return;
    float step = (float)(along / curve);
    for (int i = 0; i < c->group; i++) {
        int64_t column = ht__coder_column(c, g, i);
        error[place[column]] -= step * (c->level[codes[column]] + shift);
    }
    k->ops->add_scaled(gradient, k->b->change, -step, k->n);
    *scale += step;
    *offset = *scale * shift;
}

/* Every group's scale, one after the other; then as they can be stored. */
static void refit_all(const struct work *k, int64_t row, void *coded)
{
    const struct ht__coder *c = k->coder;
    for (int64_t r = 0; r < k->n_rows; r++)
        for (int64_t g = 0; g < k->n / c->group; g++)
            refit(k, r, g);
    c->write(c, k->b->codes, row, k->n_rows, coded);
    (void)c->rescale(c, k->b->scale, row, k->n_rows, coded); /* without memory they stay as they were */
    c->read(c, coded, row, k->n_rows, k->b->codes, k->b->scale, k->b->offset);
    find_errors(k);
}

static void choose(const struct work *k, int sweeps)
{
    feed(k);
    if (sweeps == 0) return;
    find_gradient(k);
    for (int i = 0; i < sweeps; i++)
        sweep(k);
}

static void choose_scales(const struct work *k, int64_t row, void *coded)
{
    enum { ROUNDS = 2, SWEEPS = 2 };
    for (int i = 0; i < ROUNDS; i++) {
        refit_all(k, row, coded);
        for (int s = 0; s < SWEEPS; s++)
            sweep(k);
    }
}

void ht__feedback_codes(const struct ht__factor *f, const struct ht__ops *ops, const struct ht__coder *coder,
                        const float *w, int64_t row, int64_t n_rows, struct ht__feedback_buffers *b, int sweeps,
                        void *coded)
{
    for (int64_t at = 0; at < n_rows; at += HT__FEEDBACK_ROWS) {
        int64_t n = n_rows - at < HT__FEEDBACK_ROWS ? n_rows - at : HT__FEEDBACK_ROWS;
        struct work k = {f, ops, w + at * f->gram->n, f->gram->n, n, coder, b};
        coder->read(coder, coded, row + at, n, b->codes, b->scale, b->offset);
        choose(&k, sweeps);
        if (sweeps && coder->rescale) choose_scales(&k, row + at, coded);
        coder->write(coder, b->codes, row + at, n, coded);
    }
}

void ht__feedback_place(const struct ht__factor *f, const float *rows, int64_t n_rows, float *placed)
{
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t p = 0; p < f->gram->n; p++)
            placed[r * f->gram->n + p] = rows[r * f->gram->n + f->gram->column[p]];
}
