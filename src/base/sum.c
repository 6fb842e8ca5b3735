/*
 * Every aligned word of 8 bytes has a factor that depends on its place alone; the sum is that of the products. It is
 * linear in the bytes: a word of which one part is added now and the other later gives what it gives at once. The two
 * halves of a word are summed apart, as a product modulo 2^64 says less about a word's upper bits.
 */
#include "base/sum.h"

#include <string.h>

enum { WORD = 8 };
#define EACH_BYTE 0x0101010101010101u

/* The fraction of the golden ratio and that of the square root of 2 in 64 bits: any odd numbers without a pattern. */
#define GOLDEN 0x9e3779b97f4a7c15u
#define ROOT_2 0x6a09e667f3bcc909u

static inline uint64_t factor_of(uint64_t word)
{
    uint64_t x = (word + 1) * GOLDEN;
    x = (x ^ x >> 32) * ROOT_2;
    return (x ^ x >> 29) | 1; /* odd: no change of one word gets lost */
}

/* Bytes [from, to) of a word. */
static void add_part(struct ht__sum *sum, uint64_t word, unsigned from, unsigned to, const unsigned char *data)
{
    uint64_t value = 0, places = 0, factor = factor_of(word);
    for (unsigned i = from; i < to; i++) {
        value |= (uint64_t)data[i - from] << 8 * i;
        places |= (uint64_t)1 << 8 * i;
    }
    sum->low += (value & UINT32_MAX) * factor;
    sum->high += (value >> 32) * factor;
    sum->places += places * factor;
}

static inline uint64_t load_word(const unsigned char *data)
{
    uint64_t value;
    memcpy(&value, data, WORD);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

void ht__sum_add(struct ht__sum *sum, uint64_t at, const void *data, uint64_t n)
{
    const unsigned char *p = data;
    uint64_t word = at / WORD, low = 0, high = 0, factors = 0;
    unsigned skew = (unsigned)(at % WORD);
    sum->bytes += n;
    if (skew && n) {
        unsigned end = n < WORD - skew ? skew + (unsigned)n : WORD;
        add_part(sum, word++, skew, end, p);
        p += end - skew;
        n -= end - skew;
    }
    for (; n >= WORD; n -= WORD, p += WORD, word++) {
        uint64_t value = load_word(p), factor = factor_of(word);
        low += (value & UINT32_MAX) * factor;
        high += (value >> 32) * factor;
        factors += factor;
    }
    sum->low += low;
    sum->high += high;
    sum->places += factors * EACH_BYTE;
    if (n) add_part(sum, word, 0, (unsigned)n, p);
}

void ht__sum_merge(struct ht__sum *sum, const struct ht__sum *other)
{
    sum->bytes += other->bytes;
    sum->places += other->places;
    sum->low += other->low;
    sum->high += other->high;
}

enum ht__sum_relation ht__sum_compare(const struct ht__sum *sum, const struct ht__sum *whole)
{
    uint64_t times = whole->bytes ? sum->bytes / whole->bytes : 0;
    if (times * whole->bytes != sum->bytes || times * whole->places != sum->places) return HT__SUM_PARTIAL;
    return times * whole->low == sum->low && times * whole->high == sum->high ? HT__SUM_SAME : HT__SUM_DIFFERS;
}
