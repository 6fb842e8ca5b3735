/*
 * A whole job under an allocator whose n-th request fails, for every n until the job succeeds: each run
 * must say "out of memory", leave no file, give back every block, and never crash. A run that succeeds
 * although a request failed must give the very bytes of an undisturbed one.
 */
#include "lib/counting.h"
#include "lib/effort.h"
#include "lib/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int n_bad;

/* All that is wrong is told before the test fails. */
#define BAD(...) (n_bad++, print_error(__VA_ARGS__))

static struct counting counting;

static enum ht_err run(const struct tiny *tiny, long n, bool on, struct ht_diag *diag)
{
    char *json;
    counting_begin(&counting, n, true);
    counting.fail_on = on;
    enum ht_err err = tiny_run(tiny, &counting.alloc, &json, diag);
    if ((json != NULL) != (err == HT_OK)) BAD("request %ld: a report without success, or none with it\n", n);
    free(json);
    if (atomic_load(&counting.live) != 0)
        BAD("%s, request %ld: %ld blocks leaked (%s: %s)\n", tiny_names[tiny->kind], n, atomic_load(&counting.live),
            diag->where, diag->message);
    return err;
}

static void same_as(const struct tiny *tiny, long n, const struct ht__buf *want)
{
    struct ht__buf got;
    ht__buf_init(&got, NULL);
    tiny_collect(tiny, &got);
    if (got.len != want->len || memcmp(got.data, want->data, got.len) != 0)
        BAD("%s: the failure of request %ld went unnoticed and changed the output\n", tiny_names[tiny->kind], n);
    ht__buf_close(&got);
}

static void fail_each(enum tiny_kind kind, bool on)
{
    struct tiny tiny;
    struct ht_diag diag;
    struct ht__buf want;
    long n_failed = 0, n_survived = 0;
    tiny_make(&tiny, kind, TINY_WIDTH);
    if (run(&tiny, 0, false, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    ht__buf_init(&want, NULL);
    tiny_collect(&tiny, &want);
    assert_true(want.len > 20000);
    long total = atomic_load(&counting.requests);
    for (long n = 1; n <= total; n += n < 60 ? 1 : effort(3, 1, 1)) {
        enum ht_err err = run(&tiny, n, on, &diag);
        if (err == HT_OK) {
            n_survived++;
            same_as(&tiny, n, &want);
            continue;
        }
        n_failed++;
        if (err != HT_ERR_MEMORY || diag.code != err || !diag.where[0] || !diag.message[0])
            BAD("%s, request %ld: %s, %s \"%s: %s\"\n", tiny_names[kind], n, ht_err_name(err), ht_err_name(diag.code),
                diag.where, diag.message);
        if (*tiny_left(&tiny)) BAD("%s, request %ld: left behind: %s\n", tiny_names[kind], n, tiny_left(&tiny));
    }
    print_message("%s: %ld requests failed in turn%s: %ld clean errors, %ld runs did without\n", tiny_names[kind],
                  total, on ? " with all that followed" : "", n_failed, n_survived);
    assert_true(n_failed > 50);
    ht__buf_close(&want);
    tiny_remove(&tiny);
}

static void one_fails(void **state)
{
    (void)state;
    for (int kind = 0; kind < TINY_N_KINDS; kind++)
        fail_each((enum tiny_kind)kind, false);
    assert_int_equal(n_bad, 0);
}

static void all_fail_from_there(void **state)
{
    (void)state;
    for (int kind = 0; kind < TINY_N_KINDS; kind++)
        fail_each((enum tiny_kind)kind, true);
    assert_int_equal(n_bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_fails),
        cmocka_unit_test(all_fail_from_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
