/* Tokenizer files that are cut, mistyped, contradictory or made to hurt: each is refused with a
 * code and a message that says why, and none reads outside its bytes. */
#include "base/file.h"
#include "lib/counting.h"
#include "lib/folder.h"
#include "lib/guard.h"
#include "model/vocab_import/tok.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int n_cases;

static void expect(const char *name, enum ht_err got, enum ht_err want, const struct ht_diag *diag, const char *message)
{
    n_cases++;
    if (got != want)
        fail_msg("%s: %s (%s: %s), not %s", name, ht_err_name(got), diag->where, diag->message, ht_err_name(want));
    if (want != HT_OK && !strstr(diag->message, message))
        fail_msg("%s: the message is \"%s\"; it should say \"%s\"", name, diag->message, message);
    if (want != HT_OK && diag->where[0] == '\0') fail_msg("%s: the diagnosis names no file", name);
}

static enum ht_err convert(const struct folder *folder, uint64_t rows, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__kvs kvs;
    ht__arena_init(&arena, NULL);
    ht__kvs_init(&kvs, &arena);
    ht__diag_clear(diag);
    struct ht__vocab_import_job job = {.dir = folder->path, .arch = "llama", .vocab_size = rows};
    enum ht_err err = ht__vocab_import_metadata(&job, &kvs, diag);
    ht__arena_close(&arena);
    return err;
}

/* ---- tokenizer.json ---- */

#define MODEL(members) "{\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {" members "}}"
#define BPE(vocab, merges) MODEL("\"type\": \"BPE\", \"vocab\": " vocab ", \"merges\": " merges)
#define ADDED(list)                                                                                                    \
    "{\"decoder\": {\"type\": \"ByteLevel\"}, \"added_tokens\": " list                                                 \
    ", \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}"
#define PART(name, value)                                                                                              \
    "{\"" name "\": " value ", \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\":"                         \
    "{\"a\": 0}, \"merges\": []}}"
#define UNIGRAM(list, more) "{" more "\"model\": {\"type\": \"Unigram\", \"vocab\": " list "}}"

