#include "methods/feedback.h"

#include <math.h>
#include <string.h>

enum { BLOCK = HT__MATMUL_ROWS };

/* Grids of some rows: the weight of code c in a column is scale * values[c] + offset, of its group. */
struct rows_grid {
    const struct ht__grid *grid;
    uint8_t *codes;        /* n_rows x n */
    float *scale, *offset; /* n_rows x n / group */
};

static float level(const struct ht__grid *g, int code)
{
    return g->values ? (float)g->values[code] : (float)code;
}

static float weight_of(const struct ht__grid *g, float scale, float offset, int code)
{
    return scale * level(g, code) + offset;
}

/* The code whose weight is nearest to x; `before` where the scale is 0. Levels one apart: rounding finds the code; otherwise the levels around it are compared. */
static int nearest_code(const struct ht__grid *g, float scale, float offset, float x, int before)
{
    float low = level(g, 0), high = level(g, g->n_codes - 1), v;
    if (scale == 0) return before;
    v = (x - offset) / scale;
    if (!(v > low)) return 0;
    if (!(v < high)) return g->n_codes - 1;
    if (high - low == (float)(g->n_codes - 1)) return (int)(v - low + 0.5f);
    int code = 0;
    while (code + 2 < g->n_codes && level(g, code + 1) <= v)
        code++;
    return v - level(g, code) > level(g, code + 1) - v ? code + 1 : code;
}

struct work {
    const struct ht__factor *f;
    const struct ht__ops *ops;
    const float *w;
    int64_t n, n_rows;
    struct rows_grid *grid;
    struct ht__feedback_buffers *b;
};

/* The code nearest to x in a place of a row; gives its weight. */
static float take(const struct work *k, int64_t row, int64_t place, float x)
{
    struct rows_grid *g = k->grid;
    int64_t column = k->f->column[place], group = row * (k->n / g->grid->group) + column / g->grid->group;
    uint8_t *code = g->codes + row * k->n + column;
    *code = (uint8_t)nearest_code(g->grid, g->scale[group], g->offset[group], x, *code);
    return weight_of(g->grid, g->scale[group], g->offset[group], *code);
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

static void choose(const struct ht__factor *f, const struct ht__ops *ops, const float *w, int64_t n_rows,
                   struct rows_grid *grid, struct ht__feedback_buffers *b, int sweeps)
{
    struct work k = {f, ops, w, f->n, n_rows, grid, b};
    feed(&k);
    if (sweeps == 0) return;
    ht__ops_product(ops, f->gram, f->n, f->n, f->n, b->error, f->n, n_rows, b->gradient, f->n, b->scratch);
    for (int i = 0; i < sweeps; i++)
        sweep(&k);
}

bool ht__feedback_open(struct ht__feedback_buffers *b, const struct ht__codec *type, int64_t n, struct ht__arena *arena)
{
    size_t all = (size_t)n * HT__FEEDBACK_ROWS, groups = type->grid ? all / (size_t)type->grid->group : 1;
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

void ht__feedback_codes(const struct ht__factor *f, const struct ht__ops *ops, const struct ht__codec *type,
                        const float *w, int64_t n_rows, struct ht__feedback_buffers *b, int sweeps, uint8_t *rows)
{
    const struct ht__grid *g = type->grid;
    int64_t blocks = n_rows * f->n / type->block_len, groups = type->block_len / g->group;
    for (int64_t i = 0; i < blocks; i++)
        g->read(rows + i * type->block_size, b->codes + i * type->block_len, b->scale + i * groups,
                b->offset + i * groups);
    struct rows_grid grid = {g, b->codes, b->scale, b->offset};
    choose(f, ops, w, n_rows, &grid, b, sweeps);
    for (int64_t i = 0; i < blocks; i++)
        g->write(rows + i * type->block_size, b->codes + i * type->block_len);
}

void ht__feedback_place(const struct ht__factor *f, const float *rows, int64_t n_rows, float *placed)
{
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t p = 0; p < f->n; p++)
            placed[r * f->n + p] = rows[r * f->n + f->column[p]];
}
