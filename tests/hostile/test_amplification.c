/*
 * How much memory a parser takes for each byte of a hostile file: what is smallest in the file and largest in memory,
 * repeated. Bounds are a fixed part and a factor, measured with an allocator that counts every byte. Trees (pickle, JSON,
 * YAML) are cut off at 16 MiB and a factor; the last doubling of a pickle's list comes on top.
 */
#include "base/json.h"
#include "base/yaml.h"
#include "formats/checkpoint.h"
#include "formats/pickle.h"
#include "lib/counting.h"
#include "lib/effort.h"
#include "model/chat/chat.h"
#include "model/vocab_import/sentencepiece.h"
#include "model/vocab_import/tokenizer_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { MB = 1 << 20 };

/* The parser; what it says does not matter, only what it takes. */
typedef enum ht_err parse_fn(const struct ht__alloc *, const char *data, size_t n, struct ht_diag *);

static enum ht_err pickle(const struct ht__alloc *alloc, const char *data, size_t n, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__pickle_value *root;
    ht__arena_init(&arena, alloc);
    enum ht_err err = ht__pickle_read(data, n, "x.bin", &arena, &root, diag);
    ht__arena_close(&arena);
    return err;
}

static enum ht_err json(const struct ht__alloc *alloc, const char *data, size_t n, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__jnode *root;
    ht__arena_init(&arena, alloc);
    enum ht_err err = ht__json_parse(&arena, data, n, "x.json", &root, diag);
    ht__arena_close(&arena);
    return err;
}

static enum ht_err yaml(const struct ht__alloc *alloc, const char *data, size_t n, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__jnode *root;
    ht__arena_init(&arena, alloc);
    enum ht_err err = ht__yaml_parse(&arena, data, n, "x.yaml", &root, diag);
    ht__arena_close(&arena);
    return err;
}

