/*
 * Experts in the layers driver: a stack's matrices are chosen one by one, each by the tokens that its expert is sent. Which
 * these are is what the float model's router says, for both models: so that both show the same tokens to an expert, in the same
 * order. Where all experts' products would take too much memory, the text is looked at as often as there are groups of experts
 * that do not.
 */
#include "calibrate/experts.h"
#include "pipeline/layers_parts.h"

#include <string.h>

enum { MOST_HELD = 512 };
static const uint64_t most_bytes = (uint64_t)1 << 30; /* of products */

bool ht__course_chooses_experts(const struct ht__course *c, const struct ht__weight *w, size_t item)
{
    const struct ht__choice *choice = &c->out->choices[item];
    if (c->native || !w || choice->scheme || !ht__slot_of_experts(w->slot) || w->ne[2] < 2) return false;
    return w->rows->n_rows == w->ne[1] * w->ne[2] && !(choice->type->flags & HT__CODEC_PLAIN);
}

bool ht__layers_of_experts(const struct ht__stage *stage)
{
    return stage->site.kind == HT__SITE_EXPERTS || stage->site.kind == HT__SITE_EXPERTS_OUT;
}

struct look {
    struct ht__layers *d;
    struct ht__course *c;
    const struct ht__stage *stage;
    struct ht__arena arena;
    int64_t n_in, n_rows; /* columns; tokens of the pass */
    int n_used, n_experts;
    struct ht__route *routes; /* of the pass */
    float *x;                 /* its residual stream: what comes of it is not needed */
    /* rows of the pass, of the float model and of the quantized one: what the experts of the group see, one after the other, and
     * what all tokens show */
    float *rows[2], *tokens[2];
    int64_t *seen[2]; /* rows of each expert of the group */
    int64_t n_seen[2];
    int which; /* of the two models */
    bool learns, has_tokens;
    int first, n; /* the group */
    struct ht__expert_stats *experts, all;
};

/* ---- a pass ---- */

static void watch(void *ctx, const struct ht__weight *weight, int64_t mat, const float *x, int64_t n_rows, int64_t n_in)
{
    struct look *k = ctx;
    bool router = ht__role_at(weight->slot.role)->class == HT__CLASS_ROUTER && mat == 0 && n_rows == k->n_rows;
    if (k->learns && k->which == 0 && ht__slot_of_experts(weight->slot))
        ht__importance_add(&k->d->sums, weight, mat, x, n_rows, n_in);
    if (router && k->tokens[k->which] && n_in == k->n_in)
        memcpy(k->tokens[k->which], x, (size_t)(n_rows * n_in) * sizeof *x);
    if (weight != k->stage->first || mat < k->first || mat >= k->first + k->n || n_in != k->n_in) return;
    int64_t *n = &k->n_seen[k->which];
    if (n_rows > k->n_rows * k->n_used - *n) return; /* cannot be; the counts will not agree */
    memcpy(k->rows[k->which] + *n * n_in, x, (size_t)(n_rows * n_in) * sizeof *x);
    k->seen[k->which][mat - k->first] = n_rows;
    *n += n_rows;
}

static enum ht_err observe(struct look *k, int which, size_t chunk, int n_seqs, struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    struct ht__flow *flow = which ? &k->c->flow : &d->flow;
    struct ht__stretch stretch = {.layer = k->stage->site.layer, .from = flow->mark, .to = HT__MARK_END};
    memcpy(k->x, ht__layers_rows(d, flow->x, chunk), (size_t)(k->n_rows * d->n_embd) * sizeof *k->x);
    memset(k->seen[which], 0, (size_t)k->n * sizeof *k->seen[which]);
    k->which = which;
    k->n_seen[which] = 0;
    ht__engine_replace(d->engine, which ? ht__course_weight : NULL, k->c);
    ht__engine_routes(d->engine, k->routes, which || d->routed);
    ht__engine_observe(d->engine, watch, k);
    enum ht_err err = ht__engine_stretch(d->engine, &stretch, k->x, n_seqs, d->cal.n_ctx, diag);
    ht__engine_observe(d->engine, NULL, NULL);
    ht__engine_routes(d->engine, NULL, false);
    ht__engine_replace(d->engine, NULL, NULL);
    return err;
}

