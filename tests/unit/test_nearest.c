/* Suggestions: what is near is found, what is not near is not. */
#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const words[] = {"quantize", "convert", "estimate", "eval",   "serve",  "Q4_K_M",
                                    "Q4_K_S",   "Q8_0",    "IQ3_XXS",  "--type", "--text", NULL};

static const char *word_at(void *ctx, size_t i)
{
    (void)ctx;
    return words[i];
}

static void near_and_far(void **state)
{
    static const char *const cases[][2] = {
        {"quantise", "quantize"},
        {"Quantize", "quantize"},
        {"qauntize", "quantize"},
        {"quantiz", "quantize"},
        {"Q4KM", "Q4_K_M"},
        {"q4-k-m", "Q4_K_M"},
        {"Q8", "Q8_0"},
        {"iq3xxs", "IQ3_XXS"},
        {"--tipe", "--type"},
        {"evla", "eval"},
        {"sevre", "serve"},
        {"banana", NULL},
        {"", NULL},
        {"x", NULL},
        {"__", NULL},
        {"this word is longer than any name that could have been meant by anybody", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *found = ht__nearest(cases[i][0], word_at, NULL);
        if (!cases[i][1] != !found || (found && strcmp(found, cases[i][1]) != 0))
            fail_msg("\"%s\" is near to %s", cases[i][0], found ? found : "nothing");
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(near_and_far)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
