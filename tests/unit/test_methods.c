/* The list of methods, their options, and HQQ's solver against what it minimises. */
#include "methods/method.h"
#include "schemes/inputs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 16, N = 256 };

static float w[ROWS * N], importance[N];

static int fill(void **state)
{
    uint64_t seed = 3;
    (void)state;
    for (int i = 0; i < ROWS * N; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        float x = (float)((double)(seed >> 40) / (1 << 24) - .5);
        w[i] = x * x * x + .03f * x; /* a few are far larger than most */
    }
    for (int i = 0; i < N; i++)
        importance[i] = .5f + (float)(i % 7);
    return 0;
}

static void options_are_read(void **state)
{
    struct ht__method_params p;
    struct ht_diag diag = {0};
    (void)state;
    assert_int_equal(ht__method_parse("best", &p, NULL), HT_OK);
    assert_int_equal(ht__method_get(&p, "order"), 0);
    assert_int_equal(ht__method_get(&p, "sequential"), 1);
    assert_int_equal(ht__method_parse("BEST:order=natural,sequential=off", &p, NULL), HT_OK);
    assert_int_equal(ht__method_get(&p, "order"), 2);
    assert_int_equal(ht__method_get(&p, "sequential"), 0);
    assert_int_equal(ht__method_parse("hqq:power=0.5,rounds=3", &p, NULL), HT_OK);
    assert_true(ht__method_get(&p, "power") == .5);
    assert_int_equal(ht__method_parse("best:order=up", &p, &diag), HT_ERR_USAGE);
    assert_non_null(strstr(diag.message, "act group natural"));
    assert_int_equal(ht__method_parse("hqq:power=9", &p, NULL), HT_ERR_USAGE);
    assert_int_equal(ht__method_parse("hqq:power=nan", &p, NULL), HT_ERR_USAGE);
    assert_int_equal(ht__method_parse("round:x=1", &p, NULL), HT_ERR_USAGE);
    assert_int_equal(ht__method_parse("bes", &p, NULL), HT_ERR_NOT_FOUND);
    assert_int_equal(ht__method_parse("", &p, NULL), HT_ERR_NOT_FOUND);
}

/* The sum of errors to a power of a row's codes. */
static double loss(const struct ht__scheme_params *s, const struct ht__matrix *m, const struct ht__codes *c,
                   double power)
{
    static float again[ROWS * N];
    double sum = 0;
    s->scheme->value(s, m, c, again);
    for (int i = 0; i < ROWS * N; i++)
        sum += importance[i % N] * pow(fabs((double)w[i] - (double)again[i]), power);
    return sum;
}

static void hqq_lowers_what_it_sums(void **state)
{
    static const char *const schemes[] = {"awq:group=64", "gptq:sym=off,bits=3", "gptq:bits=2,group=32",
                                          "gptq:group=-1"};
    static const char *const methods[] = {"hqq", "hqq:power=1.5,rounds=4"};
    struct ht__arena arena;
    (void)state;
    ht__arena_init(&arena, NULL);
    for (int i = 0; i < 8; i++) {
        struct ht__scheme_params s;
        struct ht__method_params hqq;
        struct ht__codes plain, solved, row;
        assert_int_equal(ht__scheme_parse(schemes[i / 2], &s, NULL), HT_OK);
        assert_int_equal(ht__method_parse(methods[i % 2], &hqq, NULL), HT_OK);
        assert_null(hqq.method->unsuited(&s));
        struct ht__matrix m = {.n_out = ROWS, .n_in = N, .dtype = &ht__codec_f32};
        assert_true(ht__codes_new(&plain, &s, &m, 0, ROWS, &arena) && ht__codes_new(&solved, &s, &m, 0, ROWS, &arena));
        assert_true(ht__codes_new(&row, &s, &m, 0, ROWS, &arena));
        const struct ht__method *round = ht__method_at(0);
        assert_true(round->rows(NULL, &s, &m, w, importance, &plain));
        assert_true(hqq.method->rows(&hqq, &s, &m, w, importance, &solved));
        double power = ht__method_get(&hqq, "power");
        assert_true(loss(&s, &m, &solved, power) < loss(&s, &m, &plain, power));
        row.n_rows = 1; /* a row by itself is as among others */
        assert_true(hqq.method->rows(&hqq, &s, &m, w, importance, &row));
        assert_memory_equal(row.q, solved.q, N);
        assert_true(row.scale[0] == solved.scale[0]);
    }
    ht__arena_close(&arena);
}

static void hqq_is_for_whole_numbers(void **state)
{
    struct ht__scheme_params s;
    (void)state;
    assert_int_equal(ht__scheme_parse("nf4", &s, NULL), HT_OK);
    assert_non_null(ht__method_by_name("hqq", 3)->unsuited(&s));
}

static void smooth_is_for_rounded_activations(void **state)
{
    static const struct {
        const char *scheme;
        bool suited;
    } cases[] = {{"w8a8", true}, {"w8a16", false}, {"gptq", false}, {"fp8", false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__scheme_params s;
        assert_int_equal(ht__scheme_parse(cases[i].scheme, &s, NULL), HT_OK);
        assert_int_equal(ht__method_by_name("smooth", 6)->unsuited(&s) == NULL, cases[i].suited);
    }
}

/* By hand: steps of the largest over 127.5, from -128 to 127; by s before, and back. */
static void inputs_are_rounded(void **state)
{
    static const float x[] = {255, -255, 127, 1.2f, 0, -2.6f}, s[] = {1, 1, .5f, 4, 1, 1}, nothing[] = {0, -0.f, 0};
    static const float plain[] = {127, -128, 64, 1, 0, -1}, scaled[] = {127, -128, 127, 0, 0, -1};
    float out[6];
    (void)state;
    ht__int8_inputs(x, NULL, 6, out);
    for (int i = 0; i < 6; i++)
        assert_float_equal(out[i], plain[i] * 2, 1e-6);
    ht__int8_inputs(x, s, 6, out);
    for (int i = 0; i < 6; i++)
        assert_float_equal(out[i], scaled[i] * 2 * s[i], 1e-6);
    ht__int8_inputs(nothing, NULL, 3, out);
    for (int i = 0; i < 3; i++)
        assert_true(out[i] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_read),         cmocka_unit_test(hqq_lowers_what_it_sums),
        cmocka_unit_test(hqq_is_for_whole_numbers), cmocka_unit_test(smooth_is_for_rounded_activations),
        cmocka_unit_test(inputs_are_rounded),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
