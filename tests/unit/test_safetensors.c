/* safetensors: every dtype's values, ranges, shapes, order, shards; and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/container.h"
#include "lib/folder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct folder folder;

/* A file of this header and these weights. */
static void put(const char *name, const char *header, const void *data, size_t size)
{
    struct ht__buf b;
    ht__buf_init(&b, NULL);
    ht__buf_u64(&b, strlen(header));
    ht__buf_str(&b, header);
    ht__buf_put(&b, data, size);
    folder_put(&folder, name, b.data, b.len);
    ht__buf_close(&b);
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

static void refused(const char *header, size_t n_data, const char *why)
{
    struct ht__checkpoint *ck;
    struct ht_diag diag;
    static const char zeros[256];
    put("bad.safetensors", header, zeros, n_data);
    assert_int_not_equal(open_at("bad.safetensors", &ck, &diag), HT_OK);
    if (!strstr(diag.message, why)) fail_msg("\"%s\" instead of \"%s\"", diag.message, why);
}

static void read_all(const struct ht__checkpoint *ck, const char *name, uint64_t first, uint64_t n, float *x)
{
    struct ht__arena scratch;
    struct ht_diag diag = {0};
    const struct ht__tensor *t = ht__checkpoint_find(ck, name);
    assert_non_null(t);
    ht__arena_init(&scratch, NULL);
    assert_int_equal(ht__tensor_read(ck, t, first, n, x, &scratch, &diag), HT_OK);
    ht__arena_close(&scratch);
}

static void dtypes(void **state)
{
    (void)state;
    /* bytes of four weights, and what they are: 1, the largest, the smallest, a negative one or NaN */
    static const struct {
        const char *dtype;
        int size;
        uint64_t bits[4];
        float values[4];
    } cases[] = {
        {"BOOL", 1, {0, 1, 1, 0}, {0, 1, 1, 0}},
        {"U8", 1, {1, 255, 0, 128}, {1, 255, 0, 128}},
        {"I8", 1, {1, 127, 0x80, 0xff}, {1, 127, -128, -1}},
        {"F8_E4M3", 1, {0x38, 0x7e, 0x01, 0xff}, {1, 448, 0x1p-9f, NAN}},
        {"F8_E5M2", 1, {0x3c, 0x7b, 0x01, 0xfc}, {1, 57344, 0x1p-16f, -INFINITY}},
        {"F8_E4M3FNUZ", 1, {0x40, 0x7f, 0x01, 0x80}, {1, 240, 0x1p-10f, NAN}},
        {"F8_E5M2FNUZ", 1, {0x40, 0x7f, 0x01, 0x80}, {1, 57344, 0x1p-17f, NAN}},
        {"F8_E8M0", 1, {0x7f, 0xfe, 0x00, 0xff}, {1, 0x1p127f, 0x1p-127f, NAN}},
        {"I16", 2, {1, 0x7fff, 0x8000, 0xffff}, {1, 32767, -32768, -1}},
        {"U16", 2, {1, 0xffff, 0, 0x8000}, {1, 65535, 0, 32768}},
        {"F16", 2, {0x3c00, 0x7bff, 0x0001, 0xc000}, {1, 65504, 0x1p-24f, -2}},
        {"BF16", 2, {0x3f80, 0x7f7f, 0x0001, 0xc000}, {1, 0x1.fep127f, 0x1p-133f, -2}},
        {"I32", 4, {1, 0x7fffff80, 0x80000000, 0xffffffff}, {1, 0x1.fffffep30f, -0x1p31f, -1}},
        {"U32", 4, {1, 0xffffff00, 0, 0x80000000}, {1, 0x1.fffffep31f, 0, 0x1p31f}},
        {"F32", 4, {0x3f800000, 0x7f7fffff, 1, 0xc0000000}, {1, 0x1.fffffep127f, 0x1p-149f, -2}},
        {"I64", 8, {1, 1u << 30, 0, UINT64_MAX}, {1, 0x1p30f, 0, -1}},
        {"U64", 8, {1, UINT64_C(1) << 63, 0, 5}, {1, 0x1p63f, 0, 5}},
        {"F64", 8, {0x3ff0000000000000, 0x3fd5555555555555, 0, 0xc000000000000000}, {1, 1.0f / 3, 0, -2}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        char header[200];
        unsigned char data[32];
        float x[4];
        for (int i = 0; i < 4; i++) /* little endian, as the machines that this runs on */
            memcpy(data + i * cases[c].size, &cases[c].bits[i], (size_t)cases[c].size);
        snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[2,2],\"data_offsets\":[0,%d]}}",
                 cases[c].dtype, 4 * cases[c].size);
        put("dtype.safetensors", header, data, (size_t)(4 * cases[c].size));
        struct ht__checkpoint *ck = opened("dtype.safetensors");
        read_all(ck, "w", 0, 4, x);
        for (int i = 0; i < 4; i++)
            if (!(x[i] == cases[c].values[i] || (isnan(x[i]) && isnan(cases[c].values[i]))))
                fail_msg("%s, weight %d: %a, not %a", cases[c].dtype, i, (double)x[i], (double)cases[c].values[i]);
        ht__checkpoint_close(&ck);
    }
}

/* Names are sorted whatever the header's order; shapes, scalars, ranges; metadata is passed over. */
static void order_and_ranges(void **state)
{
    (void)state;
    static const float data[7] = {10, 11, 12, 20, 21, 22, 7};
    put("order.safetensors",
        "{\"z\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"__metadata__\":{\"format\":\"pt\"},"
        "\"none\":{\"shape\":[0,5],\"data_offsets\":[24,24],\"dtype\":\"F32\"},"
        "\"a\\u002e\\u00e9\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[24,28]}}   ",
        data, sizeof data);
    struct ht__checkpoint *ck = opened("order.safetensors");
    float x[3];
    assert_int_equal(ck->n_tensors, 3);
    assert_string_equal(ck->tensors[0].name, "a.\xc3\xa9");
    assert_string_equal(ck->tensors[1].name, "none");
    assert_string_equal(ck->tensors[2].name, "z");
    for (uint32_t i = 0; i < 3; i++) /* the map follows the sorting */
        assert_ptr_equal(ht__checkpoint_find(ck, ck->tensors[i].name), &ck->tensors[i]);
    assert_null(ht__checkpoint_find(ck, "__metadata__"));
    assert_int_equal(ck->tensors[0].n_dims, 0);
    assert_int_equal(ck->tensors[0].n_weights, 1);
    assert_int_equal(ck->tensors[1].n_weights, 0);
    assert_int_equal(ck->tensors[2].shape[0], 2);
    assert_int_equal(ck->tensors[2].shape[1], 3);
    read_all(ck, "z", 2, 3, x);
    assert_true(x[0] == 12 && x[1] == 20 && x[2] == 21);
    read_all(ck, "a.\xc3\xa9", 0, 1, x);
    assert_true(x[0] == 7);
    ht__checkpoint_close(&ck);
}

static const char two[] = "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                          "\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}";

