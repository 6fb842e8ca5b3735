/* Children that behave and children that do not: shell scripts in the place of the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "service/child/child.h"
#include "service/artifacts/dir.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct seen {
    int values, texts, errors;
    char last_text[200], last_error[1200];
    json_t *last;
    struct child_stop *stop_at_value;
};

static bool on_line(void *ctx, json_t *value, const char *text)
{
    struct seen *s = ctx;
    if (value) {
        json_decref(s->last);
        s->last = json_incref(value);
        s->values++;
        if (s->stop_at_value) child_stop(s->stop_at_value);
    } else {
        s->texts++;
        snprintf(s->last_text, sizeof s->last_text, "%s", text);
    }
    return true;
}

static void on_error(void *ctx, const char *text)
{
    struct seen *s = ctx;
    s->errors++;
    snprintf(s->last_error, sizeof s->last_error, "%s", text);
}

static bool run_with(struct child_settings *settings, const char *script, struct child_stop *stop, struct seen *seen,
                     struct child_exit *exit)
{
    const char *arguments[] = {"-c", script, NULL};
    settings->program = "/bin/sh";
    settings->arguments = arguments;
    return child_run(settings, stop, on_line, on_error, seen, exit);
}

static bool run(const char *script, struct child_stop *stop, struct seen *seen, struct child_exit *exit)
{
    memset(seen, 0, sizeof *seen);
    return run_with(&(struct child_settings){0}, script, stop, seen, exit);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_lines(void **state)
{
    struct seen s;
    struct child_exit e;
    (void)state;
    assert_true(run("echo '{\"a\": 1}'; echo plain; echo oops >&2; printf '{\"a\": 2}'", NULL, &s, &e));
    assert_int_equal(e.end, CHILD_EXITED);
    assert_int_equal(s.values, 2); /* the last one had no newline */
    assert_int_equal(json_integer_value(json_object_get(s.last, "a")), 2);
    assert_string_equal(s.last_text, "plain");
    assert_string_equal(e.error_text, "oops");
    assert_string_equal(e.reason, "");
    json_decref(s.last);
}

static void test_ends(void **state)
{
    struct seen s;
    struct child_exit e;
    (void)state;
    assert_false(run("exit 3", NULL, &s, &e));
    assert_int_equal(e.code, 3);
    assert_string_equal(e.reason, "ended with status 3");
    assert_false(run("kill -9 $$", NULL, &s, &e));
    assert_int_equal(e.end, CHILD_KILLED);
    assert_string_equal(e.reason, "killed by signal 9 (out of memory?)");
    assert_false(run("kill -SEGV $$", NULL, &s, &e));
    assert_non_null(strstr(e.reason, "signal 11"));
    const char *none[] = {NULL};
    struct child_settings missing = {.program = "/nonexistent/program", .arguments = none};
    assert_false(child_run(&missing, NULL, NULL, NULL, NULL, &e));
    assert_int_equal(e.end, CHILD_NOT_STARTED);
    assert_non_null(strstr(e.reason, "No such file"));
    missing.program = "/bin/sh";
    missing.folder = "/nonexistent";
    assert_false(child_run(&missing, NULL, NULL, NULL, NULL, &e));
    assert_int_equal(e.end, CHILD_NOT_STARTED);
}

static void test_timeout(void **state)
{
    struct seen s = {0};
    struct child_exit e;
    double start = seconds_now();
    (void)state;
    assert_false(run_with(&(struct child_settings){.timeout_seconds = 0.2}, "sleep 20", NULL, &s, &e));
    assert_int_equal(e.end, CHILD_TIMED_OUT);
    assert_true(seconds_now() - start < 1);
    start = seconds_now(); /* deaf to SIGINT: the grace, then the end */
    assert_false(run_with(&(struct child_settings){.timeout_seconds = 0.2}, "trap '' INT; while :; do sleep 0.1; done",
                          NULL, &s, &e));
    assert_int_equal(e.end, CHILD_TIMED_OUT);
    double took = seconds_now() - start;
    assert_true(took > 1.4 && took < 3);
}

