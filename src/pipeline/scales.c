/* The search for scales: the float model and its layers with some matrices rounded, on a few windows of the text. */
#include "pipeline/scales.h"

#include "calibrate/calibration.h"
#include "engine/engine.h"
#include "pipeline/layers_parts.h"
#include "schemes/inputs.h"
#include "schemes/int_grid.h"

#include <math.h>
#include <string.h>

/* A window's first tokens say as much as all of them, at a fraction of the time. */
enum { MOST_EDGES = 4, FIT = 12, HELD = 6, MOST_TOKENS = 128, TRIES = 10, ROWS = 128, N_SITES = HT__SITE_OUTPUT + 1 };

struct search {
    struct ht__plan *plan;
    const struct ht__scheme_params *scheme; /* what matrices are rounded to: a scheme, or a type */
    const struct ht__codec *type;
    bool smooth; /* SmoothQuant's scales instead of AWQ's */
    struct ht__calibration cal;
    struct ht__engine *engine;
    struct ht__pool *pool;
    int n_fit, n_held;
    int32_t *tokens; /* of n_fit windows, and of n_held behind them */
    int64_t n_embd;
    float *x, *want, *got; /* residual stream of all windows: before the layer, behind it, and with rounded matrices */
    float **trial;         /* by weight: what it is rounded to, in the model's own scales; NULL: as it is */
    struct seen {
        const struct ht__weight *weight; /* the first that is multiplied with what this site shows */
        double *squares;
        float *most; /* the largest; for SmoothQuant */
        int64_t n, n_rows;
        const float *s;     /* scales that are tried */
    } seen[N_SITES];        /* of the layer at hand */
    struct ht__arena arena; /* of the layer at hand */
    struct ht__scales *scales;
};

static int windows(const struct search *k)
{
    return k->n_fit + k->n_held;
}

static float *rows_of(const struct search *k, float *x, int window)
{
    return x + (int64_t)window * k->cal.n_ctx * k->n_embd;
}

static int at_once(const struct search *k, int window)
{
    int left = windows(k) - window;
    return left < k->cal.n_seqs ? left : k->cal.n_seqs;
}

/* ---- what the sites show ---- */

static void watch(void *ctx, const struct ht__weight *weight, int64_t mat, const float *x, int64_t n_rows, int64_t n_in)
{
    struct search *k = ctx;
    struct seen *s = &k->seen[ht__slot_site(weight->slot).kind];
    if (!s->weight) {
        *s = (struct seen){.weight = weight, .n = n_in};
        s->squares = ht__arena_array(&k->arena, (size_t)n_in, sizeof *s->squares);
        s->most = ht__arena_array(&k->arena, (size_t)n_in, sizeof *s->most);
    }
    if (s->weight != weight || mat != 0 || !s->squares || !s->most || s->n != n_in) return;
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < n_in && r % k->cal.n_ctx != 0; i++) { /* the first token is like no other */
            s->squares[i] += (double)x[r * n_in + i] * (double)x[r * n_in + i];
            s->most[i] = fmaxf(s->most[i], fabsf(x[r * n_in + i]));
        }
    s->n_rows += n_rows;
}

/* What a matrix takes that is rounded for the trial, in a program that rounds activations. */
static bool take_rounded(void *ctx, const struct ht__weight *w, const float *x, int64_t ldx, int64_t n, int64_t n_in,
                         float *out)
{
    const struct search *k = ctx;
    if (!k->trial[w - k->plan->model->weights]) return false;
    const float *s = k->seen[ht__slot_site(w->slot).kind].s;
    for (int64_t r = 0; r < n; r++)
        ht__int8_inputs(x + r * ldx, s, n_in, out + r * n_in);
    return true;
}

static enum ht_err run_layer(struct search *k, int layer, const float *from, float *to, struct ht_diag *diag)
{
    enum ht_err err = HT_OK;
    memcpy(to, from, (size_t)windows(k) * (size_t)k->cal.n_ctx * (size_t)k->n_embd * sizeof *to);
    for (int w = 0; err == HT_OK && w < windows(k); w += k->cal.n_seqs)
        err = ht__engine_layer(k->engine, layer, rows_of(k, to, w), at_once(k, w), k->cal.n_ctx, diag);
    return err;
}