/* The rows of an expert lie in the order of the routes. The first token of a chunk is left out, as everywhere. */
static enum ht_err add_rows(struct look *k, int expert, int64_t from, size_t chunk, struct ht_diag *diag)
{
    const struct ht__layers *d = k->d;
    int64_t n = 0;
    for (int64_t i = 0; i < k->n_rows * k->n_used; i++) {
        if (k->routes[i].expert != k->first + expert) continue;
        int64_t token = i / k->n_used, at = (from + n++) * k->n_in;
        if (n > k->seen[0][expert] || n > k->seen[1][expert]) break;
        bool held = d->cal.windows.at[chunk + (size_t)(token / d->cal.n_ctx)].held_out;
        if (token % d->cal.n_ctx)
            HT_TRY(ht__expert_add(&k->experts[expert], k->rows[0] + at, k->rows[1] + at, held, d->ops, d->pool, diag));
    }
    if (n == k->seen[0][expert] && n == k->seen[1][expert]) return HT_OK;
    return ht__fail(
        diag, HT_ERR_UNSUPPORTED, k->stage->first->name, -1,
        "not every token that is sent to an expert is multiplied with it: --effort best cannot choose its codes");
}

static enum ht_err add_tokens(struct look *k, size_t chunk, struct ht_diag *diag)
{
    const struct ht__layers *d = k->d;
    for (int64_t t = 0; t < k->n_rows; t++) {
        bool held = d->cal.windows.at[chunk + (size_t)(t / d->cal.n_ctx)].held_out;
        if (t % d->cal.n_ctx == 0) continue;
        HT_TRY(ht__expert_add(&k->all, k->tokens[0] + t * k->n_in, k->tokens[1] + t * k->n_in, held, d->ops, d->pool,
                              diag));
    }
    return HT_OK;
}

static enum ht_err one_pass(struct look *k, size_t chunk, struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    int n_seqs = ht__layers_seqs(d, chunk);
    k->n_rows = (int64_t)n_seqs * d->cal.n_ctx;
    k->routes = d->routes + (int64_t)chunk * d->cal.n_ctx * k->n_used;
    for (int which = 0; which < 2; which++)
        HT_TRY(observe(k, which, chunk, n_seqs, diag));
    for (int64_t e = 0, from = 0; e < k->n; from += k->seen[0][e++])
        HT_TRY(add_rows(k, (int)e, from, chunk, diag));
    if (k->tokens[0] && !k->has_tokens) HT_TRY(add_tokens(k, chunk, diag));
    double done = (double)(chunk + (size_t)n_seqs) / (double)d->cal.windows.n;
    return ht__layers_tell(d, 0.4 * done, k->stage->first->name, diag);
}

/* All tokens, for the experts of the group. */
static enum ht_err look_at_group(struct look *k, struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    for (int e = 0; e < k->n; e++)
        HT_TRY(ht__expert_open(&k->experts[e], k->n_in, MOST_HELD, d->plan->run.alloc, diag));
    for (size_t chunk = 0; chunk < d->cal.windows.n; chunk += (size_t)d->cal.n_seqs)
        HT_TRY(one_pass(k, chunk, diag));
    d->routed = true;
    if (k->tokens[0] && !k->has_tokens) HT_TRY(ht__expert_finish(&k->all, d->ops, d->pool, diag));
    k->has_tokens = true;
    for (int e = 0; e < k->n; e++)
        HT_TRY(ht__expert_finish(&k->experts[e], d->ops, d->pool, diag));
    if (k->learns) HT_TRY(ht__layers_settle(d, k->stage->site.layer, diag));
    if (k->learns) d->learnt_experts = true;
    k->learns = false;
    return HT_OK;
}

/* ---- choosing ---- */

static const struct ht__weight *chosen_here(const struct look *k, size_t item)
{
    const struct ht__weight *w = ht__course_matrix(k->c, item, k->stage->site.layer);
    struct ht__site site = w ? ht__slot_site(w->slot) : k->stage->site;
    bool here = w && memcmp(&site, &k->stage->site, sizeof site) == 0 && w->ne[0] == k->n_in;
    return here && ht__course_changes(k->c, item) && ht__course_chooses_experts(k->c, w, item) ? w : NULL;
}

