/*
 * The token embedding of an output that is made layer by layer. It has no inputs to learn from: what counts of its error
 * is what the model makes of it. Its rows are made in several ways, held-out chunks are run through the float model with
 * each, and the way with the least divergence is taken.
 */
#include "methods/factor.h"
#include "methods/feedback.h"
#include "pipeline/layers_parts.h"

#include <math.h>
#include <string.h>

enum way {
    ROUND,  /* as the type's encoder does */
    SCALES, /* with better scales */
    FEEDBACK, /* and error feedback by what the first feed-forward's matrices make of an error: most of what an embedding's
                 error does in the end goes through them */
    N_WAYS
};
static const char *const names[] = {"round", "better scales", "feedback"};
/*
 * Times the mean diagonal. With a tenth of it, text like the calibration's loses as much, and text of other kinds half as much
 * again: a few rows that it is full of have errors where the first feed-forward does not see them, and later layers do.
 */
static const double DAMPING = .5;
enum { SWEEPS = 4, ROWS = HT__FEEDBACK_ROWS, LENS_ROWS = 16 };

struct embedding {
    struct ht__layers *d;
    struct ht__course *course;
    const struct ht__weight *weight;
    const struct ht__codec *type;
    struct ht__coder coder; /* of a task's rows, or fewer */
    const float *importance;
    size_t item, row_bytes;
    struct ht__gram gram; /* of FEEDBACK */
    struct ht__factor factor;
    bool possible[N_WAYS];
    struct ht__arena arena;
    struct ht__feedback_buffers *buffers; /* by thread */
    float **placed;                       /* by thread: ROWS x n */
    size_t *held;                         /* chunks that are judged by */
    size_t n_held;
    float *x[N_WAYS], *ref; /* their residual streams */
    double divergence[N_WAYS];
};

/* ---- what an error costs in the first feed-forward ---- */

static const struct ht__weight *in_first(const struct ht__model *m, enum ht__role role)
{
    for (size_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].slot.layer == 0 && ht__slot_is(m->weights[i].slot, role)) return &m->weights[i];
    return NULL;
}

/* Rows of a matrix, each column times that of the norm before it. */
static enum ht_err add_matrix(struct embedding *e, struct ht__site_stats *sum, const struct ht__weight *w,
                              const float *norm, struct ht_diag *diag)
{
    enum { AT_ONCE = 512 };
    int64_t n = e->d->n_embd;
    float *rows = ht__arena_raw(&e->arena, (size_t)(AT_ONCE * n) * sizeof *rows);
    if (!rows) return ht__fail_memory(diag, w->name);
    for (int64_t row = 0; row < w->rows->n_rows; row += AT_ONCE) {
        int64_t many = w->rows->n_rows - row < AT_ONCE ? w->rows->n_rows - row : AT_ONCE;
        HT_TRY(ht__layers_read(w, row, many, rows, diag));
        for (int64_t i = 0; norm && i < many * n; i++)
            rows[i] *= norm[i % n];
        HT_TRY(ht__site_add(sum, NULL, rows, NULL, many, e->d->ops, e->d->pool, diag));
    }
    return HT_OK;
}

static enum ht_err sum_matrices(struct embedding *e, struct ht__site_stats *sum, struct ht_diag *diag)
{
    const struct ht__model *m = e->d->plan->model;
    const struct ht__weight *norm = in_first(m, HT__ROLE_FFN_NORM);
    enum ht__role roles[] = {HT__ROLE_FFN_GATE, HT__ROLE_FFN_UP};
    float *values = NULL;
    if (norm && norm->ne[0] == e->d->n_embd) {
        values = ht__arena_raw(&e->arena, (size_t)e->d->n_embd * sizeof *values);
        if (!values) return ht__fail_memory(diag, norm->name);
        HT_TRY(ht__layers_read(norm, 0, 1, values, diag));
    }
    HT_TRY(ht__site_open_float(sum, e->d->n_embd, 0, e->d->plan->run.alloc, diag));
    for (size_t i = 0; i < 2; i++) {
        const struct ht__weight *w = in_first(m, roles[i]);
        if (w && w->ne[0] == e->d->n_embd) HT_TRY(add_matrix(e, sum, w, values, diag));
    }
    ht__site_finish(sum);
    return HT_OK;
}

