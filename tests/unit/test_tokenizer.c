/* tokenizer.json of every kind, from small files made here, and the real ones where they lie beside. */
#include "lib/vocab.h"

#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void no_tokenizer(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 12);
    assert_int_equal(vocab_convert(&run, run.folder.path), HT_ERR_NOT_FOUND);
    assert_int_equal(run.kvs.n, 0);
    assert_non_null(strstr(run.diag.message, "tokenizer.json"));
    vocab_finish(&run);
}

#define PAIRS "[[\"a\", \"b\"], [\"Ġ\", \"ab\"]]"

static void byte_level_bpe(void **state)
{
    (void)state;
    static const char *const forms[] = {VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, ""),
                                        VOCAB_BPE(PAIRS, VOCAB_BYTE_LEVEL, "")};
    for (int i = 0; i < 2; i++) {
        struct vocab_run run = vocab_start("llama", 12);
        folder_puts(&run.folder, "tokenizer.json", forms[i]);
        folder_puts(&run.folder, "tokenizer_config.json",
                    "{\"bos_token\": null, \"eos_token\": {\"content\": \"<|end|>\"}}");
        vocab_must(&run);
        vocab_has_text(&run, "tokenizer.ggml.model", "gpt2");
        vocab_has_text(&run, "tokenizer.ggml.pre", "gpt-2");
        assert_int_equal(vocab_size(&run), 12);
        vocab_has_token(&run, 4, "Ġab", 1);
        vocab_has_token(&run, 5, "<|end|>", 3);
        vocab_has_token(&run, 6, "<x>", 4);
        vocab_has_token(&run, 7, "<|tool|>", 3);
        vocab_has_token(&run, 8, "[PAD8]", 5);
        vocab_has_string(&run, "tokenizer.ggml.merges", 0, "a b");
        vocab_has_string(&run, "tokenizer.ggml.merges", 1, "Ġ ab");
        vocab_has_id(&run, "tokenizer.ggml.eos_token_id", 5);
        vocab_has_not(&run, "tokenizer.ggml.bos_token_id");
        vocab_has_not(&run, "tokenizer.ggml.scores");
        assert_string_equal(run.log, "");
        vocab_finish(&run);
    }
}

static void space_in_a_merge(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 0);
    folder_puts(&run.folder, "tokenizer.json",
                "{\"pre_tokenizer\": " VOCAB_BYTE_LEVEL ", \"model\": {\"vocab\": {\" \": 0, \"a\": 1,"
                "\" a\": 2}, \"merges\": [[\" \", \"a\"]]},"
                "\"added_tokens\": [{\"id\": 12, \"content\": \"<e>\", \"special\": true}]}");
    folder_puts(&run.folder, "tokenizer_config.json", "{\"eos_token\": \"<e>\"}");
    vocab_must(&run);
    vocab_has_string(&run, "tokenizer.ggml.merges", 0, "Ġ a");
    vocab_has_token(&run, 3, "[PAD3]", 5);
    assert_int_equal(vocab_size(&run), 13);
    vocab_finish(&run);
}

static void template_processing(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 12);
    folder_puts(&run.folder, "tokenizer.json",
                VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL,
                          "\"post_processor\": {\"type\": \"Sequence\", \"processors\": [{\"type\":"
                          "\"ByteLevel\"}, {\"type\": \"TemplateProcessing\", \"single\": ["
                          "{\"SpecialToken\": {\"id\": \"<x>\"}}, {\"Sequence\": {\"id\": \"A\"}},"
                          "{\"SpecialToken\": {\"id\": \"<|end|>\"}}], \"pair\": []}]},"));
    folder_puts(&run.folder, "tokenizer_config.json", "{\"bos_token\": \"<x>\", \"eos_token\": \"<|tool|>\"}");
    vocab_must(&run);
    vocab_has_switch(&run, "tokenizer.ggml.add_bos_token", true);
    vocab_has_switch(&run, "tokenizer.ggml.add_eos_token", true);
    vocab_has_id(&run, "tokenizer.ggml.bos_token_id", 6);
    vocab_has_id(&run, "tokenizer.ggml.eos_token_id", 5); /* what the template puts at the end */
    vocab_has_id(&run, "tokenizer.ggml.eot_token_id", 7); /* what was called eos */
    vocab_finish(&run);
}

