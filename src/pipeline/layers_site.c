/* What the layers driver sees of the activations. */
#include "pipeline/layers_parts.h"

#include <string.h>

/* ---- which sites a layer has ---- */

static void note_site(void *ctx, const struct ht__weight *weight, int64_t mat, const float *x, int64_t n_rows,
                      int64_t n_in)
{
    struct ht__layers *d = ctx;
    struct ht__site site = ht__slot_site(weight->slot);
    (void)mat;
    (void)x;
    (void)n_rows;
    (void)n_in;
    if (site.kind == HT__SITE_NONE) return;
    for (size_t i = 0; i < d->n_stages; i++)
        if (memcmp(&d->stages[i].site, &site, sizeof site) == 0) return;
    if (d->n_stages < HT__MOST_STAGES) d->stages[d->n_stages++] = (struct ht__stage){site, weight};
}

enum ht_err ht__layers_find(struct ht__layers *d, int layer, struct ht_diag *diag)
{
    size_t n = (size_t)d->cal.n_ctx * (size_t)d->n_embd;
    float *x = ht__new_array(d->plan->run.alloc, n, sizeof *x);
    if (!x) return ht__fail_memory(diag, "activations");
    memcpy(x, d->x, n * sizeof *x);
    d->n_stages = 0;
    ht__engine_observe(d->engine, note_site, d);
    enum ht_err err = ht__engine_layer(d->engine, layer, x, 1, d->cal.n_ctx, diag);
    ht__engine_observe(d->engine, NULL, NULL);
    ht__free(d->plan->run.alloc, x);
    return err;
}

/* ---- statistics ---- */

/* Rows of one pass: what a site shows, and the residual stream behind it. */
struct view {
    struct ht__engine *engine;
    const struct ht__weight *weight;
    float *rows, *stream;
    int64_t n_rows, n_in, n_stream;
    bool seen; /* in this pass */
};

static void watch(void *ctx, const struct ht__weight *weight, int64_t mat, const float *x, int64_t n_rows, int64_t n_in)
{
    struct view *v = ctx;
    if (weight != v->weight || mat != 0 || n_rows != v->n_rows) return;
    memcpy(v->rows, x, (size_t)(n_rows * n_in) * sizeof *x);
    if (v->n_stream) memcpy(v->stream, ht__engine_stream(v->engine), (size_t)(n_rows * v->n_stream) * sizeof *x);
    v->seen = true;
    ht__engine_enough(v->engine);
}

struct look {
    struct ht__layers *d;
    struct ht__site_stats *site;
    struct view f, q;
    float *rows[3]; /* of a pass without the tokens that are left out: f, q, r */
    int64_t n;
};

/* The first token of a chunk is left out: it is the same everywhere, and models send it activations like no others. */
static void gather(struct look *k, int seq)
{
    int64_t n_ctx = k->d->cal.n_ctx, from = seq * n_ctx + 1, n = n_ctx - 1, n_in = k->f.n_in, m = k->f.n_stream;
    memcpy(k->rows[0] + k->n * n_in, k->f.rows + from * n_in, (size_t)(n * n_in) * sizeof(float));
    memcpy(k->rows[1] + k->n * n_in, k->q.rows + from * n_in, (size_t)(n * n_in) * sizeof(float));
    for (int64_t i = 0; i < n * m; i++)
        k->rows[2][k->n * m + i] = k->f.stream[from * m + i] - k->q.stream[from * m + i];
    k->n += n;
}

static enum ht_err add_pass(struct look *k, size_t chunk, int n_seqs, struct ht_diag *diag)
{
    k->n = 0;
    for (int s = 0; s < n_seqs; s++)
        if (k->d->cal.windows.at[chunk + (size_t)s].held_out) gather(k, s);
    ht__site_hold(k->site, k->rows[0], k->rows[1], k->rows[2], k->n);
    k->n = 0;
    for (int s = 0; s < n_seqs; s++)
        if (!k->d->cal.windows.at[chunk + (size_t)s].held_out) gather(k, s);
    return ht__site_add(k->site, k->rows[0], k->rows[1], k->rows[2], k->n, k->d->ops, k->d->pool, diag);
}

static enum ht_err one_view(struct look *k, struct view *v, const struct ht__course *course, int layer, float *x,
                            int n_seqs, struct ht_diag *diag)
{
    v->n_rows = (int64_t)n_seqs * k->d->cal.n_ctx;
    v->seen = false;
    ht__engine_replace(k->d->engine, course ? ht__course_weight : NULL, (void *)(uintptr_t)course);
    ht__engine_observe(k->d->engine, watch, v);
    enum ht_err err = ht__engine_layer(k->d->engine, layer, x, n_seqs, k->d->cal.n_ctx, diag);
    ht__engine_observe(k->d->engine, NULL, NULL);
    ht__engine_replace(k->d->engine, NULL, NULL);
    if (err != HT_OK || v->seen) return err;
    return ht__fail(diag, HT_ERR_UNSUPPORTED, v->weight->name, -1,
                    "not every token is multiplied with it: --effort best cannot choose its codes");
}