static void put_two(const char *file, const char *a, const char *b, const char *bytes)
{
    char header[300];
    snprintf(header, sizeof header, two, a, b);
    put(file, header, bytes, 2);
}

static void shards(void **state)
{
    (void)state;
    struct ht__checkpoint *ck;
    struct ht_diag diag;
    float x;
    put_two("s-2.safetensors", "b", "d", "\2\4");
    put_two("s-1.safetensors", "e", "c", "\5\3"); /* sorted by file, then by name */
    folder_puts(&folder, "model.safetensors.index.json",
                "{\"weight_map\":{\"b\":\"s-2.safetensors\",\"c\":\"s-1.safetensors\",\"d\":\"s-2.safetensors\","
                "\"e\":\"s-1.safetensors\"}}");
    ck = opened(".");
    static const char *const names[] = {"c", "e", "b", "d"};
    assert_int_equal(ck->n_files, 2);
    assert_int_equal(ck->n_tensors, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_string_equal(ck->tensors[i].name, names[i]);
        assert_int_equal(ck->tensors[i].file, i / 2);
        assert_ptr_equal(ht__checkpoint_find(ck, names[i]), &ck->tensors[i]);
        read_all(ck, names[i], 0, 1, &x);
        assert_true(x == (float)(names[i][0] - 'a' + 1));
    }
    ht__checkpoint_close(&ck);
    put_two("s-2.safetensors", "b", "e", "\2\5");
    assert_int_equal(open_at(".", &ck, &diag), HT_ERR_FORMAT); /* "e" is in both */
    assert_non_null(strstr(diag.message, "two tensors"));
    put_two("s-2.safetensors", "b", "x", "\2\5");
    assert_int_equal(open_at(".", &ck, &diag), HT_ERR_FORMAT); /* "d" is nowhere */
    assert_non_null(strstr(diag.message, "d is not in s-2"));
    folder_puts(&folder, "model.safetensors.index.json", "{\"weight_map\":{\"b\":\"../b.safetensors\"}}");
    assert_int_equal(open_at(".", &ck, &diag), HT_ERR_FORMAT);
}

#define W(offsets) "{\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offsets "}}"

