/* The decoder: one loop over layers for every architecture. */
#include "engine/weight_store.h"
#include "engine/state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Tokens of a pass that takes as long as reading all weights does, about. */
enum { NARROW = 16 };

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static enum ht_err take(struct ht__engine *e, float **out, int64_t per_token, struct ht_diag *diag)
{
    size_t n = (size_t)e->params.n_batch;
    *out = per_token > 0 && n <= SIZE_MAX / 4 / (size_t)per_token
               ? ht__new_walked(e->alloc, n * (size_t)per_token * sizeof(float) + 64)
               : NULL;
    return *out ? HT_OK : ht__fail_memory(diag, "activations");
}

static enum ht_err open_device(struct ht__engine *e, int64_t widest, struct ht_diag *diag)
{
    struct ht__device_params params = {.alloc = e->alloc,
                                       .pool = e->pool,
                                       .scratch = e->scratch,
                                       .most_rows = e->params.n_batch,
                                       .most_in = widest,
                                       .fast = e->params.fast,
                                       .wide = e->params.wide,
                                       .cancelled = e->params.cancelled};
    const struct ht__backend *backend = e->params.backend ? e->params.backend : ht__backend_at(0);
    return ht__device_open(backend, &params, &e->device, diag);
}

static enum ht_err open_buffers(struct ht__engine *e, struct ht_diag *diag)
{
    const struct ht__hparams *h = &e->hparams;
    int64_t q = (int64_t)h->n_heads * h->key_len, k = (int64_t)h->n_kv_heads * h->key_len;
    int64_t v = (int64_t)h->n_kv_heads * h->value_len, o = (int64_t)h->n_heads * h->value_len, ff = h->n_embd;
    for (int i = 0; i < h->n_layers; i++) {
        const struct ht__layer *l = &e->weights->layers[i];
        ff = most(ff, most(l->ffn_up.n_out, l->ffn_down.n_in));
        ff = most(ff, most(l->shared_down.n_in, l->attn_q_a.n_out));
    }
    HT_TRY(take(e, &e->x, h->n_embd, diag));
    HT_TRY(take(e, &e->normed, h->n_embd, diag));
    HT_TRY(take(e, &e->out, h->n_embd, diag));
    HT_TRY(take(e, &e->attended, most(o, (int64_t)h->n_heads * most(h->mla_value_len, 1)), diag));
    HT_TRY(take(e, &e->q, q + k + v, diag));
    HT_TRY(take(e, &e->k, k, diag));
    HT_TRY(take(e, &e->v, v, diag));
    HT_TRY(take(e, &e->hidden, ff, diag));
    HT_TRY(take(e, &e->hidden2, ff, diag));
    int64_t latent = h->latent ? (int64_t)h->n_heads * most(h->nope_len + h->n_rot, h->mla_value_len) : 1;
    HT_TRY(take(e, &e->latent, most(latent, h->n_embd), diag));
    int64_t widest = most(most(ff, h->n_embd), most(o, (int64_t)h->n_heads * most(h->mla_value_len, 1)));
    for (int i = 0; i < h->n_layers; i++)
        widest = most(widest, e->weights->layers[i].experts_down.n_in);
    e->widest = widest;
    size_t threads = (size_t)ht__pool_threads(e->pool);
    e->n_scores = 64 * (size_t)e->params.n_ctx;
    e->scratch = ht__new_aligned(e->alloc, threads * HT__MATMUL_SCRATCH * sizeof(float));
    e->scores = ht__new_aligned(e->alloc, threads * e->n_scores * sizeof(float));
    return e->scratch && e->scores ? open_device(e, widest, diag) : ht__fail_memory(diag, "activations");
}

