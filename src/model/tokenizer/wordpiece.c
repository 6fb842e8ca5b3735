/*
 * BERT's WordPiece. The text is cleaned (control characters go, Chinese characters are words), its
 * accents and capitals taken away where the model wants it, and cut at white space and around
 * punctuation. A word is the longest token that it begins with, then the longest continuation, and
 * so on; or unknown as a whole.
 *
 * GGUF spells tokens that begin a word with U+2581, and continuations as they are.
 */
#include "model/tokenizer/parts.h"

#include <string.h>
#include <utf8proc.h>

enum ht_err ht__tokenizer_wordpiece_open(struct ht__tokenizer *t, struct ht_diag *diag)
{
    t->max_word = HT__WORDPIECE_MAX;
    if (!ht__trie_open(&t->words, t->alloc) || !ht__trie_open(&t->tails, t->alloc))
        return ht__fail_memory(diag, t->where);
    for (uint32_t id = 0; id < t->n; id++) {
        struct ht__str piece = t->pieces[id];
        bool first = piece.len >= 3 && memcmp(piece.text, "\xe2\x96\x81", 3) == 0;
        size_t skip = first ? 3 : 0;
        if (t->types[id] != HT__TOKEN_NORMAL || piece.len == skip) continue;
        if (!ht__trie_put(first ? &t->words : &t->tails, piece.text + skip, piece.len - skip, (int32_t)id))
            return ht__fail_memory(diag, t->where);
    }
    return HT_OK;
}

static bool is_chinese(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static bool is_punct(const struct ht__tokenizer *t, uint32_t c)
{
    if (c < 0x80) return c > 32 && c < 127 && !(ht__uni_of(&t->uni, c) & (HT__UNI_LETTER | HT__UNI_NUMBER));
    return ht__uni_of(&t->uni, c) & HT__UNI_PUNCT;
}

static void put_char(uint32_t code, struct ht__buf *out)
{
    char text[4];
    ht__buf_put(out, text, (size_t)ht__uni_put(code, text));
}

/* One character without its accents, in small letters. */
static void put_plain(const struct ht__tokenizer *t, uint32_t code, struct ht__buf *out)
{
    utf8proc_int32_t parts[32] = {(utf8proc_int32_t)code};
    utf8proc_ssize_t n = 1;
    int last = 0;
    if (t->strip_accents && code < HT__UNI_BAD)
        n = utf8proc_decompose_char((utf8proc_int32_t)code, parts, 32, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &last);
    for (utf8proc_ssize_t i = 0; i < n && i < 32; i++) {
        uint32_t c = (uint32_t)parts[i];
        if (t->strip_accents && ht__uni_of(&t->uni, c) & HT__UNI_NONSPACING) continue;
        bool dotted = t->lowercase && c == 0x130; /* the only capital that is two small characters */
        put_char(dotted                            ? 'i'
                 : t->lowercase && c < HT__UNI_BAD ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)c)
                                                   : c,
                 out);
        if (dotted) put_char(0x307, out);
    }
}

static void clean(const struct ht__tokenizer *t, const char *text, size_t n, struct ht__buf *out)
{
    uint32_t c;
    out->len = 0;
    for (size_t at = 0; at < n;) {
        at += (size_t)ht__uni_get((const unsigned char *)text + at, n - at, &c);
        unsigned flags = ht__uni_of(&t->uni, c);
        if (c < 0x80 && c > 32 && c < 127) {
            unsigned char low = (unsigned char)(t->lowercase && c >= 'A' && c <= 'Z' ? c + 32 : c);
            ht__buf_put(out, &low, 1);
        } else if (c == '\t' || c == '\n' || c == '\r' || (flags & HT__UNI_SPACE && !(flags & HT__UNI_CONTROL))) {
            ht__buf_put(out, " ", 1);
        } else if (c == 0 || c == 0xfffd || flags & HT__UNI_CONTROL) {
            continue;
        } else if (is_chinese(c)) {
            ht__buf_put(out, " ", 1);
            put_plain(t, c, out);
            ht__buf_put(out, " ", 1);
        } else {
            put_plain(t, c, out);
        }
    }
}

static int32_t longest(const struct ht__trie *trie, const char *text, size_t n, size_t *len)
{
    int32_t found = -1;
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        node = ht__trie_next(trie, node, (unsigned char)text[i]);
        if (!node) break;
        if (trie->values[node] < 0) continue;
        found = trie->values[node];
        *len = i + 1;
    }
    return found;
}

static void encode_word(const struct ht__tokenizer *t, const char *word, size_t n, size_t n_chars,
                        struct ht__tokens *out)
{
    size_t before = out->n, len = 0;
    bool known = n_chars <= t->max_word;
    for (size_t at = 0; known && at < n; at += len) {
        int32_t id = longest(at ? &t->tails : &t->words, word + at, n - at, &len);
        known = id >= 0;
        if (known) ht__tokens_put(out, id);
    }
    if (known) return;
    out->n = before;
    if (t->unk >= 0) ht__tokens_put(out, t->unk);
}

/* Appends the word's tokens, remembered or found. */
static bool put_word(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *word, size_t n,
                     size_t n_chars, struct ht__tokens *out)
{
    struct ht__cached *slot = ht__merger_slot(&w->merger, word, n);
    size_t before = out->n;
    if (!ht__tokens_reserve(out, HT__CACHE_IDS)) return false;
    if (slot && ht__cached_is(slot, word, n)) {
        memcpy(out->ids + out->n, slot->ids, sizeof slot->ids);
        out->n += slot->n;
        return true;
    }
    encode_word(t, word, n, n_chars, out);
    if (slot && !out->failed) ht__cached_set(slot, word, n, out->ids + before, out->n - before);
    return true;
}

enum ht_err ht__tokenizer_wordpiece_encode(const struct ht__tokenizer *t, struct ht__tokenizer_work *w,
                                           const char *text, size_t n, struct ht__tokens *out, struct ht_diag *diag)
{
    clean(t, text, n, &w->normal);
    if (w->normal.failed) return ht__fail_memory(diag, t->where);
    const char *p = (const char *)w->normal.data;
    size_t from = 0, n_chars = 0, len;
    bool good = true;
    for (size_t at = 0; at <= w->normal.len && good; at += len) {
        uint32_t c = ' ';
        bool end = at == w->normal.len;
        len = end ? 1 : (size_t)ht__uni_get((const unsigned char *)p + at, w->normal.len - at, &c);
        bool punct = is_punct(t, c);
        if (!punct && c != ' ') {
            n_chars++;
            continue;
        }
        if (at > from) good = put_word(t, w, p + from, at - from, n_chars, out);
        if (punct && good) good = put_word(t, w, p + at, len, 1, out);
        from = at + len;
        n_chars = 0;
    }
    return good ? HT_OK : ht__fail_memory(diag, t->where);
}
