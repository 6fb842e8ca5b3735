/*
 * The allocator of a job. It is a parameter everywhere, so that tests can fail the n-th request.
 * NULL means malloc.
 */
#ifndef HT_BASE_ALLOC_H
#define HT_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

struct ht__alloc {
    /* As realloc: ptr NULL allocates, size 0 frees and returns NULL. */
    void *(*resize)(void *ctx, void *ptr, size_t size);
    void *ctx;
    /* Arenas ask for each piece by itself instead of in chunks: tests then fail, fill and watch them all. */
    bool piecewise;
};

/* Zeroed memory, or NULL. */
void *ht__new(const struct ht__alloc *alloc, size_t size);
/* n x size zeroed bytes; NULL when the product overflows. */
void *ht__new_array(const struct ht__alloc *alloc, size_t n, size_t size);
/* As realloc; what is new is not zeroed. */
void *ht__resize(const struct ht__alloc *alloc, void *ptr, size_t size);
void ht__free(const struct ht__alloc *alloc, void *ptr);

/* Aligned to 64 bytes, not zeroed: buffers for rows. Free with ht__free_aligned. */
void *ht__new_aligned(const struct ht__alloc *alloc, size_t size);
/* The same, of memory that is used from its beginning on and walked in long steps: in huge pages where it is large. */
void *ht__new_walked(const struct ht__alloc *alloc, size_t size);
void ht__free_aligned(const struct ht__alloc *alloc, void *ptr);

#endif
