/* Archives of folders: what tar makes of them, and every part of them is the same as in the whole. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/folder.h"
#include "service/artifacts/archive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MANY = 6 };
static struct archive_file files[MANY] = {
    {"config.json", 2},
    {"empty.txt", 0},
    {"model.safetensors", 512},
    {"tokenizer.json", 70001},
    {"Gewicht-\xc3\xa4.bin", 513},
    {"", 7},
};

static unsigned char byte_of(size_t file, size_t i)
{
    return (unsigned char)(i * 131 + file);
}

static struct folder make_files(void)
{
    struct folder f = folder_make();
    unsigned char *bytes = malloc(70001);
    memset(files[5].name, 'n', 240); /* too long for a header's field */
    for (size_t k = 0; k < MANY; k++) {
        for (size_t i = 0; i < files[k].size; i++)
            bytes[i] = byte_of(k, i);
        folder_put(&f, files[k].name, bytes, files[k].size);
    }
    free(bytes);
    return f;
}

/* From `at` to the end. The caller's. */
static unsigned char *read_from(struct archive *a, uint64_t at, size_t *len)
{
    struct archive_piece p;
    unsigned char *out = malloc(archive_size(a) + 1);
    *len = 0;
    archive_seek(a, at);
    while (archive_next(a, &p)) {
        assert_true(p.len > 0 && *len + p.len <= archive_size(a) - at);
        if (p.data)
            memcpy(out + *len, p.data, p.len);
        else
            assert_int_equal(pread(p.fd, out + *len, p.len, (off_t)p.offset), (ssize_t)p.len);
        if (!p.data) close(p.fd);
        *len += p.len;
    }
    return out;
}

static void tar_reads_it(void **state)
{
    struct folder f = make_files(), to = folder_make();
    struct archive *a = archive_open(f.path, "toy-nf4", files, MANY, 1750000000);
    char command[700];
    size_t len;
    assert_non_null(a);
    unsigned char *whole = read_from(a, 0, &len);
    assert_int_equal(len, archive_size(a));
    assert_int_equal(len % 512, 0);
    folder_put(&to, "a.tar", whole, len);
    snprintf(command, sizeof command, "cd %s && tar -xf a.tar 2>err && [ ! -s err ] && diff -r %s toy-nf4", to.path,
             f.path);
    assert_int_equal(system(command), 0);
    snprintf(
        command, sizeof command,
        "cd %s && LC_ALL=C tar --utc -tvf a.tar | head -n 2 | grep -c '0/0 .* 2025-06-15 15:06 toy-nf4/' | grep -qx 2",
        to.path);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "rm -rf %s/toy-nf4", to.path);
    assert_int_equal(system(command), 0);
    free(whole);
    archive_close(&a);
    folder_remove(&f);
    folder_remove(&to);
}

static void every_part_is_the_same(void **state)
{
    struct folder f = make_files();
    struct archive *a = archive_open(f.path, "toy-nf4", files, MANY, 0);
    size_t len, part;
    unsigned char *whole = read_from(a, 0, &len);
    for (size_t at = 0; at <= len; at += at < 6000 || at > len - 6000 ? 1 : 97) {
        unsigned char *rest = read_from(a, at, &part);
        assert_int_equal(part, len - at);
        assert_memory_equal(rest, whole + at, part);
        free(rest);
    }
    free(whole);
    archive_close(&a);
    folder_remove(&f);
}

static void large_files_have_a_record(void **state)
{
    struct folder f = folder_make();
    struct archive_file large[2] = {{"large.bin", (uint64_t)9 << 30}, {"last", 3}};
    struct archive_piece p;
    char path[300];
    folder_puts(&f, "large.bin", "");
    folder_puts(&f, "last", "end");
    snprintf(path, sizeof path, "%s/large.bin", f.path);
    assert_int_equal(truncate(path, (off_t)large[0].size), 0);
    struct archive *a = archive_open(f.path, "m", large, 2, 0);
    assert_true(archive_next(a, &p) && p.len == 512); /* the folder */
    assert_true(archive_next(a, &p) && p.len == 1536 && ((const char *)p.data)[156] == 'x');
    assert_string_equal((const char *)p.data + 512, "19 size=9663676416\n");
    assert_true(archive_next(a, &p) && !p.data && p.len == large[0].size);
    close(p.fd);
    assert_true(archive_next(a, &p) && p.len == 512 && strcmp(p.data, "m/last") == 0);
    assert_int_equal(archive_size(a), 512 + 1536 + large[0].size + 512 + 512 + 1024);
    archive_close(&a);
    folder_remove(&f);
}

static void changed_files_are_refused(void **state)
{
    struct folder f = make_files();
    struct archive_file wrong[2] = {{"config.json", 3}, {"config.json", 2}};
    struct archive_piece p;
    char path[300];
    int n = 0;
    assert_null(archive_open(f.path, "m", wrong, 1, 0));
    snprintf(wrong[0].name, sizeof wrong[0].name, "absent");
    assert_null(archive_open(f.path, "m", wrong, 1, 0));
    snprintf(path, sizeof path, "%s/link", f.path);
    assert_int_equal(symlink("config.json", path), 0);
    snprintf(wrong[0].name, sizeof wrong[0].name, "link");
    wrong[0].size = 2;
    assert_null(archive_open(f.path, "m", wrong, 1, 0));
    struct archive *a = archive_open(f.path, "m", wrong + 1, 1, 0);
    folder_puts(&f, "config.json", "longer than before");
    while (archive_next(a, &p))
        n++;
    assert_int_equal(n, 2); /* the folder and the header: not the file */
    archive_close(&a);
    archive_close(&a);
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tar_reads_it), cmocka_unit_test(every_part_is_the_same),
                                       cmocka_unit_test(large_files_have_a_record),
                                       cmocka_unit_test(changed_files_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