static enum ht_err float_layer(struct search *k, int layer, struct ht_diag *diag)
{
    memset(k->seen, 0, sizeof k->seen);
    ht__engine_observe(k->engine, watch, k);
    enum ht_err err = run_layer(k, layer, k->x, k->want, diag);
    ht__engine_observe(k->engine, NULL, NULL);
    return err;
}

/* ---- rounded matrices ---- */

struct rounding {
    const struct search *k;
    const struct ht__weight *w;
    const float *s;
    struct ht__matrix matrix;
    float *x;
    struct ht__arena *arenas; /* by thread */
    enum ht_err *err;         /* by thread */
    struct ht_diag *diag;     /* by thread */
};

static bool round_block(const struct rounding *j, int64_t row, int64_t n, float *x, struct ht__arena *arena)
{
    const struct search *k = j->k;
    int64_t n_in = j->matrix.n_in;
    if (k->scheme) {
        struct ht__codes codes;
        if (!ht__codes_new(&codes, k->scheme, &j->matrix, row, n, arena)) return false;
        k->scheme->scheme->fit(k->scheme, &j->matrix, x, NULL, &codes);
        k->scheme->scheme->nearest(k->scheme, &j->matrix, x, &codes);
        k->scheme->scheme->value(k->scheme, &j->matrix, &codes, x);
        return true;
    }
    void *encoded = ht__arena_raw(arena, (size_t)n * ht__codec_bytes(k->type, (uint64_t)n_in));
    if (!encoded) return false;
    ht__encoder(k->type, k->plan->settings->level)(x, n, n_in, NULL, encoded);
    ht__decoder(k->type, k->plan->settings->level)(encoded, n * n_in, x);
    return true;
}

static void round_rows(void *ctx, int64_t task, int thread)
{
    const struct rounding *j = ctx;
    int64_t row = task * ROWS, left = j->w->rows->n_rows - row, n = left < ROWS ? left : ROWS, n_in = j->matrix.n_in;
    float *x = j->x + row * n_in;
    if (j->err[thread] != HT_OK) return;
    j->err[thread] = ht__layers_read(j->w, row, n, x, &j->diag[thread]);
    for (int64_t i = 0; i < n * n_in; i++)
        x[i] *= j->s[i % n_in];
    if (j->err[thread] == HT_OK && !round_block(j, row, n, x, &j->arenas[thread]))
        j->err[thread] = ht__fail_memory(&j->diag[thread], j->w->name);
    for (int64_t i = 0; i < n * n_in; i++)
        x[i] /= j->s[i % n_in];
    ht__arena_reset(&j->arenas[thread]);
}

/* Only what the output will round counts: routers stay floats. */
static bool is_rounded(const struct search *k, const struct ht__weight *w, struct ht__matrix *m)
{
    *m = (struct ht__matrix){.n_out = w->rows->n_rows, .n_in = w->rows->row_len, .dtype = &ht__codec_f32};
    const struct ht__role_info *role = ht__role_at(w->slot.role);
    if (role->flags & HT__ROLE_NEVER || role->class == HT__CLASS_ROUTER) return false;
    if (!k->scheme) return m->n_in % k->type->block_len == 0;
    bool wide = ht__scheme_flags(k->scheme) & HT__SCHEME_NEEDS_AMAX || ROWS % ht__scheme_rows(k->scheme, m);
    return !wide && !k->scheme->scheme->unsuited(k->scheme, m);
}

