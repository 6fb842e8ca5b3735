#include "engine/batch.h"
#include "base/clock.h"
#include "engine/logprobs.h"

#include <math.h>
#include <string.h>

enum {
    ROWS = 16,   /* of logits, computed at a time */
    BESIDE = 64, /* tokens of prompts in a pass that others wait for, to go on */
    WORTH = 16,  /* tokens of a common beginning that are worth to be copied */
};

struct place {
    bool used, echo, states;
    int64_t since, last;   /* the order in which places were taken, and left */
    struct ht__tokens ids; /* the first n_cached of them are in the engine */
    int n_cached, n_prompt, max_new, n_top;
    struct ht__sampler *sampler;
    struct ht__made made;
    struct ht__mask *mask;
    struct ht__batch_token *tokens; /* not told yet from `told` on */
    size_t n_tokens, room, told;
    float *state_rows; /* of the last step, with room for n_batch; NULL until states are wanted */
    int n_states;
    enum ht_err err;
    struct ht_diag diag;
    struct ht__generator_stats stats;
};

struct wanted {
    int row, place, at; /* the row of the pass that holds token `at` of the place's */
};

struct ht__batch {
    const struct ht__alloc *alloc;
    struct ht__engine *engine;
    const struct ht__tokenizer *text;
    int n_places, n_ctx, n_batch, n_vocab;
    struct place *places;
    int64_t clock;
    float *logits; /* ROWS x the model's rows of the output */
    /* the pass */
    int32_t *tokens;
    struct ht__engine_run *runs;
    int n_runs, n_rows;
    struct wanted *wanted;
    int n_wanted;
};

/* ---- opening ------------------------------------------------------------------------------------ */

static enum ht_err open_places(struct ht__batch *b, struct ht_diag *diag)
{
    for (int i = 0; i < b->n_places; i++) {
        ht__tokens_init(&b->places[i].ids, b->alloc);
        ht__made_init(&b->places[i].made, b->alloc);
    }
    for (int i = 0; i < b->n_places; i++)
        HT_TRY(ht__sampler_open(b->n_vocab, b->alloc, &b->places[i].sampler, diag));
    return HT_OK;
}

static enum ht_err open_parts(struct ht__batch *b, const struct ht__model *model,
                              const struct ht__engine_params *params, struct ht_diag *diag)
{
    struct ht__engine_params p = *params;
    p.cache = true;
    if (p.n_seqs < 1) p.n_seqs = 1;
    if (p.n_batch < p.n_seqs) p.n_batch = p.n_seqs;
    b->places = ht__new_array(b->alloc, (size_t)p.n_seqs, sizeof *b->places);
    if (!b->places) return ht__fail_memory(diag, "batch");
    HT_TRY(ht__engine_open(model, &p, b->alloc, &b->engine, diag));
    const struct ht__hparams *h = ht__engine_hparams(b->engine);
    b->n_ctx = p.n_ctx > 0 ? p.n_ctx : h->n_ctx_train;
    b->n_batch = p.n_batch;
    b->n_places = p.n_seqs;
    /* rows of the output that fill it up to a round number are no tokens */
    b->n_vocab = h->n_vocab < ht__tokenizer_size(b->text) ? h->n_vocab : ht__tokenizer_size(b->text);
    HT_TRY(open_places(b, diag));
    b->logits = ht__new_array(b->alloc, (size_t)h->n_vocab * ROWS, sizeof *b->logits);
    b->tokens = ht__new_array(b->alloc, (size_t)b->n_batch, sizeof *b->tokens);
    b->wanted = ht__new_array(b->alloc, (size_t)b->n_batch, sizeof *b->wanted);
    b->runs = ht__new_array(b->alloc, (size_t)b->n_places, sizeof *b->runs);
    return b->logits && b->tokens && b->wanted && b->runs ? HT_OK : ht__fail_memory(diag, "batch");
}

enum ht_err ht__batch_open(const struct ht__model *model, const struct ht__tokenizer *text,
                           const struct ht__engine_params *params, const struct ht__alloc *alloc,
                           struct ht__batch **out, struct ht_diag *diag)
{
    *out = NULL;
    struct ht__batch *b = ht__new(alloc, sizeof *b);
    if (!b) return ht__fail_memory(diag, "batch");
    b->alloc = alloc;
    b->text = text;
    enum ht_err err = open_parts(b, model, params, diag);
    if (err) ht__batch_close(&b);
    *out = b;
    return err;
}

