/* Every kind of tokenizer, from small files made here, and the real ones where they lie beside. */
#include "lib/folder.h"
#include "base/file.h"
#include "model/tokenizer/splitter.h"
#include "model/tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct run {
    struct folder folder;
    struct ht__arena arena;
    struct ht__kvs kvs;
    struct ht_diag diag;
    char log[4096];
    const char *arch;
    uint64_t rows;
};

static void keep_line(void *ctx, enum ht__log_level level, const char *line)
{
    struct run *run = ctx;
    size_t used = strlen(run->log);
    if (level == HT__LOG_WARNING) snprintf(run->log + used, sizeof run->log - used, "%s\n", line);
}

static struct run start(const char *arch, uint64_t rows)
{
    struct run run = {.folder = folder_make(), .arch = arch, .rows = rows};
    return run;
}

static enum ht_err convert(struct run *run, const char *dir)
{
    struct ht__log log = {keep_line, run};
    struct ht__jnode *config = NULL;
    char path[600];
    ht__diag_clear(&run->diag);
    ht__arena_init(&run->arena, NULL);
    ht__kvs_init(&run->kvs, &run->arena);
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "rb");
    if (f) {
        fclose(f);
        assert_int_equal(ht__json_load(&run->arena, path, 1 << 20, &config, &run->diag), HT_OK);
    }
    struct ht__tokenizer_job job = {
        .dir = dir, .arch = run->arch, .config = config, .vocab_size = run->rows, .log = &log};
    return ht__tokenizer_metadata(&job, &run->kvs, &run->diag);
}

static void must(struct run *run)
{
    enum ht_err err = convert(run, run->folder.path);
    if (err) print_error("%s: %s\n", run->diag.where, run->diag.message);
    assert_int_equal(err, HT_OK);
}

static void finish(struct run *run)
{
    ht__arena_close(&run->arena);
    folder_remove(&run->folder);
}

static void has_text(const struct run *run, const char *key, const char *want)
{
    struct ht__str got;
    if (!ht__kv_get_str(&run->kvs, key, &got)) fail_msg("%s is missing", key);
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.text, want, got.len);
}

static void has_id(const struct run *run, const char *key, uint32_t want)
{
    uint32_t got;
    if (!ht__kv_get_u32(&run->kvs, key, &got)) fail_msg("%s is missing", key);
    assert_int_equal(got, want);
}

static void has_switch(const struct run *run, const char *key, bool want)
{
    const struct ht__kv *kv = ht__kv_get(&run->kvs, key);
    if (!kv || kv->type != HT__KV_BOOL) fail_msg("%s is missing", key);
    assert_int_equal(kv->u, want);
}

static void has_not(const struct run *run, const char *key)
{
    if (ht__kv_get(&run->kvs, key)) fail_msg("%s is there", key);
}

static void string_at(const struct run *run, const char *key, uint32_t i, const char *want)
{
    const struct ht__kv *kv = ht__kv_get(&run->kvs, key);
    if (!kv || kv->type != HT__KV_ARR || kv->elem != HT__KV_STR || i >= kv->n)
        fail_msg("%s has no element %u", key, i);
    if (kv->strs[i].len != strlen(want) || memcmp(kv->strs[i].text, want, kv->strs[i].len) != 0)
        fail_msg("%s[%u] is \"%.*s\", not \"%s\"", key, i, (int)kv->strs[i].len, kv->strs[i].text,
                 want);
}

static void token(const struct run *run, uint32_t id, const char *text, int type)
{
    string_at(run, "tokenizer.ggml.tokens", id, text);
    const struct ht__kv *types = ht__kv_get(&run->kvs, "tokenizer.ggml.token_type");
    assert_non_null(types);
    if (((const int32_t *)types->data)[id] != type)
        fail_msg("token %u (%s) has type %d, not %d", id, text, ((const int32_t *)types->data)[id],
                 type);
}

static float score(const struct run *run, uint32_t id)
{
    const struct ht__kv *scores = ht__kv_get(&run->kvs, "tokenizer.ggml.scores");
    assert_non_null(scores);
    assert_true(id < scores->n);
    return ((const float *)scores->data)[id];
}

static uint64_t n_tokens(const struct run *run)
{
    const struct ht__kv *kv = ht__kv_get(&run->kvs, "tokenizer.ggml.tokens");
    assert_non_null(kv);
    return kv->n;
}

static void no_tokenizer(void **state)
{
    (void)state;
    struct run run = start("llama", 12);
    assert_int_equal(convert(&run, run.folder.path), HT_ERR_NOT_FOUND);
    assert_int_equal(run.kvs.n, 0);
    assert_non_null(strstr(run.diag.message, "tokenizer.json"));
    finish(&run);
}

