/*
 * As test_alloc_failure, but every malloc of the whole process fails in its turn while the job runs: those of
 * the libraries below us too, whose errors are easily taken for "no match" or "no such thing". A run may
 * succeed only with the very bytes of an undisturbed one.
 */
#include "lib/tiny.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_OWN_MALLOC 0
#endif
#endif
#if !defined(HAVE_OWN_MALLOC) && !defined(__GLIBC__)
#define HAVE_OWN_MALLOC 0
#elif !defined(HAVE_OWN_MALLOC)
#define HAVE_OWN_MALLOC 1
#endif

#if HAVE_OWN_MALLOC

/* glibc's own, under the names that it exports for those who replace malloc. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *ptr, size_t size);

static atomic_long requests;
static atomic_bool armed;
static long fail_at;

static bool refuse(void)
{
    if (!atomic_load_explicit(&armed, memory_order_relaxed)) return false;
    if (atomic_fetch_add(&requests, 1) + 1 != fail_at) return false;
    errno = ENOMEM;
    return true;
}

__attribute__((visibility("default"))) void *malloc(size_t size)
{
    return refuse() ? NULL : __libc_malloc(size);
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
    return refuse() ? NULL : __libc_calloc(n, size);
}

__attribute__((visibility("default"))) void *realloc(void *ptr, size_t size)
{
    return size && refuse() ? NULL : __libc_realloc(ptr, size);
}

/* Hashes in the last run's report. */
static int n_hashes;

static enum ht_err run(const struct tiny *tiny, long n, struct ht_diag *diag)
{
    char *json;
    fail_at = n;
    atomic_store(&requests, 0);
    atomic_store(&armed, true);
    enum ht_err err = tiny_run(tiny, NULL, &json, diag);
    atomic_store(&armed, false);
    n_hashes = 0;
    for (const char *p = json; p && (p = strstr(p, "\"sha256\"")); p++)
        n_hashes++;
    free(json);
    return err;
}

static int n_bad;
#define BAD(...) (n_bad++, print_error(__VA_ARGS__))

static void judge(const struct tiny *tiny, long n, enum ht_err err, const struct ht_diag *diag,
                  const struct ht__buf *want, int want_hashes)
{
    if (err == HT_OK) {
        struct ht__buf got;
        ht__buf_init(&got, NULL);
        tiny_collect(tiny, &got);
        if (got.len != want->len || memcmp(got.data, want->data, got.len) != 0)
            BAD("%s: the failure of malloc %ld went unnoticed and changed the output\n", tiny_names[tiny->kind], n);
        if (n_hashes != want_hashes)
            BAD("%s, malloc %ld: %d hashes in the report, not %d\n", tiny_names[tiny->kind], n, n_hashes, want_hashes);
        ht__buf_close(&got);
        return;
    }
    if (err != HT_ERR_MEMORY || diag->code != err || !diag->where[0] || !diag->message[0])
        BAD("%s, malloc %ld: %s \"%s: %s\"\n", tiny_names[tiny->kind], n, ht_err_name(err), diag->where, diag->message);
    if (*tiny_left(tiny)) BAD("%s, malloc %ld: left behind: %s\n", tiny_names[tiny->kind], n, tiny_left(tiny));
}

/* The first ones all, later ones at a growing stride: they are compilations of one expression after
 * another. */
enum { ALL_UP_TO = 600 };

static void fail_each(enum tiny_kind kind)
{
    struct tiny tiny;
    struct ht_diag diag;
    struct ht__buf want;
    long n_failed = 0, n_survived = 0;
    tiny_make(&tiny, kind, TINY_WIDTH);
    run(&tiny, 0, &diag); /* libraries set themselves up */
    ht__buf_init(&want, NULL);
    tiny_collect(&tiny, &want);
    want.len = 0;
    if (run(&tiny, 0, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    tiny_collect(&tiny, &want);
    long total = atomic_load(&requests);
    int want_hashes = n_hashes;
    assert_true(want_hashes > 2);
    for (long n = 1; n <= total; n += n < ALL_UP_TO ? 1 : 1 + (total - ALL_UP_TO) / 200) {
        enum ht_err err = run(&tiny, n, &diag);
        judge(&tiny, n, err, &diag, &want, want_hashes);
        n_failed += err != HT_OK;
        n_survived += err == HT_OK;
    }
    print_message("%s: of %ld requests %ld failed cleanly in turn, %ld runs did without\n", tiny_names[kind], total,
                  n_failed, n_survived);
    assert_true(n_failed > 50);
    ht__buf_close(&want);
    tiny_remove(&tiny);
}

static void one_fails(void **state)
{
    (void)state;
    for (int kind = 0; kind < TINY_N_KINDS; kind++)
        fail_each((enum tiny_kind)kind);
    assert_int_equal(n_bad, 0);
}

#else

static void one_fails(void **state)
{
    (void)state;
    print_message("SKIPPED: malloc cannot be replaced here; test_alloc_failure covers the library's own\n");
    skip();
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
