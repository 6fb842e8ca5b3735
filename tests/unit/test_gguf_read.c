/* GGUF, written here byte by byte: every metadata type, both versions, alignment, splits, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/checkpoint.h"
#include "lib/folder.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static struct folder folder;

static void text(struct ht__buf *b, const char *s)
{
    ht__buf_u64(b, strlen(s));
    ht__buf_str(b, s);
}

static void head(struct ht__buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_kvs)
{
    ht__buf_init(b, NULL);
    ht__buf_str(b, "GGUF");
    ht__buf_u32(b, version);
    ht__buf_u64(b, n_tensors);
    ht__buf_u64(b, n_kvs);
}

static void pair(struct ht__buf *b, const char *key, uint32_t type, const void *data, size_t size)
{
    text(b, key);
    ht__buf_u32(b, type);
    ht__buf_put(b, data, size);
}

static void tensor(struct ht__buf *b, const char *name, uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t offset)
{
    text(b, name);
    ht__buf_u32(b, 2);
    ht__buf_u64(b, ne0);
    ht__buf_u64(b, ne1);
    ht__buf_u32(b, type);
    ht__buf_u64(b, offset);
}

static void pad(struct ht__buf *b, size_t alignment)
{
    ht__buf_zeros(b, (alignment - b->len % alignment) % alignment);
}

static void put(struct ht__buf *b, const char *name)
{
    assert_false(b->failed);
    folder_put(&folder, name, b->data, b->len);
    ht__buf_close(b);
}

static enum ht_err open_at(const char *name, struct ht__checkpoint **ck, struct ht_diag *diag)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder.path, name);
    *diag = (struct ht_diag){0};
    return ht__checkpoint_open(path, NULL, ck, diag);
}

static struct ht__checkpoint *opened(const char *name)
{
    struct ht__checkpoint *ck;
    struct ht_diag diag;
    if (open_at(name, &ck, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    return ck;
}

static void refused(struct ht__buf *b, enum ht_err code, const char *why)
{
    struct ht__checkpoint *ck;
    struct ht_diag diag;
    put(b, "bad.gguf");
    assert_int_equal(open_at("bad.gguf", &ck, &diag), code);
    if (!strstr(diag.message, why)) fail_msg("\"%s\" instead of \"%s\"", diag.message, why);
}

static void metadata(void **state)
{
    (void)state;
    struct ht__buf b;
    head(&b, 3, 0, 16);
    pair(&b, "u8", 0, "\xff", 1);
    pair(&b, "i8", 1, "\xff", 1);
    pair(&b, "u16", 2, "\xfe\xff", 2);
    pair(&b, "i16", 3, "\xfe\xff", 2);
    pair(&b, "u32", 4, "\xfd\xff\xff\xff", 4);
    pair(&b, "i32", 5, "\xfd\xff\xff\xff", 4);
    pair(&b, "f32", 6, &(float){0.1f}, 4);
    pair(&b, "bool", 7, "\1", 1);
    pair(&b, "str", 8, "\4\0\0\0\0\0\0\0a\0b\xc3", 12); /* any bytes */
    pair(&b, "u64", 10, &(uint64_t){UINT64_MAX}, 8);
    pair(&b, "i64", 11, &(int64_t){INT64_MIN}, 8);
    pair(&b, "f64", 12, &(double){0.1}, 8);
    pair(&b, "strs", 9, "\10\0\0\0\3\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0x\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0yz", 39);
    pair(&b, "i16s", 9, "\3\0\0\0\2\0\0\0\0\0\0\0\xff\xff\1\0", 16);
    pair(&b, "none", 9, "\6\0\0\0\0\0\0\0\0\0\0\0", 12);
    pair(&b, "general.architecture", 8, "\1\0\0\0\0\0\0\0q", 9);
    pad(&b, 32);
    put(&b, "kv.gguf");
    struct ht__checkpoint *ck = opened("kv.gguf");
    const struct ht__kvs *kvs = ck->kvs;
    uint64_t u;
    struct ht__str s;
    assert_int_equal(kvs->n, 16);
    assert_string_equal(kvs->items[8].key, "str"); /* in the file's order */
    assert_int_equal(ht__kv_get(kvs, "u8")->u, 255);
    assert_int_equal(ht__kv_get(kvs, "i8")->i, -1);
    assert_int_equal(ht__kv_get(kvs, "u16")->u, 65534);
    assert_int_equal(ht__kv_get(kvs, "i16")->i, -2);
    assert_int_equal(ht__kv_get(kvs, "u32")->u, 4294967293);
    assert_int_equal(ht__kv_get(kvs, "i32")->i, -3);
    assert_true(ht__kv_get(kvs, "f32")->f == (double)0.1f);
    assert_int_equal(ht__kv_get(kvs, "bool")->u, 1);
    assert_true(ht__kv_get_u64(kvs, "u64", &u) && u == UINT64_MAX);
    assert_false(ht__kv_get_u64(kvs, "i64", &u)); /* negative */
    assert_true(ht__kv_get(kvs, "i64")->i == INT64_MIN);
    assert_true(ht__kv_get(kvs, "f64")->f == 0.1);
    assert_true(ht__kv_get_str(kvs, "str", &s) && s.len == 4 && memcmp(s.text, "a\0b\xc3", 4) == 0);
    const struct ht__kv *strs = ht__kv_get(kvs, "strs");
    assert_int_equal(strs->n, 3);
    assert_int_equal(strs->elem, HT__KV_STR);
    assert_true(strs->strs[0].len == 1 && strs->strs[1].len == 0 && strs->strs[2].len == 2);
    assert_memory_equal(strs->strs[2].text, "yz", 2);
    assert_int_equal(ht__kv_get(kvs, "i16s")->n, 2);
    assert_memory_equal(ht__kv_get(kvs, "i16s")->data, "\xff\xff\1\0", 4);
    assert_int_equal(ht__kv_get(kvs, "none")->n, 0);
    assert_null(ht__kv_get(kvs, "absent"));
    ht__checkpoint_close(&ck);
}

