/* The arena: alignment, zeros, sizes that cannot be, and a loop that settles. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static long n_requests, n_live;

/* Fresh memory is never zero here. */
static void *dirty(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    assert_null(size > 0 ? ptr : NULL); /* an arena resizes nothing */
    if (size == 0) {
        n_live -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    n_requests++;
    n_live++;
    void *p = malloc(size);
    return p ? memset(p, 0xA5, size) : NULL;
}

static const struct ht__alloc in_chunks = {.resize = dirty}, by_pieces = {.resize = dirty, .piecewise = true};

static bool all(const unsigned char *p, size_t n, unsigned char value)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != value) return false;
    return true;
}

/* Pieces of many sizes: aligned, zeroed, apart from each other, and writable to their last byte. */
static void fill(struct ht__arena *arena)
{
    enum { N = 300 };
    static unsigned char *pieces[N];
    static size_t sizes[N];
    for (size_t i = 0; i < N; i++) {
        sizes[i] = i * 131 % 2000 + (i % 50 == 49 ? 100000 : 0);
        bool raw = i % 3 == 0;
        pieces[i] = raw ? ht__arena_raw(arena, sizes[i]) : ht__arena_new(arena, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % (raw ? 64 : 16), 0);
        if (!raw) assert_true(all(pieces[i], sizes[i], 0));
        memset(pieces[i], (int)(i % 251), sizes[i]);
    }
    for (size_t i = 0; i < N; i++)
        assert_true(all(pieces[i], sizes[i], (unsigned char)(i % 251)));
}

static void pieces_do_not_overlap(void **state)
{
    (void)state;
    static const struct ht__alloc *const allocs[] = {NULL, &in_chunks, &by_pieces};
    for (size_t i = 0; i < 3; i++) {
        struct ht__arena arena;
        ht__arena_init(&arena, allocs[i]);
        fill(&arena);
        ht__arena_reset(&arena);
        fill(&arena); /* used memory is zeroed again */
        ht__arena_close(&arena);
        assert_int_equal(arena.total, 0);
    }
    assert_int_equal(n_live, 0);
}

static void a_loop_settles(void **state)
{
    (void)state;
    struct ht__arena arena;
    ht__arena_init(&arena, &in_chunks);
    for (int i = 0; i < 3; i++) {
        fill(&arena);
        ht__arena_reset(&arena);
    }
    long before = n_requests;
    size_t total = arena.total;
    for (int i = 0; i < 20; i++) {
        fill(&arena);
        ht__arena_reset(&arena);
    }
    assert_int_equal(n_requests, before);
    assert_int_equal(arena.total, total);
    ht__arena_close(&arena);
    assert_int_equal(n_live, 0);
}

static void sizes_that_cannot_be(void **state)
{
    (void)state;
    struct ht__arena arena;
    ht__arena_init(&arena, &in_chunks);
    assert_null(ht__arena_new(&arena, SIZE_MAX));
    assert_null(ht__arena_raw(&arena, SIZE_MAX - 15));
    assert_null(ht__arena_array(&arena, SIZE_MAX / 2 + 1, 2));
    assert_null(ht__arena_array(&arena, (size_t)1 << 33, (size_t)1 << 33));
    assert_null(ht__arena_copy(&arena, "x", SIZE_MAX));
    assert_int_equal(n_live, 0);
    assert_non_null(ht__arena_array(&arena, 0, 8)); /* none of something is no failure */
    ht__arena_close(&arena);
}

static void texts(void **state)
{
    (void)state;
    struct ht__arena arena;
    ht__arena_init(&arena, &by_pieces);
    assert_string_equal(ht__arena_str(&arena, ""), "");
    assert_string_equal(ht__arena_copy(&arena, "abcdef", 3), "abc");
    assert_memory_equal(ht__arena_copy(&arena, "a\0b", 3), "a\0b", 4);
    assert_string_equal(ht__arena_copy(&arena, NULL, 0), "");
    assert_string_equal(ht__arena_printf(&arena, "%s-%05d", "shard", 12), "shard-00012");
    ht__arena_close(&arena);
    ht__arena_close(&arena); /* twice does no harm */
    assert_int_equal(n_live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_overlap),
        cmocka_unit_test(a_loop_settles),
        cmocka_unit_test(sizes_that_cannot_be),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
