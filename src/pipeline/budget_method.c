/*
 * What `best` leaves of a type's error. Of a few layers, the products' error on tokens that are held out, of rows of each
 * matrix, is taken as rounding and as the method makes them in every type: types whose codes can be fed back gain more than
 * others. A type's error is then what rounding makes of it times what the method left of it in matrices of the same role.
 */
#include "pipeline/budget_parts.h"
#include "calibrate/site.h"
#include "engine/engine.h"
#include "methods/best.h"
#include "model/rows.h"

#include <math.h>
#include <string.h>

enum {
    SAMPLED_LAYERS = 3,
    SAMPLED_ROWS = 32,
    HELD_OF = 4, /* of so many chunks the last one is held out */
    MOST_HELD = 1024
};

struct sampling {
    struct ht__plan *plan;
    struct ht__budget_plan *b;
    struct ht__sense *sense;
    /* of the site that is looked at */
    struct ht__site site;
    const struct ht__weight *first;
    struct ht__site_stats stats;
    float *rows, *some; /* of a pass: all tokens; without each chunk's first */
    int64_t n_rows, n_in;
    bool seen;
};

bool ht__budget_has_method(const struct ht__plan *plan)
{
    return plan->settings->best && plan->settings->importance.collect;
}

/* Evenly spaced, none of them at an end. */
static bool is_sampled(const struct ht__sense *s)
{
    for (int64_t i = 0; i < SAMPLED_LAYERS; i++)
        if ((2 * i + 1) * s->n_layers / (2 * SAMPLED_LAYERS) == s->layer) return true;
    return false;
}

/* ---- what a site shows ---- */

static void watch(void *ctx, const struct ht__weight *weight, int64_t mat, const float *x, int64_t n_rows, int64_t n_in)
{
    struct sampling *s = ctx;
    if (weight != s->first || mat != 0 || n_rows != s->n_rows || n_in != s->n_in) return;
    memcpy(s->rows, x, (size_t)(n_rows * n_in) * sizeof *x);
    s->seen = true;
    ht__engine_enough(s->sense->engine);
}

static enum ht_err one_pass(struct sampling *s, int64_t chunk, int n, struct ht_diag *diag)
{
    struct ht__sense *sense = s->sense;
    int64_t n_ctx = sense->cal.n_ctx, width = n_ctx * sense->n_embd;
    struct ht__stretch stretch = {.layer = sense->layer, .from = HT__MARK_START, .to = HT__MARK_END};
    s->n_rows = n * n_ctx;
    s->seen = false;
    memcpy(sense->work, sense->x + chunk * width, (size_t)(n * width) * sizeof(float));
    ht__engine_observe(sense->engine, watch, s);
    enum ht_err err = ht__engine_stretch(sense->engine, &stretch, sense->work, n, (int)n_ctx, diag);
    ht__engine_observe(sense->engine, NULL, NULL);
    return err;
}

/* The first token of a chunk is the same everywhere. */
static int64_t gather(struct sampling *s, int64_t chunk, int n, bool held)
{
    int64_t n_ctx = s->sense->cal.n_ctx, rows = 0;
    for (int i = 0; i < n; i++) {
        if (((chunk + i) % HELD_OF == HELD_OF - 1) != held) continue;
        memcpy(s->some + rows * s->n_in, s->rows + (i * n_ctx + 1) * s->n_in,
               (size_t)((n_ctx - 1) * s->n_in) * sizeof(float));
        rows += n_ctx - 1;
    }
    return rows;
}

/* False: not every token is multiplied with it, and nothing is known of the site. */
static enum ht_err look(struct sampling *s, const struct ht__ops *ops, bool *known, struct ht_diag *diag)
{
    struct ht__sense *sense = s->sense;
    *known = true;
    for (int64_t c = 0; *known && c < sense->n_chunks; c += sense->cal.n_seqs) {
        int n = (int)(sense->n_chunks - c < sense->cal.n_seqs ? sense->n_chunks - c : sense->cal.n_seqs);
        HT_TRY(one_pass(s, c, n, diag));
        *known = s->seen;
        if (!s->seen) break;
        int64_t held = gather(s, c, n, true);
        ht__site_hold(&s->stats, s->some, s->some, NULL, held);
        int64_t rows = gather(s, c, n, false);
        HT_TRY(ht__site_add(&s->stats, s->some, s->some, NULL, rows, ops, sense->pool, diag));
    }
    *known &= s->stats.n_held > 0 && s->stats.n_rows > 0;
    if (*known) ht__site_finish(&s->stats);
    return HT_OK;
}

/* ---- a matrix in every type ---- */

static enum ht_err read_rows(const struct ht__weight *w, int64_t n, float *x, struct ht_diag *diag)
{
    struct ht__arena scratch;
    enum ht_err err = HT_OK;
    ht__arena_init(&scratch, NULL);
    for (int64_t i = 0; err == HT_OK && i < n; i++) {
        err = w->rows->read(w->rows, i * w->ne[1] / n, 1, x + i * w->ne[0], &scratch, diag);
        ht__arena_reset(&scratch);
    }
    ht__arena_close(&scratch);
    return err;
}

