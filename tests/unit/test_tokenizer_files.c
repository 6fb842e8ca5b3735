/* Tokenizers that lie in several files, chat templates, and settings as they are written now. */
#include "lib/vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void vocab_and_merges(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("qwen2", 12);
    folder_puts(&run.folder, "vocab.json", "{\"a\": 0, \"b\": 1, \"ab\": 2, \"<|endoftext|>\": 3}");
    folder_puts(&run.folder, "merges.txt", "#version: 0.2\na b\r\n");
    folder_puts(&run.folder, "tokenizer_config.json",
                "{\"tokenizer_class\": \"Qwen2Tokenizer\", \"eos_token\": \"<|im_end|>\","
                "\"pad_token\": \"<|endoftext|>\", \"added_tokens_decoder\": {"
                "\"4\": {\"content\": \"<|im_end|>\", \"special\": true}}}");
    vocab_must(&run);
    vocab_has_text(&run, "tokenizer.ggml.pre", "qwen2");
    vocab_has_token(&run, 3, "<|endoftext|>", 3);
    vocab_has_token(&run, 4, "<|im_end|>", 3);
    vocab_has_token(&run, 7, "[PAD7]", 5);
    vocab_has_string(&run, "tokenizer.ggml.merges", 0, "a b");
    vocab_has_id(&run, "tokenizer.ggml.eos_token_id", 4);
    vocab_has_id(&run, "tokenizer.ggml.padding_token_id", 3);
    vocab_finish(&run);
}

static void vocab_txt(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("bert", 0);
    folder_puts(&run.folder, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nplay\n##ing\n");
    folder_puts(&run.folder, "special_tokens_map.json",
                "{\"cls_token\": \"[CLS]\", \"sep_token\": \"[SEP]\", \"pad_token\": \"[PAD]\","
                "\"bos_token\": \"[CLS]\", \"unk_token\": \"[UNK]\", \"mask_token\": \"[MASK]\"}");
    folder_puts(&run.folder, "tokenizer_config.json", "{\"do_lower_case\": false}");
    vocab_must(&run);
    vocab_has_token(&run, 2, "[CLS]", 3);
    vocab_has_token(&run, 5, "▁play", 1);
    vocab_has_token(&run, 6, "ing", 1);
    vocab_has_id(&run, "tokenizer.ggml.unknown_token_id", 1);
    vocab_has_switch(&run, "tokenizer.ggml.normalizer.lowercase", false);
    vocab_finish(&run);
}

static void put_template_model(struct vocab_run *run)
{
    folder_puts(&run->folder, "tokenizer.json", VOCAB_BPE(VOCAB_JOINED, VOCAB_BYTE_LEVEL, ""));
}

static void chat_template_in_the_settings(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 12);
    put_template_model(&run);
    folder_puts(&run.folder, "tokenizer_config.json",
                "{\"eos_token\": \"<|end|>\", \"chat_template\": [{\"name\": \"tool use\","
                "\"template\": \"T\"}, {\"name\": \"default\", \"template\": \"D\\n\"}]}");
    folder_puts(&run.folder, "chat_template.jinja", "not this");
    vocab_must(&run);
    vocab_has_text(&run, "tokenizer.chat_template", "D\n");
    vocab_has_text(&run, "tokenizer.chat_template.tool_use", "T");
    vocab_has_string(&run, "tokenizer.chat_templates", 0, "tool_use");
    vocab_finish(&run);
}

static void chat_template_files(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 12);
    put_template_model(&run);
    folder_puts(&run.folder, "tokenizer_config.json", "{\"eos_token\": \"<|end|>\"}");
    folder_puts(&run.folder, "chat_template.json", "{\"chat_template\": \"of json\"}");
    vocab_must(&run);
    vocab_has_text(&run, "tokenizer.chat_template", "of json");
    ht__arena_close(&run.arena);
    folder_puts(&run.folder, "chat_template.jinja", "{{ main }}\n");
    folder_puts(&run.folder, "additional_chat_templates/rag.jinja", "R");
    folder_puts(&run.folder, "additional_chat_templates/notes.txt", "no template");
    vocab_must(&run);
    vocab_has_text(&run, "tokenizer.chat_template", "{{ main }}\n");
    vocab_has_text(&run, "tokenizer.chat_template.rag", "R");
    assert_int_equal(ht__kv_get(&run.kvs, "tokenizer.chat_templates")->n, 1);
    vocab_finish(&run);
}

/* Runtimes put a beginning token before a "llama" text unless told otherwise. */
static void a_template_of_nothing(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 262);
    vocab_put_spm(&run, 2, true, false);
    vocab_must(&run);
    vocab_has_not(&run, "tokenizer.ggml.add_bos_token");
    ht__arena_close(&run.arena);
    folder_puts(&run.folder, "tokenizer.json",
                "{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\":"
                "{\"id\": \"A\"}}]}, \"model\": {}}");
    vocab_must(&run);
    vocab_has_switch(&run, "tokenizer.ggml.add_bos_token", false);
    vocab_finish(&run);
}

/* As transformers 5 saves it: no added_tokens_decoder, special tokens as plain texts. */
static void newer_settings(void **state)
{
    (void)state;
    struct vocab_run run = vocab_start("llama", 264);
    vocab_put_spm(&run, 2, true, false);
    folder_puts(&run.folder, "tokenizer.json",
                "{\"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", \"special\": true},"
                "{\"id\": 260, \"content\": \"▁▁\", \"special\": true},"
                "{\"id\": 262, \"content\": \"<turn>\", \"special\": true}], \"model\": {\"type\":"
                "\"BPE\", \"vocab\": {}, \"merges\": []}, \"post_processor\": {\"type\":"
                "\"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}},"
                "{\"Sequence\": {\"id\": \"A\"}}]}}");
    folder_puts(&run.folder, "tokenizer_config.json",
                "{\"backend\": \"tokenizers\", \"bos_token\": \"<s>\", \"eos_token\": \"<turn>\","
                "\"extra_special_tokens\": [\"b\"]}");
    vocab_must(&run);
    vocab_has_token(&run, 0, "<unk>", 2); /* the model knows better */
    vocab_has_token(&run, 260, "▁▁", 3);
    vocab_has_token(&run, 261, "b", 3);
    vocab_has_token(&run, 262, "<turn>", 3);
    vocab_has_id(&run, "tokenizer.ggml.eos_token_id", 262);
    vocab_has_switch(&run, "tokenizer.ggml.add_bos_token", true);
    vocab_finish(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vocab_and_merges),
        cmocka_unit_test(vocab_txt),
        cmocka_unit_test(chat_template_in_the_settings),
        cmocka_unit_test(chat_template_files),
        cmocka_unit_test(a_template_of_nothing),
        cmocka_unit_test(newer_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