static void close_place(struct ht__batch *b, struct place *p)
{
    if (p->mask) p->mask->close(&p->mask);
    ht__sampler_close(&p->sampler);
    ht__tokens_close(&p->ids);
    ht__made_close(&p->made);
    ht__free(b->alloc, p->tokens);
    ht__free(b->alloc, p->state_rows);
}

void ht__batch_close(struct ht__batch **batch)
{
    struct ht__batch *b = *batch;
    if (!b) return;
    for (int i = 0; i < b->n_places; i++)
        close_place(b, &b->places[i]);
    ht__engine_close(&b->engine);
    ht__free(b->alloc, b->places);
    ht__free(b->alloc, b->logits);
    ht__free(b->alloc, b->tokens);
    ht__free(b->alloc, b->wanted);
    ht__free(b->alloc, b->runs);
    ht__free(b->alloc, b);
    *batch = NULL;
}

struct ht__engine *ht__batch_engine(struct ht__batch *b)
{
    return b->engine;
}

int ht__batch_context(const struct ht__batch *b)
{
    return b->n_ctx;
}

int ht__batch_used(const struct ht__batch *b)
{
    int n = 0;
    for (int i = 0; i < b->n_places; i++)
        n += b->places[i].used;
    return n;
}

int ht__batch_free(const struct ht__batch *b)
{
    return b->n_places - ht__batch_used(b);
}

/* ---- beginnings that texts have in common ------------------------------------------------------- */

/* Tokens of ids that the place's cache begins with. */
static int common(const struct place *p, const int32_t *ids, int n)
{
    int i = 0;
    while (i < p->n_cached && i < n && p->ids.ids[i] == ids[i])
        i++;
    return i;
}

static int best_beginning(const struct ht__batch *b, const int32_t *ids, int n, int *which)
{
    int most = 0;
    *which = -1;
    for (int i = 0; i < b->n_places; i++) {
        int same = common(&b->places[i], ids, n);
        if (same <= most) continue;
        most = same;
        *which = i;
    }
    return most;
}

/* The free place whose text was left first, and an empty one before those. */
static int oldest_free(const struct ht__batch *b)
{
    int found = -1;
    for (int i = 0; i < b->n_places; i++) {
        const struct place *p = &b->places[i];
        if (!p->used && (found < 0 || p->last < b->places[found].last)) found = i;
    }
    return found;
}

/* Where the ids can be continued with the least reading: *cached are there then. A place whose cache is the beginning of the
 * ids, and no more, is gone on with; of a longer one the beginning is copied, so that it stays. */
static int take_place(struct ht__batch *b, const int32_t *ids, int n, int *cached)
{
    int from, place = oldest_free(b), same = best_beginning(b, ids, n - 1, &from);
    if (place < 0) return place;
    if (from >= 0 && !b->places[from].used &&
        (same == b->places[from].n_cached || same + WORTH > b->places[from].n_cached))
        place = from;
    *cached = common(&b->places[place], ids, n - 1);
    if (place == from || same < *cached + WORTH) return place;
    ht__engine_copy_seq(b->engine, from, place, same);
    *cached = same;
    return place;
}

/* ---- texts come and go -------------------------------------------------------------------------- */

static enum ht_err check_request(const struct ht__batch *b, const struct ht__batch_request *r, struct ht_diag *diag)
{
    if (r->n == 0)
        return ht__fail(diag, HT_ERR_USAGE, "prompt", -1,
                        "the prompt is empty, and the model has no BOS token to begin with");
    if (r->n > (size_t)b->n_ctx)
        return ht__fail(diag, HT_ERR_LIMIT, "prompt", -1, "the prompt has %zu tokens; the context is %d", r->n,
                        b->n_ctx);
    if (r->n_top > HT__BATCH_MOST_TOP)
        return ht__fail(diag, HT_ERR_USAGE, "logprobs", -1, "at most %d tokens can be told", HT__BATCH_MOST_TOP);
    HT_TRY(ht__engine_check_tokens(b->engine, "prompt", r->ids, r->n, diag));
    return ht__batch_free(b) > 0 ? HT_OK : ht__fail(diag, HT_ERR_USAGE, "batch", -1, "no place is free");
}