static void put_spm(struct run *run, int kind, bool prefix, bool remove_extra)
{
    struct ht__buf model;
    ht__buf_init(&model, NULL);
    spm_base(&model);
    spm_piece(&model, "▁a", -1, 1);
    spm_piece(&model, "▁▁", 0, 4);
    spm_piece(&model, "b", -2.5f, 1);
    spm_specs(&model, kind, prefix, remove_extra, "\4\0\0\0wxyzc\0d", 12);
    folder_put(&run->folder, "tokenizer.model", model.data, model.len);
    ht__buf_close(&model);
}

static void sentencepiece_bpe(void **state)
{
    (void)state;
    struct run run = start("llama", 266);
    put_spm(&run, 2, true, false);
    folder_puts(&run.folder, "added_tokens.json", "{\"<pad>\": 262}");
    folder_puts(
        &run.folder, "tokenizer_config.json",
        "{\"added_tokens_decoder\": {\"263\": {\"content\": \"<|im_end|>\"},"
        "\"264\": {\"content\": \"▁x▁\", \"special\": false},"
        "\"265\": {\"content\": \"[A]\", \"special\": true},"
        "\"266\": {\"content\": \"beyond\", \"special\": true}},"
        "\"add_bos_token\": true, \"add_eos_token\": false, \"eos_token\": \"<|im_end|>\"}");
    folder_puts(&run.folder, "config.json", "{\"bos_token_id\": 1, \"eos_token_id\": [2, 263]}");
    must(&run);
    has_text(&run, "tokenizer.ggml.model", "llama");
    has_text(&run, "tokenizer.ggml.pre", "default");
    assert_int_equal(n_tokens(&run), 266);
    token(&run, 0, "<unk>", 2);
    token(&run, 1, "<s>", 3);
    token(&run, 3, "<0x00>", 6);
    token(&run, 259, "▁a", 1);
    token(&run, 260, "  ", 4);
    token(&run, 262, "<pad>", 4);
    token(&run, 263, "<|im_end|>", 3);
    token(&run, 264, " x ", 4);
    token(&run, 265, "[A]", 3);
    assert_float_equal(score(&run, 261), -2.5, 0);
    assert_float_equal(score(&run, 263), -1000, 0);
    has_id(&run, "tokenizer.ggml.bos_token_id", 1);
    has_id(&run, "tokenizer.ggml.eos_token_id", 263);
    has_switch(&run, "tokenizer.ggml.add_bos_token", true);
    has_switch(&run, "tokenizer.ggml.add_eos_token", false);
    has_not(&run, "tokenizer.ggml.add_space_prefix");
    has_not(&run, "tokenizer.ggml.merges");
    assert_non_null(strstr(run.log, "\"beyond\""));
    finish(&run);
}

static void sentencepiece_without_prefix_and_padded(void **state)
{
    (void)state;
    struct run run = start("gemma", 264);
    put_spm(&run, 2, false, false);
    must(&run);
    has_switch(&run, "tokenizer.ggml.add_space_prefix", false);
    token(&run, 262, "[PAD262]", 5);
    token(&run, 263, "[PAD263]", 5);
    assert_float_equal(score(&run, 263), -10000, 0);
    finish(&run);
}

/* Both spellings of two spaces: made alike they would be one text twice. */
static void spaces_spelled_twice(void **state)
{
    (void)state;
    struct run run = start("llama", 0);
    struct ht__buf model;
    ht__buf_init(&model, NULL);
    spm_base(&model);
    spm_piece(&model, "  ", 0, 4);
    spm_piece(&model, "▁▁", 0, 4);
    spm_specs(&model, 2, true, false, NULL, 0);
    folder_put(&run.folder, "tokenizer.model", model.data, model.len);
    ht__buf_close(&model);
    must(&run);
    token(&run, 259, "  ", 4);
    token(&run, 260, "▁▁", 4);
    finish(&run);
}

static void sentencepiece_unigram(void **state)
{
    (void)state;
    struct run run = start("t5", 0);
    put_spm(&run, 1, true, true);
    must(&run);
    has_text(&run, "tokenizer.ggml.model", "t5");
    has_switch(&run, "tokenizer.ggml.add_space_prefix", true);
    has_switch(&run, "tokenizer.ggml.remove_extra_whitespaces", true);
    has_id(&run, "tokenizer.ggml.bos_token_id", 1);
    has_id(&run, "tokenizer.ggml.eos_token_id", 2);
    has_id(&run, "tokenizer.ggml.unknown_token_id", 0);
    const struct ht__kv *map = ht__kv_get(&run.kvs, "tokenizer.ggml.precompiled_charsmap");
    assert_non_null(map);
    assert_int_equal(map->n, 12);
    assert_int_equal(map->elem, HT__KV_U8);
    finish(&run);
}

