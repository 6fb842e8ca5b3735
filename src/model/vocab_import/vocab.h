/*
 * The token list in the making. Sources (a SentencePiece model, a JSON vocabulary, added tokens)
 * put entries in any order of ids; placing them gives every id from 0 its token, fills what is
 * missing, leaves out what is beyond the embedding, and refuses what no runtime could load: an id
 * twice, a text twice.
 */
#ifndef HT_MODEL_VOCAB_IMPORT_VOCAB_H
#define HT_MODEL_VOCAB_IMPORT_VOCAB_H

#include "base/map.h"
#include "formats/kv.h"

/* Numbers of the file format. */
enum ht__token_type {
    HT__TOKEN_NONE, /* an id without a token yet */
    HT__TOKEN_NORMAL,
    HT__TOKEN_UNKNOWN,
    HT__TOKEN_CONTROL,
    HT__TOKEN_USER, /* matched in the text before anything else */
    HT__TOKEN_UNUSED,
    HT__TOKEN_BYTE, /* "<0xNN>" */
};

/* Twice the largest vocabulary that is known (of 902,000 tokens). */
enum { HT__VOCAB_MAX_TOKENS = 1 << 21, HT__VOCAB_MAX_TEXT = 1 << 16 };

struct ht__token {
    struct ht__str text;
    uint32_t id;
    float score;
    enum ht__token_type type;
};

/* Who says that a token was added: bits. */
enum ht__added_source {
    HT__ADDED_JSON = 1,    /* tokenizer.json */
    HT__ADDED_MAP = 2,     /* added_tokens.json, which knows no more than text and id */
    HT__ADDED_DECODER = 4, /* tokenizer_config.json: added_tokens_decoder */
    HT__ADDED_NAME = 8,    /* a token of the vocabulary that is named bos, eos ... */
};

/* A token that was added to the vocabulary afterwards. */
struct ht__added {
    struct ht__str text;
    uint32_t id;
    bool special;
    enum ht__added_source source;
};

struct ht__vocab {
    struct ht__arena *keep; /* texts and the finished arrays */
    const struct ht__alloc *alloc;
    const char *where;            /* the file that the vocabulary came from */
    struct ht__buf tokens, added; /* struct ht__token, struct ht__added */
    struct ht__map ids;           /* text -> id, of the model's vocabulary */
    uint8_t *added_ids;           /* one bit an id: is there an added token of it? */
    char *pool;                   /* where the next text goes */
    size_t pool_left;
    struct ht__token *table; /* by id, once placed */
    uint32_t n, n_beyond;    /* tokens; those that were left out, being beyond the embedding */
};

void ht__vocab_init(struct ht__vocab *vocab, struct ht__arena *keep, const struct ht__alloc *alloc);
void ht__vocab_close(struct ht__vocab *vocab);

/* A lasting copy, or {NULL, 0}. Small texts share blocks: there are hundreds of thousands of them. */
struct ht__str ht__vocab_text(struct ht__vocab *vocab, const char *text, size_t len);

/* One token of the model's vocabulary; its text is copied. */
HT_MUST_CHECK enum ht_err ht__vocab_put(struct ht__vocab *vocab, uint64_t id, const char *text, size_t len, float score,
                                        enum ht__token_type type, struct ht_diag *diag);
/* One added token; of several with one id the last counts. */
HT_MUST_CHECK enum ht_err ht__vocab_add(struct ht__vocab *vocab, uint64_t id, const char *text, size_t len,
                                        bool special, enum ht__added_source source, struct ht_diag *diag);
bool ht__vocab_has_added(const struct ht__vocab *vocab, uint64_t id);
/* The id of a text in the model's vocabulary, or -1; also -1 for one that was left out. */
int64_t ht__vocab_find(const struct ht__vocab *vocab, const char *text, size_t len);

static inline size_t ht__vocab_count(const struct ht__vocab *vocab)
{
    return vocab->tokens.len / sizeof(struct ht__token);
}
static inline size_t ht__vocab_added_count(const struct ht__vocab *vocab)
{
    return vocab->added.len / sizeof(struct ht__added);
}
static inline struct ht__token *ht__vocab_at(const struct ht__vocab *vocab, size_t i)
{
    return (struct ht__token *)(void *)vocab->tokens.data + i;
}
static inline struct ht__added *ht__vocab_added_at(const struct ht__vocab *vocab, size_t i)
{
    return (struct ht__added *)(void *)vocab->added.data + i;
}

/* Gives ids their tokens: `rows` of them where that is known, else up to the largest id. */
HT_MUST_CHECK enum ht_err ht__vocab_place(struct ht__vocab *vocab, uint64_t rows, struct ht_diag *diag);
/* Fills ids that have no token, checks that no text occurs twice. */
HT_MUST_CHECK enum ht_err ht__vocab_finish(struct ht__vocab *vocab, float pad_score, struct ht_diag *diag);
/* tokens, scores (if wanted) and token_type. */
void ht__vocab_write(const struct ht__vocab *vocab, bool scores, struct ht__kvs *kvs);

/* Would a runtime take this added token for a control token, whatever its flags say? */
bool ht__token_looks_special(const char *text, size_t len);
/* "<0xNN>": the byte, or -1. */
int ht__token_byte(const char *text, size_t len);
/* A text as an error message may show it: cut, and free of control characters. */
const char *ht__token_show(char out[64], const char *text, size_t len);

#endif