static const struct json_case {
    const char *name, *text;
    enum ht_err err;
    const char *message;
    uint64_t rows;
} json_cases[] = {
    {"empty file", "", HT_ERR_FORMAT, "JSON", 0},
    {"not JSON", "hello", HT_ERR_FORMAT, "JSON", 0},
    {"a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", HT_ERR_FORMAT,
     "Git LFS pointer", 0},
    {"an array", "[]", HT_ERR_FORMAT, "not an object", 0},
    {"a number", "1", HT_ERR_FORMAT, "not an object", 0},
    {"empty object", "{}", HT_ERR_FORMAT, "no \"model\"", 0},
    {"text after the end", BPE("{\"a\": 0}", "[]") "x", HT_ERR_FORMAT, "after the end", 0},
    {"model is null", "{\"model\": null}", HT_ERR_FORMAT, "\"model\" is not an object", 0},
    {"model is a text", "{\"model\": \"BPE\"}", HT_ERR_FORMAT, "\"model\" is not an object", 0},
    {"model twice", "{\"model\": {\"vocab\": {\"a\": 0}}, \"model\": {\"vocab\": {\"a\": 0}}}", HT_ERR_FORMAT,
     "\"model\" occurs twice", 0},
    {"no vocabulary", MODEL("\"type\": \"BPE\", \"merges\": []"), HT_ERR_FORMAT, "no vocabulary", 0},
    {"vocabulary twice", MODEL("\"vocab\": {\"a\": 0}, \"vocab\": {}"), HT_ERR_FORMAT, "\"vocab\" occurs twice", 0},
    {"vocabulary is a number", MODEL("\"vocab\": 7"), HT_ERR_FORMAT, "neither an object", 0},
    {"vocabulary is empty", BPE("{}", "[]"), HT_ERR_FORMAT, "no tokens", 0},
    {"type is a number", MODEL("\"type\": 1, \"vocab\": {}"), HT_ERR_FORMAT, "\"type\" is not", 0},
    {"type of tomorrow", MODEL("\"type\": \"Magic\", \"vocab\": {\"a\": 0}"), HT_ERR_UNSUPPORTED,
     "\"Magic\" is not known", 0},
    {"whole words", MODEL("\"type\": \"WordLevel\", \"vocab\": {\"a\": 0}"), HT_ERR_UNSUPPORTED, "WordLevel", 0},
    {"BPE with a list", MODEL("\"type\": \"BPE\", \"vocab\": [[\"a\", 0]]"), HT_ERR_FORMAT, "not have the form", 0},
    {"unigram with an object", MODEL("\"type\": \"Unigram\", \"vocab\": {\"a\": 0}"), HT_ERR_FORMAT,
     "not have the form", 0},
    {"characters, no bytes", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}}", HT_ERR_UNSUPPORTED,
     "neither works on bytes", 0},

    {"id is negative", BPE("{\"a\": -1}", "[]"), HT_ERR_FORMAT, "not a whole number", 0},
    {"id is a fraction", BPE("{\"a\": 0.5}", "[]"), HT_ERR_FORMAT, "not a whole number", 0},
    {"id is 1e3", BPE("{\"a\": 1e3}", "[]"), HT_ERR_FORMAT, "not a whole number", 0},
    {"id is a text", BPE("{\"a\": \"0\"}", "[]"), HT_ERR_FORMAT, "not a whole number", 0},
    {"id is null", BPE("{\"a\": null}", "[]"), HT_ERR_FORMAT, "not a whole number", 0},
    {"id is an object", BPE("{\"a\": {}}", "[]"), HT_ERR_FORMAT, "not a whole number", 0},
    {"id of 2^21", BPE("{\"a\": 2097152}", "[]"), HT_ERR_LIMIT, "token id 2097152", 0},
    {"id of 2^32", BPE("{\"a\": 4294967296}", "[]"), HT_ERR_LIMIT, "token id", 0},
    {"id of 2^63", BPE("{\"a\": 9223372036854775808}", "[]"), HT_ERR_FORMAT, "not a whole", 0},
    {"a hole of a million", BPE("{\"a\": 0, \"b\": 1000000}", "[]"), HT_ERR_FORMAT,
     "ids go up to 1000000, but there are 2 tokens", 0},
    {"a token twice", BPE("{\"a\": 0, \"a\": 1}", "[]"), HT_ERR_FORMAT, "\"a\" occurs twice", 0},
    {"a token twice, once escaped", BPE("{\"a\": 0, \"\\u0061\": 1}", "[]"), HT_ERR_FORMAT, "occurs twice", 0},
    {"an id twice", BPE("{\"a\": 0, \"b\": 0}", "[]"), HT_ERR_FORMAT, "belongs to two tokens", 0},
    {"all but one beyond the embedding", BPE("{\"a\": 0, \"b\": 5}", "[]"), HT_ERR_UNSUPPORTED, "beyond the 5 tokens",
     5},
    {"an embedding of 2^40 rows", BPE("{\"a\": 0}", "[]"), HT_ERR_LIMIT, "1099511627776 rows", 1ull << 40},
    {"fewer tokens than ids that are taken for granted", BPE("{\"a\": 0}", "[]"), HT_ERR_UNSUPPORTED, "beyond the", 0},
    {"a lone surrogate", BPE("{\"\\ud800\": 0}", "[]"), HT_ERR_FORMAT, "bad escape", 0},
    {"bytes that are not UTF-8", BPE("{\"\xff\xfe\": 0}", "[]"), HT_ERR_FORMAT, "UTF-8", 0},
    {"an overlong NUL", BPE("{\"\xc0\x80\": 0}", "[]"), HT_ERR_FORMAT, "UTF-8", 0},
    {"a control character", BPE("{\"\n\": 0}", "[]"), HT_ERR_FORMAT, "control character", 0},

    {"merges is an object", BPE("{\"a\": 0}", "{}"), HT_ERR_FORMAT, "\"merges\" is not an array", 0},
    {"merges twice", MODEL("\"vocab\": {\"a\": 0}, \"merges\": [], \"merges\": []"), HT_ERR_FORMAT,
     "\"merges\" occurs twice", 0},
    {"a merge is a number", BPE("{\"a\": 0}", "[3]"), HT_ERR_FORMAT, "merge 0 is neither", 0},
    {"a merge without a space", BPE("{\"a\": 0}", "[\"aa\"]"), HT_ERR_FORMAT, "merge 0 is not two", 0},
    {"a merge of three", BPE("{\"a\": 0}", "[\"a a a\"]"), HT_ERR_FORMAT, "merge 0 is not two", 0},
    {"a merge with nothing left", BPE("{\"a\": 0}", "[\" a\"]"), HT_ERR_FORMAT, "empty part", 0},
    {"a merge with nothing right", BPE("{\"a\": 0}", "[\"a \"]"), HT_ERR_FORMAT, "empty part", 0},
    {"a pair of one", BPE("{\"a\": 0}", "[[\"a\"]]"), HT_ERR_FORMAT, "not a pair", 0},
    {"a pair of none", BPE("{\"a\": 0}", "[[]]"), HT_ERR_FORMAT, "not a pair", 0},
    {"a pair of three", BPE("{\"a\": 0}", "[[\"a\", \"a\", \"a\"]]"), HT_ERR_FORMAT, "more than two parts", 0},
    {"a pair of numbers", BPE("{\"a\": 0}", "[[1, 2]]"), HT_ERR_FORMAT, "not a pair", 0},
    {"a pair of text and null", BPE("{\"a\": 0}", "[[\"a\", null]]"), HT_ERR_FORMAT, "not a pair", 0},
    {"a pair of pairs", BPE("{\"a\": 0}", "[[[\"a\"], \"a\"]]"), HT_ERR_FORMAT, "not a pair", 0},
    {"the left part is unknown", BPE("{\"a\": 0, \"ba\": 1}", "[\"b a\"]"), HT_ERR_FORMAT, "the left part \"b\"", 0},
    {"the right part is unknown", BPE("{\"a\": 0, \"ab\": 1}", "[\"a b\"]"), HT_ERR_FORMAT, "the right part \"b\"", 0},
    {"the product is unknown", BPE("{\"a\": 0, \"b\": 1}", "[\"a b\"]"), HT_ERR_FORMAT, "the product \"ab\"", 0},
    {"a subword prefix", MODEL("\"type\": \"BPE\", \"continuing_subword_prefix\": \"##\", \"vocab\": {\"a\": 0}"),
     HT_ERR_UNSUPPORTED, "continuing_subword_prefix", 0},
    {"a word's end", MODEL("\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\", \"vocab\": {\"a\": 0}"),
     HT_ERR_UNSUPPORTED, "end_of_word_suffix", 0},

    {"added tokens are an object", ADDED("{}"), HT_ERR_FORMAT, "\"added_tokens\" is not", 0},
    {"an added token is a text", ADDED("[\"x\"]"), HT_ERR_FORMAT, "added token 0 is not", 0},
    {"an added token without id", ADDED("[{\"content\": \"x\"}]"), HT_ERR_FORMAT, "no whole \"id\"", 0},
    {"an added token without text", ADDED("[{\"id\": 1}]"), HT_ERR_FORMAT, "no \"content\"", 0},
    {"an added token with id -1", ADDED("[{\"id\": -1, \"content\": \"x\"}]"), HT_ERR_FORMAT, "no whole \"id\"", 0},
    {"an added token with a text as id", ADDED("[{\"id\": \"1\", \"content\": \"x\"}]"), HT_ERR_FORMAT,
     "no whole \"id\"", 0},
    {"an added token of 2^31", ADDED("[{\"id\": 2147483648, \"content\": \"x\"}]"), HT_ERR_LIMIT, "token id 2147483648",
     0},
    {"an added token far away", ADDED("[{\"id\": 2000000, \"content\": \"x\"}]"), HT_ERR_FORMAT, "ids go up to 2000000",
     0},
    {"an added token with another's text", ADDED("[{\"id\": 1, \"content\": \"a\"}]"), HT_ERR_FORMAT,
     "tokens 0 and 1 have the same text", 20},
    {"two added tokens with one text", ADDED("[{\"id\": 1, \"content\": \"x\"}, {\"id\": 2, \"content\": \"x\"}]"),
     HT_ERR_FORMAT, "tokens 1 and 2 have the same text", 20},

    {"normalizer is a text", PART("normalizer", "\"NFC\""), HT_ERR_FORMAT, "\"normalizer\" is not", 0},
    {"pre-tokenizer is a list", PART("pre_tokenizer", "[]"), HT_ERR_FORMAT, "\"pre_tokenizer\"", 0},
    {"pre-tokenizer twice", PART("pre_tokenizer", "{}, \"pre_tokenizer\": {}"), HT_ERR_FORMAT,
     "\"pre_tokenizer\" occurs twice", 0},
    {"post-processor is a number", PART("post_processor", "1"), HT_ERR_FORMAT, "\"post_processor\"", 0},
    {"a key twice in a part", PART("normalizer", "{\"a\": 1, \"a\": 2}"), HT_ERR_FORMAT, "duplicate key", 0},
    {"a nest of 100 arrays",
     PART("x", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
               "[[[[[[[[[[[[[[[[[[[[[[[["),
     HT_ERR_FORMAT, "nested too deeply", 0},
    {"parts that are nonsense",
     "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": {\"type\": 3}},"
     "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [1, 2, {}], \"pair\": 4},"
     "\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}",
     HT_OK, "", 20},

    {"unigram: a token is a text", UNIGRAM("[\"a\"]", ""), HT_ERR_FORMAT, "token 0 is not a pair", 0},
    {"unigram: an empty pair", UNIGRAM("[[]]", ""), HT_ERR_FORMAT, "token 0 is not a pair", 0},
    {"unigram: no score", UNIGRAM("[[\"a\"]]", ""), HT_ERR_FORMAT, "token 0 is not a pair", 0},
    {"unigram: the score is a text", UNIGRAM("[[\"a\", \"x\"]]", ""), HT_ERR_FORMAT, "not a pair", 0},
    {"unigram: the score is 1e999", UNIGRAM("[[\"a\", 1e999]]", ""), HT_ERR_FORMAT, "not a pair", 0},
    {"unigram: the score is beyond float", UNIGRAM("[[\"a\", 1e300]]", ""), HT_ERR_FORMAT, "not a pair", 0},
    {"unigram: three parts", UNIGRAM("[[\"a\", 0, 1]]", ""), HT_ERR_FORMAT, "not a pair", 0},
    {"unigram: unk_id beyond", MODEL("\"type\": \"Unigram\", \"unk_id\": 9, \"vocab\": [[\"a\", 0], [\"b\", 0]]"),
     HT_ERR_FORMAT, "unk_id is 9", 0},
    {"charsmap: not base64",
     UNIGRAM("[[\"a\", 0]]", "\"normalizer\": {\"type\": \"Precompiled\","
                             "\"precompiled_charsmap\": \"!!!!\"},"),
     HT_ERR_FORMAT, "not base64", 0},
    {"charsmap: a length of base64 that is none",
     UNIGRAM("[[\"a\", 0]]", "\"normalizer\": {\"type\": \"Precompiled\","
                             "\"precompiled_charsmap\": \"AAAAA\"},"),
     HT_ERR_FORMAT, "not base64", 0},
    {"charsmap: 3 bytes",
     UNIGRAM("[[\"a\", 0]]", "\"normalizer\": {\"type\": \"Precompiled\","
                             "\"precompiled_charsmap\": \"AAAA\"},"),
     HT_ERR_FORMAT, "claims a trie", 0},
    {"byte fallback with one byte of 256",
     "{\"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"vocab\": {\"<0x00>\": 0}}}", HT_ERR_FORMAT,
     "1 of the 256 byte tokens", 0},
};

