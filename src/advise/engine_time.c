/*
 * Every token is multiplied with every weight of the layers (of experts, with those that it is sent to): a multiplication
 * and an addition each, at the rate at which this machine's kernel does them now. Attention adds, for a token and layer,
 * half a chunk of keys and as many values; with its exponentials, one of its products takes as long as four of those with
 * weights (of the example model, whose heads are of 32: 0.66 s for 21 G of them, 1.16 s for 143 G of the others).
 *
 * Collecting runs the source's layers over its tokens. Measuring runs source and outputs over its own, with logits for
 * the half of them that is scored, and for the few of every layer that are looked at; of each the exponentials of the
 * whole vocabulary are taken.
 */
#include "advise/engine_time.h"

#include "model/hparams.h"
#include "eval/logit_lens.h"
#include "eval/perplexity.h"
#include "eval/eval.h"
#include "advise/rate.h"

enum { ATTENTION = 4 };

/* Products of one token. */
struct work {
    double layers, output, attention; /* the latter for each token of context */
    const struct ht__codec *type;     /* of most weights */
};

static struct work work_of(const struct ht__model *model, const struct ht__hparams *h)
{
    struct work k = {.attention = ATTENTION * (double)h->n_layers * h->n_heads * (h->key_len + h->value_len)};
    double embedding = 0, most = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[i];
        double n = (double)w->rows->n_rows * (double)w->rows->row_len;
        if (w->ne[2] > 1 && h->n_experts > 0) n *= (double)h->n_used / h->n_experts;
        if (n > most) k.type = w->source;
        if (n > most) most = n;
        if (w->slot.layer >= 0) k.layers += n;
        if (ht__slot_is(w->slot, HT__ROLE_OUTPUT)) k.output = n;
        if (ht__slot_is(w->slot, HT__ROLE_EMBEDDING)) embedding = n;
    }
    if (k.output <= 0) k.output = embedding; /* the same matrix */
    return k;
}

static double tokens_through_layers(const struct work *k, double tokens, double n_ctx)
{
    return tokens * (k->layers + k->attention * n_ctx / 2);
}

/* Rows of logits of one model. */
static double rows_measured(const struct ht__model *model, const struct ht__hparams *h, double tokens, int n_ctx)
{
    double passes = tokens / ((double)n_ctx * ht__engine_seqs(model, n_ctx)) + 1;
    if (passes > HT__LOGIT_LENS_PASSES) passes = HT__LOGIT_LENS_PASSES;
    return tokens / 2 + passes * HT__LOGIT_LENS_ROWS * h->n_layers;
}

static enum ht_err add_measuring(const struct ht__engine_task *t, const struct ht__hparams *h, const struct work *k,
                                 double *products, double *exponentials, struct ht_diag *diag)
{
    struct ht__eval_size size;
    double models = (double)t->n_outputs + 1;
    HT_TRY(ht__eval_check(t->eval, t->run, t->model, t->source, &size, diag));
    double tokens = (double)size.n_chunks * size.n_ctx, rows = rows_measured(t->model, h, tokens, size.n_ctx);
    *products +=
        models * (tokens_through_layers(k, tokens + size.continued, size.n_ctx) + (rows + size.continued) * k->output);
    *exponentials += (models + 1) * rows * h->n_vocab; /* of the reference's twice: its probabilities besides */
    return HT_OK;
}

enum ht_err ht__engine_time(const struct ht__engine_task *t, double budget, double *seconds, struct ht_diag *diag)
{
    struct ht__hparams h;
    double products = 0, exponentials = 0;
    *seconds = 0;
    if (t->n_chunks == 0 && t->n_outputs == 0) return HT_OK;
    HT_TRY(ht__hparams_read(t->model, t->source, &h, diag));
    struct work k = work_of(t->model, &h);
    products += tokens_through_layers(&k, (double)t->n_ctx * t->n_chunks, t->n_ctx);
    if (t->n_outputs) HT_TRY(add_measuring(t, &h, &k, &products, &exponentials, diag));
    double rate = ht__rate_matmul(k.type, budget, t->run->alloc);
    if (rate == HT__RATE_NO_MEMORY) return ht__fail_memory(diag, "estimate");
    *seconds = (products * rate + exponentials * ht__rate_exp(budget / 16)) / t->n_threads;
    return HT_OK;
}
