/* UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef HT_BASE_UTF8_H
#define HT_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Decodes one code point; returns its length, or 0 when the bytes are not well formed. */
int ht__utf8_get(const char *text, size_t len, uint32_t *code);
/* Encodes; returns the length (1 to 4), or 0 for a surrogate or a value out of range. */
int ht__utf8_put(uint32_t code, char out[4]);
/* Length of the well-formed prefix. */
size_t ht__utf8_valid(const char *text, size_t len);

#endif
