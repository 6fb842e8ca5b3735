/* A trie of byte strings: nodes are numbers, steps are looked up in one hash table. */
#ifndef HT_MODEL_TOKENIZER_TRIE_H
#define HT_MODEL_TOKENIZER_TRIE_H

#include "base/alloc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__trie_step {
    uint32_t from; /* node << 8 | byte, plus 1; 0: empty */
    uint32_t to;
};

struct ht__trie {
    const struct ht__alloc *alloc;
    struct ht__trie_step *steps;
    size_t n_steps, cap; /* cap is a power of two */
    int32_t *values;     /* by node; -1: no string ends here */
    uint32_t n_nodes, room;
    uint32_t first[256]; /* the step from the root; 0: none */
};

bool ht__trie_open(struct ht__trie *trie, const struct ht__alloc *alloc);
void ht__trie_close(struct ht__trie *trie);
/* false when memory is out or there are more than 2^24 nodes. The last value of a string stays. */
bool ht__trie_put(struct ht__trie *trie, const char *text, size_t len, int32_t value);

static inline size_t ht__trie_hash(uint32_t from)
{
    return (size_t)from * 0x9e3779b97f4a7c15u >> 20;
}

/* The node behind `node` (0 is the root) by a byte, or 0. */
static inline uint32_t ht__trie_next(const struct ht__trie *trie, uint32_t node, unsigned char byte)
{
    if (node == 0) return trie->first[byte];
    uint32_t from = (node << 8 | byte) + 1;
    for (size_t i = ht__trie_hash(from) & (trie->cap - 1);; i = (i + 1) & (trie->cap - 1)) {
        if (trie->steps[i].from == from) return trie->steps[i].to;
        if (trie->steps[i].from == 0) return 0;
    }
}

#endif
