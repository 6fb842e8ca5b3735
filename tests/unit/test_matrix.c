/* ht_matrix_quantize and ht_matrix_dequantize as a program calls them, with every scheme of the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "halftone/halftone.h"
#include "lib/counting.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_OUT = 384, N_IN = 1024 };

static float *weights(void)
{
    float *x = malloc(sizeof(float) * N_OUT * N_IN);
    uint32_t state = 3;
    assert_non_null(x);
    for (int64_t i = 0; i < N_OUT * N_IN; i++) {
        state = state * 1664525u + 1013904223u;
        int32_t level = (int32_t)(state >> 24) - 128; /* numbers that every dtype holds */
        x[i] = (float)level / 1024;
    }
    return x;
}

static struct ht_matrix matrix(void)
{
    return (struct ht_matrix){.size = sizeof(struct ht_matrix), .n_out = N_OUT, .n_in = N_IN, .dtype = "bf16"};
}

struct made {
    struct ht_part parts[HT_MATRIX_PARTS];
    size_t n;
};

static struct made room_for(const char *scheme, const struct ht_matrix *m)
{
    struct made made = {.parts = {{.size = sizeof(struct ht_part)}}, .n = HT_MATRIX_PARTS};
    assert_int_equal(ht_matrix_parts(scheme, m, made.parts, &made.n, NULL), HT_OK);
    for (size_t i = 0; i < made.n; i++) {
        assert_non_null(made.parts[i].data = malloc(made.parts[i].n_bytes));
        memset(made.parts[i].data, 0xa5, made.parts[i].n_bytes);
    }
    return made;
}

static void free_made(struct made *made)
{
    for (size_t i = 0; i < made->n; i++)
        free(made->parts[i].data);
}

static void each_writable(void (*check)(const char *scheme, const float *x))
{
    struct ht_scheme_info info = {.size = sizeof info};
    float *x = weights();
    size_t n = 0;
    for (size_t i = 0; ht_scheme_at(i, &info); i++, n++)
        if (info.can_write) check(info.name, x);
    assert_int_equal(n, ht_scheme_count());
    free(x);
}

/* One thread or five, the same bytes; and floats near those that went in. */
static void check_round_trip(const char *scheme, const float *x)
{
    struct ht_matrix m = matrix();
    struct made one, five;
    float *again = malloc(sizeof(float) * N_OUT * N_IN);
    double error = 0, squares = 0;
    m.n_threads = 1;
    one = room_for(scheme, &m);
    assert_int_equal(ht_matrix_quantize(scheme, &m, x, one.parts, one.n, NULL), HT_OK);
    m.n_threads = 5;
    five = room_for(scheme, &m);
    assert_int_equal(ht_matrix_quantize(scheme, &m, x, five.parts, five.n, NULL), HT_OK);
    for (size_t i = 0; i < one.n; i++) {
        assert_int_equal(one.parts[i].n_bytes, five.parts[i].n_bytes);
        assert_memory_equal(one.parts[i].data, five.parts[i].data, one.parts[i].n_bytes);
    }
    assert_int_equal(ht_matrix_dequantize(scheme, &m, one.parts, one.n, again, NULL), HT_OK);
    for (int64_t i = 0; i < N_OUT * N_IN; i++) {
        error += (x[i] - again[i]) * (x[i] - again[i]);
        squares += x[i] * x[i];
    }
    if (!(error < 0.1 * squares)) print_message("%s: %g of %g\n", scheme, error, squares);
    assert_true(error < 0.1 * squares);
    free(again);
    free_made(&one);
    free_made(&five);
}

static void test_round_trip(void **state)
{
    each_writable(check_round_trip);
    float *x = weights();
    check_round_trip("nf4:nested=on,block=128", x); /* a part that is only there meanwhile, and a text */
    free(x);
}

/* Weights given in 16 bits: the same bytes. */
static void check_given_in(const char *scheme, const float *x)
{
    static const char *const types[] = {"f32", "f16", "bf16"};
    struct ht_matrix m = matrix();
    struct made one = room_for(scheme, &m), other = room_for(scheme, &m);
    void *given = malloc(sizeof(float) * N_OUT * N_IN);
    assert_int_equal(ht_matrix_quantize(scheme, &m, x, one.parts, one.n, NULL), HT_OK);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        assert_int_equal(ht_encode_rows(types[t], x, N_OUT, N_IN, NULL, 1, given), HT_OK);
        m.x_dtype = types[t];
        assert_int_equal(ht_matrix_quantize(scheme, &m, given, other.parts, other.n, NULL), HT_OK);
        for (size_t i = 0; i < one.n; i++)
            assert_memory_equal(one.parts[i].data, other.parts[i].data, one.parts[i].n_bytes);
    }
    free(given);
    free_made(&one);
    free_made(&other);
}

static void test_given_in(void **state)
{
    each_writable(check_given_in);
}

static void *resize(void *ctx, void *ptr, size_t size)
{
    struct counting *counting = ctx;
    return counting->alloc.resize(counting->alloc.ctx, ptr, size);
}

/* Every request of memory fails once: an error each time, and nothing is left. */
static void check_memory(const char *scheme, const float *x)
{
    struct ht_matrix m = matrix();
    m.n_threads = 2;
    struct made made = room_for(scheme, &m);
    enum ht_err err = HT_ERR_MEMORY;
    for (long fail_at = 1; err && fail_at < 50; fail_at++) {
        struct counting counting;
        counting_begin(&counting, fail_at, false);
        struct ht_allocator allocator = {sizeof allocator, resize, &counting};
        m.allocator = &allocator;
        err = ht_matrix_quantize(scheme, &m, x, made.parts, made.n, NULL);
        assert_true(err == HT_OK || err == HT_ERR_MEMORY);
        assert_int_equal(atomic_load(&counting.live), 0);
    }
    assert_int_equal(err, HT_OK);
    free_made(&made);
}

