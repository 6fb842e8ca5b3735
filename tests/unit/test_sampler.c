/* Picking tokens: exact choices, fixed draws, and shares as the settings define them. */
#include "engine/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { DRAWS = 40000 };

static struct ht__sampler *open_sampler(int n_vocab, struct ht__sampler_params params)
{
    struct ht__sampler *s;
    struct ht_diag diag = {0};
    assert_int_equal(ht__sampler_open(n_vocab, NULL, &s, &diag), HT_OK);
    assert_int_equal(ht__sampler_set(s, &params, &diag), HT_OK);
    return s;
}

static int32_t pick(struct ht__sampler *s, const float *logits, const int32_t *so_far, size_t n)
{
    int32_t token = -1;
    struct ht_diag diag = {0};
    assert_int_equal(ht__sampler_pick(s, logits, so_far, n, &token, &diag), HT_OK);
    return token;
}

/* All filters off. */
static struct ht__sampler_params plain(double temperature)
{
    return (struct ht__sampler_params){.temperature = temperature, .top_p = 1, .repeat_penalty = 1, .seed = 7};
}

static void greedy_takes_the_lower_of_equals(void **state)
{
    struct ht__sampler *s = open_sampler(5, ht__sampler_defaults());
    assert_int_equal(pick(s, (float[]){1, 3, 2, 3, 3}, NULL, 0), 1);
    assert_int_equal(pick(s, (float[]){-5, -5, -5, -5, -5}, NULL, 0), 0);
    assert_int_equal(pick(s, (float[]){-INFINITY, -INFINITY, -3e38f, -INFINITY, -INFINITY}, NULL, 0), 2);
    assert_int_equal(pick(s, (float[]){3e38f, 3.1e38f, 0, 0, 0}, NULL, 0), 1);
    ht__sampler_close(&s);
    assert_null(s);
    ht__sampler_close(&s);
}

/* Counts draws of `logits` and compares each token's share with `want`; 0 must never be drawn. */
static void expect_shares(struct ht__sampler_params params, const float *logits, int n, const double *want)
{
    struct ht__sampler *s = open_sampler(n, params);
    int counts[16] = {0};
    for (int i = 0; i < DRAWS; i++)
        counts[pick(s, logits, NULL, 0)]++;
    for (int i = 0; i < n; i++) {
        /* five standard deviations of a share; the seed is fixed, so this either holds or not */
        double off = fabs((double)counts[i] / DRAWS - want[i]), bound = 5 * sqrt(want[i] * (1 - want[i]) / DRAWS);
        if (want[i] == 0 ? counts[i] > 0 : off > bound)
            fail_msg("token %d: share %.4f, not %.4f", i, (double)counts[i] / DRAWS, want[i]);
    }
    ht__sampler_close(&s);
}

static const float fifths[] = {-INFINITY, 0, 0, 0, 0, 0};
/* shares 0.1 0.4 0.3 0.15 0.05 */
static const float uneven[] = {-2.302585093f, -0.916290732f, -1.203972804f, -1.897119985f, -2.995732274f};

static void shares_follow_the_logits(void **state)
{
    expect_shares(plain(1), fifths, 6, (double[]){0, .2, .2, .2, .2, .2});
    expect_shares(plain(1), uneven, 5, (double[]){.1, .4, .3, .15, .05});
}

static void temperature_sharpens_and_flattens(void **state)
{
    double squares[5], roots[5], shares[] = {.1, .4, .3, .15, .05}, sum2 = 0, sum_root = 0;
    for (int i = 0; i < 5; i++) {
        sum2 += squares[i] = shares[i] * shares[i];
        sum_root += roots[i] = sqrt(shares[i]);
    }
    for (int i = 0; i < 5; i++) {
        squares[i] /= sum2;
        roots[i] /= sum_root;
    }
    expect_shares(plain(0.5), uneven, 5, squares);
    expect_shares(plain(2), uneven, 5, roots);
    expect_shares(plain(1e-9), uneven, 5, (double[]){0, 1, 0, 0, 0});
    expect_shares(plain(1000), fifths, 6, (double[]){0, .2, .2, .2, .2, .2});
}

