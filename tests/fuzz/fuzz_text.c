/*
 * Tokenizers at work on any bytes: the first chooses the kind, the pre-tokenizer and how it is
 * asked; the rest is the text. What every byte has a token for must come back as it was.
 */
#include "model/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const pres[] = {
    "gpt-2",  "llama-bpe", "qwen2", "qwen35", "tekken",     "gpt-4o", "deepseek-v3", "deepseek-llm", "deepseek-coder",
    "falcon", "starcoder", "bloom", "viking", "exaone-moe", "jais-2", "minicpm5",    "seed-coder",   "default"};
enum { N_PRES = sizeof pres / sizeof *pres, N_KINDS = N_PRES + 3, N_TOKENS = 256 + 12 };

static struct ht__tokenizer *made[N_KINDS];

/* The byte's character in the alphabet of byte-level vocabularies. */
static size_t spell_byte(unsigned byte, char *to)
{
    unsigned code = 0x100;
    bool same = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    for (unsigned i = 0; i < byte && !same; i++)
        code += !((i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174);
    if (same) code = byte;
    if (code < 0x80) return to[0] = (char)code, 1;
    to[0] = (char)(0xc0 | code >> 6);
    to[1] = (char)(0x80 | (code & 63));
    return 2;
}

static struct ht__tokenizer *make(unsigned kind)
{
    static const char hex[] = "0123456789ABCDEF";
    static const char *const words[2][12] = {{"aa", "ab",
                                              "\xc4\xa0"
                                              "a",
                                              "\xc3\xa4\xc2\xb8", "aaaa", "<s>", "<|u|>", "\xc4\xa0\xc4\xa0", "12",
                                              "'s", "...", "\xc4\x8a\xc4\x8a"},
                                             {"aa", "ab",
                                              "\xe2\x96\x81"
                                              "a",
                                              "\xe4\xb8\xad", "aaaa", "<s>", "<|u|>", "\xe2\x96\x81\xe2\x96\x81",
                                              "a\xe2\x96\x81", "a", "\xe2\x96\x81", "<unk>"}};
    static const char *const merges[] = {
        "a a", "a b", "\xc4\xa0 a",       "\xc3\xa4 \xc2\xb8", "aa aa", "\xc4\xa0 \xc4\xa0",
        "1 2", "' s", "\xc4\x8a \xc4\x8a"};
    bool bytes = kind < N_PRES;
    struct ht__arena arena;
    struct ht__kvs kvs;
    struct ht__tokenizer *t;
    struct ht_diag diag = {0};
    struct ht__str strs[N_TOKENS], merge_strs[9];
    float scores[N_TOKENS];
    int32_t types[N_TOKENS];
    char texts[256][8];
    for (unsigned i = 0; i < 256; i++) {
        memcpy(texts[i], "<0x00>", 7);
        texts[i][3] = hex[i >> 4], texts[i][4] = hex[i & 15];
        strs[i] = (struct ht__str){texts[i], bytes ? spell_byte(i, texts[i]) : 6};
        types[i] = bytes ? 1 : 6;
        scores[i] = 0;
    }
    for (unsigned i = 0; i < 12; i++) {
        const char *word = words[!bytes][i];
        strs[256 + i] = (struct ht__str){word, strlen(word)};
        types[256 + i] = i == 5 ? 3 : i == 6 ? 4 : i == 11 && !bytes ? 2 : 1;
        scores[256 + i] = -(float)(i % 5);
    }
    for (unsigned i = 0; i < 9; i++)
        merge_strs[i] = (struct ht__str){merges[i], strlen(merges[i])};
    ht__arena_init(&arena, NULL);
    ht__kvs_init(&kvs, &arena);
    static const char *const models[] = {"llama", "t5", "bert"};
    ht__kv_str(&kvs, "tokenizer.ggml.model", bytes ? "gpt2" : models[kind - N_PRES]);
    if (bytes) ht__kv_str(&kvs, "tokenizer.ggml.pre", pres[kind]);
    ht__kv_strs_ref(&kvs, "tokenizer.ggml.tokens", strs, N_TOKENS);
    ht__kv_strs_ref(&kvs, "tokenizer.ggml.merges", merge_strs, 9);
    ht__kv_array(&kvs, "tokenizer.ggml.scores", HT__KV_F32, scores, N_TOKENS);
    ht__kv_array(&kvs, "tokenizer.ggml.token_type", HT__KV_I32, types, N_TOKENS);
    ht__kv_u32(&kvs, "tokenizer.ggml.unknown_token_id", bytes ? 0 : 267);
    if (ht__tokenizer_open(&kvs, "input", NULL, &t, &diag) != HT_OK) abort();
    ht__arena_close(&arena);
    return t;
}

static void round_trip(const struct ht__tokenizer *t, const char *text, size_t n, unsigned flags, bool same)
{
    struct ht__tokens ids;
    struct ht__buf out, streamed;
    struct ht__tokenizer_stream stream;
    struct ht_diag diag = {0};
    ht__tokens_init(&ids, NULL);
    ht__buf_init(&out, NULL);
    ht__buf_init(&streamed, NULL);
    if (ht__tokenizer_encode(t, text, n, flags, &ids, &diag) != HT_OK) abort();
    if (ht__tokenizer_decode(t, ids.ids, ids.n, 0, &out) != HT_OK) abort();
    if (same && (out.len != n || (n && memcmp(out.data, text, n) != 0))) abort();
    ht__tokenizer_stream_begin(&stream, t, 0);
    for (size_t i = 0; i < ids.n; i++)
        if (ids.ids[i] < 0 || ids.ids[i] >= ht__tokenizer_size(t) ||
            ht__tokenizer_stream_put(&stream, ids.ids[i], &streamed) != HT_OK)
            abort();
    ht__tokenizer_stream_end(&stream, &streamed);
    if (streamed.len != out.len || (out.len && memcmp(streamed.data, out.data, out.len) != 0)) abort();
    ht__buf_close(&streamed);
    ht__buf_close(&out);
    ht__tokens_close(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    unsigned kind = data[0] % N_KINDS, flags = data[0] / N_KINDS % 4;
    const char *text = (const char *)data + 1;
    size_t n = size - 1;
    if (!made[kind]) made[kind] = make(kind);
    const char *pre = kind < N_PRES ? pres[kind] : "";
    /* composing is a change, and so are U+2581 for a space, and SentencePiece's space behind a
     * special token */
    bool changes = strcmp(pre, "qwen2") == 0 || strcmp(pre, "qwen35") == 0 || memmem(text, n, "\xe2\x96\x81", 3) ||
                   (kind == N_PRES && (memmem(text, n, "<|u|>", 5) || flags & HT__TOKENIZER_PARSE_SPECIAL));
    round_trip(made[kind], text, n, flags, kind <= N_PRES && !changes && !(flags & HT__TOKENIZER_ADD_SPECIAL));
    return 0;
}