static enum ht_err set_text(struct ht__batch *b, struct place *p, const struct ht__batch_request *r, int cached,
                            struct ht_diag *diag)
{
    p->ids.n = 0;
    p->n_cached = 0;
    if (!ht__tokens_reserve(&p->ids, r->n)) {
        p->ids.failed = false;
        return ht__fail_memory(diag, "prompt");
    }
    for (size_t i = 0; i < r->n; i++)
        ht__tokens_put(&p->ids, r->ids[i]);
    p->n_cached = cached;
    HT_TRY(ht__sampler_set(p->sampler, &r->sampling, diag));
    HT_TRY(ht__made_stops(&p->made, r->stops, r->n_stops, diag));
    if (r->states && !p->state_rows) {
        size_t floats = (size_t)b->n_batch * (size_t)ht__engine_hparams(b->engine)->n_embd;
        p->state_rows = ht__new_array(b->alloc, floats, sizeof *p->state_rows);
        if (!p->state_rows) return ht__fail_memory(diag, "states");
    }
    ht__made_begin(&p->made, b->text, r->ids, r->n, r->flags);
    return HT_OK;
}

static enum ht_err add(struct ht__batch *b, const struct ht__batch_request *r, int *place, struct ht_diag *diag)
{
    int cached = 0;
    HT_TRY(check_request(b, r, diag));
    *place = take_place(b, r->ids, (int)r->n, &cached);
    struct place *p = &b->places[*place];
    if (r->echo || r->states) cached = 0; /* every token of the prompt is looked at */
    HT_TRY(set_text(b, p, r, cached, diag));
    p->used = true;
    p->since = ++b->clock;
    p->echo = r->echo && r->n_top >= 0;
    p->states = r->states;
    p->max_new = r->max_new;
    p->n_prompt = (int)r->n;
    p->n_top = r->n_top;
    p->n_tokens = p->told = 0;
    p->n_states = 0;
    p->err = HT_OK;
    p->stats = (struct ht__generator_stats){.n_prompt = (int)r->n, .n_read = (int)r->n - cached};
    return HT_OK;
}

enum ht_err ht__batch_add(struct ht__batch *b, const struct ht__batch_request *r, int *place, struct ht_diag *diag)
{
    struct ht__mask *mask = r->mask;
    *place = -1;
    enum ht_err err = add(b, r, place, diag);
    if (err == HT_OK)
        b->places[*place].mask = mask;
    else if (mask)
        mask->close(&mask);
    return err;
}

void ht__batch_remove(struct ht__batch *b, int place)
{
    struct place *p = &b->places[place];
    p->used = false;
    p->last = ++b->clock;
    p->ids.n = (size_t)p->n_cached; /* nothing but what was read counts as known */
    if (p->mask) p->mask->close(&p->mask);
}

/* ---- which tokens a pass takes ------------------------------------------------------------------ */

static int unread(const struct place *p)
{
    return p->used && !p->err && p->stats.ending == HT__GOING_ON ? (int)p->ids.n - p->n_cached : 0;
}

static bool reads_prompt(const struct place *p)
{
    return unread(p) > 0 && p->n_cached < p->n_prompt - 1;
}

/* Another place may have read meanwhile what this one begins with. */
static void borrow(struct ht__batch *b, int place)
{
    struct place *p = &b->places[place];
    int from, same;
    if (p->echo || p->states || p->stats.n_new > 0) return;
    same = best_beginning(b, p->ids.ids, p->n_prompt - 1, &from);
    if (from < 0 || from == place || same < p->n_cached + WORTH) return;
    ht__engine_copy_seq(b->engine, from, place, same);
    p->stats.n_read -= same - p->n_cached;
    p->n_cached = same;
}

/* Does an earlier text read what this one begins with? Then this one gets it from there. */
static bool waits(const struct ht__batch *b, int place)
{
    const struct place *p = &b->places[place];
    if (p->echo || p->states || !reads_prompt(p)) return false;
    for (int i = 0; i < b->n_places; i++) {
        const struct place *o = &b->places[i];
        if (i == place || !reads_prompt(o) || o->since > p->since) continue;
        int n = (o->n_prompt < p->n_prompt ? o->n_prompt : p->n_prompt) - 1, same = 0;
        while (same < n && o->ids.ids[same] == p->ids.ids[same])
            same++;
        if (same >= p->n_cached + WORTH && o->n_cached < same) return true;
    }
    return false;
}

