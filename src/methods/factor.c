#include "methods/factor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL = 64, LANES = 8, TASK_ROWS = 128, DEPTH = 256, TILE = 32 };

/* ---- Cholesky, in place: the panel of columns [first, last) is finished before the next ---- */

struct panel {
    const struct ht__ops *ops;
    float *a;
    int64_t n, first, last;
    struct room {
        double sum[TASK_ROWS * PANEL];
        float part[TASK_ROWS * PANEL];
        _Alignas(64) float scratch[HT__MATMUL_SCRATCH];
    } * rooms; /* by thread */
};

/* In a fixed order of sums, that compilers make vectors of. */
static double dot(const float *a, const float *b, int64_t n)
{
    double lanes[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] += (double)a[i + j] * (double)b[i + j];
    for (int j = 0; j < LANES; j++)
        sum += lanes[j];
    for (; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* What the columns before the panel leave of some rows of it. What lies above the diagonal is written too: nobody reads it. */
static void update_rows(void *ctx, int64_t task, int thread)
{
    const struct panel *p = ctx;
    struct room *room = &p->rooms[thread];
    int64_t row = p->first + task * TASK_ROWS, n = p->n - row < TASK_ROWS ? p->n - row : TASK_ROWS;
    int64_t columns = p->last - p->first;
    float *mine = p->a + row * p->n;
    memset(room->sum, 0, sizeof room->sum);
    for (int64_t k = 0; k < p->first; k += DEPTH) {
        int64_t depth = p->first - k < DEPTH ? p->first - k : DEPTH;
        ht__ops_product(p->ops, p->a + p->first * p->n + k, p->n, columns, depth, mine + k, p->n, n, room->part, PANEL,
                        room->scratch);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < columns; j++)
                room->sum[i * PANEL + j] += (double)room->part[i * PANEL + j];
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < columns; j++) {
            float *at = &mine[i * p->n + p->first + j];
            *at = (float)((double)*at - room->sum[i * PANEL + j]);
        }
}

static bool factor_square(const struct panel *p)
{
    for (int64_t j = p->first; j < p->last; j++) {
        float *row = p->a + j * p->n;
        double d = (double)row[j] - dot(row + p->first, row + p->first, j - p->first);
        if (!(d > 0) || !isfinite(d)) return false;
        row[j] = (float)sqrt(d);
        if (!(row[j] > 0)) return false;
        for (int64_t i = j + 1; i < p->last; i++) {
            float *other = p->a + i * p->n;
            other[j] =
                (float)(((double)other[j] - dot(other + p->first, row + p->first, j - p->first)) / (double)row[j]);
        }
    }
    return true;
}

static void solve_row(void *ctx, int64_t task, int thread)
{
    const struct panel *p = ctx;
    float *mine = p->a + (p->last + task) * p->n;
    (void)thread;
    for (int64_t j = p->first; j < p->last; j++) {
        const float *row = p->a + j * p->n;
        mine[j] = (float)(((double)mine[j] - dot(mine + p->first, row + p->first, j - p->first)) / (double)row[j]);
    }
}

/* The lower half. False: it is not positive definite. */
static bool cholesky(float *a, int64_t n, struct room *rooms, struct ht__pool *pool)
{
    const struct ht__ops *ops = ht__ops(ht__cpu_best());
    for (int64_t first = 0; first < n; first += PANEL) {
        struct panel p = {ops, a, n, first, first + PANEL < n ? first + PANEL : n, rooms};
        if (first) ht__pool_run(pool, (n - first + TASK_ROWS - 1) / TASK_ROWS, update_rows, &p);
        if (!factor_square(&p)) return false;
        if (p.last < n) ht__pool_run(pool, n - p.last, solve_row, &p);
    }
    return true;
}

/* ---- the order of the columns ---- */

struct by_size {
    double group, diagonal; /* the largest diagonal of its group; its own */
    int32_t first, column;  /* the first column of its group */
};

/* Ascending; equal ones in the order of the columns. */
static int compare(const void *a, const void *b)
{
    const struct by_size *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->first != y->first) return x->first < y->first ? 1 : -1;
    if (x->diagonal != y->diagonal) return x->diagonal < y->diagonal ? -1 : 1;
    return x->column < y->column ? 1 : -1;
}

static double largest(const struct ht__gram *g, const double *products, int64_t first, int64_t n)
{
    double most = 0;
    for (int64_t i = first; i < first + n && i < g->n; i++)
        most = fmax(most, products[ht__lower_at(i, i)]);
    return most;
}

