/* The token list: see vocab.h. */
#include "model/vocab_import/vocab.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

void ht__vocab_init(struct ht__vocab *vocab, struct ht__arena *keep, const struct ht__alloc *alloc)
{
    memset(vocab, 0, sizeof *vocab);
    vocab->keep = keep;
    vocab->alloc = alloc;
    vocab->where = "tokenizer";
    ht__buf_init(&vocab->tokens, alloc);
    ht__buf_init(&vocab->added, alloc);
    ht__map_init(&vocab->ids, alloc);
}

void ht__vocab_close(struct ht__vocab *vocab)
{
    ht__buf_close(&vocab->tokens);
    ht__buf_close(&vocab->added);
    ht__map_close(&vocab->ids);
    ht__free(vocab->alloc, vocab->added_ids);
    ht__free(vocab->alloc, vocab->table);
    vocab->added_ids = NULL;
    vocab->table = NULL;
}

enum { POOL = 64 << 10 };

struct ht__str ht__vocab_text(struct ht__vocab *vocab, const char *text, size_t len)
{
    struct ht__str copy = {"", 0};
    if (len == 0) return copy;
    if (len > POOL / 16) {
        char *own = ht__arena_copy(vocab->keep, text, len);
        return own ? (struct ht__str){own, len} : (struct ht__str){NULL, 0};
    }
    if (len > vocab->pool_left) {
        vocab->pool = ht__arena_new(vocab->keep, POOL);
        vocab->pool_left = vocab->pool ? POOL : 0;
        if (!vocab->pool) return (struct ht__str){NULL, 0};
    }
    memcpy(vocab->pool, text, len);
    copy = (struct ht__str){vocab->pool, len};
    vocab->pool += len;
    vocab->pool_left -= len;
    return copy;
}

const char *ht__token_show(char out[64], const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < 56;) {
        uint32_t code;
        int used = ht__utf8_get(text + i, len - i, &code);
        if (used == 0 || code < 0x20 || code == 0x7f) {
            out[n++] = '?';
            i++;
            continue;
        }
        memcpy(out + n, text + i, (size_t)used);
        n += (size_t)used;
        i += (size_t)used;
    }
    out[n] = '\0';
    return out;
}

static enum ht_err check_token(const struct ht__vocab *vocab, uint64_t id, const char *text, size_t len,
                               struct ht_diag *diag)
{
    char show[64];
    if (id >= HT__VOCAB_MAX_TOKENS)
        return ht__fail(diag, HT_ERR_LIMIT, vocab->where, -1, "token id %llu; ids below %d are accepted",
                        (unsigned long long)id, HT__VOCAB_MAX_TOKENS);
    if (len > HT__VOCAB_MAX_TEXT)
        return ht__fail(diag, HT_ERR_LIMIT, vocab->where, -1, "token %llu has %zu bytes; at most %d are accepted",
                        (unsigned long long)id, len, HT__VOCAB_MAX_TEXT);
    if (ht__utf8_valid(text, len) != len)
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, -1, "token %llu (\"%s\") is not valid UTF-8",
                        (unsigned long long)id, ht__token_show(show, text, len));
    return HT_OK;
}

enum ht_err ht__vocab_put(struct ht__vocab *vocab, uint64_t id, const char *text, size_t len, float score,
                          enum ht__token_type type, struct ht_diag *diag)
{
    HT_TRY(check_token(vocab, id, text, len, diag));
    struct ht__str copy = ht__vocab_text(vocab, text, len);
    if (!copy.text) return ht__fail_memory(diag, vocab->where);
    struct ht__token token = {.text = copy, .id = (uint32_t)id, .score = score, .type = type};
    ht__buf_put(&vocab->tokens, &token, sizeof token);
    if (vocab->tokens.failed) return ht__fail_memory(diag, vocab->where);
    switch (ht__map_put(&vocab->ids, copy.text, len, token.id)) {
    case HT__MAP_NEW: return HT_OK;
    case HT__MAP_NO_MEMORY: return ht__fail_memory(diag, vocab->where);
    case HT__MAP_PRESENT: break;
    }
    char show[64];
    return ht__fail(diag, HT_ERR_FORMAT, vocab->where, -1, "the token \"%s\" occurs twice: as %u and as %u",
                    ht__token_show(show, text, len), *ht__map_get(&vocab->ids, text, len), token.id);
}