/* What the post-processor does counts; where it says nothing, add_<type>_token does. */
static void template_and_switches(void **state)
{
    (void)state;
#define TEMPLATE                                                                                                       \
    "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<x>\"}}, "                          \
    "{\"Sequence\": {\"id\": \"A\"}}]}"
#define BOTH_PROCESSORS "{\"type\": \"Sequence\", \"processors\": [" TEMPLATE ", " VOCAB_BYTE_LEVEL "]}"
    static const struct {
        const char *json, *said;
        int bos, eos; /* -1: no key */
    } cases[] = {
        {VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, "\"post_processor\": " TEMPLATE ","), "\"add_bos_token\": false", 1,
         -1},
        {VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, "\"post_processor\": " TEMPLATE ","), "\"add_eos_token\": true", 1,
         1},
        {VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, "\"post_processor\": " VOCAB_BYTE_LEVEL ","),
         "\"add_bos_token\": true", 0, 0},
        {VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, "\"post_processor\": " VOCAB_BYTE_LEVEL ","), "\"x\": 0", 0, 0},
        {VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, "\"post_processor\": " BOTH_PROCESSORS ","),
         "\"add_bos_token\": false", 1, 0},
        {VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, ""), "\"add_bos_token\": true, \"add_eos_token\": false", 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vocab_run run = vocab_start("llama", 12);
        char settings[256];
        snprintf(settings, sizeof settings,
                 "{\"bos_token\": \"<x>\", \"eos_token\": \"<|end|>\", \"add_sep_token\": true, %s}", cases[i].said);
        folder_puts(&run.folder, "tokenizer.json", cases[i].json);
        folder_puts(&run.folder, "tokenizer_config.json", settings);
        vocab_must(&run);
        vocab_has_switch(&run, "tokenizer.ggml.add_bos_token", cases[i].bos);
        if (cases[i].eos < 0)
            vocab_has_not(&run, "tokenizer.ggml.add_eos_token");
        else
            vocab_has_switch(&run, "tokenizer.ggml.add_eos_token", cases[i].eos);
        vocab_has_switch(&run, "tokenizer.ggml.add_sep_token", false); /* there is no separator */
        assert_non_null(strstr(run.log, "add_sep_token"));
        vocab_finish(&run);
    }
}

/* Told by a few ids, in any architecture. */
static void vocabularies(void **state)
{
    (void)state;
    static const struct {
        const char *vocab, *added, *name;
    } cases[] = {
        {"{\"Ġthe\": 253, \"Ġwork\": 789, \"apple\": 19934}", "[]", "olmo"},
        {"{\"Ġthe\": 262, \"Ġwork\": 670}", "[{\"id\": 50257, \"content\": \"                               \"}]",
         "phi-2"},
        {"{\"Ġthe\": 262, \"Ġwork\": 670}", "[{\"id\": 50257, \"content\": \"<x>\"}]", "gpt-2"},
        {"{\"Ġthe\": 253, \"Ġwork\": 789, \"apple\": 19933}", "[]", "gpt-2"},
    };
    static const char *const archs[] = {"qwen2", "phi2", "gptneox", "olmo2"};
    for (size_t i = 0; i < 4 * sizeof cases / sizeof *cases; i++) {
        struct vocab_run run = vocab_start(archs[i % 4], 50432);
        char text[1024];
        snprintf(text, sizeof text,
                 "{\"pre_tokenizer\": " VOCAB_BYTE_LEVEL
                 ", \"decoder\": {\"type\": \"ByteLevel\"}, \"added_tokens\": %s, "
                 "\"model\": {\"type\": \"BPE\", \"vocab\": %s, \"merges\": []}}",
                 cases[i / 4].added, cases[i / 4].vocab);
        folder_puts(&run.folder, "tokenizer.json", text);
        folder_puts(&run.folder, "config.json", "{\"eos_token_id\": 253}");
        vocab_must(&run);
        vocab_has_text(&run, "tokenizer.ggml.pre", cases[i / 4].name);
        vocab_finish(&run);
    }
}