/* a, b, Ġ (a space), ab, Ġab; merges in the form that is asked for. */
#define BPE(merges, pre_tokenizer, more)                                                           \
    "{\"added_tokens\": [{\"id\": 5, \"content\": \"<|end|>\", \"special\": true},"                \
    "{\"id\": 6, \"content\": \"<x>\", \"special\": false},"                                       \
    "{\"id\": 7, \"content\": \"<|tool|>\", \"special\": false}],"                                 \
    "\"normalizer\": null, \"pre_tokenizer\": " pre_tokenizer                                      \
    ", \"decoder\": {\"type\": \"ByteLevel\"}, " more                                              \
    "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"Ġ\": 2, \"ab\": 3,"         \
    "\"Ġab\": 4}, \"merges\": " merges "}}"
#define BYTE_LEVEL "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}"
#define JOINED "[\"a b\", \"Ġ ab\"]"
#define PAIRS "[[\"a\", \"b\"], [\"Ġ\", \"ab\"]]"

static void byte_level_bpe(void **state)
{
    (void)state;
    static const char *const forms[] = {BPE(JOINED, BYTE_LEVEL, ""), BPE(PAIRS, BYTE_LEVEL, "")};
    for (int i = 0; i < 2; i++) {
        struct run run = start("llama", 12);
        folder_puts(&run.folder, "tokenizer.json", forms[i]);
        folder_puts(&run.folder, "tokenizer_config.json",
                    "{\"bos_token\": null, \"eos_token\": {\"content\": \"<|end|>\"}}");
        must(&run);
        has_text(&run, "tokenizer.ggml.model", "gpt2");
        has_text(&run, "tokenizer.ggml.pre", "gpt-2");
        assert_int_equal(n_tokens(&run), 12);
        token(&run, 4, "Ġab", 1);
        token(&run, 5, "<|end|>", 3);
        token(&run, 6, "<x>", 4);
        token(&run, 7, "<|tool|>", 3);
        token(&run, 8, "[PAD8]", 5);
        string_at(&run, "tokenizer.ggml.merges", 0, "a b");
        string_at(&run, "tokenizer.ggml.merges", 1, "Ġ ab");
        has_id(&run, "tokenizer.ggml.eos_token_id", 5);
        has_not(&run, "tokenizer.ggml.bos_token_id");
        has_not(&run, "tokenizer.ggml.scores");
        assert_string_equal(run.log, "");
        finish(&run);
    }
}

static void space_in_a_merge(void **state)
{
    (void)state;
    struct run run = start("llama", 0);
    folder_puts(&run.folder, "tokenizer.json",
                "{\"pre_tokenizer\": " BYTE_LEVEL ", \"model\": {\"vocab\": {\" \": 0, \"a\": 1,"
                "\" a\": 2}, \"merges\": [[\" \", \"a\"]]},"
                "\"added_tokens\": [{\"id\": 12, \"content\": \"<e>\", \"special\": true}]}");
    folder_puts(&run.folder, "tokenizer_config.json", "{\"eos_token\": \"<e>\"}");
    must(&run);
    string_at(&run, "tokenizer.ggml.merges", 0, "Ġ a");
    token(&run, 3, "[PAD3]", 5);
    assert_int_equal(n_tokens(&run), 13);
    finish(&run);
}

static void template_processing(void **state)
{
    (void)state;
    struct run run = start("llama", 12);
    folder_puts(&run.folder, "tokenizer.json",
                BPE(JOINED, BYTE_LEVEL,
                    "\"post_processor\": {\"type\": \"Sequence\", \"processors\": [{\"type\":"
                    "\"ByteLevel\"}, {\"type\": \"TemplateProcessing\", \"single\": ["
                    "{\"SpecialToken\": {\"id\": \"<x>\"}}, {\"Sequence\": {\"id\": \"A\"}},"
                    "{\"SpecialToken\": {\"id\": \"<|end|>\"}}], \"pair\": []}]},"));
    folder_puts(&run.folder, "tokenizer_config.json",
                "{\"bos_token\": \"<x>\", \"eos_token\": \"<|tool|>\"}");
    must(&run);
    has_switch(&run, "tokenizer.ggml.add_bos_token", true);
    has_switch(&run, "tokenizer.ggml.add_eos_token", true);
    has_id(&run, "tokenizer.ggml.bos_token_id", 6);
    has_id(&run, "tokenizer.ggml.eos_token_id", 5); /* what the template puts at the end */
    has_id(&run, "tokenizer.ggml.eot_token_id", 7); /* what was called eos */
    finish(&run);
}