static void hostile_json(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct ht_diag diag;
    for (size_t i = 0; i < sizeof json_cases / sizeof *json_cases; i++) {
        const struct json_case *c = &json_cases[i];
        folder_puts(&folder, "tokenizer.json", c->text);
        expect(c->name, convert(&folder, c->rows, &diag), c->err, &diag, c->message);
    }
    folder_remove(&folder);
}

/* ---- SentencePiece ---- */

static enum ht_err parse_model(const void *data, size_t size, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__vocab vocab;
    struct ht__sentencepiece model;
    struct guard guard = guard_after(size);
    if (size) memcpy(guard.data, data, size);
    ht__arena_init(&arena, NULL);
    ht__vocab_init(&vocab, &arena, NULL);
    ht__diag_clear(diag);
    enum ht_err err = ht__sentencepiece_parse(guard.data, size, &vocab, &model, diag);
    ht__vocab_close(&vocab);
    ht__arena_close(&arena);
    guard_free(&guard);
    return err;
}

#define BYTES(text) text, sizeof text - 1

static const struct spm_case {
    const char *name, *data;
    size_t size;
    enum ht_err err;
    const char *message;
} spm_cases[] = {
    {"empty file", BYTES(""), HT_ERR_FORMAT, "no piece"},
    {"one byte", BYTES("\x0a"), HT_ERR_FORMAT, "does not end"},
    {"a piece longer than the file", BYTES("\x0a\x7f\x0a\x01x"), HT_ERR_FORMAT, "does not end"},
    {"a length of 2^64 - 1", BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"), HT_ERR_FORMAT, "does not end"},
    {"a varint of eleven bytes", BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), HT_ERR_FORMAT,
     "does not end"},
    {"a varint above 64 bits", BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), HT_ERR_FORMAT, "does not end"},
    {"field number 0", BYTES("\x02\x00"), HT_ERR_FORMAT, "does not end"},
    {"field number 2^29", BYTES("\x82\x80\x80\x80\x10\x00"), HT_ERR_FORMAT, "does not end"},
    {"a group", BYTES("\x0b"), HT_ERR_FORMAT, "does not end"},
    {"wire type 7", BYTES("\x0f"), HT_ERR_FORMAT, "does not end"},
    {"a fixed field cut short", BYTES("\x5d\x00\x00"), HT_ERR_FORMAT, "does not end"},
    {"a piece without text", BYTES("\x0a\x02\x18\x01"), HT_ERR_FORMAT, "piece 0 has no text"},
    {"a piece of nothing", BYTES("\x0a\x00"), HT_ERR_FORMAT, "piece 0 has no text"},
    {"an empty text", BYTES("\x0a\x02\x0a\x00"), HT_ERR_FORMAT, "piece 0 has no text"},
    {"a text longer than its piece", BYTES("\x0a\x03\x0a\x05x"), HT_ERR_FORMAT, "piece 0 is malformed"},
    {"a score cut short", BYTES("\x0a\x05\x0a\x01x\x15\x00"), HT_ERR_FORMAT, "piece 0 is malformed"},
    {"a score that is not a number", BYTES("\x0a\x08\x0a\x01x\x15\x00\x00\xc0\x7f"), HT_ERR_FORMAT, "not finite"},
    {"a score that is infinite", BYTES("\x0a\x08\x0a\x01x\x15\x00\x00\x80\x7f"), HT_ERR_FORMAT, "not finite"},
    {"type 0", BYTES("\x0a\x05\x0a\x01x\x18\x00"), HT_ERR_FORMAT, "unknown type 0"},
    {"type 7", BYTES("\x0a\x05\x0a\x01x\x18\x07"), HT_ERR_FORMAT, "unknown type 7"},
    {"type -1", BYTES("\x0a\x0e\x0a\x01x\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), HT_ERR_FORMAT, "unknown type"},
    {"a byte piece of another form", BYTES("\x0a\x05\x0a\x01x\x18\x06"), HT_ERR_FORMAT, "<0xNN>"},
    {"a byte piece with a sign", BYTES("\x0a\x0a\x0a\x06<0x-1>\x18\x06"), HT_ERR_FORMAT, "<0xNN>"},
    {"a byte piece in lower case", BYTES("\x0a\x0a\x0a\x06<0xff>\x18\x06"), HT_ERR_FORMAT, "<0xNN>"},
    {"a text that is not UTF-8", BYTES("\x0a\x03\x0a\x01\xff"), HT_ERR_FORMAT, "not valid UTF-8"},
    {"a surrogate", BYTES("\x0a\x05\x0a\x03\xed\xa0\x80"), HT_ERR_FORMAT, "not valid UTF-8"},
    {"a piece twice", BYTES("\x0a\x03\x0a\x01x\x0a\x03\x0a\x01x"), HT_ERR_FORMAT, "occurs twice"},
    {"a trainer cut short", BYTES("\x0a\x03\x0a\x01x\x12\x01\x18"), HT_ERR_FORMAT, "trainer_spec is malformed"},
    {"a normalizer cut short", BYTES("\x0a\x03\x0a\x01x\x1a\x02\x12\x05"), HT_ERR_FORMAT,
     "normalizer_spec is malformed"},
    {"charsmap of 1 byte", BYTES("\x0a\x03\x0a\x01x\x1a\x03\x12\x01\x00"), HT_ERR_FORMAT, "claims a trie"},
    {"charsmap of 3 bytes", BYTES("\x0a\x03\x0a\x01x\x1a\x05\x12\x03\x00\x00\x00"), HT_ERR_FORMAT, "claims a trie"},
    {"charsmap with a trie of nothing", BYTES("\x0a\x03\x0a\x01x\x1a\x07\x12\x05\x00\x00\x00\x00\x00"), HT_ERR_FORMAT,
     "claims a trie"},
    {"charsmap with a trie beyond it", BYTES("\x0a\x03\x0a\x01x\x1a\x07\x12\x05\xff\xff\xff\xff\x00"), HT_ERR_FORMAT,
     "claims a trie"},
    {"charsmap with half a word", BYTES("\x0a\x03\x0a\x01x\x1a\x0a\x12\x08\x03\x00\x00\x00\x00\x00\x00\x00"),
     HT_ERR_FORMAT, "claims a trie"},
    {"charsmap whose last text does not end",
     BYTES("\x0a\x03\x0a\x01x\x1a\x0b\x12\x09\x04\x00\x00\x00\x00\x00\x00\x00x"), HT_ERR_FORMAT, "does not end"},
    {"fields of tomorrow are skipped", BYTES("\x0a\x03\x0a\x01x\x9a\x06\x02\x01\x02\xa0\x06\x05"), HT_OK, ""},
};

static void hostile_sentencepiece(void **state)
{
    (void)state;
    struct ht_diag diag;
    for (size_t i = 0; i < sizeof spm_cases / sizeof *spm_cases; i++) {
        const struct spm_case *c = &spm_cases[i];
        expect(c->name, parse_model(c->data, c->size, &diag), c->err, &diag, c->message);
    }
}

static void seed_model(struct ht__buf *model)
{
    ht__buf_init(model, NULL);
    spm_piece(model, "<unk>", 0, 2);
    spm_piece(model, "▁a", -1.5f, 1);
    spm_piece(model, "<0x0A>", 0, 6);
    spm_specs(model, 1, true, true, "\4\0\0\0wxyzc\0", 10);
}

/* A prefix is refused, unless it ends where a field does: then it is a smaller model. */
static void every_prefix_of_a_model(void **state)
{
    (void)state;
    struct ht__buf model;
    struct ht_diag diag;
    seed_model(&model);
    size_t accepted = 0;
    for (size_t n = 0; n < model.len; n++) {
        enum ht_err err = parse_model(model.data, n, &diag);
        accepted += err == HT_OK;
        if (err != HT_OK) assert_int_equal(err, HT_ERR_FORMAT);
        n_cases++;
    }
    assert_int_equal(accepted, 4); /* after each piece and after the trainer_spec */
    assert_int_equal(parse_model(model.data, model.len, &diag), HT_OK);
    ht__buf_close(&model);
}

static void every_byte_of_a_model_flipped(void **state)
{
    (void)state;
    struct ht__buf model;
    struct ht_diag diag;
    seed_model(&model);
    for (size_t i = 0; i < model.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            model.data[i] ^= (unsigned char)(1 << bit);
            enum ht_err err = parse_model(model.data, model.len, &diag);
            if (err != HT_OK && err != HT_ERR_FORMAT && err != HT_ERR_LIMIT)
                fail_msg("byte %zu, bit %d: %s", i, bit, ht_err_name(err));
            model.data[i] ^= (unsigned char)(1 << bit);
        }
    ht__buf_close(&model);
}

static const char seed_json[] =
    "{\"added_tokens\":[{\"id\":3,\"content\":\"<e>\",\"special\":true}],\"normalizer\":null,"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
    "\"\\u0120\":1,\"\xc4\xa0"
    "a\":2},\"merges\":[[\"\\u0120\",\"a\"]]}}";

static void every_prefix_of_a_json(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof seed_json; n++) {
        struct guard guard = guard_after(n);
        struct ht__arena keep, scratch;
        struct ht__vocab vocab;
        struct ht__tokenizer_json json;
        struct ht_diag diag;
        ht__diag_clear(&diag);
        if (n) memcpy(guard.data, seed_json, n);
        ht__arena_init(&keep, NULL);
        ht__arena_init(&scratch, NULL);
        ht__vocab_init(&vocab, &keep, NULL);
        enum ht_err err = ht__tokenizer_json_parse(guard.data, n, true, &scratch, &vocab, &json, &diag);
        ht__tokenizer_json_close(&json);
        ht__vocab_close(&vocab);
        ht__arena_close(&scratch);
        ht__arena_close(&keep);
        guard_free(&guard);
        n_cases++;
        if (n < sizeof seed_json - 1)
            assert_int_equal(err, HT_ERR_FORMAT);
        else
            assert_int_equal(err, HT_OK);
    }
}