static void want(struct ht__batch *b, int row, int place, int at)
{
    b->wanted[b->n_wanted++] = (struct wanted){row, place, at};
}

/* The next n tokens of a place join the pass. */
static void take_tokens(struct ht__batch *b, int place, int n)
{
    struct place *p = &b->places[place];
    memcpy(b->tokens + b->n_rows, p->ids.ids + p->n_cached, (size_t)n * sizeof *b->tokens);
    for (int i = 0; i < n && !p->states; i++)
        if (p->echo || p->n_cached + i == (int)p->ids.n - 1) want(b, b->n_rows + i, place, p->n_cached + i);
    b->runs[b->n_runs++] = (struct ht__engine_run){place, n, p->n_cached};
    b->n_rows += n;
}

/* The place that has waited longest, of those that read their prompt and are not in the pass yet. */
static int next_reader(const struct ht__batch *b)
{
    int found = -1;
    for (int i = 0; i < b->n_places; i++) {
        bool there = false;
        for (int r = 0; r < b->n_runs; r++)
            there |= b->runs[r].seq == i;
        if (there || !reads_prompt(&b->places[i]) || waits(b, i)) continue;
        if (found < 0 || b->places[i].since < b->places[found].since) found = i;
    }
    return found;
}

/* Those that make tokens come first, one each; prompts get what is left, and less of it where somebody waits for it. */
static void plan(struct ht__batch *b)
{
    b->n_runs = b->n_rows = b->n_wanted = 0;
    for (int i = 0; i < b->n_places; i++) {
        struct place *p = &b->places[i];
        p->n_states = 0;
        if (reads_prompt(p)) borrow(b, i);
        if (unread(p) == 1 && !reads_prompt(p)) take_tokens(b, i, 1);
    }
    int room = b->n_batch - b->n_rows, reader;
    if (b->n_rows > 0 && room > BESIDE) room = BESIDE;
    while (room > 0 && (reader = next_reader(b)) >= 0) {
        int n = unread(&b->places[reader]);
        if (n > room) n = room;
        take_tokens(b, reader, n);
        room -= n;
    }
}

/* ---- what a pass gives -------------------------------------------------------------------------- */

static enum ht_err put_token(struct ht__batch *b, struct place *p, int32_t id, bool first, const float *logits,
                             size_t at, struct ht_diag *diag)
{
    if (p->n_tokens == p->room) {
        size_t room = p->room ? 2 * p->room : 16;
        struct ht__batch_token *grown = ht__resize(b->alloc, p->tokens, room * sizeof *grown);
        if (!grown) return ht__fail_memory(diag, "tokens");
        p->tokens = grown;
        p->room = room;
    }
    struct ht__batch_token *t = &p->tokens[p->n_tokens++];
    *t = (struct ht__batch_token){.id = id, .at = at, .logprob = NAN};
    if (first) return HT_OK;
    t->n_top = p->n_top;
    t->logprob = ht__logprobs(logits, b->n_vocab, id, p->n_top, t->top, t->top_logprob);
    return HT_OK;
}

static enum ht_err pick(struct ht__batch *b, struct place *p, float *logits, float *logprobs_of, struct ht_diag *diag)
{
    int32_t id;
    if (p->mask) {
        if (p->n_top >= 0) memcpy(logprobs_of, logits, (size_t)b->n_vocab * sizeof *logits);
        HT_TRY(p->mask->apply(p->mask, logits, b->n_vocab, diag));
    } else {
        logprobs_of = logits;
    }
    HT_TRY(ht__sampler_pick(p->sampler, logits, p->ids.ids, p->ids.n, &id, diag));
    p->stats.n_new++;
    ht__tokens_put(&p->ids, id);
    if (p->ids.failed) return ht__fail_memory(diag, "tokens");
    if (ht__tokenizer_is_end(b->text, id)) return p->stats.ending = HT__ENDED_BY_MODEL, HT_OK;
    if (p->n_top >= 0) HT_TRY(put_token(b, p, id, false, logprobs_of, p->made.text.len, diag));
    HT_TRY(ht__made_put(&p->made, id, diag));
    if (p->mask) p->mask->take(p->mask, id);
    if (p->made.stopped)
        p->stats.ending = HT__ENDED_BY_STOP;
    else if (p->mask && p->mask->whole(p->mask))
        p->stats.ending = HT__ENDED_BY_MODEL;
    else if (p->stats.n_new >= p->max_new)
        p->stats.ending = HT__ENDED_BY_COUNT;
    else if (p->ids.n > (size_t)b->n_ctx)
        p->stats.ending = HT__ENDED_BY_CONTEXT;
    return HT_OK;
}