/* A matrix that is the output's, too, has another task beside: its codes are left to its scales. */
static enum ht_err open_feedback(struct embedding *e, struct ht_diag *diag)
{
    struct ht__site_stats sum = {.alloc = e->d->plan->run.alloc};
    if (!e->type->grid || !ht__model_find(e->d->plan->model, HT__ROLE_OUTPUT)) return HT_OK;
    enum ht_err err = sum_matrices(e, &sum, diag);
    if (err == HT_OK && sum.n_rows > 0) {
        err = ht__gram_open(&e->gram, sum.gram, e->d->n_embd, (struct ht__order){HT__ORDER_ACT, 0},
                            e->d->plan->run.alloc, diag);
        if (err == HT_OK) err = ht__factor_open(&e->factor, &e->gram, DAMPING, e->d->pool, diag);
        e->possible[FEEDBACK] = err == HT_OK;
    }
    ht__site_close(&sum);
    return err;
}

/* ---- rows ---- */

static void make_rows(const struct embedding *e, enum way way, int thread, const float *x, int64_t n, uint8_t *dst)
{
    enum ht__cpu_level level = e->d->plan->settings->level;
    int64_t columns = e->d->n_embd;
    if (way == ROUND) {
        const float *importance = e->type->flags & HT__CODEC_USES_IMPORTANCE ? e->importance : NULL;
        ht__encoder(e->type, level)(x, n, columns, importance, dst);
        return;
    }
    e->type->encode_best(x, n, columns, e->importance, dst);
    if (way == SCALES) return;
    ht__feedback_place(&e->factor, x, n, e->placed[thread]);
    ht__feedback_codes(&e->factor, e->d->ops, &e->coder, e->placed[thread], 0, n, &e->buffers[thread], SWEEPS, dst);
}

struct rows_job {
    const struct embedding *e;
    enum way way;
    uint8_t *dst;
    _Atomic int err; /* enum ht_err; the first one's diagnosis is in diag */
    struct ht_diag *diag;
};

static void some_rows(void *ctx, int64_t task, int thread)
{
    struct rows_job *j = ctx;
    const struct embedding *e = j->e;
    int64_t row = task * ROWS, n = e->weight->rows->n_rows - row < ROWS ? e->weight->rows->n_rows - row : ROWS;
    float *x = ht__new_array(e->d->plan->run.alloc, (size_t)n, (size_t)e->d->n_embd * sizeof *x);
    struct ht_diag diag = {0};
    enum ht_err err = x ? ht__layers_read(e->weight, row, n, x, &diag) : ht__fail_memory(&diag, e->weight->name);
    if (err == HT_OK) make_rows(e, j->way, thread, x, n, j->dst + (size_t)row * e->row_bytes);
    int none = HT_OK;
    if (err != HT_OK && atomic_compare_exchange_strong(&j->err, &none, (int)err)) *j->diag = diag;
    ht__free(e->d->plan->run.alloc, x);
}

static enum ht_err make_all(const struct embedding *e, enum way way, uint8_t *dst, struct ht_diag *diag)
{
    struct ht_diag first = {0};
    struct rows_job j = {.e = e, .way = way, .dst = dst, .diag = &first};
    ht__pool_run(e->d->pool, (e->weight->rows->n_rows + ROWS - 1) / ROWS, some_rows, &j);
    enum ht_err err = (enum ht_err)atomic_load(&j.err);
    if (err != HT_OK && diag) *diag = first;
    return err;
}

/* ---- judging ---- */

static enum ht_err open_held(struct embedding *e, struct ht_diag *diag)
{
    const struct ht__windows *w = &e->d->cal.windows;
    size_t n_ctx = (size_t)e->d->cal.n_ctx, most = HT__MOST_JUDGED / n_ctx ? HT__MOST_JUDGED / n_ctx : 1;
    e->held = ht__arena_array(&e->arena, most, sizeof *e->held);
    if (!e->held) return ht__fail_memory(diag, "activations");
    for (size_t i = 0; i < w->n && e->n_held < most; i++)
        if (w->at[i].held_out) e->held[e->n_held++] = i;
    size_t size = e->n_held * n_ctx * (size_t)e->d->n_embd * sizeof(float);
    e->ref = ht__arena_raw(&e->arena, size);
    for (int way = 0; way < N_WAYS; way++)
        if (e->possible[way] && !(e->x[way] = ht__arena_raw(&e->arena, size)))
            return ht__fail_memory(diag, "activations");
    return e->ref ? HT_OK : ht__fail_memory(diag, "activations");
}

static float *held_rows(const struct embedding *e, float *x, size_t i)
{
    return x + (int64_t)i * e->d->cal.n_ctx * e->d->n_embd;
}

