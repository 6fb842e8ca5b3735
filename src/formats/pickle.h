/* Pickles as data: a stack machine that builds values and calls nothing. */
#ifndef HT_FORMATS_PICKLE_H
#define HT_FORMATS_PICKLE_H

#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>

enum ht__pickle_type {
    HT__PICKLE_NONE, /* also what nobody asks for: floats, sets, devices */
    HT__PICKLE_INT,
    HT__PICKLE_STRING,
    HT__PICKLE_GLOBAL, /* text: "module name" */
    HT__PICKLE_TUPLE,  /* also lists */
    HT__PICKLE_DICT,   /* items: key, value, key, value… */
    HT__PICKLE_PERSID, /* items[0]: the id */
    HT__PICKLE_CALL,   /* text: the global; items[0]: its arguments */
    HT__PICKLE_MARK,
};

struct ht__pickle {
    enum ht__pickle_type type;
    int64_t integer;
    const char *text;
    size_t len;
    struct ht__pickle **items;
    size_t n, cap;
};

/* Everything lives in the arena. Values may be shared, and may hold themselves. */
HT_MUST_CHECK enum ht_err ht__pickle_read(struct ht__arena *arena, const void *data, size_t size,
                                          const char *where, struct ht__pickle **root,
                                          struct ht_diag *diag);

#endif