/* ---- the files beside ---- */

static const struct side_case {
    const char *name, *file, *text;
    enum ht_err err;
    const char *message;
} side_cases[] = {
    {"settings are a list", "tokenizer_config.json", "[]", HT_ERR_FORMAT, "not an object"},
    {"settings are cut", "tokenizer_config.json", "{\"a\": ", HT_ERR_FORMAT, "JSON"},
    {"settings with a key twice", "tokenizer_config.json", "{\"a\": 1, \"a\": 2}", HT_ERR_FORMAT, "duplicate key"},
    {"settings: an id that is none", "tokenizer_config.json",
     "{\"added_tokens_decoder\": {\"x\": {\"content\": \"y\"}}}", HT_ERR_FORMAT, "is not an id"},
    {"settings: an id with a sign", "tokenizer_config.json",
     "{\"added_tokens_decoder\": {\"-1\": {\"content\": \"y\"}}}", HT_ERR_FORMAT, "is not an id"},
    {"settings: an id of 20 digits", "tokenizer_config.json",
     "{\"added_tokens_decoder\": {\"18446744073709551617\": {\"content\": \"y\"}}}", HT_ERR_FORMAT, "is not an id"},
    {"settings: a token without text", "tokenizer_config.json", "{\"added_tokens_decoder\": {\"3\": {}}}",
     HT_ERR_FORMAT, "no \"content\""},
    {"settings: tokens of every wrong type", "tokenizer_config.json",
     "{\"bos_token\": 3, \"eos_token\": [], \"unk_token\": {\"content\": 1}, \"add_bos_token\": 1,"
     "\"added_tokens_decoder\": [], \"chat_template\": 5, \"extra_special_tokens\": {\"a\": 1}}",
     HT_OK, ""},
    {"added_tokens.json: a text as id", "added_tokens.json", "{\"x\": \"1\"}", HT_ERR_FORMAT, "not a whole number"},
    {"added_tokens.json: a negative id", "added_tokens.json", "{\"x\": -5}", HT_ERR_FORMAT, "not a whole number"},
    {"added_tokens.json: a huge id", "added_tokens.json", "{\"x\": 5000000}", HT_ERR_LIMIT, "token id 5000000"},
    {"special_tokens_map.json is a text", "special_tokens_map.json", "\"x\"", HT_ERR_FORMAT, "not an object"},
    {"chat_template.jinja is not UTF-8", "chat_template.jinja", "a\xff", HT_ERR_FORMAT, "UTF-8"},
    {"chat_template.json is cut", "chat_template.json", "{\"chat_template\": \"", HT_ERR_FORMAT, "does not end"},
    {"config ids beyond the tokens", "config.json", "{}", HT_OK, ""},
};

