/*
 * A bounded reader of little-endian bytes with a sticky error: past the end it gives zeros and sets
 * `bad`, so that a parser reads like the format's description and checks once a record.
 */
#ifndef HT_BASE_CURSOR_H
#define HT_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ht__cursor {
    const uint8_t *data;
    size_t size, pos;
    bool bad;
};

static inline struct ht__cursor ht__cursor_of(const void *data, size_t size)
{
    return (struct ht__cursor){.data = data, .size = size};
}

static inline size_t ht__cursor_left(const struct ht__cursor *c)
{
    return c->bad ? 0 : c->size - c->pos;
}

/* The next n bytes, borrowed, or NULL (and `bad`). */
static inline const uint8_t *ht__cursor_take(struct ht__cursor *c, uint64_t n)
{
    if (c->bad || n > c->size - c->pos) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *p = c->data + c->pos;
    c->pos += (size_t)n;
    return p;
}

#define HT__CURSOR_GET(name, type)                                                                                     \
    static inline type ht__cursor_##name(struct ht__cursor *c)                                                         \
    {                                                                                                                  \
        type v = 0;                                                                                                    \
        const uint8_t *p = ht__cursor_take(c, sizeof v);                                                               \
        if (p) memcpy(&v, p, sizeof v);                                                                                \
        return v;                                                                                                      \
    }
HT__CURSOR_GET(u8, uint8_t)
HT__CURSOR_GET(u16, uint16_t)
HT__CURSOR_GET(u32, uint32_t)
HT__CURSOR_GET(u64, uint64_t)
HT__CURSOR_GET(i32, int32_t)
HT__CURSOR_GET(i64, int64_t)
HT__CURSOR_GET(f32, float)
HT__CURSOR_GET(f64, double)
#undef HT__CURSOR_GET

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in host order");

#endif
