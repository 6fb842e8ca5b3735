/*
 * A text of the project's own, for those who bring none: narrative, dialogue, exposition, lists, code, mathematics,
 * eighteen languages, written for it (src/calibrate/text). Its held-out part is of the same kinds and is
 * never collected on, so that a model may be measured on it.
 */
#ifndef HT_CALIBRATE_DEFAULT_TEXT_H
#define HT_CALIBRATE_DEFAULT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ht__text_part { HT__TEXT_CALIBRATE, HT__TEXT_HELD_OUT };

/* UTF-8, not NUL-terminated. */
const char *ht__calibration_text(enum ht__text_part part, size_t *len);

/* Ids below n_vocab as good as random, the same for the same seed: `usable` says which may be taken (NULL: all).
 * False when there is none. */
typedef bool ht__usable_fn(const void *ctx, int32_t id);
bool ht__random_tokens(uint64_t seed, int32_t n_vocab, ht__usable_fn *usable, const void *ctx, int32_t *ids, size_t n);

/* Generated from the files. */
extern const unsigned char ht__text_calibrate[], ht__text_held_out[];
extern const unsigned long ht__text_calibrate_len, ht__text_held_out_len;

#endif
