/*
 * Pre-tokenizers: how a byte-level vocabulary's text is cut into words, by name. Steps follow each
 * other, each cuts the pieces of the one before. Most are expressions of one family and carried out
 * by hand (words.c), the others by PCRE2.
 */
#ifndef HT_MODEL_TOKENIZER_PRE_H
#define HT_MODEL_TOKENIZER_PRE_H

#include "base/alloc.h"
#include "base/err.h"
#include "model/tokenizer/uni.h"

struct ht__str;

enum ht__pre_kind {
    HT__PRE_WORDS,       /* the family of words.c */
    HT__PRE_DIGIT,       /* \p{N} */
    HT__PRE_DIGITS,      /* \p{N}+, at most `most` */
    HT__PRE_BYTE_DIGITS, /* runs of bytes whose characters in the byte-level alphabet are \p{N} */
    HT__PRE_THREES,      /* [0-9][0-9][0-9] */
    HT__PRE_PUNCT,       /* runs of \p{P} and of ASCII's punctuation */
    HT__PRE_REGEX,
    HT__PRE_VALID, /* well-formed UTF-8, apart from bytes that are not: before expressions */
};

enum ht__contractions { HT__NO_CONTRACTIONS, HT__SMALL_CONTRACTIONS, HT__ANY_CONTRACTIONS, HT__CONTRACTION_ENDS };

/*
 * The family:   contractions | prefix? letters+ | digits | ' '? marks+ tail* | white space
 * See words.c.
 */
struct ht__words {
    enum ht__contractions contractions;
    bool any_prefix;     /* [^\r\n\p{L}\p{N}]? instead of ' '? */
    bool cased;          /* words end where the case changes */
    bool with_marks;     /* \p{M} belongs to words */
    bool lines;          /* white space up to a line's end is a piece */
    unsigned most;       /* digits a piece; 0: any number, a space before them */
    bool marks_no_lines; /* no line ends among marks */
    char tail;           /* behind marks: 0, 'n' for [\r\n], '/' for [\r\n/] */
};

enum { HT__PRE_MOST = 8, HT__PRE_ANY = 1 << 30 };

struct ht__pre_step {
    enum ht__pre_kind kind;
    unsigned most;
    struct ht__words words;
    void *code; /* pcre2_code */
};

struct ht__pre {
    struct ht__pre_step steps[HT__PRE_MOST];
    unsigned n;
    bool ignores_merges, adds_bos, nfc; /* what goes with the name */
};

struct ht__pre_work {
    void *data; /* pcre2_match_data */
};

/* Is there such a name? */
HT_MUST_CHECK enum ht_err ht__pre_open(struct ht__pre *pre, const char *name, size_t len, const char *where,
                                       struct ht_diag *diag);
void ht__pre_close(struct ht__pre *pre);
/* Are both names of one pre-tokenizer? */
bool ht__pre_same(const char *a, const char *b);
HT_MUST_CHECK bool ht__pre_work_open(struct ht__pre_work *work, const struct ht__pre *pre);
void ht__pre_work_close(struct ht__pre_work *work);

/* Going through a text's pieces. */
struct ht__pre_walk {
    const struct ht__pre *pre;
    const struct ht__uni *uni;
    struct ht__pre_work *work;
    const unsigned char *text;
    struct {
        size_t at, end;
        size_t match; /* the end of a match that begins at `at`; 0: none is known */
    } level[HT__PRE_MOST];
    int deep;
    enum ht_err err;
};
void ht__pre_begin(struct ht__pre_walk *walk, const struct ht__pre *pre, const struct ht__uni *uni,
                   struct ht__pre_work *work, const char *text, size_t n);
/* The next piece; false at the end, or when walk->err says why not. */
bool ht__pre_next(struct ht__pre_walk *walk, size_t *from, size_t *to);

/* words.c: where the piece that begins at text[at] ends; at < n. */
size_t ht__words_end(const struct ht__words *words, const struct ht__uni *uni, const unsigned char *text, size_t n,
                     size_t at);

#endif
