#include "engine/json_mask.h"
#include "engine/json_machine.h"

#include <math.h>
#include <string.h>

struct ht__token_bytes {
    const struct ht__alloc *alloc;
    const struct ht__tokenizer *text;
    int n;
    uint32_t *at; /* n + 1: where each begins in bytes */
    struct ht__buf bytes;
    unsigned char *kinds; /* enum kind */
};
/* INSIDE: whole characters that a JSON string has as they are. END: ends what a model writes. */
enum kind { NEVER, ANY, INSIDE, END };

struct json_mask {
    struct ht__mask mask;
    const struct ht__alloc *alloc;
    const struct ht__token_bytes *tokens;
    struct ht__schema schema;
    struct ht__json_ways ways;
    struct ht__json_ways steps[2]; /* of a token that is tried */
    bool whole;
};

/* ---- tokens ------------------------------------------------------------------------------------- */

static bool is_inside(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = p[i] < 0x80 ? 1 : p[i] >= 0xf0 ? 4 : p[i] >= 0xe0 ? 3 : 2;
        if (p[i] < 0x20 || p[i] == '"' || p[i] == '\\' || (p[i] >= 0x80 && p[i] < 0xc2) || p[i] > 0xf4 || len > n - i)
            return false;
        for (size_t k = 1; k < len; k++)
            if ((p[i + k] & 0xc0) != 0x80) return false;
        /* overlong ones, surrogates and what is beyond Unicode: the machine knows */
        if (p[i] == 0xe0 || p[i] == 0xed || p[i] == 0xf0 || p[i] == 0xf4) return false;
        i += len - 1;
    }
    return n > 0;
}

static enum ht_err fill(struct ht__token_bytes *t, struct ht_diag *diag)
{
    for (int32_t id = 0; id < t->n; id++) {
        size_t start = t->bytes.len;
        t->at[id] = (uint32_t)start;
        if (ht__tokenizer_is_end(t->text, id)) {
            t->kinds[id] = END;
            continue;
        }
        enum ht_err err =
            ht__tokenizer_decode(t->text, &id, 1, HT__TOKENIZER_SKIP_SPECIAL | HT__TOKENIZER_WITHIN, &t->bytes);
        if (t->bytes.failed || t->bytes.len > UINT32_MAX) return ht__fail_memory(diag, "tokens");
        size_t n = t->bytes.len - start;
        bool text = err == HT_OK && n > 0 && !ht__tokenizer_is_control(t->text, id);
        t->kinds[id] = !text ? NEVER : is_inside(t->bytes.data + start, n) ? INSIDE : ANY;
    }
    t->at[t->n] = (uint32_t)t->bytes.len;
    return HT_OK;
}

enum ht_err ht__token_bytes_open(const struct ht__tokenizer *text, const struct ht__alloc *alloc,
                                 struct ht__token_bytes **out, struct ht_diag *diag)
{
    struct ht__token_bytes *t = ht__new(alloc, sizeof *t);
    *out = NULL;
    if (!t) return ht__fail_memory(diag, "tokens");
    t->alloc = alloc;
    t->text = text;
    t->n = ht__tokenizer_size(text);
    ht__buf_init(&t->bytes, alloc);
    t->at = ht__new_array(alloc, (size_t)t->n + 1, sizeof *t->at);
    t->kinds = ht__new_array(alloc, (size_t)t->n, sizeof *t->kinds);
    enum ht_err err = t->at && t->kinds ? fill(t, diag) : ht__fail_memory(diag, "tokens");
    if (err) ht__token_bytes_close(&t);
    *out = t;
    return err;
}

void ht__token_bytes_close(struct ht__token_bytes **tokens)
{
    struct ht__token_bytes *t = *tokens;
    if (!t) return;
    ht__buf_close(&t->bytes);
    ht__free(t->alloc, t->at);
    ht__free(t->alloc, t->kinds);
    ht__free(t->alloc, t);
    *tokens = NULL;
}

/* ---- the mask ----------------------------------------------------------------------------------- */

/* Where the token leads; NULL: it does not fit. */
static const struct ht__json_ways *try_token(struct json_mask *m, int32_t id)
{
    const struct ht__token_bytes *t = m->tokens;
    const struct ht__json_ways *from = &m->ways;
    for (uint32_t i = t->at[id], k = 0; i < t->at[id + 1]; i++, k ^= 1) {
        if (!ht__json_step(&m->schema, from, t->bytes.data[i], &m->steps[k])) return NULL;
        from = &m->steps[k];
    }
    return from;
}

static enum ht_err apply(struct ht__mask *mask, float *logits, int n_vocab, struct ht_diag *diag)
{
    struct json_mask *m = (struct json_mask *)mask;
    const struct ht__token_bytes *t = m->tokens;
    bool first[256], inside = ht__json_in_string(&m->schema, &m->ways), may_end = ht__json_may_end(&m->ways);
    int left = 0;
    for (int c = 0; c < 256; c++)
        first[c] = ht__json_step(&m->schema, &m->ways, (unsigned char)c, &m->steps[0]);
    for (int32_t id = 0; id < n_vocab && id < t->n; id++) {
        enum kind kind = (enum kind)t->kinds[id];
        bool fits = kind == END ? may_end : kind == INSIDE && inside;
        if (!fits && (kind == ANY || (kind == INSIDE && !inside)) && first[t->bytes.data[t->at[id]]])
            fits = try_token(m, id) != NULL;
        if (!fits) logits[id] = -INFINITY;
        left += fits;
    }
    if (left > 0) return HT_OK;
    return ht__fail(diag, HT_ERR_UNSUPPORTED, "schema", -1, "the model has no token that goes on with this text");
}

static void take(struct ht__mask *mask, int32_t id)
{
    struct json_mask *m = (struct json_mask *)mask;
    const struct ht__json_ways *to = id >= 0 && id < m->tokens->n ? try_token(m, id) : NULL;
    if (to && to != &m->ways) m->ways = *to;
    m->whole = ht__json_must_end(&m->ways);
}

static bool is_whole(const struct ht__mask *mask)
{
    return ((const struct json_mask *)mask)->whole;
}

static void close_mask(struct ht__mask **mask)
{
    struct json_mask *m = (struct json_mask *)*mask;
    ht__schema_close(&m->schema);
    ht__free(m->alloc, m);
    *mask = NULL;
}

enum ht_err ht__json_mask_open(const struct ht__token_bytes *tokens, const char *schema, const struct ht__alloc *alloc,
                               struct ht__mask **out, struct ht_diag *diag)
{
    struct json_mask *m = ht__new(alloc, sizeof *m);
    *out = NULL;
    if (!m) return ht__fail_memory(diag, "schema");
    m->mask = (struct ht__mask){.apply = apply, .take = take, .whole = is_whole, .close = close_mask};
    m->alloc = alloc;
    m->tokens = tokens;
    ht__json_begin(&m->ways);
    enum ht_err err = ht__schema_open(&m->schema, schema, alloc, diag);
    *out = &m->mask;
    if (err) close_mask(out);
    return err;
}
