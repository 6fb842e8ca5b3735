#include "model/tokenizer/trie.h"

#include <string.h>

enum { MAX_NODES = (1 << 24) - 1 };

bool ht__trie_open(struct ht__trie *trie, const struct ht__alloc *alloc)
{
    memset(trie, 0, sizeof *trie);
    trie->alloc = alloc;
    trie->cap = 64;
    trie->room = 32;
    trie->n_nodes = 1;
    trie->steps = ht__new_array(alloc, trie->cap, sizeof *trie->steps);
    trie->values = ht__new_array(alloc, trie->room, sizeof *trie->values);
    if (!trie->steps || !trie->values) return false;
    trie->values[0] = -1;
    return true;
}

void ht__trie_close(struct ht__trie *trie)
{
    ht__free(trie->alloc, trie->steps);
    ht__free(trie->alloc, trie->values);
    trie->steps = NULL;
    trie->values = NULL;
}

static void insert(struct ht__trie_step *steps, size_t cap, struct ht__trie_step step)
{
    size_t i = ht__trie_hash(step.from) & (cap - 1);
    while (steps[i].from)
        i = (i + 1) & (cap - 1);
    steps[i] = step;
}

static bool grow(struct ht__trie *trie)
{
    if (trie->n_nodes == trie->room) {
        int32_t *values = ht__resize(trie->alloc, trie->values, 2 * (size_t)trie->room * sizeof *values);
        if (!values) return false;
        trie->values = values;
        trie->room *= 2;
    }
    if (2 * (trie->n_steps + 1) <= trie->cap) return true;
    struct ht__trie_step *steps = ht__new_array(trie->alloc, 2 * trie->cap, sizeof *steps);
    if (!steps) return false;
    for (size_t i = 0; i < trie->cap; i++)
        if (trie->steps[i].from) insert(steps, 2 * trie->cap, trie->steps[i]);
    ht__free(trie->alloc, trie->steps);
    trie->steps = steps;
    trie->cap *= 2;
    return true;
}

bool ht__trie_put(struct ht__trie *trie, const char *text, size_t len, int32_t value)
{
    uint32_t node = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        uint32_t next = ht__trie_next(trie, node, byte);
        if (!next) {
            if (trie->n_nodes >= MAX_NODES || !grow(trie)) return false;
            next = trie->n_nodes++;
            trie->values[next] = -1;
            if (node == 0)
                trie->first[byte] = next;
            else
                insert(trie->steps, trie->cap, (struct ht__trie_step){(node << 8 | byte) + 1, next});
            trie->n_steps++;
        }
        node = next;
    }
    trie->values[node] = value;
    return true;
}