static enum ht_err choose_expert(struct look *k, int e, struct ht_diag *diag)
{
    struct ht__layers *d = k->d;
    struct ht__expert_stats *expert = &k->experts[e];
    struct ht__best *best = NULL;
    ht__expert_shrink(expert, k->tokens[0] ? &k->all : NULL);
    enum ht_err err = ht__best_open(&expert->site, HT__BEST_SPEND | ht__best_lean(k->n_in), ht__course_order(k->c),
                                    d->ops, d->pool, d->plan->run.alloc, &best, diag);
    for (size_t i = 0; err == HT_OK && i < d->plan->n_items; i++)
        if (chosen_here(k, i))
            err = ht__course_choose_expert(d, k->c, i, k->first + e, best, expert->site.n_rows, diag);
    ht__best_close(&best);
    return err;
}

static enum ht_err one_group(struct look *k, struct ht_diag *diag)
{
    enum ht_err err = look_at_group(k, diag);
    for (int e = 0; e < k->n; e++) {
        if (err == HT_OK) err = choose_expert(k, e, diag);
        ht__expert_close(&k->experts[e]);
    }
    return err;
}

static enum ht_err open_look(struct look *k, struct ht_diag *diag)
{
    const struct ht__layers *d = k->d;
    size_t rows = (size_t)d->cal.n_seqs * (size_t)d->cal.n_ctx, size = (size_t)k->n_in * sizeof(float);
    bool shared = k->stage->site.kind == HT__SITE_EXPERTS && k->n_in == d->n_embd, good = true;
    k->x = ht__arena_array(&k->arena, rows, (size_t)d->n_embd * sizeof *k->x);
    k->experts = ht__arena_array(&k->arena, (size_t)k->n_experts, sizeof *k->experts);
    for (int i = 0; i < 2; i++) {
        k->rows[i] = ht__arena_array(&k->arena, rows * (size_t)k->n_used, size);
        k->seen[i] = ht__arena_array(&k->arena, (size_t)k->n_experts, sizeof *k->seen[i]);
        if (shared) k->tokens[i] = ht__arena_array(&k->arena, rows, size);
        good = good && k->rows[i] && k->seen[i] && (!shared || k->tokens[i]);
    }
    if (!good || !k->x || !k->experts) return ht__fail_memory(diag, "experts");
    for (int e = 0; e < k->n_experts; e++)
        k->experts[e].site.alloc = d->plan->run.alloc;
    return shared ? ht__expert_open(&k->all, k->n_in, MOST_HELD, d->plan->run.alloc, diag) : HT_OK;
}

/* As many experts as there is memory for, the same whatever else is. */
static int group_size(const struct ht__layers *d, int64_t n_in, int n_experts)
{
    uint64_t limit = d->plan->run.memory / 4, each = ht__expert_bytes(n_in, MOST_HELD);
    uint64_t most = limit && limit < most_bytes ? limit : most_bytes;
    return each * (uint64_t)n_experts <= most ? n_experts : most / each > 0 ? (int)(most / each) : 1;
}

uint64_t ht__layers_expert_bytes(const struct ht__layers *d, const struct ht__weight *w)
{
    uint64_t rows = (uint64_t)d->cal.n_seqs * (uint64_t)d->cal.n_ctx, n_in = (uint64_t)w->ne[0];
    uint64_t group = (uint64_t)group_size(d, w->ne[0], (int)w->ne[2]) + 1;
    return group * ht__expert_bytes(w->ne[0], MOST_HELD) + 2 * rows * (uint64_t)(d->n_used + 1) * n_in * sizeof(float);
}

enum ht_err ht__layers_choose_experts(struct ht__layers *d, struct ht__course *c, const struct ht__stage *stage,
                                      struct ht_diag *diag)
{
    const struct ht__hparams *h = ht__engine_hparams(d->engine);
    struct look k = {.d = d, .c = c, .stage = stage, .n_in = stage->first->ne[0], .n_used = h->n_used};
    int n = group_size(d, k.n_in, k.n_experts = (int)stage->first->ne[2]);
    k.learns = d->plan->importance_later && !d->learnt && !d->learnt_experts;
    k.all.site.alloc = d->plan->run.alloc;
    ht__arena_init(&k.arena, d->plan->run.alloc);
    enum ht_err err = open_look(&k, diag);
    for (; err == HT_OK && k.first < k.n_experts; k.first += n) {
        k.n = k.n_experts - k.first < n ? k.n_experts - k.first : n;
        err = one_group(&k, diag);
    }
    for (size_t i = 0; err == HT_OK && i < d->plan->n_items; i++)
        if (chosen_here(&k, i)) ht__course_chose_experts(c, i);
    ht__expert_close(&k.all);
    ht__arena_close(&k.arena);
    return err;
}