static void add_switches_override_the_template(void **state)
{
    (void)state;
    struct run run = start("llama", 12);
    folder_puts(&run.folder, "tokenizer.json",
                BPE(JOINED, BYTE_LEVEL,
                    "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": ["
                    "{\"SpecialToken\": {\"id\": \"<x>\"}}, {\"Sequence\": {\"id\": \"A\"}}]},"));
    folder_puts(&run.folder, "tokenizer_config.json",
                "{\"bos_token\": \"<x>\", \"eos_token\": \"<|end|>\", \"add_bos_token\": false,"
                " \"add_sep_token\": true}");
    must(&run);
    has_switch(&run, "tokenizer.ggml.add_bos_token", false);
    has_switch(&run, "tokenizer.ggml.add_sep_token", false); /* there is no separator */
    assert_non_null(strstr(run.log, "add_sep_token"));
    finish(&run);
}

static void pre_is(const char *arch, const char *pre_tokenizer, bool ignore_merges,
                   const char *want, bool known)
{
    struct run run = start(arch, 10);
    char text[8192];
    snprintf(text, sizeof text,
             "{\"pre_tokenizer\": %s, \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\":"
             "\"BPE\", \"ignore_merges\": %s, \"vocab\": {\"a\": 0, \"e\": 1}, \"merges\": []},"
             "\"added_tokens\": []}",
             pre_tokenizer, ignore_merges ? "true" : "false");
    folder_puts(&run.folder, "tokenizer.json", text);
    folder_puts(&run.folder, "config.json", "{\"bos_token_id\": 0, \"eos_token_id\": 1}");
    must(&run);
    has_text(&run, "tokenizer.ggml.pre", want);
    if (known != (run.log[0] == '\0')) fail_msg("%s: %s", want, run.log);
    if (!known) assert_non_null(strstr(run.log, want));
    finish(&run);
}

#define SEQUENCE(steps) "{\"type\": \"Sequence\", \"pretokenizers\": [" steps "]}"
#define SPLIT(regex)                                                                               \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex "\"}, \"behavior\": \"Isolated\","   \
    "\"invert\": false}"
#define BYTES_ONLY "{\"type\": \"ByteLevel\", \"use_regex\": false}"
#define DIGITS "{\"type\": \"Digits\", \"individual_digits\": true}"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define LLAMA3(digits)                                                                             \
    CONTRACTIONS "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits                                \
                 "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|" TAIL

static void pre_tokenizers(void **state)
{
    (void)state;
    pre_is("llama", BYTE_LEVEL, false, "gpt-2", true);
    pre_is("phi2", BYTE_LEVEL, false, "phi-2", true);
    pre_is("starcoder2", SEQUENCE(DIGITS "," BYTE_LEVEL), false, "starcoder", true);
    pre_is("llama", SEQUENCE(DIGITS "," BYTE_LEVEL), false, "smollm", true);
    pre_is("llama", SEQUENCE(SPLIT("\\\\p{N}") "," BYTE_LEVEL), false, "smollm", true);
    pre_is("llama", SEQUENCE(SPLIT(LLAMA3("\\\\p{N}{1,3}")) "," BYTES_ONLY), true, "llama-bpe",
           true);
    pre_is("olmo2", SEQUENCE(SPLIT(LLAMA3("\\\\p{N}{1,3}")) "," BYTES_ONLY), false, "dbrx", true);
    pre_is("qwen2", SEQUENCE(SPLIT(LLAMA3("\\\\p{N}")) "," BYTES_ONLY), false, "qwen2", true);
    /* the same with possessive quantifiers, another spelling of the contractions, real line ends */
    pre_is("qwen2",
           SEQUENCE(SPLIT("'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\\\p{L}\\\\p{N}]?+\\\\p{L}+|\\\\p{N}"
                          "| ?[^\\\\s\\\\p{L}\\\\p{N}]++[\\r\\n]*|" TAIL) "," BYTES_ONLY),
           false, "qwen2", true);
    pre_is(
        "falcon",
        SEQUENCE("{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"}," BYTE_LEVEL
                 ",{\"type\": \"Digits\", \"individual_digits\": false}," SPLIT("[0-9][0-9][0-9]")),
        false, "falcon", true);
    /* wordings that are in no table, told by what they do */
    pre_is("qwen2",
           SEQUENCE(SPLIT(
               "'(?:[sdmtSDMT]|(?i:LL|VE|RE))|[^\\\\r\\\\n\\\\p{N}\\\\p{L}]?\\\\p{L}+|\\\\p{N}"
               "|[ ]?[^\\\\p{L}\\\\s\\\\p{N}]+[\\\\n\\\\r]*|" TAIL) "," BYTES_ONLY),
           false, "qwen2", true);
    pre_is("starcoder2", SEQUENCE(SPLIT("\\\\p{Nd}|\\\\p{Nl}|\\\\p{No}") "," BYTE_LEVEL), false,
           "starcoder", true);
    pre_is("llama",
           SEQUENCE("{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" LLAMA3(
               "\\\\p{N}{1,3}|\\\\p{N}{9}") "\"}, \"behavior\": \"Removed\", \"invert\": "
                                            "true}," BYTES_ONLY),
           true, "llama-bpe", true);
    /* hostile: an expression that cannot be compiled, and one that never ends */
    pre_is("llama", SEQUENCE(SPLIT("(((") "," BYTES_ONLY), false, "gpt-2", false);
    pre_is("llama", SEQUENCE(SPLIT("(?:(?:\\\\w*)*)*!!!!x") "," BYTES_ONLY), false, "gpt-2", false);
    /* nobody's: the guess is named */
    pre_is("llama", SEQUENCE(SPLIT("\\\\p{L}+|x") "," BYTES_ONLY), false, "qwen2", false);
    pre_is("llama", "{\"type\": \"Whitespace\"}", false, "gpt-2", false);
}

