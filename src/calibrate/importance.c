/* The sums. */
#include "calibrate/importance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COLUMNS = 256,           /* a task's: their sums stay in the fastest cache over all rows */
    WORTH_SHARING = 1 << 18, /* squares: waking threads costs more below */
};

enum ht_err ht__importance_open(struct ht__importance *imp, int n_threads, const struct ht__alloc *alloc,
                                struct ht_diag *diag)
{
    *imp = (struct ht__importance){.alloc = alloc};
    ht__arena_init(&imp->arena, alloc);
    ht__map_init(&imp->by_name, alloc);
    return ht__pool_open(n_threads, alloc, &imp->pool, diag);
}

void ht__importance_close(struct ht__importance *imp)
{
    ht__pool_close(&imp->pool);
    ht__free(imp->alloc, imp->items);
    ht__map_close(&imp->by_name);
    ht__arena_close(&imp->arena);
    *imp = (struct ht__importance){0};
}

static struct ht__sums *find(const struct ht__importance *imp, const char *name)
{
    const uint32_t *at = ht__map_get(&imp->by_name, name, strlen(name));
    return at ? &imp->items[*at] : NULL;
}

/* NULL when memory is out: `failed` is set then. */
static struct ht__sums *add(struct ht__importance *imp, const struct ht__sums *like)
{
    if (imp->n == imp->cap) {
        size_t cap = imp->cap ? imp->cap * 2 : 64;
        struct ht__sums *items = ht__resize(imp->alloc, imp->items, cap * sizeof *items);
        if (items) {
            imp->items = items;
            imp->cap = cap;
        }
    }
    uint64_t n = like->n_cols * like->n_mat;
    struct ht__sums s = *like;
    s.name = ht__arena_str(&imp->arena, like->name);
    s.sums = ht__arena_array(&imp->arena, (size_t)n, sizeof(double));
    s.counts = ht__arena_array(&imp->arena, (size_t)s.n_counts, sizeof(double));
    if (imp->n == imp->cap || !s.name || !s.sums || !s.counts ||
        ht__map_put(&imp->by_name, s.name, strlen(s.name), (uint32_t)imp->n) != HT__MAP_NEW) {
        imp->failed = true;
        return NULL;
    }
    imp->items[imp->n] = s;
    return &imp->items[imp->n++];
}

/* "blk.7.…" gives 7; -1: of no layer. */
static int layer_of(const char *name)
{
    return strncmp(name, "blk.", 4) == 0 ? atoi(name + 4) : -1;
}

static bool is_wanted(const struct ht__importance *imp, const char *name)
{
    int layer = layer_of(name);
    return layer >= 0 ? layer >= imp->skip_layers : imp->process_output && strcmp(name, "output.weight") == 0;
}

struct rows {
    const float *x;
    int64_t n_rows, n_in;
    double *sums;
};

/* In the order of the rows, whatever the columns' grouping: each column's sum is its own. */
static void add_columns(void *ctx, int64_t task, int thread)
{
    const struct rows *r = ctx;
    (void)thread;
    int64_t first = task * COLUMNS, n = r->n_in - first < COLUMNS ? r->n_in - first : COLUMNS;
    double sum[COLUMNS];
    memcpy(sum, r->sums + first, (size_t)n * sizeof *sum);
    for (int64_t t = 0; t < r->n_rows; t++) {
        const float *x = r->x + t * r->n_in + first;
        for (int64_t j = 0; j < n; j++)
            sum[j] += (double)x[j] * (double)x[j];
    }
    memcpy(r->sums + first, sum, (size_t)n * sizeof *sum);
}

