/*
 * Holds a text against a schema, byte by byte. Where alternatives begin alike there are several ways to go on: each is a
 * stack of frames, from the whole text to the value that is being made.
 */
#ifndef HT_ENGINE_JSON_MACHINE_H
#define HT_ENGINE_JSON_MACHINE_H

#include "engine/json_schema.h"

enum { HT__JSON_FRAMES = 48, HT__JSON_WAYS = 24 };

struct ht__json_frame {
    int16_t node;
    uint8_t state;
    uint8_t low, high; /* within a character: bounds of its next byte */
    uint8_t left;      /* bytes of a character or an escape that are to come */
    int32_t a, b;      /* which property, text or element; how far */
};
struct ht__json_way {
    int depth; /* 0: the value is whole */
    int spaces;
    struct ht__json_frame frames[HT__JSON_FRAMES];
};
struct ht__json_ways {
    int n;
    struct ht__json_way ways[HT__JSON_WAYS];
};

void ht__json_begin(struct ht__json_ways *ways);
/* Goes on by a byte. false: no way takes it, and none is left. */
bool ht__json_step(const struct ht__schema *schema, const struct ht__json_ways *from, unsigned char byte,
                   struct ht__json_ways *to);
/* May the text end here? Must it? */
bool ht__json_may_end(const struct ht__json_ways *ways);
bool ht__json_must_end(const struct ht__json_ways *ways);
/* Do all bytes of a string's inside, but quotes and backslashes, go on on the spot? */
bool ht__json_in_string(const struct ht__schema *schema, const struct ht__json_ways *ways);

#endif
