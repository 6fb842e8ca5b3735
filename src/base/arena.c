#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct ht__arena_chunk {
    _Alignas(16) struct ht__arena_chunk *next; /* what follows is aligned to 16, also where pointers have 4 bytes */
};
_Static_assert(sizeof(struct ht__arena_chunk) == 16, "the payload of a chunk is aligned");

enum { FIRST_CHUNK = 16 << 10, LARGEST_CHUNK = 1 << 20 };

void ht__arena_init(struct ht__arena *arena, const struct ht__alloc *alloc)
{
    memset(arena, 0, sizeof *arena);
    arena->alloc = alloc;
}

void ht__arena_close(struct ht__arena *arena)
{
    for (struct ht__arena_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        ht__free(arena->alloc, chunk);
    }
    ht__arena_init(arena, arena->alloc);
}

static bool piecewise(const struct ht__arena *arena)
{
    return arena->alloc && arena->alloc->piecewise;
}

/* Chunks double up to a megabyte; a larger request gets a chunk of its own size. */
static bool grow(struct ht__arena *arena, size_t size)
{
    size_t want = arena->size ? arena->size * 2 : FIRST_CHUNK;
    if (want > LARGEST_CHUNK) want = LARGEST_CHUNK;
    if (want < size || piecewise(arena)) want = size;
    struct ht__arena_chunk *chunk = ht__resize(arena->alloc, NULL, sizeof *chunk + want);
    if (!chunk) return false;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->used = 0;
    arena->size = want;
    arena->total += sizeof *chunk + want;
    return true;
}

static void *take(struct ht__arena *arena, size_t size, size_t alignment)
{
    if (size > SIZE_MAX / 2) return NULL;
    size = (size + 15) & ~(size_t)15;
    size_t slack = alignment - 16; /* a chunk's payload is aligned to 16 */
    bool fits = arena->chunks && !piecewise(arena) && size + slack <= arena->size - arena->used;
    if (!fits && !grow(arena, size + slack)) return NULL;
    uintptr_t base = (uintptr_t)(arena->chunks + 1);
    uintptr_t p = (base + arena->used + alignment - 1) & ~(uintptr_t)(alignment - 1);
    arena->used = (size_t)(p - base) + size;
    return (void *)p;
}

void *ht__arena_new(struct ht__arena *arena, size_t size)
{
    void *p = take(arena, size, 16);
    return p ? memset(p, 0, size) : NULL;
}

void *ht__arena_raw(struct ht__arena *arena, size_t size)
{
    return take(arena, size, 64);
}

void ht__arena_reset(struct ht__arena *arena)
{
    size_t total = arena->total;
    if (!arena->chunks) return;
    arena->used = 0;
    if (!arena->chunks->next && !piecewise(arena)) return;
    ht__arena_close(arena);
    if (piecewise(arena)) return;
    grow(arena, total); /* when this fails the next request reports it */
}

void *ht__arena_array(struct ht__arena *arena, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) return NULL;
    return ht__arena_new(arena, bytes);
}

char *ht__arena_copy(struct ht__arena *arena, const char *text, size_t len)
{
    char *copy = len < SIZE_MAX ? ht__arena_new(arena, len + 1) : NULL;
    if (copy && len) memcpy(copy, text, len);
    return copy;
}

char *ht__arena_str(struct ht__arena *arena, const char *text)
{
    return ht__arena_copy(arena, text, strlen(text));
}

char *ht__arena_printf(struct ht__arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = len >= 0 ? ht__arena_new(arena, (size_t)len + 1) : NULL;
    if (!text) return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    va_end(args);
    return text;
}
