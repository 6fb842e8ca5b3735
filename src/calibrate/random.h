/* Numbers as good as random, the same for the same seed on every machine. */
#ifndef HT_CALIBRATE_RANDOM_H
#define HT_CALIBRATE_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t ht__random_next(uint64_t *state);
/* A state for one of several streams of a seed. */
uint64_t ht__random_stream(uint64_t seed, uint64_t stream);
/* The numbers 0 to n - 1 in an order of their own. */
void ht__random_order(uint64_t seed, size_t *order, size_t n);

/* Token ids below n_vocab: `usable` says which may be taken (NULL: all). False when there is none. */
typedef bool ht__usable_fn(const void *ctx, int32_t id);
bool ht__random_tokens(uint64_t seed, int32_t n_vocab, ht__usable_fn *usable, const void *ctx, int32_t *ids, size_t n);

#endif
