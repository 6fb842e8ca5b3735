/* Row sources: each against what its definition says, read whole and by every range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/folder.h"
#include "model/rows.h"
#include "schemes/float_source.h"

#include <math.h>

#include <stdio.h>
#include <string.h>

enum { ROWS = 12, LEN = 4, N = ROWS * LEN };

static struct ht__arena arena, scratch;
static struct ht__rows *numbers; /* row r, column c holds 10 r + c */

static int begin(void **state)
{
    (void)state;
    float x[N];
    ht__arena_init(&arena, NULL);
    ht__arena_init(&scratch, NULL);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i / LEN * 10 + i % LEN);
    numbers = ht__rows_floats(&arena, x, ROWS, LEN);
    return numbers ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    ht__arena_close(&arena);
    ht__arena_close(&scratch);
    return 0;
}

/* Every range of rows is a part of the whole. */
static void same(const struct ht__rows *rows, int64_t n_rows, int64_t row_len, const float *want)
{
    float got[N];
    assert_non_null(rows);
    assert_int_equal(rows->n_rows, n_rows);
    assert_int_equal(rows->row_len, row_len);
    for (int64_t first = 0; first < n_rows; first++)
        for (int64_t n = 1; first + n <= n_rows; n++) {
            struct ht_diag diag = {0};
            memset(got, 0xff, sizeof got);
            assert_int_equal(rows->read(rows, first, n, got, &scratch, &diag), HT_OK);
            for (int64_t i = 0; i < n * row_len; i++)
                if (got[i] != want[first * row_len + i])
                    fail_msg("rows %d + %d: weight %d is %g, not %g", (int)first, (int)n, (int)i, (double)got[i],
                             (double)want[first * row_len + i]);
            ht__arena_reset(&scratch);
        }
}

/* The source's rows in this order. */
static void same_rows(const struct ht__rows *rows, const int *order, int n)
{
    float want[N];
    for (int i = 0; i < n * LEN; i++)
        want[i] = (float)(order[i / LEN] * 10 + i % LEN);
    same(rows, n, LEN, want);
}

