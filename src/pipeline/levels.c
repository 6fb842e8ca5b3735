#include "pipeline/levels.h"
#include "base/pool.h"
#include "base/progress.h"
#include "pipeline/floats.h"
#include "pipeline/folder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A group of matrices that end alike: one, or those that programs fuse. Its members are linked in the view's order. */
struct member {
    uint32_t item;
    size_t native;
    struct member *next;
};
struct group {
    struct member *first, *last;
};

struct survey {
    struct ht__plan *plan;
    struct ht__plan_output *out;
    const struct ht__codec *dtype;
    struct group *groups;
    size_t n_groups;
    struct ht__pool *pool;
    struct thread {
        struct ht__arena arena, scratch;
        struct ht_diag diag;
    } * threads;
    int n_threads;
    struct ht__progress progress;
    uint64_t done;
};

/* ---- the error of one matrix ---- */

/* Chunks of rows, each with sums of its own, which are added in their order: a threshold must not depend on which thread
 * was faster. */
struct measuring {
    struct survey *survey;
    const struct ht__weight *weight;
    const struct ht__rows *rows;
    const struct ht__scheme_params *params;
    struct ht__matrix matrix;
    const float *importance;
    int64_t chunk_rows;
    bool magnitudes; /* the first of two passes: only the largest magnitude is looked for */
    struct chunk_sums {
        double error, squares;
        float most;
        enum ht_err err;
    } * chunks;
};

static enum ht_err compare(const struct measuring *m, int64_t row, int64_t n, const float *x, struct thread *t,
                           struct chunk_sums *sums)
{
    const struct ht__scheme *scheme = m->params->scheme;
    struct ht__codes codes;
    int64_t weights = n * m->matrix.n_in;
    float *again = ht__arena_raw(&t->arena, (size_t)weights * sizeof *again);
    if (!again || !ht__codes_new(&codes, m->params, &m->matrix, row, n, &t->arena))
        return ht__fail_memory(&t->diag, m->weight->name);
    const struct ht__method_params *method = &m->survey->out->target->method;
    if (!method->method->rows(method, m->params, &m->matrix, x, m->importance, &codes))
        return ht__fail_memory(&t->diag, m->weight->name);
    scheme->value(m->params, &m->matrix, &codes, again);
    sums->squares = ht__floats_squares(x, NULL, weights);
    sums->error = ht__floats_squares(x, again, weights);
    return HT_OK;
}

static enum ht_err measure_rows(const struct measuring *m, int64_t chunk, struct thread *t)
{
    int64_t row = chunk * m->chunk_rows, left = m->matrix.n_out - row, n = left < m->chunk_rows ? left : m->chunk_rows;
    int64_t weights = n * m->matrix.n_in;
    float *x = ht__arena_raw(&t->arena, (size_t)weights * sizeof *x);
    if (!x) return ht__fail_memory(&t->diag, m->weight->name);
    HT_TRY(m->rows->read(m->rows, row, n, x, &t->scratch, &t->diag));
    if (!ht__floats_finite(x, weights)) return ht__floats_refuse(m->weight, row, n, x, &t->diag);
    if (!m->magnitudes) return compare(m, row, n, x, t, &m->chunks[chunk]);
    for (int64_t i = 0; i < weights; i++)
        m->chunks[chunk].most = fmaxf(m->chunks[chunk].most, fabsf(x[i]));
    return HT_OK;
}

static void measure_task(void *ctx, int64_t chunk, int thread)
{
    const struct measuring *m = ctx;
    struct thread *t = &m->survey->threads[thread];
    if (ht__cancelled(&m->survey->plan->run) || t->diag.code != HT_OK) return;
    m->chunks[chunk].err = measure_rows(m, chunk, t);
    ht__arena_reset(&t->arena);
    ht__arena_reset(&t->scratch);
}

static enum ht_err run_pass(struct measuring *m, int64_t n, struct ht_diag *diag)
{
    struct survey *s = m->survey;
    ht__pool_run(s->pool, n, measure_task, m);
    for (int i = 0; i < s->n_threads; i++)
        if (s->threads[i].diag.code != HT_OK) {
            if (diag && diag->code == HT_OK) *diag = s->threads[i].diag;
            return s->threads[i].diag.code;
        }
    for (int64_t i = 0; i < n; i++)
        if (m->chunks[i].err != HT_OK) return m->chunks[i].err;
    return ht__cancelled(&s->plan->run) ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled") : HT_OK;
}

