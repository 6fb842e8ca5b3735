/* Several texts at once, from a program. */
#include "halftone/batch.h"

#include "api/model.h"
#include "engine/batch.h"
#include "engine/json_mask.h"
#include "engine/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CONTEXT = 4096, DEFAULT_TEXTS = 4, PASS = 256, MOST_TEXTS = 256 };

struct ht_batch {
    struct ht_model *model;
    const struct ht__tokenizer *text;
    struct ht__batch *batch;
    struct ht__token_bytes *tokens; /* from the first schema on */
    int n_texts;
    struct ht__batch_out *taken; /* of each place, what was given last */
    bool *used;
    char *messages; /* of each place, WORDS bytes: its last error */
};
enum { WORDS = 1024 };

/* ---- opening ------------------------------------------------------------------------------------ */

/* Keys and values of a text that fills its context. */
static uint64_t text_bytes(const struct ht__hparams *h, int n_ctx)
{
    return (uint64_t)n_ctx * (uint64_t)h->n_layers * (uint64_t)h->n_kv_heads * (uint64_t)(h->key_len + h->value_len) *
           sizeof(float);
}

static enum ht_err open_parts(struct ht_batch *b, const struct ht_batch_options *o, struct ht_diag *diag)
{
    const struct ht_model *m = b->model;
    struct ht__hparams *h;
    struct ht__engine_params p = {.n_threads = o->n_threads,
                                  .memory = o->memory,
                                  .n_ctx = o->n_ctx,
                                  .n_seqs = b->n_texts,
                                  .n_batch = PASS,
                                  .fast = !(o->flags & HT_BATCH_EXACT),
                                  .cancelled = &m->cancelled,
                                  .name = ht__handle_name(m)};
    HT_TRY(ht__handle_text(b->model, &b->text, diag));
    HT_TRY(ht__handle_hparams(m, &h, diag));
    if (p.n_ctx == 0) p.n_ctx = h->n_ctx_train < DEFAULT_CONTEXT ? h->n_ctx_train : DEFAULT_CONTEXT;
    uint64_t each = text_bytes(h, p.n_ctx);
    ht__free(m->alloc, h);
    while (o->cache_memory && p.n_seqs > 1 && each * (uint64_t)p.n_seqs > o->cache_memory)
        p.n_seqs--;
    b->n_texts = p.n_seqs;
    size_t n = (size_t)b->n_texts;
    b->taken = ht__new_array(m->alloc, n, sizeof *b->taken);
    b->used = ht__new_array(m->alloc, n, sizeof *b->used);
    b->messages = ht__new_array(m->alloc, n, WORDS);
    if (!b->taken || !b->used || !b->messages) return ht__fail_memory(diag, "batch");
    return ht__batch_open(m->model, b->text, &p, m->alloc, &b->batch, diag);
}

enum ht_err ht_batch_open(struct ht_model *model, const struct ht_batch_options *options, struct ht_batch **batch,
                          struct ht_diag *diag)
{
    struct ht_batch_options o = {0};
    ht__diag_clear(diag);
    if (batch) *batch = NULL;
    if (!model || !batch) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no model or no place for the batch");
    if (options && !ht__sized_take(&o, options, sizeof o))
        return ht__fail(diag, HT_ERR_USAGE, "options", -1, "options->size is not set");
    if (o.n_ctx < 0 || o.n_threads < 0 || o.n_texts < 0 || o.n_texts > MOST_TEXTS ||
        o.flags & ~(unsigned)HT_BATCH_EXACT)
        return ht__fail(diag, HT_ERR_USAGE, "options", -1,
                        "a number is negative, more than %d texts are wanted, or a flag is not known", MOST_TEXTS);
    struct ht_batch *b = ht__new(model->alloc, sizeof *b);
    if (!b) return ht__fail_memory(diag, "batch");
    b->model = model;
    b->n_texts = o.n_texts ? o.n_texts : DEFAULT_TEXTS;
    enum ht_err err = open_parts(b, &o, diag);
    if (err) ht_batch_close(&b);
    *batch = b;
    return err;
}

void ht_batch_close(struct ht_batch **batch)
{
    if (!batch || !*batch) return;
    struct ht_batch *b = *batch;
    const struct ht__alloc *alloc = b->model->alloc;
    ht__batch_close(&b->batch);
    ht__token_bytes_close(&b->tokens);
    ht__free(alloc, b->taken);
    ht__free(alloc, b->used);
    ht__free(alloc, b->messages);
    ht__free(alloc, b);
    *batch = NULL;
}

bool ht_batch_info(const struct ht_batch *b, struct ht_batch_info *info)
{
    if (!b) return false;
    struct ht__engine *e = ht__batch_engine(b->batch);
    const struct ht__hparams *h = ht__engine_hparams(e);
    int n_ctx = ht__batch_context(b->batch);
    struct ht_batch_info full = {.n_ctx = n_ctx,
                                 .n_ctx_train = h->n_ctx_train,
                                 .n_texts = b->n_texts,
                                 .n_embd = h->n_embd,
                                 .weight_bytes = ht__engine_need(b->model->model, NULL).all,
                                 .cache_bytes = text_bytes(h, n_ctx) * (uint64_t)b->n_texts};
    return ht__sized_give(info, &full, sizeof full);
}

/* ---- texts -------------------------------------------------------------------------------------- */

