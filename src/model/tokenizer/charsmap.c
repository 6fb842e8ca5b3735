/* SentencePiece's normalization table: the longest entry at each place of the text is replaced. Its
 * layout is described in unigram.c. */
#include "model/tokenizer/parts.h"
#include "model/vocab_import/sentencepiece.h"

#include <string.h>

enum ht_err ht__tokenizer_charsmap_open(struct ht__tokenizer *t, struct ht__str map, struct ht_diag *diag)
{
    if (map.len == 0) return HT_OK;
    HT_TRY(ht__charsmap_check(map, t->where, diag));
    t->charsmap = (struct ht__str){ht__arena_copy(&t->arena, map.text, map.len), map.len};
    return t->charsmap.text ? HT_OK : ht__fail_memory(diag, t->where);
}

static uint32_t unit_at(const char *trie, uint32_t i)
{
    uint32_t unit;
    memcpy(&unit, trie + 4 * (size_t)i, 4);
    return unit;
}

static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1 << 9) >> 6);
}

/* Bytes of the longest entry that the text begins with, or 0; *value: where its replacement begins. */
static size_t find(const char *trie, uint32_t n_units, const char *text, size_t n, uint32_t *value)
{
    size_t found = 0;
    uint32_t unit = unit_at(trie, 0), node = offset_of(unit);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        node ^= c;
        if (node >= n_units) break;
        unit = unit_at(trie, node);
        if ((unit & 0x800000ff) != c) break;
        node ^= offset_of(unit);
        if (node >= n_units) break;
        if (unit >> 8 & 1) {
            *value = unit_at(trie, node) & 0x7fffffff;
            found = i + 1;
        }
    }
    return found;
}

void ht__tokenizer_charsmap(const struct ht__tokenizer *t, const char *text, size_t n, struct ht__buf *out)
{
    uint32_t trie_bytes, value, code;
    memcpy(&trie_bytes, t->charsmap.text, 4);
    const char *trie = t->charsmap.text + 4, *texts = trie + trie_bytes;
    size_t n_texts = t->charsmap.len - 4 - trie_bytes;
    out->len = 0;
    for (size_t at = 0; at < n;) {
        size_t len = find(trie, trie_bytes / 4, text + at, n - at, &value);
        if (len > 0 && value < n_texts) {
            ht__buf_str(out, texts + value); /* the last one ends with a NUL, so all do */
        } else {
            len = (size_t)ht__uni_get((const unsigned char *)text + at, n - at, &code);
            ht__buf_put(out, text + at, len);
        }
        at += len;
    }
}
