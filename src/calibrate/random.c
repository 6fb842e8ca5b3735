#include "calibrate/random.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t ht__random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t ht__random_stream(uint64_t seed, uint64_t stream)
{
    uint64_t state = stream;
    return seed ^ ht__random_next(&state);
}

void ht__random_order(uint64_t seed, size_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++) { /* Fisher and Yates, inside out */
        size_t at = (size_t)(ht__random_next(&seed) % (i + 1));
        order[i] = order[at];
        order[at] = i;
    }
}

bool ht__random_tokens(uint64_t seed, int32_t n_vocab, ht__usable_fn *usable, const void *ctx, int32_t *ids, size_t n)
{
    enum { MOST_TRIES = 1000 }; /* in a row: a vocabulary without text would take forever */
    int tries = 0;
    for (size_t i = 0; i < n;) {
        if (n_vocab < 1 || tries++ > MOST_TRIES) return false;
        int32_t id = (int32_t)(ht__random_next(&seed) % (uint32_t)n_vocab);
        if (usable && !usable(ctx, id)) continue;
        ids[i++] = id;
        tries = 0;
    }
    return true;
}