static struct by_size size_of(const struct ht__gram *g, const double *products, int64_t i, struct ht__order order)
{
    struct by_size size = {.column = (int32_t)i};
    if (order.kind != HT__ORDER_NATURAL) size.diagonal = products[ht__lower_at(i, i)];
    if (order.kind == HT__ORDER_GROUP) {
        size.first = (int32_t)(i / order.group * order.group);
        size.group = largest(g, products, size.first, order.group);
    }
    return size;
}

static enum ht_err order_columns(struct ht__gram *g, const double *products, struct ht__order order,
                                 struct ht_diag *diag)
{
    struct by_size *all = ht__new_array(g->alloc, (size_t)g->n, sizeof *all);
    if (!all) return ht__fail_memory(diag, "factor");
    for (int64_t i = 0; i < g->n; i++)
        all[i] = size_of(g, products, i, order);
    qsort(all, (size_t)g->n, sizeof *all, compare);
    for (int64_t i = 0; i < g->n; i++)
        g->place[g->column[i] = all[i].column] = (int32_t)i;
    ht__free(g->alloc, all);
    return HT_OK;
}

/* Both halves of a tile: each pair of places was written where the larger column's row is. */
static void mirror_tile(const struct ht__gram *g, int64_t row, int64_t column)
{
    for (int64_t i = row; i < row + TILE && i < g->n; i++)
        for (int64_t j = column; j < column + TILE && j < i; j++) {
            float *below = &g->at[i * g->n + j], *above = &g->at[j * g->n + i];
            if (g->column[i] > g->column[j])
                *above = *below;
            else
                *below = *above;
        }
}

/* Row by row of the products, each to the row of its place: so no more than one row is written here and there. */
static void arrange(struct ht__gram *g, const double *products)
{
    double sum = 0;
    for (int64_t i = 0; i < g->n; i++) {
        const double *row = products + ht__lower_row(i);
        float *at = g->at + g->place[i] * g->n;
        for (int64_t j = 0; j <= i; j++)
            at[g->place[j]] = (float)row[j];
    }
    for (int64_t row = 0; row < g->n; row += TILE)
        for (int64_t column = 0; column <= row; column += TILE)
            mirror_tile(g, row, column);
    for (int64_t i = 0; i < g->n; i++)
        sum += products[ht__lower_at(i, i)];
    g->mean = sum / (double)g->n;
}

enum ht_err ht__gram_open(struct ht__gram *g, const double *products, int64_t n, struct ht__order order,
                          const struct ht__alloc *alloc, struct ht_diag *diag)
{
    *g = (struct ht__gram){.alloc = alloc, .n = n};
    g->column = ht__new_array(alloc, (size_t)n, sizeof *g->column);
    g->place = ht__new_array(alloc, (size_t)n, sizeof *g->place);
    g->at = ht__new_array(alloc, (size_t)n, (size_t)n * sizeof *g->at);
    if (!g->column || !g->place || !g->at) return ht__fail_memory(diag, "factor");
    HT_TRY(order_columns(g, products, order, diag));
    arrange(g, products);
    return HT_OK;
}

void ht__gram_close(struct ht__gram *g)
{
    ht__free(g->alloc, g->column);
    ht__free(g->alloc, g->place);
    ht__free(g->alloc, g->at);
    *g = (struct ht__gram){.alloc = g->alloc};
}

/* ---- damping ---- */

static void damp(const struct ht__factor *f)
{
    const struct ht__gram *g = f->gram;
    for (int64_t i = 0; i < g->n; i++) {
        memcpy(f->root + i * g->n, g->at + i * g->n, (size_t)(i + 1) * sizeof(float));
        f->root[i * (g->n + 1)] = (float)((double)g->at[i * (g->n + 1)] + f->damping);
    }
}

static void mirror(const struct ht__factor *f)
{
    int64_t n = f->gram->n;
    for (int64_t row = 0; row < n; row += TILE)
        for (int64_t column = 0; column <= row; column += TILE)
            for (int64_t i = row; i < row + TILE && i < n; i++)
                for (int64_t j = column; j < column + TILE && j < i; j++)
                    f->root[j * n + i] = f->root[i * n + j];
}

static enum ht_err make(struct ht__factor *f, struct room *rooms, struct ht__pool *pool, struct ht_diag *diag)
{
    enum { TRIES = 8 };
    for (int i = 0; i < TRIES; i++, f->damping *= 10) {
        damp(f);
        if (!cholesky(f->root, f->gram->n, rooms, pool)) continue;
        mirror(f);
        return HT_OK;
    }
    return ht__fail(diag, HT_ERR_NONFINITE, "calibration", -1, "the Gram matrix of a site cannot be factored");
}