static enum ht_err round_weight(struct search *k, size_t weight, const float *s, struct ht_diag *diag)
{
    const struct ht__weight *w = &k->plan->model->weights[weight];
    int threads = ht__pool_threads(k->pool);
    struct rounding j = {.k = k, .w = w, .s = s};
    struct ht__arena arena;
    if (!is_rounded(k, w, &j.matrix)) return HT_OK;
    if (!k->trial[weight])
        k->trial[weight] = ht__arena_raw(&k->arena, (size_t)(j.matrix.n_out * j.matrix.n_in) * sizeof(float));
    ht__arena_init(&arena, k->plan->run.alloc);
    j.x = k->trial[weight];
    j.arenas = ht__arena_array(&arena, (size_t)threads, sizeof *j.arenas);
    j.err = ht__arena_array(&arena, (size_t)threads, sizeof *j.err);
    j.diag = ht__arena_array(&arena, (size_t)threads, sizeof *j.diag);
    enum ht_err err = j.x && j.arenas && j.err && j.diag ? HT_OK : ht__fail_memory(diag, w->name);
    for (int i = 0; err == HT_OK && i < threads; i++)
        ht__arena_init(&j.arenas[i], k->plan->run.alloc);
    if (err == HT_OK) ht__pool_run(k->pool, (j.matrix.n_out + ROWS - 1) / ROWS, round_rows, &j);
    for (int i = 0; j.arenas && j.err && j.diag && i < threads; i++) {
        ht__arena_close(&j.arenas[i]);
        if (err == HT_OK && j.err[i] != HT_OK) {
            err = j.err[i];
            if (diag) *diag = j.diag[i];
        }
    }
    ht__arena_close(&arena);
    return err;
}

static enum ht_err round_all(struct search *k, const struct ht__edge_search *e, struct ht_diag *diag)
{
    const struct ht__model *m = k->plan->model;
    for (size_t i = 0; i < m->n_weights; i++)
        if (ht__edge_reads(e, &m->weights[i]) && m->weights[i].rows->row_len == e->n)
            HT_TRY(round_weight(k, i, e->s, diag));
    return HT_OK;
}

static struct ht__replacement rounded(void *ctx, const struct ht__weight *w)
{
    const struct search *k = ctx;
    return (struct ht__replacement){&ht__codec_f32, k->trial[w - k->plan->model->weights]};
}

/* ---- scales of an edge ---- */

static void scales_of(struct ht__edge_search *e, double alpha)
{
    double low = INFINITY, high = 0;
    for (int64_t i = 0; i < e->n; i++) {
        double s = pow((double)e->x[i], alpha);
        if (e->w) s /= pow((double)e->w[i], 1 - alpha);
        e->s[i] = (float)s;
        low = fmin(low, s);
        high = fmax(high, s);
    }
    double middle = sqrt(low * high);
    for (int64_t i = 0; i < e->n; i++) {
        float s = (float)((double)e->s[i] / middle), was = e->norm ? e->norm[i] + e->offset : 0;
        if (!(s > 1e-3f) || !(s < 1e3f) || alpha == 0) s = 1;
        if (e->norm) { /* such that what is stored is exact */
            float is = ht__round_to(e->dtype, was / s - e->offset) + e->offset;
            s = alpha != 0 && was / is > 1e-3f && was / is < 1e3f ? was / is : 1;
        }
        e->s[i] = s;
    }
}

/* Heads that share a value have one scale: the first of the columns that share column i's, of e->shared, e->head apart. */
static int64_t first_of(const struct ht__edge_search *e, int64_t i)
{
    int64_t group = e->head * e->shared;
    return e->shared ? i / group * group + i % e->head : i;
}

/* rms of the columns, or their largest; heads that share a value have what they have together. */
static void join(const struct search *k, const struct seen *s, struct ht__edge_search *e)
{
    for (int64_t i = 0; i < e->n; i++) {
        double sum = 0;
        float most = 0;
        for (int64_t h = 0; h < (e->shared ? e->shared : 1); h++) {
            sum += s->squares[first_of(e, i) + h * e->head];
            most = fmaxf(most, s->most[first_of(e, i) + h * e->head]);
        }
        e->x[i] = k->smooth ? most : (float)sqrt(sum / (double)s->n_rows);
    }
}

/* None far below the others. False: there is nothing that scales could be made of. */
static bool lift(float *x, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, x[i]);
    for (int64_t i = 0; i < n; i++)
        x[i] = fmaxf(x[i], most * 1e-4f);
    return most > 0 && isfinite(most);
}