/* Relative: the root of the sum of squared differences over the sum of squares, as reports have it. */
static enum ht_err measure(struct survey *s, const struct member *member, const struct ht__scheme_params *params,
                           double *error, struct ht_diag *diag)
{
    const struct ht__weight *w = &s->plan->model->native[member->native];
    struct measuring m = {.survey = s,
                          .weight = w,
                          .rows = w->stack ? w->stack->rows : w->rows,
                          .params = params,
                          .matrix = ht__native_matrix(w, s->dtype),
                          .importance = s->plan->importance[member->item]};
    int64_t multiple = ht__scheme_rows(params, &m.matrix), wanted = HT__CHUNK_WEIGHTS / m.matrix.n_in;
    m.chunk_rows = wanted > multiple ? wanted / multiple * multiple : multiple;
    int64_t n = (m.matrix.n_out + m.chunk_rows - 1) / m.chunk_rows;
    double sum = 0, squares = 0;
    m.chunks = ht__new_array(s->plan->run.alloc, (size_t)n + 1, sizeof *m.chunks);
    if (!m.chunks) return ht__fail_memory(diag, w->name);
    enum ht_err err = HT_OK;
    if (ht__scheme_flags(params) & HT__SCHEME_NEEDS_AMAX) {
        m.magnitudes = true;
        err = run_pass(&m, n, diag);
        for (int64_t i = 0; i < n; i++)
            m.matrix.amax = fmaxf(m.matrix.amax, m.chunks[i].most);
        m.magnitudes = false;
    }
    if (err == HT_OK) err = run_pass(&m, n, diag);
    for (int64_t i = 0; i < n; i++) {
        sum += m.chunks[i].error;
        squares += m.chunks[i].squares;
    }
    ht__free(s->plan->run.alloc, m.chunks);
    *error = squares > 0 ? sqrt(sum / squares) : 0;
    s->done += (uint64_t)(m.matrix.n_out * m.matrix.n_in);
    (void)ht__progress_tell(&s->progress, s->done, w->name);
    return err;
}

/* ---- levels ---- */

static bool holds_all(const struct survey *s, const struct group *g, const struct ht__scheme_params *params)
{
    for (const struct member *m = g->first; m; m = m->next)
        if (ht__native_unsuited(&s->plan->model->native[m->native], s->dtype, params)) return false;
    return true;
}

/* The largest error of its members, and of which. */
static enum ht_err measure_group(struct survey *s, const struct group *g, const struct ht__scheme_params *params,
                                 double *most, const struct member **worst, struct ht_diag *diag)
{
    *most = -1;
    for (const struct member *m = g->first; m; m = m->next) {
        double error = 0;
        HT_TRY(measure(s, m, params, &error, diag));
        if (error <= *most) continue;
        *most = error;
        *worst = m;
    }
    return HT_OK;
}

static enum ht_err note(struct survey *s, const struct group *g, const struct ht__scheme_params *level, const char *why,
                        struct ht_diag *diag)
{
    const char *copy = why[0] ? ht__arena_str(&s->plan->arena, why) : NULL;
    if (why[0] && !copy) return ht__fail_memory(diag, "plan");
    for (const struct member *m = g->first; m; m = m->next) {
        s->out->linears[m->native].scheme = level;
        s->out->linears[m->native].level = copy;
    }
    return HT_OK;
}

static enum ht_err choose_level(struct survey *s, const struct group *g, struct ht_diag *diag)
{
    const struct ht__ladder *ladder = s->out->target->ladder;
    double limit = s->plan->settings->max_error;
    char why[400] = "", text[200];
    for (size_t i = 0; i < ladder->n; i++) {
        const struct ht__scheme_params *level = ladder->levels[i];
        const struct member *worst = g->first;
        double error = 0;
        if (!level) return note(s, g, NULL, why, diag);
        if (!holds_all(s, g, level)) {
            snprintf(why, sizeof why, "%s does not suit its shape", ht__scheme_text(level, text, sizeof text));
            continue;
        }
        if (i + 1 < ladder->n) HT_TRY(measure_group(s, g, level, &error, &worst, diag));
        if (error <= limit) return note(s, g, level, why, diag);
        snprintf(why, sizeof why, "%s: error %.4f is above %g%s%.150s", ht__scheme_text(level, text, sizeof text),
                 error, limit, g->first == g->last ? "" : ", of ",
                 g->first == g->last ? "" : s->plan->model->native[worst->native].name);
    }
    return note(s, g, ladder->levels[ladder->n - 1], why, diag);
}