static void changes_that_runtimes_do_not_make(void **state)
{
    (void)state;
    struct run run = start("llama", 12);
    folder_puts(&run.folder, "tokenizer.json",
                "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"},"
                "{\"type\": \"Lowercase\"}]}, \"pre_tokenizer\": {\"type\": \"ByteLevel\","
                "\"add_prefix_space\": true}, \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}");
    must(&run);
    assert_non_null(strstr(run.log, "Lowercase"));
    assert_non_null(strstr(run.log, "add_prefix_space"));
    finish(&run);
}

/* The built-in text tells forms of different names apart. */
static void probe_tells_forms_apart(void **state)
{
    (void)state;
    static const struct {
        const char *steps, *arch, *name;
    } rules[] = {
#define HT_PRE(steps, arch, name) {steps, arch, name},
#include "model/tokenizer/pretok.def"
#undef HT_PRE
    };
    enum { N = sizeof rules / sizeof *rules };
    static struct ht__pieces pieces[N];
    for (size_t i = 0; i < N; i++) {
        const char *steps = rules[i].steps;
        if (strstr(steps, "@*")) continue;
        if (strncmp(steps, "@+", 2) == 0) steps += 2;
        if (!ht__split(steps, ht__split_probe, &pieces[i]))
            fail_msg("%s: no pieces", rules[i].name);
        for (size_t k = 0; k < i; k++) {
            const char *other = rules[k].steps + (strncmp(rules[k].steps, "@+", 2) == 0 ? 2 : 0);
            if (strstr(other, "@*") || strcmp(steps, other) == 0 ||
                strcmp(rules[i].name, rules[k].name) == 0 ||
                strcmp(rules[i].name, "bailingmoe") == 0)
                continue; /* Bailing's is Qwen's in fact: \\s* takes the line ends before the last
                           */
            if (memcmp(&pieces[i], &pieces[k], sizeof pieces[i]) == 0)
                fail_msg("%s and %s cut the text alike", rules[i].name, rules[k].name);
        }
    }
}

static void pieces_are(const char *steps, const char *text, const char *want)
{
    struct ht__pieces pieces;
    char got[256];
    size_t n = 0;
    assert_true(ht__split(steps, text, &pieces));
    for (size_t i = 0; text[i]; i++) {
        if (i && pieces.starts[i]) got[n++] = '_';
        got[n++] = pieces.gone[i] ? '-' : text[i];
    }
    got[n] = '\0';
    assert_string_equal(got, want);
}