/* The largest weights of each column, of all matrices that read the edge. */
static enum ht_err weights_of(const struct search *k, struct ht__edge_search *e, struct ht__arena *arena,
                              struct ht_diag *diag)
{
    const struct ht__model *m = k->plan->model;
    float *rows = ht__arena_array(arena, (size_t)ROWS, (size_t)e->n * sizeof *rows);
    float *most = ht__arena_array(arena, (size_t)e->n, sizeof *most);
    e->w = ht__arena_array(arena, (size_t)e->n, sizeof *e->w);
    if (!rows || !most || !e->w) return ht__fail_memory(diag, "scales");
    for (size_t i = 0; i < m->n_weights; i++) {
        const struct ht__weight *w = &m->weights[i];
        struct ht__matrix matrix;
        if (!ht__edge_reads(e, w) || w->rows->row_len != e->n || !is_rounded(k, w, &matrix)) continue;
        for (int64_t r = 0; r < matrix.n_out; r += ROWS) {
            int64_t n = matrix.n_out - r < ROWS ? matrix.n_out - r : ROWS;
            HT_TRY(ht__layers_read(w, r, n, rows, diag));
            for (int64_t j = 0; j < n * e->n; j++)
                most[j % e->n] = fmaxf(most[j % e->n], fabsf(rows[j]));
        }
    }
    for (int64_t i = 0; i < e->n; i++)
        for (int64_t h = 0; h < (e->shared ? e->shared : 1); h++)
            e->w[i] = fmaxf(e->w[i], most[first_of(e, i) + h * e->head]);
    return HT_OK;
}

/* Of activations and, for SmoothQuant, weights; e->s is NULL where no scales could be made of them. */
static enum ht_err sizes_of(const struct search *k, struct ht__edge_search *e, struct ht__arena *arena,
                            struct ht_diag *diag)
{
    const struct seen *s = &k->seen[e->sites[0]];
    if (!s->squares || !s->most || s->n != e->n || s->n_rows == 0) return HT_OK;
    e->x = ht__arena_array(arena, (size_t)e->n, sizeof *e->x);
    if (!e->x) return ht__fail_memory(diag, "scales");
    join(k, s, e);
    if (k->smooth) HT_TRY(weights_of(k, e, arena, diag));
    if (!lift(e->x, e->n) || (e->w && !lift(e->w, e->n))) return HT_OK;
    e->s = ht__arena_array(arena, (size_t)e->n, sizeof *e->s);
    return e->s ? HT_OK : ht__fail_memory(diag, "scales");
}

struct loss {
    double fit, held, held_energy;
};

/* Of the layer's output, without the first token of a window. */
static enum ht_err measure(struct search *k, int layer, struct loss *loss, struct ht_diag *diag)
{
    *loss = (struct loss){0, 0, 0};
    if (k->smooth) HT_TRY(ht__engine_inputs(k->engine, take_rounded, k, diag));
    ht__engine_replace(k->engine, rounded, k);
    enum ht_err err = run_layer(k, layer, k->x, k->got, diag);
    ht__engine_replace(k->engine, NULL, NULL);
    if (k->smooth) HT_TRY(ht__engine_inputs(k->engine, NULL, NULL, diag));
    for (int w = 0; err == HT_OK && w < windows(k); w++) {
        const float *a = rows_of(k, k->want, w), *b = rows_of(k, k->got, w), *x = rows_of(k, k->x, w);
        for (int64_t i = k->n_embd; i < k->cal.n_ctx * k->n_embd; i++) {
            double d = (double)a[i] - (double)b[i], added = (double)a[i] - (double)x[i];
            *(w < k->n_fit ? &loss->fit : &loss->held) += d * d;
            if (w >= k->n_fit) loss->held_energy += added * added;
        }
    }
    return err;
}

static enum ht_err try_scales(struct search *k, struct ht__edge_search *e, double alpha, struct loss *loss,
                              struct ht_diag *diag)
{
    if (ht__cancelled(&k->plan->run)) return ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    scales_of(e, alpha);
    for (int i = 0; i < 2; i++)
        k->seen[e->sites[i]].s = e->s;
    HT_TRY(round_all(k, e, diag));
    return measure(k, e->result.layer, loss, diag);
}

