/*
 * JSON. A pull parser that allocates nothing but the text of escaped strings, for headers and
 * tokenizers of a hundred megabytes; and a tree built on it, for configuration files.
 * Strict RFC 8259, except where Python's NaN and Infinity are allowed: UTF-8 is checked, nesting is limited to 64, duplicate keys are refused by the tree
 * (and by the pull parser's users, who know which objects may be large).
 */
#ifndef HT_BASE_JSON_H
#define HT_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <locale.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ht__json_type {
    HT__JSON_END, /* of an object or array, or of the text */
    HT__JSON_NULL,
    HT__JSON_BOOL,
    HT__JSON_NUMBER,
    HT__JSON_STRING,
    HT__JSON_ARRAY,
    HT__JSON_OBJECT,
    HT__JSON_ERROR,
};

enum { HT__JSON_MAX_DEPTH = 64 };

struct ht__json_value {
    enum ht__json_type type;
    bool boolean;
    bool is_int; /* a number without fraction or exponent that fits int64_t */
    int64_t integer;
    double number;
    const char *text; /* string, decoded; borrowed from the input, or from the parser until the next call. A number's as
                       * it stands in the input */
    size_t len;
};

struct ht__json {
    const char *text;
    size_t size, pos;
    int depth;
    char stack[HT__JSON_MAX_DEPTH]; /* '{' or '[' */
    bool first;                     /* no element of the innermost container has been read */
    bool python;                    /* NaN, Infinity and -Infinity are numbers, as Python writes and reads them */
    struct ht__buf scratch[2];      /* decoded escapes: of a value, and of a key */
    const char *where;              /* file name for the diagnosis */
    struct ht_diag *diag;
    enum ht_err err;
    size_t held;     /* a tree is built: bytes of its arena before that */
    locale_t locale; /* "C": the decimal separator is a point whatever the host program's locale */
};

void ht__json_init(struct ht__json *json, const char *text, size_t size, const char *where,
                   const struct ht__alloc *alloc, struct ht_diag *diag);
void ht__json_close(struct ht__json *json);

/* The next value: the document itself at first, then elements of the array that was entered last.
 * HT__JSON_ARRAY and HT__JSON_OBJECT enter the container. At the container's end (or the text's)
 * the type is HT__JSON_END and the container is left; HT__JSON_ERROR when malformed (err is set). */
struct ht__json_value ht__json_next(struct ht__json *json);
/* The next member of the object that was entered last: its key and its value. false at the end or on
 * error (see json->err). The key lives until the next call of ht__json_member. */
bool ht__json_member(struct ht__json *json, const char **key, size_t *key_len, struct ht__json_value *value);
/* Skips the rest of a container that was just entered; nothing for other values. */
void ht__json_skip(struct ht__json *json, const struct ht__json_value *value);
/* Reports a fault of meaning at the current position. */
enum ht_err ht__json_fail(struct ht__json *json, const char *fmt, ...) HT_PRINTF(2, 3);

/* A tree in an arena. */
struct ht__jnode {
    enum ht__json_type type;
    bool boolean, is_int;
    int64_t integer;
    double number;
    /* NUL-terminated. A number's as it stood in the document; NULL for an integer in its usual form */
    const char *text;
    size_t len;
    size_t n;                   /* children */
    const char **keys;          /* of an object, NUL-terminated */
    struct ht__jnode *children; /* of an array or object */
};

/*
 * A tree takes at most 16 MiB and 16 bytes for each byte of its text. Configuration takes 2 to 10; "[0,0,0" would take
 * 72. True while `more` bytes fit, beyond what the arena `held` at first. ht__tree_too_large says that they do not.
 */
bool ht__tree_has_room(const struct ht__arena *arena, size_t held, size_t text_size, uint64_t more);
enum ht_err ht__tree_too_large(const char *where, size_t text_size, struct ht_diag *diag);

/* Parses a whole text. Its keys are unique and without NUL. */
enum ht_err ht__json_parse(struct ht__arena *arena, const char *text, size_t size, const char *where,
                           struct ht__jnode **root, struct ht_diag *diag);
/* Reads and parses a file of at most `limit` bytes. Python programs write such files, so NaN and Infinity are allowed;
 * ht__jnum treats them as absent. */
enum ht_err ht__json_load(struct ht__arena *arena, const char *path, uint64_t limit, struct ht__jnode **root,
                          struct ht_diag *diag);
/* Member of an object, or NULL (also when node is NULL or no object, or the member is null). */
const struct ht__jnode *ht__jget(const struct ht__jnode *node, const char *key);
/* Member as a value of the type, or the default. */
int64_t ht__jint(const struct ht__jnode *node, const char *key, int64_t otherwise);
double ht__jnum(const struct ht__jnode *node, const char *key, double otherwise);
bool ht__jbool(const struct ht__jnode *node, const char *key, bool otherwise);
const char *ht__jstr(const struct ht__jnode *node, const char *key, const char *otherwise);

/* Appends a string with its quotes and escapes; what base/escape.h calls unprintable is always escaped. */
void ht__json_quote(struct ht__buf *buf, const char *text, size_t len);

#endif
