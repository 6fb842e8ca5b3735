/* Which of several names was meant by a mistyped one. */
#ifndef HT_BASE_NEAREST_H
#define HT_BASE_NEAREST_H

#include <stddef.h>

/* The name at an index; NULL past the end. */
typedef const char *ht__name_fn(void *ctx, size_t index);

/*
 * The name nearest to the word by edit distance (a letter inserted, left out, replaced, or two swapped), at most one
 * edit for each three letters; NULL where none is that near, or the word is too long or too short to tell. Case,
 * blanks, hyphens and underscores do not count.
 */
const char *ht__nearest(const char *word, ht__name_fn *name, void *ctx);

#endif
