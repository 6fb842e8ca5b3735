#include "base/map.h"

#include <string.h>

void ht__map_init(struct ht__map *map, const struct ht__alloc *alloc)
{
    memset(map, 0, sizeof *map);
    map->alloc = alloc;
}

void ht__map_close(struct ht__map *map)
{
    ht__free(map->alloc, map->slots);
    ht__map_init(map, map->alloc);
}

/* Eight bytes at a time: names are long and alike. The table's index takes the low bits of what is returned. */
uint32_t ht__hash(const char *key, size_t len)
{
    const uint64_t factor = 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio, odd */
    uint64_t h = len * factor, word;
    for (; len >= sizeof word; key += sizeof word, len -= sizeof word) {
        memcpy(&word, key, sizeof word);
        h = (h ^ word) * factor;
        h ^= h >> 32;
    }
    word = 0;
    if (len) memcpy(&word, key, len);
    h = (h ^ word) * factor;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    return (uint32_t)(h >> 32);
}

static struct ht__map_slot *find(const struct ht__map *map, const char *key, size_t len, uint32_t hash)
{
    size_t mask = map->cap - 1, i = hash & mask;
    for (;; i = (i + 1) & mask) {
        struct ht__map_slot *slot = &map->slots[i];
        if (!slot->key) return slot;
        if (slot->hash == hash && slot->len == len && memcmp(slot->key, key, len) == 0) return slot;
    }
}

static bool grow(struct ht__map *map)
{
    struct ht__map wider = {.alloc = map->alloc, .n = map->n, .cap = map->cap ? map->cap * 2 : 64};
    wider.slots = ht__new_array(map->alloc, wider.cap, sizeof *wider.slots);
    if (!wider.slots) return false;
    for (size_t i = 0; i < map->cap; i++) {
        struct ht__map_slot *slot = &map->slots[i];
        if (slot->key) *find(&wider, slot->key, slot->len, slot->hash) = *slot;
    }
    ht__free(map->alloc, map->slots);
    *map = wider;
    return true;
}

enum ht__map_put ht__map_put(struct ht__map *map, const char *key, size_t len, uint32_t value)
{
    if (len > UINT32_MAX || (map->n * 4 >= map->cap * 3 && !grow(map))) return HT__MAP_NO_MEMORY;
    uint32_t hash = ht__hash(key, len);
    struct ht__map_slot *slot = find(map, key, len, hash);
    if (slot->key) return HT__MAP_PRESENT;
    *slot = (struct ht__map_slot){.key = key, .len = (uint32_t)len, .hash = hash, .value = value};
    map->n++;
    return HT__MAP_NEW;
}

uint32_t *ht__map_get(const struct ht__map *map, const char *key, size_t len)
{
    if (map->cap == 0 || len > UINT32_MAX) return NULL;
    struct ht__map_slot *slot = find(map, key, len, ht__hash(key, len));
    return slot->key ? &slot->value : NULL;
}

void ht__map_renumber(struct ht__map *map, const uint32_t *values)
{
    for (size_t i = 0; i < map->cap; i++)
        if (map->slots[i].key) map->slots[i].value = values[map->slots[i].value];
}

void ht__map_expect(const struct ht__map *map, const char *key, size_t len)
{
    if (map->cap) __builtin_prefetch(&map->slots[ht__hash(key, len) & (map->cap - 1)], 1);
}
