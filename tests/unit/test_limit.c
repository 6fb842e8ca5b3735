/* Limits on quality: what is taken, what is refused, and when they are broken. */
#include "eval/limit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void taken(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct ht__limit limit;
    } good[] = {
        {"kld>0.05", {HT__FIGURE_KLD, true, .05, NULL}},
        {"top1<.9", {HT__FIGURE_TOP1, false, .9, NULL}},
        {"ppl_ratio>1.02", {HT__FIGURE_PPL_RATIO, true, 1.02, NULL}},
        {"perplexity>1e1", {HT__FIGURE_PERPLEXITY, true, 10, NULL}},
        {"kld_p99<-1", {HT__FIGURE_KLD_P99, false, -1, NULL}},
        {"retention<0.5", {HT__FIGURE_RETENTION, false, .5, NULL}},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct ht__limit limit;
        struct ht_diag diag = {0};
        if (ht__limit_parse(good[i].text, &limit, &diag)) fail_msg("%s: %s", good[i].text, diag.message);
        assert_true(limit.figure == good[i].limit.figure && limit.above == good[i].limit.above &&
                    limit.value == good[i].limit.value);
        assert_memory_equal(ht__figure_name(limit.figure), good[i].text, strcspn(good[i].text, "<>"));
    }
}

static void refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "kld",      ">1",        "kld>",    "kld>x",  "kld>1x", "kld>nan",
                                      "kld>inf", "kld>0x10", "kld>1e999", "kld=1",   "kl>1",   "kldd>1", "KLD>1",
                                      "kld >1",  "kld> 1",   "kld>>1",    "kld>1>2", "size>1", "kld>-",  "kld>1e"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ht__limit limit;
        struct ht_diag diag = {0};
        if (ht__limit_parse(bad[i], &limit, &diag) != HT_ERR_USAGE) fail_msg("\"%s\" is taken", bad[i]);
        assert_non_null(strstr(diag.message, "is not a limit"));
    }
}

static void broken(void **state)
{
    (void)state;
    struct ht__limit above = {HT__FIGURE_KLD, true, .5, NULL}, below = {HT__FIGURE_TOP1, false, .5, NULL};
    assert_true(ht__limit_broken(&above, .6) && !ht__limit_broken(&above, .5) && !ht__limit_broken(&above, .4));
    assert_true(ht__limit_broken(&below, .4) && !ht__limit_broken(&below, .5) && !ht__limit_broken(&below, .6));
    assert_true(ht__limit_broken(&above, NAN) && ht__limit_broken(&below, NAN));
    assert_true(ht__limit_broken(&above, INFINITY) && !ht__limit_broken(&below, INFINITY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(taken), cmocka_unit_test(refused), cmocka_unit_test(broken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