static enum ht_err open_cache(struct ht__engine *e, struct ht_diag *diag)
{
    const struct ht__hparams *h = &e->hparams;
    struct ht__cache *c = &e->cache;
    size_t layers = e->params.cache ? (size_t)h->n_layers : 1, seqs = (size_t)e->params.n_seqs;
    c->every_layer = e->params.cache;
    c->k_head = (size_t)e->params.n_ctx * (size_t)h->key_len;
    c->v_head = (size_t)e->params.n_ctx * (size_t)h->value_len;
    c->k_seq = c->k_head * (size_t)h->n_kv_heads;
    c->v_seq = c->v_head * (size_t)h->n_kv_heads;
    c->k_layer = c->k_seq * seqs;
    c->v_layer = c->v_seq * seqs;
    double floats =
        (double)e->params.n_ctx * h->n_kv_heads * (h->key_len + h->value_len) * (double)layers * (double)seqs;
    if (floats > 1e15) return ht__fail_memory(diag, "keys and values");
    c->k = ht__new_aligned(e->alloc, c->k_layer * layers * sizeof(float));
    c->v = ht__new_aligned(e->alloc, c->v_layer * layers * sizeof(float));
    return c->k && c->v ? HT_OK : ht__fail_memory(diag, "keys and values");
}

static enum ht_err open_parts(struct ht__engine *e, const struct ht__model *model, struct ht_diag *diag)
{
    const char *where = model->checkpoint->n_files ? model->checkpoint->files[0].path : "model";
    struct ht__engine_params *p = &e->params;
    HT_TRY(ht__hparams_read(model, where, &e->hparams, diag));
    if (p->n_ctx <= 0) p->n_ctx = e->hparams.n_ctx_train;
    if (p->n_seqs <= 0) p->n_seqs = 1;
    if (p->n_batch <= 0) p->n_batch = p->n_ctx < 512 ? p->n_ctx : 512;
    struct ht__weights_params weights = {p->memory, p->spill_dir, p->cancelled};
    HT_TRY(ht__weights_open(model, &e->hparams, &weights, e->alloc, &e->weights, diag));
    HT_TRY(ht__pool_open(p->n_threads, e->alloc, &e->pool, diag));
    const struct ht__kept_matrix *positions = &e->weights->positions;
    if (positions->weight && positions->n_out < p->n_ctx)
        return ht__fail(diag, HT_ERR_USAGE, where, -1, "a context of %d tokens; the model has positions for %lld",
                        p->n_ctx, (long long)positions->n_out);
    e->runs = ht__new_array(e->alloc, (size_t)p->n_seqs, sizeof *e->runs);
    if (!e->runs) return ht__fail_memory(diag, "engine");
    HT_TRY(open_buffers(e, diag));
    HT_TRY(open_cache(e, diag));
    HT_TRY(ht__engine_open_experts(e, diag));
    return ht__engine_open_rope(e, diag);
}

enum ht_err ht__engine_open(const struct ht__model *model, const struct ht__engine_params *params,
                            const struct ht__alloc *alloc, struct ht__engine **out, struct ht_diag *diag)
{
    struct ht__engine *e = ht__new(alloc, sizeof *e);
    if (!e) return ht__fail_memory(diag, "engine");
    e->alloc = alloc;
    e->params = *params;
    e->ops = ht__ops(ht__cpu_best());
    enum ht_err err = open_parts(e, model, diag);
    if (err) ht__engine_close(&e);
    *out = e;
    return err;
}

void ht__engine_close(struct ht__engine **engine)
{
    struct ht__engine *e = *engine;
    if (!e) return;
    float *buffers[] = {e->x,       e->normed, e->out,     e->attended, e->q,       e->k,       e->v,    e->hidden,
                        e->hidden2, e->latent, e->scratch, e->scores,   e->cache.k, e->cache.v, e->taken};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        ht__free_aligned(e->alloc, buffers[i]);
    ht__device_close(&e->device);
    ht__engine_close_experts(e);
    ht__free(e->alloc, e->runs);
    ht__free(e->alloc, e->rope.cos_sin);
    ht__free(e->alloc, e->sliding_rope.cos_sin);
    ht__pool_close(&e->pool);
    ht__weights_close(&e->weights);
    ht__free(e->alloc, e);
    *engine = NULL;
}