static void splitting(void **state)
{
    (void)state;
    pieces_are("B", "it's  a 12-3", "it_'s_ _ a_ 12_-_3");
    pieces_are("D1", "a12b", "a_1_2_b");
    pieces_are("D", "a12b", "a_12_b");
    pieces_are("P", "a!?b", "a_!_?_b");
    pieces_are("Pc", "a!?b.c", "a_!?_b_._c");
    pieces_are("D1;B", "x 12", "x_ _1_2");
    pieces_are("R:[a;]+", "ab;b", "a_-_;_-");
    pieces_are("S:[;]+;D1", "a;;1", "a_;;_1");
    struct ht__pieces pieces;
    assert_false(ht__split("Metaspace", "x", &pieces));
    assert_false(ht__split("S:(", "x", &pieces));
    assert_true(ht__split("S:\\Kx", "xx", &pieces)); /* an odd start, but inside the piece */
}

static void byte_fallback(void **state)
{
    (void)state;
    struct run run = start("llama", 0);
    struct ht__buf json;
    ht__buf_init(&json, NULL);
    ht__buf_str(&json, "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\":"
                       "\"Prepend\", \"prepend\": \"▁\"}]}, \"model\": {\"type\": \"BPE\","
                       "\"byte_fallback\": true, \"unk_token\": \"<unk>\", \"vocab\": {"
                       "\"<unk>\": 0");
    for (int i = 0; i < 256; i++)
        ht__buf_printf(&json, ",\"<0x%02X>\": %d", (unsigned)i, i + 1);
    ht__buf_str(&json,
                ",\"a\": 257, \"b\": 258, \"ab\": 259, \"▁\": 260, \"▁ab\": 261, \"▁a\": 262},"
                "\"merges\": [\"▁ a\", \"a b\", \"▁a b\", \"▁ ab\"]},"
                "\"added_tokens\": [{\"id\": 263, \"content\": \"<e>\", \"special\": true}]}");
    folder_put(&run.folder, "tokenizer.json", json.data, json.len);
    must(&run);
    ht__buf_close(&json);
    has_text(&run, "tokenizer.ggml.model", "llama");
    token(&run, 0, "<unk>", 2);
    token(&run, 1, "<0x00>", 6);
    token(&run, 263, "<e>", 3);
    /* in the order of the merges, then what no merge makes */
    assert_float_equal(score(&run, 262), 0, 0);
    assert_float_equal(score(&run, 259), -1, 0);
    assert_float_equal(score(&run, 261), -2, 0);
    assert_float_equal(score(&run, 257), -3, 0);
    assert_float_equal(score(&run, 260), -5, 0);
    has_not(&run, "tokenizer.ggml.add_space_prefix");
    finish(&run);
}

static void unigram_json(void **state)
{
    (void)state;
    struct run run = start("t5", 5);
    folder_puts(&run.folder, "tokenizer.json",
                "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\":"
                "\"Precompiled\", \"precompiled_charsmap\": \"BAAAAHd4eXpjAA==\"}, {\"type\":"
                "\"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \" \"}]},"
                "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"prepend_scheme\": \"always\"},"
                "\"model\": {\"type\": \"Unigram\", \"unk_id\": 2, \"vocab\": [[\"<pad>\", 0.0],"
                "[\"</s>\", 0.0], [\"<unk>\", -2.5], [\"▁a\", -3]]},"
                "\"added_tokens\": [{\"id\": 1, \"content\": \"</s>\", \"special\": true}]}");
    must(&run);
    has_text(&run, "tokenizer.ggml.model", "t5");
    token(&run, 1, "</s>", 3);
    token(&run, 2, "<unk>", 2);
    token(&run, 4, "[PAD4]", 5);
    assert_float_equal(score(&run, 3), -3, 0);
    has_switch(&run, "tokenizer.ggml.add_space_prefix", true);
    has_switch(&run, "tokenizer.ggml.remove_extra_whitespaces", true);
    const struct ht__kv *map = ht__kv_get(&run.kvs, "tokenizer.ggml.precompiled_charsmap");
    assert_non_null(map);
    assert_int_equal(map->n, 10);
    assert_memory_equal(map->data, "\4\0\0\0wxyzc", 10);
    finish(&run);
}

static void wordpiece(void **state)
{
    (void)state;
    struct run run = start("bert", 0);
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
    must(&run);
    has_text(&run, "tokenizer.ggml.model", "bert");
    has_id(&run, "tokenizer.ggml.token_type_count", 2);
    token(&run, 2, "[CLS]", 3);
    token(&run, 5, "▁play", 1);
    token(&run, 6, "ing", 1);
    token(&run, 7, "▁##", 1);
    has_id(&run, "tokenizer.ggml.bos_token_id", 2); /* cls stands for the missing bos */
    has_id(&run, "tokenizer.ggml.seperator_token_id", 3);
    has_id(&run, "tokenizer.ggml.mask_token_id", 4);
    has_switch(&run, "tokenizer.ggml.normalizer.lowercase", true);
    has_switch(&run, "tokenizer.ggml.normalizer.strip_accents", true);
    finish(&run);
}