static enum ht_err open_look(struct look *k, struct ht__arena *arena, int64_t n_in, int64_t n_stream,
                             struct ht_diag *diag)
{
    size_t n = (size_t)k->d->cal.n_seqs * (size_t)k->d->cal.n_ctx;
    float **rows[] = {&k->f.rows, &k->q.rows, &k->rows[0], &k->rows[1]};
    float **streams[] = {&k->f.stream, &k->q.stream, &k->rows[2]};
    k->f.engine = k->q.engine = k->d->engine;
    k->f.n_in = k->q.n_in = n_in;
    k->f.n_stream = k->q.n_stream = n_stream;
    for (size_t i = 0; i < 4; i++)
        if (!(*rows[i] = ht__arena_array(arena, n, (size_t)n_in * sizeof(float))))
            return ht__fail_memory(diag, "activations");
    for (size_t i = 0; i < 3 && n_stream; i++)
        if (!(*streams[i] = ht__arena_array(arena, n, (size_t)n_stream * sizeof(float))))
            return ht__fail_memory(diag, "activations");
    return ht__site_open(k->site, n_in, n_stream, HT__MOST_HELD, k->d->plan->run.alloc, diag);
}

static enum ht_err look(struct look *k, const struct ht__course *course, int layer, struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    for (size_t chunk = 0; chunk < d->cal.windows.n; chunk += (size_t)d->cal.n_seqs) {
        int n = ht__layers_seqs(d, chunk);
        HT_TRY(one_view(k, &k->f, NULL, layer, ht__layers_rows(d, d->x, chunk), n, diag));
        HT_TRY(one_view(k, &k->q, course, layer, ht__layers_rows(d, course->x, chunk), n, diag));
        HT_TRY(add_pass(k, chunk, n, diag));
        HT_TRY(ht__layers_tell(d, (double)(chunk + (size_t)n) / (double)d->cal.windows.n, k->f.weight->name, diag));
    }
    ht__site_finish(k->site);
    return HT_OK;
}

enum ht_err ht__layers_look(struct ht__layers *d, const struct ht__course *course, int layer,
                            const struct ht__stage *stage, double *share, struct ht__site_stats *site,
                            struct ht_diag *diag)
{
    struct look k = {.d = d, .site = site};
    struct ht__arena arena;
    k.f.weight = k.q.weight = stage->first;
    *share = ht__engine_stream_share(d->engine, stage->first);
    ht__arena_init(&arena, d->plan->run.alloc);
    enum ht_err err = open_look(&k, &arena, stage->first->ne[0], *share != 0 ? d->n_embd : 0, diag);
    if (err == HT_OK) err = look(&k, course, layer, diag);
    ht__arena_close(&arena);
    return err;
}

static enum ht_err look_at_end(struct look *k, const struct ht__course *course, struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    for (size_t chunk = 0; chunk < d->cal.windows.n; chunk += (size_t)d->cal.n_seqs) {
        int n = ht__layers_seqs(d, chunk);
        ht__engine_output_input(d->engine, ht__layers_rows(d, d->x, chunk), n * d->cal.n_ctx, k->f.rows);
        ht__engine_output_input(d->engine, ht__layers_rows(d, course->x, chunk), n * d->cal.n_ctx, k->q.rows);
        HT_TRY(add_pass(k, chunk, n, diag));
        HT_TRY(ht__layers_tell(d, (double)(chunk + (size_t)n) / (double)d->cal.windows.n, "output", diag));
    }
    ht__site_finish(k->site);
    return HT_OK;
}

enum ht_err ht__layers_look_at_end(struct ht__layers *d, const struct ht__course *course, struct ht__site_stats *site,
                                   struct ht_diag *diag)
{
    struct look k = {.d = d, .site = site};
    struct ht__arena arena;
    ht__arena_init(&arena, d->plan->run.alloc);
    enum ht_err err = open_look(&k, &arena, d->n_embd, 0, diag);
    if (err == HT_OK) err = look_at_end(&k, course, diag);
    ht__arena_close(&arena);
    return err;
}

enum ht_err ht__layers_carry(struct ht__layers *d, struct ht__course *course, float *x, int layer, struct ht_diag *diag)
{
    enum ht_err err = HT_OK;
    ht__engine_replace(d->engine, course ? ht__course_weight : NULL, course);
    for (size_t chunk = 0; err == HT_OK && chunk < d->cal.windows.n; chunk += (size_t)d->cal.n_seqs) {
        int n = ht__layers_seqs(d, chunk);
        err = ht__engine_layer(d->engine, layer, ht__layers_rows(d, x, chunk), n, d->cal.n_ctx, diag);
        if (err == HT_OK) err = ht__layers_tell(d, (double)(chunk + (size_t)n) / (double)d->cal.windows.n, "", diag);
    }
    ht__engine_replace(d->engine, NULL, NULL);
    return err;
}