const char *ht__engine_name(const struct ht__engine *e)
{
    return e->params.name ? e->params.name : "model";
}

const struct ht__hparams *ht__engine_hparams(const struct ht__engine *e)
{
    return &e->hparams;
}

struct ht__weights_stats ht__engine_stats(const struct ht__engine *e)
{
    return ht__weight_store_stats(e->weights->store);
}

void ht__engine_observe(struct ht__engine *e, ht__observe_fn *fn, void *ctx)
{
    e->observe = fn;
    e->observe_ctx = ctx;
}

void ht__engine_on_layer(struct ht__engine *e, ht__layer_fn *fn, void *ctx)
{
    e->on_layer = fn;
    e->layer_ctx = ctx;
}

/* Rows of the residual stream, shared out by TOGETHER. */
struct rows {
    const struct ht__engine *e;
    const struct ht__vector *norm;
    const float *x;
    float *y;
    int64_t n;
};
enum { TOGETHER = 16 };

static int64_t end_of(const struct rows *r, int64_t task)
{
    return (task + 1) * TOGETHER < r->n ? (task + 1) * TOGETHER : r->n;
}

static void norm_some(void *ctx, int64_t task, int thread)
{
    const struct rows *r = ctx;
    int64_t n_embd = r->e->hparams.n_embd;
    (void)thread;
    for (int64_t t = task * TOGETHER; t < end_of(r, task); t++)
        r->e->ops->norm(r->y + t * n_embd, r->x + t * n_embd, r->norm->w, r->norm->b, n_embd, r->e->hparams.eps,
                        !r->e->hparams.compute->layer_norm);
}

static void norm_rows(const struct ht__engine *e, const struct ht__vector *norm, const float *x, int64_t n, float *y)
{
    struct rows r = {e, norm, x, y, n};
    ht__pool_run(e->pool, (n + TOGETHER - 1) / TOGETHER, norm_some, &r);
}

static void add_some(void *ctx, int64_t task, int thread)
{
    const struct rows *r = ctx;
    int64_t n_embd = r->e->hparams.n_embd, from = task * TOGETHER * n_embd;
    (void)thread;
    r->e->ops->add_scaled(r->y + from, r->x + from, r->e->hparams.residual_scale, end_of(r, task) * n_embd - from);
}

static void add_rows(const struct ht__engine *e, float *x, const float *y, int64_t n)
{
    struct rows r = {.e = e, .x = y, .y = x, .n = n};
    ht__pool_run(e->pool, (n + TOGETHER - 1) / TOGETHER, add_some, &r);
}

enum ht_err ht__engine_check_tokens(const struct ht__engine *e, const char *where, const int32_t *tokens, size_t n,
                                    struct ht_diag *diag)
{
    for (size_t t = 0; t < n; t++)
        if (tokens[t] < 0 || tokens[t] >= e->hparams.n_vocab)
            return ht__fail(diag, HT_ERR_FORMAT, where, -1, "token number %zu is %d, outside the vocabulary of %d", t,
                            tokens[t], e->hparams.n_vocab);
    return HT_OK;
}

static enum ht_err embed(struct ht__engine *e, const int32_t *tokens)
{
    const struct ht__hparams *h = &e->hparams;
    float *x = e->x;
    HT_TRY(ht__engine_check_tokens(e, "tokens", tokens, (size_t)e->n_rows, e->diag));
    for (const struct ht__engine_run *r = e->runs; r < e->runs + e->n_runs; r++)
        for (int t = 0; t < r->n_tokens; t++, x += h->n_embd) {
            ht__engine_row(&e->weights->embedding, *tokens++, x);
            for (int i = 0; i < h->n_embd; i++)
                x[i] *= h->embed_scale;
            if (e->weights->positions.weight) {
                ht__engine_row(&e->weights->positions, r->at + t, e->normed);
                e->ops->add_scaled(x, e->normed, 1, h->n_embd);
            }
        }
    return HT_OK;
}

