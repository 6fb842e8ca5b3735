#include "methods/factor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL = 64, LANES = 8, TASK_ROWS = 16, DEPTH = 256 };

/* ---- Cholesky, in double: the panel of columns [first, last) is finished before the next ---- */

struct panel {
    const struct ht__ops *ops;
    double *a;
    int64_t n, first, last;
};

static double sum_lanes(const double *lanes)
{
    double sum = 0;
    for (int j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

/* In a fixed order of sums, that compilers make vectors of. */
static double dot(const double *a, const double *b, int64_t n)
{
    double lanes[LANES] = {0}, sum;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] += a[i + j] * b[i + j];
    sum = sum_lanes(lanes);
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* What the columns before the panel leave of some rows of it, in the same order; DEPTH of them at a time, so that they
 * stay in the cache. What lies above the diagonal is written too: nobody reads it. */
static void update_rows(void *ctx, int64_t task, int thread)
{
    const struct panel *p = ctx;
    int64_t row = p->first + task * TASK_ROWS, n = p->n - row < TASK_ROWS ? p->n - row : TASK_ROWS;
    int64_t columns = p->last - p->first;
    double *mine = p->a + row * p->n, lanes[TASK_ROWS * PANEL * LANES];
    (void)thread;
    memset(lanes, 0, (size_t)(n * columns) * LANES * sizeof *lanes);
    for (int64_t k = 0; k < p->first; k += DEPTH) {
        int64_t depth = p->first - k < DEPTH ? p->first - k : DEPTH;
        p->ops->add_products(lanes, mine + k, p->n, n, p->a + p->first * p->n + k, p->n, columns, depth);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < columns; j++)
            mine[i * p->n + p->first + j] -= sum_lanes(lanes + (i * columns + j) * LANES);
}

static bool factor_square(const struct panel *p)
{
    for (int64_t j = p->first; j < p->last; j++) {
        double *row = p->a + j * p->n, d = row[j] - dot(row + p->first, row + p->first, j - p->first);
        if (!(d > 0) || !isfinite(d)) return false;
        row[j] = sqrt(d);
        for (int64_t i = j + 1; i < p->last; i++) {
            double *other = p->a + i * p->n;
            other[j] = (other[j] - dot(other + p->first, row + p->first, j - p->first)) / row[j];
        }
    }
    return true;
}

static void solve_row(void *ctx, int64_t task, int thread)
{
    const struct panel *p = ctx;
    double *mine = p->a + (p->last + task) * p->n;
    (void)thread;
    for (int64_t j = p->first; j < p->last; j++) {
        const double *row = p->a + j * p->n;
        mine[j] = (mine[j] - dot(mine + p->first, row + p->first, j - p->first)) / row[j];
    }
}

/* In place, the lower half. False: it is not positive definite. */
static bool cholesky(double *a, int64_t n, struct ht__pool *pool)
{
    const struct ht__ops *ops = ht__ops(ht__cpu_best());
    for (int64_t first = 0; first < n; first += PANEL) {
        struct panel p = {ops, a, n, first, first + PANEL < n ? first + PANEL : n};
        if (first) ht__pool_run(pool, (n - first + TASK_ROWS - 1) / TASK_ROWS, update_rows, &p);
        if (!factor_square(&p)) return false;
        if (p.last < n) ht__pool_run(pool, n - p.last, solve_row, &p);
    }
    return true;
}

/* ---- order and damping ---- */

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

static double largest(const struct ht__factor *f, const double *gram, int64_t first, int64_t n)
{
    double most = 0;
    for (int64_t i = first; i < first + n && i < f->n; i++)
        most = fmax(most, gram[i * f->n + i]);
    return most;
}

static struct by_size size_of(const struct ht__factor *f, const double *gram, int64_t i, struct ht__order order)
{
    struct by_size size = {.column = (int32_t)i};
    if (order.kind != HT__ORDER_NATURAL) size.diagonal = gram[i * f->n + i];
    if (order.kind == HT__ORDER_GROUP) {
        size.first = (int32_t)(i / order.group * order.group);
        size.group = largest(f, gram, size.first, order.group);
    }
    return size;
}

static enum ht_err order_columns(struct ht__factor *f, const double *gram, struct ht__order order, struct ht_diag *diag)
{
    struct by_size *all = ht__new_array(f->alloc, (size_t)f->n, sizeof *all);
    if (!all) return ht__fail_memory(diag, "factor");
    for (int64_t i = 0; i < f->n; i++)
        all[i] = size_of(f, gram, i, order);
    qsort(all, (size_t)f->n, sizeof *all, compare);
    for (int64_t i = 0; i < f->n; i++)
        f->place[f->column[i] = all[i].column] = (int32_t)i;
    ht__free(f->alloc, all);
    return HT_OK;
}

static double mean_diagonal(const double *gram, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += gram[i * n + i];
    return sum / (double)n;
}

static void arrange(const struct ht__factor *f, const double *gram, double *a)
{
    for (int64_t i = 0; i < f->n; i++) {
        const double *row = gram + (int64_t)f->column[i] * f->n;
        for (int64_t j = 0; j < f->n; j++)
            a[i * f->n + j] = row[f->column[j]];
        a[i * f->n + i] += f->damping;
    }
}

static void keep(struct ht__factor *f, const double *a)
{
    for (int64_t i = 0; i < f->n; i++)
        for (int64_t j = 0; j <= i; j++)
            f->lower[i * f->n + j] = f->upper[j * f->n + i] = (float)a[i * f->n + j];
}

static enum ht_err make(struct ht__factor *f, const double *gram, double *a, struct ht__pool *pool,
                        struct ht_diag *diag)
{
    enum { TRIES = 8 };
    for (int i = 0; i < TRIES; i++, f->damping *= 10) {
        arrange(f, gram, a);
        for (int64_t k = 0; i == 0 && k < f->n * f->n; k++)
            f->gram[k] = (float)a[k];
        if (cholesky(a, f->n, pool)) {
            keep(f, a);
            for (int64_t k = 0; k < f->n; k++)
                f->gram[k * f->n + k] = (float)(gram[(int64_t)f->column[k] * (f->n + 1)] + f->damping);
            return HT_OK;
        }
    }
    return ht__fail(diag, HT_ERR_NONFINITE, "calibration", -1, "the Gram matrix of a site cannot be factored");
}

enum ht_err ht__factor_open(struct ht__factor *f, const double *gram, int64_t n, double damping, struct ht__order order,
                            struct ht__pool *pool, const struct ht__alloc *alloc, struct ht_diag *diag)
{
    double mean = mean_diagonal(gram, n);
    size_t size = (size_t)n * sizeof(float);
    *f = (struct ht__factor){.alloc = alloc, .n = n, .damping = mean > 0 ? damping * mean : 1};
    f->column = ht__new_array(alloc, (size_t)n, sizeof *f->column);
    f->place = ht__new_array(alloc, (size_t)n, sizeof *f->place);
    f->gram = ht__new_array(alloc, (size_t)n, size);
    f->lower = ht__new_array(alloc, (size_t)n, size);
    f->upper = ht__new_array(alloc, (size_t)n, size);
    double *a = ht__new_array(alloc, (size_t)n, (size_t)n * sizeof *a);
    enum ht_err err =
        a && f->column && f->place && f->gram && f->lower && f->upper ? HT_OK : ht__fail_memory(diag, "factor");
    if (err == HT_OK) err = order_columns(f, gram, order, diag);
    if (err == HT_OK) err = make(f, gram, a, pool, diag);
    ht__free(alloc, a);
    return err;
}

void ht__factor_close(struct ht__factor *f)
{
    ht__free(f->alloc, f->column);
    ht__free(f->alloc, f->place);
    ht__free(f->alloc, f->gram);
    ht__free(f->alloc, f->lower);
    ht__free(f->alloc, f->upper);
    *f = (struct ht__factor){.alloc = f->alloc};
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
    for (int64_t first = 0; first < f->n; first += BLOCK) {
        int n = (int)(f->n - first < BLOCK ? f->n - first : BLOCK);
        const float *l = f->lower + first * f->n;
        if (first) ht__ops_product(ops, l, f->n, n, first, rows, f->n, n_rows, done, BLOCK, scratch);
        begin_block(&s, first ? done : NULL, n_rows);
        for (int j = 0; j < n; j++)
            solve_place(&s, l + j * f->n + first, j, 0, j, rows + first, f->n, n_rows);
        put_block(&s, n, rows + first, f->n, n_rows);
    }
}

/* w L = y: from the last place on. */
static void backward(const struct ht__factor *f, const struct ht__ops *ops, float *rows, int64_t n_rows, float *scratch)
{
    float done[BESIDE * BLOCK] = {0};
    struct solving s;
    for (int64_t first = (f->n - 1) / BLOCK * BLOCK; first >= 0; first -= BLOCK) {
        int n = (int)(f->n - first < BLOCK ? f->n - first : BLOCK);
        int64_t last = first + n;
        const float *u = f->upper + first * f->n;
        if (last < f->n)
            ht__ops_product(ops, u + last, f->n, n, f->n - last, rows + last, f->n, n_rows, done, BLOCK, scratch);
        begin_block(&s, last < f->n ? done : NULL, n_rows);
        for (int j = n - 1; j >= 0; j--)
            solve_place(&s, u + j * f->n + first, j, j + 1, n, rows + first, f->n, n_rows);
        put_block(&s, n, rows + first, f->n, n_rows);
    }
}

void ht__factor_solve(const struct ht__factor *f, const struct ht__ops *ops, float *rows, int64_t n_rows,
                      float *scratch)
{
    for (int64_t r = 0; r < n_rows; r += BESIDE) {
        int64_t n = n_rows - r < BESIDE ? n_rows - r : BESIDE;
        forward(f, ops, rows + r * f->n, n, scratch);
        backward(f, ops, rows + r * f->n, n, scratch);
    }
}