/* A row of logits: what follows token `at`. In a prompt that is known, and told; at its end it is picked. */
static enum ht_err use_row(struct ht__batch *b, const struct wanted *w, float *logits)
{
    struct place *p = &b->places[w->place];
    if (w->at == 0 && p->echo) HT_TRY(put_token(b, p, p->ids.ids[0], true, logits, 0, &p->diag));
    if (w->at + 1 < p->n_prompt) return put_token(b, p, p->ids.ids[w->at + 1], false, logits, 0, &p->diag);
    if (p->max_new == 0) return p->stats.ending = HT__ENDED_BY_COUNT, HT_OK;
    return pick(b, p, logits, b->logits + (ROWS - 1) * (size_t)ht__engine_hparams(b->engine)->n_vocab, &p->diag);
}

static enum ht_err use_logits(struct ht__batch *b, struct ht_diag *diag)
{
    enum { EACH = ROWS - 1 }; /* the last row is for the logits before a mask */
    size_t n_vocab = (size_t)ht__engine_hparams(b->engine)->n_vocab;
    for (int from = 0; from < b->n_wanted; from += EACH) {
        int rows[EACH], n = b->n_wanted - from < EACH ? b->n_wanted - from : EACH;
        for (int i = 0; i < n; i++)
            rows[i] = b->wanted[from + i].row;
        HT_TRY(ht__engine_row_logits(b->engine, rows, n, b->logits, diag));
        for (int i = 0; i < n; i++) {
            struct place *p = &b->places[b->wanted[from + i].place];
            if (!p->err) p->err = use_row(b, &b->wanted[from + i], b->logits + (size_t)i * n_vocab);
        }
    }
    return HT_OK;
}

static enum ht_err use_states(struct ht__batch *b, const struct ht__engine_run *run, int row, struct ht_diag *diag)
{
    struct place *p = &b->places[run->seq];
    if (!p->states) return HT_OK;
    HT_TRY(ht__engine_row_states(b->engine, row, run->n_tokens, p->state_rows, diag));
    p->n_states = run->n_tokens;
    if (p->n_cached == (int)p->ids.n) p->stats.ending = HT__ENDED_BY_COUNT;
    return HT_OK;
}

static void count_time(struct ht__batch *b, double seconds)
{
    for (int i = 0; i < b->n_runs; i++) {
        struct place *p = &b->places[b->runs[i].seq];
        if (p->stats.n_new <= 1)
            p->stats.prompt_seconds += seconds;
        else
            p->stats.seconds += seconds;
    }
}

enum ht_err ht__batch_step(struct ht__batch *b, struct ht_diag *diag)
{
    double start = ht__seconds();
    int row = 0;
    plan(b);
    if (b->n_runs == 0) return HT_OK;
    HT_TRY(ht__engine_pass_runs(b->engine, b->tokens, b->runs, b->n_runs, diag));
    for (int i = 0; i < b->n_runs; row += b->runs[i++].n_tokens) {
        b->places[b->runs[i].seq].n_cached += b->runs[i].n_tokens;
        HT_TRY(use_states(b, &b->runs[i], row, diag));
    }
    HT_TRY(use_logits(b, diag));
    count_time(b, ht__seconds() - start);
    return HT_OK;
}

struct ht__batch_out ht__batch_take(struct ht__batch *b, int place)
{
    struct place *p = &b->places[place];
    struct ht__batch_out out = {.states = p->state_rows,
                                .n_states = p->n_states,
                                .ending = p->stats.ending,
                                .err = p->err,
                                .diag = &p->diag,
                                .stats = &p->stats};
    bool over = p->err || p->stats.ending != HT__GOING_ON;
    out.piece = over ? ht__made_rest(&p->made) : ht__made_take(&p->made);
    out.tokens = p->tokens ? p->tokens + p->told : NULL;
    while (p->told < p->n_tokens && (p->tokens[p->told].at < p->made.released || (over && !p->made.stopped)))
        p->told++, out.n_tokens++;
    return out;
}