static void slices(void **state)
{
    (void)state;
    same_rows(numbers, (int[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 12);
    same_rows(ht__rows_slice(&arena, numbers, 3, 1, 4), (int[]){3, 4, 5, 6}, 4);
    same_rows(ht__rows_slice(&arena, numbers, 1, 2, 6), (int[]){1, 3, 5, 7, 9, 11}, 6);
    struct ht__rows *inner = ht__rows_slice(&arena, numbers, 1, 3, 4); /* 1 4 7 10 */
    same_rows(ht__rows_slice(&arena, inner, 1, 2, 2), (int[]){4, 10}, 2);
    assert_null(ht__rows_slice(&arena, NULL, 0, 1, 1));
}

static void concats(void **state)
{
    (void)state;
    const struct ht__rows *parts[] = {ht__rows_slice(&arena, numbers, 10, 1, 2),
                                      ht__rows_slice(&arena, numbers, 0, 1, 1),
                                      ht__rows_slice(&arena, numbers, 4, 1, 3)};
    same_rows(ht__rows_concat(&arena, parts, 3), (int[]){10, 11, 0, 4, 5, 6}, 6);
    parts[1] = NULL;
    assert_null(ht__rows_concat(&arena, parts, 3));
}

static void maps(void **state)
{
    (void)state;
    /* heads of 6 rows: halves 0 1 2 | 3 4 5 become pairs */
    same_rows(ht__rows_permute(&arena, numbers, ht__map_rope, (const int64_t[4]){6}),
              (int[]){0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}, 12);
    /* 2 groups of 3 parts of 2 rows */
    same_rows(ht__rows_permute(&arena, numbers, ht__map_regroup, (const int64_t[4]){2, 3, 2}),
              (int[]){0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}, 12);
    /* 2 groups of 4 q, 1 k, 1 v of 1 row */
    same_rows(ht__rows_permute(&arena, numbers, ht__map_falcon_qkv, (const int64_t[4]){2, 4, 1}),
              (int[]){0, 1, 2, 3, 6, 7, 8, 9, 4, 10, 5, 11}, 12);
}

static void picks(void **state)
{
    (void)state;
    float want[N / 2];
    for (int i = 0; i < N / 2; i++)
        want[i] = (float)((2 * i + 1) / LEN * 10 + (2 * i + 1) % LEN);
    same(ht__rows_pick(&arena, numbers, 8, ht__map_every_second, (const int64_t[4]){1}), 3, 8, want);
}

static void transposes(void **state)
{
    (void)state;
    float want[N];
    for (int slab = 0; slab < 3; slab++) /* three slabs of 4 x 4 */
        for (int r = 0; r < 4; r++)
            for (int c = 0; c < 4; c++)
                want[slab * 16 + r * 4 + c] = (float)((slab * 4 + c) * 10 + r);
    same(ht__rows_transpose(&arena, numbers, 4), 12, 4, want);
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 12; c++)
            want[r * 12 + c] = (float)(c * 10 + r);
    same(ht__rows_transpose(&arena, numbers, 12), 4, 12, want);
}

static void values(void **state)
{
    (void)state;
    float want[N];
    for (int i = 0; i < N; i++)
        want[i] = (float)(i / LEN * 10 + i % LEN) * 0.5f + 1;
    same(ht__rows_affine(&arena, numbers, 0.5f, 1), ROWS, LEN, want);
}

/* One row of 32 weights: nibble pairs (0,1), (2,3) … and a scale of 2 (E8M0: 128). */
static void mxfp4(void **state)
{
    (void)state;
    static const float e2m1[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6};
    struct folder folder = folder_make();
    struct ht__checkpoint *ck;
    struct ht_diag diag = {0};
    struct ht__buf b;
    char path[600];
    static const char header[] = "{\"b_blocks\":{\"dtype\":\"U8\",\"shape\":[1,1,1,16],\"data_offsets\":[0,16]},"
                                 "\"b_scales\":{\"dtype\":\"U8\",\"shape\":[1,1,1],\"data_offsets\":[16,17]}}";
    ht__buf_init(&b, NULL);
    ht__buf_u64(&b, sizeof header - 1);
    ht__buf_str(&b, header);
    for (int i = 0; i < 16; i++)
        ht__buf_put(&b, &(unsigned char){(unsigned char)((2 * i & 15) | ((2 * i + 1) & 15) << 4)}, 1);
    ht__buf_put(&b, "\x80", 1);
    folder_put(&folder, "m.safetensors", b.data, b.len);
    snprintf(path, sizeof path, "%s/m.safetensors", folder.path);
    assert_int_equal(ht__checkpoint_open(path, NULL, &ck, &diag), HT_OK);
    const struct ht__float_config config = {.method = HT__FLOAT_MXFP4, .dtype = &ht__codec_bf16};
    struct ht__packed_source source;
    bool found;
    assert_int_equal(ht__float_source(&config, ck, "b", &source, &found, &diag), HT_OK);
    struct ht__rows *rows = ht__rows_packed(&arena, ck, &source.params, &source.matrix, source.tensors, NULL);
    float want[32];
    unsigned char raw[17];
    for (int i = 0; i < 32; i++)
        want[i] = 2 * e2m1[i & 15];
    same(rows, 1, 32, want);
    /* GGUF's block: the scale, then weights j and j + 16 in byte j */
    assert_int_equal(rows->read_raw(rows, 0, 1, raw, &scratch, &diag), HT_OK);
    assert_int_equal(raw[0], 0x80);
    for (int j = 0; j < 16; j++)
        assert_int_equal(raw[1 + j], j | j << 4);
    ht__checkpoint_close(&ck);
    ht__buf_close(&b);
    folder_remove(&folder);
}

/* Blocks of 2 x 3 of 5 x 4 weights: rows are asked for one by one, and in twos that do not begin a block. */
static void packed(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct ht__checkpoint *ck;
    struct ht_diag diag = {0};
    struct ht__buf b;
    char path[600];
    static const float scales[6] = {1, 2, 3, 4, 5, INFINITY};
    static const char header[] = "{\"m.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[5,4],\"data_offsets\":[0,20]},"
                                 "\"m.weight_scale_inv\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[20,44]}}";
    ht__buf_init(&b, NULL);
    ht__buf_u64(&b, sizeof header - 1);
    ht__buf_str(&b, header);
    for (int i = 0; i < 20; i++)
        ht__buf_put(&b, "\x38", 1); /* 1 */
    ht__buf_put(&b, scales, sizeof scales);
    folder_put(&folder, "m.safetensors", b.data, b.len);
    snprintf(path, sizeof path, "%s/m.safetensors", folder.path);
    assert_int_equal(ht__checkpoint_open(path, NULL, &ck, &diag), HT_OK);
    const struct ht__float_config config = {HT__FLOAT_FP8, {2, 3}, &ht__codec_bf16, false};
    struct ht__packed_source source;
    bool found;
    assert_int_equal(ht__float_source(&config, ck, "m", &source, &found, &diag), HT_OK);
    struct ht__rows *rows = ht__rows_packed(&arena, ck, &source.params, &source.matrix, source.tensors, NULL);
    float got[20];
    for (int64_t row = 0; row < 4; row++)
        for (int64_t n = 1; row + n <= 4; n++) {
            assert_int_equal(rows->read(rows, row, n, got, &scratch, &diag), HT_OK);
            for (int64_t i = 0; i < 4 * n; i++)
                assert_true(got[i] == scales[(row + i / 4) / 2 * 2 + i % 4 / 3]);
        }
    /* permuted: rows 0 2 1 3, read one by one and as a span */
    const struct ht__rows *swapped = ht__rows_permute(&arena, rows, ht__map_rope, (const int64_t[4]){4});
    for (int64_t row = 0; row < 4; row++)
        for (int64_t n = 1; row + n <= 4; n++) {
            assert_int_equal(swapped->read(swapped, row, n, got, &scratch, &diag), HT_OK);
            for (int64_t i = 0; i < 4 * n; i++)
                assert_true(got[i] == scales[ht__map_rope((const int64_t[4]){4}, row + i / 4) / 2 * 2 + i % 4 / 3]);
        }
    assert_int_equal(rows->together, 2);
    assert_int_equal(rows->read(rows, 3, 2, got, &scratch, &diag), HT_ERR_NONFINITE);
    assert_string_equal(diag.where, "m.safetensors: m.weight_scale_inv");
    ht__checkpoint_close(&ck);
    ht__buf_close(&b);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slices, begin, end),     cmocka_unit_test_setup_teardown(concats, begin, end),
        cmocka_unit_test_setup_teardown(maps, begin, end),       cmocka_unit_test_setup_teardown(picks, begin, end),
        cmocka_unit_test_setup_teardown(transposes, begin, end), cmocka_unit_test_setup_teardown(values, begin, end),
        cmocka_unit_test_setup_teardown(mxfp4, begin, end),      cmocka_unit_test_setup_teardown(packed, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
