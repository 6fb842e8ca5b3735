/*
 * A whole job while the operating system misbehaves. Calls that come back short or interrupted must not
 * change a byte of the output. A call that fails, whichever and whenever, must end the job with an error
 * that is of the right class and names the file, and leave nothing in the folder: no output, no part, no
 * journal, no report. The calls are replaced in this program; the library is the one that ships.
 */
#undef _FORTIFY_SOURCE /* its inline versions of the calls would stand in the way of ours */
#include "lib/tiny.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define REPLACED __attribute__((visibility("default")))

enum call { OPEN, READ, WRITE, RESERVE, LENGTH, SYNC, RENAME, N_CALLS };
static const char *const call_names[N_CALLS] = {"open", "pread", "write", "fallocate", "ftruncate", "sync", "rename"};

/* What goes wrong: the call `at` of a kind with `error`, or every read and write in one of two ways. */
static struct {
    enum call call;
    long at;
    int error;
    bool no_reserve; /* the file system cannot: the other way is taken */
    bool choppy;     /* reads and writes do a few bytes at a time and are interrupted in between */
} now;
static atomic_bool armed;
static atomic_long counts[N_CALLS];
static atomic_uint beat;

static bool refuse(enum call call)
{
    if (!atomic_load(&armed)) return false;
    long n = atomic_fetch_add(&counts[call], 1) + 1;
    if (call != now.call || n != now.at) return false;
    errno = now.error;
    return true;
}

/* Every third call is interrupted; the others do at most 1, 100 or 5000 bytes. -1: interrupted. */
static ssize_t chop(size_t n)
{
    static const size_t most[] = {1, 0, 100, 5000, 0, 700};
    if (!atomic_load(&armed) || !now.choppy) return (ssize_t)n;
    size_t limit = most[atomic_fetch_add(&beat, 1) % 6];
    if (limit == 0) {
        errno = EINTR;
        return -1;
    }
    return (ssize_t)(n < limit ? n : limit);
}

REPLACED ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    ssize_t part = refuse(WRITE) ? -1 : chop(n);
    return part < 0 ? -1 : syscall(SYS_pwrite64, fd, data, (size_t)part, at);
}

REPLACED ssize_t write(int fd, const void *data, size_t n)
{
    ssize_t part = refuse(WRITE) ? -1 : chop(n);
    return part < 0 ? -1 : syscall(SYS_write, fd, data, (size_t)part);
}

REPLACED ssize_t pread(int fd, void *data, size_t n, off_t at)
{
    ssize_t part = refuse(READ) ? -1 : chop(n);
    return part < 0 ? -1 : syscall(SYS_pread64, fd, data, (size_t)part, at);
}

REPLACED int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    /* libraries may open files of their own: only those of the job are counted */
    if (strstr(path, "halftone-test-") && refuse(OPEN)) return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

REPLACED int fallocate(int fd, int mode, off_t at, off_t n)
{
    if (refuse(RESERVE)) return -1;
    if (atomic_load(&armed) && now.no_reserve) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, at, n);
}

REPLACED int ftruncate(int fd, off_t n)
{
    return refuse(LENGTH) ? -1 : (int)syscall(SYS_ftruncate, fd, n);
}