/* Shapes outermost first, offsets after the padding that general.alignment asks for, values of a block type. */
static void tensors(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++)
        for (uint32_t alignment = 8; alignment <= 128; alignment *= 4) {
            struct ht__buf b;
            struct ht__arena scratch;
            struct ht_diag diag;
            float x[64];
            head(&b, version, 2, 1);
            pair(&b, "general.alignment", 4, &alignment, 4);
            tensor(&b, "floats", 0, 3, 2, 0);
            tensor(&b, "blocks", 8, 32, 2, alignment < 24 ? 24 : alignment < 32 ? 32 : alignment); /* Q8_0 */
            pad(&b, alignment);
            uint64_t start = b.len;
            ht__buf_put(&b, (float[]){1, 2, 3, 4, 5, 6}, 24);
            pad(&b, alignment);
            for (int row = 0; row < 2; row++) {
                ht__buf_put(&b, row ? "\0\x40" : "\0\x38", 2); /* 2 and 0.5 */
                for (int i = 0; i < 32; i++)
                    ht__buf_put(&b, &(int8_t){(int8_t)(i - 16)}, 1);
            }
            put(&b, "t.gguf");
            struct ht__checkpoint *ck = opened("t.gguf");
            const struct ht__tensor *f = ht__checkpoint_find(ck, "floats"), *q = ht__checkpoint_find(ck, "blocks");
            ht__arena_init(&scratch, NULL);
            assert_ptr_equal(f, &ck->tensors[0]);
            assert_true(f->shape[0] == 2 && f->shape[1] == 3 && f->offset == start && f->n_bytes == 24);
            assert_string_equal(q->dtype->name, "q8_0");
            assert_int_equal(q->n_bytes, 68);
            assert_int_equal(q->offset % alignment, 0);
            assert_int_equal(ht__tensor_read(ck, f, 1, 4, x, &scratch, &diag), HT_OK);
            assert_true(x[0] == 2 && x[3] == 5);
            assert_int_equal(ht__tensor_read(ck, q, 0, 64, x, &scratch, &diag), HT_OK);
            for (int i = 0; i < 64; i++)
                assert_true(x[i] == (float)(i % 32 - 16) * (i < 32 ? 0.5f : 2.0f));
            assert_int_equal(ht__tensor_read(ck, q, 32, 32, x, &scratch, &diag), HT_OK);
            assert_true(x[0] == -32);
            ht__arena_close(&scratch);
            ht__checkpoint_close(&ck);
        }
}

/* A small file with as many keys as are allowed: when each is compared with all before it, that takes 10 s. */
static void many_keys(void **state)
{
    (void)state;
    enum { KEYS = 60000 };
    struct ht__buf b;
    head(&b, 3, 0, KEYS);
    for (int i = 0; i < KEYS; i++) {
        char key[40];
        snprintf(key, sizeof key, "general.some.key.%d", i);
        pair(&b, key, 4, &(uint32_t){(uint32_t)i}, 4);
    }
    pad(&b, 32);
    put(&b, "keys.gguf");
    clock_t start = clock();
    struct ht__checkpoint *ck = opened("keys.gguf");
    uint64_t v;
    assert_true(ht__kv_get_u64(ck->kvs, "general.some.key.59999", &v) && v == 59999);
    ht__kv_remove(ck->kvs, "general.some.key.7");
    assert_null(ht__kv_get(ck->kvs, "general.some.key.7"));
    assert_true(ht__kv_get_u64(ck->kvs, "general.some.key.8", &v) && v == 8);
    ht__kv_u32(ck->kvs, "general.some.key.8", 88); /* removed and appended anew */
    assert_string_equal(ck->kvs->items[ck->kvs->n - 1].key, "general.some.key.8");
    assert_true(ht__kv_get_u64(ck->kvs, "general.some.key.8", &v) && v == 88);
    assert_int_equal(ck->kvs->n, KEYS - 1);
    ht__checkpoint_close(&ck);
    assert_true(clock() - start < 3 * CLOCKS_PER_SEC);
}

