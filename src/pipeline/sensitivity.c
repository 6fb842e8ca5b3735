#include "pipeline/sensitivity.h"
#include "base/pool.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "kernels/codec.h"

#include <math.h>
#include <string.h>

enum {
    LENS_ROWS = 32,           /* whose logits are compared at a time */
    AT_ONCE = 1 << 14,        /* weights that a thread rounds at a time */
    SAMPLE_WEIGHTS = 1 << 16, /* of a matrix, at most, that errors are taken of */
};

static size_t index_of(const struct ht__sense *s, const struct ht__weight *w)
{
    return (size_t)(w - s->plan->model->weights);
}

static int64_t n_rows(const struct ht__sense *s)
{
    return s->n_chunks * s->cal.n_ctx;
}

static enum ht_err tell(struct ht__sense *s, uint64_t more, const char *what, struct ht_diag *diag)
{
    s->done += more;
    bool stop = s->tells ? ht__progress_tell(&s->progress, s->done, what) : ht__cancelled(&s->plan->run);
    return stop ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled") : HT_OK;
}

/* ---- rounding ---- */

/* Pieces of rows of one matrix after the other. */
struct rounding {
    const struct ht__plan *plan;
    const struct ht__weight *weight;
    const struct ht__codec *const *types;
    size_t n_types;
    int64_t piece, pieces, step; /* rows in a piece; pieces of a matrix; of which every step-th is taken */
    float *dst;                  /* all of the weight's rows, rounded; NULL: errors are wanted */
    double *errors;              /* by task, n_types each */
    _Atomic int err;
    struct ht_diag diag; /* of the first error */
};

static const float *importance_of(const struct rounding *r, int64_t matrix)
{
    const struct ht__weight *w = r->weight;
    const float *all = r->plan->importance[w - r->plan->model->weights];
    return all ? all + matrix % w->ne[2] * w->ne[0] : NULL;
}

static double weighed_error(const float *x, const float *y, const float *importance, int64_t rows, int64_t n)
{
    double sum = 0;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < n; i++) {
            double d = (double)x[row * n + i] - (double)y[row * n + i];
            sum += d * d * (importance ? (double)importance[i] : 1);
        }
    return sum;
}

static void encode(const struct rounding *r, const struct ht__codec *type, const float *x, int64_t rows,
                   const float *importance, void *encoded, float *dst)
{
    enum ht__cpu_level level = r->plan->settings->level;
    int64_t n = r->weight->ne[0];
    const float *used = type->flags & (HT__CODEC_USES_IMPORTANCE | HT__CODEC_NEEDS_IMPORTANCE) ? importance : NULL;
    ht__encoder(type, level)(x, rows, n, used, encoded);
    ht__decoder(type, level)(encoded, rows * n, dst);
}

static enum ht_err round_piece(struct rounding *r, int64_t task, struct ht__arena *arena, struct ht_diag *diag)
{
    const struct ht__weight *w = r->weight;
    int64_t of_matrix = (r->pieces + r->step - 1) / r->step, matrix = task / of_matrix;
    int64_t row = task % of_matrix * r->step * r->piece, left = w->ne[1] - row,
            rows = left < r->piece ? left : r->piece;
    size_t n = (size_t)(rows * w->ne[0]);
    float *x = ht__arena_raw(arena, n * sizeof *x), *again = ht__arena_raw(arena, n * sizeof *again);
    void *encoded = ht__arena_raw(arena, n * sizeof(float) + 64 * (size_t)rows);
    if (!x || !again || !encoded) return ht__fail_memory(diag, w->name);
    HT_TRY(w->rows->read(w->rows, matrix * w->ne[1] + row, rows, x, arena, diag));
    for (size_t t = 0; t < r->n_types; t++) {
        float *dst = r->dst ? r->dst + (matrix * w->ne[1] + row) * w->ne[0] : again;
        encode(r, r->types[t], x, rows, importance_of(r, matrix), encoded, dst);
        if (!r->dst)
            r->errors[(size_t)task * r->n_types + t] =
                weighed_error(x, again, importance_of(r, matrix), rows, w->ne[0]);
    }
    return HT_OK;
}

