/*
 * Estimates and recommendations under an allocator whose n-th request fails: each says "out of memory", gives back every
 * block, and answers nothing; one that gets by without answers what an undisturbed one does.
 */
#include "job/quantize.h"
#include "lib/counting.h"
#include "lib/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct counting counting;

static enum ht_err run(const char *source, bool recommend, long n, char **json, struct ht_diag *diag)
{
    struct ht_job *job;
    *json = NULL;
    *diag = (struct ht_diag){0};
    counting_begin(&counting, n, true);
    enum ht_err err = ht__job_open(&counting.alloc, &job);
    if (err != HT_OK) return ht__fail(diag, err, "job", -1, "no job");
    job->measured_seconds = .0001;
    err = ht__options_set(job, "source", source, diag);
    if (err == HT_OK) err = ht__options_set(job, recommend ? "memory" : "type", recommend ? "1G" : "Q8_0,Q4_0", diag);
    if (err == HT_OK) err = recommend ? ht__job_recommend(job, json, diag) : ht_job_estimate(job, json, diag);
    ht__job_close(&job);
    return err;
}

/* An answer without what was measured: times differ, and so may the space that is free. */
static void cut_measured(char *json)
{
    char *from = json ? strstr(json, "\"disk_free_bytes\"") : NULL, *to = from ? strstr(from, "\"fits\"") : NULL;
    if (to) memmove(from, to, strlen(to) + 1);
}

static void fail_each(bool recommend)
{
    struct tiny tiny;
    struct ht_diag diag;
    char *want, *json;
    long n_failed = 0;
    tiny_make(&tiny, TINY_SAFETENSORS, TINY_WIDE);
    if (run(tiny.source, recommend, 0, &want, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    cut_measured(want);
    long total = atomic_load(&counting.requests);
    for (long n = 1; n <= total; n++) {
        enum ht_err err = run(tiny.source, recommend, n, &json, &diag);
        cut_measured(json);
        n_failed += err != HT_OK;
        if (err == HT_OK ? strcmp(json, want) != 0
                         : json != NULL || err != HT_ERR_MEMORY || diag.code != err || !diag.message[0])
            fail_msg("request %ld: %s, \"%s: %s\"", n, ht_err_name(err), diag.where, diag.message);
        if (atomic_load(&counting.live) != 0)
            fail_msg("request %ld: %ld blocks leaked", n, atomic_load(&counting.live));
        free(json);
    }
    print_message("%ld requests failed in turn, %ld clean errors\n", total, n_failed);
    assert_true(n_failed > 50);
    free(want);
    tiny_remove(&tiny);
}

static void estimates(void **state)
{
    (void)state;
    fail_each(false);
}

static void recommendations(void **state)
{
    (void)state;
    fail_each(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(estimates), cmocka_unit_test(recommendations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
