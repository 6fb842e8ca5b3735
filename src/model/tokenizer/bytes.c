/*
 * Byte-level BPE. The vocabulary is spelled in an alphabet of 256 printable characters: bytes
 * 33-126, 161-172 and 174-255 are the code points of equal value, the other 68, in order, U+0100
 * and up.
 */
#include "base/utf8.h"
#include "model/tokenizer/parts.h"

#include <string.h>

static bool is_itself(unsigned byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

int ht__alphabet_put(unsigned char byte, char out[4])
{
    uint32_t code = byte;
    if (!is_itself(byte)) {
        code = 0x100;
        for (unsigned i = 0; i < byte; i++)
            code += !is_itself(i);
    }
    return ht__utf8_put(code, out);
}

int ht__alphabet_get(uint32_t code)
{
    if (code < 0x100) return is_itself(code) ? (int)code : -1;
    unsigned left = code - 0x100;
    for (unsigned byte = 0; left < 68 && byte < 256; byte++)
        if (!is_itself(byte) && left-- == 0) return (int)byte;
    return -1;
}

/* The bytes that a spelling stands for, or the spelling itself where it is not in the alphabet. */
static bool spell(struct ht__tokenizer *t, uint32_t id)
{
    struct ht__str piece = t->pieces[id];
    size_t n = 0;
    char *to = ht__arena_raw(&t->arena, piece.len + 1);
    t->texts[id] = piece;
    if (!to) return false;
    for (size_t at = 0; at < piece.len;) {
        uint32_t code;
        int len = ht__utf8_get(piece.text + at, piece.len - at, &code);
        int byte = len ? ht__alphabet_get(code) : -1;
        if (byte < 0) return true;
        to[n++] = (char)byte;
        at += (size_t)len;
    }
    t->texts[id] = (struct ht__str){to, n};
    return true;
}

static enum ht_err bad_merge(const struct ht__tokenizer *t, uint64_t i, struct ht__str merge, struct ht_diag *diag)
{
    char show[64];
    return ht__fail(diag, HT_ERR_FORMAT, t->where, -1, "merge %llu, \"%s\", does not join two tokens to a third",
                    (unsigned long long)i, ht__token_show(show, merge.text, merge.len));
}

static enum ht_err read_merge(struct ht__tokenizer *t, uint64_t i, struct ht__str merge, struct ht__buf *both,
                              struct ht_diag *diag)
{
    const char *space = merge.len > 2 ? memchr(merge.text + 1, ' ', merge.len - 2) : NULL;
    if (!space) return bad_merge(t, i, merge, diag);
    size_t n = (size_t)(space - merge.text);
    both->len = 0;
    ht__buf_put(both, merge.text, n);
    ht__buf_put(both, space + 1, merge.len - n - 1);
    if (both->failed) return ht__fail_memory(diag, t->where);
    const uint32_t *left = ht__map_get(&t->ids, merge.text, n);
    const uint32_t *right = ht__map_get(&t->ids, space + 1, merge.len - n - 1);
    const uint32_t *product = ht__map_get(&t->ids, (const char *)both->data, both->len);
    if (!left || !right || !product) return bad_merge(t, i, merge, diag);
    if (!ht__pairs_put(&t->pairs, (int32_t)*left, (int32_t)*right, (uint32_t)i, (int32_t)*product))
        return ht__fail_memory(diag, t->where);
    return HT_OK;
}

/* A user's token may be spelled as a byte is in the alphabet: it stands for that character, not the
 * byte. */
static void find_bytes(struct ht__tokenizer *t)
{
    char text[4];
    for (int byte = 0; byte < 256; byte++) {
        int32_t id = ht__tokenizer_find(t, text, (size_t)ht__alphabet_put((unsigned char)byte, text));
        t->byte_ids[byte] = id >= 0 && t->types[id] != HT__TOKEN_USER ? id : -1;
    }
}

enum ht_err ht__tokenizer_bytes_open(struct ht__tokenizer *t, const struct ht__kvs *kvs, struct ht_diag *diag)
{
    const struct ht__kv *merges = ht__kv_get(kvs, "tokenizer.ggml.merges");
    struct ht__str name = {"default", 7};
    struct ht__buf both;
    if (!merges || merges->type != HT__KV_ARR || merges->elem != HT__KV_STR)
        return ht__fail(diag, HT_ERR_FORMAT, t->where, -1, "tokenizer.ggml.merges is missing");
    (void)ht__kv_get_str(kvs, "tokenizer.ggml.pre", &name);
    HT_TRY(ht__pre_open(&t->pre, name.text, name.len, t->where, diag));
    t->ignore_merges = t->pre.ignores_merges;
    t->nfc = t->pre.nfc;
    for (uint32_t id = 0; id < t->n; id++)
        if (t->types[id] == HT__TOKEN_NORMAL && !spell(t, id)) return ht__fail_memory(diag, t->where);
    find_bytes(t);
    if (!ht__pairs_open(&t->pairs, merges->n, t->alloc)) return ht__fail_memory(diag, t->where);
    ht__buf_init(&both, t->alloc);
    enum ht_err err = HT_OK;
    for (uint64_t i = 0; i < merges->n && err == HT_OK; i++)
        err = read_merge(t, i, merges->strs[i], &both, diag);
    ht__buf_close(&both);
    return err;
}

/* A word that is a token itself, where merges do not count for those. */
static int32_t whole(const struct ht__tokenizer *t, const unsigned char *word, size_t n)
{
    char spelled[4 * HT__CACHE_TEXT];
    size_t used = 0;
    if (n > HT__CACHE_TEXT) return -1;
    for (size_t i = 0; i < n; i++)
        used += (size_t)ht__alphabet_put(word[i], spelled + used);
    int32_t id = ht__tokenizer_find(t, spelled, used);
    return id >= 0 && t->types[id] == HT__TOKEN_NORMAL ? id : -1;
}

static bool encode_word(const struct ht__tokenizer *t, struct ht__merger *m, const unsigned char *word, size_t n,
                        struct ht__tokens *out)
{
    struct ht__symbol few[HT__CACHE_TEXT], *s = few;
    bool in_unknown = false;
    if (t->ignore_merges) {
        int32_t id = whole(t, word, n);
        if (id >= 0) return ht__tokens_put(out, id), true;
    }
    if (n > HT__CACHE_TEXT) {
        m->symbols.len = 0;
        s = n <= SIZE_MAX / sizeof *s ? ht__buf_grow(&m->symbols, n * sizeof *s) : NULL;
        if (!s) return false;
    }
    for (size_t i = 0; i < n; i++)
        s[i] = (struct ht__symbol){t->byte_ids[word[i]], (uint32_t)i};
    size_t left = ht__merge(m, &t->pairs, s, n);
    for (size_t i = 0; i < left; i++) {
        if (s[i].id >= 0)
            ht__tokens_put(out, s[i].id), in_unknown = false;
        else
            ht__tokenizer_put_unknown(t, (const char *)word + s[i].at, 1, &in_unknown, out);
    }
    return left > 0;
}

static bool put_word(const struct ht__tokenizer *t, struct ht__merger *m, const unsigned char *word, size_t n,
                     struct ht__tokens *out)
{
    struct ht__cached *slot = ht__merger_slot(m, (const char *)word, n);
    if (slot && ht__cached_is(slot, (const char *)word, n)) {
        if (!ht__tokens_reserve(out, HT__CACHE_IDS)) return false;
        memcpy(out->ids + out->n, slot->ids, sizeof slot->ids);
        out->n += slot->n;
        return true;
    }
    size_t before = out->n;
    if (!encode_word(t, m, word, n, out)) return false;
    if (slot && !out->failed) ht__cached_set(slot, (const char *)word, n, out->ids + before, out->n - before);
    return true;
}

enum ht_err ht__tokenizer_bytes_encode(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *text,
                                       size_t n, bool prefix, struct ht__tokens *out, struct ht_diag *diag)
{
    struct ht__pre_walk walk;
    size_t from, to;
    if (t->nfc) HT_TRY(ht__tokenizer_nfc(t, &text, &n, &w->normal, diag));
    if (prefix) {
        w->more.len = 0;
        ht__buf_put(&w->more, " ", 1);
        ht__buf_put(&w->more, text, n);
        if (w->more.failed) return ht__fail_memory(diag, t->where);
        text = (const char *)w->more.data;
        n++;
    }
    ht__pre_begin(&walk, &t->pre, &t->uni, &w->pre, text, n);
    while (ht__pre_next(&walk, &from, &to))
        if (!put_word(t, &w->merger, (const unsigned char *)text + from, to - from, out))
            return ht__fail_memory(diag, t->where);
    if (walk.err != HT_OK) return ht__fail(diag, walk.err, t->where, -1, "the text could not be cut into words");
    return HT_OK;
}
