/* Tokenizers at work: small ones made here, and the real ones where they lie beside. */
#include "formats/checkpoint.h"
#include "model/model.h"
#include "model/text/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct made {
    struct ht__arena arena;
    struct ht__kvs kvs;
    struct ht__text *text;
    struct ht_diag diag;
};

static void begin(struct made *m, const char *model)
{
    memset(m, 0, sizeof *m);
    ht__arena_init(&m->arena, NULL);
    ht__kvs_init(&m->kvs, &m->arena);
    if (model) ht__kv_str(&m->kvs, "tokenizer.ggml.model", model);
}

static void put_strs(struct made *m, const char *key, const char *const *texts)
{
    size_t n = 0;
    while (texts[n])
        n++;
    struct ht__str *strs = ht__arena_array(&m->arena, n + 1, sizeof *strs);
    for (size_t i = 0; i < n; i++)
        strs[i] = (struct ht__str){texts[i], strlen(texts[i])};
    ht__kv_strs_ref(&m->kvs, key, strs, n);
}

static enum ht_err open_made(struct made *m)
{
    return ht__text_open(&m->kvs, "made", NULL, &m->text, &m->diag);
}

static void end(struct made *m)
{
    ht__text_close(&m->text);
    ht__arena_close(&m->arena);
}

static void expect_ids(const struct ht__text *t, const char *text, size_t n, unsigned flags,
                       const int32_t *want, size_t n_want)
{
    struct ht__tokens out;
    struct ht_diag diag = {0};
    ht__tokens_init(&out, NULL);
    assert_int_equal(ht__text_encode(t, text, n, flags, &out, &diag), HT_OK);
    for (size_t i = 0; i < n_want && i < out.n; i++)
        if (out.ids[i] != want[i])
            fail_msg("\"%s\": token %zu is %d, not %d", text, i, out.ids[i], want[i]);
    assert_int_equal(out.n, n_want);
    ht__tokens_close(&out);
}
#define EXPECT(t, text, flags, ...)                                                                \
    expect_ids(t, text, strlen(text), flags, (const int32_t[]){__VA_ARGS__},                       \
               sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void expect_text(const struct ht__text *t, const int32_t *ids, size_t n, unsigned flags,
                        const char *want)
{
    struct ht__buf out;
    ht__buf_init(&out, NULL);
    assert_int_equal(ht__text_decode(t, ids, n, flags, &out), HT_OK);
    assert_string_equal(ht__buf_text(&out), want);
    ht__buf_close(&out);
}

/* Whatever bytes go in come out. */
static void expect_return(const struct ht__text *t, const char *text, size_t n, bool returns)
{
    struct ht__tokens ids;
    struct ht__buf out;
    struct ht_diag diag = {0};
    ht__tokens_init(&ids, NULL);
    ht__buf_init(&out, NULL);
    assert_int_equal(ht__text_encode(t, text, n, 0, &ids, &diag), HT_OK);
    assert_int_equal(ht__text_decode(t, ids.ids, ids.n, 0, &out), HT_OK);
    if (returns) assert_int_equal(out.len, n);
    if (returns && n) assert_memory_equal(out.data, text, n);
    ht__tokens_close(&ids);
    ht__buf_close(&out);
}

static const char *const byte_tokens[] = {"a",
                                          "b",
                                          "c",
                                          "\xc4\xa0",
                                          "ab",
                                          "\xc4\xa0"
                                          "c",
                                          "abc",
                                          "<x>",
                                          "<xy>",
                                          NULL};
static const char *const byte_merges[] = {"a b", "\xc4\xa0 c", "ab c", NULL};

static void begin_bytes(struct made *m, const char *pre)
{
    static const int32_t types[] = {1, 1, 1, 1, 1, 1, 1, 3, 4};
    begin(m, "gpt2");
    ht__kv_str(&m->kvs, "tokenizer.ggml.pre", pre);
    put_strs(m, "tokenizer.ggml.tokens", byte_tokens);
    put_strs(m, "tokenizer.ggml.merges", byte_merges);
    ht__kv_array(&m->kvs, "tokenizer.ggml.token_type", HT__KV_I32, types, 9);
    ht__kv_u32(&m->kvs, "tokenizer.ggml.bos_token_id", 7);
    ht__kv_bool(&m->kvs, "tokenizer.ggml.add_bos_token", true);
}

static void byte_level(void **state)
{
    struct made m;
    begin_bytes(&m, "gpt-2");
    assert_int_equal(open_made(&m), HT_OK);
    EXPECT(m.text, "abc ccab", 0, 6, 5, 2, 4);
    EXPECT(m.text, "ab<x>c<xy>", 0, 4, 2, 8); /* "<x>" is text, whose bytes have no tokens */
    EXPECT(m.text, "ab<x>c<xy>", HT__TEXT_PARSE_SPECIAL | HT__TEXT_ADD_SPECIAL, 7, 4, 7, 2, 8);
    expect_text(m.text, (const int32_t[]){7, 6, 5, 8}, 4, 0, "<x>abc c<xy>");
    expect_text(m.text, (const int32_t[]){7, 6, 5, 8}, 4, HT__TEXT_SKIP_SPECIAL, "abc c<xy>");
    assert_true(ht__text_adds_bos(m.text));
    assert_int_equal(ht__text_find(m.text, "ab", 2), 4);
    assert_int_equal(ht__text_size(m.text), 9);
    struct ht__buf out;
    ht__buf_init(&out, NULL);
    assert_int_equal(ht__text_decode(m.text, (const int32_t[]){9}, 1, 0, &out), HT_ERR_USAGE);
    ht__buf_close(&out);
    end(&m);
}

static void refusals(void **state)
{
    struct made m;
    begin(&m, NULL);
    assert_int_equal(open_made(&m), HT_ERR_UNSUPPORTED);
    assert_non_null(strstr(m.diag.message, "no tokenizer"));
    end(&m);
    begin(&m, "no_vocab");
    assert_int_equal(open_made(&m), HT_ERR_UNSUPPORTED);
    assert_non_null(strstr(m.diag.message, "no tokenizer"));
    end(&m);
    begin_bytes(&m, "nobody-knows");
    assert_int_equal(open_made(&m), HT_ERR_UNSUPPORTED);
    assert_non_null(strstr(m.diag.message, "nobody-knows"));
    end(&m);
    begin_bytes(&m, "gpt-2");
    put_strs(&m, "tokenizer.ggml.merges", (const char *const[]){"a b", "b z", NULL});
    assert_int_equal(open_made(&m), HT_ERR_FORMAT);
    assert_non_null(strstr(m.diag.message, "b z"));
    end(&m);
}

static const struct {
    const char *name;
    bool returns; /* it has a token for every byte */
} real[] = {{"gpt-2", true},           {"falcon", false},    {"deepseek-llm", false},
            {"deepseek-coder", false}, {"starcoder", false}, {"refact", false},
            {"llama-spm", true},       {"phi-3", true}};

static struct ht__text *open_real(const char *name)
{
    char path[600];
    struct ht__checkpoint *checkpoint;
    struct ht__text *t = NULL;
    struct ht_diag diag = {0};
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/../shared/vocab/ggml-vocab-%s.gguf", root ? root : ".", name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        print_message("SKIPPED: %s is not here\n", path);
        return NULL;
    }
    fclose(f);
    assert_int_equal(ht__checkpoint_open(path, NULL, &checkpoint, &diag), HT_OK);
    assert_int_equal(ht__text_open(checkpoint->kvs, path, NULL, &t, &diag), HT_OK);
    ht__checkpoint_close(&checkpoint);
    return t;
}