/* Attention and feed-forward see the same stream; falcon's larger models norm it once for each. */
static void parallel_layer(struct ht__engine *e, const struct ht__layer *l, int layer, int64_t n)
{
    float *in = e->hidden2; /* free until the feed-forward has its input copied: see below */
    norm_rows(e, l->attn_norm_2.w ? &l->attn_norm_2 : &l->attn_norm, e->x, n, e->normed);
    ht__engine_attend(e, l, layer);
    ht__engine_attention_output(e, l);
    memcpy(in, e->out, (size_t)(n * e->hparams.n_embd) * sizeof(float));
    const struct ht__vector *norm = l->ffn_norm.w ? &l->ffn_norm : &l->attn_norm;
    norm_rows(e, norm, e->x, n, e->normed);
    add_rows(e, e->x, in, n);
    ht__engine_feed_forward(e, l, e->normed);
    add_rows(e, e->x, e->out, n);
}

static void norm_or_copy(const struct ht__engine *e, const struct ht__vector *norm, int64_t n)
{
    if (norm->w)
        norm_rows(e, norm, e->x, n, e->normed);
    else
        memcpy(e->normed, e->x, (size_t)(n * e->hparams.n_embd) * sizeof(float));
}

/* out into the residual stream. */
static void add_out(const struct ht__engine *e, const struct ht__vector *post, int64_t n)
{
    if (post && post->w) norm_rows(e, post, e->out, n, e->out);
    add_rows(e, e->x, e->out, n);
}

/* Where it begins and ends by the marks: see ht__engine_stretch. */
static void sequential_layer(struct ht__engine *e, const struct ht__layer *l, int layer, int64_t n)
{
    bool post_is_ffn_norm = e->hparams.compute->post_is_ffn_norm;
    if (e->from < HT__MARK_ATTENDED) {
        norm_or_copy(e, &l->attn_norm, n);
        ht__engine_attend(e, l, layer);
    }
    if (e->to == HT__MARK_ATTENDED) return;
    if (e->from < HT__MARK_FEED) {
        ht__engine_attention_output(e, l);
        add_out(e, post_is_ffn_norm ? NULL : &l->attn_post_norm, n);
    }
    if (e->to == HT__MARK_FEED) return;
    if (e->from < HT__MARK_HIDDEN) norm_or_copy(e, post_is_ffn_norm ? &l->attn_post_norm : &l->ffn_norm, n);
    ht__engine_feed_forward(e, l, e->normed);
    if (e->to == HT__MARK_HIDDEN) return;
    add_out(e, &l->ffn_post_norm, n);
}

/* By bits: in any order, which compilers make vectors of. */
static enum ht_err refuse_nonfinite(const struct ht__engine *e, int layer, int64_t n)
{
    int64_t total = n * e->hparams.n_embd;
    uint32_t most = 0;
    for (int64_t i = 0; i < total; i++) {
        uint32_t bits;
        memcpy(&bits, &e->x[i], sizeof bits);
        bits &= INT32_MAX;
        most = bits > most ? bits : most;
    }
    if (most < 0x7f800000) return HT_OK;
    return ht__fail(e->diag, HT_ERR_NONFINITE, ht__engine_name(e), -1,
                    "NaN or infinity among the activations after layer %d", layer);
}

static enum ht_err check_pass(const struct ht__engine *e, int n_seqs, int n_tokens, int at)
{
    if (n_seqs > 0 && n_tokens > 0 && at >= 0 && n_seqs <= e->params.n_seqs && n_tokens <= e->params.n_batch / n_seqs &&
        at <= e->params.n_ctx - n_tokens && (at == 0 || e->params.cache))
        return HT_OK;
    return ht__fail(e->diag, HT_ERR_USAGE, "pass", -1,
                    "%d x %d tokens from %d on do not fit %d sequences, %d tokens a pass, a context of %d", n_seqs,
                    n_tokens, at, e->params.n_seqs, e->params.n_batch, e->params.n_ctx);
}

