/* Retention: how many greedy continuations stay as the reference's. */
#include "eval/continuations.h"
#include "eval/parts.h"
#include "model/tokenizer/tokenizer.h"

#include <string.h>

static const char *const prompts_list[] = {
#define HT_PROMPT(text) text,
#include "eval/prompts.def"
#undef HT_PROMPT
};
enum { N_PROMPTS = sizeof prompts_list / sizeof prompts_list[0] };

/* All are cut to the same length, so that they go through the model side by side. */
static enum ht_err make_prompts(struct ht__eval *e, struct ht__tokenizer *tokenizer, struct ht__prompts *p,
                                struct ht_diag *diag)
{
    struct ht__tokens ids[N_PROMPTS];
    enum ht_err err = HT_OK;
    *p = (struct ht__prompts){.n = N_PROMPTS, .n_prompt = HT__PROMPT_TOKENS, .n_new = e->settings->retention};
    for (int i = 0; i < N_PROMPTS; i++)
        ht__tokens_init(&ids[i], e->run.alloc);
    for (int i = 0; i < N_PROMPTS && !err; i++) {
        err = ht__tokenizer_encode(tokenizer, prompts_list[i], strlen(prompts_list[i]), HT__TOKENIZER_ADD_SPECIAL,
                                   &ids[i], diag);
        if (!err && ids[i].failed) err = ht__fail_memory(diag, "prompts");
        if (ids[i].n < (size_t)p->n_prompt) p->n_prompt = (int)ids[i].n;
    }
    if (!err && p->n_prompt < 1)
        err = ht__fail(diag, HT_ERR_UNSUPPORTED, "prompts", -1, "the tokenizer turns a text into no tokens");
    size_t length = (size_t)p->n_prompt + (size_t)p->n_new;
    if (!err && !(p->tokens = ht__arena_array(&e->arena, N_PROMPTS * length, sizeof *p->tokens)))
        err = ht__fail_memory(diag, "prompts");
    for (int i = 0; i < N_PROMPTS; i++) {
        if (!err) memcpy(p->tokens + (size_t)i * length, ids[i].ids, (size_t)p->n_prompt * sizeof *p->tokens);
        ht__tokens_close(&ids[i]);
    }
    return err;
}

/* The reference's engine for scoring is not needed any more; one with a cache takes its place. */
static enum ht_err continue_reference(struct ht__eval *e, struct ht__prompts *p, struct ht_diag *diag)
{
    struct ht__engine_params params = {
        .n_ctx = p->n_prompt + p->n_new, .n_seqs = p->n, .n_batch = p->n * p->n_prompt, .cache = true};
    ht__engine_close(&e->reference->scored.engine);
    HT_TRY(ht__eval_open_engine(e, e->reference, &params, diag));
    return ht__continue_greedily(e->reference->scored.engine, p, ht__eval_tell, e, e->run.alloc, diag);
}

static void keep_equal(struct ht__eval_model *m, const struct ht__prompts *p, const int *equal)
{
    m->n_prompts = p->n;
    for (int i = 0; i < p->n; i++) {
        m->n_equal += equal[i] == p->n_new;
        m->equal_tokens += equal[i];
    }
}

int ht__eval_continued(const struct ht__eval *e)
{
    return e->settings->retention < 1 ? 0 : N_PROMPTS * (HT__PROMPT_TOKENS + e->settings->retention);
}

enum ht_err ht__eval_retention(struct ht__eval *e, struct ht_diag *diag)
{
    struct ht__tokenizer *tokenizer = NULL;
    struct ht__prompts p;
    int equal[N_PROMPTS];
    if (e->settings->retention < 1) return HT_OK;
    if (!e->reference)
        return ht__fail(diag, HT_ERR_USAGE, "retention", -1, "expected a reference model: --against MODEL");
    HT_TRY(ht__eval_open_tokenizer(e, &tokenizer, diag));
    enum ht_err err = make_prompts(e, tokenizer, &p, diag);
    ht__tokenizer_close(&tokenizer);
    HT_TRY(err);
    int length = p.n_prompt + p.n_new, n_seqs = e->n_batch / length < e->n_seqs ? e->n_batch / length : e->n_seqs;
    uint64_t each = (uint64_t)p.n * (uint64_t)length;
    ht__progress_begin(&e->progress, &e->run, "continue", "tokens", each * e->n_all);
    e->progress_base = 0;
    HT_TRY(continue_reference(e, &p, diag));
    for (size_t i = 0; i < e->n_models; i++) {
        struct ht__eval_model *m = &e->models[i];
        if (m == e->reference) continue;
        e->progress_base += each;
        HT_TRY(ht__count_equal(m->scored.engine, &p, n_seqs, equal, ht__eval_tell, e, e->run.alloc, diag));
        keep_equal(m, &p, equal);
    }
    return HT_OK;
}