static void byte_fallback(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 0);
    struct ht__buf json;
    ht__buf_init(&json, NULL);
    ht__buf_str(&json, "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\":"
                       "\"Prepend\", \"prepend\": \"▁\"}]}, \"model\": {\"type\": \"BPE\","
                       "\"byte_fallback\": true, \"unk_token\": \"<unk>\", \"vocab\": {"
                       "\"<unk>\": 0");
    for (int i = 0; i < 256; i++)
        ht__buf_printf(&json, ",\"<0x%02X>\": %d", (unsigned)i, i + 1);
    ht__buf_str(&json, ",\"a\": 257, \"b\": 258, \"ab\": 259, \"▁\": 260, \"▁ab\": 261, \"▁a\": 262},"
                       "\"merges\": [\"▁ a\", \"a b\", \"▁a b\", \"▁ ab\"]},"
                       "\"added_tokens\": [{\"id\": 263, \"content\": \"<e>\", \"special\": true}]}");
    folder_put(&run.folder, "tokenizer.json", json.data, json.len);
    vocab_must(&run);
    ht__buf_close(&json);
    vocab_has_text(&run, "tokenizer.ggml.model", "llama");
    vocab_has_token(&run, 0, "<unk>", 2);
    vocab_has_token(&run, 1, "<0x00>", 6);
    vocab_has_token(&run, 263, "<e>", 3);
    /* in the order of the merges, then what no merge makes */
    assert_float_equal(vocab_score(&run, 262), 0, 0);
    assert_float_equal(vocab_score(&run, 259), -1, 0);
    assert_float_equal(vocab_score(&run, 261), -2, 0);
    assert_float_equal(vocab_score(&run, 257), -3, 0);
    assert_float_equal(vocab_score(&run, 260), -5, 0);
    vocab_has_not(&run, "tokenizer.ggml.add_space_prefix");
    vocab_finish(&run);
}

static void unigram_json(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("t5", 5);
    folder_puts(&run.folder, "tokenizer.json",
                "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\":"
                "\"Precompiled\", \"precompiled_charsmap\": \"BAAAAHd4eXpjAA==\"}, {\"type\":"
                "\"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \" \"}]},"
                "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"prepend_scheme\": \"always\"},"
                "\"model\": {\"type\": \"Unigram\", \"unk_id\": 2, \"vocab\": [[\"<pad>\", 0.0],"
                "[\"</s>\", 0.0], [\"<unk>\", -2.5], [\"▁a\", -3]]},"
                "\"added_tokens\": [{\"id\": 1, \"content\": \"</s>\", \"special\": true}]}");
    vocab_must(&run);
    vocab_has_text(&run, "tokenizer.ggml.model", "t5");
    vocab_has_token(&run, 1, "</s>", 3);
    vocab_has_token(&run, 2, "<unk>", 2);
    vocab_has_token(&run, 4, "[PAD4]", 5);
    assert_float_equal(vocab_score(&run, 3), -3, 0);
    vocab_has_switch(&run, "tokenizer.ggml.add_space_prefix", true);
    vocab_has_switch(&run, "tokenizer.ggml.remove_extra_whitespaces", true);
    const struct ht__kv *map = ht__kv_get(&run.kvs, "tokenizer.ggml.precompiled_charsmap");
    assert_non_null(map);
    assert_int_equal(map->n, 10);
    assert_memory_equal(map->data, "\4\0\0\0wxyzc", 10);
    vocab_finish(&run);
}

static void wordpiece(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("bert", 0);
    folder_puts(&run.folder, "tokenizer.json",
                "{\"normalizer\": {\"type\": \"BertNormalizer\", \"lowercase\": true,"
                "\"strip_accents\": null}, \"model\": {\"type\": \"WordPiece\","
                "\"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": \"##\", \"vocab\": {"
                "\"[PAD]\": 0, \"[UNK]\": 1, \"[CLS]\": 2, \"[SEP]\": 3, \"[MASK]\": 4,"
                "\"play\": 5, \"##ing\": 6, \"##\": 7}}, \"added_tokens\": ["
                "{\"id\": 0, \"content\": \"[PAD]\", \"special\": true},"
                "{\"id\": 1, \"content\": \"[UNK]\", \"special\": true},"
                "{\"id\": 2, \"content\": \"[CLS]\", \"special\": true},"
                "{\"id\": 3, \"content\": \"[SEP]\", \"special\": true},"
                "{\"id\": 4, \"content\": \"[MASK]\", \"special\": true}]}");
    folder_puts(&run.folder, "tokenizer_config.json",
                "{\"cls_token\": \"[CLS]\", \"sep_token\": \"[SEP]\", \"pad_token\": \"[PAD]\","
                "\"unk_token\": \"[UNK]\", \"mask_token\": \"[MASK]\"}");
    folder_puts(&run.folder, "config.json", "{\"type_vocab_size\": 2}");
    vocab_must(&run);
    vocab_has_text(&run, "tokenizer.ggml.model", "bert");
    vocab_has_id(&run, "tokenizer.ggml.token_type_count", 2);
    vocab_has_token(&run, 2, "[CLS]", 3);
    vocab_has_token(&run, 5, "▁play", 1);
    vocab_has_token(&run, 6, "ing", 1);
    vocab_has_token(&run, 7, "▁##", 1);
    vocab_has_id(&run, "tokenizer.ggml.bos_token_id", 2); /* cls stands for the missing bos */
    vocab_has_id(&run, "tokenizer.ggml.seperator_token_id", 3);
    vocab_has_id(&run, "tokenizer.ggml.mask_token_id", 4);
    vocab_has_switch(&run, "tokenizer.ggml.normalizer.lowercase", true);
    vocab_has_switch(&run, "tokenizer.ggml.normalizer.strip_accents", true);
    vocab_finish(&run);
}