/* x += scale (row as it becomes - row as it is) */
static enum ht_err shift_token(struct embedding *e, enum way way, int32_t token, float *x, float *row,
                               struct ht_diag *diag)
{
    int64_t n = e->d->n_embd;
    float scale = ht__engine_hparams(e->d->engine)->embed_scale, *again = row + n;
    HT_TRY(ht__layers_read(e->weight, token, 1, row, diag));
    make_rows(e, way, 0, row, 1, (uint8_t *)(again + n));
    ht__decoder(e->type, e->d->plan->settings->level)(again + n, n, again);
    for (int64_t i = 0; i < n; i++)
        x[i] += scale * (again[i] - row[i]);
    return HT_OK;
}

static enum ht_err start_held(struct embedding *e, struct ht_diag *diag)
{
    struct ht__layers *d = e->d;
    int64_t n_ctx = d->cal.n_ctx, n = d->n_embd;
    float *row = ht__arena_raw(&e->arena, (size_t)(3 * n) * sizeof *row + 64);
    if (!row) return ht__fail_memory(diag, "activations");
    for (size_t i = 0; i < e->n_held; i++) {
        const float *from = ht__layers_rows(d, d->flow.x, e->held[i]);
        memcpy(held_rows(e, e->ref, i), from, (size_t)(n_ctx * n) * sizeof *from);
        for (int way = 0; way < N_WAYS; way++) {
            if (!e->possible[way]) continue;
            float *x = held_rows(e, e->x[way], i);
            memcpy(x, from, (size_t)(n_ctx * n) * sizeof *x);
            for (int64_t t = 0; t < n_ctx; t++)
                HT_TRY(shift_token(e, (enum way)way, d->cal.windows.tokens[(int64_t)e->held[i] * n_ctx + t], x + t * n,
                                   row, diag));
        }
    }
    return HT_OK;
}

static enum ht_err carry_held(struct embedding *e, int layer, float *x, struct ht_diag *diag)
{
    struct ht__layers *d = e->d;
    for (size_t i = 0; i < e->n_held; i += (size_t)d->cal.n_seqs) {
        size_t left = e->n_held - i;
        int n = left < (size_t)d->cal.n_seqs ? (int)left : d->cal.n_seqs;
        HT_TRY(ht__engine_layer(d->engine, layer, held_rows(e, x, i), n, d->cal.n_ctx, diag));
    }
    return HT_OK;
}

struct lens {
    const float *p, *q; /* logits of rows */
    int64_t n_vocab;
    double kl[LENS_ROWS];
};

/* log of the sum of exp, and the largest of them. */
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

static enum ht_err judge(struct embedding *e, struct ht_diag *diag)
{
    struct ht__layers *d = e->d;
    int64_t rows = (int64_t)e->n_held * d->cal.n_ctx;
    struct lens l = {.n_vocab = ht__engine_hparams(d->engine)->n_vocab};
    float *logits = ht__arena_raw(&e->arena, (size_t)(2 * LENS_ROWS * l.n_vocab) * sizeof *logits);
    if (!logits) return ht__fail_memory(diag, "logits");
    l.p = logits;
    l.q = logits + LENS_ROWS * l.n_vocab;
    for (int64_t row = 0; row < rows; row += LENS_ROWS) {
        int n = (int)(rows - row < LENS_ROWS ? rows - row : LENS_ROWS);
        ht__engine_logit_lens(d->engine, e->ref + row * d->n_embd, n, logits);
        for (int way = 0; way < N_WAYS; way++) {
            if (!e->possible[way]) continue;
            ht__engine_logit_lens(d->engine, e->x[way] + row * d->n_embd, n, logits + LENS_ROWS * l.n_vocab);
            ht__pool_run(d->pool, n, one_divergence, &l);
            for (int i = 0; i < n; i++)
                e->divergence[way] += l.kl[i] / (double)rows;
        }
    }
    return HT_OK;
}

static enum ht_err compare(struct embedding *e, struct ht_diag *diag)
{
    HT_TRY(open_held(e, diag));
    HT_TRY(start_held(e, diag));
    for (int layer = 0; layer < ht__engine_hparams(e->d->engine)->n_layers; layer++) {
        HT_TRY(carry_held(e, layer, e->ref, diag));
        for (int way = 0; way < N_WAYS; way++)
            if (e->possible[way]) HT_TRY(carry_held(e, layer, e->x[way], diag));
        HT_TRY(ht__layers_tell(e->d, 0, e->weight->name, diag));
    }
    return judge(e, diag);
}

