/* Memory that lives as long as a job and is freed whole. Not for use by several threads at once. */
#ifndef HT_BASE_ARENA_H
#define HT_BASE_ARENA_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct ht__arena_chunk;

struct ht__arena {
    const struct ht__alloc *alloc;
    struct ht__arena_chunk *chunks;
    size_t used, size; /* of the newest chunk */
    size_t total;      /* bytes held from the allocator */
};

/* An arena needs no opening beyond this; closing frees all it gave out. */
void ht__arena_init(struct ht__arena *arena, const struct ht__alloc *alloc);
void ht__arena_close(struct ht__arena *arena);

/* Zeroed, aligned to 16 bytes; NULL when memory is out. */
void *ht__arena_new(struct ht__arena *arena, size_t size);
void *ht__arena_array(struct ht__arena *arena, size_t n, size_t size);
/* Not zeroed, aligned to 64 bytes: scratch for rows. */
void *ht__arena_raw(struct ht__arena *arena, size_t size);
/* Takes everything back, and keeps one chunk as large as all were, so that a loop settles. */
void ht__arena_reset(struct ht__arena *arena);
/* Copies with a terminating NUL. */
char *ht__arena_copy(struct ht__arena *arena, const char *text, size_t len);
char *ht__arena_str(struct ht__arena *arena, const char *text);
char *ht__arena_printf(struct ht__arena *arena, const char *fmt, ...) HT_PRINTF(2, 3);

#endif
