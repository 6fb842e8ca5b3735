/*
 * Text whose spaces are spelled U+2581, for SentencePiece's models. They are about whole texts. But
 * where no token has a U+2581 behind some byte, none crosses that place, and the text can be cut
 * there into words, which repeat.
 */
#include "model/tokenizer/parts.h"

#include <string.h>

static const char space_mark[] = "\xe2\x96\x81";

static bool is_mark(const char *text, size_t n)
{
    return n >= 3 && memcmp(text, space_mark, 3) == 0;
}

/* Where, in text[at, n), a U+2581 follows something else; n: nowhere. */
static size_t next_mark(const char *text, size_t n, size_t at)
{
    for (size_t i = at + 1; i < n; i++) {
        const char *mark = memchr(text + i, space_mark[0], n - i);
        if (!mark) return n;
        i = (size_t)(mark - text);
        if (is_mark(mark, n - i) && !(i >= at + 3 && is_mark(mark - 3, 3))) return i;
    }
    return n;
}

void ht__tokenizer_marked_open(struct ht__tokenizer *t)
{
    for (uint32_t id = 0; id < t->n; id++) {
        struct ht__str piece = t->pieces[id];
        if (!ht__tokenizer_is_plain(t, id)) continue;
        for (size_t at = 0; (at = next_mark(piece.text, piece.len, at)) < piece.len;)
            t->joined[(unsigned char)piece.text[at - 1]] = true;
    }
}

/* Where the word that begins at text[at] ends. */
static size_t word_end(const struct ht__tokenizer *t, const char *text, size_t n, size_t at)
{
    size_t end = at;
    do
        end = next_mark(text, n, end);
    while (end < n && t->joined[(unsigned char)text[end - 1]]);
    return end;
}

static bool encode_word(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *word, size_t n,
                        struct ht__tokens *out)
{
    return t->kind == HT__TOKENIZER_SPM ? ht__tokenizer_spm_word(t, w, word, n, out)
                                        : ht__tokenizer_unigram_word(t, w, word, n, out);
}

static bool put_word(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *word, size_t n,
                     struct ht__tokens *out)
{
    struct ht__cached *slot = ht__merger_slot(&w->merger, word, n);
    if (slot && ht__cached_is(slot, word, n)) {
        if (!ht__tokens_reserve(out, HT__CACHE_IDS)) return false;
        memcpy(out->ids + out->n, slot->ids, sizeof slot->ids);
        out->n += slot->n;
        return true;
    }
    size_t before = out->n;
    if (!encode_word(t, w, word, n, out)) return false;
    if (slot && !out->failed) ht__cached_set(slot, word, n, out->ids + before, out->n - before);
    return true;
}

/* The text with U+2581 for spaces, and one before it; where runs of spaces count once, those at its
 * ends do not count at all. */
static void mark_spaces(const struct ht__tokenizer *t, const char *text, size_t n, bool prefix, struct ht__buf *out)
{
    size_t at = 0;
    out->len = 0;
    while (t->remove_extra && n > 0 && text[n - 1] == ' ')
        n--;
    while (t->remove_extra && at < n && text[at] == ' ')
        at++;
    if (prefix && (at < n || !t->remove_extra)) ht__buf_put(out, space_mark, 3);
    while (at < n) {
        const char *space = memchr(text + at, ' ', n - at);
        size_t end = space ? (size_t)(space - text) : n;
        ht__buf_put(out, text + at, end - at);
        if (space) ht__buf_put(out, space_mark, 3);
        at = end + (space != NULL);
        while (t->remove_extra && at < n && text[at] == ' ')
            at++;
    }
}

enum ht_err ht__tokenizer_marked_encode(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *text,
                                        size_t n, bool prefix, struct ht__tokens *out, struct ht_diag *diag)
{
    if (t->charsmap.len) {
        ht__tokenizer_charsmap(t, text, n, &w->more);
        if (w->more.failed) return ht__fail_memory(diag, t->where);
        text = w->more.len ? (const char *)w->more.data : "";
        n = w->more.len;
    }
    mark_spaces(t, text, n, prefix, &w->normal);
    if (w->normal.failed) return ht__fail_memory(diag, t->where);
    const char *p = (const char *)w->normal.data;
    for (size_t at = 0, end; at < w->normal.len; at = end) {
        end = word_end(t, p, w->normal.len, at);
        if (!put_word(t, w, p + at, end - at, out)) return ht__fail_memory(diag, t->where);
    }
    return HT_OK;
}
