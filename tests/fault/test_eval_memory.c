/*
 * Measuring a small model against itself under an allocator whose n-th request fails: every run must say "out of
 * memory" or succeed with the same figures, leave no file, and give back every block.
 */
#include "job/eval.h"
#include "lib/counting.h"
#include "lib/effort.h"
#include "lib/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct counting counting;
static struct tiny tiny;
static char text[512], tasks[512], page[512];

static enum ht_err set_all(struct ht_job *job, struct ht_diag *diag)
{
    const char *const options[][2] = {
        {"model", tiny.source}, {"against", tiny.source}, {"text", text},     {"ctx", "16"},
        {"threads", "1"},       {"retention", "2"},       {"choices", tasks}, {"html", page}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        HT_TRY(ht__options_set(job, options[i][0], options[i][1], diag));
    return HT_OK;
}

/* The figures up to those of time, which differ from run to run. */
static enum ht_err run(long n, double *perplexity, struct ht_diag *diag)
{
    struct ht_job *job;
    char *json = NULL;
    *diag = (struct ht_diag){0};
    counting_begin(&counting, n, true);
    enum ht_err err = ht__job_open(&counting.alloc, &job);
    if (err) return diag->code = err;
    err = set_all(job, diag);
    if (!err) err = ht__job_eval(job, false, &json, diag);
    ht__job_close(&job);
    if (!err) *perplexity = strtod(strstr(json, "\"perplexity\": ") + 14, NULL);
    if ((json != NULL) != (err == HT_OK)) fail_msg("request %ld: a report without success, or none with it", n);
    free(json);
    if (atomic_load(&counting.live) != 0)
        fail_msg("request %ld: %ld blocks leaked (%s)", n, atomic_load(&counting.live), diag->message);
    if ((access(page, F_OK) == 0) != (err == HT_OK))
        fail_msg("request %ld: a page without success, or none with it", n);
    unlink(page);
    return err;
}

static void each_request_fails(void **state)
{
    (void)state;
    struct ht_diag diag;
    double wanted = 0, got = 0;
    long failed = 0;
    if (run(0, &wanted, &diag)) fail_msg("%s: %s", diag.where, diag.message);
    assert_true(wanted > 1);
    long total = atomic_load(&counting.requests);
    long each = effort(60, 300, total), then = effort(19, 5, 1); /* what follows is more of the same */
    for (long n = 1; n <= total; n += n < each ? 1 : then) {
        enum ht_err err = run(n, &got, &diag);
        failed += err != HT_OK;
        if (err == HT_OK && got != wanted)
            fail_msg("request %ld failed unnoticed: perplexity %g, not %g", n, got, wanted);
        if (err != HT_OK && (err != HT_ERR_MEMORY || diag.code != err))
            fail_msg("request %ld: %s, \"%s: %s\"", n, ht_err_name(err), diag.where, diag.message);
    }
    print_message("%ld requests, %ld clean errors\n", total, failed);
    assert_true(failed > 60);
}

int main(void)
{
    struct folder folder = folder_make();
    char letters[401];
    for (int i = 0; i < 400; i++)
        letters[i] = (i * i / 7 + i / 3) % 3 ? 'a' : 'b';
    letters[400] = '\0';
    folder_puts(&folder, "text", letters);
    folder_puts(&folder, "tasks", "{\"context\": \"abba\", \"choices\": [\"ab\", \"ba\"], \"answer\": 1}\n");
    snprintf(text, sizeof text, "%s/text", folder.path);
    snprintf(tasks, sizeof tasks, "%s/tasks", folder.path);
    snprintf(page, sizeof page, "%s/page.html", folder.path);
    tiny_make(&tiny, TINY_GGUF, TINY_WIDTH);
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_request_fails)};
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_remove(&tiny);
    folder_remove(&folder);
    return status;
}
