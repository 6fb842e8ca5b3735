/* The map against a plain array, and when memory runs out. */
#include "base/map.h"
#include "lib/pieces.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { N_KEYS = 20000 };

static void many_keys(void **state)
{
    (void)state;
    static char keys[N_KEYS][12];
    struct ht__map map;
    ht__map_init(&map, NULL);
    for (uint32_t i = 0; i < N_KEYS; i++) {
        size_t len = (size_t)snprintf(keys[i], sizeof keys[i], "k%u", i * 7);
        assert_null(ht__map_get(&map, keys[i], len));
        assert_int_equal(ht__map_put(&map, keys[i], len, i), HT__MAP_NEW);
        assert_int_equal(ht__map_put(&map, keys[i], len, i + 1), HT__MAP_PRESENT);
        assert_int_equal(map.n, i + 1);
    }
    for (uint32_t i = 0; i < N_KEYS; i++) {
        char copy[12]; /* the bytes count, not where they lie */
        memcpy(copy, keys[i], sizeof copy);
        uint32_t *value = ht__map_get(&map, copy, strlen(copy));
        assert_non_null(value);
        assert_int_equal(*value, i);
        *value = ~i;
    }
    for (uint32_t i = 0; i < N_KEYS; i++)
        assert_int_equal(*ht__map_get(&map, keys[i], strlen(keys[i])), ~i);
    assert_null(ht__map_get(&map, "k1", 2));
    assert_true(map.n * 4 <= map.cap * 3);
    ht__map_close(&map);
    assert_null(ht__map_get(&map, "k0", 2));
}

static void lengths_count(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } keys[] = {{"", 0}, {"\0", 1}, {"\0\0", 2}, {"a", 1}, {"a\0", 2}, {"a\0b", 3}, {"a\0c", 3}, {"ab", 2}};
    struct ht__map map;
    ht__map_init(&map, NULL);
    for (uint32_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_int_equal(ht__map_put(&map, keys[i].text, keys[i].len, i), HT__MAP_NEW);
    for (uint32_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_int_equal(*ht__map_get(&map, keys[i].text, keys[i].len), i);
    ht__map_close(&map);
}

static int n_left; /* requests that will be met */

static void *meet_some(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (size > 0 && n_left-- <= 0) return NULL;
    return pieces_resize(NULL, ptr, size);
}

static void memory_runs_out(void **state)
{
    (void)state;
    static char keys[1000][8];
    const struct ht__alloc alloc = {.resize = meet_some};
    for (int n = 0; n < 5; n++) {
        struct ht__map map;
        uint32_t held = 0;
        ht__map_init(&map, &alloc);
        n_left = n;
        for (uint32_t i = 0; i < 1000; i++) {
            snprintf(keys[i], sizeof keys[i], "%u", i);
            if (ht__map_put(&map, keys[i], strlen(keys[i]), i) == HT__MAP_NO_MEMORY) break;
            held++;
        }
        assert_true(held < 1000 && map.n == held);
        for (uint32_t i = 0; i < held; i++) /* what was there is there */
            assert_int_equal(*ht__map_get(&map, keys[i], strlen(keys[i])), i);
        assert_null(ht__map_get(&map, keys[held], strlen(keys[held])));
        ht__map_close(&map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_keys),
        cmocka_unit_test(lengths_count),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
