#include "api/sized.h"

#include <string.h>

bool ht__sized_give(void *out, const void *full, size_t full_size)
{
    size_t size = out ? *(size_t *)out : 0;
    if (size <= sizeof size) return false;
    size_t n = size < full_size ? size : full_size;
    memcpy((char *)out + sizeof size, (const char *)full + sizeof size, n - sizeof size);
    return true;
}

bool ht__sized_take(void *full, const void *in, size_t full_size)
{
    if (!in || *(const size_t *)in <= sizeof(size_t)) return false;
    size_t size = *(const size_t *)in;
    memset(full, 0, full_size);
    memcpy(full, in, size < full_size ? size : full_size);
    return true;
}

void *ht__sized_at(const void *array, size_t i)
{
    return (void *)((uintptr_t)array + i * *(const size_t *)array);
}

enum ht_err ht__allocator_take(const struct ht_allocator *given, struct ht__alloc *room, const struct ht__alloc **out,
                               struct ht_diag *diag)
{
    struct ht_allocator a;
    *out = NULL;
    if (!given) return HT_OK;
    if (!ht__sized_take(&a, given, sizeof a) || !a.resize)
        return ht__fail(diag, HT_ERR_USAGE, "allocator", -1, "the allocator's size or resize is not set");
    *room = (struct ht__alloc){.resize = a.resize, .ctx = a.ctx};
    *out = room;
    return HT_OK;
}
