/* Tries of byte strings: what was put is found, nothing else is, and memory that ends is said. */
#include "lib/counting.h"
#include "model/tokenizer/trie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 3000, LONGEST = 12 };

/* The i-th string: its bytes are few, so that beginnings are shared; zeros are bytes as all others. */
static size_t string_of(uint32_t i, char text[LONGEST])
{
    uint32_t x = i * 2654435761u + 12345;
    size_t n = 1 + (x >> 28) % LONGEST;
    for (size_t k = 0; k < n; k++, x = x * 1664525u + 1013904223u)
        text[k] = "\0ab\xff\x80\x7f"[(x >> 24) % 6];
    return n;
}

static int32_t value_of(const struct ht__trie *trie, const char *text, size_t n)
{
    uint32_t node = 0;
    for (size_t k = 0; k < n; k++)
        if (!(node = ht__trie_next(trie, node, (unsigned char)text[k]))) return -1;
    return trie->values[node];
}

/* By looking at all of them: the last one that is the same. */
static int32_t last_like(const char *text, size_t n)
{
    char other[LONGEST];
    for (uint32_t i = N; i-- > 0;)
        if (string_of(i, other) == n && memcmp(other, text, n) == 0) return (int32_t)i;
    return -1;
}

static void what_was_put(void **state)
{
    struct ht__trie trie;
    char text[LONGEST + 1];
    (void)state;
    assert_true(ht__trie_open(&trie, NULL));
    for (uint32_t i = 0; i < N; i++)
        assert_true(ht__trie_put(&trie, text, string_of(i, text), (int32_t)i));
    for (uint32_t i = 0; i < N; i++) {
        size_t n = string_of(i, text);
        assert_int_equal(value_of(&trie, text, n), last_like(text, n));
        text[n] = 'z'; /* a byte that none has */
        assert_int_equal(value_of(&trie, text, n + 1), -1);
        assert_int_equal(value_of(&trie, text, n - 1), n > 1 ? last_like(text, n - 1) : -1);
    }
    ht__trie_close(&trie);
    ht__trie_close(&trie); /* twice is no harm */
}

static bool fill(struct ht__trie *trie, const struct ht__alloc *alloc)
{
    char text[LONGEST];
    bool good = ht__trie_open(trie, alloc);
    for (uint32_t i = 0; good && i < 400; i++)
        good = ht__trie_put(trie, text, string_of(i, text), (int32_t)i);
    return good;
}

static void memory_that_ends(void **state)
{
    struct counting counting;
    struct ht__trie trie;
    (void)state;
    counting_begin(&counting, 0, false);
    assert_true(fill(&trie, &counting.alloc));
    ht__trie_close(&trie);
    long total = atomic_load(&counting.requests);
    assert_true(total > 6); /* it grew, and more than once */
    for (long n = 1; n <= total; n++) {
        counting_begin(&counting, n, false);
        assert_false(fill(&trie, &counting.alloc));
        ht__trie_close(&trie);
        assert_int_equal(atomic_load(&counting.live), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_put), cmocka_unit_test(memory_that_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
