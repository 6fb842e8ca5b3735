/* Pre-tokenizers: the name that runtimes know them by, and how they cut text. */
#include "lib/vocab.h"
#include "model/vocab_import/splitter.h"
#include "model/vocab_import/import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void pre_is(const char *arch, const char *pre_tokenizer, bool ignore_merges, const char *want, bool known)
{
    struct vocab_run run = vocab_start(arch, 10);
    char text[8192];
    snprintf(text, sizeof text,
             "{\"pre_tokenizer\": %s, \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\":"
             "\"BPE\", \"ignore_merges\": %s, \"vocab\": {\"a\": 0, \"e\": 1}, \"merges\": []},"
             "\"added_tokens\": []}",
             pre_tokenizer, ignore_merges ? "true" : "false");
    folder_puts(&run.folder, "tokenizer.json", text);
    folder_puts(&run.folder, "config.json", "{\"bos_token_id\": 0, \"eos_token_id\": 1}");
    vocab_must(&run);
    vocab_has_text(&run, "tokenizer.ggml.pre", want);
    if (known != (run.log[0] == '\0')) fail_msg("%s: %s", want, run.log);
    if (!known) assert_non_null(strstr(run.log, want));
    vocab_finish(&run);
}

#define SEQUENCE(steps) "{\"type\": \"Sequence\", \"pretokenizers\": [" steps "]}"
#define SPLIT(regex)                                                                                                   \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex "\"}, \"behavior\": \"Isolated\","                       \
    "\"invert\": false}"
#define BYTES_ONLY "{\"type\": \"ByteLevel\", \"use_regex\": false}"
#define DIGITS "{\"type\": \"Digits\", \"individual_digits\": true}"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define LLAMA3(digits)                                                                                                 \
    CONTRACTIONS "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|" TAIL

static void pre_tokenizers(void **state)
{
    (void)state;
    pre_is("llama", VOCAB_BYTE_LEVEL, false, "gpt-2", true);
    pre_is("phi2", VOCAB_BYTE_LEVEL, false, "gpt-2", true);
    pre_is("starcoder2", SEQUENCE(DIGITS "," VOCAB_BYTE_LEVEL), false, "starcoder", true);
    pre_is("llama", SEQUENCE(DIGITS "," VOCAB_BYTE_LEVEL), false, "smollm", true);
    pre_is("llama", SEQUENCE(SPLIT("\\\\p{N}") "," VOCAB_BYTE_LEVEL), false, "smollm", true);
    pre_is("llama", SEQUENCE(SPLIT(LLAMA3("\\\\p{N}{1,3}")) "," BYTES_ONLY), true, "llama-bpe", true);
    pre_is("olmo2", SEQUENCE(SPLIT(LLAMA3("\\\\p{N}{1,3}")) "," BYTES_ONLY), false, "dbrx", true);
    pre_is("qwen2", SEQUENCE(SPLIT(LLAMA3("\\\\p{N}")) "," BYTES_ONLY), false, "qwen2", true);
    /* the same with possessive quantifiers, another spelling of the contractions, real line ends */
    pre_is("qwen2",
           SEQUENCE(SPLIT("'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\\\p{L}\\\\p{N}]?+\\\\p{L}+|\\\\p{N}"
                          "| ?[^\\\\s\\\\p{L}\\\\p{N}]++[\\r\\n]*|" TAIL) "," BYTES_ONLY),
           false, "qwen2", true);
    pre_is("falcon",
           SEQUENCE("{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"}," VOCAB_BYTE_LEVEL
                    ",{\"type\": \"Digits\", \"individual_digits\": false}," SPLIT("[0-9][0-9][0-9]")),
           false, "falcon", true);
    /* wordings that are in no table, told by what they do */
    pre_is("qwen2",
           SEQUENCE(SPLIT("'(?:[sdmtSDMT]|(?i:LL|VE|RE))|[^\\\\r\\\\n\\\\p{N}\\\\p{L}]?\\\\p{L}+|\\\\p{N}"
                          "|[ ]?[^\\\\p{L}\\\\s\\\\p{N}]+[\\\\n\\\\r]*|" TAIL) "," BYTES_ONLY),
           false, "qwen2", true);
    pre_is("starcoder2", SEQUENCE(SPLIT("\\\\p{Nd}|\\\\p{Nl}|\\\\p{No}") "," VOCAB_BYTE_LEVEL), false, "starcoder",
           true);
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
    struct vocab_run run = vocab_start("llama", 12);
    folder_puts(&run.folder, "tokenizer.json",
                "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"},"
                "{\"type\": \"Lowercase\"}]}, \"pre_tokenizer\": {\"type\": \"ByteLevel\","
                "\"add_prefix_space\": true}, \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}");
    vocab_must(&run);
    assert_non_null(strstr(run.log, "Lowercase"));
    assert_non_null(strstr(run.log, "add_prefix_space"));
    vocab_finish(&run);
}

/* The built-in text tells forms of different names apart. */
static void probe_tells_forms_apart(void **state)
{
    (void)state;
    static const struct {
        const char *steps, *arch, *name;
    } rules[] = {
#define HT_PRE(steps, arch, name) {steps, arch, name},
#include "model/vocab_import/pretok.def"
#undef HT_PRE
    };
    enum { N = sizeof rules / sizeof *rules };
    static struct ht__pieces pieces[N];
    for (size_t i = 0; i < N; i++) {
        const char *steps = rules[i].steps;
        if (strstr(steps, "@*")) continue;
        if (strncmp(steps, "@+", 2) == 0) steps += 2;
        if (!ht__split(steps, ht__split_probe, &pieces[i])) fail_msg("%s: no pieces", rules[i].name);
        for (size_t k = 0; k < i; k++) {
            const char *other = rules[k].steps + (strncmp(rules[k].steps, "@+", 2) == 0 ? 2 : 0);
            if (strstr(other, "@*") || strcmp(steps, other) == 0 || strcmp(rules[i].name, rules[k].name) == 0 ||
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pre_tokenizers),
        cmocka_unit_test(changes_that_runtimes_do_not_make),
        cmocka_unit_test(probe_tells_forms_apart),
        cmocka_unit_test(splitting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