/* gpt-oss says in control tokens which part of what it writes is thought and which is the answer. */
static bool has_channels(const struct ht__tokenizer *t)
{
    return ht__tokenizer_find(t, "<|channel|>", 11) >= 0 && ht__tokenizer_find(t, "<|message|>", 11) >= 0;
}

static enum ht_err add(struct ht_batch *b, const struct ht_batch_text *t, int *place, struct ht_diag *diag)
{
    struct ht__batch_request r = {.ids = t->ids,
                                  .n = t->n,
                                  .max_new = t->max_tokens,
                                  .sampling = {.temperature = t->temperature,
                                               .top_k = t->top_k,
                                               .top_p = t->top_p,
                                               .min_p = t->min_p,
                                               .repeat_penalty = t->repeat_penalty,
                                               .presence_penalty = t->presence_penalty,
                                               .frequency_penalty = t->frequency_penalty,
                                               .repeat_last = t->repeat_last,
                                               .seed = t->seed},
                                  .stops = t->stops,
                                  .n_stops = t->n_stops,
                                  .n_top = t->n_top,
                                  .echo = t->flags & HT_BATCH_ECHO,
                                  .states = t->flags & HT_BATCH_STATES};
    if (t->flags & HT_BATCH_ANSWER) r.flags = HT__GENERATE_FRESH | (has_channels(b->text) ? HT__GENERATE_CONTROL : 0u);
    if (t->schema && !b->tokens) HT_TRY(ht__token_bytes_open(b->text, b->model->alloc, &b->tokens, diag));
    if (t->schema) HT_TRY(ht__json_mask_open(b->tokens, t->schema, b->model->alloc, &r.mask, diag));
    HT_TRY(ht__batch_add(b->batch, &r, place, diag));
    b->used[*place] = true;
    b->taken[*place] = (struct ht__batch_out){.n_tokens = 0};
    return HT_OK;
}

enum ht_err ht_batch_add(struct ht_batch *b, const struct ht_batch_text *text, int *place, struct ht_diag *diag)
{
    struct ht_batch_text t;
    ht__diag_clear(diag);
    if (!b || !place) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no batch or no place for the number");
    *place = -1;
    if (!ht__sized_take(&t, text, sizeof t)) return ht__fail(diag, HT_ERR_USAGE, "text", -1, "text->size is not set");
    if ((!t.ids && t.n) || (!t.stops && t.n_stops) || t.max_tokens < 0 || t.n_top < -1 ||
        (t.flags & HT_BATCH_ECHO && t.n_top < 0))
        return ht__fail(diag, HT_ERR_USAGE, "text", -1, "ids or stops are missing, or a number is out of its range");
    return add(b, &t, place, diag);
}

static bool has(const struct ht_batch *b, int place)
{
    return b && place >= 0 && place < b->n_texts && b->used[place];
}

void ht_batch_remove(struct ht_batch *b, int place)
{
    if (!has(b, place)) return;
    b->used[place] = false;
    ht__batch_remove(b->batch, place);
}

int ht_batch_free(const struct ht_batch *b)
{
    return b ? ht__batch_free(b->batch) : 0;
}

int ht_batch_used(const struct ht_batch *b)
{
    return b ? ht__batch_used(b->batch) : 0;
}

enum ht_err ht_batch_step(struct ht_batch *b, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!b) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no batch");
    return ht__batch_step(b->batch, diag);
}

/* ---- what comes out ----------------------------------------------------------------------------- */

static const char *reason_of(const struct ht__batch_out *o)
{
    static const char *const reasons[] = {[HT__ENDED_BY_MODEL] = "end",
                                          [HT__ENDED_BY_STOP] = "stop",
                                          [HT__ENDED_BY_COUNT] = "length",
                                          [HT__ENDED_BY_CONTEXT] = "length"};
    return o->err ? "error" : o->ending == HT__GOING_ON ? NULL : reasons[o->ending];
}

bool ht_batch_take(struct ht_batch *b, int place, struct ht_batch_out *out)
{
    if (!has(b, place)) return false;
    struct ht__batch_out o = b->taken[place] = ht__batch_take(b->batch, place);
    char *message = b->messages + (size_t)place * WORDS;
    *message = '\0';
    if (o.err) snprintf(message, WORDS, "%s%s%s", o.diag->where, *o.diag->where ? ": " : "", o.diag->message);
    struct ht_batch_out full = {.text = o.piece.text,
                                .len = o.piece.len,
                                .n_tokens = (int)o.n_tokens,
                                .states = o.n_states ? o.states : NULL,
                                .n_states = o.n_states,
                                .reason = reason_of(&o),
                                .context_full = o.ending == HT__ENDED_BY_CONTEXT,
                                .err = o.err,
                                .message = o.err ? message : NULL,
                                .prompt_tokens = o.stats->n_prompt,
                                .read_tokens = o.stats->n_read,
                                .new_tokens = o.stats->n_new,
                                .prompt_seconds = o.stats->prompt_seconds,
                                .seconds = o.stats->seconds};
    return ht__sized_give(out, &full, sizeof full);
}

bool ht_batch_token(struct ht_batch *b, int place, int i, struct ht_batch_token *token)
{
    if (!has(b, place) || i < 0 || (size_t)i >= b->taken[place].n_tokens) return false;
    const struct ht__batch_token *t = &b->taken[place].tokens[i];
    struct ht_batch_token full = {
        .id = t->id, .logprob = (double)t->logprob, .n_top = t->n_top, .top = t->top, .top_logprobs = t->top_logprob};
    return ht__sized_give(token, &full, sizeof full);
}