static void top_k_keeps_the_best(void **state)
{
    struct ht__sampler_params p = plain(1);
    p.top_k = 2;
    expect_shares(p, uneven, 5, (double[]){0, 4 / 7., 3 / 7., 0, 0});
    p.top_k = 1;
    expect_shares(p, uneven, 5, (double[]){0, 1, 0, 0, 0});
    p.top_k = 3; /* of five equals, the lowest ids */
    expect_shares(p, fifths, 6, (double[]){0, 1 / 3., 1 / 3., 1 / 3., 0, 0});
    p.top_k = INT32_MAX;
    expect_shares(p, uneven, 5, (double[]){.1, .4, .3, .15, .05});
}

static void top_p_keeps_the_smallest_set(void **state)
{
    struct ht__sampler_params p = plain(1);
    p.top_p = 0.6; /* 0.4 is less, 0.7 is enough */
    expect_shares(p, uneven, 5, (double[]){0, 4 / 7., 3 / 7., 0, 0});
    p.top_p = 0.84;
    expect_shares(p, uneven, 5, (double[]){0, .4 / .85, .3 / .85, .15 / .85, 0});
    p.top_p = 1e-300; /* one is always left */
    expect_shares(p, uneven, 5, (double[]){0, 1, 0, 0, 0});
    p.top_p = 0.5; /* of what top-k left: 0.4 of 0.7 is more than half */
    p.top_k = 2;
    expect_shares(p, uneven, 5, (double[]){0, 1, 0, 0, 0});
    p.top_k = 0; /* probabilities before the temperature: at 0.5 the best alone would have 0.55 */
    p.temperature = 0.5;
    expect_shares(p, uneven, 5, (double[]){0, 16 / 25., 9 / 25., 0, 0});
}

static void min_p_is_a_share_of_the_best(void **state)
{
    struct ht__sampler_params p = plain(1);
    p.min_p = 0.3; /* 0.12 */
    expect_shares(p, uneven, 5, (double[]){0, .4 / .85, .3 / .85, .15 / .85, 0});
    p.min_p = 1;
    expect_shares(p, uneven, 5, (double[]){0, 1, 0, 0, 0});
    expect_shares(p, fifths, 6, (double[]){0, .2, .2, .2, .2, .2});
    p.min_p = 0.3;
    p.top_p = 0.6;
    p.top_k = 4;
    expect_shares(p, uneven, 5, (double[]){0, 4 / 7., 3 / 7., 0, 0});
}

static void repeated_tokens_are_penalized(void **state)
{
    struct ht__sampler_params p = ht__sampler_defaults();
    p.repeat_penalty = 2;
    p.repeat_last = 2;
    struct ht__sampler *s = open_sampler(4, p);
    const float logits[] = {3, 4, 2.5f, -1}, negative[] = {-3, -4, -2, -1};
    assert_int_equal(pick(s, logits, NULL, 0), 1);
    assert_int_equal(pick(s, logits, (int32_t[]){1}, 1), 0);
    assert_int_equal(pick(s, logits, (int32_t[]){1, 0}, 2), 2);
    assert_int_equal(pick(s, logits, (int32_t[]){1, 0, 0}, 3), 1);     /* 1 is too long ago; once is like twice */
    assert_int_equal(pick(s, negative, (int32_t[]){3, 3}, 2), 2);      /* -1 becomes -2: the lower id */
    assert_int_equal(pick(s, logits, (int32_t[]){-7, 1 << 30}, 2), 1); /* no such tokens */
    p.repeat_last = 0;
    assert_int_equal(ht__sampler_set(s, &p, NULL), HT_OK);
    assert_int_equal(pick(s, logits, (int32_t[]){1}, 1), 1);
    p.repeat_last = INT32_MAX;
    p.repeat_penalty = 1000;
    assert_int_equal(ht__sampler_set(s, &p, NULL), HT_OK);
    assert_int_equal(pick(s, (float[]){-3e38f, -3.2e38f, -3.3e38f, -3.1e38f}, (int32_t[]){0, 3}, 2), 0);
    ht__sampler_close(&s);
}