static void faults(void **state)
{
    (void)state;
    refused(W("[0,5]"), 5, "shape and dtype make 4 bytes");
    refused(W("[0,4]"), 5, "after the last tensor belong to none");
    refused(W("[1,5]"), 5, "a hole that belongs to no tensor");
    refused(W("[0,4]"), 3, "do not lie within the 3 bytes");
    refused(W("[4,0]"), 4, "do not lie within");
    refused(W("[0,4,4]"), 4, "not a pair of whole numbers");
    refused(W("[0,4.0]"), 4, "not a pair of whole numbers");
    refused("{\"w\":{\"dtype\":\"Q4\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "dtype \"Q4\" is not supported");
    refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]}}", 4, "not a natural number");
    refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296,2],\"data_offsets\":[0,4]}}", 4, "overflows");
    refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[4]}}", 4, "is missing");
    refused("{\"w\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "repeated field");
    refused("{\"\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "name is empty");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
            6, "overlap");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
            8, "two tensors have this name");
    refused("{\"__metadata__\":{\"n\":1}}", 0, "something other than strings");
    refused("{} x", 0, "text after the end");
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

/* What the writer lays out is what the reader finds, by size and name in the file. */
static void written(void **state)
{
    struct ht__extent extents[] = {
        {.name = "a", .type = &ht__codec_u8, .n_dims = 1, .shape = {3}},
        {.name = "\"b\"", .type = &ht__codec_bf16, .n_dims = 2, .shape = {2, 5}},
        {.name = "empty", .type = &ht__codec_f32, .n_dims = 2, .shape = {0, 4}},
        {.name = "scalar", .type = &ht__codec_i64, .n_dims = 0},
        {.name = "c", .type = &ht__codec_f8_e4m3, .n_dims = 3, .shape = {1, 1, 1}},
        {.name = "big", .type = &ht__codec_f32, .n_dims = 1, .shape = {7}},
    };
    enum { N = sizeof extents / sizeof extents[0] };
    struct ht__buf b;
    struct ht_diag diag = {0};
    (void)state;
    ht__buf_init(&b, NULL);
    struct ht__layout layout = {.extents = extents, .n = N, .head = &b};
    assert_int_equal(ht__container_safetensors.lay_out(&layout, &diag), HT_OK);
    assert_int_equal(b.len % 8, 0);
    ht__buf_zeros(&b, (size_t)layout.size - b.len);
    folder_put(&folder, "written.safetensors", b.data, b.len);
    struct ht__checkpoint *ck = opened("written.safetensors");
    assert_int_equal(ck->n_tensors, N);
    assert_ptr_equal(ck->container, &ht__container_safetensors);
    for (int i = 0; i < N; i++) {
        const struct ht__tensor *t = ht__checkpoint_find(ck, extents[i].name);
        assert_non_null(t);
        assert_ptr_equal(t->dtype, extents[i].type);
        assert_int_equal(t->offset, extents[i].offset);
        assert_int_equal(t->n_bytes, extents[i].n_bytes);
        assert_int_equal(t->n_dims, extents[i].n_dims);
        assert_memory_equal(t->shape, extents[i].shape, (size_t)t->n_dims * sizeof t->shape[0]);
        assert_int_equal(extents[i].offset % extents[i].type->block_size, 0);
    }
    ht__checkpoint_close(&ck);
    ht__buf_close(&b);
}

/* Types that the format lacks, and sizes that overflow. */
static void not_written(void **state)
{
    struct ht__extent q4 = {.name = "q", .type = ht__codec_by_name("q4_0"), .n_dims = 1, .shape = {32}};
    struct ht__extent large[] = {{.name = "l", .type = &ht__codec_f32, .n_dims = 2, .shape = {INT64_MAX / 8, 1}},
                                 {.name = "m", .type = &ht__codec_f32, .n_dims = 2, .shape = {INT64_MAX / 8, 1}}};
    struct ht__buf b;
    struct ht_diag diag = {0};
    (void)state;
    ht__buf_init(&b, NULL);
    struct ht__layout layout = {.extents = &q4, .n = 1, .head = &b};
    assert_int_equal(ht__container_safetensors.lay_out(&layout, &diag), HT_ERR_UNSUPPORTED);
    layout = (struct ht__layout){.extents = large, .n = 2, .head = &b};
    assert_int_equal(ht__container_safetensors.lay_out(&layout, &diag), HT_ERR_LIMIT);
    ht__buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(dtypes, make, clean),
        cmocka_unit_test_setup_teardown(order_and_ranges, make, clean),
        cmocka_unit_test_setup_teardown(shards, make, clean),
        cmocka_unit_test_setup_teardown(faults, make, clean),
        cmocka_unit_test_setup_teardown(written, make, clean),
        cmocka_unit_test_setup_teardown(not_written, make, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