static void hostile_side_files(void **state)
{
    (void)state;
    struct ht_diag diag;
    for (size_t i = 0; i < sizeof side_cases / sizeof *side_cases; i++) {
        const struct side_case *c = &side_cases[i];
        struct folder folder = folder_make();
        folder_puts(&folder, "tokenizer.json", seed_json);
        folder_puts(&folder, c->file, c->text);
        expect(c->name, convert(&folder, 20, &diag), c->err, &diag, c->message);
        folder_remove(&folder);
    }
}

static const struct {
    const char *name, *vocab, *merges;
    enum ht_err err;
    const char *message;
} pair_cases[] = {
    {"vocab.json is a list", "[]", "", HT_ERR_FORMAT, "not an object"},
    {"vocab.json is cut", "{\"a\": 0", "", HT_ERR_FORMAT, "ends too early"},
    {"vocab.json goes on", "{\"a\": 0} {}", "", HT_ERR_FORMAT, "after the end"},
    {"merges.txt: one part", "{\"a\": 0}", "a\n", HT_ERR_FORMAT, "line 1 is not two parts"},
    {"merges.txt: three parts", "{\"a\": 0}", "#version: 0.2\na a a\n", HT_ERR_FORMAT, "line 2"},
    {"merges.txt: a space first", "{\"a\": 0}", "\n a\n", HT_ERR_FORMAT, "line 2"},
    {"merges.txt: unknown", "{\"a\": 0}", "a b", HT_ERR_FORMAT, "the right part \"b\""},
    {"merges.txt: not UTF-8", "{\"a\": 0}", "\xff a", HT_ERR_FORMAT, "the left part"},
};

