/* From a text to ids: special tokens first, then each segment between them. */
#include "model/tokenizer/parts.h"

#include <string.h>
#include <stdlib.h>

void ht__tokens_init(struct ht__tokens *tokens, const struct ht__alloc *alloc)
{
    memset(tokens, 0, sizeof *tokens);
    tokens->alloc = alloc;
}

void ht__tokens_close(struct ht__tokens *tokens)
{
    ht__free(tokens->alloc, tokens->ids);
    ht__tokens_init(tokens, tokens->alloc);
}

bool ht__tokens_reserve(struct ht__tokens *tokens, size_t n)
{
    size_t need, cap = tokens->cap < 64 ? 64 : tokens->cap;
    if (tokens->failed) return false;
    if (n <= tokens->cap - tokens->n) return true;
    if (__builtin_add_overflow(tokens->n, n, &need) || need > SIZE_MAX / 2 / sizeof *tokens->ids)
        return !(tokens->failed = true);
    while (cap < need)
        cap += cap / 2;
    int32_t *ids = ht__resize(tokens->alloc, tokens->ids, cap * sizeof *ids);
    if (!ids) return !(tokens->failed = true);
    tokens->ids = ids;
    tokens->cap = cap;
    return true;
}

static void close_work(const struct ht__tokenizer *t, struct ht__tokenizer_work *w)
{
    ht__merger_close(&w->merger);
    ht__buf_close(&w->normal);
    ht__buf_close(&w->more);
    ht__buf_close(&w->best);
    ht__pre_work_close(&w->pre);
    ht__free(t->alloc, w);
}

void ht__tokenizer_close_work(struct ht__tokenizer *t)
{
    while (t->n_idle)
        close_work(t, t->idle[--t->n_idle]);
}

/* One that is idle, or a new one. */
static struct ht__tokenizer_work *take_work(const struct ht__tokenizer *t)
{
    struct ht__tokenizer *own = (struct ht__tokenizer *)(uintptr_t)t; /* the pool is what changes in a tokenizer */
    struct ht__tokenizer_work *w = NULL;
    pthread_mutex_lock(&own->lock);
    if (own->n_idle) w = own->idle[--own->n_idle];
    pthread_mutex_unlock(&own->lock);
    if (w || !(w = ht__new(t->alloc, sizeof *w))) return w;
    ht__merger_init(&w->merger, t->alloc);
    ht__buf_init(&w->normal, t->alloc);
    ht__buf_init(&w->more, t->alloc);
    ht__buf_init(&w->best, t->alloc);
    if (ht__pre_work_open(&w->pre, &t->pre)) return w;
    close_work(t, w);
    return NULL;
}

/* After a failure it is thrown away: its buffers may remember. */
static void give_work(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, bool good)
{
    struct ht__tokenizer *own = (struct ht__tokenizer *)(uintptr_t)t;
    pthread_mutex_lock(&own->lock);
    if (good && own->n_idle < HT__TOKENIZER_WORKERS) {
        own->idle[own->n_idle++] = w;
        w = NULL;
    }
    pthread_mutex_unlock(&own->lock);
    if (w) close_work(t, w);
}

void ht__tokenizer_put_unknown(const struct ht__tokenizer *t, const char *text, size_t n, bool *in_unknown,
                               struct ht__tokens *out)
{
    bool bytes = true;
    for (size_t i = 0; i < n; i++)
        bytes &= t->byte_ids[(unsigned char)text[i]] >= 0;
    if (bytes) {
        for (size_t i = 0; i < n; i++)
            ht__tokens_put(out, t->byte_ids[(unsigned char)text[i]]);
        *in_unknown = false;
        return;
    }
    if (t->unk >= 0 && !*in_unknown) ht__tokens_put(out, t->unk);
    *in_unknown = true;
}

/* A text between special tokens; first: nothing is before it. */
static enum ht_err encode_segment(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *text,
                                  size_t n, bool first, struct ht__tokens *out, struct ht_diag *diag)
{
    bool prefix = ht__tokenizer_prefixes(t, text, n, first);
    if (n == 0) return HT_OK;
    if (n > INT32_MAX / 4) return ht__fail(diag, HT_ERR_LIMIT, t->where, -1, "a text of %zu bytes is too long", n);
    switch (t->kind) {
    case HT__TOKENIZER_BYTES: return ht__tokenizer_bytes_encode(t, w, text, n, prefix, out, diag);
    case HT__TOKENIZER_SPM:
    case HT__TOKENIZER_UNIGRAM: return ht__tokenizer_marked_encode(t, w, text, n, prefix, out, diag);
    case HT__TOKENIZER_WORDPIECE: return ht__tokenizer_wordpiece_encode(t, w, text, n, out, diag);
    }
    return HT_OK;
}

/* The first mark in [from, to), or NULL. */
static const size_t *mark_within(const struct ht__marks *marks, size_t from, size_t to)
{
    size_t low = 0, high = marks->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (marks->at[middle] < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < marks->n && marks->at[low] < to ? &marks->at[low] : NULL;
}

static enum ht_err encode_all(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *text, size_t n,
                              bool control, const struct ht__marks *marks, struct ht__tokens *out, struct ht_diag *diag)
{
    size_t at = 0, look = 0, from, to;
    const struct ht__special *s;
    while ((s = ht__tokenizer_special_next(t, text, n, look, control, &from, &to))) {
        const size_t *mark = s->control ? mark_within(marks, from, to) : NULL;
        if (mark) {
            look = *mark + 1;
            continue;
        }
        HT_TRY(encode_segment(t, w, text + at, from - at, at == 0, out, diag));
        ht__tokens_put(out, s->id);
        at = look = to;
    }
    return encode_segment(t, w, text + at, n - at, at == 0, out, diag);
}

static enum ht_err encode_text(const struct ht__tokenizer *t, const char *text, size_t len, unsigned flags,
                               const struct ht__marks *marks, struct ht__tokens *out, struct ht_diag *diag)
{
    struct ht__tokenizer_work *w = take_work(t);
    bool around = flags & HT__TOKENIZER_ADD_SPECIAL;
    if (!w) return ht__fail_memory(diag, t->where);
    if (around && t->add_bos && t->bos >= 0) ht__tokens_put(out, t->bos);
    enum ht_err err = encode_all(t, w, text, len, flags & HT__TOKENIZER_PARSE_SPECIAL, marks, out, diag);
    int32_t last = t->kind == HT__TOKENIZER_WORDPIECE && t->sep >= 0 ? t->sep : t->eos;
    if (around && t->add_eos && last >= 0) ht__tokens_put(out, last);
    give_work(t, w, err == HT_OK);
    if (err == HT_OK && out->failed) return ht__fail_memory(diag, t->where);
    return err;
}

enum ht_err ht__tokenizer_encode(const struct ht__tokenizer *t, const char *text, size_t len, unsigned flags,
                                 struct ht__tokens *out, struct ht_diag *diag)
{
    struct ht__marks marks = {0};
    struct ht__buf plain;
    if (!(flags & HT__TOKENIZER_MARKED) || !memchr(text, 0xff, len))
        return encode_text(t, text, len, flags, &marks, out, diag);
    ht__buf_init(&plain, t->alloc);
    bool good = ht__tokenizer_take_marks(t, text, len, &plain, &marks);
    enum ht_err err = good ? encode_text(t, ht__buf_text(&plain), plain.len, flags, &marks, out, diag)
                           : ht__fail_memory(diag, t->where);
    ht__free(t->alloc, marks.at);
    ht__buf_close(&plain);
    return err;
}