static void round_task(void *ctx, int64_t task, int thread)
{
    struct rounding *r = ctx;
    struct ht__arena arena;
    struct ht_diag diag = {0};
    int none = HT_OK;
    (void)thread;
    if (atomic_load(&r->err) != HT_OK) return;
    ht__arena_init(&arena, r->plan->run.alloc);
    enum ht_err err = round_piece(r, task, &arena, &diag);
    if (err != HT_OK && atomic_compare_exchange_strong(&r->err, &none, (int)err)) r->diag = diag;
    ht__arena_close(&arena);
}

static enum ht_err run_rounding(const struct ht__sense *s, struct rounding *r, int64_t tasks, struct ht_diag *diag)
{
    ht__pool_run(s->pool, tasks, round_task, r);
    enum ht_err err = (enum ht_err)atomic_load(&r->err);
    if (err != HT_OK && diag) *diag = r->diag;
    return err;
}

static struct rounding rounding_of(const struct ht__sense *s, const struct ht__weight *w)
{
    struct rounding r = {.plan = s->plan, .weight = w, .step = 1};
    r.piece = AT_ONCE / w->ne[0] > 0 ? AT_ONCE / w->ne[0] : 1;
    r.pieces = (w->ne[1] + r.piece - 1) / r.piece;
    return r;
}

float *ht__sense_place(struct ht__sense *s, const struct ht__weight *w)
{
    float **put = &s->put[index_of(s, w)];
    if (!*put)
        *put = ht__new_array(s->plan->run.alloc, (size_t)w->rows->n_rows, (size_t)w->rows->row_len * sizeof **put);
    return *put;
}

void ht__sense_leave(struct ht__sense *s, const struct ht__weight *w)
{
    ht__free(s->plan->run.alloc, s->put[index_of(s, w)]);
    s->put[index_of(s, w)] = NULL;
}

enum ht_err ht__sense_put(struct ht__sense *s, const struct ht__weight *w, const struct ht__codec *type,
                          struct ht_diag *diag)
{
    struct rounding r = rounding_of(s, w);
    r.dst = ht__sense_place(s, w);
    if (!r.dst) return ht__fail_memory(diag, w->name);
    r.types = &type;
    r.n_types = 1;
    return run_rounding(s, &r, r.pieces * (w->rows->n_rows / w->ne[1]), diag);
}

void ht__sense_clear(struct ht__sense *s)
{
    for (size_t i = 0; s->put && i < s->plan->model->n_weights; i++) {
        ht__free(s->plan->run.alloc, s->put[i]);
        s->put[i] = NULL;
    }
}

enum ht_err ht__sense_errors(const struct ht__sense *s, const struct ht__weight *w,
                             const struct ht__codec *const *types, size_t n_types, double *errors, struct ht_diag *diag)
{
    struct rounding r = rounding_of(s, w);
    int64_t matrices = w->rows->n_rows / w->ne[1], all = matrices * r.pieces, wanted = SAMPLE_WEIGHTS / AT_ONCE;
    if (all > wanted) r.step = (all + wanted - 1) / wanted < r.pieces ? (all + wanted - 1) / wanted : r.pieces;
    int64_t tasks = matrices * ((r.pieces + r.step - 1) / r.step);
    r.types = types;
    r.n_types = n_types;
    r.errors = ht__new_array(s->plan->run.alloc, (size_t)tasks, n_types * sizeof *r.errors);
    if (!r.errors) return ht__fail_memory(diag, w->name);
    enum ht_err err = run_rounding(s, &r, tasks, diag);
    memset(errors, 0, n_types * sizeof *errors);
    for (int64_t t = 0; err == HT_OK && t < tasks; t++)
        for (size_t k = 0; k < n_types; k++)
            errors[k] += r.errors[(size_t)t * n_types + k];
    ht__free(s->plan->run.alloc, r.errors);
    return err;
}

/* ---- running ---- */