REPLACED int fsync(int fd)
{
    return refuse(SYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

REPLACED int fdatasync(int fd)
{
    return refuse(SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

REPLACED int rename(const char *from, const char *to)
{
    return refuse(RENAME) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static struct tiny tiny;
static struct ht__buf want; /* the outputs of an undisturbed run */
static int n_bad;
#define BAD(...) (n_bad++, print_error(__VA_ARGS__))

static enum ht_err run(struct ht_diag *diag)
{
    char *json;
    for (int i = 0; i < N_CALLS; i++)
        atomic_store(&counts[i], 0);
    atomic_store(&armed, true);
    enum ht_err err = tiny_run(&tiny, NULL, &json, diag);
    atomic_store(&armed, false);
    if ((json != NULL) != (err == HT_OK)) BAD("a report without success, or none with it\n");
    free(json);
    return err;
}

static void same_bytes(const char *what)
{
    struct ht__buf got;
    ht__buf_init(&got, NULL);
    tiny_collect(&tiny, &got);
    if (got.len != want.len || memcmp(got.data, want.data, got.len) != 0) BAD("%s: other bytes\n", what);
    ht__buf_close(&got);
}

static void choppy_calls(void **state)
{
    (void)state;
    struct ht_diag diag;
    now.choppy = true;
    for (int i = 0; i < 4; i++) { /* the beats fall elsewhere each time */
        now.no_reserve = i % 2;
        if (run(&diag) != HT_OK) BAD("short and interrupted calls: %s: %s\n", diag.where, diag.message);
        assert_true(atomic_load(&counts[WRITE]) > 100 && atomic_load(&counts[READ]) > 100);
        same_bytes("short and interrupted calls");
    }
    assert_int_equal(n_bad, 0);
}

/* The class that decides the program's exit status: 4 for a full disk, 1 for other errors of the disk. */
static bool right_class(enum ht_err err, int error)
{
    return error == ENOSPC || error == EDQUOT ? err == HT_ERR_NO_SPACE : err == HT_ERR_IO;
}

static void judge(enum ht_err err, const struct ht_diag *diag)
{
    char what[100];
    snprintf(what, sizeof what, "%s %ld: %s", call_names[now.call], now.at, strerror(now.error));
    if (err == HT_OK) {
        BAD("%s: went unnoticed\n", what);
        same_bytes(what);
        return;
    }
    if (!right_class(err, now.error) || diag->code != err || !strstr(diag->message, strerror(now.error)))
        BAD("%s: %s \"%s\"\n", what, ht_err_name(err), diag->message);
    if (!strstr(diag->where, tiny.in.path) && !strstr(diag->where, tiny.out.path))
        BAD("%s: no file is named: \"%s: %s\"\n", what, diag->where, diag->message);
    if (*tiny_left(&tiny)) {
        BAD("%s: left behind: %s\n", what, tiny_left(&tiny));
        struct ht__buf gone;
        ht__buf_init(&gone, NULL);
        tiny_collect(&tiny, &gone);
        ht__buf_close(&gone);
    }
}

static void fail_each(enum call call, int error)
{
    struct ht_diag diag;
    now.call = call;
    now.error = error;
    now.at = 0;
    if (run(&diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    same_bytes("undisturbed");
    long total = atomic_load(&counts[call]);
    for (now.at = 1; now.at <= total; now.at++) {
        enum ht_err err = run(&diag);
        judge(err, &diag);
    }
    print_message("%s fails with \"%s\": %ld places\n", call_names[call], strerror(error), total);
    assert_true(total > 3);
}

static void failing_calls(void **state)
{
    (void)state;
    fail_each(OPEN, EMFILE);
    fail_each(READ, EIO);
    fail_each(WRITE, ENOSPC);
    fail_each(WRITE, EDQUOT);
    fail_each(WRITE, EIO);
    fail_each(RESERVE, ENOSPC);
    fail_each(SYNC, EIO);
    fail_each(RENAME, EACCES);
    now.no_reserve = true;
    fail_each(LENGTH, EFBIG);
    fail_each(WRITE, ENOSPC);
    assert_int_equal(n_bad, 0);
}

/* ---- older outputs in the way ---- */

enum { MAX_OUTPUTS = 16 };
static struct output {
    char *name;
    struct ht__buf bytes; /* of an undisturbed run */
} outputs[MAX_OUTPUTS];
static size_t n_outputs;

static void load(const char *name, struct ht__buf *bytes)
{
    char path[512];
    struct ht_diag diag = {0};
    ht__buf_init(bytes, NULL);
    assert_int_equal(ht__path_join(path, sizeof path, tiny.out.path, name, &diag), HT_OK);
    if (ht__file_load(path, 1 << 20, bytes, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
}

static void remember_outputs(void)
{
    struct ht_diag diag;
    char names[1024];
    tiny.overwrite = true;
    assert_int_equal(run(&diag), HT_OK);
    snprintf(names, sizeof names, "%s", tiny_left(&tiny));
    n_outputs = 0;
    for (char *p = names, *end; (end = strchr(p, ' ')) != NULL; p = end + 1) {
        *end = '\0';
        if (strcmp(p, "report.json") == 0) continue;
        assert_true(n_outputs < MAX_OUTPUTS);
        outputs[n_outputs].name = strdup(p);
        load(p, &outputs[n_outputs++].bytes);
    }
    assert_true(n_outputs > 2);
}

static bool is_old(const struct ht__buf *bytes)
{
    return bytes->len == 3 && memcmp(bytes->data, "old", 3) == 0;
}

/* Each is the old file or the whole new one; all old when nothing was renamed. */
static void judge_replaced(enum call call, long at)
{
    size_t n_old = 0;
    for (size_t i = 0; i < n_outputs; i++) {
        struct ht__buf got;
        load(outputs[i].name, &got);
        const struct ht__buf *new = &outputs[i].bytes;
        if (is_old(&got))
            n_old++;
        else if (got.len != new->len || memcmp(got.data, new->data, got.len) != 0)
            BAD("%s %ld: %s is neither old nor new\n", call_names[call], at, outputs[i].name);
        ht__buf_close(&got);
    }
    if (n_old < n_outputs && atomic_load(&counts[RENAME]) == 0)
        BAD("%s %ld: replaced before all was ready\n", call_names[call], at);
    if (strstr(tiny_left(&tiny), ".part") || strstr(tiny_left(&tiny), ".journal"))
        BAD("%s %ld: left behind: %s\n", call_names[call], at, tiny_left(&tiny));
}

static void older_outputs(void **state)
{
    (void)state;
    static const enum call calls[] = {OPEN, WRITE, RESERVE, SYNC, RENAME};
    struct ht_diag diag;
    remember_outputs();
    now.error = EIO;
    for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
        now.call = calls[c];
        for (now.at = 1;; now.at++) {
            for (size_t i = 0; i < n_outputs; i++)
                folder_puts(&tiny.out, outputs[i].name, "old");
            if (run(&diag) == HT_OK) break;
            judge_replaced(calls[c], now.at);
        }
        assert_true(now.at > 4);
    }
    for (size_t i = 0; i < n_outputs; i++) {
        ht__buf_close(&outputs[i].bytes);
        free(outputs[i].name);
    }
    assert_int_equal(n_bad, 0);
}

/* Files whose last bytes are checksums of what was read back: the folder is whole or not there. */
static void sealed_folders(void **state)
{
    (void)state;
    static const enum call calls[] = {OPEN, READ, WRITE, SYNC};
    struct ht_diag diag;
    char remove[600];
    snprintf(remove, sizeof remove, "rm -r '%s/tiny-F32-pytorch' '%s/report.json'", tiny.out.path, tiny.out.path);
    tiny.types = "pytorch/F32";
    now.error = ENOSPC;
    for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
        now.call = calls[c];
        for (now.at = 1;; now.at++) {
            enum ht_err err = run(&diag);
            if (err == HT_OK) break;
            judge(err, &diag);
            if (n_bad) fail();
        }
        print_message("%s: %ld places\n", call_names[calls[c]], now.at - 1);
        assert_true(now.at > 10 && atomic_load(&counts[calls[c]]) < now.at);
        assert_int_equal(system(remove), 0);
    }
}

static int set_up(void **state)
{
    (void)state;
    struct ht_diag diag;
    memset(&now, 0, sizeof now);
    tiny_make(&tiny, TINY_SAFETENSORS, TINY_WIDTH);
    ht__buf_init(&want, NULL);
    if (run(&diag) != HT_OK) return 1;
    tiny_collect(&tiny, &want);
    return want.len < 20000;
}

static int tear_down(void **state)
{
    (void)state;
    ht__buf_close(&want);
    tiny_remove(&tiny);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(choppy_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failing_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(older_outputs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sealed_folders, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
