/* What names say, at sizes that no test file has; titles; size labels. tests/parity/check_metadata.py compares
 * many more with llama.cpp's own package, gguf. */
#include "model/model_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void same(const char *what, const char *got, const char *want)
{
    if (!want) {
        if (got) fail_msg("%s: \"%s\", not nothing", what, got);
        return;
    }
    if (!got) fail_msg("%s: nothing, not \"%s\"", what, want);
    assert_string_equal(got, want);
}

static void names(void **state)
{
    static const struct {
        const char *id;
        double n_weights;
        const char *name, *organization, *basename, *size, *finetune, *version;
    } cases[] = {
        {"meta-llama/Llama-2-7b-chat-hf", 6.7e9, "Llama-2-7b-chat-hf", "meta-llama", "Llama-2", "7B", "chat-hf", NULL},
        {"mistralai/Mixtral-8x7B-Instruct-v0.1", 46.7e9, "Mixtral-8x7B-Instruct-v0.1", "mistralai", "Mixtral", "8x7B",
         "Instruct", "v0.1"},
        /* a context of 128 K weights would be far from the model's 14 G */
        {"microsoft/Phi-3-medium-128k-instruct", 14e9, "Phi-3-medium-128k-instruct", "microsoft", "Phi-3", "medium",
         "128k-instruct", NULL},
        {"microsoft/Phi-3-medium-128k-instruct", 0, "Phi-3-medium-128k-instruct", "microsoft", "Phi-3-medium", "128K",
         "instruct", NULL},
        {"bigscience/bloom-7b1", 7.1e9, "bloom-7b1", "bigscience", "bloom", "7.1B", NULL, NULL},
        {"gpt2", 124e6, "gpt2", NULL, NULL, NULL, NULL, NULL},
        {"./here-7B", 7e9, "here-7B", NULL, "here", "7B", NULL, NULL},
        {"a sentence of 7B words", 7e9, "a sentence of 7B words", NULL, NULL, NULL, NULL, NULL},
        {"", 7e9, "", NULL, NULL, NULL, NULL, NULL},
        {"---", 7e9, "---", NULL, NULL, NULL, NULL, NULL},
        {"/", 7e9, "", "", NULL, NULL, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__arena arena;
        struct ht__model_name n;
        ht__arena_init(&arena, NULL);
        assert_true(ht__model_name_parse(&arena, cases[i].id, (uint64_t)cases[i].n_weights, &n));
        same("name", n.name, cases[i].name);
        same("organization", n.organization, cases[i].organization);
        same("basename", n.basename, cases[i].basename);
        same("size", n.size_label, cases[i].size);
        same("finetune", n.finetune, cases[i].finetune);
        same("version", n.version, cases[i].version);
        ht__arena_close(&arena);
    }
}

static void titles(void **state)
{
    static const char *const cases[][2] = {
        {"llama-2-7b-chat", "Llama 2 7b Chat"},
        {"GPT-neo", "GPT Neo"},
        {"model-v1.5", "Model v1.5"},
        {"v1x", "V1X"},
        {"  -- ", ""},
        {"it's", "It'S"},
        {"\xc3\xbc"
         "ber",
         "\xc3\x9c"
         "ber"},
        {"\xff\xfe-a", "\xff\xfe A"}, /* not UTF-8: as it is */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__arena arena;
        ht__arena_init(&arena, NULL);
        assert_string_equal(ht__model_title(&arena, cases[i][0]), cases[i][1]);
        ht__arena_close(&arena);
    }
}

static void labels(void **state)
{
    static const struct {
        uint64_t one, experts;
        const char *label;
    } cases[] = {
        {260032, 0, "260K"},    {1000000, 0, "1000K"},  {1000001, 0, "1.0M"},      {6738415616, 0, "6.7B"},
        {9960000000, 0, "10B"}, {494032768, 0, "494M"}, {7241732096, 8, "8x7.2B"}, {1026408448000, 0, "1.0T"},
        {9500000, 0, "10M"},    {420, 0, "0.42K"},      {0, 0, "0.00K"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char label[48];
        ht__size_label(cases[i].one, cases[i].experts, label);
        assert_string_equal(label, cases[i].label);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(titles), cmocka_unit_test(labels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