static void test_memory(void **state)
{
    each_writable(check_memory);
}

static bool stop(void *ctx, int64_t n_done, int64_t n_out)
{
    int *calls = ctx;
    assert_in_range(n_done, 1, n_out);
    assert_int_equal(n_out, N_OUT);
    return ++*calls < 0;
}

static void test_cancel(void **state)
{
    struct ht_matrix m = matrix();
    struct made made = room_for("nf4", &m);
    float *x = weights();
    int calls = 0;
    m.n_threads = 1;
    assert_int_equal(ht_matrix_quantize("nf4", &m, x, made.parts, made.n, NULL), HT_OK);
    m.progress = stop;
    m.ctx = &calls;
    assert_int_equal(ht_matrix_quantize("nf4", &m, x, made.parts, made.n, NULL), HT_ERR_CANCELLED);
    assert_int_equal(ht_matrix_dequantize("nf4", &m, made.parts, made.n, x, NULL), HT_ERR_CANCELLED);
    assert_int_equal(calls, 2);
    free(x);
    free_made(&made);
}

static void refused(enum ht_err err, enum ht_err expected, struct ht_diag *diag, const char *text)
{
    if (err != expected || !strstr(diag->message, text)) print_message("%s: %s\n", diag->where, diag->message);
    assert_int_equal(err, expected);
    assert_non_null(strstr(diag->message, text));
}

static void test_refused(void **state)
{
    struct ht_matrix good = matrix(), m;
    struct ht_diag diag;
    struct made made = room_for("nf4", &good);
    float *x = weights(), importance[N_IN] = {[5] = -1};
    struct ht_part one = {.size = sizeof one};
    size_t n = 1;
#define QUANTIZE(scheme, matrix) ht_matrix_quantize(scheme, matrix, x, made.parts, made.n, &diag)
    refused(QUANTIZE("nf5", &good), HT_ERR_USAGE, &diag, "no scheme of this name");
    refused(QUANTIZE("nf4:block=65", &good), HT_ERR_USAGE, &diag, "block is one of");
    refused(QUANTIZE(NULL, &good), HT_ERR_USAGE, &diag, "no scheme is named");
    refused(QUANTIZE("nf4", NULL), HT_ERR_USAGE, &diag, "no matrix");
    m = good, m.size = 0;
    refused(QUANTIZE("nf4", &m), HT_ERR_USAGE, &diag, "size member");
    m = good, m.n_out = 0;
    refused(QUANTIZE("nf4", &m), HT_ERR_USAGE, &diag, "not those of a matrix");
    m = good, m.n_out = m.n_in = INT32_MAX;
    refused(QUANTIZE("nf4", &m), HT_ERR_USAGE, &diag, "not those of a matrix");
    m = good, m.dtype = "i8";
    refused(QUANTIZE("nf4", &m), HT_ERR_USAGE, &diag, "dtype is one of");
    m = good, m.x_dtype = "i8";
    refused(QUANTIZE("nf4", &m), HT_ERR_USAGE, &diag, "x_dtype is one of");
    m = good, m.importance = importance;
    refused(QUANTIZE("nf4", &m), HT_ERR_NONFINITE, &diag, "number 5");
    m = good, m.amax = NAN;
    refused(QUANTIZE("nf4", &m), HT_ERR_USAGE, &diag, "amax");
    x[3 * N_IN + 7] = INFINITY;
    refused(QUANTIZE("nf4", &good), HT_ERR_NONFINITE, &diag, "row 3, column 7");
    x[3 * N_IN + 7] = 0;
    made.parts[0].n_bytes--;
    refused(QUANTIZE("nf4", &good), HT_ERR_USAGE, &diag, "no room of");
    made.parts[0].n_bytes++;
    assert_int_equal(QUANTIZE("nf4", &good), HT_OK);
    refused(ht_matrix_parts("nf4", &good, &one, &n, &diag), HT_ERR_USAGE, &diag, "more parts");
    made.parts[1].shape[0]++;
    refused(ht_matrix_dequantize("nf4", &good, made.parts, made.n, x, &diag), HT_ERR_FORMAT, &diag, "dtype or shape");
    made.parts[1].shape[0]--;
    refused(ht_matrix_dequantize("nf4", &good, made.parts, 1, x, &diag), HT_ERR_FORMAT, &diag, "missing");
    assert_int_equal(ht_matrix_dequantize("nf4", &good, made.parts, made.n, x, NULL), HT_OK);
    free(x);
    free_made(&made);
}

/* A program that knows fewer members of a struct is given those. */
static void test_sizes(void **state)
{
    struct ht_scheme_info info = {.size = offsetof(struct ht_scheme_info, family), .family = "untouched"};
    struct ht_scheme_option_info option = {.size = sizeof option};
    assert_true(ht_scheme_at(0, &info));
    assert_non_null(info.label);
    assert_string_equal(info.family, "untouched");
    info.size = 0;
    assert_false(ht_scheme_at(0, &info));
    assert_true(ht_scheme_option_at("nf4", 0, &option));
    assert_string_equal(option.name, "block");
    assert_string_equal(option.otherwise, "64");
    assert_false(ht_scheme_option_at("nf4", 50, &option));
    assert_false(ht_scheme_option_at("nf5", 0, &option));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_given_in), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_cancel),     cmocka_unit_test(test_refused),  cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
