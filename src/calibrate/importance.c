/* The sums. */
#include "calibrate/importance.h"

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
    ht__map_init(&imp->by_site, alloc);
    return ht__pool_open(n_threads, alloc, &imp->pool, diag);
}

void ht__importance_close(struct ht__importance *imp)
{
    ht__pool_close(&imp->pool);
    ht__free(imp->alloc, imp->weights);
    ht__free(imp->alloc, imp->sites);
    ht__free(imp->alloc, imp->listed);
    ht__map_close(&imp->by_name);
    ht__map_close(&imp->by_site);
    ht__arena_close(&imp->arena);
    *imp = (struct ht__importance){0};
}

/* ---- weights and sites ---- */

static struct ht__importance_weight *find(const struct ht__importance *imp, const char *name)
{
    const uint32_t *at = ht__map_get(&imp->by_name, name, strlen(name));
    return at ? &imp->weights[*at] : NULL;
}

static struct ht__site_sums *find_site(const struct ht__importance *imp, const struct ht__site *site)
{
    const uint32_t *at = ht__map_get(&imp->by_site, (const char *)site, sizeof *site);
    return at ? &imp->sites[*at] : NULL;
}

/* Sums of the shape of `like`, and its values where it has some. NULL: no memory. */
static struct ht__site_sums *add_sums(struct ht__importance *imp, const struct ht__sums *like)
{
    if (imp->n_sites == imp->cap_sites) {
        size_t cap = imp->cap_sites ? imp->cap_sites * 2 : 64;
        struct ht__site_sums *sites = ht__resize(imp->alloc, imp->sites, cap * sizeof *sites);
        if (!sites) return NULL;
        imp->sites = sites;
        imp->cap_sites = cap;
    }
    size_t n = (size_t)(like->n_cols * like->n_mat);
    struct ht__sums s = *like;
    s.name = NULL;
    s.sums = ht__arena_array(&imp->arena, n, sizeof(double));
    s.counts = ht__arena_array(&imp->arena, (size_t)s.n_counts, sizeof(double));
    if (!s.sums || !s.counts) return NULL;
    if (like->sums) memcpy(s.sums, like->sums, n * sizeof(double));
    if (like->counts) memcpy(s.counts, like->counts, (size_t)s.n_counts * sizeof(double));
    imp->sites[imp->n_sites] = (struct ht__site_sums){.site = {-1, HT__SITE_NONE, -1}, .sums = s};
    return &imp->sites[imp->n_sites++];
}

static struct ht__site_sums *add_site(struct ht__importance *imp, const struct ht__site *site,
                                      const struct ht__sums *like)
{
    const char *key = ht__arena_copy(&imp->arena, (const char *)site, sizeof *site);
    struct ht__site_sums *s = key ? add_sums(imp, like) : NULL;
    if (!s) return NULL;
    s->site = *site;
    uint32_t at = (uint32_t)(s - imp->sites);
    return ht__map_put(&imp->by_site, key, sizeof *site, at) == HT__MAP_NEW ? s : NULL;
}

static bool add_weight(struct ht__importance *imp, const char *name, struct ht__site_sums *s)
{
    if (imp->n == imp->cap) {
        size_t cap = imp->cap ? imp->cap * 2 : 64;
        struct ht__importance_weight *weights = ht__resize(imp->alloc, imp->weights, cap * sizeof *weights);
        if (!weights) return false;
        imp->weights = weights;
        imp->cap = cap;
    }
    const char *copy = ht__arena_str(&imp->arena, name);
    if (!copy || ht__map_put(&imp->by_name, copy, strlen(copy), (uint32_t)imp->n) != HT__MAP_NEW) return false;
    imp->weights[imp->n++] = (struct ht__importance_weight){copy, (uint32_t)(s - imp->sites)};
    s->n_weights++;
    return true;
}

/* ---- adding rows ---- */

static bool is_wanted(const struct ht__importance *imp, struct ht__slot slot)
{
    return slot.layer >= 0 ? slot.layer >= imp->skip_layers : imp->process_output && ht__slot_is(slot, HT__ROLE_OUTPUT);
}

