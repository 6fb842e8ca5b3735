/* Cards by the names that people write, and the shares of chips that have no memory of their own. */
#include "advise/gpus.h"
#include "recipe/quality.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *written, *name;
    } good[] = {
        {"NVIDIA GeForce RTX 3060", "NVIDIA GeForce RTX 3060"},
        {"RTX 3060", "NVIDIA GeForce RTX 3060"},
        {"rtx3060", "NVIDIA GeForce RTX 3060"},
        {"3060", "NVIDIA GeForce RTX 3060"},
        {"3060-Ti", "NVIDIA GeForce RTX 3060 Ti"},
        {"GeForce RTX 4060 Ti 16 GB", "NVIDIA GeForce RTX 4060 Ti 16GB"},
        {"4060ti", "NVIDIA GeForce RTX 4060 Ti"},
        {"Radeon 7900XTX", "AMD Radeon RX 7900 XTX"},
        {"m2 MAX", "Apple M2 Max"},
        {"MI300X", "AMD Instinct MI300X"},
        {"Tesla T4", "NVIDIA T4"},
        {"a100-80gb", "NVIDIA A100 80GB"},
        {"Ryzen AI Max+ 395", "AMD Ryzen AI Max+ 395"},
    };
    static const char *const bad[] = {
        "",         " ",     "RTX",  "nvidia",           "3060x", "A100", "GeForce RTX 30", "rtx 9999",
        "\xff\xfe", "--gpu", "%s%n", "RTX 3060 RTX 3060"};
    const struct ht__gpu *gpu;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct ht_diag diag = {0};
        enum ht_err err = ht__gpu_by_name(good[i].written, &gpu, &diag);
        if (err != HT_OK) fail_msg("%s: %s", good[i].written, diag.message);
        assert_string_equal(gpu->name, good[i].name);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (ht__gpu_by_name(bad[i], &gpu, NULL) != HT_ERR_USAGE) fail_msg("\"%s\" is %s", bad[i], gpu->name);
    char long_name[5000];
    memset(long_name, '3', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(ht__gpu_by_name(long_name, &gpu, NULL), HT_ERR_USAGE);
}

static void near_names_are_told(void **state)
{
    (void)state;
    const struct ht__gpu *gpu;
    struct ht_diag diag = {0};
    assert_int_equal(ht__gpu_by_name("A100", &gpu, &diag), HT_ERR_USAGE);
    assert_non_null(strstr(diag.message, "NVIDIA A100 40GB, NVIDIA A100 80GB"));
    diag = (struct ht_diag){0};
    assert_int_equal(ht__gpu_by_name("RTX 309O", &gpu, &diag), HT_ERR_USAGE);
    assert_non_null(strstr(diag.message, "did you mean NVIDIA GeForce RTX 3090?"));
}

/* Each can be had by its own name, and has figures that a card can have. */
static void each(void **state)
{
    (void)state;
    const struct ht__gpu *gpu, *found;
    size_t n = 0;
    for (; (gpu = ht__gpu_at(n)) != NULL; n++) {
        assert_int_equal(ht__gpu_by_name(gpu->name, &found, NULL), HT_OK);
        assert_ptr_equal(found, gpu);
        assert_true(gpu->memory <= (uint64_t)512 << 30 && gpu->memory % (1u << 30) == 0);
        assert_true(gpu->bandwidth >= 50000000000 && gpu->bandwidth <= 20000000000000);
    }
    assert_true(n > 100);
}

static void shares(void **state)
{
    (void)state;
    const struct ht__gpu *gpu;
    assert_int_equal(ht__gpu_by_name("M2 Max", &gpu, NULL), HT_OK);
    assert_int_equal(ht__gpu_share(gpu, (uint64_t)32 << 30), ((uint64_t)32 << 30) / 3 * 2);
    assert_int_equal(ht__gpu_share(gpu, (uint64_t)64 << 30), (uint64_t)48 << 30);
    assert_int_equal(ht__gpu_by_name("RTX 3060", &gpu, NULL), HT_OK);
    assert_int_equal(ht__gpu_share(gpu, (uint64_t)64 << 30), (uint64_t)12 << 30);
}

/* The ladder is in order, of mixes and schemes that exist, each once. */
static void ladder(void **state)
{
    (void)state;
    const struct ht__quality *q, *before = NULL;
    for (size_t i = 0; (q = ht__quality_at(i)) != NULL; before = q, i++) {
        struct ht__scheme_params params;
        if (q->scheme)
            assert_int_equal(ht__scheme_parse(q->type, &params, NULL), HT_OK);
        else
            assert_non_null(ht__mix_by_name(q->type));
        assert_ptr_equal(q->scheme ? ht__quality_of_scheme(&params) : ht__quality_of(ht__mix_by_name(q->type)), q);
        assert_true(q->divergence >= (before ? before->divergence : 1e-9) && q->same > .5 && q->same < 1);
    }
    assert_string_equal(ht__quality_hint(ht__mix_by_name("Q4_K_M")), "the usual choice");
    assert_string_equal(ht__quality_hint(ht__mix_by_name("F16")), "half precision");
    assert_string_equal(ht__quality_hint(ht__mix_by_name("Q3_K_L")), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),  cmocka_unit_test(near_names_are_told),
        cmocka_unit_test(each),   cmocka_unit_test(shares),
        cmocka_unit_test(ladder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
