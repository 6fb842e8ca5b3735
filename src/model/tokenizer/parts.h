/* What a tokenizer is made of: shared by the units of this folder. */
#ifndef HT_MODEL_TOKENIZER_PARTS_H
#define HT_MODEL_TOKENIZER_PARTS_H

#include "base/map.h"
#include "model/tokenizer/merge.h"
#include "model/tokenizer/pre.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/trie.h"
#include "model/tokenizer/uni.h"
#include "model/vocab_import/vocab.h"

#include <pthread.h>

enum ht__tokenizer_kind { HT__TOKENIZER_BYTES, HT__TOKENIZER_SPM, HT__TOKENIZER_UNIGRAM, HT__TOKENIZER_WORDPIECE };

/* BERT gives up on words of more characters. */
enum { HT__TOKENIZER_WORKERS = 8, HT__WORDPIECE_MAX = 100 };

/* A token that is cut out of the text before anything else is done with it: value of the trie. */
struct ht__special {
    int32_t id;
    bool control;        /* found only when asked for */
    bool single_word;    /* only where no word touches it */
    bool lstrip, rstrip; /* takes the white space beside it */
};

/* What one call of encode writes to; kept for the next. */
struct ht__tokenizer_work {
    struct ht__merger merger;
    struct ht__buf normal, more; /* the text as the model wants it */
    struct ht__buf best;         /* unigram: a cell for each byte */
    struct ht__pre_work pre;
};

struct ht__tokenizer {
    const struct ht__alloc *alloc;
    struct ht__arena arena;
    const char *where;
    enum ht__tokenizer_kind kind;

    /* the vocabulary */
    uint32_t n;
    struct ht__str *pieces; /* as spelled */
    struct ht__str *texts;  /* byte-level: the bytes themselves; otherwise as pieces */
    float *scores;
    uint8_t *types, *ends;
    struct ht__map ids;    /* spelling -> id */
    int32_t byte_ids[256]; /* the token of a byte, or -1 */
    int32_t bos, eos, eot, pad, unk, sep;
    bool add_bos, add_eos;
    const char *chat_template;

    /* special tokens */
    struct ht__special *specials;
    uint32_t n_specials;
    struct ht__trie special_trie;
    bool special_first[256]; /* does one begin with this byte? */

    /* before the model */
    bool nfc, lowercase, strip_accents;
    bool add_prefix;         /* a space goes before each segment of the text, */
    bool prefix_once;        /* only before the first one, */
    bool prefix_spares;      /* but not before one that begins with a space */
    bool remove_extra;       /* runs of spaces become one */
    struct ht__str charsmap; /* see unigram.c; or none */
    struct ht__pre pre;
    struct ht__uni uni;

    /* the models */
    struct ht__pairs pairs;
    bool ignore_merges;
    bool joined[256];             /* is there a token with this byte before a U+2581? */
    struct ht__map symbols;       /* SPM: characters to symbols */
    struct ht__trie words, tails; /* unigram: words alone; WordPiece: of words, of continuations */
    float unk_score;
    uint32_t max_word; /* WordPiece: a longer word is unknown */

    pthread_mutex_t lock;
    struct ht__tokenizer_work *idle[HT__TOKENIZER_WORKERS];
    unsigned n_idle;
};

/* open.c */
static inline bool ht__tokenizer_is_plain(const struct ht__tokenizer *t, uint32_t id)
{
    return t->types[id] == HT__TOKEN_NORMAL || t->types[id] == HT__TOKEN_USER;
}

/* bytes.c: the alphabet of 256 characters that stand for bytes. Length written, or the byte or -1. */
int ht__alphabet_put(unsigned char byte, char out[4]);
int ht__alphabet_get(uint32_t code);

