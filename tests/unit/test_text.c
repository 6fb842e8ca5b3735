/* Tokenizers at work: small ones made here, and the real ones where they lie beside. */
#include "lib/counting.h"
#include "lib/folder.h"
#include "formats/checkpoint.h"
#include "lib/effort.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"

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
    struct ht__tokenizer *text;
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
    return ht__tokenizer_open(&m->kvs, "made", NULL, &m->text, &m->diag);
}

static void end(struct made *m)
{
    ht__tokenizer_close(&m->text);
    ht__arena_close(&m->arena);
}

static void expect_ids(const struct ht__tokenizer *t, const char *text, size_t n, unsigned flags, const int32_t *want,
                       size_t n_want)
{
    struct ht__tokens out;
    struct ht_diag diag = {0};
    ht__tokens_init(&out, NULL);
    assert_int_equal(ht__tokenizer_encode(t, text, n, flags, &out, &diag), HT_OK);
    for (size_t i = 0; i < n_want && i < out.n; i++)
        if (out.ids[i] != want[i]) fail_msg("\"%s\": token %zu is %d, not %d", text, i, out.ids[i], want[i]);
    assert_int_equal(out.n, n_want);
    ht__tokens_close(&out);
}
#define EXPECT(t, text, flags, ...)                                                                                    \
    expect_ids(t, text, strlen(text), flags, (const int32_t[]){__VA_ARGS__},                                           \
               sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void expect_text(const struct ht__tokenizer *t, const int32_t *ids, size_t n, unsigned flags, const char *want)
{
    struct ht__buf out;
    ht__buf_init(&out, NULL);
    assert_int_equal(ht__tokenizer_decode(t, ids, n, flags, &out), HT_OK);
    assert_string_equal(ht__buf_text(&out), want);
    ht__buf_close(&out);
}

/* Whatever bytes go in come out. */
static void expect_return(const struct ht__tokenizer *t, const char *text, size_t n, bool returns)
{
    struct ht__tokens ids;
    struct ht__buf out;
    struct ht_diag diag = {0};
    ht__tokens_init(&ids, NULL);
    ht__buf_init(&out, NULL);
    assert_int_equal(ht__tokenizer_encode(t, text, n, 0, &ids, &diag), HT_OK);
    assert_int_equal(ht__tokenizer_decode(t, ids.ids, ids.n, 0, &out), HT_OK);
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
    EXPECT(m.text, "ab<x>c<xy>", HT__TOKENIZER_PARSE_SPECIAL | HT__TOKENIZER_ADD_SPECIAL, 7, 4, 7, 2, 8);
    expect_text(m.text, (const int32_t[]){7, 6, 5, 8}, 4, 0, "<x>abc c<xy>");
    expect_text(m.text, (const int32_t[]){7, 6, 5, 8}, 4, HT__TOKENIZER_SKIP_SPECIAL, "abc c<xy>");
    assert_true(ht__tokenizer_adds_bos(m.text));
    assert_int_equal(ht__tokenizer_find(m.text, "ab", 2), 4);
    assert_int_equal(ht__tokenizer_size(m.text), 9);
    struct ht__buf out;
    ht__buf_init(&out, NULL);
    assert_int_equal(ht__tokenizer_decode(m.text, (const int32_t[]){9}, 1, 0, &out), HT_ERR_USAGE);
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

static void put_scored(struct made *m, const char *const *tokens, const float *scores, const int32_t *types, size_t n)
{
    put_strs(m, "tokenizer.ggml.tokens", tokens);
    ht__kv_array(&m->kvs, "tokenizer.ggml.scores", HT__KV_F32, scores, n);
    ht__kv_array(&m->kvs, "tokenizer.ggml.token_type", HT__KV_I32, types, n);
    ht__kv_u32(&m->kvs, "tokenizer.ggml.unknown_token_id", 0);
}

#define MARK "\xe2\x96\x81"
static const char *const spm_tokens[] = {"<unk>", "<s>", "</s>", MARK, "a", "b", "ab", MARK "a", "ba", MARK "ab", NULL};
static const float spm_scores[] = {0, 0, 0, -9, -9, -9, -1, -2, -1, -3};
static const int32_t spm_types[] = {2, 3, 3, 1, 1, 1, 1, 1, 1, 1};

static void begin_spm(struct made *m)
{
    begin(m, "llama");
    put_scored(m, spm_tokens, spm_scores, spm_types, 10);
}

static void sentencepiece_pairs(void **state)
{
    struct made m;
    begin_spm(&m);
    assert_int_equal(open_made(&m), HT_OK);
    EXPECT(m.text, "ab", 0, 9);     /* "ab" has the best score, then it is joined to the space */
    EXPECT(m.text, "aba", 0, 9, 4); /* of the equal "ab" and "ba" the left one is joined */
    EXPECT(m.text, "a b", 0, 7, 3, 5);
    EXPECT(m.text, "axxb", 0, 7, 0, 5); /* a run of unknown characters is one token */
    EXPECT(m.text, "a<s>", HT__TOKENIZER_PARSE_SPECIAL | HT__TOKENIZER_ADD_SPECIAL, 1, 7, 1);
    expect_text(m.text, (const int32_t[]){1, 9, 3, 5}, 4, HT__TOKENIZER_SKIP_SPECIAL, "ab b");
    assert_true(ht__tokenizer_adds_bos(m.text));
    assert_true(ht__tokenizer_is_end(m.text, 2));
    assert_false(ht__tokenizer_is_end(m.text, 1));
    end(&m);
}

static const char *const uni_tokens[] = {"<unk>", "</s>", MARK, "a", "b", "ab", MARK "a", "aa", NULL};
static const float uni_scores[] = {0, 0, -4, -3, -3, -4, -5, -4};
static const int32_t uni_types[] = {2, 3, 1, 1, 1, 1, 1, 1};

static void begin_unigram(struct made *m)
{
    begin(m, "t5");
    put_scored(m, uni_tokens, uni_scores, uni_types, 8);
    ht__kv_bool(&m->kvs, "tokenizer.ggml.remove_extra_whitespaces", true);
}

static void unigram(void **state)
{
    struct made m;
    begin_unigram(&m);
    assert_int_equal(open_made(&m), HT_OK);
    EXPECT(m.text, "ab", 0, 2, 5); /* -4 -4 is more than -5 -3, though the mark's token is longer */
    EXPECT(m.text, "aab", 0, 6, 5);
    EXPECT(m.text, "  b   b ", HT__TOKENIZER_ADD_SPECIAL, 2, 4, 2, 4, 1);
    EXPECT(m.text, "xyb", 0, 2, 0, 4);
    end(&m);
    begin_unigram(&m);
    ht__kv_array(&m.kvs, "tokenizer.ggml.precompiled_charsmap", HT__KV_U8, "\x40\0\0\0zz", 6);
    assert_int_equal(open_made(&m), HT_ERR_FORMAT);
    end(&m);
}

/* A table of one entry: "A" becomes "ab". Units are at 0 (the root), 1 (the value) and 'A'. */
static void normalization_table(void **state)
{
    enum { UNITS = 'A' + 1 };
    const uint32_t n = 4 * UNITS, entry = ('A' ^ 1) << 10 | 1 << 8 | 'A', value = 1u << 31;
    char table[4 + 4 * UNITS + 3] = {0};
    struct made m;
    (void)state;
    memcpy(table, &n, 4);
    memcpy(table + 4 + 4 * 1, &value, 4);
    memcpy(table + 4 + 4 * 'A', &entry, 4);
    memcpy(table + 4 + n, "ab", 3);
    begin_unigram(&m);
    ht__kv_array(&m.kvs, "tokenizer.ggml.precompiled_charsmap", HT__KV_U8, table, sizeof table);
    assert_int_equal(open_made(&m), HT_OK);
    EXPECT(m.text, "A", 0, 2, 5);
    EXPECT(m.text, "aA", 0, 6, 5);
    EXPECT(m.text,
           "B\xc3\xa4"
           "b",
           0, 2, 0, 4); /* what it does not name stays */
    end(&m);
    begin_unigram(&m);
    table[sizeof table - 1] = 'c';
    ht__kv_array(&m.kvs, "tokenizer.ggml.precompiled_charsmap", HT__KV_U8, table, sizeof table);
    assert_int_equal(open_made(&m), HT_ERR_FORMAT);
    end(&m);
}

/* Phi-3's special tokens take the white space behind them; no key says it, its name does. */
static void space_behind_special(void **state)
{
    struct made m;
    (void)state;
    for (int phi = 0; phi < 2; phi++) {
        begin_spm(&m);
        ht__kv_str(&m.kvs, "general.name", phi ? "Phi-3 mini" : "Llama");
        assert_int_equal(open_made(&m), HT_OK);
        if (phi)
            EXPECT(m.text, "a</s>  b", HT__TOKENIZER_PARSE_SPECIAL, 7, 2, 3, 5);
        else
            EXPECT(m.text, "a</s>  b", HT__TOKENIZER_PARSE_SPECIAL, 7, 2, 3, 3, 3, 5);
        EXPECT(m.text, "a<s> b", HT__TOKENIZER_PARSE_SPECIAL, 7, 1, 3, 3, 5); /* but this one does not */
        end(&m);
    }
}

/* What only the folder says: which special tokens take the space beside them, or are none within a word. */
static void special_by_folder(void **state)
{
    struct made m;
    struct folder folder = folder_make();
    (void)state;
    folder_puts(&folder, "tokenizer.json",
                "{\"model\": {\"type\": \"BPE\"}, \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": "
                "[{\"type\": \"Metaspace\", \"prepend_scheme\": \"first\"}]}, \"added_tokens\": ["
                "{\"id\": 2, \"lstrip\": true, \"rstrip\": true}, {\"id\": 1, \"single_word\": true}]}");
    begin_spm(&m);
    assert_int_equal(open_made(&m), HT_OK);
    EXPECT(m.text, "a  </s>  b", HT__TOKENIZER_PARSE_SPECIAL, 7, 3, 3, 2, 3, 3, 3, 5);
    assert_int_equal(ht__tokenizer_adopt_folder(m.text, folder.path, &m.diag), HT_OK);
    EXPECT(m.text, "a  </s>  b", HT__TOKENIZER_PARSE_SPECIAL, 7, 2, 5);
    EXPECT(m.text, "a<s>b", HT__TOKENIZER_PARSE_SPECIAL, 7, 0, 5);
    EXPECT(m.text, "a <s> b", HT__TOKENIZER_PARSE_SPECIAL, 7, 3, 1, 3, 5);
    folder_puts(&folder, "tokenizer.json", "{\"model\": ");
    assert_int_equal(ht__tokenizer_adopt_folder(m.text, folder.path, &m.diag), HT_ERR_FORMAT);
    end(&m);
    folder_remove(&folder);
}

static const char *const bert_tokens[] = {
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", MARK "un", "aff", "able", MARK ",", MARK "\xe4\xb8\xad", MARK "e", NULL};
static const int32_t bert_types[] = {3, 3, 3, 3, 1, 1, 1, 1, 1, 1};

static void begin_bert(struct made *m)
{
    static const float scores[10];
    begin(m, "bert");
    put_scored(m, bert_tokens, scores, bert_types, 10);
    ht__kv_u32(&m->kvs, "tokenizer.ggml.unknown_token_id", 1);
    ht__kv_u32(&m->kvs, "tokenizer.ggml.bos_token_id", 2);
    ht__kv_u32(&m->kvs, "tokenizer.ggml.seperator_token_id", 3);
}

static void wordpiece(void **state)
{
    struct made m;
    begin_bert(&m);
    assert_int_equal(open_made(&m), HT_OK);
    EXPECT(m.text, "UnaffAble,\t\xc3\xa9 e\xcc\x81", 0, 4, 5, 6, 7, 9, 9);
    EXPECT(m.text, "unx un\xe4\xb8\xad\xe4\xb8\xad", HT__TOKENIZER_ADD_SPECIAL, 2, 1, 4, 8, 8, 3);
    expect_text(m.text, (const int32_t[]){2, 4, 5, 6, 7, 9, 3}, 7, HT__TOKENIZER_SKIP_SPECIAL, "unaffable, e");
    end(&m);
}

static enum ht_err work_with(const struct made *m, const struct ht__alloc *alloc)
{
    static const char text[] = "ab<s> unaffable aba xx \xc3\xa9 abababababababababababababababababababababababababab";
    struct ht__tokenizer *t;
    struct ht__tokens ids;
    struct ht__buf out;
    struct ht_diag diag = {0};
    HT_TRY(ht__tokenizer_open(&m->kvs, "made", alloc, &t, &diag));
    ht__tokens_init(&ids, alloc);
    ht__buf_init(&out, alloc);
    enum ht_err err = ht__tokenizer_encode(t, text, sizeof text - 1, HT__TOKENIZER_PARSE_SPECIAL, &ids, &diag);
    if (err == HT_OK) err = ht__tokenizer_decode(t, ids.ids, ids.n, 0, &out);
    ht__buf_close(&out);
    ht__tokens_close(&ids);
    ht__tokenizer_close(&t);
    return err;
}

static void memory_that_ends(void **state)
{
    for (int kind = 0; kind < 4; kind++) {
        struct made m;
        enum ht_err err = HT_ERR_MEMORY;
        if (kind == 0) begin_bytes(&m, "gpt-2");
        if (kind == 1) begin_spm(&m);
        if (kind == 2) begin_unigram(&m);
        if (kind == 3) begin_bert(&m);
        int n = 0;
        for (; err != HT_OK; n++) {
            struct counting counting;
            counting_begin(&counting, n + 1, true);
            counting.fail_on = true;
            err = work_with(&m, &counting.alloc);
            assert_int_equal(atomic_load(&counting.live), 0);
            if (err != HT_OK && err != HT_ERR_MEMORY) fail_msg("kind %d, request %d: error %d", kind, n, (int)err);
        }
        assert_true(n > 10);
        end(&m);
    }
}

static const struct {
    const char *name;
    bool returns; /* it has a token for every byte */
} real[] = {{"gpt-2", true},      {"falcon", false}, {"deepseek-llm", false}, {"deepseek-coder", false},
            {"starcoder", false}, {"refact", false}, {"llama-spm", true},     {"phi-3", true}};

static struct ht__tokenizer *open_real(const char *name)
{
    char path[600];
    struct ht__checkpoint *checkpoint;
    struct ht__tokenizer *t = NULL;
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
    assert_int_equal(ht__tokenizer_open(checkpoint->kvs, path, NULL, &t, &diag), HT_OK);
    ht__checkpoint_close(&checkpoint);
    return t;
}

static char *read_file(const char *name, const char *suffix, size_t *n)
{
    char path[600];
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/../shared/vocab/ggml-vocab-%s.gguf%s", root ? root : ".", name, suffix);
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = calloc(1, 1 << 16);
    *n = fread(text, 1, (1 << 16) - 1, f);
    fclose(f);
    return text;
}

/* The texts and ids that llama.cpp keeps beside its vocabularies. */
static void stored_results(void **state)
{
    static const char *const names[] = {"gpt-2",     "falcon", "deepseek-llm", "deepseek-coder", "starcoder", "refact",
                                        "llama-spm", "phi-3",  "mpt",          "bert-bge"};
    static const char mark[] = "\n__ggml_vocab_test__\n";
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        size_t n = 0, n_ids = 0;
        struct ht__tokenizer *t = open_real(names[k]);
        char *in = read_file(names[k], ".inp", &n), *out = read_file(names[k], ".out", &n_ids);
        if (t && in && out) {
            int seen = 0;
            char *line = out;
            for (char *text = in, *stop; text; text = stop ? stop + sizeof mark - 1 : NULL, seen++) {
                int32_t want[256];
                size_t n_want = 0;
                stop = strstr(text, mark);
                char *eol = strchr(line, '\n');
                for (char *end; line < eol; line = end) {
                    long id = strtol(line, &end, 10);
                    if (end == line || end > eol || n_want == 256) break;
                    want[n_want++] = (int32_t)id;
                }
                line = eol + 1;
                size_t len = stop ? (size_t)(stop - text) : n - (size_t)(text - in);
                expect_ids(t, text, len, 0, want, n_want);
            }
            assert_true(seen > 40);
        }
        free(in);
        free(out);
        ht__tokenizer_close(&t);
    }
}

static void any_bytes_return(void **state)
{
    char text[600];
    uint64_t seed = 88172645463325252u;
    for (size_t k = 0; k < sizeof real / sizeof *real; k++) {
        struct ht__tokenizer *t = open_real(real[k].name);
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
        ht__tokenizer_close(&t);
    }
}

static double seconds_for(const struct ht__tokenizer *t, const char *run, size_t n, bool returns)
{
    size_t len = strlen(run), whole = n / len * len;
    char *text = malloc(n);
    struct timespec a, b;
    for (size_t i = 0; i < whole; i++)
        text[i] = run[i % len];
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    expect_return(t, text, whole, returns);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    free(text);
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

/* Text without a place to cut: sixteen times the length takes sixteen times as long, more or less, not 256 times. */
static void long_runs(void **state)
{
    static const char *const runs[] = {"a", " ", "1", "\n", "!", "\xe4\xb8\xad", "a\xcc\x81", "\xff", " \n", "'s"};
    size_t n = (size_t)effort(1 << 18, 1 << 19, 1 << 20);
    (void)state;
    for (size_t k = 0; k < sizeof real / sizeof *real; k++) {
        struct ht__tokenizer *t = open_real(real[k].name);
        if (!t) continue;
        for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
            double part = seconds_for(t, runs[r], n / 16, real[k].returns),
                   whole = seconds_for(t, runs[r], n, real[k].returns);
            if (whole > 64 * part + 0.1)
                fail_msg("%s, run %zu: %.3f s, and %.3f s for a sixteenth", real[k].name, r, whole, part);
            if (getenv("HT_TIMES")) print_message("%s %zu: %.3f s\n", real[k].name, r, whole);
        }
        ht__tokenizer_close(&t);
    }
}

/* Tokens that come one by one: never half a character, and in the end the same bytes. */
static void streaming(void **state)
{
    static const char text[] = "na\xc3\xafve \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80 \xf0\x9f";
    struct ht__tokenizer *t = open_real("gpt-2");
    struct ht__tokens ids;
    struct ht__buf out;
    struct ht_diag diag = {0};
    struct ht__tokenizer_stream stream;
    if (!t) skip();
    ht__tokens_init(&ids, NULL);
    ht__buf_init(&out, NULL);
    assert_int_equal(ht__tokenizer_encode(t, text, sizeof text - 1, 0, &ids, &diag), HT_OK);
    ht__tokenizer_stream_begin(&stream, t, 0);
    for (size_t i = 0; i < ids.n; i++) {
        assert_int_equal(ht__tokenizer_stream_put(&stream, ids.ids[i], &out), HT_OK);
        assert_true(out.len == 0 || (out.data[out.len - 1] & 0xc0) != 0xc0);
    }
    assert_int_equal(out.len, sizeof text - 3); /* all but the begun character */
    ht__tokenizer_stream_end(&stream, &out);
    assert_string_equal(ht__buf_text(&out), text);
    ht__buf_close(&out);
    ht__tokens_close(&ids);
    ht__tokenizer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(byte_level),          cmocka_unit_test(refusals),
                                       cmocka_unit_test(sentencepiece_pairs), cmocka_unit_test(unigram),
                                       cmocka_unit_test(wordpiece),           cmocka_unit_test(memory_that_ends),
                                       cmocka_unit_test(stored_results),      cmocka_unit_test(any_bytes_return),
                                       cmocka_unit_test(long_runs),           cmocka_unit_test(streaming),
                                       cmocka_unit_test(normalization_table), cmocka_unit_test(space_behind_special),
                                       cmocka_unit_test(special_by_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
