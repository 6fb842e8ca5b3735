/* Files: reads that are whole or an error, and outputs that nobody sees before they are complete. */
#include "base/file.h"
#include "lib/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct folder folder;
static char path[512], part[520];
static struct ht_diag diag;

static int set_up(void **state)
{
    (void)state;
    folder = folder_make();
    snprintf(path, sizeof path, "%s/file", folder.path);
    snprintf(part, sizeof part, "%s.part", path);
    memset(&diag, 0, sizeof diag);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

static void holds(const char *want)
{
    struct ht__buf buf;
    struct ht_diag d = {0};
    ht__buf_init(&buf, NULL);
    if (ht__file_load(path, 100, &buf, &d) != HT_OK) fail_msg("%s: %s", d.where, d.message);
    assert_string_equal(ht__buf_text(&buf), want);
    ht__buf_close(&buf);
}

static void reads(void **state)
{
    (void)state;
    struct ht__file file;
    char bytes[16];
    folder_puts(&folder, "file", "0123456789");
    assert_int_equal(ht__file_open(&file, path, &diag), HT_OK);
    assert_int_equal(file.size, 10);
    assert_int_equal(ht__file_read(&file, 3, bytes, 7, &diag), HT_OK);
    assert_memory_equal(bytes, "3456789", 7);
    assert_int_equal(ht__file_read(&file, 10, bytes, 0, &diag), HT_OK);
    static const uint64_t ranges[][2] = {{4, 7},          {10, 1},         {11, 0},
                                         {UINT64_MAX, 2}, {2, UINT64_MAX}, {1ull << 63, 1ull << 63}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        memset(&diag, 0, sizeof diag);
        assert_int_equal(ht__file_read(&file, ranges[i][0], bytes, ranges[i][1], &diag), HT_ERR_FORMAT);
        assert_string_equal(diag.where, path);
    }
    assert_int_equal(truncate(path, 5), 0);
    memset(&diag, 0, sizeof diag);
    assert_int_equal(ht__file_read(&file, 0, bytes, 10, &diag), HT_ERR_IO);
    assert_non_null(strstr(diag.message, "shorter"));
    ht__file_close(&file);
    ht__file_close(&file);
}

static void what_is_no_file(void **state)
{
    (void)state;
    struct ht__file file;
    struct ht__buf buf;
    char name[5000];
    assert_int_equal(ht__file_open(&file, path, &diag), HT_ERR_NOT_FOUND);
    assert_string_equal(diag.where, path);
    assert_int_equal(ht__file_open(&file, folder.path, NULL), HT_ERR_IO);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(ht__file_open(&file, path, NULL), HT_ERR_IO); /* and does not wait for a writer */
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(ht__file_open(&file, name, NULL), HT_ERR_LIMIT);
    assert_int_equal(file.fd, -1);
    unlink(path);
    folder_puts(&folder, "file", "0123456789");
    ht__buf_init(&buf, NULL);
    assert_int_equal(ht__file_load(path, 9, &buf, NULL), HT_ERR_LIMIT);
    assert_int_equal(buf.len, 0);
    ht__buf_str(&buf, "before ");
    assert_int_equal(ht__file_load(path, 10, &buf, NULL), HT_OK);
    assert_string_equal(ht__buf_text(&buf), "before 0123456789");
    ht__buf_close(&buf);
}

static void published_whole(void **state)
{
    (void)state;
    struct ht__output out;
    assert_int_equal(ht__output_open(&out, path, 6, false, false, &diag), HT_OK);
    struct stat st;
    assert_int_equal(stat(part, &st), 0);
    assert_int_equal(st.st_size, 6); /* its space is there before the work */
    assert_int_equal(ht__output_write(&out, 3, "def", 3, &diag), HT_OK);
    assert_int_equal(ht__output_write(&out, 0, "abc", 3, &diag), HT_OK);
    assert_false(ht__path_exists(path));
    assert_int_equal(ht__output_publish(&out, &diag), HT_OK);
    assert_false(ht__path_exists(part));
    holds("abcdef");
    ht__output_close(&out); /* closing what is published removes nothing */
    holds("abcdef");
}

static void closed_early(void **state)
{
    (void)state;
    struct ht__output out;
    assert_int_equal(ht__output_open(&out, path, 0, false, false, &diag), HT_OK);
    assert_int_equal(ht__output_write(&out, 0, "abc", 3, &diag), HT_OK);
    ht__output_close(&out);
    assert_false(ht__path_exists(path) || ht__path_exists(part));
    assert_int_equal(ht__output_open(&out, path, 0, false, false, &diag), HT_OK);
    assert_int_equal(ht__output_write(&out, 0, "abc", 3, &diag), HT_OK);
    out.keep = true;
    ht__output_close(&out);
    assert_true(!ht__path_exists(path) && ht__path_exists(part));
    assert_int_equal(ht__output_open(&out, path, 6, false, true, &diag), HT_OK); /* continued */
    assert_int_equal(ht__output_write(&out, 3, "def", 3, &diag), HT_OK);
    assert_int_equal(ht__output_publish(&out, &diag), HT_OK);
    holds("abcdef");
}

static void an_older_part_is_replaced(void **state)
{
    (void)state;
    struct ht__output out;
    folder_puts(&folder, "file.part", "a much longer text of another run");
    assert_int_equal(ht__output_open(&out, path, 0, false, false, &diag), HT_OK);
    assert_int_equal(ht__output_write(&out, 0, "new", 3, &diag), HT_OK);
    assert_int_equal(ht__output_publish(&out, &diag), HT_OK);
    holds("new");
}

/* A file has one writer at a time, in one process too; the other is told who, and disturbs nothing. */
static void one_writer_at_a_time(void **state)
{
    (void)state;
    struct ht__output out, other;
    char me[40];
    snprintf(me, sizeof me, "process %ld on ", (long)getpid());
    assert_int_equal(ht__output_open(&out, path, 3, false, false, &diag), HT_OK);
    assert_false(out.unlocked);
    for (int i = 0; i < 4; i++) { /* with overwriting, with resuming, and through another spelling of the folder */
        char spelling[600];
        snprintf(spelling, sizeof spelling, "%s/./file", folder.path);
        memset(&diag, 0, sizeof diag);
        assert_int_equal(ht__output_open(&other, i == 3 ? spelling : path, 0, i == 1, i == 2, &diag), HT_ERR_EXISTS);
        if (!strstr(diag.message, me)) fail_msg("\"%s\" lacks \"%s\"", diag.message, me);
        assert_non_null(strstr(diag.message, ", since 2"));
        ht__output_close(&other);
        assert_true(ht__path_exists(part));
    }
    assert_int_equal(ht__output_write(&out, 0, "abc", 3, &diag), HT_OK);
    assert_int_equal(ht__output_publish(&out, &diag), HT_OK);
    holds("abc");
    memset(&diag, 0, sizeof diag);
    assert_int_equal(ht__output_open(&other, path, 0, false, true, &diag), HT_ERR_EXISTS); /* it is there now */
    assert_false(ht__path_exists(part));
    assert_int_equal(ht__output_open(&other, path, 0, true, false, &diag), HT_OK);
    ht__output_close(&other);
}

/* What could not be continued stays for later. */
static void a_refused_part_stays(void **state)
{
    (void)state;
    struct ht__output out;
    folder_puts(&folder, "file.part", "of an earlier run");
    assert_int_equal(ht__output_open(&out, path, UINT64_MAX >> 2, false, true, &diag), HT_ERR_NO_SPACE);
    assert_true(ht__path_exists(part));
    assert_int_equal(ht__output_open(&out, path, UINT64_MAX >> 2, false, false, NULL), HT_ERR_NO_SPACE);
    assert_false(ht__path_exists(part));
}

static void an_older_file_stays_until_then(void **state)
{
    (void)state;
    struct ht__output out;
    folder_puts(&folder, "file", "old");
    assert_int_equal(ht__output_open(&out, path, 0, false, false, &diag), HT_ERR_EXISTS);
    assert_false(ht__path_exists(part));
    assert_int_equal(ht__output_open(&out, path, 0, true, false, &diag), HT_OK);
    assert_int_equal(ht__output_write(&out, 0, "newer", 5, &diag), HT_OK);
    holds("old");
    ht__output_close(&out);
    holds("old");
    assert_int_equal(ht__output_open(&out, path, 0, true, false, &diag), HT_OK);
    assert_int_equal(ht__output_write(&out, 0, "newer", 5, &diag), HT_OK);
    assert_int_equal(ht__output_publish(&out, &diag), HT_OK);
    ht__output_retract(&out); /* the old one is gone: the new one stays */
    holds("newer");
}

static void retracted(void **state)
{
    (void)state;
    struct ht__output out;
    assert_int_equal(ht__output_open(&out, path, 0, false, false, &diag), HT_OK);
    ht__output_retract(&out); /* not published: nothing to do */
    assert_true(ht__path_exists(part));
    assert_int_equal(ht__output_publish(&out, &diag), HT_OK);
    ht__output_retract(&out);
    assert_false(ht__path_exists(path));
    folder_puts(&folder, "file", "someone else's");
    ht__output_retract(&out);
    holds("someone else's");
}

/* A link in the part's place must not lead the output elsewhere. */
static void links_are_not_followed(void **state)
{
    (void)state;
    struct ht__output out;
    char target[sizeof path];
    snprintf(target, sizeof target, "%s/target", folder.path);
    folder_puts(&folder, "target", "precious");
    assert_int_equal(symlink(target, part), 0);
    assert_int_equal(ht__output_open(&out, path, 0, true, false, &diag), HT_ERR_IO);
    memcpy(path, target, sizeof path);
    holds("precious");
}

static void small_files_and_folders(void **state)
{
    (void)state;
    char deep[600], name[600];
    snprintf(deep, sizeof deep, "%s/a", folder.path);
    assert_int_equal(ht__make_dirs(deep, &diag), HT_OK);
    assert_int_equal(ht__make_dirs(deep, &diag), HT_OK);
    assert_true(ht__path_is_dir(deep));
    assert_int_equal(ht__file_publish(path, "one", 3, &diag), HT_OK);
    assert_int_equal(ht__file_publish(path, "two", 3, &diag), HT_OK);
    holds("two");
    assert_int_equal(ht__make_dirs(path, NULL), HT_ERR_IO); /* a file is there */
    assert_int_equal(ht__make_dirs("", NULL), HT_ERR_USAGE);
    snprintf(name, sizeof name, "%s/nowhere/file", folder.path);
    assert_int_equal(ht__file_publish(name, "x", 1, NULL), HT_ERR_NOT_FOUND);
    assert_int_equal(ht__path_join(name, sizeof name, "a", "b", NULL), HT_OK);
    assert_string_equal(name, "a/b");
    assert_int_equal(ht__path_join(name, sizeof name, "a/", "b", NULL), HT_OK);
    assert_string_equal(name, "a/b");
    assert_int_equal(ht__path_join(name, 3, "a", "b", NULL), HT_ERR_LIMIT);
    assert_string_equal(ht__path_base("a/b"), "b");
    assert_string_equal(ht__path_base("b"), "b");
    uint64_t bytes = 0;
    assert_int_equal(ht__disk_free(folder.path, &bytes, &diag), HT_OK);
    assert_true(bytes > 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(reads),
        CASE(what_is_no_file),
        CASE(published_whole),
        CASE(closed_early),
        CASE(an_older_part_is_replaced),
        CASE(one_writer_at_a_time),
        CASE(a_refused_part_stays),
        CASE(an_older_file_stays_until_then),
        CASE(retracted),
        CASE(links_are_not_followed),
        CASE(small_files_and_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
