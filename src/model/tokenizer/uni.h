/* Properties of code points in one lookup, and decoding that never fails. */
#ifndef HT_MODEL_TOKENIZER_UNI_H
#define HT_MODEL_TOKENIZER_UNI_H

#include "base/alloc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ht__uni_flags {
    HT__UNI_UPPER = 1,       /* Lu, Lt */
    HT__UNI_LOWER = 2,       /* Ll */
    HT__UNI_CASELESS = 4,    /* Lm, Lo */
    HT__UNI_LETTER = 7,      /* \p{L} */
    HT__UNI_NUMBER = 8,      /* \p{N} */
    HT__UNI_MARK = 16,       /* \p{M} */
    HT__UNI_NONSPACING = 32, /* \p{Mn} */
    HT__UNI_SPACE = 64,      /* White_Space, which is \s */
    HT__UNI_PUNCT = 128,     /* \p{P} */
    HT__UNI_WORD = 256,      /* letters, marks, decimal digits, connectors: \w */
    HT__UNI_CONTROL = 512,   /* \p{C} */
    HT__UNI_MOVES = 1024,    /* NFC may change it, alone or with what stands before it */
};

/* Two levels: blocks of 256 code points, equal blocks stored once. */
struct ht__uni {
    uint16_t block[0x1100];
    uint16_t *flags;
};

bool ht__uni_open(struct ht__uni *uni, const struct ht__alloc *alloc);
void ht__uni_close(struct ht__uni *uni, const struct ht__alloc *alloc);

/* A byte that is no part of well-formed UTF-8 is a character of its own: 0x110000 + byte. */
enum { HT__UNI_BAD = 0x110000 };

static inline unsigned ht__uni_of(const struct ht__uni *uni, uint32_t code)
{
    return code < HT__UNI_BAD ? uni->flags[(size_t)uni->block[code >> 8] << 8 | (code & 255)] : 0;
}

/* The code point at p, of n > 0 bytes, and its length. */
int ht__uni_long(const unsigned char *p, size_t n, uint32_t *code);
static inline int ht__uni_get(const unsigned char *p, size_t n, uint32_t *code)
{
    *code = *p;
    return *p < 0x80 ? 1 : ht__uni_long(p, n, code);
}
/* Where the character before p[at] begins; at > 0. */
size_t ht__uni_before(const unsigned char *p, size_t at);
/* Writes a code point, or the byte of a bad one; returns the length. */
int ht__uni_put(uint32_t code, char out[4]);

#endif
