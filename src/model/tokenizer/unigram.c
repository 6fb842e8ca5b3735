/*
 * SentencePiece's unigram model: of all ways to cut a word into tokens, the one with the best sum
 * of scores; a character without a token costs ten more than the worst token. And its normalization
 * table:
 *
 *     u32   n, bytes of the trie
 *     u32[] the trie: a double array. A unit has its label in bits 0-7 and 31, the offset to its
 * children in bits 10-30 (times 256 where bit 9 is set), and in bit 8 whether a value is among them
 *     replacements, each ended by a NUL; a value is where one begins
 */
#include "model/tokenizer/parts.h"

#include <string.h>

static const float unknown_cost = 10;

struct cell {
    double score; /* of the best way to here: rounding decides between ways of equal sums, and that of
                     doubles over a word is what the libraries' results show */
    uint32_t from;
    int32_t id; /* -1: a character without a token; -2: no way is known */
};

enum ht_err ht__tokenizer_unigram_open(struct ht__tokenizer *t, const struct ht__kvs *kvs, struct ht_diag *diag)
{
    const struct ht__kv *map = ht__kv_get(kvs, "tokenizer.ggml.precompiled_charsmap");
    float least = 0;
    bool any = false;
    if (!ht__trie_open(&t->words, t->alloc)) return ht__fail_memory(diag, t->where);
    for (uint32_t id = 0; id < t->n; id++) {
        int byte = t->types[id] == HT__TOKEN_BYTE ? ht__token_byte(t->pieces[id].text, t->pieces[id].len) : -1;
        if (byte >= 0) t->byte_ids[byte] = (int32_t)id;
        if (t->types[id] != HT__TOKEN_NORMAL || t->pieces[id].len == 0) continue;
        if (t->scores[id] != t->scores[id])
            return ht__fail(diag, HT_ERR_FORMAT, t->where, -1, "the score of token %u is not a number", id);
        if (!any || t->scores[id] < least) least = t->scores[id], any = true;
        if (!ht__trie_put(&t->words, t->pieces[id].text, t->pieces[id].len, (int32_t)id))
            return ht__fail_memory(diag, t->where);
    }
    t->unk_score = least - unknown_cost;
    ht__tokenizer_marked_open(t);
    if (!map) return HT_OK;
    if (map->type != HT__KV_ARR || (map->elem != HT__KV_U8 && map->elem != HT__KV_I8))
        return ht__fail(diag, HT_ERR_FORMAT, t->where, -1, "precompiled_charsmap is not an array of bytes");
    return ht__tokenizer_charsmap_open(t, (struct ht__str){map->data, map->n}, diag);
}

/* Tries all tokens from a place where the best way to it is known. */
static void extend(const struct ht__tokenizer *t, const char *word, size_t n, size_t at, struct cell *cells)
{
    uint32_t node = 0, code;
    size_t len = (size_t)ht__uni_get((const unsigned char *)word + at, n - at, &code);
    bool single = false;
    for (size_t i = at; i < n; i++) {
        node = ht__trie_next(&t->words, node, (unsigned char)word[i]);
        if (!node) break;
        int32_t id = t->words.values[node];
        if (id < 0) continue;
        double score = cells[at].score + (double)t->scores[id];
        struct cell *to = &cells[i + 1];
        if (to->id == -2 || score > to->score) *to = (struct cell){score, (uint32_t)at, id};
        single |= i + 1 - at == len;
    }
    if (single) return;
    struct cell *to = &cells[at + len];
    double score = cells[at].score + (double)t->unk_score;
    if (to->id == -2 || score > to->score) *to = (struct cell){score, (uint32_t)at, -1};
}

/* The cells on the best way, which leads from the end to the start, are turned around. */
bool ht__tokenizer_unigram_word(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *word, size_t n,
                                struct ht__tokens *out)
{
    bool in_unknown = false;
    uint32_t code;
    w->best.len = 0;
    struct cell *cells = ht__buf_grow(&w->best, (n + 1) * sizeof *cells);
    if (!cells) return false;
    for (size_t i = 0; i <= n; i++)
        cells[i] = (struct cell){0, 0, -2};
    for (size_t at = 0; at < n; at += (size_t)ht__uni_get((const unsigned char *)word + at, n - at, &code))
        extend(t, word, n, at, cells);
    uint32_t next = (uint32_t)n;
    for (uint32_t at = (uint32_t)n; at > 0;) {
        uint32_t from = cells[at].from;
        cells[at].from = next; /* from here on: where the token after this one ends */
        next = at;
        at = from;
    }
    for (uint32_t at = 0, end = next; at < n; at = end, end = cells[at].from) {
        if (cells[end].id >= 0)
            ht__tokens_put(out, cells[end].id), in_unknown = false;
        else
            ht__tokenizer_put_unknown(t, word + at, end - at, &in_unknown, out);
    }
    return true;
}
