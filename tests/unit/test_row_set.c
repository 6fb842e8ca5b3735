/* Sets of rows, compared with a flag for each row. */
#include "pipeline/row_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 40, SETS = 3000 };

static unsigned seed = 1;

static unsigned below(unsigned n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static struct ht__row_span some_rows(void)
{
    int64_t from = below(ROWS), to = below(ROWS + 1);
    return from <= to ? (struct ht__row_span){from, to} : (struct ht__row_span){to, from};
}

static void add(struct ht__row_set *set, bool *flags)
{
    struct ht__row_span rows = some_rows();
    ht__row_set_add(set, rows);
    for (int64_t i = rows.from; i < rows.to; i++)
        flags[i] = true;
}

static void check_spans(const struct ht__row_set *set, const bool *flags)
{
    bool again[ROWS] = {false};
    int64_t end = -1;
    for (size_t i = 0; i < ht__row_set_size(set); i++) {
        struct ht__row_span rows = ht__row_set_at(set, i);
        assert_true(rows.from > end && rows.from < rows.to && rows.to <= ROWS);
        for (int64_t k = rows.from; k < rows.to; k++)
            again[k] = true;
        end = rows.to;
    }
    assert_true(memcmp(again, flags, sizeof again) == 0);
}

static void check_questions(const struct ht__row_set *set, const bool *flags)
{
    struct ht__row_span rows = some_rows(), gap = rows;
    int64_t n = 0, first = rows.from, end;
    for (int64_t i = rows.from; i < rows.to; i++)
        n += flags[i];
    assert_true(ht__row_set_count(set, rows) == n);
    while (first < rows.to && flags[first])
        first++;
    for (end = first; end < rows.to && !flags[end];)
        end++;
    bool found = ht__row_set_gap(set, &gap);
    assert_true(found == (first < rows.to));
    assert_true(!found || (gap.from == first && gap.to == end));
}

static void check_two(const struct ht__row_set *a, const bool *in_a, const struct ht__row_set *b, const bool *in_b)
{
    bool holds = true, meets = false;
    for (int i = 0; i < ROWS; i++) {
        holds &= in_a[i] || !in_b[i];
        meets |= in_a[i] && in_b[i];
    }
    assert_true(ht__row_set_holds(a, b) == holds);
    assert_true(ht__row_set_meets(a, b) == meets);
}

static void compare_with_flags(void **state)
{
    (void)state;
    struct ht__row_set a, b;
    ht__row_set_init(&a, NULL);
    ht__row_set_init(&b, NULL);
    for (int k = 0; k < SETS; k++) {
        bool in_a[ROWS] = {false}, in_b[ROWS] = {false};
        ht__row_set_clear(&a);
        ht__row_set_clear(&b);
        for (unsigned i = below(6); i > 0; i--)
            add(&a, in_a);
        for (unsigned i = below(4); i > 0; i--)
            add(&b, in_b);
        check_spans(&a, in_a);
        check_questions(&a, in_a);
        check_two(&a, in_a, &b, in_b);
    }
    ht__row_set_close(&a);
    ht__row_set_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(compare_with_flags)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
