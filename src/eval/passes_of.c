/* Passes of a run that is made in parts: which are made here, and whether what others made belongs to it. */
#include "base/hash.h"
#include "calibrate/kept.h"
#include "eval/parts.h"

#include <stdio.h>
#include <string.h>

/* The models by what they are, not by where they lie: the reference first, as their scores are. */
static enum ht_err add_models(const struct ht__eval *e, struct ht__sha256 *sha, struct ht_diag *diag)
{
    char hex[65], line[160];
    for (size_t turn = e->reference ? 0 : 1; turn < 2; turn++)
        for (size_t i = 0; i < e->n_all; i++) {
            const struct ht__eval_model *m = &e->models[i];
            if ((m == e->reference) != (turn == 0)) continue;
            HT_TRY(ht__fingerprint(m->model, hex, diag));
            int n = snprintf(line, sizeof line, "%s %s %llu\n", hex, m->type, (unsigned long long)m->size_bytes);
            ht__sha256_add(sha, line, (size_t)n);
        }
    return HT_OK;
}

static enum ht_err identify(const struct ht__eval *e, char hex[65], struct ht_diag *diag)
{
    struct ht__sha256 sha;
    char line[160];
    ht__sha256_begin(&sha);
    int n = snprintf(line, sizeof line, "%s: %zu chunks of %d, %d a pass, bos %d, fast %d, models %zu, reference %d\n",
                     HT_VERSION, e->n_chunks, e->n_ctx, e->n_seqs, e->bos, e->settings->fast, e->n_all,
                     e->reference != NULL);
    ht__sha256_add(&sha, line, (size_t)n);
    ht__sha256_add(&sha, e->tokens, e->n_chunks * (size_t)e->n_ctx * sizeof *e->tokens);
    enum ht_err err = add_models(e, &sha, diag);
    ht__sha256_end(&sha, hex);
    return err == HT_OK && !hex[0] ? ht__fail_memory(diag, "passes") : err;
}

static enum ht_err choose(struct ht__eval *e, struct ht_diag *diag)
{
    const struct ht__eval_settings *s = e->settings;
    struct ht__passes *p = &e->passes;
    p->to = p->n;
    p->keeps = s->parts > 0;
    if (s->parts == 0) return HT_OK;
    if (s->parts > p->n)
        return ht__fail(diag, HT_ERR_USAGE, "part", -1,
                        "%u parts, but the %zu chunks of the text are run in %zu passes", s->parts, e->n_chunks, p->n);
    p->from = p->n * (s->part - 1) / s->parts;
    p->to = p->n * s->part / s->parts;
    if (s->retention || s->choices)
        ht__log_printf(e->run.log, HT__LOG_INFO,
                       "retention and choices are left to the run that takes the parts (--take-from)");
    return HT_OK;
}

enum ht_err ht__eval_open_passes(struct ht__eval *e, const struct ht__perplexity_params *params, struct ht_diag *diag)
{
    const struct ht__eval_settings *s = e->settings;
    struct ht__passes *p = &e->passes;
    const struct ht__eval_model *first = e->reference ? e->reference : &e->models[0];
    if (s->parts == 0 && s->taken.n == 0) return HT_OK;
    *p = (struct ht__passes){.n = ht__perplexity_passes(params), .n_models = e->n_all};
    p->n_layers = (size_t)ht__engine_hparams(first->scored.engine)->n_layers;
    p->most = (size_t)params->n_seqs * (size_t)(params->n_ctx - params->n_ctx / 2 - 1);
    HT_TRY(choose(e, diag));
    HT_TRY(identify(e, p->identity, diag));
    HT_TRY(ht__passes_open(p, e->run.alloc, diag));
    for (size_t i = 0; i < s->taken.n; i++)
        HT_TRY(ht__passes_read(p, s->taken.items[i], diag));
    return HT_OK;
}

enum ht_err ht__eval_keep_passes(const struct ht__eval *e, struct ht_diag *diag)
{
    return ht__passes_write(&e->passes, e->settings->keep, diag);
}