static enum ht_err one_type(struct sampling *s, const struct ht__weight *w, const struct ht__codec *type, int64_t n,
                            struct ht__best *best, const float *x, struct ht_diag *diag)
{
    const struct ht__alloc *alloc = s->plan->run.alloc;
    struct ht__budget_gain *gain = &s->b->gains[w->slot.role][ht__budget_candidate(type)];
    struct ht__coder coder;
    struct ht__best_matrix m = {
        .coder = &coder, .w = x, .importance = s->plan->importance[w - s->plan->model->weights]};
    struct ht__arena arena;
    ht__arena_init(&arena, alloc);
    enum ht_err err = ht__coder_of_type(&coder, type, s->plan->settings->level, n, w->ne[0], &arena, diag);
    if (err == HT_OK) {
        m.coded = ht__arena_raw(&arena, coder.size);
        m.decoded = ht__arena_raw(&arena, (size_t)(n * w->ne[0]) * sizeof *m.decoded);
        err = m.coded && m.decoded ? ht__best_matrix(best, &m, diag) : ht__fail_memory(diag, w->name);
    }
    ht__arena_close(&arena);
    if (err != HT_OK || !(m.before > 0) || !(m.after > 0)) return err;
    gain->log_sum += log(m.after / m.before);
    gain->n++;
    return HT_OK;
}

static enum ht_err one_matrix(struct sampling *s, const struct ht__budget_matrix *matrix, struct ht__best *best,
                              struct ht_diag *diag)
{
    const struct ht__weight *w = &s->plan->model->weights[matrix->weight];
    int64_t n = w->ne[1] < SAMPLED_ROWS ? w->ne[1] : SAMPLED_ROWS;
    float *x = ht__new_array(s->plan->run.alloc, (size_t)n, (size_t)w->ne[0] * sizeof *x);
    enum ht_err err = x ? read_rows(w, n, x, diag) : ht__fail_memory(diag, w->name);
    for (size_t t = 0; err == HT_OK && t < matrix->n; t++)
        if (!(matrix->types[t]->flags & HT__CODEC_PLAIN)) err = one_type(s, w, matrix->types[t], n, best, x, diag);
    ht__free(s->plan->run.alloc, x);
    return err;
}

/* Stacks of experts and of heads are rounded by the method, too. */
static bool is_of_site(const struct sampling *s, const struct ht__budget_matrix *matrix)
{
    const struct ht__weight *w = &s->plan->model->weights[matrix->weight];
    struct ht__site site = ht__slot_site(w->slot);
    return w->ne[0] == s->n_in && w->rows->n_rows == w->ne[1] && memcmp(&site, &s->site, sizeof site) == 0;
}

static enum ht_err look_and_choose(struct sampling *s, struct ht_diag *diag)
{
    const struct ht__ops *ops = ht__ops(ht__cpu_best());
    const struct ht__order order = {HT__ORDER_ACT, 0};
    struct ht__best *best = NULL;
    bool known;
    HT_TRY(look(s, ops, &known, diag));
    if (!known) return HT_OK;
    enum ht_err err = ht__best_open(&s->stats, HT__BEST_SPEND | ht__best_lean(s->n_in), order, ops, s->sense->pool,
                                    s->plan->run.alloc, &best, diag);
    for (size_t i = 0; err == HT_OK && i < s->b->n; i++)
        if (is_of_site(s, &s->b->matrices[i])) err = one_matrix(s, &s->b->matrices[i], best, diag);
    ht__best_close(&best);
    return err;
}

static enum ht_err one_site(struct sampling *s, struct ht_diag *diag)
{
    const struct ht__alloc *alloc = s->plan->run.alloc;
    size_t rows = (size_t)s->sense->cal.n_seqs * (size_t)s->sense->cal.n_ctx, width = (size_t)s->n_in * sizeof(float);
    enum ht_err err = ht__site_open(&s->stats, s->n_in, 0, MOST_HELD, alloc, diag);
    s->rows = ht__new_array(alloc, rows, width);
    s->some = ht__new_array(alloc, rows, width);
    if (err == HT_OK) err = s->rows && s->some ? look_and_choose(s, diag) : ht__fail_memory(diag, "activations");
    ht__free(alloc, s->rows);
    ht__free(alloc, s->some);
    ht__site_close(&s->stats);
    return err;
}

/* The first matrix of a site among those that the budget chooses for. */
static bool is_first(const struct ht__budget_plan *b, const struct ht__model *model, size_t at)
{
    struct ht__site site = ht__slot_site(model->weights[b->matrices[at].weight].slot), other;
    for (size_t i = 0; i < at; i++) {
        other = ht__slot_site(model->weights[b->matrices[i].weight].slot);
        if (memcmp(&site, &other, sizeof site) == 0) return false;
    }
    return site.kind != HT__SITE_NONE;
}

enum ht_err ht__budget_sample(struct ht__plan *plan, struct ht__budget_plan *b, struct ht__sense *sense,
                              struct ht_diag *diag)
{
    if (!ht__budget_has_method(plan) || !is_sampled(sense)) return HT_OK;
    for (size_t i = 0; i < b->n; i++) {
        const struct ht__weight *w = &plan->model->weights[b->matrices[i].weight];
        struct sampling s = {.plan = plan, .b = b, .sense = sense, .first = w, .n_in = w->ne[0]};
        if (w->slot.layer != sense->layer || !is_first(b, plan->model, i)) continue;
        s.site = ht__slot_site(w->slot);
        s.stats.alloc = plan->run.alloc;
        HT_TRY(one_site(&s, diag));
    }
    return HT_OK;
}

/* Where nothing is known of the role: as of the type in all roles. An embedding's codes are chosen in another way. */
double ht__budget_left(const struct ht__budget_plan *b, enum ht__role role, const struct ht__codec *type)
{
    size_t at = ht__budget_candidate(type);
    struct ht__budget_gain sum = b->gains[role][at];
    if (role == HT__ROLE_EMBEDDING) return 1;
    for (size_t r = 0; b->gains[role][at].n == 0 && r < HT__N_ROLES; r++) {
        sum.log_sum += b->gains[r][at].log_sum;
        sum.n += b->gains[r][at].n;
    }
    return sum.n ? exp(sum.log_sum / sum.n) : 1;
}