static void test_babble(void **state)
{
    struct seen s = {0};
    struct child_exit e;
    (void)state;
    struct child_settings settings = {.max_line = 100000, .max_output = 1000000};
    assert_false(
        run_with(&settings, "while :; do printf xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", NULL, &s, &e));
    assert_int_equal(e.end, CHILD_BABBLED);
    assert_false(run_with(&settings,
                          "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
                          NULL, &s, &e));
    assert_int_equal(e.end, CHILD_BABBLED);
    assert_true(s.texts < 20000);
}

static void test_error_text_is_clean_and_bounded(void **state)
{
    struct seen s;
    struct child_exit e;
    (void)state;
    assert_true(run("i=0; while [ $i -lt 300 ]; do echo \"line $i of many that fill it\" >&2; i=$((i+1)); done;"
                    "printf 'a\\033[31m\\377\\303\\251 \\302\\200 \\355\\240\\200 end' >&2",
                    NULL, &s, &e));
    assert_int_equal(s.errors, 301);
    assert_true(strlen(e.error_text) < sizeof e.error_text);
    assert_string_equal(s.last_error, "a\\x1b[31m\\xffé \\u0080 \\xed\\xa0\\x80 end");
    assert_int_equal(strncmp(e.error_text, "line ", 5), 0); /* begins with a whole line */
    assert_non_null(strstr(e.error_text, "line 299"));
    assert_true(run("head -c 5000 /dev/zero | tr '\\0' y >&2", NULL, &s, &e));
    assert_int_equal(strlen(s.last_error), 999);
}

static void test_stop_cleans_up(void **state)
{
    struct seen s = {0};
    struct child_exit e;
    struct child_stop stop;
    (void)state;
    assert_true(child_stop_init(&stop));
    s.stop_at_value = &stop;
    double start = seconds_now();
    assert_false(run_with(&(struct child_settings){0},
                          "trap 'echo bye; exit 0' INT; echo '{}'; while :; do sleep 0.05; done", &stop, &s, &e));
    assert_int_equal(e.end, CHILD_STOPPED); /* also with exit status 0 */
    assert_true(seconds_now() - start < 1);
    json_decref(s.last);
    assert_false(run("echo '{}'", &stop, &s, &e)); /* after the wish nothing starts */
    assert_int_equal(e.end, CHILD_STOPPED);
    assert_int_equal(s.values, 0);
    child_stop_free(&stop);
}

static void *stop_later(void *ctx)
{
    nanosleep(&(struct timespec){0, 200000000}, NULL);
    child_kill(ctx);
    return NULL;
}

/* What the child started ends with it, even when it holds the pipes open. */
static void test_kill_reaches_the_group(void **state)
{
    struct seen s = {0};
    struct child_exit e;
    struct child_stop stop;
    pthread_t thread;
    char mark[] = "/tmp/test_child_XXXXXX", script[300];
    (void)state;
    close(mkstemp(mark));
    assert_true(child_stop_init(&stop));
    assert_int_equal(pthread_create(&thread, NULL, stop_later, &stop), 0);
    snprintf(script, sizeof script, "trap '' INT; (trap '' INT; sleep 1; echo late >> %s) & wait; sleep 5", mark);
    double start = seconds_now();
    assert_false(run_with(&(struct child_settings){0}, script, &stop, &s, &e));
    assert_true(seconds_now() - start < 0.9);
    pthread_join(thread, NULL);
    child_stop_free(&stop);
    snprintf(script, sizeof script, "(sleep 1; echo late >> %s) & exit 0",
             mark); /* left behind by one that ended well */
    start = seconds_now();
    assert_true(run_with(&(struct child_settings){0}, script, NULL, &s, &e));
    assert_true(seconds_now() - start < 0.9);
    nanosleep(&(struct timespec){1, 300000000}, NULL);
    struct stat st;
    assert_int_equal(stat(mark, &st), 0);
    assert_int_equal(st.st_size, 0);
    unlink(mark);
}

static void test_environment_is_scrubbed(void **state)
{
    struct seen s = {0};
    struct child_exit e;
    const char *given[] = {"HF_TOKEN=for-it", NULL};
    (void)state;
    setenv("SECRET_OF_THE_SERVER", "x", 1);
    setenv("HF_TOKEN", "not-for-all", 1);
    assert_true(run("env", NULL, &s, &e));
    assert_true(run("env | grep -c -e SECRET -e HF_TOKEN -e HOME= | grep -qx 0", NULL, &s, &e));
    assert_true(run_with(&(struct child_settings){.environment = given}, "[ \"$HF_TOKEN\" = for-it ]", NULL, &s, &e));
    assert_true(run("[ $(ls /proc/self/fd | wc -l) -le 4 ]", NULL, &s, &e)); /* three, and that of ls */
    assert_true(run("[ \"$(ulimit -c)\" = 0 ] && grep -q 'NoNewPrivs:.1' /proc/self/status", NULL, &s, &e));
    unsetenv("HF_TOKEN");
}

