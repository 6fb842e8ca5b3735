/* Sums by place: independent of order and pieces, dependent on every byte and its place. */
#include "kernels/sum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 1000 };
static unsigned char data[SIZE];

static void fill(void)
{
    uint32_t state = 12345;
    for (int i = 0; i < SIZE; i++)
        data[i] = (unsigned char)((state = state * 1664525u + 1013904223u) >> 24);
}

static struct ht__sum whole_at(uint64_t at)
{
    struct ht__sum sum = {0};
    ht__sum_add(&sum, at, data, SIZE);
    return sum;
}

static void pieces_in_any_order(void **state)
{
    (void)state;
    fill();
    for (uint64_t at = 0; at < 9; at++) /* every alignment */
        for (size_t piece = 1; piece < 40; piece++) {
            struct ht__sum sum = {0}, part, whole = whole_at(at);
            size_t n = (SIZE + piece - 1) / piece;
            for (size_t i = 0; i < n; i++) {
                size_t from = (n - 1 - i) * piece, len = from + piece < SIZE ? piece : SIZE - from;
                memset(&part, 0, sizeof part);
                ht__sum_add(&part, at + from, data + from, len);
                ht__sum_merge(&sum, &part);
            }
            assert_memory_equal(&sum, &whole, sizeof sum);
        }
}

static void every_bit_counts(void **state)
{
    (void)state;
    fill();
    struct ht__sum whole = whole_at(3);
    for (int i = 0; i < SIZE; i++)
        for (int bit = 0; bit < 8; bit++) {
            data[i] ^= (unsigned char)(1 << bit);
            struct ht__sum changed = whole_at(3);
            assert_int_equal(ht__sum_compare(&changed, &whole), HT__SUM_DIFFERS);
            data[i] ^= (unsigned char)(1 << bit);
        }
}

static void exchanged_words_count(void **state)
{
    (void)state;
    fill();
    struct ht__sum whole = whole_at(0);
    for (int i = 8; i + 8 <= SIZE; i += 8) {
        unsigned char word[8];
        memcpy(word, data, 8);
        memcpy(data, data + i, 8);
        memcpy(data + i, word, 8);
        struct ht__sum changed = whole_at(0);
        assert_int_equal(ht__sum_compare(&changed, &whole), HT__SUM_DIFFERS);
        memcpy(data + i, data, 8);
        memcpy(data, word, 8);
    }
}

static void read_several_times(void **state)
{
    (void)state;
    fill();
    struct ht__sum whole = whole_at(0), sum = {0};
    for (int times = 1; times <= 5; times++) {
        ht__sum_add(&sum, 0, data, 400);
        ht__sum_add(&sum, 400, data + 400, 600);
        assert_int_equal(ht__sum_compare(&sum, &whole), HT__SUM_SAME);
    }
    data[7]++;
    ht__sum_add(&sum, 0, data, SIZE);
    assert_int_equal(ht__sum_compare(&sum, &whole), HT__SUM_DIFFERS);
    /* as many bytes as the whole has, but one half twice and the other never */
    memset(&sum, 0, sizeof sum);
    ht__sum_add(&sum, 0, data, 500);
    ht__sum_add(&sum, 0, data, 500);
    assert_int_equal(ht__sum_compare(&sum, &whole), HT__SUM_PARTIAL);
    memset(&sum, 0, sizeof sum);
    ht__sum_add(&sum, 0, data, 999);
    assert_int_equal(ht__sum_compare(&sum, &whole), HT__SUM_PARTIAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_in_any_order),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(exchanged_words_count),
        cmocka_unit_test(read_several_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