enum ht_err ht__factor_open(struct ht__factor *f, const struct ht__gram *gram, double damping, struct ht__pool *pool,
                            struct ht_diag *diag)
{
    size_t n = (size_t)gram->n;
    *f = (struct ht__factor){.gram = gram, .damping = gram->mean > 0 ? damping * gram->mean : 1};
    f->root = ht__new_array(gram->alloc, n, n * sizeof(float));
    struct room *rooms = ht__new_aligned(gram->alloc, (size_t)ht__pool_threads(pool) * sizeof *rooms);
    enum ht_err err = f->root && rooms ? make(f, rooms, pool, diag) : ht__fail_memory(diag, "factor");
    ht__free_aligned(gram->alloc, rooms);
    return err;
}

void ht__factor_close(struct ht__factor *f)
{
    if (f->gram) ht__free(f->gram->alloc, f->root);
    *f = (struct ht__factor){.root = NULL};
}

/* ---- solving ---- */

enum { BLOCK = HT__MATMUL_ROWS, BESIDE = 64 };

/*
 * The part of a solution that lies in one block: the rows stand beside each other, so that each adds in the order of its
 * places and none waits for itself. `of` is the factor's row of a place, from the block on.
 */
struct solving {
    float sum[BLOCK][BESIDE], y[BLOCK][BESIDE];
};

static void solve_place(struct solving *s, const float *of, int place, int from, int to, const float *rows, int64_t ld,
                        int64_t n_rows)
{
    float *sum = s->sum[place], *y = s->y[place];
    for (int k = from; k < to; k++)
        for (int r = 0; r < BESIDE; r++)
            sum[r] += s->y[k][r] * of[k];
    for (int64_t r = 0; r < n_rows; r++)
        y[r] = (rows[r * ld + place] - sum[r]) / of[place];
}

/* The products with what is solved, of n_rows by BLOCK; none: zeros. */
static void begin_block(struct solving *s, const float *done, int64_t n_rows)
{
    memset(s, 0, sizeof *s);
    for (int64_t r = 0; done && r < n_rows; r++)
        for (int j = 0; j < BLOCK; j++)
            s->sum[j][r] = done[r * BLOCK + j];
}

static void put_block(const struct solving *s, int n, float *rows, int64_t ld, int64_t n_rows)
{
    for (int64_t r = 0; r < n_rows; r++)
        for (int j = 0; j < n; j++)
            rows[r * ld + j] = s->y[j][r];
}

/* y L' = b: from the first place on. */
static void forward(const struct ht__factor *f, const struct ht__ops *ops, float *rows, int64_t n_rows, float *scratch)
{
    float done[BESIDE * BLOCK] = {0};
    struct solving s;
    for (int64_t first = 0; first < f->gram->n; first += BLOCK) {
        int n = (int)(f->gram->n - first < BLOCK ? f->gram->n - first : BLOCK);
        const float *l = f->root + first * f->gram->n;
        if (first) ht__ops_product(ops, l, f->gram->n, n, first, rows, f->gram->n, n_rows, done, BLOCK, scratch);
        begin_block(&s, first ? done : NULL, n_rows);
        for (int j = 0; j < n; j++)
            solve_place(&s, l + j * f->gram->n + first, j, 0, j, rows + first, f->gram->n, n_rows);
        put_block(&s, n, rows + first, f->gram->n, n_rows);
    }
}

/* w L = y: from the last place on. */
static void backward(const struct ht__factor *f, const struct ht__ops *ops, float *rows, int64_t n_rows, float *scratch)
{
    float done[BESIDE * BLOCK] = {0};
    struct solving s;
    for (int64_t first = (f->gram->n - 1) / BLOCK * BLOCK; first >= 0; first -= BLOCK) {
        int n = (int)(f->gram->n - first < BLOCK ? f->gram->n - first : BLOCK);
        int64_t last = first + n;
        const float *u = f->root + first * f->gram->n;
        if (last < f->gram->n)
            ht__ops_product(ops, u + last, f->gram->n, n, f->gram->n - last, rows + last, f->gram->n, n_rows, done,
                            BLOCK, scratch);
        begin_block(&s, last < f->gram->n ? done : NULL, n_rows);
        for (int j = n - 1; j >= 0; j--)
            solve_place(&s, u + j * f->gram->n + first, j, j + 1, n, rows + first, f->gram->n, n_rows);
        put_block(&s, n, rows + first, f->gram->n, n_rows);
    }
}

void ht__factor_solve(const struct ht__factor *f, const struct ht__ops *ops, float *rows, int64_t n_rows,
                      float *scratch)
{
    for (int64_t r = 0; r < n_rows; r += BESIDE) {
        int64_t n = n_rows - r < BESIDE ? n_rows - r : BESIDE;
        forward(f, ops, rows + r * f->gram->n, n, scratch);
        backward(f, ops, rows + r * f->gram->n, n, scratch);
    }
}