static bool is_parallel(const struct ht__engine *e, const struct ht__layer *l)
{
    return e->hparams.parallel || (e->hparams.compute->parallel == HT__PARALLEL_BY_NORM && !l->ffn_norm.w);
}

static enum ht_err run_layer(struct ht__engine *e, const struct ht__layer *l, int layer)
{
    int64_t n = e->n_rows;
    if (is_parallel(e, l))
        parallel_layer(e, l, layer, n);
    else
        sequential_layer(e, l, layer, n);
    if (ht__engine_stopped(e) && !e->observe) return ht__fail(e->diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    return e->enough ? HT_OK : refuse_nonfinite(e, layer, n);
}

/* A pass of sequences that are alike. */
static enum ht_err begin_alike(struct ht__engine *e, int n_seqs, int n_tokens, int at, struct ht_diag *diag)
{
    e->diag = diag;
    HT_TRY(check_pass(e, n_seqs, n_tokens, at));
    e->n_runs = e->n_seqs = n_seqs;
    e->n_tokens = n_tokens;
    e->from = HT__MARK_START;
    e->to = HT__MARK_END;
    e->n_rows = n_seqs * n_tokens;
    for (int i = 0; i < n_seqs; i++)
        e->runs[i] = (struct ht__engine_run){i, n_tokens, at};
    return HT_OK;
}

static enum ht_err run_pass(struct ht__engine *e, const int32_t *tokens)
{
    e->from = HT__MARK_START;
    e->to = HT__MARK_END;
    if (e->n_rows <= NARROW) ht__weight_store_narrow(e->weights->store, e->pool);
    HT_TRY(embed(e, tokens));
    for (int i = 0; i < e->hparams.n_layers; i++) {
        const struct ht__layer *l;
        if (ht__engine_stopped(e)) return ht__fail(e->diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
        HT_TRY(ht__weights_layer(e->weights, i, &l, e->diag));
        HT_TRY(run_layer(e, l, i));
        if (e->on_layer) e->on_layer(e->layer_ctx, i, e->x, e->n_rows);
    }
    return HT_OK;
}

enum ht_err ht__engine_pass(struct ht__engine *e, const int32_t *tokens, int n_seqs, int n_tokens, int at,
                            struct ht_diag *diag)
{
    HT_TRY(begin_alike(e, n_seqs, n_tokens, at, diag));
    return run_pass(e, tokens);
}

static bool run_fits(const struct ht__engine *e, const struct ht__engine_run *runs, int which, int n_rows)
{
    const struct ht__engine_run *r = &runs[which];
    for (int i = 0; i < which; i++)
        if (runs[i].seq == r->seq) return false;
    return r->seq >= 0 && r->seq < e->params.n_seqs && r->n_tokens > 0 && r->n_tokens <= e->params.n_batch - n_rows &&
           r->at >= 0 && r->n_tokens <= e->params.n_ctx && r->at <= e->params.n_ctx - r->n_tokens &&
           (r->at == 0 || e->params.cache);
}

enum ht_err ht__engine_pass_runs(struct ht__engine *e, const int32_t *tokens, const struct ht__engine_run *runs,
                                 int n_runs, struct ht_diag *diag)
{
    int n_rows = 0;
    e->diag = diag;
    if (n_runs < 1 || n_runs > e->params.n_seqs)
        return ht__fail(diag, HT_ERR_USAGE, "pass", -1, "%d runs; from 1 to %d are possible", n_runs, e->params.n_seqs);
    for (int i = 0; i < n_runs; n_rows += runs[i++].n_tokens)
        if (!run_fits(e, runs, i, n_rows))
            return ht__fail(diag, HT_ERR_USAGE, "pass", -1,
                            "run %d: sequence %d, %d tokens from %d on do not fit %d sequences, %d tokens a pass, a "
                            "context of %d",
                            i, runs[i].seq, runs[i].n_tokens, runs[i].at, e->params.n_seqs, e->params.n_batch,
                            e->params.n_ctx);
    memcpy(e->runs, runs, (size_t)n_runs * sizeof *runs);
    e->n_runs = n_runs;
    e->n_rows = n_rows;
    e->n_seqs = e->n_tokens = 0;
    return run_pass(e, tokens);
}

/* ---- a pass in pieces ---- */

enum ht_err ht__engine_embed(struct ht__engine *e, const int32_t *tokens, int n_seqs, int n_tokens, float *x,
                             struct ht_diag *diag)
{
    HT_TRY(begin_alike(e, n_seqs, n_tokens, 0, diag));
    HT_TRY(embed(e, tokens));
    memcpy(x, e->x, (size_t)n_seqs * (size_t)n_tokens * (size_t)e->hparams.n_embd * sizeof *x);
    return HT_OK;
}

static void replace_one(const struct ht__engine *e, struct ht__kept_matrix *m)
{
    struct ht__replacement by = {NULL, NULL};
    if (m->weight) by = e->replace(e->replace_ctx, m->weight);
    if (!by.rows) return;
    m->type = by.type;
    m->row_bytes = ht__codec_bytes(by.type, (uint64_t)m->n_in);
    m->data = by.rows;
}

static void replace_all(const struct ht__engine *e, struct ht__layer *l)
{
#define HT_MATRIX(field, role) replace_one(e, &l->field);
#include "engine/roles.def"
#undef HT_MATRIX
}

int64_t ht__engine_mark_width(const struct ht__engine *e, int layer, enum ht__mark mark)
{
    const struct ht__layer *l = &e->weights->layers[layer];
    if (mark == HT__MARK_START || mark == HT__MARK_END) return 0;
    if (is_parallel(e, l)) return -1;
    if (mark == HT__MARK_ATTENDED) return l->attn_output.n_in;
    if (mark == HT__MARK_HIDDEN) return l->router.weight ? -1 : l->ffn_down.n_in;
    return 0;
}

/* Where the engine has what is kept at a mark. */
static float *kept_at(const struct ht__engine *e, enum ht__mark mark)
{
    return mark == HT__MARK_ATTENDED ? e->attended : e->hidden;
}

static size_t kept_bytes(const struct ht__engine *e, int layer, enum ht__mark mark)
{
    int64_t width = ht__engine_mark_width(e, layer, mark);
    return width > 0 ? (size_t)e->n_seqs * (size_t)e->n_tokens * (size_t)width * sizeof(float) : 0;
}

/* Nobody says in between that it is enough: the caller's rows are worked on where they lie. What is kept where the stretch begins
 * is only read. */
static enum ht_err run_in_place(struct ht__engine *e, const struct ht__stretch *stretch, const struct ht__layer *l,
                                float *x)
{
    float *own[] = {e->x, e->attended, e->hidden}, *rows = (float *)(uintptr_t)stretch->rows;
    e->x = x;
    if (stretch->from == HT__MARK_ATTENDED) e->attended = rows;
    if (stretch->from == HT__MARK_HIDDEN) e->hidden = rows;
    enum ht_err err = run_layer(e, l, stretch->layer);
    e->x = own[0];
    e->attended = own[1];
    e->hidden = own[2];
    return err;
}

static enum ht_err run_observed(struct ht__engine *e, const struct ht__stretch *stretch, const struct ht__layer *l,
                                float *x)
{
    size_t size = (size_t)e->n_seqs * (size_t)e->n_tokens * (size_t)e->hparams.n_embd * sizeof *x;
    size_t in = kept_bytes(e, stretch->layer, stretch->from);
    memcpy(e->x, x, size);
    if (in) memcpy(kept_at(e, stretch->from), stretch->rows, in);
    HT_TRY(run_layer(e, l, stretch->layer));
    if (!e->enough) memcpy(x, e->x, size);
    return HT_OK;
}

static enum ht_err run_stretch(struct ht__engine *e, const struct ht__stretch *stretch, const struct ht__layer *l,
                               float *x)
{
    size_t out = kept_bytes(e, stretch->layer, stretch->to);
    e->enough = false;
    e->from = stretch->from;
    e->to = stretch->to;
    HT_TRY((e->observe ? run_observed : run_in_place)(e, stretch, l, x));
    if (out && !e->enough) memcpy(stretch->kept, kept_at(e, stretch->to), out);
    return HT_OK;
}

enum ht_err ht__engine_stretch(struct ht__engine *e, const struct ht__stretch *stretch, float *x, int n_seqs,
                               int n_tokens, struct ht_diag *diag)
{
    const struct ht__layer *l;
    struct ht__layer other;
    HT_TRY(begin_alike(e, n_seqs, n_tokens, 0, diag));
    if (ht__engine_stopped(e)) return ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    HT_TRY(ht__weights_layer(e->weights, stretch->layer, &l, diag));
    if (e->replace) {
        other = *l;
        replace_all(e, &other);
        l = &other;
    }
    enum ht_err err = run_stretch(e, stretch, l, x);
    e->enough = false;
    return err;
}

enum ht_err ht__engine_layer(struct ht__engine *e, int layer, float *x, int n_seqs, int n_tokens, struct ht_diag *diag)
{
    struct ht__stretch whole = {.layer = layer, .from = HT__MARK_START, .to = HT__MARK_END};
    return ht__engine_stretch(e, &whole, x, n_seqs, n_tokens, diag);
}

void ht__engine_release(struct ht__engine *e, int layer)
{
    ht__weight_store_release(e->weights->store, layer);
}

void ht__engine_drop_outside(struct ht__engine *e)
{
    ht__weight_store_drop_outside(e->weights->store);
}

void ht__engine_output_input(struct ht__engine *e, const float *x, int n, float *out)
{
    norm_rows(e, &e->weights->output_norm, x, n, out);
}

void ht__engine_replace(struct ht__engine *e, ht__replace_fn *fn, void *ctx)
{
    e->replace = fn;
    e->replace_ctx = ctx;
}

enum ht_err ht__engine_inputs(struct ht__engine *e, ht__inputs_fn *fn, void *ctx, struct ht_diag *diag)
{
    if (fn && !e->taken) HT_TRY(take(e, &e->taken, e->widest, diag));
    e->inputs = fn;
    e->inputs_ctx = ctx;
    return HT_OK;
}

void ht__engine_routes(struct ht__engine *e, struct ht__route *routes, bool take)
{
    e->routes = routes;
    e->take_routes = take;
}

const float *ht__engine_stream(const struct ht__engine *e)
{
    return e->x;
}

double ht__engine_stream_share(const struct ht__engine *e, const struct ht__weight *weight)
{
    struct ht__slot slot = weight->slot;
    if (slot.layer < 0 || slot.layer >= e->hparams.n_layers || slot.bias) return 0;
    const struct ht__layer *l = &e->weights->layers[slot.layer];
    bool attention_post = l->attn_post_norm.w && !e->hparams.compute->post_is_ffn_norm;
    bool adds = (slot.role == HT__ROLE_ATTN_OUTPUT && !attention_post) ||
                (slot.role == HT__ROLE_FFN_DOWN && !l->ffn_post_norm.w && !l->router.weight);
    return adds ? (double)e->hparams.residual_scale : 0;
}

const float *ht__engine_stream_bias(const struct ht__engine *e, const struct ht__weight *weight)
{
    if (ht__engine_stream_share(e, weight) == 0) return NULL;
    const struct ht__layer *l = &e->weights->layers[weight->slot.layer];
    return weight->slot.role == HT__ROLE_ATTN_OUTPUT ? l->attn_output.bias : l->ffn_down.bias;
}

void ht__engine_enough(struct ht__engine *e)
{
    e->enough = true;
}

/* Final norm and output matrix over rows of the residual stream. */
static void to_logits(struct ht__engine *e, const float *x, int n, float *logits, bool show)
{
    const struct ht__hparams *h = &e->hparams;
    struct ht__kept_matrix output = e->weights->output;
    if (e->replace) replace_one(e, &output);
    output.bias = e->weights->output_bias.w;
    norm_rows(e, &e->weights->output_norm, x, n, e->normed);
    if (show && e->observe && output.weight) e->observe(e->observe_ctx, output.weight, 0, e->normed, n, h->n_embd);
    ht__engine_matmul(e, &output, 0, e->normed, h->n_embd, n, logits, h->n_vocab);
    if (h->logit_scale == 1 && h->final_cap <= 0) return;
    for (int64_t i = 0; i < (int64_t)n * h->n_vocab; i++) {
        logits[i] *= h->logit_scale;
        if (h->final_cap > 0) logits[i] = h->final_cap * tanhf(logits[i] / h->final_cap);
    }
}

enum ht_err ht__engine_logits(struct ht__engine *e, int seq, int token, int n, float *logits, struct ht_diag *diag)
{
    const struct ht__hparams *h = &e->hparams;
    if (seq < 0 || seq >= e->n_seqs || token < 0 || token >= e->n_tokens || n < 1 ||
        n > (e->n_seqs - seq) * e->n_tokens - token)
        return ht__fail(diag, HT_ERR_USAGE, "logits", -1, "no such tokens in the last pass");
    to_logits(e, e->x + (int64_t)(seq * e->n_tokens + token) * h->n_embd, n, logits, true);
    if (ht__engine_stopped(e) && !e->observe) return ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    return HT_OK;
}

static bool has_rows(const struct ht__engine *e, const int *rows, int n)
{
    bool all = n > 0 && n <= e->n_rows;
    for (int i = 0; i < n && all; i++)
        all = rows[i] >= 0 && rows[i] < e->n_rows;
    return all;
}

enum ht_err ht__engine_row_logits(struct ht__engine *e, const int *rows, int n, float *logits, struct ht_diag *diag)
{
    size_t n_embd = (size_t)e->hparams.n_embd;
    if (!has_rows(e, rows, n)) return ht__fail(diag, HT_ERR_USAGE, "logits", -1, "no such tokens in the last pass");
    for (int i = 0; i < n; i++)
        memcpy(e->out + (size_t)i * n_embd, e->x + (size_t)rows[i] * n_embd, n_embd * sizeof *e->out);
    to_logits(e, e->out, n, logits, true);
    if (ht__engine_stopped(e) && !e->observe) return ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    return HT_OK;
}

enum ht_err ht__engine_row_states(struct ht__engine *e, int row, int n, float *states, struct ht_diag *diag)
{
    if (row < 0 || n < 1 || n > e->n_rows || row > e->n_rows - n)
        return ht__fail(diag, HT_ERR_USAGE, "states", -1, "no such tokens in the last pass");
    norm_rows(e, &e->weights->output_norm, e->x + (int64_t)row * e->hparams.n_embd, n, states);
    return HT_OK;
}

void ht__engine_logit_lens(struct ht__engine *e, const float *x, int n, float *logits)
{
    to_logits(e, x, n, logits, false);
}

void ht__engine_show_output(struct ht__engine *e)
{
    int64_t n = e->n_rows;
    if (!e->observe || n == 0) return;
    norm_rows(e, &e->weights->output_norm, e->x, n, e->normed);
    e->observe(e->observe_ctx, e->weights->output.weight, 0, e->normed, n, e->hparams.n_embd);
}
