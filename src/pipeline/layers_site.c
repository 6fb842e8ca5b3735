/* What the layers driver sees of the activations. */
#include "pipeline/layers_parts.h"

#include <string.h>

/* ---- which sites a layer has ---- */

/* The last mark before what a site shows. */
static enum ht__mark mark_of(enum ht__site_kind kind)
{
    if (kind < HT__SITE_ATTENTION_OUT) return HT__MARK_START;
    if (kind == HT__SITE_ATTENTION_OUT) return HT__MARK_ATTENDED;
    return kind == HT__SITE_FEED_FORWARD_OUT ? HT__MARK_HIDDEN : HT__MARK_FEED;
}

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
    if (d->n_stages == HT__MOST_STAGES) return;
    struct ht__stage *stage = &d->stages[d->n_stages++];
    *stage = (struct ht__stage){.site = site, .first = weight, .mark = mark_of(site.kind)};
    while (!ht__layers_can_stop(d, site.layer, stage->mark))
        stage->mark--;
    stage->kept = stage->mark == HT__MARK_ATTENDED || stage->mark == HT__MARK_HIDDEN;
    stage->share = ht__engine_stream_share(d->engine, weight);
    stage->bias = ht__engine_stream_bias(d->engine, weight);
    if (stage->share != 0 && ht__engine_mark_width(d->engine, site.layer, HT__MARK_FEED) >= 0)
        stage->behind = site.kind == HT__SITE_ATTENTION_OUT ? HT__MARK_FEED : HT__MARK_END;
}

enum ht_err ht__layers_find(struct ht__layers *d, int layer, struct ht_diag *diag)
{
    size_t n = (size_t)d->cal.n_ctx * (size_t)d->n_embd;
    float *x = ht__new_array(d->plan->run.alloc, n, sizeof *x);
    if (!x) return ht__fail_memory(diag, "activations");
    memcpy(x, d->flow.x, n * sizeof *x);
    d->n_stages = 0;
    ht__engine_observe(d->engine, note_site, d);
    enum ht_err err = ht__engine_layer(d->engine, layer, x, 1, d->cal.n_ctx, diag);
    ht__engine_observe(d->engine, NULL, NULL);
    ht__free(d->plan->run.alloc, x);
    return err;
}

/* ---- statistics ---- */

/* Rows of one pass: what a site shows, and the residual stream before it; of the float model that behind it, where that is known. */
struct view {
    struct ht__engine *engine;
    const struct ht__weight *weight;
    const float *rows, *stream;
    float *copy[2]; /* of both, where they are observed */
    int64_t n_rows, n_in, n_stream;
    bool behind; /* the stream is that behind it: the layer goes on to there */
    bool seen;   /* in this pass */
};

static void watch(void *ctx, const struct ht__weight *weight, int64_t mat, const float *x, int64_t n_rows, int64_t n_in)
{
    struct view *v = ctx;
    if (weight != v->weight || mat != 0 || n_rows != v->n_rows) return;
    memcpy(v->copy[0], x, (size_t)(n_rows * n_in) * sizeof *x);
    v->seen = true;
    if (v->behind) return;
    if (v->n_stream) memcpy(v->copy[1], ht__engine_stream(v->engine), (size_t)(n_rows * v->n_stream) * sizeof *x);
    ht__engine_enough(v->engine);
}

struct look {
    struct ht__layers *d;
    struct ht__stage *stage;
    struct ht__site_stats *site;
    struct view f, q;
    float *rows[3]; /* of a pass without the tokens that are left out: f (NULL: not needed), q, r */
    int64_t n;
};