static void any_bytes_return(void **state)
{
    char text[600];
    uint64_t seed = 88172645463325252u;
    for (size_t k = 0; k < sizeof real / sizeof *real; k++) {
        struct ht__text *t = open_real(real[k].name);
        if (!t) continue;
        for (int round = 0; round < 200; round++) {
            size_t n = seed % sizeof text;
            for (size_t i = 0; i < n; i++) {
                seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
                text[i] = seed % 3 ? "ab 1'\n\xe2\x96\x81\xc3"[seed % 10] : (char)(seed >> 8);
            }
            /* U+2581 is what spaces are spelled with, so it is read back as one */
            for (size_t i = 0; real[k].name[0] != 'g' && i + 2 < n; i++)
                if (memcmp(text + i, "\xe2\x96\x81", 3) == 0) text[i] = '_';
            expect_return(t, text, n, real[k].returns);
        }
        ht__text_close(&t);
    }
}

/* A megabyte without a place to cut: its time must grow with its length, not with its square. */
static void long_runs(void **state)
{
    static const char *const runs[] = {"a",         " ",    "1",   "\n", "!", "\xe4\xb8\xad",
                                       "a\xcc\x81", "\xff", " \n", "'s"};
    size_t n = 1 << 20;
    char *text = malloc(n);
    for (size_t k = 0; k < sizeof real / sizeof *real; k++) {
        struct ht__text *t = open_real(real[k].name);
        if (!t) continue;
        for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
            struct timespec a, b;
            size_t len = strlen(runs[r]), whole = n / len * len;
            for (size_t i = 0; i < whole; i++)
                text[i] = runs[r][i % len];
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
            expect_return(t, text, whole, real[k].returns);
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
            double seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
            if (seconds > 5) fail_msg("%s, run %zu: %.1f s", real[k].name, r, seconds);
            if (getenv("HT_TIMES")) print_message("%s %zu: %.3f s\n", real[k].name, r, seconds);
        }
        ht__text_close(&t);
    }
    free(text);
}

/* Tokens that come one by one: never half a character, and in the end the same bytes. */
static void streaming(void **state)
{
    static const char text[] = "na\xc3\xafve \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80 \xf0\x9f";
    struct ht__text *t = open_real("gpt-2");
    struct ht__tokens ids;
    struct ht__buf out;
    struct ht_diag diag = {0};
    struct ht__text_stream stream;
    if (!t) skip();
    ht__tokens_init(&ids, NULL);
    ht__buf_init(&out, NULL);
    assert_int_equal(ht__text_encode(t, text, sizeof text - 1, 0, &ids, &diag), HT_OK);
    ht__text_stream_begin(&stream, t, 0);
    for (size_t i = 0; i < ids.n; i++) {
        assert_int_equal(ht__text_stream_put(&stream, ids.ids[i], &out), HT_OK);
        assert_true(out.len == 0 || (out.data[out.len - 1] & 0xc0) != 0xc0);
    }
    assert_int_equal(out.len, sizeof text - 3); /* all but the begun character */
    ht__text_stream_end(&stream, &out);
    assert_string_equal(ht__buf_text(&out), text);
    ht__buf_close(&out);
    ht__tokens_close(&ids);
    ht__text_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(byte_level), cmocka_unit_test(refusals),
                                       cmocka_unit_test(any_bytes_return),
                                       cmocka_unit_test(long_runs), cmocka_unit_test(streaming)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