/* What a weight's sums look like, empty. */
static struct ht__sums sums_of(const struct ht__weight *w)
{
    uint64_t n_mat = (uint64_t)w->ne[2];
    return (struct ht__sums){
        .n_cols = (uint64_t)w->ne[0], .n_mat = n_mat, .n_counts = ht__slot_of_experts(w->slot) ? n_mat : 1};
}

/* NULL where the rows are not to be added, or memory is out: `failed` is set then. */
static struct ht__sums *sums_for(struct ht__importance *imp, const struct ht__weight *weight)
{
    struct ht__site site = ht__slot_site(weight->slot);
    if (site.kind == HT__SITE_NONE || !is_wanted(imp, weight->slot)) return NULL;
    struct ht__sums like = sums_of(weight);
    struct ht__site_sums *s = find_site(imp, &site);
    if (!s) s = add_site(imp, &site, &like);
    if (!s || (!find(imp, weight->name) && !add_weight(imp, weight->name, s))) {
        imp->failed = true;
        return NULL;
    }
    if (!s->adding) s->adding = weight;
    return s->adding == weight ? &s->sums : NULL;
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
    struct ht__sums *s = imp->failed ? NULL : sums_for(imp, weight);
    if (!s) return;
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

/* ---- files ---- */

static const struct ht__weight *weight_of(const struct ht__model *model, const char *name)
{
    for (size_t i = 0; i < model->n_weights; i++)
        if (strcmp(model->weights[i].name, name) == 0) return &model->weights[i];
    return NULL;
}

/* Of the weights of a site each has the same sums in the file. */
static enum ht_err resume_weight(struct ht__importance *imp, const struct ht__weight *weight,
                                 const struct ht__sums *from, const char *where, struct ht_diag *diag)
{
    struct ht__sums s = weight ? sums_of(weight) : (struct ht__sums){0};
    struct ht__site site = weight ? ht__slot_site(weight->slot) : (struct ht__site){0};
    uint64_t n = from->n_cols * from->n_mat;
    if (site.kind == HT__SITE_NONE || n != s.n_cols * s.n_mat || from->n_counts != s.n_counts)
        return ht__fail(diag, HT_ERR_FORMAT, where, -1,
                        "%s: these sums are not of the model; run without --resume to start again", from->name);
    s.sums = from->sums;
    s.counts = from->counts;
    struct ht__site_sums *to = find_site(imp, &site);
    if (to && (memcmp(to->sums.sums, s.sums, (size_t)n * sizeof(double)) != 0 ||
               memcmp(to->sums.counts, s.counts, (size_t)s.n_counts * sizeof(double)) != 0))
        return ht__fail(
            diag, HT_ERR_FORMAT, where, -1,
            "%s: other sums than those of a weight with the same input; run without --resume to start again",
            from->name);
    if (!to) to = add_site(imp, &site, &s);
    return to && add_weight(imp, weight->name, to) ? HT_OK : ht__fail_memory(diag, where);
}

enum ht_err ht__importance_resume(struct ht__importance *imp, const struct ht__model *model,
                                  const struct ht__sums_file *file, const char *where, struct ht_diag *diag)
{
    for (size_t i = 0; i < file->n; i++)
        HT_TRY(resume_weight(imp, weight_of(model, file->items[i].name), &file->items[i], where, diag));
    return HT_OK;
}

static enum ht_err add_group_site(struct ht__importance *imp, const struct ht__site_sums *from, struct ht_diag *diag)
{
    struct ht__sums empty = from->sums;
    struct ht__site_sums *to = find_site(imp, &from->site);
    empty.sums = empty.counts = NULL;
    if (!to) to = add_site(imp, &from->site, &empty);
    if (!to) return ht__fail_memory(diag, "importance");
    for (uint64_t i = 0; i < empty.n_cols * empty.n_mat; i++)
        to->sums.sums[i] += from->sums.sums[i];
    for (uint64_t i = 0; i < empty.n_counts; i++)
        to->sums.counts[i] += from->sums.counts[i];
    return HT_OK;
}

enum ht_err ht__importance_add_group(struct ht__importance *imp, const struct ht__importance *group,
                                     struct ht_diag *diag)
{
    for (size_t i = 0; i < group->n_sites; i++)
        HT_TRY(add_group_site(imp, &group->sites[i], diag));
    for (size_t i = 0; i < group->n; i++) {
        const struct ht__importance_weight *w = &group->weights[i];
        if (find(imp, w->name)) continue;
        if (!add_weight(imp, w->name, find_site(imp, &group->sites[w->site].site)))
            return ht__fail_memory(diag, "importance");
    }
    return HT_OK;
}

/* A weight's sums, which are no other's: they are about to become different. */
static struct ht__sums *own_sums(struct ht__importance *imp, const char *name, const struct ht__sums *like)
{
    struct ht__importance_weight *w = find(imp, name);
    if (w && imp->sites[w->site].n_weights == 1) return &imp->sites[w->site].sums;
    struct ht__sums empty = *like, shared;
    empty.sums = empty.counts = NULL;
    if (w) shared = imp->sites[w->site].sums; /* the array of sites may move */
    struct ht__site_sums *own = add_sums(imp, w ? &shared : &empty);
    if (!own) return NULL;
    if (!w) return add_weight(imp, name, own) ? &own->sums : NULL;
    imp->sites[w->site].n_weights--;
    w->site = (uint32_t)(own - imp->sites);
    own->n_weights = 1;
    return &own->sums;
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

static enum ht_err merge_weight(struct ht__importance *imp, const struct ht__sums *from, const char *where,
                                struct ht_diag *diag)
{
    uint64_t n = from->n_cols * from->n_mat;
    struct ht__sums *to = own_sums(imp, from->name, from);
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
    return HT_OK;
}

enum ht_err ht__importance_merge(struct ht__importance *imp, const struct ht__sums_file *file, const char *where,
                                 struct ht_diag *diag)
{
    for (size_t i = 0; i < file->n; i++)
        HT_TRY(merge_weight(imp, &file->items[i], where, diag));
    return HT_OK;
}

struct ht__sums ht__importance_at(const struct ht__importance *imp, size_t i)
{
    struct ht__sums s = imp->sites[imp->weights[i].site].sums;
    s.name = imp->weights[i].name;
    return s;
}

bool ht__importance_find(const struct ht__importance *imp, const char *name, struct ht__sums *sums)
{
    const struct ht__importance_weight *w = find(imp, name);
    if (w) *sums = ht__importance_at(imp, (size_t)(w - imp->weights));
    return w != NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ht__importance_weight *)a)->name, ((const struct ht__importance_weight *)b)->name);
}