/* The first token of a chunk is left out: it is the same everywhere, and models send it activations like no others. */
static void gather(struct look *k, int seq)
{
    int64_t n_ctx = k->d->cal.n_ctx, from = seq * n_ctx + 1, n = n_ctx - 1, n_in = k->f.n_in, m = k->f.n_stream;
    const float *bias = k->f.behind ? k->stage->bias : NULL;
    float share = (float)k->stage->share;
    if (k->rows[0]) memcpy(k->rows[0] + k->n * n_in, k->f.rows + from * n_in, (size_t)(n * n_in) * sizeof(float));
    memcpy(k->rows[1] + k->n * n_in, k->q.rows + from * n_in, (size_t)(n * n_in) * sizeof(float));
    for (int64_t i = 0; i < n * m; i++)
        k->rows[2][k->n * m + i] = k->f.stream[from * m + i] - k->q.stream[from * m + i];
    for (int64_t i = 0; bias && i < n * m; i++)
        k->rows[2][k->n * m + i] -= share * bias[i % m];
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

static enum ht_err observe_view(struct look *k, struct view *v, struct ht__course *course, size_t chunk, int n_seqs,
                                struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    struct ht__flow *flow = course ? &course->flow : &d->flow;
    struct ht__stretch stretch = {.layer = k->stage->site.layer, .from = flow->mark, .to = HT__MARK_END};
    float *x = ht__layers_rows(d, flow->x, chunk);
    if (v->behind) {
        stretch.to = k->stage->behind;
        x = memcpy(v->copy[1], x, (size_t)n_seqs * (size_t)d->cal.n_ctx * (size_t)d->n_embd * sizeof *x);
    }
    v->rows = v->copy[0];
    v->stream = v->copy[1];
    v->n_rows = (int64_t)n_seqs * d->cal.n_ctx;
    v->seen = false;
    ht__engine_replace(d->engine, course ? ht__course_weight : NULL, course);
    ht__engine_observe(d->engine, watch, v);
    enum ht_err err = ht__engine_stretch(d->engine, &stretch, x, n_seqs, d->cal.n_ctx, diag);
    ht__engine_observe(d->engine, NULL, NULL);
    ht__engine_replace(d->engine, NULL, NULL);
    if (err != HT_OK || v->seen) return err;
    return ht__fail(diag, HT_ERR_UNSUPPORTED, v->weight->name, -1,
                    "not every token is multiplied with it: --effort best cannot choose its codes");
}

static enum ht_err one_view(struct look *k, struct view *v, struct ht__course *course, size_t chunk, int n_seqs,
                            struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    if (!k->stage->kept) return observe_view(k, v, course, chunk, n_seqs, diag);
    v->rows = d->rows[course ? 1 : 0] + (int64_t)chunk * d->cal.n_ctx * v->n_in;
    v->stream = ht__layers_rows(d, course ? course->flow.x : d->flow.x, chunk);
    return HT_OK;
}

static enum ht_err open_copies(struct look *k, struct ht__arena *arena, struct ht_diag *diag)
{
    size_t n = (size_t)k->d->cal.n_seqs * (size_t)k->d->cal.n_ctx, width = (size_t)k->f.n_in;
    for (int i = 0; i < 2 && width > 0; i++, width = (size_t)k->f.n_stream) {
        k->f.copy[i] = ht__arena_array(arena, n, width * sizeof(float));
        k->q.copy[i] = ht__arena_array(arena, n, width * sizeof(float));
        if (!k->f.copy[i] || !k->q.copy[i]) return ht__fail_memory(diag, "activations");
    }
    return HT_OK;
}

static enum ht_err open_look(struct look *k, struct ht__arena *arena, int64_t n_in, int64_t n_stream,
                             struct ht_diag *diag)
{
    size_t n = (size_t)k->d->cal.n_seqs * (size_t)k->d->cal.n_ctx;
    k->f.engine = k->q.engine = k->d->engine;
    k->f.weight = k->q.weight = k->stage->first;
    k->f.n_in = k->q.n_in = n_in;
    k->f.n_stream = k->q.n_stream = n_stream;
    if (!k->stage->kept) HT_TRY(open_copies(k, arena, diag));
    for (int i = k->f.behind ? 1 : 0; i < 3; i++) {
        size_t width = (size_t)(i < 2 ? n_in : n_stream);
        if (width && !(k->rows[i] = ht__arena_array(arena, n, width * sizeof(float))))
            return ht__fail_memory(diag, "activations");
    }
    return (k->f.behind ? ht__site_open_wanted : ht__site_open)(k->site, n_in, n_stream, ht__layers_most_held(k->d),
                                                                k->d->plan->run.alloc, diag);
}

static enum ht_err look(struct look *k, struct ht__course *course, struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    bool learns = d->plan->importance_later && !d->learnt && !k->stage->learnt;
    for (size_t chunk = 0; chunk < d->cal.windows.n; chunk += (size_t)d->cal.n_seqs) {
        int n = ht__layers_seqs(d, chunk);
        double done = (double)(chunk + (size_t)n) / (double)d->cal.windows.n;
        HT_TRY(one_view(k, &k->f, NULL, chunk, n, diag));
        HT_TRY(one_view(k, &k->q, course, chunk, n, diag));
        if (learns) ht__layers_learn_rows(d, k->stage, k->f.rows, (int64_t)n * d->cal.n_ctx);
        HT_TRY(add_pass(k, chunk, n, diag));
        HT_TRY(ht__layers_tell(d, 0.4 * done, k->f.weight->name, diag));
    }
    ht__site_finish(k->site);
    return learns ? ht__layers_learnt(d, k->stage, diag) : HT_OK;
}

enum ht_err ht__layers_look(struct ht__layers *d, struct ht__course *course, struct ht__stage *stage,
                            struct ht__site_stats *site, struct ht_diag *diag)
{
    struct look k = {.d = d, .stage = stage, .site = site, .f.behind = stage->behind != HT__MARK_START};
    struct ht__arena arena;
    ht__arena_init(&arena, d->plan->run.alloc);
    enum ht_err err = open_look(&k, &arena, stage->first->ne[0], stage->share != 0 ? d->n_embd : 0, diag);
    if (err == HT_OK) err = look(&k, course, diag);
    ht__arena_close(&arena);
    return err;
}

static enum ht_err look_at_end(struct look *k, const struct ht__course *course, struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    k->f.rows = k->f.copy[0];
    k->q.rows = k->q.copy[0];
    for (size_t chunk = 0; chunk < d->cal.windows.n; chunk += (size_t)d->cal.n_seqs) {
        int n = ht__layers_seqs(d, chunk);
        ht__engine_output_input(d->engine, ht__layers_rows(d, d->flow.x, chunk), n * d->cal.n_ctx, k->f.copy[0]);
        ht__engine_output_input(d->engine, ht__layers_rows(d, course->flow.x, chunk), n * d->cal.n_ctx, k->q.copy[0]);
        HT_TRY(add_pass(k, chunk, n, diag));
        HT_TRY(ht__layers_tell(d, (double)(chunk + (size_t)n) / (double)d->cal.windows.n, "output", diag));
    }
    ht__site_finish(k->site);
    return HT_OK;
}

enum ht_err ht__layers_look_at_end(struct ht__layers *d, const struct ht__course *course, struct ht__stage *stage,
                                   struct ht__site_stats *site, struct ht_diag *diag)
{
    struct look k = {.d = d, .stage = stage, .site = site};
    struct ht__arena arena;
    ht__arena_init(&arena, d->plan->run.alloc);
    enum ht_err err = open_look(&k, &arena, d->n_embd, 0, diag);
    if (err == HT_OK) err = look_at_end(&k, course, diag);
    ht__arena_close(&arena);
    return err;
}
