/* Hashing several files at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "service/artifacts/dir.h"
#include "service/runner/hash_files.h"
#include "base/hash.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 9 };

static char folder[] = "/tmp/test_hash_files_XXXXXX";
static char paths[FILES][100], wanted[FILES][65];

/* Sizes around a piece; the contents differ. */
static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < FILES; i++) {
        size_t size = (size_t)i * 300000 + (i == 4 ? 1048576 - 1200000 : 0);
        char *data = malloc(size + 1);
        struct ht__sha256 sha;
        snprintf(paths[i], sizeof paths[i], "%s/%d", folder, i);
        for (size_t k = 0; k < size; k++)
            data[k] = (char)(k * 7 + (size_t)i);
        ht__sha256_begin(&sha);
        ht__sha256_add(&sha, data, size);
        ht__sha256_end(&sha, wanted[i]);
        FILE *f = fopen(paths[i], "wb");
        assert_int_equal(fwrite(data, 1, size, f), size);
        assert_int_equal(fclose(f), 0);
        free(data);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return dir_remove(folder) ? 0 : 1;
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

static bool for_a_while(void *ctx)
{
    return atomic_fetch_sub((atomic_int *)ctx, 1) > 0;
}

static void hash(struct hashed_file *files, size_t n, bool (*goes_on)(void *ctx), void *ctx)
{
    for (size_t i = 0; i < n; i++)
        files[i] = (struct hashed_file){.path = paths[i]};
    hash_files(files, n, goes_on, ctx);
}

static void test_each_has_its_own(void **state)
{
    (void)state;
    struct hashed_file files[FILES];
    for (size_t n = 0; n <= FILES; n++) {
        hash(files, n, always, NULL);
        for (size_t i = 0; i < n; i++)
            assert_string_equal(files[i].sha256, wanted[i]);
    }
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    char link_name[120], nowhere[120];
    snprintf(link_name, sizeof link_name, "%s/link", folder);
    snprintf(nowhere, sizeof nowhere, "%s/nowhere", folder);
    assert_int_equal(symlink(paths[1], link_name), 0);
    struct hashed_file files[] = {{.path = nowhere}, {.path = paths[1]}, {.path = link_name}, {.path = folder}};
    hash_files(files, 4, always, NULL);
    assert_string_equal(files[0].sha256, "");
    assert_string_equal(files[1].sha256, wanted[1]);
    assert_string_equal(files[2].sha256, "");
    assert_string_equal(files[3].sha256, "");
}

/* Nothing that was read in part passes for the whole. */
static void test_ended(void **state)
{
    (void)state;
    struct hashed_file files[FILES];
    atomic_int pieces = 5;
    int whole = 0;
    hash(files, FILES, for_a_while, &pieces);
    for (int i = 0; i < FILES; i++) {
        if (!files[i].sha256[0]) continue;
        assert_string_equal(files[i].sha256, wanted[i]);
        whole++;
    }
    assert_in_range(whole, 1, FILES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_has_its_own),
        cmocka_unit_test(test_what_cannot_be_read),
        cmocka_unit_test(test_ended),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
