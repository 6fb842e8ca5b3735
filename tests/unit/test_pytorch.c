/* A PyTorch archive built here: read whole, cut at every byte, and asking for code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "formats/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char pickle[] = "\x80\x02}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(("
                             "X\7\0\0\0storagectorch\nFloatStorage\n"
                             "X\1\0\0\0"
                             "0X\3\0\0\0cpuK\6tQK\0K\3K\2\x86K\1K\3\x86\x89"
                             "ccollections\nOrderedDict\n)RtRu.";

static size_t record(unsigned char *out, size_t at, unsigned char *dir, size_t *dir_len,
                     const char *name, const void *data, uint32_t size)
{
    uint16_t len = (uint16_t)strlen(name);
    uint32_t offset = (uint32_t)at;
    unsigned char *l = out + at, *d = dir + *dir_len;
    memset(l, 0, 30);
    memcpy(l, "PK\3\4", 4);
    memcpy(l + 26, &len, 2);
    memcpy(l + 30, name, len);
    memcpy(l + 30 + len, data, size);
    memset(d, 0, 46);
    memcpy(d, "PK\1\2", 4);
    memcpy(d + 20, &size, 4);
    memcpy(d + 24, &size, 4);
    memcpy(d + 28, &len, 2);
    memcpy(d + 42, &offset, 4);
    memcpy(d + 46, name, len);
    *dir_len += 46u + len;
    return at + 30 + len + size;
}

static size_t archive(unsigned char *out, const void *pkl, uint32_t n)
{
    static const float weights[6] = {1, 2, 3, 4, 5, 6};
    unsigned char dir[512];
    size_t dir_len = 0, at = record(out, 0, dir, &dir_len, "a/data.pkl", pkl, n);
    at = record(out, at, dir, &dir_len, "a/data/0", weights, sizeof weights);
    uint16_t two = 2;
    uint32_t size = (uint32_t)dir_len, offset = (uint32_t)at;
    memcpy(out + at, dir, dir_len);
    at += dir_len;
    memset(out + at, 0, 22);
    memcpy(out + at, "PK\5\6", 4);
    memcpy(out + at + 10, &two, 2);
    memcpy(out + at + 12, &size, 4);
    memcpy(out + at + 16, &offset, 4);
    return at + 22;
}

static enum ht_err open_bytes(const void *bytes, size_t n, struct ht__checkpoint **ck)
{
    char path[] = "/tmp/ht-pytorch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
    struct ht_diag diag = {0};
    enum ht_err err = ht__checkpoint_open(path, NULL, ck, &diag);
    unlink(path);
    return err;
}

static void test_transposed_view(void **state)
{
    unsigned char bytes[2048];
    struct ht__checkpoint *ck;
    assert_int_equal(open_bytes(bytes, archive(bytes, pickle, sizeof pickle - 1), &ck), HT_OK);
    const struct ht__tensor *t = ht__checkpoint_find(ck, "w");
    assert_non_null(t);
    float got[6];
    static const float want[6] = {1, 4, 2, 5, 3, 6};
    struct ht__arena scratch;
    ht__arena_init(&scratch, NULL);
    assert_int_equal(ht__tensor_read(ck, t, 0, 6, got, &scratch, NULL), HT_OK);
    assert_memory_equal(got, want, sizeof want);
    ht__arena_close(&scratch);
    ht__checkpoint_close(&ck);
}

static void test_every_prefix(void **state)
{
    unsigned char bytes[2048];
    struct ht__checkpoint *ck;
    size_t n = archive(bytes, pickle, sizeof pickle - 1);
    for (size_t i = 0; i < n; i++) {
        enum ht_err err = open_bytes(bytes, i, &ck);
        assert_true(err == HT_ERR_FORMAT || err == HT_ERR_UNSUPPORTED);
    }
}

static void test_code_is_refused(void **state)
{
    static const char evil[] = "\x80\x02"
                               "cposix\nsystem\nX\2\0\0\0ls\x85R.";
    unsigned char bytes[2048];
    struct ht__checkpoint *ck;
    assert_int_equal(open_bytes(bytes, archive(bytes, evil, sizeof evil - 1), &ck),
                     HT_ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transposed_view),
        cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_code_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
