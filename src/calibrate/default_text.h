/*
 * A text of the project's own, for those who bring none, written for it (src/calibrate/text): prose, code, mathematics,
 * conversations and many languages, each to be mixed by its weight with the others and with random tokens. Its
 * held-out part is of the same kinds and is never calibrated on, so that a model may be measured on it.
 */
#ifndef HT_CALIBRATE_DEFAULT_TEXT_H
#define HT_CALIBRATE_DEFAULT_TEXT_H

#include "base/buf.h"

#include <stdbool.h>

struct ht__default_domain {
    const char *name;
    uint32_t weight; /* in hundredths of all text, random tokens not counted */
    bool lines;      /* of JSON (calibrate/documents.h), not plain text */
    const unsigned char *packed;
    const unsigned long *n_packed, *size;
};
enum { HT__DEFAULT_DOMAINS = 5, HT__DEFAULT_RANDOM_WEIGHT = 4 };
extern const struct ht__default_domain ht__default_domains[HT__DEFAULT_DOMAINS];

/* Append UTF-8. */
HT_MUST_CHECK enum ht_err ht__default_text(const struct ht__default_domain *domain, struct ht__buf *out,
                                           struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__default_held_out(struct ht__buf *out, struct ht_diag *diag);

/* Generated from the files: compressed by zlib, how many bytes that is, and how many it was. */
#define HT__DEFAULT_TEXT(name)                                                                                         \
    extern const unsigned char ht__text_##name[];                                                                      \
    extern const unsigned long ht__text_##name##_len, ht__text_##name##_size;
HT__DEFAULT_TEXT(prose)
HT__DEFAULT_TEXT(code)
HT__DEFAULT_TEXT(mathematics)
HT__DEFAULT_TEXT(chat)
HT__DEFAULT_TEXT(languages)
HT__DEFAULT_TEXT(held_out)
#undef HT__DEFAULT_TEXT

#endif