/* "a0", "a1", ... by steps of one merge. Returns the processor time that it took. */
static double steps_of_one_merge(int n)
{
    enum { BASE = 500 };
    struct vocab_run run = vocab_start("qwen2", (uint64_t)n + 8);
    struct ht__buf json;
    char last[64];
    ht__buf_init(&json, NULL);
    ht__buf_str(&json, "{\"pre_tokenizer\": " VOCAB_BYTE_LEVEL ", \"model\": {\"type\": \"BPE\", \"vocab\": {");
    for (int i = 0; i < BASE; i++)
        ht__buf_printf(&json, "%s\"<%d>\": %d", i ? "," : "", i, i);
    for (int i = BASE; i < n; i++)
        ht__buf_printf(&json, ",\"<%d><%d>\": %d", i / BASE, i % BASE, i);
    ht__buf_str(&json, "}, \"merges\": [");
    for (int i = BASE; i < n; i++)
        ht__buf_printf(&json, "%s[\"<%d>\", \"<%d>\"]", i > BASE ? "," : "", i / BASE, i % BASE);
    ht__buf_str(&json, "]}}");
    folder_put(&run.folder, "tokenizer.json", json.data, json.len);
    folder_puts(&run.folder, "config.json", "{\"bos_token_id\": 1, \"eos_token_id\": 2}");
    clock_t begin = clock();
    vocab_must(&run);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    print_message("%d tokens, %d merges, %zu bytes: %.3f s\n", n, n - BASE, json.len, seconds);
    ht__buf_close(&json);
    assert_int_equal(vocab_size(&run), n + 8);
    snprintf(last, sizeof last, "<%d> <%d>", (n - 1) / BASE, (n - 1) % BASE);
    vocab_has_string(&run, "tokenizer.ggml.merges", (uint32_t)(n - BASE - 1), last);
    vocab_finish(&run);
    return seconds;
}

/* As large as tokenizers are: sixteen times as many tokens take sixteen times as long, more or less, not 256 times. */
static void large(void **state)
{
    (void)state;
    double part = steps_of_one_merge(10000), whole = steps_of_one_merge(160000);
    assert_true(whole < 64 * part + 0.1);
}

/* The real ones: how many tokens, which kind, without a complaint. */
static void real_tokenizers(void **state)
{
    (void)state;
    static const struct {
        const char *dir, *arch, *model, *pre;
        uint64_t rows;
    } real[] = {{"phi-2", "phi2", "gpt2", "phi-2", 51200},
                {"phi-3-mini", "phi3", "llama", "default", 32064},
                {"qwen2-internvl2", "qwen2", "gpt2", "qwen2", 151936},
                {"minimind", "llama", "gpt2", "gpt-2", 6400},
                {"gpt2", "gpt2", "gpt2", "gpt-2", 50257},
                {"llama2", "llama", "llama", "default", 32000}};
    const char *root = getenv("HT_SOURCE_ROOT");
    char path[600];
    snprintf(path, sizeof path, "%s/../shared/tokenizers", root ? root : ".");
    if (!ht__path_is_dir(path)) {
        print_message("SKIPPED real_tokenizers: no folder %s\n", path);
        skip();
    }
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
        struct vocab_run run = vocab_start(real[i].arch, real[i].rows);
        snprintf(path, sizeof path, "%s/../shared/tokenizers/%s", root ? root : ".", real[i].dir);
        assert_int_equal(vocab_convert(&run, path), HT_OK);
        vocab_has_text(&run, "tokenizer.ggml.model", real[i].model);
        vocab_has_text(&run, "tokenizer.ggml.pre", real[i].pre);
        assert_int_equal(vocab_size(&run), real[i].rows);
        assert_string_equal(run.log, "");
        vocab_finish(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_tokenizer),
        cmocka_unit_test(byte_level_bpe),
        cmocka_unit_test(space_in_a_merge),
        cmocka_unit_test(template_processing),
        cmocka_unit_test(template_and_switches),
        cmocka_unit_test(vocabularies),
        cmocka_unit_test(byte_fallback),
        cmocka_unit_test(unigram_json),
        cmocka_unit_test(wordpiece),
        cmocka_unit_test(large),
        cmocka_unit_test(real_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
