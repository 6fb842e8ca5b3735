/* A PyTorch archive built here: read whole, cut at every byte, and asking for code. And archives that are laid out for
 * tensors of any size: where torch.load expects each, and what our own reader finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "formats/checkpoint.h"
#include "formats/container.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char pickle[] = "\x80\x02}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(("
                             "X\7\0\0\0storagectorch\nFloatStorage\n"
                             "X\1\0\0\0"
                             "0X\3\0\0\0cpuK\6tQK\0K\3K\2\x86K\1K\3\x86\x89"
                             "ccollections\nOrderedDict\n)RtRu.";

static size_t record(unsigned char *out, size_t at, unsigned char *dir, size_t *dir_len, const char *name,
                     const void *data, uint32_t size)
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

/* As the pickle has them, not by name: llama.cpp's converter writes them so. */
static void test_order(void **state)
{
    (void)state;
#define TENSOR(name)                                                                                                   \
    "X\1\0\0\0" name "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\n"                     \
    "X\1\0\0\0"                                                                                                        \
    "0X\3\0\0\0cpuK\6tQK\0K\3K\2\x86K\1K\3\x86\x89"                                                                    \
    "ccollections\nOrderedDict\n)RtR"
    static const char unsorted[] = "\x80\x02}(" TENSOR("z") TENSOR("a") TENSOR("m") "u.";
    unsigned char bytes[2048];
    struct ht__checkpoint *ck;
    assert_int_equal(open_bytes(bytes, archive(bytes, unsorted, sizeof unsorted - 1), &ck), HT_OK);
    assert_int_equal(ck->n_tensors, 3);
    assert_string_equal(ck->tensors[0].name, "z");
    assert_string_equal(ck->tensors[1].name, "a");
    assert_string_equal(ck->tensors[2].name, "m");
    assert_ptr_equal(ht__checkpoint_find(ck, "m"), &ck->tensors[2]);
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
    assert_int_equal(open_bytes(bytes, archive(bytes, evil, sizeof evil - 1), &ck), HT_ERR_UNSUPPORTED);
}

/* ---- written ---- */

enum { A, BIG, B, EMPTY, FLOAT8, TIED, N_WRITTEN };

/* BIG makes the file need 64 bits for sizes and places. */
static void fill(struct ht__extent *e, int64_t big)
{
    memset(e, 0, N_WRITTEN * sizeof *e);
    e[A] = (struct ht__extent){.name = "a", .type = &ht__codec_f32, .n_dims = 1, .shape = {3}};
    e[BIG] = (struct ht__extent){.name = "big", .type = &ht__codec_u8, .n_dims = 2, .shape = {4, big / 4}};
    e[B] = (struct ht__extent){.name = "b", .type = &ht__codec_bf16, .n_dims = 2, .shape = {5, 7}};
    e[EMPTY] = (struct ht__extent){.name = "empty", .type = &ht__codec_i64, .n_dims = 2, .shape = {0, 4}};
    e[FLOAT8] = (struct ht__extent){.name = "float8", .type = &ht__codec_f8_e4m3, .n_dims = 0};
    e[TIED] =
        (struct ht__extent){.name = "tied", .type = &ht__codec_bf16, .n_dims = 2, .shape = {5, 7}, .shares = e + B};
}

struct written {
    struct ht__buf head;
    struct ht__rest rest;
    struct ht__layout layout;
    struct ht__extent extents[N_WRITTEN];
};

static void write_open(struct written *w, int64_t big)
{
    fill(w->extents, big);
    ht__buf_init(&w->head, NULL);
    ht__rest_init(&w->rest, NULL);
    w->layout = (struct ht__layout){.extents = w->extents, .n = N_WRITTEN, .head = &w->head, .rest = &w->rest};
    assert_int_equal(ht__container_pytorch.lay_out(&w->layout, NULL), HT_OK);
}

static void write_close(struct written *w)
{
    ht__buf_close(&w->head);
    ht__rest_close(&w->rest);
}

/* With holes where the tensors' bytes go. */
static void put_file(const struct written *w, const char *path)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(fd >= 0 && ftruncate(fd, (off_t)w->layout.size) == 0);
    assert_int_equal(pwrite(fd, w->head.data, w->head.len, 0), w->head.len);
    const struct ht__piece *pieces = (const struct ht__piece *)(const void *)w->rest.pieces.data;
    const unsigned char *bytes = w->rest.bytes.data;
    for (size_t i = 0; i < w->rest.pieces.len / sizeof *pieces; bytes += pieces[i++].n)
        assert_int_equal(pwrite(fd, bytes, pieces[i].n, (off_t)pieces[i].at), pieces[i].n);
    close(fd);
}

/* What torch.load computes instead of reading each header: behind the bytes comes a descriptor, then a header of 30
 * bytes with the name, a ZIP64 field where something needs 64 bits, and a padding field of at least 4 bytes. */
