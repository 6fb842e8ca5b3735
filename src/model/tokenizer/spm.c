/*
 * SentencePiece's BPE: spaces become U+2581, characters are symbols, and two neighbours are joined
 * where what they make is a token; that of the highest score comes first. Characters without a
 * token are spelled by their bytes' tokens.
 */
#include "model/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

static uint32_t symbol_of(const struct ht__tokenizer *t, const char *text, size_t n)
{
    const uint32_t *id = ht__map_get(&t->symbols, text, n);
    return id ? *id : UINT32_MAX;
}

/* Every character of a token is a symbol, also one that is no token by itself. */
static bool add_characters(struct ht__tokenizer *t, struct ht__str piece, uint32_t *next)
{
    for (size_t at = 0; at < piece.len;) {
        uint32_t code;
        size_t len = (size_t)ht__uni_get((const unsigned char *)piece.text + at, piece.len - at, &code);
        enum ht__map_put put = ht__map_put(&t->symbols, piece.text + at, len, *next);
        if (put == HT__MAP_NO_MEMORY) return false;
        *next += put == HT__MAP_NEW;
        at += len;
    }
    return true;
}

/* All ways to make the token from two symbols. */
static bool add_pairs(struct ht__tokenizer *t, uint32_t id, uint32_t rank)
{
    struct ht__str piece = t->pieces[id];
    const unsigned char *p = (const unsigned char *)piece.text;
    uint32_t code;
    for (size_t at = 0; at < piece.len;) {
        at += (size_t)ht__uni_get(p + at, piece.len - at, &code);
        if (at >= piece.len) break;
        uint32_t left = symbol_of(t, piece.text, at), right = symbol_of(t, piece.text + at, piece.len - at);
        if (left == UINT32_MAX || right == UINT32_MAX) continue;
        if (!ht__pairs_put(&t->pairs, (int32_t)left, (int32_t)right, rank, (int32_t)id)) return false;
    }
    return true;
}

struct scored {
    float score;
    uint32_t id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Tokens of equal scores have equal ranks: the leftmost is then merged first. */
static bool rank_pairs(struct ht__tokenizer *t, struct scored *order, uint32_t n)
{
    uint32_t rank = 0;
    qsort(order, n, sizeof *order, by_score);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0 && order[i].score < order[i - 1].score) rank = i;
        if (!add_pairs(t, order[i].id, rank)) return false;
    }
    return true;
}

static bool build(struct ht__tokenizer *t)
{
    uint32_t next = t->n, n = 0;
    struct scored *order = ht__new_array(t->alloc, t->n, sizeof *order);
    bool good = order && ht__pairs_open(&t->pairs, (size_t)t->n * 2, t->alloc);
    for (uint32_t id = 0; good && id < t->n; id++) {
        if (!ht__tokenizer_is_plain(t, id)) continue;
        order[n++] = (struct scored){t->scores[id], id};
        good = ht__map_put(&t->symbols, t->pieces[id].text, t->pieces[id].len, id) != HT__MAP_NO_MEMORY;
    }
    for (uint32_t id = 0; good && id < t->n; id++)
        if (ht__tokenizer_is_plain(t, id)) good = add_characters(t, t->pieces[id], &next);
    good = good && rank_pairs(t, order, n);
    ht__free(t->alloc, order);
    return good;
}

enum ht_err ht__tokenizer_spm_open(struct ht__tokenizer *t, struct ht_diag *diag)
{
    for (uint32_t id = 0; id < t->n; id++) {
        int byte = t->types[id] == HT__TOKEN_BYTE ? ht__token_byte(t->pieces[id].text, t->pieces[id].len) : -1;
        if (byte >= 0) t->byte_ids[byte] = (int32_t)id;
        if (t->scores[id] != t->scores[id])
            return ht__fail(diag, HT_ERR_FORMAT, t->where, -1, "the score of token %u is not a number", id);
    }
    ht__tokenizer_marked_open(t);
    return build(t) ? HT_OK : ht__fail_memory(diag, t->where);
}

bool ht__tokenizer_spm_word(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *word, size_t n,
                            struct ht__tokens *out)
{
    struct ht__merger *m = &w->merger;
    struct ht__symbol few[HT__CACHE_TEXT], *s = few;
    bool in_unknown = false;
    size_t n_symbols = 0;
    uint32_t code;
    if (n > HT__CACHE_TEXT) {
        m->symbols.len = 0;
        s = n <= SIZE_MAX / sizeof *s ? ht__buf_grow(&m->symbols, n * sizeof *s) : NULL;
        if (!s) return false;
    }
    for (size_t at = 0; at < n;) {
        size_t len = (size_t)ht__uni_get((const unsigned char *)word + at, n - at, &code);
        uint32_t id = symbol_of(t, word + at, len);
        s[n_symbols++] = (struct ht__symbol){id == UINT32_MAX ? HT__NO_SYMBOL : (int32_t)id, (uint32_t)at};
        at += len;
    }
    size_t left = ht__merge(m, &t->pairs, s, n_symbols);
    for (size_t i = 0; i < left; i++) {
        size_t end = i + 1 < left ? s[i + 1].at : n;
        if (s[i].id >= 0 && (uint32_t)s[i].id < t->n)
            ht__tokens_put(out, s[i].id), in_unknown = false;
        else
            ht__tokenizer_put_unknown(t, word + s[i].at, end - s[i].at, &in_unknown, out);
    }
    return left > 0;
}
