/*
 * Byte-pair merging over symbols: a table of pairs with ranks, and the order in which they are
 * merged. The pair of the lowest rank is merged first, of equal ones the leftmost.
 */
#ifndef HT_MODEL_TOKENIZER_MERGE_H
#define HT_MODEL_TOKENIZER_MERGE_H

#include "base/alloc.h"
#include "base/buf.h"

/* Open addressing. Symbols are numbers from 0; HT__NO_SYMBOL is none, and merges with none. */
enum { HT__NO_SYMBOL = -1 };
struct ht__pair {
    int32_t left, right; /* left -1: empty */
    uint32_t rank;
    int32_t product;
};
struct ht__pairs {
    const struct ht__alloc *alloc;
    struct ht__pair *slots;
    size_t n, mask;
};

HT_MUST_CHECK bool ht__pairs_open(struct ht__pairs *pairs, size_t n, const struct ht__alloc *alloc);
void ht__pairs_close(struct ht__pairs *pairs);
/* A pair that is there keeps its rank. false when memory is out. */
HT_MUST_CHECK bool ht__pairs_put(struct ht__pairs *pairs, int32_t left, int32_t right, uint32_t rank, int32_t product);

static inline size_t ht__pairs_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (size_t)(h ^ h >> 32);
}
static inline const struct ht__pair *ht__pairs_get(const struct ht__pairs *pairs, int32_t left, int32_t right)
{
    if (left < 0 || right < 0) return NULL;
    for (size_t i = ht__pairs_hash(left, right) & pairs->mask;; i = (i + 1) & pairs->mask) {
        const struct ht__pair *pair = &pairs->slots[i];
        if (pair->left == left && pair->right == right) return pair;
        if (pair->left < 0) return NULL;
    }
}

/* A symbol of the word and where its text begins. */
struct ht__symbol {
    int32_t id;
    uint32_t at;
};

/*
 * A word that was met before is not merged again: a table of words with at most CACHE_TEXT bytes
 * and CACHE_IDS tokens, one cache line each; of two that meet in a slot the newer stays.
 */
enum { HT__CACHE_TEXT = 32, HT__CACHE_IDS = 7, HT__CACHE_SLOTS = 1 << 14 };
struct ht__cached {
    char text[HT__CACHE_TEXT];
    uint8_t len, n; /* len 0: empty */
    int32_t ids[HT__CACHE_IDS];
};

struct ht__merger {
    const struct ht__alloc *alloc;
    struct ht__cached *cache;
    struct ht__buf symbols, links, heap; /* of the word at hand */
};

void ht__merger_init(struct ht__merger *merger, const struct ht__alloc *alloc);
void ht__merger_close(struct ht__merger *merger);

/* The slot for a word; its text is to be compared. NULL: the word is not cached. */
struct ht__cached *ht__merger_slot(struct ht__merger *merger, const char *word, size_t n);
static inline bool ht__cached_is(const struct ht__cached *slot, const char *word, size_t n)
{
    return slot->len == n && __builtin_memcmp(slot->text, word, n) == 0;
}
/* Remembers a word's tokens, if they fit. */
void ht__cached_set(struct ht__cached *slot, const char *word, size_t n, const int32_t *ids, size_t n_ids);

/* Merges n symbols in place; returns how many are left, or 0 when memory is out. */
size_t ht__merge(struct ht__merger *merger, const struct ht__pairs *pairs, struct ht__symbol *symbols, size_t n);

#endif