static uint64_t next_storage(uint64_t *at, unsigned key, uint64_t n)
{
    const uint64_t most = UINT32_MAX;
    uint64_t field = (n >= most ? 16 : 0) + (*at >= most ? 8 : 0), header = *at;
    uint64_t start = header + 30 + strlen("archive/data/") + (key < 10 ? 1 : 2) + (field ? field + 4 : 0) + 4;
    uint64_t data = (start + 63) / 64 * 64;
    *at = data + n + (n == 0 ? 0 : n >= most || header >= most ? 24 : 16);
    return data;
}

static void check_places(const struct written *w)
{
    uint64_t at = w->extents[A].offset + w->extents[A].n_bytes + 16;
    unsigned key = 1;
    assert_int_equal(w->extents[A].offset % 64, 0);
    for (int i = A + 1; i < N_WRITTEN; i++) {
        const struct ht__extent *e = &w->extents[i];
        assert_int_equal(e->offset, e->shares ? e->shares->offset : next_storage(&at, key++, e->n_bytes));
    }
}

static void check_read(const struct written *w, const char *path)
{
    struct ht__checkpoint *ck;
    struct ht_diag diag = {0};
    put_file(w, path);
    if (ht__checkpoint_open(path, NULL, &ck, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    assert_int_equal(ck->n_tensors, N_WRITTEN);
    for (int i = 0; i < N_WRITTEN; i++) {
        const struct ht__extent *e = &w->extents[i];
        const struct ht__tensor *t = &ck->tensors[i];
        assert_string_equal(t->name, e->name);
        assert_true(t->dtype == e->type && t->n_dims == e->n_dims && !t->strides);
        assert_int_equal(t->n_bytes, e->n_bytes);
        assert_int_equal(t->offset, e->offset);
        assert_memory_equal(t->shape, e->shape, (size_t)e->n_dims * sizeof e->shape[0]);
    }
    ht__checkpoint_close(&ck);
    unlink(path);
}

static const unsigned char *rest_at(const struct written *w, uint64_t at)
{
    const struct ht__piece *pieces = (const struct ht__piece *)(const void *)w->rest.pieces.data;
    const unsigned char *bytes = w->rest.bytes.data;
    for (size_t i = 0; i < w->rest.pieces.len / sizeof *pieces; bytes += pieces[i++].n)
        if (at >= pieces[i].at && at < pieces[i].at + pieces[i].n) return bytes + (at - pieces[i].at);
    fail_msg("nothing lies at %llu", (unsigned long long)at);
    return NULL;
}

/* The checksums go behind the bytes and into the directory, and change nothing else. */
static void check_sealed(struct written *w)
{
    static const uint32_t crc[N_WRITTEN] = {0x01020304, 0x11121314, 0x21222324, 0, 0x31323334, 0};
    struct ht__extent before[N_WRITTEN];
    size_t head = w->head.len, rest = w->rest.bytes.len;
    uint64_t size = w->layout.size;
    memcpy(before, w->extents, sizeof before);
    assert_int_equal(ht__container_pytorch.seal(&w->layout, crc, NULL), HT_OK);
    assert_int_equal(w->layout.size, size);
    assert_true(w->head.len == head && w->rest.bytes.len == rest);
    assert_memory_equal(before, w->extents, sizeof before);
    for (int i = 0; i < N_WRITTEN; i++) {
        const struct ht__extent *e = &w->extents[i];
        if (e->shares || e->n_bytes == 0) continue;
        const unsigned char *d = rest_at(w, e->offset + e->n_bytes);
        assert_memory_equal(d, "PK\7\10", 4);
        assert_memory_equal(d + 4, &crc[i], 4);
        size_t found = 0;
        for (size_t k = 0; k + 4 <= w->rest.bytes.len; k++)
            found += memcmp(w->rest.bytes.data + k, &crc[i], 4) == 0;
        assert_int_equal(found, 2);
    }
}

static void test_written(void **state)
{
    static const int64_t sizes[] = {400, UINT32_MAX - 3, ((int64_t)1 << 32) + 4000, (int64_t)1 << 40};
    char path[] = "/tmp/ht-pytorch-XXXXXX";
    struct written w;
    (void)state;
    close(mkstemp(path));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        write_open(&w, sizes[i]);
        check_places(&w);
        check_sealed(&w);
        check_read(&w, path);
        write_close(&w);
    }
}

static void test_not_written(void **state)
{
    struct ht_diag diag = {0};
    struct written w;
    (void)state;
    write_open(&w, 400);
    w.extents[B].type = ht__codec_by_name("q8_0");
    assert_int_equal(ht__container_pytorch.lay_out(&w.layout, &diag), HT_ERR_UNSUPPORTED);
    assert_string_equal(diag.where, "b");
    fill(w.extents, 400);
    for (int i = 0; i < 2; i++)
        w.extents[i ? FLOAT8 : BIG] = (struct ht__extent){
            .name = i ? "y" : "x", .type = &ht__codec_u8, .n_dims = 1, .shape = {INT64_MAX / 2 - 1000}};
    assert_int_equal(ht__container_pytorch.lay_out(&w.layout, &diag), HT_ERR_LIMIT);
    write_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transposed_view), cmocka_unit_test(test_order),   cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_code_is_refused), cmocka_unit_test(test_written), cmocka_unit_test(test_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
