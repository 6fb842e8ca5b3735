/*
 * Sums of bytes by their places: the same in whatever order and pieces they are added, so that what many threads
 * write or read can be compared with one pass over the file. Against changes that happen, not against an attacker.
 */
#ifndef HT_KERNELS_SUM_H
#define HT_KERNELS_SUM_H

#include <stdbool.h>
#include <stdint.h>

/* The factor of the word-th 8 bytes. The constants are the fractions of the golden ratio and of the square root of 2 in 64
 * bits: any odd numbers without a pattern. */
static inline uint64_t ht__sum_factor(uint64_t word)
{
    uint64_t x = (word + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 32) * 0x6a09e667f3bcc909u;
    return (x ^ x >> 29) | 1; /* odd: no change of one word gets lost */
}

/* Empty when all zeros. */
struct ht__sum {
    uint64_t bytes;     /* how many were added */
    uint64_t places;    /* the sum that the same places have when every byte is 1 */
    uint64_t low, high; /* of the bytes */
};

/* The n bytes that lie at `at` of the whole. */
void ht__sum_add(struct ht__sum *sum, uint64_t at, const void *data, uint64_t n);
void ht__sum_merge(struct ht__sum *sum, const struct ht__sum *other);

/* How `sum` compares with the sum of the whole. */
enum ht__sum_relation {
    HT__SUM_SAME,    /* every byte was added equally often, and is the whole's */
    HT__SUM_DIFFERS, /* every byte was added equally often, but they are not the whole's */
    HT__SUM_PARTIAL, /* some bytes were added more often than others: nothing can be said */
};
enum ht__sum_relation ht__sum_compare(const struct ht__sum *sum, const struct ht__sum *whole);

#endif
