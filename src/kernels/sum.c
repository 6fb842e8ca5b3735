/*
 * Every aligned word of 8 bytes has a factor that depends on its place alone; the sum is that of the products. It is
 * linear in the bytes: a word of which one part is added now and the other later gives what it gives at once. The two
 * halves of a word are summed apart, as a product modulo 2^64 says less about a word's upper bits.
 */
#include "kernels/sum.h"
#include "kernels/weights/weights.h"

enum { WORD = 8 };
#define EACH_BYTE 0x0101010101010101u

/* Bytes [from, to) of a word. */
static void add_part(struct ht__sum *sum, uint64_t word, unsigned from, unsigned to, const unsigned char *data)
{
    uint64_t value = 0, places = 0, factor = ht__sum_factor(word);
    for (unsigned i = from; i < to; i++) {
        value |= (uint64_t)data[i - from] << 8 * i;
        places |= (uint64_t)1 << 8 * i;
    }
    sum->low += (value & UINT32_MAX) * factor;
    sum->high += (value >> 32) * factor;
    sum->places += places * factor;
}

void ht__sum_add(struct ht__sum *sum, uint64_t at, const void *data, uint64_t n)
{
    const unsigned char *p = data;
    uint64_t word = at / WORD, sums[3];
    unsigned skew = (unsigned)(at % WORD);
    sum->bytes += n;
    if (skew && n) {
        unsigned end = n < WORD - skew ? skew + (unsigned)n : WORD;
        add_part(sum, word++, skew, end, p);
        p += end - skew;
        n -= end - skew;
    }
    ht__weight_ops(ht__cpu_best())->sum_words(p, n / WORD, word, sums);
    sum->low += sums[0];
    sum->high += sums[1];
    sum->places += sums[2] * EACH_BYTE;
    if (n % WORD) add_part(sum, word + n / WORD, 0, (unsigned)(n % WORD), p + n / WORD * WORD);
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
