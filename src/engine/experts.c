/*
 * Mixture of experts: the router picks experts for each token; tokens are gathered by expert, so that each matrix is
 * gone through once a pass; a token's parts are added in the order in which it chose them.
 */
#include "engine/state.h"

#include <math.h>
#include <string.h>

struct ht__moe {
    float *logits;                /* n_batch x n_experts */
    struct ht__route *choices;    /* n_batch x n_used */
    int *rows;                    /* choices of one expert: index into choices */
    float *in, *gate, *up, *part; /* gathered tokens; part: n_batch x n_used x n_embd */
};

enum ht_err ht__engine_open_experts(struct ht__engine *e, struct ht_diag *diag)
{
    const struct ht__hparams *h = &e->hparams;
    size_t n = (size_t)e->params.n_batch, used = n * (size_t)h->n_used, ff = 1;
    if (h->n_experts == 0) return HT_OK;
    for (int i = 0; i < h->n_layers; i++)
        if (e->weights->layers[i].experts_down.weight && (size_t)e->weights->layers[i].experts_down.n_in > ff)
            ff = (size_t)e->weights->layers[i].experts_down.n_in;
    struct ht__moe *m = e->moe = ht__new(e->alloc, sizeof *m);
    if (!m) return ht__fail_memory(diag, "experts");
    m->logits = ht__new_array(e->alloc, n * (size_t)h->n_experts, sizeof *m->logits);
    m->choices = ht__new_array(e->alloc, used, sizeof *m->choices);
    m->rows = ht__new_array(e->alloc, used, sizeof *m->rows);
    m->in = ht__new_array(e->alloc, n * (size_t)h->n_embd, sizeof *m->in);
    m->gate = ht__new_array(e->alloc, n * ff, sizeof *m->gate);
    m->up = ht__new_array(e->alloc, n * ff, sizeof *m->up);
    m->part = ht__new_array(e->alloc, used * (size_t)h->n_embd, sizeof *m->part);
    return m->logits && m->choices && m->rows && m->in && m->gate && m->up && m->part
               ? HT_OK
               : ht__fail_memory(diag, "experts");
}

void ht__engine_close_experts(struct ht__engine *e)
{
    struct ht__moe *m = e->moe;
    if (!m) return;
    void *all[] = {m->logits, m->choices, m->rows, m->in, m->gate, m->up, m->part};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        ht__free(e->alloc, all[i]);
    ht__free(e->alloc, m);
    e->moe = NULL;
}

/* The best of those not taken; ties go to the lower number. */
static int best_of(const float *score, const bool *taken, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!taken[i] && (best < 0 || score[i] > score[best])) best = i;
    return best;
}

/* Groups of experts compete by the sum of their two best (sigmoid) or by their best (softmax). */
static void close_groups(const struct ht__hparams *h, const float *score, bool *taken)
{
    int each = h->n_experts / h->n_groups;
    float value[4096];
    bool open[4096] = {false}, none[4096] = {false};
    for (int g = 0; g < h->n_groups; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (int i = g * each; i < (g + 1) * each; i++)
            if (score[i] > first) {
                second = first;
                first = score[i];
            } else if (score[i] > second) {
                second = score[i];
            }
        value[g] = h->sigmoid_router && each > 1 ? first + second : first;
    }
    for (int i = 0; i < h->n_groups_used; i++) {
        int g = best_of(value, none, h->n_groups);
        none[g] = open[g] = true;
    }
    for (int i = 0; i < h->n_experts; i++)
        taken[i] = !open[i / each];
}

static void softmax(float *x, int n)
{
    float max = x[0], sum = 0;
    for (int i = 1; i < n; i++)
        max = fmaxf(max, x[i]);
    for (int i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - max);
    for (int i = 0; i < n; i++)
        x[i] /= sum;
}

