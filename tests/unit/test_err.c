/* Codes have names and texts; the first diagnosis wins. */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

static void texts(void **state)
{
    (void)state;
    assert_string_equal(ht_err_name(HT_ERR_FORMAT), "HT_ERR_FORMAT");
    assert_string_equal(ht_err_text(HT_OK), "success");
    assert_string_equal(ht_err_text((enum ht_err)999), "unknown error");
}

static void first_wins(void **state)
{
    (void)state;
    struct ht_diag diag;
    ht__diag_clear(&diag);
    assert_int_equal(ht__fail(&diag, HT_ERR_FORMAT, "a", 7, "x %d", 1), HT_ERR_FORMAT);
    ht__fail(&diag, HT_ERR_IO, "b", 8, "y");
    assert_int_equal(diag.code, HT_ERR_FORMAT);
    assert_int_equal(diag.offset, 7);
    assert_string_equal(diag.where, "a");
    assert_string_equal(diag.message, "x 1");
}

static void disk_full_has_its_own_code(void **state)
{
    (void)state;
    struct ht_diag diag;
    ht__diag_clear(&diag);
    assert_int_equal(ht__fail_errno(&diag, ENOSPC, "f", "write"), HT_ERR_NO_SPACE);
    assert_non_null(strstr(diag.message, "write: "));
    assert_int_equal(ht__fail_errno(NULL, EIO, "f", "write"), HT_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(first_wins),
        cmocka_unit_test(disk_full_has_its_own_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