static bool has_landlock(void)
{
    bool has = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
    if (!has) print_message("this kernel has no Landlock: what lies outside is not refused\n");
    return has;
}

static void put_file(const char *folder, const char *name, const char *text)
{
    char path[400];
    assert_true(snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Reads stay within what was held open at the start: no link and no exchanged folder leads out. */
static void test_confined_reads(void **state)
{
    struct seen s = {0};
    struct child_exit e;
    char base[] = "/tmp/test_child_XXXXXX", held[100], secret[100], path[300], script[400];
    const struct {
        const char *file;
        bool inside;
    } cases[] = {{"held/model", true},  {"held/link-inside", true}, {"held/link-out", false},
                 {"held/up/x", false},  {"secret/x", false},        {"held/../secret/x", false},
                 {"held/folder", true}, {"held/exchanged/x", false}};
    (void)state;
    assert_non_null(mkdtemp(base));
    snprintf(held, sizeof held, "%s/held", base);
    snprintf(secret, sizeof secret, "%s/secret", base);
    assert_true(dir_make(held) && dir_make(secret));
    put_file(held, "model", "inside");
    put_file(held, "folder", "inside");
    put_file(secret, "x", "outside");
    snprintf(path, sizeof path, "%s/exchanged", held);
    assert_true(dir_make(path));
    put_file(path, "x", "inside");
    int fd = open(held, O_RDONLY | O_DIRECTORY);
    snprintf(script, sizeof script,
             "cd %s && ln -s model held/link-inside && ln -s ../secret/x held/link-out && ln -s ../secret held/up && "
             "rm -r held/exchanged && ln -s %s held/exchanged",
             base, secret);
    assert_int_equal(system(script), 0);
    struct child_settings confined = {.confined = true, .readable_fds = &fd, .n_readable_fds = 1};
    bool enforced = has_landlock();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(script, sizeof script, "cat %s/%s > /dev/null", base, cases[i].file);
        assert_int_equal(run_with(&confined, script, NULL, &s, &e), cases[i].inside || !enforced);
    }
    /* the held folder has another name now, and another one has its name: neither matters */
    snprintf(script, sizeof script, "mv %s/held %s/moved && ln -s %s %s/held", base, base, secret, base);
    assert_int_equal(system(script), 0);
    snprintf(script, sizeof script, "cat %s/moved/model > /dev/null", base);
    assert_true(run_with(&confined, script, NULL, &s, &e));
    snprintf(script, sizeof script, "cat %s/held/x > /dev/null", base);
    assert_int_equal(run_with(&confined, script, NULL, &s, &e), !enforced);
    snprintf(script, sizeof script, "tr '\\0' ' ' < /proc/%d/environ > /dev/null", (int)getpid());
    assert_int_equal(run_with(&confined, script, NULL, &s, &e), !enforced); /* the service's secrets */
    snprintf(script, sizeof script, "echo x > %s/moved/y", base);
    assert_int_equal(run_with(&confined, script, NULL, &s, &e), !enforced);
    const char *one[] = {secret, NULL};
    confined.readable = one;
    snprintf(script, sizeof script, "cat %s/x > /dev/null", secret);
    assert_true(run_with(&confined, script, NULL, &s, &e));
    close(fd);
    dir_remove(base);
}

static void test_network_and_writes(void **state)
{
    struct seen s = {0};
    struct child_exit e;
    char folder[] = "/tmp/test_child_XXXXXX", script[300];
    (void)state;
    assert_non_null(mkdtemp(folder));
    /* bash makes sockets by itself */
    const char *const socket_try = "exec bash -c 'exec 3<>/dev/udp/127.0.0.1/9' 2>/dev/null";
    if (access("/bin/bash", X_OK) == 0) {
        assert_true(run_with(&(struct child_settings){.network = true}, socket_try, NULL, &s, &e));
        assert_false(run_with(&(struct child_settings){.network = false}, socket_try, NULL, &s, &e));
    }
    snprintf(script, sizeof script, "echo x > inside && mkdir d && mv inside d/ && echo y > /dev/null");
    struct child_settings confined = {.writable = folder, .folder = folder};
    assert_true(run_with(&confined, script, NULL, &s, &e));
    snprintf(script, sizeof script, "%s.outside", folder);
    char probe[400];
    snprintf(probe, sizeof probe, "echo x > %s", script);
    assert_int_equal(run_with(&confined, probe, NULL, &s, &e), !has_landlock());
    unlink(script);
    dir_remove(folder);
}

static void test_limits_and_lock(void **state)
{
    struct seen s = {0};
    struct child_exit e;
    char path[] = "/tmp/test_child_XXXXXX", script[200];
    (void)state;
    int fd = mkstemp(path);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    struct child_settings settings = {.keep_fd = fd, .nice = 7};
    snprintf(script, sizeof script, "[ -e /proc/self/fd/%d ] && [ $(nice) = 7 ]", fd);
    assert_true(run_with(&settings, script, NULL, &s, &e));
    close(fd);
    unlink(path);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    struct child_settings small = {.memory_limit = 200 << 20};
    assert_true(run_with(&small, "[ $(ulimit -d) = 204800 ]", NULL, &s, &e));
#endif
}

static void test_answers(void **state)
{
    struct child_exit e;
    (void)state;
    const char *one[] = {"-c", "echo '{\"event\": \"x\"}'; echo '{\"answer\": 42}'", NULL};
    const char *document[] = {"-c", "echo '{'; echo '\"answer\":'; echo '42}'", NULL};
    const char *nothing[] = {"-c", ":", NULL}, *bad[] = {"-c", "echo '{\"answer\": 42}'; exit 1", NULL};
    const char *const *good[] = {one, document};
    for (int i = 0; i < 2; i++) {
        json_t *answer = child_json(&(struct child_settings){.program = "/bin/sh", .arguments = good[i]}, NULL, &e);
        assert_int_equal(json_integer_value(json_object_get(answer, "answer")), 42);
        json_decref(answer);
    }
    assert_null(child_json(&(struct child_settings){.program = "/bin/sh", .arguments = nothing}, NULL, &e));
    assert_string_equal(e.reason, "it answered nothing");
    assert_null(child_json(&(struct child_settings){.program = "/bin/sh", .arguments = bad}, NULL, &e));
}

/* A child dies with its parent: nobody works for a server that is gone. */
static void test_dies_with_its_parent(void **state)
{
    char path[] = "/tmp/test_child_XXXXXX", script[200], text[32] = "";
    (void)state;
    close(mkstemp(path));
    pid_t parent = fork();
    if (parent == 0) {
        struct seen s = {0};
        struct child_exit e;
        snprintf(script, sizeof script, "echo $$ > %s; sleep 20", path);
        run_with(&(struct child_settings){0}, script, NULL, &s, &e);
        _exit(0);
    }
    int fd = open(path, O_RDONLY);
    for (int i = 0; i < 100 && read(fd, text, sizeof text - 1) <= 0; i++)
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    pid_t child = atoi(text);
    assert_true(child > 1);
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    int gone = 0;
    for (int i = 0; i < 100 && !gone; i++) {
        char state_path[64], state_text[64] = "";
        snprintf(state_path, sizeof state_path, "/proc/%d/stat", child);
        FILE *f = fopen(state_path, "r");
        gone = !f || !fgets(state_text, sizeof state_text, f) || strstr(state_text, ") Z ");
        if (f) fclose(f);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    assert_true(gone);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_ends),
                                       cmocka_unit_test(test_timeout),
                                       cmocka_unit_test(test_babble),
                                       cmocka_unit_test(test_error_text_is_clean_and_bounded),
                                       cmocka_unit_test(test_stop_cleans_up),
                                       cmocka_unit_test(test_kill_reaches_the_group),
                                       cmocka_unit_test(test_environment_is_scrubbed),
                                       cmocka_unit_test(test_confined_reads),
                                       cmocka_unit_test(test_network_and_writes),
                                       cmocka_unit_test(test_limits_and_lock),
                                       cmocka_unit_test(test_answers),
                                       cmocka_unit_test(test_dies_with_its_parent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
