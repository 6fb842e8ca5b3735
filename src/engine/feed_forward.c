/* The feed-forward half of a layer: plain, gated, gate and up in one matrix, or experts. */
#include "engine/state.h"

#include <math.h>

/* gpt-oss: gate * sigmoid(1.702 gate) * (up + 1), both clamped to 7 first. */
static void swiglu_oai(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float g = fminf(gate[i], 7), u = fminf(fmaxf(up[i], -7), 7);
        gate[i] = g / (1 + expf(-1.702f * g)) * (u + 1);
    }
}

void ht__engine_activate(const struct ht__engine *e, float *gate, const float *up, int64_t n)
{
    switch (e->hparams.compute->act) {
    case HT__ACT_SILU: e->ops->silu(gate, up, n); break;
    case HT__ACT_GELU: e->ops->gelu(gate, up, n); break;
    case HT__ACT_GELU_TANH: e->ops->gelu_tanh(gate, up, n); break;
    case HT__ACT_SWIGLU_OAI: swiglu_oai(gate, up, n); break;
    }
}

struct rows {
    const struct ht__engine *e;
    float *gate;
    const float *up;
    int64_t n, ld_gate, ld_up;
};

static void activate_row(void *ctx, int64_t task, int thread)
{
    const struct rows *r = ctx;
    (void)thread;
    ht__engine_activate(r->e, r->gate + task * r->ld_gate, r->up ? r->up + task * r->ld_up : NULL, r->n);
}

/* The first half: `in` through gate and up, to hidden. */
static void to_hidden(struct ht__engine *e, const struct ht__kept_matrix *gate, const struct ht__kept_matrix *up,
                      int64_t ff, const float *in)
{
    int64_t n = e->n_rows, n_embd = e->hparams.n_embd;
    struct rows r = {.e = e, .gate = e->hidden, .n = ff, .ld_gate = ff, .ld_up = ff};
    if (e->observe) {
        if (gate->weight) e->observe(e->observe_ctx, gate->weight, 0, in, n, n_embd);
        e->observe(e->observe_ctx, up->weight, 0, in, n, n_embd);
    }
    if (gate->weight) {
        ht__engine_matmul(e, gate, 0, in, n_embd, n, e->hidden, ff);
        ht__engine_matmul_again(e, up, 0, in, n_embd, n, e->hidden2, ff);
        r.up = e->hidden2;
    } else {
        ht__engine_matmul(e, up, 0, in, n_embd, n, e->hidden, up->n_out);
        r.ld_gate = up->n_out;
        r.ld_up = up->n_out;
        if (up->n_out == 2 * ff) r.up = e->hidden + ff;
    }
    if (e->enough) return;
    ht__pool_run(e->pool, n, activate_row, &r);
    if (r.ld_gate != ff) /* gate and up were one matrix: close the gaps */
        for (int64_t t = 1; t < n; t++)
            for (int64_t i = 0; i < ff; i++)
                e->hidden[t * ff + i] = e->hidden[t * r.ld_gate + i];
}

/* The second: hidden through down. */
static void from_hidden(struct ht__engine *e, const struct ht__kept_matrix *down, float *out)
{
    int64_t n = e->n_rows, ff = down->n_in;
    if (e->observe) e->observe(e->observe_ctx, down->weight, 0, e->hidden, n, ff);
    ht__engine_matmul(e, down, 0, e->hidden, ff, n, out, e->hparams.n_embd);
}

/* Shared experts see every token; where they have a router of their own it weighs them. */
static void shared(struct ht__engine *e, const struct ht__layer *l, const float *in, float *out)
{
    int64_t n = e->n_rows, n_embd = e->hparams.n_embd;
    float *mine = e->latent;
    to_hidden(e, &l->shared_gate, &l->shared_up, l->shared_down.n_in, in);
    from_hidden(e, &l->shared_down, mine);
    if (l->shared_router.weight) {
        if (e->observe) e->observe(e->observe_ctx, l->shared_router.weight, 0, in, n, n_embd);
        ht__engine_matmul(e, &l->shared_router, 0, in, n_embd, n, e->hidden, 1);
    }
    for (int64_t t = 0; t < n; t++) {
        float share = l->shared_router.weight ? 1 / (1 + expf(-e->hidden[t])) : 1;
        e->ops->add_scaled(out + t * n_embd, mine + t * n_embd, share, n_embd);
    }
}

void ht__engine_feed_forward(struct ht__engine *e, const struct ht__layer *l, const float *in)
{
    if (!l->router.weight) {
        if (e->from < HT__MARK_HIDDEN) to_hidden(e, &l->ffn_gate, &l->ffn_up, l->ffn_down.n_in, in);
        if (e->to > HT__MARK_HIDDEN) from_hidden(e, &l->ffn_down, e->out);
        return;
    }
    ht__engine_experts(e, l, in, e->out);
    if (l->shared_down.weight) shared(e, l, in, e->out);
}