/* bytes.c, spm.c: what opening adds for each kind, and a segment's tokens. */
HT_MUST_CHECK enum ht_err ht__tokenizer_bytes_open(struct ht__tokenizer *t, const struct ht__kvs *kvs,
                                                   struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__tokenizer_bytes_encode(const struct ht__tokenizer *t, struct ht__tokenizer_work *w,
                                                     const char *text, size_t n, bool prefix, struct ht__tokens *out,
                                                     struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__tokenizer_spm_open(struct ht__tokenizer *t, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__tokenizer_unigram_open(struct ht__tokenizer *t, const struct ht__kvs *kvs,
                                                     struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__tokenizer_wordpiece_open(struct ht__tokenizer *t, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__tokenizer_wordpiece_encode(const struct ht__tokenizer *t, struct ht__tokenizer_work *w,
                                                         const char *text, size_t n, struct ht__tokens *out,
                                                         struct ht_diag *diag);
/* marked.c: what SentencePiece's two models share; a word of theirs: false when memory is out. */
void ht__tokenizer_marked_open(struct ht__tokenizer *t);
HT_MUST_CHECK enum ht_err ht__tokenizer_marked_encode(const struct ht__tokenizer *t, struct ht__tokenizer_work *w,
                                                      const char *text, size_t n, bool prefix, struct ht__tokens *out,
                                                      struct ht_diag *diag);
HT_MUST_CHECK bool ht__tokenizer_spm_word(const struct ht__tokenizer *t, struct ht__tokenizer_work *w, const char *word,
                                          size_t n, struct ht__tokens *out);
HT_MUST_CHECK bool ht__tokenizer_unigram_word(const struct ht__tokenizer *t, struct ht__tokenizer_work *w,
                                              const char *word, size_t n, struct ht__tokens *out);
/* charsmap.c */
HT_MUST_CHECK enum ht_err ht__tokenizer_charsmap_open(struct ht__tokenizer *t, struct ht__str map,
                                                      struct ht_diag *diag);
void ht__tokenizer_charsmap(const struct ht__tokenizer *t, const char *text, size_t n, struct ht__buf *out);

/* Appends the tokens of a character that the vocabulary lacks: those of its bytes, or the unknown
 * one, once for a run of them (*in_unknown). */
void ht__tokenizer_put_unknown(const struct ht__tokenizer *t, const char *text, size_t n, bool *in_unknown,
                               struct ht__tokens *out);

/* Does a space go before this segment? */
static inline bool ht__tokenizer_prefixes(const struct ht__tokenizer *t, const char *text, size_t n, bool first)
{
    if (!t->add_prefix || n == 0 || (t->prefix_once && !first)) return false;
    /* spaces at the start that are dropped as too many spare nothing */
    bool space = (text[0] == ' ' && !t->remove_extra) ||
                 (t->kind != HT__TOKENIZER_BYTES && n >= 3 && !__builtin_memcmp(text, "\xe2\x96\x81", 3));
    return !(t->prefix_spares && space);
}

/* mark.c: where in a text no control token begins. */
struct ht__marks {
    size_t *at, n;
};
/* The text without its marks, and where they were (the caller's, also after false: memory is out). */
bool ht__tokenizer_take_marks(const struct ht__tokenizer *t, const char *text, size_t len, struct ht__buf *plain,
                              struct ht__marks *marks);

/* encode.c */
void ht__tokenizer_close_work(struct ht__tokenizer *t);
/* NFC of the text, in buf where it changes (*text and *n then are buf's). */
HT_MUST_CHECK enum ht_err ht__tokenizer_nfc(const struct ht__tokenizer *t, const char **text, size_t *n,
                                            struct ht__buf *buf, struct ht_diag *diag);

/* special.c */
HT_MUST_CHECK enum ht_err ht__tokenizer_specials_open(struct ht__tokenizer *t, const struct ht__kvs *kvs,
                                                      struct ht_diag *diag);
/* The next one at or after `at`; from and to with the white space that it takes. */
const struct ht__special *ht__tokenizer_special_next(const struct ht__tokenizer *t, const char *text, size_t n,
                                                     size_t at, bool control, size_t *from, size_t *to);

#endif