static enum ht_err search_edge(struct search *k, struct ht__edge_search *e, struct ht_diag *diag)
{
    struct loss plain, best, here;
    double alpha = 0;
    HT_TRY(try_scales(k, e, 0, &plain, diag));
    best = plain;
    for (int i = 1; i < TRIES; i++) {
        HT_TRY(try_scales(k, e, (double)i / TRIES, &here, diag));
        if (!(here.fit < best.fit)) continue;
        best = here;
        alpha = (double)i / TRIES;
    }
    if (!(best.held < plain.held)) { /* it holds for what it was found on alone */
        best = plain;
        alpha = 0;
    }
    e->result.alpha = alpha;
    e->result.without = plain.held_energy > 0 ? plain.held / plain.held_energy : 0;
    e->result.with = plain.held_energy > 0 ? best.held / plain.held_energy : 0;
    return try_scales(k, e, alpha, &here, diag);
}

static enum ht_err one_layer(struct search *k, int layer, struct ht_diag *diag)
{
    struct ht__edge_search edges[MOST_EDGES];
    HT_TRY(float_layer(k, layer, diag));
    int n = ht__scales_edges(k->plan->model, k->engine, layer, &k->arena, edges, diag);
    if (n < 0) return diag ? diag->code : HT_ERR_MEMORY;
    for (int i = 0; i < n; i++) {
        HT_TRY(sizes_of(k, &edges[i], &k->arena, diag));
        if (!edges[i].s) continue;
        HT_TRY(search_edge(k, &edges[i], diag));
        k->scales->edges[k->scales->n_edges++] = edges[i].result;
        if (edges[i].result.alpha > 0)
            HT_TRY(ht__scales_add(k->scales, k->plan->model, &edges[i], &k->plan->arena, diag));
    }
    float *x = k->x;
    k->x = k->want;
    k->want = x;
    memset(k->trial, 0, k->plan->model->n_weights * sizeof *k->trial);
    ht__arena_reset(&k->arena);
    return HT_OK;
}

/* ---- the windows ---- */

/* As many of either kind as there are, up to some, in the text's order; of each its first tokens. */
static void take_windows(struct search *k, int whole)
{
    const struct ht__windows *w = &k->cal.windows;
    int wanted[2] = {FIT, HELD}, *taken[2] = {&k->n_fit, &k->n_held}, n = 0;
    for (int held = 0; held < 2; held++)
        for (size_t i = 0; i < w->n && *taken[held] < wanted[held]; i++) {
            if (w->at[i].held_out != (held == 1)) continue;
            int32_t *to = k->tokens + (int64_t)n++ * k->cal.n_ctx;
            memcpy(to, w->tokens + i * (size_t)whole, (size_t)k->cal.n_ctx * sizeof *to);
            if (k->cal.bos >= 0) to[0] = k->cal.bos;
            ++*taken[held];
        }
}

static enum ht_err open_windows(struct search *k, struct ht_diag *diag)
{
    const struct ht__alloc *alloc = k->plan->run.alloc;
    int whole = k->cal.n_ctx;
    k->cal.n_ctx = whole < MOST_TOKENS ? whole : MOST_TOKENS;
    size_t n = (size_t)(FIT + HELD) * (size_t)k->cal.n_ctx;
    k->n_embd = ht__engine_hparams(k->engine)->n_embd;
    k->tokens = ht__new_array(alloc, n, sizeof *k->tokens);
    float **streams[] = {&k->x, &k->want, &k->got};
    for (size_t i = 0; i < 3; i++)
        if (!(*streams[i] = ht__new_array(alloc, n, (size_t)k->n_embd * sizeof(float))))
            return ht__fail_memory(diag, "activations");
    k->trial = ht__new_array(alloc, k->plan->model->n_weights, sizeof *k->trial);
    if (!k->tokens || !k->trial) return ht__fail_memory(diag, "activations");
    take_windows(k, whole);
    if (k->n_fit > 0 && k->n_held > 0) return HT_OK;
    return ht__fail(
        diag, HT_ERR_USAGE, k->cal.dataset, -1,
        "%zu chunks of %d tokens: scales need some to be found on and one to be judged by; take a longer text, or "
        "shorter chunks (--ctx)",
        k->cal.windows.n, whole);
}

