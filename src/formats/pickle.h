/*
 * A data-only reader of pickles. Nothing is ever called: classes and functions are names, and only those of
 * a short list are accepted; what they would build is kept as a tree for the caller to read.
 */
#ifndef HT_FORMATS_PICKLE_H
#define HT_FORMATS_PICKLE_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ht__pickle_type {
    HT__PICKLE_NONE,
    HT__PICKLE_BOOL,
    HT__PICKLE_INT,
    HT__PICKLE_FLOAT,
    HT__PICKLE_STR,    /* text or bytes */
    HT__PICKLE_LIST,   /* list, tuple or set: items */
    HT__PICKLE_DICT,   /* items are key, value, key, value … */
    HT__PICKLE_GLOBAL, /* text is "module name" */
    HT__PICKLE_CALL,   /* items[0] the global, items[1] its arguments */
    HT__PICKLE_PERSID, /* items[0] what identifies it */
};

/* Small, for there is one for each byte or two of a file. */
struct ht__pickle_value {
    enum ht__pickle_type type;
    uint32_t n; /* bytes of a text, items of the rest */
    union {
        int64_t integer; /* also of a bool */
        double number;
        const char *text; /* NUL-terminated */
        struct ht__pickle_value **items;
    };
};

/* Of a list or tuple only its first items are kept: what describes a tensor has no more. n counts all of them. */
enum { HT__PICKLE_LIST_KEPT = 16 };

/*
 * Reads one pickle of less than 4 GiB; the tree lives in the arena, which is for it alone. It takes at most 16 MiB and
 * eight bytes for each byte of the file, or is refused: a checkpoint's tree takes about twice its bytes.
 */
HT_MUST_CHECK enum ht_err ht__pickle_read(const void *data, size_t size, const char *where, struct ht__arena *arena,
                                          struct ht__pickle_value **root, struct ht_diag *diag);

#endif