void ht__importance_add(void *ctx, const struct ht__weight *weight, int64_t mat, const float *x, int64_t n_rows,
                        int64_t n_in)
{
    struct ht__importance *imp = ctx;
    if (imp->failed || !is_wanted(imp, weight->name)) return;
    struct ht__sums *s = find(imp, weight->name);
    if (!s) {
        uint64_t n_mat = (uint64_t)weight->ne[2];
        bool experts = strstr(weight->name, "_exps.") != NULL;
        struct ht__sums like = {.name = weight->name, .n_cols = (uint64_t)n_in, .n_mat = n_mat, .n_counts = experts ? n_mat : 1};
        s = add(imp, &like);
        if (!s) return;
    }
    struct rows r = {x, n_rows, n_in, s->sums + mat * n_in};
    int64_t tasks = (n_in + COLUMNS - 1) / COLUMNS;
    if (n_rows * n_in >= WORTH_SHARING)
        ht__pool_run(imp->pool, tasks, add_columns, &r);
    else
        for (int64_t i = 0; i < tasks; i++)
            add_columns(&r, i, 0);
    /* matrices with one count for all (heads) are given one after the other: the first one counts */
    if (s->n_counts == s->n_mat)
        s->counts[mat] += (double)n_rows;
    else if (mat == 0)
        s->counts[0] += (double)n_rows;
}

/* A count for each expert, where a file had one for all. */
static bool spread_counts(struct ht__importance *imp, struct ht__sums *s, const struct ht__sums *like)
{
    double *counts = ht__arena_array(&imp->arena, (size_t)like->n_counts, sizeof *counts);
    for (uint64_t i = 0; counts && i < like->n_counts; i++)
        counts[i] = s->counts[0];
    if (!counts) return false;
    s->counts = counts;
    s->n_counts = like->n_counts;
    s->n_mat = like->n_mat;
    s->n_cols = like->n_cols;
    return true;
}

enum ht_err ht__importance_merge(struct ht__importance *imp, const struct ht__sums_file *file, const char *where,
                                 struct ht_diag *diag)
{
    for (size_t i = 0; i < file->n; i++) {
        const struct ht__sums *from = &file->items[i];
        uint64_t n = from->n_cols * from->n_mat;
        struct ht__sums *to = find(imp, from->name);
        if (!to) to = add(imp, from);
        if (!to) return ht__fail_memory(diag, where);
        if (to->n_cols * to->n_mat != n || (to->n_counts > 1 && from->n_counts > 1 && to->n_counts != from->n_counts))
            return ht__fail(diag, HT_ERR_FORMAT, where, -1,
                            "%s: %llu sums, but %llu elsewhere: was it collected from another model?", from->name,
                            (unsigned long long)n, (unsigned long long)(to->n_cols * to->n_mat));
        if (from->n_counts > to->n_counts && !spread_counts(imp, to, from)) return ht__fail_memory(diag, where);
        for (uint64_t k = 0; k < n; k++)
            to->sums[k] += from->sums[k];
        for (uint64_t k = 0; k < to->n_counts; k++)
            to->counts[k] += from->counts[from->n_counts == 1 ? 0 : k];
    }
    return HT_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ht__sums *)a)->name, ((const struct ht__sums *)b)->name);
}

void ht__importance_list(struct ht__importance *imp, struct ht__sums_file *out)
{
    if (imp->n) qsort(imp->items, imp->n, sizeof *imp->items, by_name);
    for (size_t i = 0; i < imp->n; i++)
        *ht__map_get(&imp->by_name, imp->items[i].name, strlen(imp->items[i].name)) = (uint32_t)i;
    *out = (struct ht__sums_file){.n = imp->n, .items = imp->items};
}

uint32_t ht__importance_chunks(const struct ht__importance *imp, uint32_t chunk_size)
{
    double most = 0;
    for (size_t i = 0; i < imp->n; i++)
        for (uint64_t k = 0; k < imp->items[i].n_counts; k++)
            if (imp->items[i].counts[k] > most) most = imp->items[i].counts[k];
    double chunks = chunk_size ? most / chunk_size : 0;
    return chunks < (double)UINT32_MAX ? (uint32_t)chunks : UINT32_MAX;
}
