#include "methods/factor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL = 64, LANES = 8 };

/* ---- Cholesky, in double: the panel of columns [first, last) is finished before the next ---- */

struct panel {
    double *a;
    int64_t n, first, last;
};

/* In a fixed order of sums, that compilers make vectors of. */
static double dot(const double *a, const double *b, int64_t n)
{
    double lanes[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] += a[i + j] * b[i + j];
    for (int j = 0; j < LANES; j++)
        sum += lanes[j];
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* What the columns before the panel leave of a row of it. */
static void update_row(void *ctx, int64_t task, int thread)
{
    const struct panel *p = ctx;
    int64_t row = p->first + task;
    double *mine = p->a + row * p->n;
    int64_t last = row + 1 < p->last ? row + 1 : p->last;
    (void)thread;
    for (int64_t j = p->first; j < last; j++)
        mine[j] -= dot(mine, p->a + j * p->n, p->first);
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
    for (int64_t first = 0; first < n; first += PANEL) {
        struct panel p = {a, n, first, first + PANEL < n ? first + PANEL : n};
        if (first) ht__pool_run(pool, n - first, update_row, &p);
        if (!factor_square(&p)) return false;
        if (p.last < n) ht__pool_run(pool, n - p.last, solve_row, &p);
    }
    return true;
}

/* ---- order and damping ---- */

struct by_size {
    double diagonal;
    int32_t column;
};

/* Ascending; equal ones in the order of the columns. */
static int compare(const void *a, const void *b)
{
    const struct by_size *x = a, *y = b;
    if (x->diagonal != y->diagonal) return x->diagonal < y->diagonal ? -1 : 1;
    return x->column < y->column ? 1 : -1;
}

static enum ht_err order_columns(struct ht__factor *f, const double *gram, struct ht_diag *diag)
{
    struct by_size *all = ht__new_array(f->alloc, (size_t)f->n, sizeof *all);
    if (!all) return ht__fail_memory(diag, "factor");
    for (int64_t i = 0; i < f->n; i++)
        all[i] = (struct by_size){gram[i * f->n + i], (int32_t)i};
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

enum ht_err ht__factor_open(struct ht__factor *f, const double *gram, int64_t n, double damping, struct ht__pool *pool,
                            const struct ht__alloc *alloc, struct ht_diag *diag)
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
    if (err == HT_OK) err = order_columns(f, gram, diag);
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

enum { BLOCK = HT__MATMUL_ROWS };

/* y L' = b: from the first place on. */
static void forward(const struct ht__factor *f, const struct ht__ops *ops, float *rows, int64_t n_rows, float *scratch)
{
    float done[64 * BLOCK];
    for (int64_t first = 0; first < f->n; first += BLOCK) {
        int64_t last = first + BLOCK < f->n ? first + BLOCK : f->n;
        const float *l = f->lower + first * f->n;
        if (first) ht__ops_product(ops, l, f->n, last - first, first, rows, f->n, n_rows, done, BLOCK, scratch);
        for (int64_t r = 0; r < n_rows; r++)
            for (int64_t j = first; j < last; j++) {
                float *y = rows + r * f->n, sum = first ? done[r * BLOCK + j - first] : 0;
                for (int64_t k = first; k < j; k++)
                    sum += y[k] * f->lower[j * f->n + k];
                y[j] = (y[j] - sum) / f->lower[j * f->n + j];
            }
    }
}

/* w L = y: from the last place on. */
static void backward(const struct ht__factor *f, const struct ht__ops *ops, float *rows, int64_t n_rows, float *scratch)
{
    float done[64 * BLOCK];
    for (int64_t first = (f->n - 1) / BLOCK * BLOCK; first >= 0; first -= BLOCK) {
        int64_t last = first + BLOCK < f->n ? first + BLOCK : f->n;
        if (last < f->n)
            ht__ops_product(ops, f->upper + first * f->n + last, f->n, last - first, f->n - last, rows + last, f->n,
                            n_rows, done, BLOCK, scratch);
        for (int64_t r = 0; r < n_rows; r++)
            for (int64_t j = last - 1; j >= first; j--) {
                float *w = rows + r * f->n, sum = last < f->n ? done[r * BLOCK + j - first] : 0;
                for (int64_t k = j + 1; k < last; k++)
                    sum += w[k] * f->upper[j * f->n + k];
                w[j] = (w[j] - sum) / f->upper[j * f->n + j];
            }
    }
}

void ht__factor_solve(const struct ht__factor *f, const struct ht__ops *ops, float *rows, int64_t n_rows,
                      float *scratch)
{
    for (int64_t r = 0; r < n_rows; r += 64) {
        int64_t n = n_rows - r < 64 ? n_rows - r : 64;
        forward(f, ops, rows + r * f->n, n, scratch);
        backward(f, ops, rows + r * f->n, n, scratch);
    }
}