enum ht_err ht__importance_list(struct ht__importance *imp, struct ht__sums_file *out, struct ht_diag *diag)
{
    *out = (struct ht__sums_file){0};
    if (imp->n == 0) return HT_OK;
    struct ht__sums *listed = ht__resize(imp->alloc, imp->listed, imp->n * sizeof *listed);
    if (!listed) return ht__fail_memory(diag, "importance");
    imp->listed = listed;
    qsort(imp->weights, imp->n, sizeof *imp->weights, by_name);
    for (size_t i = 0; i < imp->n; i++) {
        *ht__map_get(&imp->by_name, imp->weights[i].name, strlen(imp->weights[i].name)) = (uint32_t)i;
        listed[i] = ht__importance_at(imp, i);
    }
    *out = (struct ht__sums_file){.n = imp->n, .items = listed};
    return HT_OK;
}

uint32_t ht__importance_chunks(const struct ht__importance *imp, uint32_t chunk_size)
{
    double most = 0;
    for (size_t i = 0; i < imp->n_sites; i++)
        for (uint64_t k = 0; k < imp->sites[i].sums.n_counts; k++)
            if (imp->sites[i].sums.counts[k] > most) most = imp->sites[i].sums.counts[k];
    double chunks = chunk_size ? most / chunk_size : 0;
    return chunks < (double)UINT32_MAX ? (uint32_t)chunks : UINT32_MAX;
}