/* ---- the survey ---- */

static enum ht_err gather(struct survey *s, uint64_t *n_weights, struct ht_diag *diag)
{
    struct ht__plan *plan = s->plan;
    const struct ht__model *model = plan->model;
    uint32_t *fused, n_fused;
    HT_TRY(ht__native_groups(model, &plan->arena, &fused, &n_fused, diag));
    s->groups = ht__arena_array(&plan->arena, model->n_native + 1, sizeof *s->groups);
    size_t *at = ht__arena_array(&plan->arena, (size_t)n_fused + 1, sizeof *at); /* by fused group, from 1 */
    uint32_t *items = ht__arena_array(&plan->arena, model->n_native + 1, sizeof *items);
    if (!s->groups || !at || !items) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct ht__weight *w = ht__item_in(plan, s->out, i);
        if (w) items[w->native] = (uint32_t)i;
    }
    for (size_t i = 0; i < model->n_native; i++) {
        const struct ht__scheme_choice *c = &s->out->linears[i];
        if (!c->scheme || c->rule) continue;
        struct member *m = ht__arena_new(&plan->arena, sizeof *m);
        if (!m) return ht__fail_memory(diag, "plan");
        *m = (struct member){.item = items[i], .native = i};
        size_t *place = fused[i] == UINT32_MAX ? NULL : &at[fused[i]];
        struct group *g = &s->groups[place && *place ? *place - 1 : s->n_groups];
        if (!place || !*place) s->n_groups++;
        if (place && !*place) *place = s->n_groups;
        if (g->last) g->last->next = m;
        if (!g->first) g->first = m;
        g->last = m;
        *n_weights += (uint64_t)(model->native[i].ne[0] * model->native[i].ne[1]);
    }
    return HT_OK;
}

static enum ht_err start(struct survey *s, struct ht_diag *diag)
{
    const struct ht__run *run = &s->plan->run;
    HT_TRY(ht__pool_open(run->n_threads, run->alloc, &s->pool, diag));
    s->n_threads = ht__pool_threads(s->pool);
    s->threads = ht__arena_array(&s->plan->arena, (size_t)s->n_threads, sizeof *s->threads);
    if (!s->threads) return ht__fail_memory(diag, "threads");
    for (int i = 0; i < s->n_threads; i++) {
        ht__arena_init(&s->threads[i].arena, run->alloc);
        ht__arena_init(&s->threads[i].scratch, run->alloc);
    }
    return HT_OK;
}

static void end(struct survey *s)
{
    for (int i = 0; s->threads && i < s->n_threads; i++) {
        ht__arena_close(&s->threads[i].arena);
        ht__arena_close(&s->threads[i].scratch);
    }
    ht__pool_close(&s->pool);
}

enum ht_err ht__levels_choose(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    struct survey s = {.plan = plan, .out = out, .dtype = ht__folder_dtype(plan)};
    uint64_t n_weights = 0;
    if (plan->purpose == HT__REHEARSE) return HT_OK;
    if (plan->settings->source.remote && plan->purpose == HT__ESTIMATE)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, out->target->type, -1,
                        "its levels depend on the weights, which lie on the hub: download the model first "
                        "(`halftone pull`)");
    HT_TRY(gather(&s, &n_weights, diag));
    ht__log_printf(plan->run.log, HT__LOG_INFO,
                   "%s: the weights are read once more, to measure what each level loses of each matrix",
                   out->target->type);
    enum ht_err err = start(&s, diag);
    ht__progress_begin(&s.progress, &plan->run, "survey", "weights", n_weights);
    for (size_t i = 0; err == HT_OK && i < s.n_groups; i++)
        err = choose_level(&s, &s.groups[i], diag);
    end(&s);
    return err;
}