static enum ht_err checkpoint(const struct ht__alloc *alloc, const char *data, size_t n, struct ht_diag *diag)
{
    char path[64];
    struct ht__checkpoint *ck;
    int fd = memfd_create("amplification", 0);
    assert_true(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum ht_err err = ht__checkpoint_open(path, alloc, &ck, diag);
    ht__checkpoint_close(&ck);
    close(fd);
    return err;
}

static enum ht_err tokenizer(const struct ht__alloc *alloc, const char *data, size_t n, struct ht_diag *diag)
{
    struct ht__arena arena, scratch;
    struct ht__vocab vocab;
    struct ht__tokenizer_json out = {0};
    ht__arena_init(&arena, alloc);
    ht__arena_init(&scratch, alloc);
    ht__vocab_init(&vocab, &arena, alloc);
    enum ht_err err = ht__tokenizer_json_parse(data, n, true, &scratch, &vocab, &out, diag);
    ht__tokenizer_json_close(&out);
    ht__vocab_close(&vocab);
    ht__arena_close(&scratch);
    ht__arena_close(&arena);
    return err;
}

static enum ht_err sentencepiece(const struct ht__alloc *alloc, const char *data, size_t n, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__vocab vocab;
    struct ht__sentencepiece model;
    ht__arena_init(&arena, alloc);
    ht__vocab_init(&vocab, &arena, alloc);
    enum ht_err err = ht__sentencepiece_parse(data, n, &vocab, &model, diag);
    ht__vocab_close(&vocab);
    ht__arena_close(&arena);
    return err;
}

static enum ht_err chat(const struct ht__alloc *alloc, const char *data, size_t n, struct ht_diag *diag)
{
    struct ht__chat_message message = {"user", {"x", 1}};
    struct ht__chat chat = {.source = data, .bos = {"<s>", 3}, .messages = &message, .n = 1};
    struct ht__buf out;
    ht__buf_init(&out, alloc);
    enum ht_err err = ht__chat_render(&chat, alloc, &out, diag);
    ht__buf_close(&out);
    return err;
}

#define GGUF_HEAD(array) "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k\11\0\0\0" array
#define TEXT(literal) literal, sizeof(literal) - 1

/* The count of a GGUF array is written behind its head, from the size of the file; {n} of safetensors likewise. */
enum head { PLAIN, GGUF_COUNT, SAFETENSORS_LENGTH, NUMBERED };

static const struct {
    const char *name;
    parse_fn *parse;
    const char *head;
    size_t n_head;
    const char *unit; /* repeated; a # becomes a number of seven digits, where the case says so */
    size_t n_unit;
    const char *tail;
    enum head kind;
    unsigned fixed_mb, factor; /* peak <= fixed + factor x bytes */
} cases[] = {
    {"pickle: lists in a list", pickle, TEXT("\x80\2]"), TEXT("]a"), ".", PLAIN, 18, 12},
    {"pickle: lists on the stack", pickle, TEXT("\x80\2("), TEXT("]"), "t.", PLAIN, 18, 12},
    {"pickle: lists that are dropped", pickle, TEXT("\x80\2N"), TEXT("]0"), ".", PLAIN, 18, 12},
    {"pickle: tuples of one", pickle, TEXT("\x80\2N"), TEXT("\x85"), ".", PLAIN, 18, 12},
    {"pickle: a dictionary", pickle, TEXT("\x80\2}"), TEXT("NNs"), ".", PLAIN, 18, 12},
    {"pickle: floats", pickle, TEXT("\x80\2]"), TEXT("G\0\0\0\0\0\0\0\0a"), ".", PLAIN, 18, 12},
    {"pickle: empty texts", pickle, TEXT("\x80\2]"), TEXT("U\0a"), ".", PLAIN, 18, 12},
    {"pickle: a memo", pickle, TEXT("\x80\2N"), TEXT("\x94"), ".", PLAIN, 18, 12},
    {"pickle: small numbers", pickle, TEXT("\x80\2]"), TEXT("K\1a"), ".", PLAIN, 1, 1},
    {"JSON: numbers", json, TEXT("[0"), TEXT(",0"), "]", PLAIN, 17, 17},
    {"JSON: empty lists", json, TEXT("[0"), TEXT(",[]"), "]", PLAIN, 17, 17},
    {"JSON: members", json, TEXT("{\"x\":0"), TEXT(",\"#\":0"), "}", NUMBERED, 17, 17},
    {"YAML: items", yaml, TEXT("- 0"), TEXT("\n- 0"), "", PLAIN, 17, 17},
    {"YAML: flow", yaml, TEXT("[0"), TEXT(",0"), "]", PLAIN, 17, 17},
    {"GGUF: bytes", checkpoint, TEXT(GGUF_HEAD("\0\0\0\0")), TEXT("\1"), "", GGUF_COUNT, 1, 3},
    {"GGUF: empty texts", checkpoint, TEXT(GGUF_HEAD("\10\0\0\0")), TEXT("\0\0\0\0\0\0\0\0"), "", GGUF_COUNT, 1, 5},
    {"safetensors: tensors", checkpoint, TEXT("{\"__metadata__\":{}"),
     TEXT(",\"#\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"), "}", SAFETENSORS_LENGTH, 1, 9},
    {"safetensors: metadata", checkpoint, TEXT("{\"__metadata__\":{\"x\":\"\""), TEXT(",\"#\":\"\""), "}}",
     SAFETENSORS_LENGTH, 1, 9},
    {"tokenizer.json: vocabulary", tokenizer, TEXT("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"x\":0"), TEXT(",\"#\":1"),
     "},\"merges\":[]}}", NUMBERED, 1, 8},
    {"tokenizer.json: merges", tokenizer, TEXT("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[\"a b\""),
     TEXT(",\"a b\""), "]}}", PLAIN, 1, 8},
    {"tokenizer.json: pieces", tokenizer, TEXT("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"x\",0]"),
     TEXT(",[\"#\",0]"), "]}}", NUMBERED, 1, 8},
    {"tokenizer.json: a normalizer", tokenizer, TEXT("{\"normalizer\":{\"x\":[0"), TEXT(",0"), "]}}", PLAIN, 17, 17},
    {"tokenizer.json: added tokens", tokenizer, TEXT("{\"added_tokens\":[{\"id\":0,\"content\":\"x\"}"),
     TEXT(",{\"id\":1,\"content\":\"#\"}"), "],\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", NUMBERED, 1,
     16},
    {"SentencePiece: pieces", sentencepiece, TEXT(""), TEXT("\12\11\12\7#"), "", NUMBERED, 1, 8},
    {"chat template: expressions", chat, TEXT(""), TEXT("{{a}}"), "", PLAIN, 130, 0},
    {"chat template: a list", chat, TEXT("{{[0"), TEXT(",0"), "]}}", PLAIN, 130, 0},
};

static size_t put_unit(char *at, const char *unit, size_t n, bool numbered, unsigned number)
{
    const char *mark = numbered ? memchr(unit, '#', n) : NULL;
    if (!mark) return memcpy(at, unit, n), n;
    size_t before = (size_t)(mark - unit);
    memcpy(at, unit, before);
    char digits[16];
    snprintf(digits, sizeof digits, "%07u", number);
    memcpy(at + before, digits, 7);
    memcpy(at + before + 7, mark + 1, n - before - 1);
    return n + 6;
}

static char *build(size_t i, size_t *size)
{
    size_t most = (size_t)effort(1, 4, 4) * MB;
    char *data = calloc(1, most + 1024);
    bool safetensors = cases[i].kind == SAFETENSORS_LENGTH;
    size_t n = safetensors ? 8 : 0, n_tail = strlen(cases[i].tail);
    uint64_t count = 0;
    memcpy(data + n, cases[i].head, cases[i].n_head);
    n += cases[i].n_head;
    size_t at_count = n;
    if (cases[i].kind == GGUF_COUNT) n += 8;
    while (n + cases[i].n_unit + 8 + n_tail <= most)
        n += put_unit(data + n, cases[i].unit, cases[i].n_unit, cases[i].kind >= SAFETENSORS_LENGTH, (unsigned)count++);
    memcpy(data + n, cases[i].tail, n_tail);
    n += n_tail;
    if (cases[i].kind == GGUF_COUNT) memcpy(data + at_count, &count, 8);
    count = n - 8;
    if (safetensors) memcpy(data, &count, 8);
    *size = n;
    return data;
}

static void bounded(void **state)
{
    int bad = 0;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct counting counting;
        struct ht_diag diag = {0};
        size_t n;
        char *data = build(i, &n);
        counting_begin(&counting, 0, false);
        enum ht_err err = cases[i].parse(&counting.alloc, data, n, &diag);
        size_t peak = atomic_load(&counting.peak), most = cases[i].fixed_mb * (size_t)MB + cases[i].factor * n;
        print_message("%-32s %5.1f MB for %.1f MB, at most %5.1f MB: %s\n", cases[i].name, (double)peak / MB,
                      (double)n / MB, (double)most / MB, err ? diag.message : "read");
        if (peak > most) bad++, print_error("%s: too much\n", cases[i].name);
        if (err && !diag.message[0]) bad++, print_error("%s: refused without a reason\n", cases[i].name);
        if (err == HT_ERR_MEMORY || err == HT_ERR_INTERNAL) bad++, print_error("%s: the wrong reason\n", cases[i].name);
        if (atomic_load(&counting.live)) bad++, print_error("%s: leaks\n", cases[i].name);
        free(data);
    }
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