static void vocab_and_merges(void **state)
{
    (void)state;
    struct run run = start("qwen2", 12);
    folder_puts(&run.folder, "vocab.json", "{\"a\": 0, \"b\": 1, \"ab\": 2, \"<|endoftext|>\": 3}");
    folder_puts(&run.folder, "merges.txt", "#version: 0.2\na b\r\n");
    folder_puts(&run.folder, "tokenizer_config.json",
                "{\"tokenizer_class\": \"Qwen2Tokenizer\", \"eos_token\": \"<|im_end|>\","
                "\"pad_token\": \"<|endoftext|>\", \"added_tokens_decoder\": {"
                "\"4\": {\"content\": \"<|im_end|>\", \"special\": true}}}");
    must(&run);
    has_text(&run, "tokenizer.ggml.pre", "qwen2");
    token(&run, 3, "<|endoftext|>", 3);
    token(&run, 4, "<|im_end|>", 3);
    token(&run, 7, "[PAD7]", 5);
    string_at(&run, "tokenizer.ggml.merges", 0, "a b");
    has_id(&run, "tokenizer.ggml.eos_token_id", 4);
    has_id(&run, "tokenizer.ggml.padding_token_id", 3);
    finish(&run);
}

static void vocab_txt(void **state)
{
    (void)state;
    struct run run = start("bert", 0);
    folder_puts(&run.folder, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nplay\n##ing\n");
    folder_puts(&run.folder, "special_tokens_map.json",
                "{\"cls_token\": \"[CLS]\", \"sep_token\": \"[SEP]\", \"pad_token\": \"[PAD]\","
                "\"bos_token\": \"[CLS]\", \"unk_token\": \"[UNK]\", \"mask_token\": \"[MASK]\"}");
    folder_puts(&run.folder, "tokenizer_config.json", "{\"do_lower_case\": false}");
    must(&run);
    token(&run, 2, "[CLS]", 3);
    token(&run, 5, "▁play", 1);
    token(&run, 6, "ing", 1);
    has_id(&run, "tokenizer.ggml.unknown_token_id", 1);
    has_switch(&run, "tokenizer.ggml.normalizer.lowercase", false);
    finish(&run);
}

static void put_template_model(struct run *run)
{
    folder_puts(&run->folder, "tokenizer.json", BPE(JOINED, BYTE_LEVEL, ""));
}

static void chat_template_in_the_settings(void **state)
{
    (void)state;
    struct run run = start("llama", 12);
    put_template_model(&run);
    folder_puts(&run.folder, "tokenizer_config.json",
                "{\"eos_token\": \"<|end|>\", \"chat_template\": [{\"name\": \"tool use\","
                "\"template\": \"T\"}, {\"name\": \"default\", \"template\": \"D\\n\"}]}");
    folder_puts(&run.folder, "chat_template.jinja", "not this");
    must(&run);
    has_text(&run, "tokenizer.chat_template", "D\n");
    has_text(&run, "tokenizer.chat_template.tool_use", "T");
    string_at(&run, "tokenizer.chat_templates", 0, "tool_use");
    finish(&run);
}

static void chat_template_files(void **state)
{
    (void)state;
    struct run run = start("llama", 12);
    put_template_model(&run);
    folder_puts(&run.folder, "tokenizer_config.json", "{\"eos_token\": \"<|end|>\"}");
    folder_puts(&run.folder, "chat_template.json", "{\"chat_template\": \"of json\"}");
    must(&run);
    has_text(&run, "tokenizer.chat_template", "of json");
    ht__arena_close(&run.arena);
    folder_puts(&run.folder, "chat_template.jinja", "{{ main }}\n");
    folder_puts(&run.folder, "additional_chat_templates/rag.jinja", "R");
    folder_puts(&run.folder, "additional_chat_templates/notes.txt", "no template");
    must(&run);
    has_text(&run, "tokenizer.chat_template", "{{ main }}\n");
    has_text(&run, "tokenizer.chat_template.rag", "R");
    assert_int_equal(ht__kv_get(&run.kvs, "tokenizer.chat_templates")->n, 1);
    finish(&run);
}

/* Runtimes put a beginning token before a "llama" text unless told otherwise. */
static void a_template_of_nothing(void **state)
{
    (void)state;
    struct run run = start("llama", 262);
    put_spm(&run, 2, true, false);
    must(&run);
    has_not(&run, "tokenizer.ggml.add_bos_token");
    ht__arena_close(&run.arena);
    folder_puts(
        &run.folder, "tokenizer.json",
        "{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\":"
        "{\"id\": \"A\"}}]}, \"model\": {}}");
    must(&run);
    has_switch(&run, "tokenizer.ggml.add_bos_token", false);
    finish(&run);
}

/* As transformers 5 saves it: no added_tokens_decoder, special tokens as plain texts. */
static void newer_settings(void **state)
{
    (void)state;
    struct run run = start("llama", 264);
    put_spm(&run, 2, true, false);
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
    must(&run);
    token(&run, 0, "<unk>", 2); /* the model knows better */
    token(&run, 260, "▁▁", 3);
    token(&run, 261, "b", 3);
    token(&run, 262, "<turn>", 3);
    has_id(&run, "tokenizer.ggml.eos_token_id", 262);
    has_switch(&run, "tokenizer.ggml.add_bos_token", true);
    finish(&run);
}

/* "a0", "a1", ... by steps of one merge: as large as tokenizers are, in time that grows with the
 * size. */
static void large(void **state)
{
    (void)state;
    enum { N = 150000, BASE = 500 };
    struct run run = start("qwen2", N + 8);
    struct ht__buf json;
    ht__buf_init(&json, NULL);
    ht__buf_str(&json,
                "{\"pre_tokenizer\": " BYTE_LEVEL ", \"model\": {\"type\": \"BPE\", \"vocab\": {");
    for (int i = 0; i < BASE; i++)
        ht__buf_printf(&json, "%s\"<%d>\": %d", i ? "," : "", i, i);
    for (int i = BASE; i < N; i++)
        ht__buf_printf(&json, ",\"<%d><%d>\": %d", i / BASE, i % BASE, i);
    ht__buf_str(&json, "}, \"merges\": [");
    for (int i = BASE; i < N; i++)
        ht__buf_printf(&json, "%s[\"<%d>\", \"<%d>\"]", i > BASE ? "," : "", i / BASE, i % BASE);
    ht__buf_str(&json, "]}}");
    folder_put(&run.folder, "tokenizer.json", json.data, json.len);
    folder_puts(&run.folder, "config.json", "{\"bos_token_id\": 1, \"eos_token_id\": 2}");
    clock_t begin = clock();
    must(&run);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    print_message("%d tokens, %d merges, %zu bytes: %.3f s\n", N, N - BASE, json.len, seconds);
    ht__buf_close(&json);
    assert_int_equal(n_tokens(&run), N + 8);
    string_at(&run, "tokenizer.ggml.merges", N - BASE - 1, "<299> <499>");
    assert_true(seconds < 10); /* a tenth of a second is usual; sanitizers and busy machines cost */
    finish(&run);
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
        struct run run = start(real[i].arch, real[i].rows);
        snprintf(path, sizeof path, "%s/../shared/tokenizers/%s", root ? root : ".", real[i].dir);
        assert_int_equal(convert(&run, path), HT_OK);
        has_text(&run, "tokenizer.ggml.model", real[i].model);
        has_text(&run, "tokenizer.ggml.pre", real[i].pre);
        assert_int_equal(n_tokens(&run), real[i].rows);
        assert_string_equal(run.log, "");
        finish(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_tokenizer),
        cmocka_unit_test(sentencepiece_bpe),
        cmocka_unit_test(sentencepiece_without_prefix_and_padded),
        cmocka_unit_test(spaces_spelled_twice),
        cmocka_unit_test(sentencepiece_unigram),
        cmocka_unit_test(byte_level_bpe),
        cmocka_unit_test(space_in_a_merge),
        cmocka_unit_test(template_processing),
        cmocka_unit_test(add_switches_override_the_template),
        cmocka_unit_test(pre_tokenizers),
        cmocka_unit_test(changes_that_runtimes_do_not_make),
        cmocka_unit_test(probe_tells_forms_apart),
        cmocka_unit_test(splitting),
        cmocka_unit_test(byte_fallback),
        cmocka_unit_test(unigram_json),
        cmocka_unit_test(wordpiece),
        cmocka_unit_test(vocab_and_merges),
        cmocka_unit_test(vocab_txt),
        cmocka_unit_test(chat_template_in_the_settings),
        cmocka_unit_test(chat_template_files),
        cmocka_unit_test(a_template_of_nothing),
        cmocka_unit_test(newer_settings),
        cmocka_unit_test(large),
        cmocka_unit_test(real_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