static void hostile_vocab_and_merges(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct ht_diag diag;
    for (size_t i = 0; i < sizeof pair_cases / sizeof *pair_cases; i++) {
        folder_puts(&folder, "vocab.json", pair_cases[i].vocab);
        folder_puts(&folder, "merges.txt", pair_cases[i].merges);
        expect(pair_cases[i].name, convert(&folder, 20, &diag), pair_cases[i].err, &diag, pair_cases[i].message);
    }
    folder_remove(&folder);
}

static void put_model(const struct folder *folder, int kind, bool with_bytes)
{
    struct ht__buf model;
    ht__buf_init(&model, NULL);
    if (with_bytes)
        spm_base(&model);
    else
        spm_piece(&model, "a", 0, 1);
    spm_specs(&model, kind, true, false, NULL, 0);
    folder_put(folder, "tokenizer.model", model.data, model.len);
    ht__buf_close(&model);
}

static void hostile_model_in_a_folder(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct ht_diag diag;
    put_model(&folder, 2, true);
    expect("more pieces than rows, so that bytes are missing", convert(&folder, 100, &diag), HT_ERR_FORMAT, &diag,
           "97 of the 256 byte tokens");
    put_model(&folder, 3, true);
    expect("a model of words", convert(&folder, 259, &diag), HT_ERR_UNSUPPORTED, &diag, "kind 3");
    put_model(&folder, 2, false);
    expect("a model of one piece", convert(&folder, 0, &diag), HT_ERR_UNSUPPORTED, &diag, "beyond the");
    folder_puts(&folder, "tokenizer.model", "IQ== 0\nIg== 1\n");
    expect("ranks under the name of a model", convert(&folder, 0, &diag), HT_ERR_UNSUPPORTED, &diag,
           "not a SentencePiece model");
    folder_puts(&folder, "tokenizer.model", "");
    expect("an empty model", convert(&folder, 0, &diag), HT_ERR_FORMAT, &diag, "no piece");
    folder_remove(&folder);
}

