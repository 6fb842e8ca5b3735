/* A map from strings to 32-bit values: open addressing, keys borrowed, allocated as it grows. */
#ifndef HT_BASE_MAP_H
#define HT_BASE_MAP_H

#include "base/alloc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__map_slot {
    const char *key; /* NULL: empty */
    uint32_t len, hash, value;
};

struct ht__map {
    const struct ht__alloc *alloc;
    struct ht__map_slot *slots;
    size_t n, cap;
};

enum ht__map_put { HT__MAP_NEW, HT__MAP_PRESENT, HT__MAP_NO_MEMORY };

/* For tables of other kinds too. */
uint32_t ht__hash(const char *key, size_t len);

void ht__map_init(struct ht__map *map, const struct ht__alloc *alloc);
void ht__map_close(struct ht__map *map);
/* Adds key -> value; a key that is present keeps its value. The key's bytes must outlive the map. */
enum ht__map_put ht__map_put(struct ht__map *map, const char *key, size_t len, uint32_t value);
/* Fetches the key's place into the cache: for maps larger than it, some time before the key is put. */
void ht__map_expect(const struct ht__map *map, const char *key, size_t len);
/* Every value v becomes values[v]. */
void ht__map_renumber(struct ht__map *map, const uint32_t *values);
/* The place of a key's value, or NULL. */
uint32_t *ht__map_get(const struct ht__map *map, const char *key, size_t len);

#endif