static struct ht__replacement in_place(void *ctx, const struct ht__weight *weight)
{
    struct ht__sense *s = ctx;
    s->asked[index_of(s, weight)] = true;
    return (struct ht__replacement){&ht__codec_f32, s->put[index_of(s, weight)]};
}

static enum ht_err carry(struct ht__sense *s, int layer, float *x, bool changed, struct ht_diag *diag)
{
    enum ht_err err = HT_OK;
    int n_ctx = s->cal.n_ctx;
    ht__engine_replace(s->engine, changed ? in_place : NULL, s);
    for (int64_t c = 0; err == HT_OK && c < s->n_chunks; c += s->cal.n_seqs) {
        int n = (int)(s->n_chunks - c < s->cal.n_seqs ? s->n_chunks - c : s->cal.n_seqs);
        err = ht__engine_layer(s->engine, layer, x + c * n_ctx * s->n_embd, n, n_ctx, diag);
        if (err == HT_OK) err = tell(s, (uint64_t)n * (uint64_t)n_ctx, "", diag);
    }
    ht__engine_replace(s->engine, NULL, NULL);
    return err;
}

/* What rounding the embedding changes of the stream's first rows. */
static enum ht_err shift_embedding(struct ht__sense *s, float *x, struct ht_diag *diag)
{
    const struct ht__weight *e = ht__model_find(s->plan->model, HT__ROLE_EMBEDDING);
    const float *rounded = e ? s->put[index_of(s, e)] : NULL;
    float scale = ht__engine_hparams(s->engine)->embed_scale;
    struct ht__arena arena;
    enum ht_err err = HT_OK;
    if (!rounded) return HT_OK;
    ht__arena_init(&arena, s->plan->run.alloc);
    float *row = ht__arena_raw(&arena, (size_t)s->n_embd * sizeof *row);
    if (!row) err = ht__fail_memory(diag, "activations");
    for (int64_t t = 0; err == HT_OK && t < n_rows(s); t++) {
        const float *again = rounded + (int64_t)s->tokens[t] * s->n_embd;
        struct ht__arena scratch;
        ht__arena_init(&scratch, s->plan->run.alloc);
        err = e->rows->read(e->rows, s->tokens[t], 1, row, &scratch, diag);
        ht__arena_close(&scratch);
        for (int64_t i = 0; err == HT_OK && i < s->n_embd; i++)
            x[t * s->n_embd + i] += scale * (again[i] - row[i]);
    }
    ht__arena_close(&arena);
    return err;
}

/* ---- comparing ---- */

struct lens {
    const float *p, *q; /* logits of rows */
    int64_t n_vocab;
    double kl[LENS_ROWS];
};

static double log_sum(const float *z, int64_t n)
{
    double max = z[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        max = z[i] > max ? z[i] : max;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)z[i] - max);
    return max + log(sum);
}

static void one_divergence(void *ctx, int64_t task, int thread)
{
    struct lens *l = ctx;
    const float *p = l->p + task * l->n_vocab, *q = l->q + task * l->n_vocab;
    double a = log_sum(p, l->n_vocab), b = log_sum(q, l->n_vocab), sum = 0;
    (void)thread;
    for (int64_t i = 0; i < l->n_vocab; i++)
        sum += exp((double)p[i] - a) * (((double)p[i] - a) - ((double)q[i] - b));
    l->kl[task] = sum;
}