static void route(const struct ht__engine *e, const struct ht__layer *l, float *logits, struct ht__route *chosen)
{
    const struct ht__hparams *h = &e->hparams;
    float score[4096], shares[4096], sum = 0;
    bool taken[4096] = {false};
    if (h->sigmoid_router)
        for (int i = 0; i < h->n_experts; i++)
            logits[i] = 1 / (1 + expf(-logits[i]));
    else if (!h->compute->softmax_chosen)
        softmax(logits, h->n_experts);
    const float *shift = l->router_shift.b ? l->router_shift.b : l->router_shift.w;
    for (int i = 0; i < h->n_experts; i++)
        score[i] = shift ? logits[i] + shift[i] : logits[i];
    if (h->n_groups > 1 && h->n_groups_used < h->n_groups) close_groups(h, score, taken);
    for (int i = 0; i < h->n_used; i++) {
        int best = best_of(score, taken, h->n_experts);
        if (best < 0) best = 0; /* fewer open experts than are used: its share is 0 */
        chosen[i].expert = best;
        shares[i] = taken[best] ? 0 : logits[best];
        taken[best] = true;
    }
    if (h->compute->softmax_chosen) softmax(shares, h->n_used);
    for (int i = 0; i < h->n_used; i++)
        sum += shares[i];
    for (int i = 0; i < h->n_used; i++)
        chosen[i].share = (h->normalize_experts && !h->compute->softmax_chosen ? shares[i] / fmaxf(sum, 6.103515625e-5f)
                                                                               : shares[i]) *
                          h->expert_scale;
}

static void watch(const struct ht__engine *e, const struct ht__kept_matrix *m, int expert, const float *x, int64_t n)
{
    if (e->observe) e->observe(e->observe_ctx, m->weight, expert, x, n, m->n_in);
}

static void run_expert(struct ht__engine *e, const struct ht__layer *l, int expert, int n)
{
    struct ht__moe *m = e->moe;
    int64_t ff = l->experts_down.n_in, n_embd = e->hparams.n_embd;
    watch(e, &l->experts_gate, expert, m->in, n);
    watch(e, &l->experts_up, expert, m->in, n);
    ht__engine_matmul(e, &l->experts_gate, expert, m->in, n_embd, n, m->gate, ff);
    ht__engine_matmul_again(e, &l->experts_up, expert, m->in, n_embd, n, m->up, ff);
    ht__engine_activate(e, m->gate, m->up, n * ff);
    watch(e, &l->experts_down, expert, m->gate, n);
    ht__engine_matmul(e, &l->experts_down, expert, m->gate, ff, n, m->in, n_embd);
    for (int i = 0; i < n; i++)
        memcpy(m->part + m->rows[i] * n_embd, m->in + i * n_embd, (size_t)n_embd * sizeof(float));
}

void ht__engine_experts(struct ht__engine *e, const struct ht__layer *l, const float *in, float *out)
{
    const struct ht__hparams *h = &e->hparams;
    struct ht__moe *m = e->moe;
    int n = e->n_rows;
    int64_t n_embd = h->n_embd;
    if (e->observe) e->observe(e->observe_ctx, l->router.weight, 0, in, n, n_embd);
    ht__engine_matmul(e, &l->router, 0, in, n_embd, n, m->logits, h->n_experts);
    if (e->enough) return;
    if (e->routes && e->take_routes)
        memcpy(m->choices, e->routes, (size_t)n * (size_t)h->n_used * sizeof *m->choices);
    else
        for (int t = 0; t < n; t++)
            route(e, l, m->logits + (int64_t)t * h->n_experts, m->choices + (int64_t)t * h->n_used);
    if (e->routes && !e->take_routes) memcpy(e->routes, m->choices, (size_t)n * (size_t)h->n_used * sizeof *m->choices);
    for (int x = 0; x < h->n_experts; x++) {
        int n_rows = 0;
        for (int i = 0; i < n * h->n_used; i++)
            if (m->choices[i].expert == x) m->rows[n_rows++] = i;
        for (int i = 0; i < n_rows; i++)
            memcpy(m->in + i * n_embd, in + m->rows[i] / h->n_used * n_embd, (size_t)n_embd * sizeof(float));
        if (n_rows > 0) run_expert(e, l, x, n_rows);
    }
    memset(out, 0, (size_t)(n * n_embd) * sizeof(float));
    for (int i = 0; i < n * h->n_used; i++)
        e->ops->add_scaled(out + i / h->n_used * n_embd, m->part + i * n_embd, m->choices[i].share, n_embd);
}
