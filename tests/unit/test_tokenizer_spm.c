/* SentencePiece models: their pieces, and what families of models add to them. */
#include "lib/vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void sentencepiece_bpe(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 266);
    vocab_put_spm(&run, 2, true, false);
    folder_puts(&run.folder, "added_tokens.json", "{\"<pad>\": 262}");
    folder_puts(&run.folder, "tokenizer_config.json",
                "{\"added_tokens_decoder\": {\"263\": {\"content\": \"<|im_end|>\"},"
                "\"264\": {\"content\": \"▁x▁\", \"special\": false},"
                "\"265\": {\"content\": \"[A]\", \"special\": true},"
                "\"266\": {\"content\": \"beyond\", \"special\": true}},"
                "\"add_bos_token\": true, \"add_eos_token\": false, \"eos_token\": \"<|im_end|>\"}");
    folder_puts(&run.folder, "config.json", "{\"bos_token_id\": 1, \"eos_token_id\": [2, 263]}");
    vocab_must(&run);
    vocab_has_text(&run, "tokenizer.ggml.model", "llama");
    vocab_has_text(&run, "tokenizer.ggml.pre", "default");
    assert_int_equal(vocab_size(&run), 266);
    vocab_has_token(&run, 0, "<unk>", 2);
    vocab_has_token(&run, 1, "<s>", 3);
    vocab_has_token(&run, 3, "<0x00>", 6);
    vocab_has_token(&run, 259, "▁a", 1);
    vocab_has_token(&run, 260, "  ", 4);
    vocab_has_token(&run, 262, "<pad>", 4);
    vocab_has_token(&run, 263, "<|im_end|>", 3);
    vocab_has_token(&run, 264, " x ", 4);
    vocab_has_token(&run, 265, "[A]", 3);
    assert_float_equal(vocab_score(&run, 261), -2.5, 0);
    assert_float_equal(vocab_score(&run, 263), -1000, 0);
    vocab_has_id(&run, "tokenizer.ggml.bos_token_id", 1);
    vocab_has_id(&run, "tokenizer.ggml.eos_token_id", 263);
    vocab_has_switch(&run, "tokenizer.ggml.add_bos_token", true);
    vocab_has_switch(&run, "tokenizer.ggml.add_eos_token", false);
    vocab_has_not(&run, "tokenizer.ggml.add_space_prefix");
    vocab_has_not(&run, "tokenizer.ggml.merges");
    assert_non_null(strstr(run.log, "\"beyond\""));
    vocab_finish(&run);
}

static void sentencepiece_without_prefix_and_padded(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("gemma", 264);
    vocab_put_spm(&run, 2, false, false);
    vocab_must(&run);
    vocab_has_switch(&run, "tokenizer.ggml.add_space_prefix", false);
    vocab_has_token(&run, 262, "[PAD262]", 5);
    vocab_has_token(&run, 263, "[PAD263]", 5);
    assert_float_equal(vocab_score(&run, 263), -10000, 0);
    vocab_finish(&run);
}

/* Both spellings of two spaces: made alike they would be one text twice. */
static void spaces_spelled_twice(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 0);
    struct ht__buf model;
    ht__buf_init(&model, NULL);
    spm_base(&model);
    spm_piece(&model, "  ", 0, 4);
    spm_piece(&model, "▁▁", 0, 4);
    spm_specs(&model, 2, true, false, NULL, 0);
    folder_put(&run.folder, "tokenizer.model", model.data, model.len);
    ht__buf_close(&model);
    vocab_must(&run);
    vocab_has_token(&run, 259, "  ", 4);
    vocab_has_token(&run, 260, "▁▁", 4);
    vocab_finish(&run);
}

static void sentencepiece_unigram(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("t5", 0);
    vocab_put_spm(&run, 1, true, true);
    vocab_must(&run);
    vocab_has_text(&run, "tokenizer.ggml.model", "t5");
    vocab_has_switch(&run, "tokenizer.ggml.add_space_prefix", true);
    vocab_has_switch(&run, "tokenizer.ggml.remove_extra_whitespaces", true);
    vocab_has_id(&run, "tokenizer.ggml.bos_token_id", 1);
    vocab_has_id(&run, "tokenizer.ggml.eos_token_id", 2);
    vocab_has_id(&run, "tokenizer.ggml.unknown_token_id", 0);
    const struct ht__kv *map = ht__kv_get(&run.kvs, "tokenizer.ggml.precompiled_charsmap");
    assert_non_null(map);
    assert_int_equal(map->n, 12);
    assert_int_equal(map->elem, HT__KV_U8);
    vocab_finish(&run);
}