/* The recurrences are published; these are their numbers, computed apart from this code. A draw from 2^16 equal
 * tokens shows the upper sixteen bits of each. */
static void seeds_give_the_same_draws_everywhere(void **state)
{
    static const int32_t want[2][6] = {
        {5496, 24836, 44567, 60600, 64998, 50445},
        {36693, 50294, 33246, 48997, 37173, 47955},
    };
    enum { N = 1 << 16 };
    static float logits[N];
    for (int which = 0; which < 2; which++) {
        struct ht__sampler_params p = plain(1);
        p.seed = which ? UINT64_MAX : 42;
        struct ht__sampler *s = open_sampler(N, p);
        for (int i = 0; i < 6; i++)
            assert_int_equal(pick(s, logits, NULL, 0), want[which][i]);
        ht__sampler_close(&s);
    }
}

static void hostile_settings_are_refused(void **state)
{
    struct ht__sampler_params good = ht__sampler_defaults(), p;
    struct ht__sampler *s = open_sampler(3, good);
    const double bad[] = {NAN, -1, -1e-300, INFINITY, -INFINITY, 1e300};
    struct ht_diag diag;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double *fields[] = {&p.temperature, &p.top_p, &p.min_p, &p.repeat_penalty};
        const char *const names[] = {"temperature", "top-p", "min-p", "repeat-penalty"};
        for (int f = 0; f < 4; f++) {
            p = good;
            *fields[f] = bad[i];
            memset(&diag, 0, sizeof diag);
            assert_int_equal(ht__sampler_set(s, &p, &diag), HT_ERR_USAGE);
            assert_string_equal(diag.where, names[f]);
        }
    }
    p = good, p.top_k = -1;
    assert_int_equal(ht__sampler_check(&p, NULL), HT_ERR_USAGE);
    p = good, p.repeat_last = INT32_MIN;
    assert_int_equal(ht__sampler_check(&p, NULL), HT_ERR_USAGE);
    p = good, p.top_p = 0;
    assert_int_equal(ht__sampler_check(&p, NULL), HT_ERR_USAGE);
    p = good, p.repeat_penalty = 0;
    assert_int_equal(ht__sampler_check(&p, NULL), HT_ERR_USAGE);
    assert_int_equal(pick(s, (float[]){0, 1, 0}, NULL, 0), 1); /* and what was set before still holds */
    ht__sampler_close(&s);
    assert_int_equal(ht__sampler_open(0, NULL, &s, NULL), HT_ERR_FORMAT);
    assert_int_equal(ht__sampler_open(-5, NULL, &s, NULL), HT_ERR_FORMAT);
    assert_null(s);
}

static void logits_that_are_no_numbers_are_refused(void **state)
{
    const float bad[][3] = {{1, NAN, 0}, {NAN, NAN, NAN}, {0, 0, INFINITY}, {-INFINITY, -INFINITY, -INFINITY}};
    for (int warm = 0; warm < 2; warm++) {
        struct ht__sampler *s = open_sampler(3, plain(warm));
        struct ht_diag diag;
        int32_t token;
        for (int i = 0; i < 4; i++) {
            memset(&diag, 0, sizeof diag);
            assert_int_equal(ht__sampler_pick(s, bad[i], NULL, 0, &token, &diag), HT_ERR_NONFINITE);
            assert_string_equal(diag.where, "logits");
        }
        assert_int_equal(pick(s, (float[]){-1e30f, 3e38f, -3e38f}, NULL, 0), 1);
        ht__sampler_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_lower_of_equals),  cmocka_unit_test(shares_follow_the_logits),
        cmocka_unit_test(temperature_sharpens_and_flattens), cmocka_unit_test(top_k_keeps_the_best),
        cmocka_unit_test(top_p_keeps_the_smallest_set),      cmocka_unit_test(min_p_is_a_share_of_the_best),
        cmocka_unit_test(repeated_tokens_are_penalized),     cmocka_unit_test(seeds_give_the_same_draws_everywhere),
        cmocka_unit_test(hostile_settings_are_refused),      cmocka_unit_test(logits_that_are_no_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
