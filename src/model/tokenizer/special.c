/* Special tokens: found in the text by their spelling, leftmost first, of those the longest. */
#include "model/tokenizer/parts.h"

#include <string.h>

static bool is_special(const struct ht__tokenizer *t, uint32_t id)
{
    enum ht__token_type type = t->types[id];
    return t->pieces[id].len > 0 && (type == HT__TOKEN_CONTROL || type == HT__TOKEN_USER || type == HT__TOKEN_UNKNOWN);
}

static bool contains(struct ht__str text, const char *part)
{
    return text.len && memmem(text.text, text.len, part, strlen(part)) != NULL;
}

/* Phi-3's special tokens take the white space behind them, which no key says: its name does. */
static bool takes_space(const struct ht__tokenizer *t, const struct ht__kvs *kvs, uint32_t id)
{
    static const char *const not_these[] = {"<unk>", "<s>", "<|endoftext|>"};
    struct ht__str name = {0}, piece = t->pieces[id];
    if (!ht__kv_get_str(kvs, "general.name", &name)) return false;
    if (!contains(name, "phi-3") && !contains(name, "phi3") && !contains(name, "Phi-3") && !contains(name, "Phi 3"))
        return false;
    for (size_t i = 0; i < sizeof not_these / sizeof *not_these; i++)
        if (piece.len == strlen(not_these[i]) && memcmp(piece.text, not_these[i], piece.len) == 0) return false;
    return t->types[id] == HT__TOKEN_CONTROL || contains(piece, "</s>");
}

enum ht_err ht__tokenizer_specials_open(struct ht__tokenizer *t, const struct ht__kvs *kvs, struct ht_diag *diag)
{
    uint32_t n = 0;
    if (!ht__trie_open(&t->special_trie, t->alloc)) return ht__fail_memory(diag, t->where);
    for (uint32_t id = 0; id < t->n; id++)
        n += is_special(t, id);
    t->specials = ht__arena_array(&t->arena, n ? n : 1, sizeof *t->specials);
    if (!t->specials) return ht__fail_memory(diag, t->where);
    for (uint32_t id = 0; id < t->n; id++) {
        if (!is_special(t, id)) continue;
        struct ht__special *s = &t->specials[t->n_specials];
        s->id = (int32_t)id;
        s->control = t->types[id] != HT__TOKEN_USER;
        s->rstrip = takes_space(t, kvs, id);
        t->special_first[(unsigned char)t->pieces[id].text[0]] = true;
        if (!ht__trie_put(&t->special_trie, t->pieces[id].text, t->pieces[id].len, (int32_t)t->n_specials++))
            return ht__fail_memory(diag, t->where);
    }
    return HT_OK;
}

static bool is_space_at(const struct ht__tokenizer *t, const char *text, size_t n, int *len)
{
    uint32_t code;
    *len = ht__uni_get((const unsigned char *)text, n, &code);
    return ht__uni_of(&t->uni, code) & HT__UNI_SPACE;
}

static size_t skip_space(const struct ht__tokenizer *t, const char *text, size_t n, size_t at)
{
    int len;
    while (at < n && is_space_at(t, text + at, n - at, &len))
        at += (size_t)len;
    return at;
}

static size_t skip_space_back(const struct ht__tokenizer *t, const char *text, size_t low, size_t at)
{
    while (at > low) {
        int len;
        size_t before = ht__uni_before((const unsigned char *)text, at);
        if (before < low || !is_space_at(t, text + before, at - before, &len)) break;
        at = before;
    }
    return at;
}

static bool is_word_at(const struct ht__tokenizer *t, const char *text, size_t n)
{
    uint32_t code;
    (void)ht__uni_get((const unsigned char *)text, n, &code);
    return ht__uni_of(&t->uni, code) & HT__UNI_WORD;
}

/* Does no word touch text[from, to)? */
static bool stands_alone(const struct ht__tokenizer *t, const char *text, size_t n, size_t from, size_t to)
{
    size_t before = from ? ht__uni_before((const unsigned char *)text, from) : 0;
    if (from && is_word_at(t, text + before, from - before)) return false;
    return to == n || !is_word_at(t, text + to, n - to);
}

/* The longest one that begins at text[at]. */
static const struct ht__special *longest(const struct ht__tokenizer *t, const char *text, size_t n, size_t at,
                                         bool control, size_t *end)
{
    const struct ht__special *found = NULL;
    uint32_t node = 0;
    for (size_t i = at; i < n; i++) {
        node = ht__trie_next(&t->special_trie, node, (unsigned char)text[i]);
        if (!node) break;
        int32_t value = t->special_trie.values[node];
        if (value < 0 || (t->specials[value].control && !control)) continue;
        if (t->specials[value].single_word && !stands_alone(t, text, n, at, i + 1)) continue;
        found = &t->specials[value];
        *end = i + 1;
    }
    return found;
}

const struct ht__special *ht__tokenizer_special_next(const struct ht__tokenizer *t, const char *text, size_t n,
                                                     size_t at, bool control, size_t *from, size_t *to)
{
    if (t->n_specials == 0) return NULL;
    for (size_t i = at; i < n; i++) {
        if (!t->special_first[(unsigned char)text[i]]) continue;
        const struct ht__special *found = longest(t, text, n, i, control, to);
        if (!found) continue;
        *from = found->lstrip ? skip_space_back(t, text, at, i) : i;
        if (found->rstrip) *to = skip_space(t, text, n, *to);
        return found;
    }
    return NULL;
}
