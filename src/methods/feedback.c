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
    int64_t column = k->f->column[place], group = row * (k->n / c->group) + column / c->group;
    uint8_t *code = k->b->codes + row * k->n + column;
    *code = (uint8_t)nearest_code(c, k->b->scale[group], k->b->offset[group], x, *code);
    return k->b->scale[group] * c->level[*code] + k->b->offset[group];
}

static void feed(const struct work *k)
{
    const struct ht__factor *f = k->f;
    float done[HT__FEEDBACK_ROWS * BLOCK];
    for (int64_t first = (k->n - 1) / BLOCK * BLOCK; first >= 0; first -= BLOCK) {
        int64_t last = first + BLOCK < k->n ? first + BLOCK : k->n;
        if (last < k->n)
            ht__ops_product(k->ops, f->upper + first * k->n + last, k->n, last - first, k->n - last, k->b->error + last,
                            k->n, k->n_rows, done, BLOCK, k->b->scratch);
        for (int64_t r = 0; r < k->n_rows; r++) {
            float *error = k->b->error + r * k->n;
            const float *w = k->w + r * k->n;
            for (int64_t i = last - 1; i >= first; i--) {
                const float *u = f->upper + i * k->n;
                float sum = last < k->n ? done[r * BLOCK + i - first] : 0;
                for (int64_t j = i + 1; j < last; j++)
                    sum += error[j] * u[j];
                error[i] = w[i] - take(k, r, i, w[i] + sum / u[i]);
            }
        }
    }
}

/* gradient = error (H + damping), kept up to date with every change. */
static void sweep(const struct work *k)
{
    const struct ht__factor *f = k->f;
    for (int64_t r = 0; r < k->n_rows; r++) {
        float *error = k->b->error + r * k->n, *gradient = k->b->gradient + r * k->n;
        const float *w = k->w + r * k->n;
        for (int64_t i = k->n - 1; i >= 0; i--) {
            const float *h = f->gram + i * k->n;
            float now = w[i] - error[i], next = take(k, r, i, now + gradient[i] / h[i]);
            if (next == now) continue;
            error[i] = w[i] - next;
            k->ops->add_scaled(gradient, h, now - next, k->n);
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
    b->scratch = ht__arena_raw(arena, HT__MATMUL_SCRATCH * sizeof(float) + 64);
    if (!b->error || !b->gradient || !b->scale || !b->offset || !b->codes || !b->scratch) return false;
    b->scratch += (64 - (uintptr_t)b->scratch % 64) % 64 / sizeof(float);
    return true;
}

static void choose(const struct work *k, int sweeps)
{
    feed(k);
    if (sweeps == 0) return;
    ht__ops_product(k->ops, k->f->gram, k->n, k->n, k->n, k->b->error, k->n, k->n_rows, k->b->gradient, k->n,
                    k->b->scratch);
    for (int i = 0; i < sweeps; i++)
        sweep(k);
}

void ht__feedback_codes(const struct ht__factor *f, const struct ht__ops *ops, const struct ht__coder *coder,
                        const float *w, int64_t row, int64_t n_rows, struct ht__feedback_buffers *b, int sweeps,
                        void *coded)
{
    for (int64_t at = 0; at < n_rows; at += HT__FEEDBACK_ROWS) {
        int64_t n = n_rows - at < HT__FEEDBACK_ROWS ? n_rows - at : HT__FEEDBACK_ROWS;
        struct work k = {f, ops, w + at * f->n, f->n, n, coder, b};
        coder->read(coder, coded, row + at, n, b->codes, b->scale, b->offset);
        choose(&k, sweeps);
        coder->write(coder, b->codes, row + at, n, coded);
    }
}

void ht__feedback_place(const struct ht__factor *f, const float *rows, int64_t n_rows, float *placed)
{
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t p = 0; p < f->n; p++)
            placed[r * f->n + p] = rows[r * f->n + f->column[p]];
}