/* ---- the embedding ---- */

static enum ht_err open_buffers(struct embedding *e, struct ht_diag *diag)
{
    size_t threads = (size_t)ht__pool_threads(e->d->pool), n = (size_t)e->d->n_embd;
    e->buffers = ht__arena_array(&e->arena, threads, sizeof *e->buffers);
    e->placed = ht__arena_array(&e->arena, threads, sizeof *e->placed);
    HT_TRY(ht__coder_of_type(&e->coder, e->type, e->d->plan->settings->level, ROWS, e->d->n_embd, &e->arena, diag));
    for (size_t i = 0; e->buffers && e->placed && i < threads; i++) {
        e->placed[i] = ht__arena_raw(&e->arena, ROWS * n * sizeof(float));
        if (!e->placed[i] || !ht__feedback_open(&e->buffers[i], &e->coder, &e->arena))
            return ht__fail_memory(diag, "embedding");
    }
    return e->buffers && e->placed ? HT_OK : ht__fail_memory(diag, "embedding");
}

static enum ht_err take_best(struct embedding *e, struct ht_diag *diag)
{
    struct ht__chosen *chosen = &e->course->chosen[e->item];
    enum way taken = ROUND;
    for (int way = 0; way < N_WAYS; way++)
        if (e->possible[way] && e->divergence[way] < e->divergence[taken]) taken = (enum way)way;
    chosen->coded = ht__new_array(e->d->plan->run.alloc, (size_t)e->weight->rows->n_rows, e->row_bytes);
    if (!chosen->coded) return ht__fail_memory(diag, e->weight->name);
    chosen->taken = names[taken];
    chosen->by_divergence = true;
    chosen->before = e->divergence[ROUND];
    chosen->after = e->divergence[taken];
    return make_all(e, taken, chosen->coded, diag);
}

/* The first rows of the residual stream of all tokens, with the embedding that was taken. */
static enum ht_err start_all(struct embedding *e, struct ht_diag *diag)
{
    struct ht__layers *d = e->d;
    const uint8_t *rows = e->course->chosen[e->item].coded;
    float scale = ht__engine_hparams(d->engine)->embed_scale;
    float *row = ht__arena_raw(&e->arena, (size_t)(2 * d->n_embd) * sizeof *row), *again = row + d->n_embd;
    if (!row) return ht__fail_memory(diag, "activations");
    for (int64_t t = 0; t < d->n_tokens; t++) {
        int32_t token = d->cal.windows.tokens[t];
        HT_TRY(ht__layers_read(e->weight, token, 1, row, diag));
        ht__decoder(e->type, d->plan->settings->level)(rows + (size_t)token * e->row_bytes, d->n_embd, again);
        for (int64_t i = 0; i < d->n_embd; i++)
            e->course->flow.x[t * d->n_embd + i] += scale * (again[i] - row[i]);
    }
    return HT_OK;
}

static enum ht_err choose(struct embedding *e, struct ht_diag *diag)
{
    e->possible[ROUND] = true;
    e->possible[SCALES] = e->type->encode_best != NULL;
    HT_TRY(open_buffers(e, diag));
    if (e->possible[SCALES]) HT_TRY(open_feedback(e, diag));
    if (e->possible[SCALES]) HT_TRY(compare(e, diag));
    HT_TRY(take_best(e, diag));
    return start_all(e, diag);
}

enum ht_err ht__course_embed(struct ht__layers *d, struct ht__course *course, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__model_find(d->plan->model, HT__ROLE_EMBEDDING);
    memcpy(course->flow.x, d->flow.x, (size_t)(d->n_tokens * d->n_embd) * sizeof *d->flow.x);
    size_t item = w ? (size_t)(w - d->plan->model->weights) : 0;
    if (!w || course->native || !ht__course_changes(course, item)) return HT_OK;
    struct embedding e = {.d = d,
                          .course = course,
                          .weight = w,
                          .type = course->out->choices[item].type,
                          .importance = d->plan->importance[item],
                          .item = item,
                          .row_bytes = ht__codec_bytes(course->out->choices[item].type, (uint64_t)d->n_embd)};
    e.gram.alloc = d->plan->run.alloc;
    ht__arena_init(&e.arena, d->plan->run.alloc);
    enum ht_err err = choose(&e, diag);
    ht__factor_close(&e.factor);
    ht__gram_close(&e.gram);
    ht__arena_close(&e.arena);
    return err;
}