static enum ht_err embed(struct search *k, struct ht_diag *diag)
{
    HT_TRY(
        ht__engine_check_tokens(k->engine, k->cal.dataset, k->tokens, (size_t)windows(k) * (size_t)k->cal.n_ctx, diag));
    for (int w = 0; w < windows(k); w += k->cal.n_seqs)
        HT_TRY(ht__engine_embed(k->engine, k->tokens + (int64_t)w * k->cal.n_ctx, at_once(k, w), k->cal.n_ctx,
                                rows_of(k, k->x, w), diag));
    return HT_OK;
}

static enum ht_err search(struct search *k, struct ht_diag *diag)
{
    struct ht__plan *plan = k->plan;
    HT_TRY(ht__calibration_open(&k->cal, &plan->settings->importance.calibration, &plan->run, plan->model, diag));
    HT_TRY(ht__calibration_engine(&k->cal, &plan->run, plan->model, &k->engine, diag));
    HT_TRY(ht__pool_open(plan->run.n_threads, plan->run.alloc, &k->pool, diag));
    HT_TRY(open_windows(k, diag));
    HT_TRY(embed(k, diag));
    int n = ht__engine_hparams(k->engine)->n_layers;
    k->scales->edges = ht__arena_array(&plan->arena, (size_t)n * MOST_EDGES + 1, sizeof *k->scales->edges);
    if (!k->scales->edges) return ht__fail_memory(diag, "scales");
    for (int i = 0; i < n; i++)
        HT_TRY(one_layer(k, i, diag));
    return HT_OK;
}

/* What the output's matrices are rounded to; of an output of floats, what it is likely to become. */
static void choose_rounding(struct search *k)
{
    const struct ht__target *t = &k->plan->settings->targets[0];
    k->scheme = t->scheme;
    k->smooth = t->method.method == &ht__method_smooth;
    if (t->scheme) return;
    k->type = ht__codec_by_name(t->mix->default_type);
    if (!k->type || k->type->flags & HT__CODEC_PLAIN) k->type = ht__codec_by_name("q4_0");
}

static void close_search(struct search *k)
{
    const struct ht__alloc *alloc = k->plan->run.alloc;
    ht__free(alloc, k->tokens);
    ht__free(alloc, k->x);
    ht__free(alloc, k->want);
    ht__free(alloc, k->got);
    ht__free(alloc, k->trial);
    ht__arena_close(&k->arena);
    ht__engine_close(&k->engine);
    ht__pool_close(&k->pool);
    ht__calibration_close(&k->cal);
}

bool ht__scales_wanted(const struct ht__pipeline_settings *settings)
{
    for (size_t i = 0; i < settings->n_targets; i++)
        if (settings->targets[i].scaled) return true;
    return false;
}

enum ht_err ht__scales_find(struct ht__plan *plan, struct ht_diag *diag)
{
    struct ht__scales *scales = ht__arena_new(&plan->arena, sizeof *scales);
    if (!scales) return ht__fail_memory(diag, "plan");
    plan->scales = scales;
    if (plan->purpose != HT__RUN) return HT_OK;
    struct search k = {.plan = plan, .scales = scales, .cal = {.alloc = plan->run.alloc}};
    ht__arena_init(&k.arena, plan->run.alloc);
    choose_rounding(&k);
    enum ht_err err = search(&k, diag);
    close_search(&k);
    return err == HT_OK ? ht__scales_fold(scales, plan->model, diag) : err;
}

void ht__scales_put(struct ht__jw *w, const struct ht__plan *plan)
{
    if (!plan->scales) return;
    ht__jw_array(w, "scales");
    for (size_t i = 0; i < plan->scales->n_edges; i++) {
        const struct ht__edge *e = &plan->scales->edges[i];
        ht__jw_object(w, NULL);
        ht__jw_int(w, "layer", e->layer);
        ht__jw_str(w, "from", ht__role_at(e->from)->name);
        ht__jw_str(w, "to", e->to);
        ht__jw_fixed(w, "alpha", e->alpha, 1);
        ht__jw_digits(w, "held_out_error", e->with, 6);
        ht__jw_digits(w, "held_out_error_without", e->without, 6);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}
