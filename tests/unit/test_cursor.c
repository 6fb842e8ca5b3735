/* The bounded reader, and the arithmetic on sizes that come from files. */
#include "base/check.h"
#include "base/cursor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 24 };

/* Every getter at every place of every length: the bytes' value, or zero and `bad` from then on. */
#define CHECK_GETTER(name, type)                                                                                       \
    do {                                                                                                               \
        for (size_t size = 0; size <= SIZE; size++)                                                                    \
            for (size_t at = 0; at <= size; at++) {                                                                    \
                uint8_t *bytes = malloc(size ? size : 1);                                                              \
                memcpy(bytes, pattern, size);                                                                          \
                struct ht__cursor c = ht__cursor_of(bytes, size);                                                      \
                assert_true(at == 0 || ht__cursor_take(&c, at) == bytes);                                              \
                type got = ht__cursor_##name(&c), want = 0;                                                            \
                bool fits = size - at >= sizeof want;                                                                  \
                if (fits) memcpy(&want, pattern + at, sizeof want);                                                    \
                assert_memory_equal(&got, &want, sizeof want);                                                         \
                assert_int_equal(c.bad, !fits);                                                                        \
                assert_int_equal(ht__cursor_left(&c), fits ? size - at - sizeof want : 0);                             \
                if (!fits) assert_int_equal(ht__cursor_u8(&c), 0); /* although a byte may be there */                  \
                free(bytes);                                                                                           \
            }                                                                                                          \
    } while (0)

static void getters(void **state)
{
    (void)state;
    uint8_t pattern[SIZE];
    for (int i = 0; i < SIZE; i++)
        pattern[i] = (uint8_t)(0x81 + 7 * i);
    CHECK_GETTER(u8, uint8_t);
    CHECK_GETTER(u16, uint16_t);
    CHECK_GETTER(u32, uint32_t);
    CHECK_GETTER(u64, uint64_t);
    CHECK_GETTER(i32, int32_t);
    CHECK_GETTER(i64, int64_t);
    CHECK_GETTER(f32, float);
    CHECK_GETTER(f64, double);
}

static void taking(void **state)
{
    (void)state;
    static const uint64_t too_many[] = {5, 0x7fffffff, 0xffffffff, INT64_MAX, UINT64_MAX - 4, UINT64_MAX};
    uint8_t bytes[8] = {0};
    for (size_t i = 0; i < sizeof too_many / sizeof too_many[0]; i++) {
        struct ht__cursor c = ht__cursor_of(bytes, sizeof bytes);
        assert_ptr_equal(ht__cursor_take(&c, 4), bytes);
        assert_null(ht__cursor_take(&c, too_many[i]));
        assert_true(c.bad);
        assert_null(ht__cursor_take(&c, 1));
        assert_null(ht__cursor_take(&c, 0));
        assert_int_equal(ht__cursor_left(&c), 0);
    }
    struct ht__cursor c = ht__cursor_of(bytes, sizeof bytes);
    assert_ptr_equal(ht__cursor_take(&c, 8), bytes);
    assert_ptr_equal(ht__cursor_take(&c, 0), bytes + 8); /* nothing is still there at the end */
    assert_false(c.bad);
}

/* Against arithmetic in twice the width. */
static void arithmetic(void **state)
{
    (void)state;
    static const uint64_t v[] = {0,
                                 1,
                                 2,
                                 31,
                                 32,
                                 0x7fffffff,
                                 0x80000000u,
                                 0xffffffff,
                                 0x100000000u,
                                 INT64_MAX,
                                 (uint64_t)INT64_MAX + 1,
                                 UINT64_MAX - 31,
                                 UINT64_MAX - 1,
                                 UINT64_MAX};
    enum { N = sizeof v / sizeof v[0] };
    __extension__ typedef unsigned __int128 wide;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            uint64_t out = 0;
            wide sum = (wide)v[i] + v[j], product = (wide)v[i] * v[j];
            assert_int_equal(ht__add_ok(v[i], v[j], &out), sum <= UINT64_MAX);
            if (sum <= UINT64_MAX) assert_true(out == (uint64_t)sum);
            assert_int_equal(ht__mul_ok(v[i], v[j], &out), product <= UINT64_MAX);
            if (product <= UINT64_MAX) assert_true(out == (uint64_t)product);
            for (int k = 0; k < N; k++)
                assert_int_equal(ht__range_ok(v[i], v[j], v[k]), sum <= v[k]);
            int64_t extents[2] = {(int64_t)v[i], (int64_t)v[j]};
            bool fits = extents[0] >= 0 && extents[1] >= 0 && product <= INT64_MAX;
            assert_int_equal(ht__extents_ok(extents, 2, &out), fits);
            if (fits) assert_true(out == (uint64_t)product);
        }
    for (int i = 0; i < N; i++) {
        uint64_t out = 0;
        wide up = ((wide)v[i] + 31) / 32 * 32;
        assert_int_equal(ht__align_ok(v[i], 32, &out), up <= UINT64_MAX);
        if (up <= UINT64_MAX) assert_true(out == (uint64_t)up);
    }
    uint64_t one = 0;
    assert_true(ht__extents_ok(NULL, 0, &one) && one == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(getters),
        cmocka_unit_test(taking),
        cmocka_unit_test(arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