static void split(const char *name, uint16_t no, uint16_t count, int32_t total, const char *tensor_name, float value)
{
    struct ht__buf b;
    head(&b, 3, 1, 3);
    pair(&b, "split.no", 2, &no, 2);
    pair(&b, "split.count", 2, &count, 2);
    pair(&b, "split.tensors.count", 5, &total, 4);
    tensor(&b, tensor_name, 0, 1, 1, 0);
    pad(&b, 32);
    ht__buf_put(&b, &value, 4);
    pad(&b, 32);
    put(&b, name);
}

static void splits(void **state)
{
    (void)state;
    struct ht__checkpoint *ck;
    struct ht_diag diag;
    struct ht__arena scratch;
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    static const char *const tensor_names[] = {"z", "y", "x"}; /* the order of the files stays */
    for (uint16_t i = 0; i < 3; i++)
        split(names[i], i, 3, 3, tensor_names[i], (float)i);
    ck = opened(names[0]);
    assert_int_equal(ck->n_files, 3);
    assert_int_equal(ck->n_tensors, 3);
    ht__arena_init(&scratch, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        float x;
        assert_string_equal(ck->tensors[i].name, tensor_names[i]);
        assert_int_equal(ck->split_of[i], i);
        assert_int_equal(ht__tensor_read(ck, &ck->tensors[i], 0, 1, &x, &scratch, &diag), HT_OK);
        assert_true(x == (float)i);
    }
    ht__arena_close(&scratch);
    ht__checkpoint_close(&ck);
    assert_int_equal(open_at(names[1], &ck, &diag), HT_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "name the first one"));
    split(names[2], 1, 3, 3, "x", 2);
    assert_int_equal(open_at(names[0], &ck, &diag), HT_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "number 2 of 3"));
    split(names[2], 2, 3, 3, "y", 2);
    assert_int_equal(open_at(names[0], &ck, &diag), HT_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "two tensors"));
    split(names[2], 2, 3, 3, "x", 2);
    split(names[0], 0, 3, 4, "z", 2);
    assert_int_equal(open_at(names[0], &ck, &diag), HT_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "split.tensors.count"));
}

static void faults(void **state)
{
    (void)state;
    struct ht__buf b;
    head(&b, 1, 0, 0);
    refused(&b, HT_ERR_UNSUPPORTED, "version 1");
    head(&b, 0x03000000, 0, 0);
    refused(&b, HT_ERR_UNSUPPORTED, "big-endian");
    head(&b, 3, UINT64_MAX, 0);
    refused(&b, HT_ERR_FORMAT, "more tensors than the file can hold");
    head(&b, 3, 0, UINT64_MAX);
    refused(&b, HT_ERR_FORMAT, "more metadata than the file can hold");
    head(&b, 3, 0, 2);
    pair(&b, "k", 0, "\1", 1);
    pair(&b, "k", 0, "\1", 1);
    refused(&b, HT_ERR_FORMAT, "given twice");
    head(&b, 3, 0, 1);
    pair(&b, "k", 7, "\2", 1);
    refused(&b, HT_ERR_FORMAT, "neither 0 nor 1");
    head(&b, 3, 0, 1);
    pair(&b, "k", 13, "\2", 1);
    refused(&b, HT_ERR_FORMAT, "unknown value type");
    head(&b, 3, 0, 1);
    pair(&b, "k", 9, "\4\0\0\0\xff\xff\0\0\0\0\0\0", 12);
    refused(&b, HT_ERR_FORMAT, "an array goes past the end");
    head(&b, 3, 0, 1);
    pair(&b, "general.alignment", 4, "\x21\0\0\0", 4);
    refused(&b, HT_ERR_FORMAT, "not a power of two");
    head(&b, 3, 1, 0);
    tensor(&b, "t", 0, 1, 1, 32);
    refused(&b, HT_ERR_FORMAT, "offset 32 where 0 is due");
    head(&b, 3, 1, 0);
    tensor(&b, "t", 8, 33, 1, 0);
    refused(&b, HT_ERR_FORMAT, "do not divide into blocks");
    head(&b, 3, 1, 0);
    tensor(&b, "t", 0, UINT64_C(1) << 62, 4, 0);
    refused(&b, HT_ERR_FORMAT, "overflow");
    head(&b, 3, 1, 0);
    tensor(&b, "t", 4, 32, 1, 0);
    refused(&b, HT_ERR_UNSUPPORTED, "tensor type 4");
    head(&b, 3, 1, 0);
    tensor(&b, "t", 0, 8, 1, 0);
    pad(&b, 32);
    ht__buf_zeros(&b, 31);
    refused(&b, HT_ERR_FORMAT, "it is truncated");
}

static int make(void **state)
{
    (void)state;
    folder = folder_make();
    return 0;
}

static int clean(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(metadata, make, clean),  cmocka_unit_test_setup_teardown(tensors, make, clean),
        cmocka_unit_test_setup_teardown(many_keys, make, clean), cmocka_unit_test_setup_teardown(splits, make, clean),
        cmocka_unit_test_setup_teardown(faults, make, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