/* Of all tokens but each chunk's first, which is the same everywhere. */
static enum ht_err compare_ends(struct ht__sense *s, const float *x, double *kld, struct ht_diag *diag)
{
    struct lens l = {.p = s->logits, .q = s->logits + LENS_ROWS * s->n_vocab, .n_vocab = s->n_vocab};
    double sum = 0;
    int64_t batch = (int64_t)s->cal.n_seqs * s->cal.n_ctx, most = batch < LENS_ROWS ? batch : LENS_ROWS;
    for (int64_t row = 0; row < n_rows(s); row += most) {
        int n = (int)(n_rows(s) - row < most ? n_rows(s) - row : most);
        ht__engine_logit_lens(s->engine, s->end + row * s->n_embd, n, s->logits);
        ht__engine_replace(s->engine, in_place, s);
        ht__engine_logit_lens(s->engine, x + row * s->n_embd, n, s->logits + LENS_ROWS * s->n_vocab);
        ht__engine_replace(s->engine, NULL, NULL);
        ht__pool_run(s->pool, n, one_divergence, &l);
        for (int i = 0; i < n; i++)
            if ((row + i) % s->cal.n_ctx) sum += l.kl[i];
        HT_TRY(tell(s, (uint64_t)n, "", diag));
    }
    *kld = sum / (double)(s->n_chunks * (s->cal.n_ctx - 1));
    if (isfinite(*kld)) return HT_OK;
    return ht__fail(diag, HT_ERR_NONFINITE, ht__engine_name(s->engine), -1,
                    "the model gives NaN or infinite logits: types cannot be compared on it");
}

static size_t stream_bytes(const struct ht__sense *s)
{
    return (size_t)(n_rows(s) * s->n_embd) * sizeof(float);
}

enum ht_err ht__sense_divergence(struct ht__sense *s, double *kld, struct ht_diag *diag)
{
    memcpy(s->work, s->x, stream_bytes(s));
    if (s->layer == 0) HT_TRY(shift_embedding(s, s->work, diag));
    for (int layer = s->layer; layer < s->n_layers; layer++)
        HT_TRY(carry(s, layer, s->work, layer == s->layer, diag));
    return compare_ends(s, s->work, kld, diag);
}

enum ht_err ht__sense_stream(struct ht__sense *s, double *error, struct ht_diag *diag)
{
    double sum = 0;
    float *ref = s->logits; /* not needed meanwhile: see open_streams */
    memcpy(s->work, s->x, stream_bytes(s));
    HT_TRY(carry(s, s->layer, s->work, true, diag));
    memcpy(ref, s->x, stream_bytes(s));
    HT_TRY(carry(s, s->layer, ref, false, diag));
    for (int64_t t = 0; t < n_rows(s); t++) {
        double square = 0, change = 0;
        for (int64_t i = t * s->n_embd; i < (t + 1) * s->n_embd; i++) {
            double d = (double)s->work[i] - (double)ref[i];
            change += d * d;
            square += (double)ref[i] * (double)ref[i];
        }
        if (t % s->cal.n_ctx && square > 0) sum += change / square;
    }
    *error = sum / (double)(s->n_chunks * (s->cal.n_ctx - 1));
    return HT_OK;
}

enum ht_err ht__sense_next(struct ht__sense *s, struct ht_diag *diag)
{
    ht__sense_clear(s);
    if (s->layer < s->n_layers) HT_TRY(carry(s, s->layer, s->x, false, diag));
    s->layer++;
    return HT_OK;
}

/* ---- a whole model ---- */

struct choice {
    struct ht__sense *s;
    const struct ht__codec *const *types; /* by weight */
};

static enum ht_err put_types(void *ctx, int32_t layer, struct ht_diag *diag)
{
    struct choice *c = ctx;
    const struct ht__model *m = c->s->plan->model;
    for (size_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].slot.layer == layer && c->types[i])
            HT_TRY(ht__sense_put(c->s, &m->weights[i], c->types[i], diag));
    return HT_OK;
}

static enum ht_err embed(struct ht__sense *s, float *x, struct ht_diag *diag)
{
    int n_ctx = s->cal.n_ctx;
    for (int64_t c = 0; c < s->n_chunks; c += s->cal.n_seqs) {
        int n = (int)(s->n_chunks - c < s->cal.n_seqs ? s->n_chunks - c : s->cal.n_seqs);
        HT_TRY(ht__engine_embed(s->engine, s->tokens + c * n_ctx, n, n_ctx, x + c * n_ctx * s->n_embd, diag));
    }
    return HT_OK;
}