/* Every allocation fails in turn, with all that follow: an error each time, no crash, no leak. */
static void memory_runs_out(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    put_model(&folder, 2, true);
    folder_puts(&folder, "tokenizer.json", seed_json);
    folder_puts(&folder, "chat_template.jinja", "{{ x }}");
    for (int round = 0; round < 2; round++) {
        enum ht_err err = HT_ERR_MEMORY;
        for (int n = 0; err != HT_OK; n++) {
            struct counting counting;
            struct ht__arena arena;
            struct ht__kvs kvs;
            struct ht_diag diag;
            counting_begin(&counting, n + 1, false);
            counting.fail_on = true;
            ht__arena_init(&arena, &counting.alloc);
            ht__kvs_init(&kvs, &arena);
            ht__diag_clear(&diag);
            struct ht__vocab_import_job job = {.dir = folder.path, .arch = "llama", .vocab_size = round ? 20 : 259};
            err = ht__vocab_import_metadata(&job, &kvs, &diag);
            if (err != HT_OK) assert_int_equal(err, HT_ERR_MEMORY);
            ht__arena_close(&arena);
            assert_int_equal(atomic_load(&counting.live), 0);
            assert_true(n < 1000);
        }
        char path[300];
        snprintf(path, sizeof path, "%s/tokenizer.model", folder.path);
        if (round == 0) assert_int_equal(remove(path), 0);
    }
    folder_remove(&folder);
}

static void count(void **state)
{
    (void)state;
    print_message("%d hostile cases\n", n_cases);
    assert_true(n_cases >= 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_json),
        cmocka_unit_test(hostile_sentencepiece),
        cmocka_unit_test(every_prefix_of_a_model),
        cmocka_unit_test(every_byte_of_a_model_flipped),
        cmocka_unit_test(every_prefix_of_a_json),
        cmocka_unit_test(hostile_side_files),
        cmocka_unit_test(hostile_vocab_and_merges),
        cmocka_unit_test(hostile_model_in_a_folder),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
