/* Composing against utf8proc, in order and in time; and what ends a text of WordPiece's. */
#include "lib/folder.h"
#include "model/tokenizer/parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

#include <cmocka.h>

/* A tokenizer of the kind that has these tokens and nothing else. */
static struct ht__tokenizer *made(const char *model, const struct ht__str *tokens, const int32_t *types, size_t n,
                                  const char *flag, bool on)
{
    struct ht__arena arena;
    struct ht__kvs kvs;
    struct ht__tokenizer *t = NULL;
    struct ht_diag diag = {0};
    static const struct ht__str merges[] = {{"a b", 3}};
    static const float scores[8];
    ht__arena_init(&arena, NULL);
    ht__kvs_init(&kvs, &arena);
    ht__kv_str(&kvs, "tokenizer.ggml.model", model);
    ht__kv_str(&kvs, "tokenizer.ggml.pre", "qwen2");
    ht__kv_strs_ref(&kvs, "tokenizer.ggml.tokens", tokens, n);
    ht__kv_strs_ref(&kvs, "tokenizer.ggml.merges", merges, 1);
    ht__kv_array(&kvs, "tokenizer.ggml.scores", HT__KV_F32, scores, n);
    ht__kv_array(&kvs, "tokenizer.ggml.token_type", HT__KV_I32, types, n);
    ht__kv_u32(&kvs, "tokenizer.ggml.bos_token_id", 0);
    ht__kv_u32(&kvs, "tokenizer.ggml.eos_token_id", 1);
    ht__kv_u32(&kvs, "tokenizer.ggml.seperator_token_id", 1);
    ht__kv_u32(&kvs, "tokenizer.ggml.unknown_token_id", 2);
    ht__kv_u32(&kvs, "tokenizer.ggml.padding_token_id", 2);
    if (flag) ht__kv_bool(&kvs, flag, on);
    ht__kv_bool(&kvs, "tokenizer.ggml.add_sep_token", false);
    if (ht__tokenizer_open(&kvs, "made", NULL, &t, &diag) != HT_OK) fail_msg("%s", diag.message);
    ht__arena_close(&arena);
    return t;
}

static struct ht__tokenizer *with_bytes(void)
{
    static const struct ht__str tokens[] = {{"a", 1}, {"b", 1}, {"ab", 2}};
    static const int32_t types[] = {1, 1, 1};
    return made("gpt2", tokens, types, 3, NULL, false);
}

static void expect_composed(const struct ht__tokenizer *t, const char *text, size_t n, struct ht__buf *buf)
{
    struct ht_diag diag = {0};
    utf8proc_uint8_t *want = NULL;
    const char *got = text;
    size_t len = n;
    utf8proc_ssize_t n_want =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &want, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    assert_true(n_want >= 0);
    assert_int_equal(ht__tokenizer_nfc(t, &got, &len, buf, &diag), HT_OK);
    assert_int_equal(len, n_want);
    assert_memory_equal(got, want, len);
    free(want);
}

/* Letters, marks of several classes, jamo, singletons, vowel signs that compose. */
static void composes_as_utf8proc(void **state)
{
    (void)state;
    static const char *const parts[] = {"a",
                                        "e",
                                        " ",
                                        "\xcc\x81",
                                        "\xcc\xa7",
                                        "\xcc\x82",
                                        "\xcc\xa3",
                                        "\xc3\xa9",
                                        "\xe2\x84\xab",
                                        "\xe1\x84\x80",
                                        "\xe1\x85\xa1",
                                        "\xe1\x86\xa8",
                                        "\xea\xb0\x80",
                                        "\xe0\xa6\x95",
                                        "\xe0\xa7\x87",
                                        "\xe0\xa6\xbe",
                                        "\xe0\xa7\x97",
                                        "\xf0\x9f\x9a\x80",
                                        "\xe6\x97\xa5",
                                        "\xef\xa4\x80",
                                        "\xe1\xba\xa5",
                                        "\xd7\x91",
                                        "\xd6\xbc",
                                        "\xd6\xb7",
                                        "\xe0\xbd\xb1",
                                        "\xe0\xbd\xb4",
                                        "\xf0\x91\x84\xb1",
                                        "\xf0\x91\x84\xa7"};
    struct ht__tokenizer *t = with_bytes();
    struct ht__buf buf;
    unsigned seed = 1;
    ht__buf_init(&buf, NULL);
    for (int round = 0; round < 20000; round++) {
        char text[256];
        size_t n = 0;
        for (unsigned k = 0; k < 1 + (unsigned)round % 24; k++) {
            seed = seed * 1664525u + 1013904223u;
            const char *part = parts[(seed >> 8) % (sizeof parts / sizeof *parts)];
            memcpy(text + n, part, strlen(part));
            n += strlen(part);
        }
        expect_composed(t, text, n, &buf);
    }
    ht__buf_close(&buf);
    ht__tokenizer_close(&t);
}