/* Said for any architecture that is converted as Llama is, and before the vocabulary. */
static void space_prefix(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "granite", "granitemoe", "smollm3", "qwen2"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        for (int said = 0; said < 2; said++) {
            struct vocab_run run = vocab_start(archs[i], 12);
            folder_puts(&run.folder, "tokenizer.json", VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, ""));
            folder_puts(&run.folder, "tokenizer_config.json",
                        said ? "{\"eos_token\": \"<|end|>\", \"add_prefix_space\": true}"
                             : "{\"eos_token\": \"<|end|>\", \"add_prefix_space\": false}");
            vocab_must(&run);
            if (strcmp(archs[i], "qwen2") == 0) {
                vocab_has_not(&run, "tokenizer.ggml.add_space_prefix");
            } else {
                vocab_has_switch(&run, "tokenizer.ggml.add_space_prefix", said);
                assert_string_equal(run.kvs.items[0].key, "tokenizer.ggml.add_space_prefix");
            }
            vocab_finish(&run);
        }
    struct vocab_run run = vocab_start("gemma", 262); /* never, whatever the model says */
    vocab_put_spm(&run, 2, true, false);
    vocab_must(&run);
    vocab_has_switch(&run, "tokenizer.ggml.add_space_prefix", false);
    vocab_finish(&run);
}

/* More tokens than the embedding has rows: the rest is left out, with a warning, and merges with it. */
static void tokens_beyond_the_embedding(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 260);
    vocab_put_spm(&run, 2, true, false);
    vocab_must(&run);
    assert_int_equal(vocab_size(&run), 260);
    vocab_has_token(&run, 259, "▁a", 1);
    assert_non_null(strstr(run.log, "2 tokens are beyond the embedding's 260 rows"));
    vocab_finish(&run);
    run = vocab_start("llama", 4);
    folder_puts(&run.folder, "tokenizer.json", VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, ""));
    folder_puts(&run.folder, "config.json", "{\"bos_token_id\": 0, \"eos_token_id\": 1}");
    vocab_must(&run);
    assert_int_equal(vocab_size(&run), 4);
    const struct ht__kv *merges = ht__kv_get(&run.kvs, "tokenizer.ggml.merges");
    assert_int_equal(merges->n, 1);
    vocab_has_string(&run, "tokenizer.ggml.merges", 0, "a b");
    assert_non_null(strstr(run.log, "1 tokens are beyond the embedding's 4 rows"));
    vocab_finish(&run);
}

/* Ids and switches that no file names. */
static void ends_of_families(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("gemma", 262);
    vocab_put_spm(&run, 2, false, false);
    vocab_must(&run);
    vocab_has_id(&run, "tokenizer.ggml.eot_token_id", 107);
    vocab_finish(&run);
    run = vocab_start("llama", 32016);
    vocab_put_spm(&run, 2, true, false);
    folder_puts(&run.folder, "config.json", "{\"vocab_size\": 32016}");
    vocab_must(&run);
    vocab_has_id(&run, "tokenizer.ggml.eot_token_id", 32010);
    vocab_finish(&run);
    run = vocab_start("llama", 49152);
    folder_puts(&run.folder, "tokenizer.json", VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, ""));
    folder_puts(&run.folder, "config.json", "{\"vocab_size\": 49152, \"bos_token_id\": 0, \"eos_token_id\": 1}");
    folder_puts(&run.folder, "tokenizer_config.json", "{\"add_bos_token\": true}");
    vocab_must(&run);
    vocab_has_switch(&run, "tokenizer.ggml.add_bos_token", false);
    vocab_has_not(&run, "tokenizer.ggml.eot_token_id");
    vocab_finish(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentencepiece_bpe),    cmocka_unit_test(sentencepiece_without_prefix_and_padded),
        cmocka_unit_test(spaces_spelled_twice), cmocka_unit_test(sentencepiece_unigram),
        cmocka_unit_test(space_prefix),         cmocka_unit_test(tokens_beyond_the_embedding),
        cmocka_unit_test(ends_of_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
