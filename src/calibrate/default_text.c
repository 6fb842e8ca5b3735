#include "calibrate/default_text.h"

const char *ht__calibration_text(enum ht__text_part part, size_t *len)
{
    *len = part == HT__TEXT_HELD_OUT ? ht__text_held_out_len : ht__text_calibrate_len;
    return (const char *)(part == HT__TEXT_HELD_OUT ? ht__text_held_out : ht__text_calibrate);
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

bool ht__random_tokens(uint64_t seed, int32_t n_vocab, ht__usable_fn *usable, const void *ctx, int32_t *ids, size_t n)
{
    enum { MOST_TRIES = 1000 }; /* in a row: a vocabulary without text would take forever */
    int tries = 0;
    for (size_t i = 0; i < n;) {
        if (n_vocab < 1 || tries++ > MOST_TRIES) return false;
        int32_t id = (int32_t)(next(&seed) % (uint32_t)n_vocab);
        if (usable && !usable(ctx, id)) continue;
        ids[i++] = id;
        tries = 0;
    }
    return true;
}
