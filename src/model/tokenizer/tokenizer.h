/*
 * Text to token ids and back: the tokenizer of a model, built from its metadata (tokens, scores,
 * types, merges and the pre-tokenizer's name), so that a GGUF file and a folder are the same here.
 *
 *     text -> special tokens cut out -> normalized -> cut into words -> each word's tokens
 *
 * A tokenizer may be used by several threads at once.
 */
#ifndef HT_MODEL_TOKENIZER_TOKENIZER_H
#define HT_MODEL_TOKENIZER_TOKENIZER_H

#include "base/buf.h"
#include "formats/kv.h"

struct ht__model;
struct ht__tokenizer;

/* `where` names the model in diagnoses. Nothing of kvs is kept. */
HT_MUST_CHECK enum ht_err ht__tokenizer_open(const struct ht__kvs *kvs, const char *where,
                                             const struct ht__alloc *alloc, struct ht__tokenizer **out,
                                             struct ht_diag *diag);
/* The tokenizer of a model from a GGUF file or a folder, which may say more than metadata can. */
HT_MUST_CHECK enum ht_err ht__tokenizer_open_model(const struct ht__model *model, const char *where,
                                                   const struct ht__alloc *alloc, struct ht__tokenizer **out,
                                                   struct ht_diag *diag);
/* Changes a tokenizer to what the folder's own files say. */
HT_MUST_CHECK enum ht_err ht__tokenizer_adopt_folder(struct ht__tokenizer *t, const char *dir, struct ht_diag *diag);
/* NULL-safe; sets *text to NULL. */
void ht__tokenizer_close(struct ht__tokenizer **text);

/* A growing list of ids. Failure is sticky, as in ht__buf. */
struct ht__tokens {
    const struct ht__alloc *alloc;
    int32_t *ids;
    size_t n, cap;
    bool failed;
};
void ht__tokens_init(struct ht__tokens *tokens, const struct ht__alloc *alloc);
void ht__tokens_close(struct ht__tokens *tokens);
/* Makes room for n more; false when memory is out. */
bool ht__tokens_reserve(struct ht__tokens *tokens, size_t n);
static inline void ht__tokens_put(struct ht__tokens *tokens, int32_t id)
{
    if (HT_UNLIKELY(tokens->n == tokens->cap) && !ht__tokens_reserve(tokens, 1)) return;
    tokens->ids[tokens->n++] = id;
}

enum ht__tokenizer_flags {
    HT__TOKENIZER_ADD_SPECIAL = 1,   /* bos before and eos behind the text, as the model wants it */
    HT__TOKENIZER_PARSE_SPECIAL = 2, /* control tokens are found by their spelling: not for strangers' text */
    HT__TOKENIZER_SKIP_SPECIAL = 4,  /* decoding leaves control tokens out */
    HT__TOKENIZER_MARKED = 8,        /* see ht__tokenizer_mark */
    HT__TOKENIZER_WITHIN = 16,       /* decoding: the ids do not begin a text, whose space would go */
};

/*
 * For texts of which parts are a stranger's: marking puts a byte 0xff, which no text holds, before the
 * spelling of each control token (and U+FFFD for bytes that are no characters). Where the text is then
 * encoded with HT__TOKENIZER_MARKED, the marks go, and what follows one is text like any other.
 */
void ht__tokenizer_mark(const struct ht__tokenizer *t, const char *text, size_t len, struct ht__buf *out);

/* Appends the text's ids. Any bytes are taken. */
HT_MUST_CHECK enum ht_err ht__tokenizer_encode(const struct ht__tokenizer *t, const char *text, size_t len,
                                               unsigned flags, struct ht__tokens *out, struct ht_diag *diag);
/* Appends the ids' text. An id that is not in the vocabulary is HT_ERR_USAGE. */
HT_MUST_CHECK enum ht_err ht__tokenizer_decode(const struct ht__tokenizer *t, const int32_t *ids, size_t n,
                                               unsigned flags, struct ht__buf *out);

/* Decoding while tokens come: what is appended is whole characters, a begun one is held back. */
struct ht__tokenizer_stream {
    const struct ht__tokenizer *text;
    unsigned flags;
    bool begun;      /* a token was put */
    unsigned n_held; /* bytes of a begun character */
    char held[4];
};
void ht__tokenizer_stream_begin(struct ht__tokenizer_stream *stream, const struct ht__tokenizer *t, unsigned flags);
HT_MUST_CHECK enum ht_err ht__tokenizer_stream_put(struct ht__tokenizer_stream *stream, int32_t id,
                                                   struct ht__buf *out);
/* Appends what is held back, as it is. */
void ht__tokenizer_stream_end(struct ht__tokenizer_stream *stream, struct ht__buf *out);

/* Ids with a role; -1: there is none. */
int32_t ht__tokenizer_bos(const struct ht__tokenizer *t);
int32_t ht__tokenizer_eos(const struct ht__tokenizer *t);
int32_t ht__tokenizer_pad(const struct ht__tokenizer *t);
int32_t ht__tokenizer_unk(const struct ht__tokenizer *t);
bool ht__tokenizer_adds_bos(const struct ht__tokenizer *t);
bool ht__tokenizer_adds_eos(const struct ht__tokenizer *t);
int ht__tokenizer_size(const struct ht__tokenizer *t);
/* Does the id end what a model writes: eos, an end of turn, ...? */
bool ht__tokenizer_is_end(const struct ht__tokenizer *t, int32_t id);
/* Control and unknown tokens, which are no text. */
bool ht__tokenizer_is_control(const struct ht__tokenizer *t, int32_t id);
/* The token as the vocabulary spells it; {NULL, 0} out of range. */
struct ht__str ht__tokenizer_piece(const struct ht__tokenizer *t, int32_t id);
/* The id of a spelling, or -1. */
int32_t ht__tokenizer_find(const struct ht__tokenizer *t, const char *piece, size_t len);
/* NUL-terminated, or NULL. */
const char *ht__tokenizer_chat_template(const struct ht__tokenizer *t);

#endif
