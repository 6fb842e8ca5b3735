/* The growing buffer: nothing asked of nothing is still a place; failure is remembered. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void growing_by_nothing(void **state)
{
    (void)state;
    struct ht__buf buf;
    ht__buf_init(&buf, NULL);
    assert_non_null(ht__buf_grow(&buf, 0)); /* no pointer arithmetic on NULL */
    assert_int_equal(buf.len, 0);
    ht__buf_close(&buf);
}

static void text_and_numbers(void **state)
{
    (void)state;
    struct ht__buf buf;
    ht__buf_init(&buf, NULL);
    for (int i = 0; i < 1000; i++)
        ht__buf_printf(&buf, "%d,", i);
    assert_memory_equal(buf.data, "0,1,2,3,", 8);
    assert_int_equal(strlen(ht__buf_text(&buf)), buf.len);
    assert_false(buf.failed);
    ht__buf_close(&buf);
}

static void *never(void *ctx, void *ptr, size_t size)
{
    (void)ctx, (void)ptr, (void)size;
    return NULL;
}

static void failure_stays(void **state)
{
    (void)state;
    const struct ht__alloc none = {.resize = never};
    struct ht__buf buf;
    ht__buf_init(&buf, &none);
    ht__buf_str(&buf, "x");
    assert_true(buf.failed);
    assert_null(ht__buf_grow(&buf, 1));
    ht__buf_close(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growing_by_nothing),
        cmocka_unit_test(text_and_numbers),
        cmocka_unit_test(failure_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
