/* Structs of the caller that begin with their size, and the caller's allocator. */
#ifndef HT_API_SIZED_H
#define HT_API_SIZED_H

#include "halftone/halftone.h"

#include "base/alloc.h"
#include "base/err.h"

/* Fills what the caller's struct has room for, and leaves its size. false: its size is not set. */
bool ht__sized_give(void *out, const void *full, size_t full_size);
/* The caller's struct as this version knows it: members that the caller does not know are zero. false: there is none, or
 * its size is not set. */
bool ht__sized_take(void *full, const void *in, size_t full_size);
/* Element i of an array whose elements are as large as its first one says. */
void *ht__sized_at(const void *array, size_t i);

/* The caller's allocator in the library's terms; given NULL, *out is NULL. `room` outlives *out. */
HT_MUST_CHECK enum ht_err ht__allocator_take(const struct ht_allocator *given, struct ht__alloc *room,
                                             const struct ht__alloc **out, struct ht_diag *diag);

#endif
