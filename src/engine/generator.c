#include "engine/generator.h"
#include "base/clock.h"

#include <string.h>
#include <time.h>

struct ht__generator {
    const struct ht__alloc *alloc;
    struct ht__engine *engine;
    const struct ht__tokenizer *text;
    struct ht__sampler *sampler;
    float *logits;
    int n_ctx, n_batch, max_new;
    struct ht__tokens ids; /* the sequence; the first n_cached of it are in the engine */
    int n_cached;
    struct ht__made made;
    struct ht__generator_stats stats;
};

static enum ht_err open_parts(struct ht__generator *g, const struct ht__model *model,
                              const struct ht__engine_params *params, struct ht_diag *diag)
{
    struct ht__engine_params p = *params;
    p.n_seqs = 1;
    p.cache = true;
    if (p.n_ctx > 0 && (p.n_batch <= 0 || p.n_batch > p.n_ctx)) p.n_batch = p.n_ctx < 512 ? p.n_ctx : 512;
    HT_TRY(ht__engine_open(model, &p, g->alloc, &g->engine, diag));
    const struct ht__hparams *h = ht__engine_hparams(g->engine);
    g->n_ctx = p.n_ctx > 0 ? p.n_ctx : h->n_ctx_train;
    g->n_batch = p.n_batch > 0 ? p.n_batch : g->n_ctx < 512 ? g->n_ctx : 512;
    /* rows of the output that fill it up to a round number are no tokens */
    int n_vocab = h->n_vocab < ht__tokenizer_size(g->text) ? h->n_vocab : ht__tokenizer_size(g->text);
    HT_TRY(ht__sampler_open(n_vocab, g->alloc, &g->sampler, diag));
    g->logits = ht__new_array(g->alloc, (size_t)h->n_vocab, sizeof *g->logits);
    return g->logits ? HT_OK : ht__fail_memory(diag, "logits");
}

enum ht_err ht__generator_open(const struct ht__model *model, const struct ht__tokenizer *text,
                               const struct ht__engine_params *params, const struct ht__alloc *alloc,
                               struct ht__generator **out, struct ht_diag *diag)
{
    *out = NULL;
    struct ht__generator *g = ht__new(alloc, sizeof *g);
    if (!g) return ht__fail_memory(diag, "generator");
    g->alloc = alloc;
    g->text = text;
    ht__tokens_init(&g->ids, alloc);
    ht__made_init(&g->made, alloc);
    enum ht_err err = open_parts(g, model, params, diag);
    if (err) ht__generator_close(&g);
    *out = g;
    return err;
}

void ht__generator_close(struct ht__generator **generator)
{
    struct ht__generator *g = *generator;
    if (!g) return;
    ht__engine_close(&g->engine);
    ht__sampler_close(&g->sampler);
    ht__tokens_close(&g->ids);
    ht__made_close(&g->made);
    ht__free(g->alloc, g->logits);
    ht__free(g->alloc, g);
    *generator = NULL;
}

const struct ht__generator_stats *ht__generator_stats(const struct ht__generator *g)
{
    return &g->stats;
}

enum ht_err ht__generator_sampling(struct ht__generator *g, const struct ht__sampler_params *params,
                                   struct ht_diag *diag)
{
    return ht__sampler_set(g->sampler, params, diag);
}

enum ht_err ht__generator_stops(struct ht__generator *g, const char *const *stops, size_t n, struct ht_diag *diag)
{
    return ht__made_stops(&g->made, stops, n, diag);
}

static enum ht_err check_length(const struct ht__generator *g, size_t n, struct ht_diag *diag)
{
    if (n == 0)
        return ht__fail(diag, HT_ERR_USAGE, "prompt", -1,
                        "the prompt is empty, and the model has no BOS token to begin with");
    if (n <= (size_t)g->n_ctx) return HT_OK;
    return ht__fail(diag, HT_ERR_LIMIT, "prompt", -1, "%zu tokens do not fit the context of %d (option ctx)", n,
                    g->n_ctx);
}

enum ht_err ht__generator_begin(struct ht__generator *g, const int32_t *ids, size_t n, int max_new, unsigned flags,
                                struct ht_diag *diag)
{
    HT_TRY(check_length(g, n, diag));
    size_t common = 0, cached = (size_t)g->n_cached;
    while (common < cached && common < n - 1 && g->ids.ids[common] == ids[common])
        common++;
    g->ids.n = common;
    g->n_cached = (int)common;
    if (!ht__tokens_reserve(&g->ids, n - common)) {
        g->ids.failed = false;
        return ht__fail_memory(diag, "prompt");
    }
    for (size_t i = common; i < n; i++)
        ht__tokens_put(&g->ids, ids[i]);
    ht__made_begin(&g->made, g->text, ids, n, flags);
    g->max_new = max_new;
    g->stats = (struct ht__generator_stats){.n_prompt = (int)n, .n_read = (int)(n - common)};
    return HT_OK;
}

/* ---- tokens ------------------------------------------------------------------------------------- */

static enum ht_err read_ids(struct ht__generator *g, struct ht_diag *diag)
{
    int n = (int)g->ids.n;
    while (g->n_cached < n) {
        int step = n - g->n_cached < g->n_batch ? n - g->n_cached : g->n_batch;
        HT_TRY(ht__engine_pass(g->engine, g->ids.ids + g->n_cached, 1, step, g->n_cached, diag));
        if (g->n_cached + step == n) HT_TRY(ht__engine_logits(g->engine, 0, step - 1, 1, g->logits, diag));
        g->n_cached += step;
    }
    return HT_OK;
}

static enum ht_err make_token(struct ht__generator *g, struct ht_diag *diag)
{
    int32_t id;
    if (g->stats.n_new >= g->max_new) return g->stats.ending = HT__ENDED_BY_COUNT, HT_OK;
    if (g->ids.n > (size_t)g->n_ctx) return g->stats.ending = HT__ENDED_BY_CONTEXT, HT_OK;
    double start = ht__seconds();
    enum ht_err err = read_ids(g, diag);
    if (err == HT_OK) err = ht__sampler_pick(g->sampler, g->logits, g->ids.ids, g->ids.n, &id, diag);
    double took = ht__seconds() - start;
    if (g->stats.n_new == 0)
        g->stats.prompt_seconds += took;
    else
        g->stats.seconds += took;
    HT_TRY(err);
    g->stats.n_new++;
    ht__tokens_put(&g->ids, id);
    if (g->ids.failed) return ht__fail_memory(diag, "tokens");
    if (ht__tokenizer_is_end(g->text, id)) return g->stats.ending = HT__ENDED_BY_MODEL, HT_OK;
    HT_TRY(ht__made_put(&g->made, id, diag));
    if (g->made.stopped) g->stats.ending = HT__ENDED_BY_STOP;
    return HT_OK;
}

enum ht_err ht__generator_next(struct ht__generator *g, struct ht__str *piece, struct ht_diag *diag)
{
    *piece = (struct ht__str){"", 0};
    if (g->ids.n == 0) return ht__fail(diag, HT_ERR_USAGE, "prompt", -1, "there is none");
    while (g->stats.ending == HT__GOING_ON) {
        HT_TRY(make_token(g, diag));
        if (g->stats.ending != HT__GOING_ON) break;
        *piece = ht__made_take(&g->made);
        if (piece->len > 0) return HT_OK;
    }
    *piece = ht__generator_rest(g);
    return HT_OK;
}

struct ht__str ht__generator_rest(struct ht__generator *g)
{
    return ht__made_rest(&g->made);
}