enum ht_err ht__vocab_add(struct ht__vocab *vocab, uint64_t id, const char *text, size_t len, bool special,
                          enum ht__added_source source, struct ht_diag *diag)
{
    HT_TRY(check_token(vocab, id, text, len, diag));
    struct ht__str copy = ht__vocab_text(vocab, text, len);
    if (!vocab->added_ids) vocab->added_ids = ht__new(vocab->alloc, HT__VOCAB_MAX_TOKENS / 8);
    if (!copy.text || !vocab->added_ids) return ht__fail_memory(diag, vocab->where);
    struct ht__added added = {copy, (uint32_t)id, special, source};
    ht__buf_put(&vocab->added, &added, sizeof added);
    vocab->added_ids[id / 8] |= (uint8_t)(1u << id % 8);
    return vocab->added.failed ? ht__fail_memory(diag, vocab->where) : HT_OK;
}

bool ht__vocab_has_added(const struct ht__vocab *vocab, uint64_t id)
{
    return vocab->added_ids && id < HT__VOCAB_MAX_TOKENS && (vocab->added_ids[id / 8] >> id % 8 & 1);
}

int64_t ht__vocab_find(const struct ht__vocab *vocab, const char *text, size_t len)
{
    const uint32_t *id = ht__map_get(&vocab->ids, text, len);
    return id && (!vocab->table || *id < vocab->n) ? (int64_t)*id : -1;
}

/* One past the largest id. */
static uint32_t extent(const struct ht__vocab *vocab)
{
    uint32_t end = 0;
    for (size_t i = 0; i < ht__vocab_count(vocab); i++)
        if (ht__vocab_at(vocab, i)->id >= end) end = ht__vocab_at(vocab, i)->id + 1;
    for (size_t i = 0; i < ht__vocab_added_count(vocab); i++)
        if (ht__vocab_added_at(vocab, i)->id >= end) end = ht__vocab_added_at(vocab, i)->id + 1;
    return end;
}

/* Without an embedding to fill, a list with more holes than tokens is a mistake, and a way to make
 * a small file ask for much memory. */
static enum ht_err size_of(const struct ht__vocab *vocab, uint64_t rows, uint64_t *n, struct ht_diag *diag)
{
    if (rows > HT__VOCAB_MAX_TOKENS)
        return ht__fail(diag, HT_ERR_LIMIT, vocab->where, -1, "the embedding has %llu rows; at most %d are accepted",
                        (unsigned long long)rows, HT__VOCAB_MAX_TOKENS);
    *n = rows ? rows : extent(vocab);
    uint64_t known = ht__vocab_count(vocab) + ht__vocab_added_count(vocab);
    if (known == 0) return ht__fail(diag, HT_ERR_FORMAT, vocab->where, -1, "no tokens");
    if (!rows && *n > 2 * known + 1024)
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, -1, "ids go up to %llu, but there are %llu tokens",
                        (unsigned long long)*n - 1, (unsigned long long)known);
    return HT_OK;
}

enum ht_err ht__vocab_place(struct ht__vocab *vocab, uint64_t rows, struct ht_diag *diag)
{
    uint64_t n = 0;
    char show[64];
    HT_TRY(size_of(vocab, rows, &n, diag));
    vocab->n = (uint32_t)n;
    vocab->table = ht__new_array(vocab->alloc, n, sizeof *vocab->table);
    if (!vocab->table) return ht__fail_memory(diag, vocab->where);
    for (size_t i = 0; i < ht__vocab_count(vocab); i++) {
        const struct ht__token *token = ht__vocab_at(vocab, i);
        const char *text = ht__token_show(show, token->text.text, token->text.len);
        if (token->id >= n) {
            vocab->n_beyond++;
            continue;
        }
        if (vocab->table[token->id].type != HT__TOKEN_NONE)
            return ht__fail(diag, HT_ERR_FORMAT, vocab->where, -1, "id %u belongs to two tokens; one is \"%s\"",
                            token->id, text);
        vocab->table[token->id] = *token;
    }
    return HT_OK;
}