enum ht_err ht__sense_model_of(struct ht__sense *s, ht__sense_put_fn put, void *ctx, double *kld, struct ht_diag *diag)
{
    ht__sense_clear(s);
    HT_TRY(embed(s, s->work, diag));
    HT_TRY(put(ctx, -1, diag));
    HT_TRY(shift_embedding(s, s->work, diag));
    ht__sense_clear(s);
    for (int layer = 0; layer < s->n_layers; layer++) {
        HT_TRY(put(ctx, layer, diag));
        HT_TRY(carry(s, layer, s->work, true, diag));
        ht__sense_clear(s);
    }
    HT_TRY(put(ctx, -1, diag));
    enum ht_err err = compare_ends(s, s->work, kld, diag);
    ht__sense_clear(s);
    return err;
}

enum ht_err ht__sense_model(struct ht__sense *s, const struct ht__codec *const *types, double *kld,
                            struct ht_diag *diag)
{
    struct choice choice = {s, types};
    return ht__sense_model_of(s, put_types, &choice, kld, diag);
}

/* ---- opening ---- */

/* The calibration text; the built-in one where there is none. */
static enum ht_err find_text(struct ht__sense *s, struct ht_diag *diag)
{
    const struct ht__importance_settings *im = &s->plan->settings->importance;
    s->text = (struct ht__calibration_settings){.n_chunks = UINT32_MAX};
    if (im->collect)
        s->text = im->calibration;
    else
        HT_TRY(ht__calibration_parse("calibration", NULL, &s->plan->arena, &s->text, diag));
    s->text.for_codes = s->text.within = true;
    return HT_OK;
}

/* Held-out chunks, evenly spaced; of a short text that has none all of it. */
static enum ht_err take_chunks(struct ht__sense *s, size_t most, struct ht_diag *diag)
{
    const struct ht__windows *w = &s->cal.windows;
    size_t n_ctx = (size_t)s->cal.n_ctx, held = 0, room = HT__SENSE_TOKENS / n_ctx ? HT__SENSE_TOKENS / n_ctx : 1;
    for (size_t i = 0; i < w->n; i++)
        held += w->at[i].held_out;
    size_t n = held ? held : w->n, seen = 0;
    if (room > most) room = most;
    if (room > n) room = n;
    s->tokens = ht__arena_array(&s->plan->arena, room * n_ctx, sizeof *s->tokens);
    if (!s->tokens) return ht__fail_memory(diag, "tokens");
    for (size_t i = 0; i < w->n; i++) {
        if (held && !w->at[i].held_out) continue;
        size_t at = seen++;
        if (at * room / n == (at + 1) * room / n) continue;
        int32_t *to = s->tokens + (size_t)s->n_chunks++ * n_ctx;
        memcpy(to, w->tokens + i * n_ctx, n_ctx * sizeof *to);
        if (s->cal.bos >= 0) to[0] = s->cal.bos;
    }
    if (s->cal.n_seqs > s->n_chunks) s->cal.n_seqs = (int)s->n_chunks;
    return HT_OK;
}

static enum ht_err open_text(struct ht__sense *s, size_t most, struct ht_diag *diag)
{
    struct ht__hparams h;
    struct ht__run quiet = s->plan->run;
    quiet.log = NULL; /* what is to be said of the text is said where importance is collected */
    HT_TRY(find_text(s, diag));
    HT_TRY(ht__calibration_open(&s->cal, &s->text, &quiet, s->plan->model, diag));
    HT_TRY(ht__hparams_read(s->plan->model, s->plan->settings->source.path, &h, diag));
    s->n_embd = h.n_embd;
    s->n_vocab = h.n_vocab;
    s->n_layers = h.n_layers;
    return take_chunks(s, most, diag);
}

/* Logits of both models for some rows; the place is lent to a residual stream, too. */
static size_t logits_bytes(const struct ht__sense *s)
{
    size_t logits = (size_t)(2 * LENS_ROWS * s->n_vocab) * sizeof(float);
    return logits > stream_bytes(s) ? logits : stream_bytes(s);
}