static void bad_bytes_stay(void **state)
{
    (void)state;
    static const char text[] = "e\xcc\x81\xff\xcc\x81\xe2\x82", want[] = "\xc3\xa9\xff\xcc\x81\xe2\x82";
    struct ht__tokenizer *t = with_bytes();
    struct ht__buf buf;
    struct ht_diag diag = {0};
    const char *got = text;
    size_t n = sizeof text - 1;
    ht__buf_init(&buf, NULL);
    assert_int_equal(ht__tokenizer_nfc(t, &got, &n, &buf, &diag), HT_OK);
    assert_int_equal(n, sizeof want - 1);
    assert_memory_equal(got, want, n);
    ht__buf_close(&buf);
    ht__tokenizer_close(&t);
}

/* A megabyte of marks out of order, which ordering by neighbours would take minutes for. */
static void marks_without_end(void **state)
{
    (void)state;
    enum { N = 1 << 18 };
    struct ht__tokenizer *t = with_bytes();
    struct timespec a, b;
    struct ht__buf buf;
    struct ht_diag diag = {0};
    char *text = malloc(4 * N);
    assert_non_null(text);
    for (size_t i = 0; i < N; i++)
        memcpy(text + 4 * i, "\xcc\x81\xcc\xa7", 4);
    const char *got = text;
    size_t n = 4 * N;
    ht__buf_init(&buf, NULL);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    assert_int_equal(ht__tokenizer_nfc(t, &got, &n, &buf, &diag), HT_OK);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    assert_int_equal(n, 4 * N);
    assert_memory_equal(got, "\xcc\xa7\xcc\xa7", 4); /* those of the lower class come first */
    assert_memory_equal(got + n - 4, "\xcc\x81\xcc\x81", 4);
    assert_true((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9 < 5);
    free(text);
    ht__buf_close(&buf);
    ht__tokenizer_close(&t);
}

/* A template's last token is metadata's eos; that two texts have no separator of their own is
 * another matter. */
static void separator_ends_a_text(void **state)
{
    (void)state;
    static const struct ht__str tokens[] = {{"[CLS]", 5},
                                            {"[SEP]", 5},
                                            {"[UNK]", 5},
                                            {"\xe2\x96\x81"
                                             "a",
                                             4}};
    static const int32_t types[] = {3, 3, 2, 1};
    static const struct {
        const char *flag;
        bool on;
        size_t n;
    } cases[] = {
        {"tokenizer.ggml.add_eos_token", true, 3}, {"tokenizer.ggml.add_eos_token", false, 2}, {NULL, false, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ht__tokenizer *t = made("bert", tokens, types, 4, cases[i].flag, cases[i].on);
        struct ht__tokens ids;
        struct ht_diag diag = {0};
        ht__tokens_init(&ids, NULL);
        assert_int_equal(ht__tokenizer_encode(t, "a", 1, HT__TOKENIZER_ADD_SPECIAL, &ids, &diag), HT_OK);
        assert_int_equal(ids.n, cases[i].n);
        assert_memory_equal(ids.ids, ((const int32_t[]){0, 3, 1}), cases[i].n * sizeof(int32_t));
        ht__tokens_close(&ids);
        ht__tokenizer_close(&t);
    }
}

/* A unigram's tokenizer.json: a space at the start is dropped as one too many, and the mark put all
 * the same. */
static void mark_stays_where_space_goes(void **state)
{
    (void)state;
    static const struct ht__str tokens[] = {{"<s>", 3},
                                            {"</s>", 4},
                                            {"<unk>", 5},
                                            {"\xe2\x96\x81"
                                             "a",
                                             4},
                                            {"a", 1}};
    static const int32_t types[] = {3, 3, 2, 1, 1};
    struct folder folder = folder_make();
    struct ht_diag diag = {0};
    folder_puts(&folder, "tokenizer.json",
                "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"always\"}}");
    struct ht__tokenizer *t = made("t5", tokens, types, 5, "tokenizer.ggml.remove_extra_whitespaces", true);
    assert_int_equal(ht__tokenizer_adopt_folder(t, folder.path, &diag), HT_OK);
    static const char *const texts[] = {"a", " a", "  a "};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct ht__tokens ids;
        ht__tokens_init(&ids, NULL);
        assert_int_equal(ht__tokenizer_encode(t, texts[i], strlen(texts[i]), 0, &ids, &diag), HT_OK);
        assert_int_equal(ids.n, 1);
        assert_int_equal(ids.ids[0], 3);
        ht__tokens_close(&ids);
    }
    ht__tokenizer_close(&t);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(composes_as_utf8proc), cmocka_unit_test(bad_bytes_stay),
                                       cmocka_unit_test(marks_without_end), cmocka_unit_test(separator_ends_a_text),
                                       cmocka_unit_test(mark_stays_where_space_goes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
