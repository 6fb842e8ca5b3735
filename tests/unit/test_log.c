/* What the log holds back while a service starts, and in which order it comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "service/log/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The names of the events that came out, in their order. */
static void read_events(int fd, char *names, size_t size)
{
    char line[512];
    FILE *f = fdopen(fd, "r");
    assert_non_null(f);
    *names = 0;
    while (fgets(line, sizeof line, f)) {
        const char *event = strstr(line, "\"event\":\"");
        assert_non_null(event);
        size_t n = strlen(names);
        snprintf(names + n, size - n, "%.*s ", (int)strcspn(event + 9, "\""), event + 9);
    }
    fclose(f);
}

static void test_held(void **state)
{
    (void)state;
    char names[256];
    for (int released = 0; released < 2; released++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        struct log *log = log_open(ends[1], LOG_LEVEL_INFO);
        assert_non_null(log);
        log_hold(log);
        log_event(log, LOG_LEVEL_INFO, "job", "{s:s}", "text", "goes on");
        log_event(log, LOG_LEVEL_ALWAYS, "no_token", NULL);
        log_event(log, LOG_LEVEL_WARNING, "artifacts", NULL);
        log_event(log, LOG_LEVEL_ALWAYS, "listening", NULL);
        if (released) log_release(log);
        log_event(log, LOG_LEVEL_INFO, "later", NULL);
        if (released) log_event(log, LOG_LEVEL_ALWAYS, "last", NULL);
        log_close(&log); /* ends the holding, too */
        close(ends[1]);
        read_events(ends[0], names, sizeof names);
        assert_string_equal(names, released ? "listening no_token job artifacts later last "
                                            : "listening no_token job artifacts later ");
    }
}

static void test_held_around_the_ring(void **state)
{
    (void)state;
    char names[256];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct log *log = log_open(ends[1], LOG_LEVEL_INFO);
    assert_non_null(log);
    log_event(log, LOG_LEVEL_INFO, "before", NULL);
    log_hold(log);
    for (int i = 0; i < 3; i++)
        log_event(log, LOG_LEVEL_ALWAYS, "front", "{s:i}", "n", i);
    log_close(&log);
    close(ends[1]);
    read_events(ends[0], names, sizeof names);
    assert_true(strcmp(names, "before front front front ") == 0 || strcmp(names, "front front front before ") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_held), cmocka_unit_test(test_held_around_the_ring)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