static enum ht_err open_streams(struct ht__sense *s, struct ht_diag *diag)
{
    const struct ht__alloc *alloc = s->plan->run.alloc;
    size_t n = s->plan->model->n_weights;
    s->x = ht__new_array(alloc, 1, stream_bytes(s));
    s->end = ht__new_array(alloc, 1, stream_bytes(s));
    s->work = ht__new_array(alloc, 1, stream_bytes(s));
    s->logits = ht__new_array(alloc, 1, logits_bytes(s));
    s->put = ht__new_array(alloc, n + 1, sizeof *s->put);
    s->asked = ht__new_array(alloc, n + 1, sizeof *s->asked);
    return s->x && s->end && s->work && s->logits && s->put && s->asked ? HT_OK : ht__fail_memory(diag, "activations");
}

/* The largest layer as floats (of a folder twice: in its own order, too), and the largest matrix outside; streams; logits. */
static uint64_t besides(const struct ht__sense *s)
{
    const struct ht__model *m = s->plan->model;
    uint64_t most = 0, layer = 0;
    int32_t at = -1;
    for (size_t i = 0; i < m->n_weights; i++) {
        const struct ht__weight *w = &m->weights[s->plan->order[i]];
        if (w->slot.layer != at) layer = 0;
        at = w->slot.layer;
        layer += (uint64_t)w->rows->n_rows * (uint64_t)w->rows->row_len * sizeof(float);
        if (layer > most) most = layer;
    }
    bool native = s->plan->outputs[0].target->scheme != NULL;
    return (native ? 2 * most : most) + 3 * stream_bytes(s) + logits_bytes(s);
}

static struct ht__run engine_run(const struct ht__sense *s)
{
    struct ht__run run = s->plan->run;
    uint64_t taken = besides(s);
    if (run.memory) run.memory = run.memory > taken ? run.memory - taken : 1;
    return run;
}

enum ht_err ht__sense_memory(struct ht__plan *plan, uint64_t *total, struct ht_diag *diag)
{
    struct ht__sense s = {.plan = plan, .cal = {.alloc = plan->run.alloc}};
    uint64_t matrices;
    enum ht_err err = open_text(&s, SIZE_MAX, diag);
    if (err == HT_OK) {
        struct ht__run run = engine_run(&s);
        err = ht__calibration_memory(&s.cal, &run, plan->model, total, &matrices, diag);
        *total += besides(&s);
    }
    ht__calibration_close(&s.cal);
    return err;
}

enum ht_err ht__sense_open(struct ht__sense *s, struct ht__plan *plan, size_t most_chunks, struct ht_diag *diag)
{
    *s = (struct ht__sense){.plan = plan, .cal = {.alloc = plan->run.alloc}};
    HT_TRY(open_text(s, most_chunks, diag));
    HT_TRY(ht__pool_open(plan->run.n_threads, plan->run.alloc, &s->pool, diag));
    HT_TRY(open_streams(s, diag));
    struct ht__run run = engine_run(s);
    HT_TRY(ht__calibration_engine(&s->cal, &run, plan->model, &s->engine, diag));
    HT_TRY(ht__engine_check_tokens(s->engine, s->cal.dataset, s->tokens, (size_t)n_rows(s), diag));
    HT_TRY(embed(s, s->x, diag));
    memcpy(s->end, s->x, stream_bytes(s));
    double start = ht__seconds();
    for (int layer = 0; layer < s->n_layers; layer++)
        HT_TRY(carry(s, layer, s->end, false, diag));
    s->seconds = ht__seconds() - start;
    return HT_OK;
}

void ht__sense_close(struct ht__sense *s)
{
    const struct ht__alloc *alloc = s->cal.alloc;
    if (!alloc && !s->plan) return;
    if (s->plan) ht__sense_clear(s);
    ht__free(alloc, s->x);
    ht__free(alloc, s->end);
    ht__free(alloc, s->work);
    ht__free(alloc, s->logits);
    ht__free(alloc, s->put);
    ht__free(alloc, s->asked);
    ht__engine_close(&s->engine);
    ht__pool_close(&s->pool);
    ht__calibration_close(&s->cal);
}
