/* The growing buffer: nothing asked of nothing is still a place; failure is remembered. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
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

/* Fails once it has given what was allowed. */
static void *few(void *ctx, void *ptr, size_t size)
{
    int *left = ctx;
    if (size && (*left)-- <= 0) return NULL;
    if (size) return realloc(ptr, size);
    free(ptr);
    return NULL;
}

/* What is handed out is the whole text or nothing: not an empty one where the terminating NUL has no room. */
static void handed_out(void **state)
{
    (void)state;
    for (int allowed = 1; allowed <= 2; allowed++) {
        int left = allowed;
        const struct ht__alloc alloc = {.resize = few, .ctx = &left};
        struct ht__buf buf;
        struct ht_diag diag = {0};
        char *text = NULL;
        ht__buf_init(&buf, &alloc);
        ht__buf_zeros(&buf, 1);
        ht__buf_zeros(&buf, buf.cap - 1); /* full */
        memset(buf.data, 'x', buf.len);
        enum ht_err err = ht__buf_hand_out(&buf, "text", &text, &diag);
        assert_int_equal(err, allowed == 1 ? HT_ERR_MEMORY : HT_OK);
        if (err)
            assert_null(text);
        else
            assert_int_equal(strlen(text), buf.len);
        free(text);
        ht__buf_close(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growing_by_nothing),
        cmocka_unit_test(text_and_numbers),
        cmocka_unit_test(failure_stays),
        cmocka_unit_test(handed_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