/* "[PAD<id>]", or with underscores appended where a token of that text exists. */
static enum ht_err pad(struct ht__vocab *vocab, const struct ht__map *texts, uint32_t id, float score,
                       struct ht_diag *diag)
{
    char text[64];
    size_t len = (size_t)snprintf(text, sizeof text, "[PAD%u]", id);
    while (ht__map_get(texts, text, len) && len < sizeof text - 1)
        text[len++] = '_';
    struct ht__token *token = &vocab->table[id];
    token->text = ht__vocab_text(vocab, text, len);
    if (!token->text.text) return ht__fail_memory(diag, vocab->where);
    token->id = id;
    token->score = score;
    token->type = HT__TOKEN_UNUSED;
    return HT_OK;
}

static enum ht_err put_unique(struct ht__vocab *vocab, struct ht__map *texts, uint32_t id, struct ht_diag *diag)
{
    char show[64];
    struct ht__str text = vocab->table[id].text;
    enum ht__map_put put = ht__map_put(texts, text.text, text.len, id);
    if (put == HT__MAP_NO_MEMORY) return ht__fail_memory(diag, vocab->where);
    if (put == HT__MAP_PRESENT)
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, -1, "tokens %u and %u have the same text \"%s\"",
                        *ht__map_get(texts, text.text, text.len), id, ht__token_show(show, text.text, text.len));
    return HT_OK;
}

enum ht_err ht__vocab_finish(struct ht__vocab *vocab, float pad_score, struct ht_diag *diag)
{
    struct ht__map texts;
    enum ht_err err = HT_OK;
    ht__map_init(&texts, vocab->alloc);
    for (uint32_t id = 0; id < vocab->n && err == HT_OK; id++)
        if (vocab->table[id].type != HT__TOKEN_NONE) err = put_unique(vocab, &texts, id, diag);
    for (uint32_t id = 0; id < vocab->n && err == HT_OK; id++) {
        if (vocab->table[id].type != HT__TOKEN_NONE) continue;
        err = pad(vocab, &texts, id, pad_score, diag);
        if (err == HT_OK) err = put_unique(vocab, &texts, id, diag);
    }
    ht__map_close(&texts);
    return err;
}

void ht__vocab_write(const struct ht__vocab *vocab, bool scores, struct ht__kvs *kvs)
{
    uint32_t n = vocab->n;
    struct ht__str *texts = ht__arena_array(vocab->keep, n, sizeof *texts);
    float *score = scores ? ht__arena_array(vocab->keep, n, sizeof *score) : NULL;
    int32_t *types = ht__arena_array(vocab->keep, n, sizeof *types);
    if (!texts || (scores && !score) || !types) {
        kvs->failed = true;
        return;
    }
    for (uint32_t id = 0; id < n; id++) {
        texts[id] = vocab->table[id].text;
        types[id] = (int32_t)vocab->table[id].type;
        if (score) score[id] = vocab->table[id].score;
    }
    ht__kv_strs_ref(kvs, "tokenizer.ggml.tokens", texts, n);
    if (score) ht__kv_array_ref(kvs, "tokenizer.ggml.scores", HT__KV_F32, score, n);
    ht__kv_array_ref(kvs, "tokenizer.ggml.token_type", HT__KV_I32, types, n);
}

static bool wrapped(const char *text, size_t len, const char *start, const char *end)
{
    size_t a = strlen(start), b = strlen(end);
    return len >= a && len >= b && memcmp(text, start, a) == 0 && memcmp(text + len - b, end, b) == 0;
}

bool ht__token_looks_special(const char *text, size_t len)
{
    static const char *const known[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (len == strlen(known[i]) && memcmp(text, known[i], len) == 0) return true;
    return wrapped(text, len, "<|", "|>") || wrapped(text, len, "<｜", "｜>") || wrapped(text, len, "<unused", ">");
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int ht__token_byte(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}
