/*
 * Writing JSON. The writer puts commas, quotes and brackets, so its text is always well-formed: what would not be
 * (a member without a name, two values at the top, more than HT__JSON_MAX_DEPTH levels) fails its buffer instead.
 * So does lack of memory: check ht__jw_done once, at the end.
 *
 *     struct ht__jw w = ht__jw_line(&buf);
 *     ht__jw_object(&w, NULL);
 *     ht__jw_str(&w, "path", path);
 *     ht__jw_array(&w, "shape");
 *     for (int i = 0; i < n; i++)
 *         ht__jw_int(&w, NULL, shape[i]);
 *     ht__jw_end(&w);
 *     ht__jw_end(&w);
 *     if (!ht__jw_done(&w)) return ht__fail_memory(diag, path);
 *
 * gives {"path": "a", "shape": [2, 3]}.
 */
#ifndef HT_BASE_JSON_WRITE_H
#define HT_BASE_JSON_WRITE_H

#include "base/buf.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__jw {
    struct ht__buf *out; /* what it holds already stays in front */
    bool indented;
    bool begun; /* the value at the top */
    bool wrong; /* calls that make no JSON; the buffer has failed */
    int depth;
    struct {
        bool object, empty;
    } level[HT__JSON_MAX_DEPTH];
};

/* All on one line, with a space after commas and colons; or a line for each value, indented by two spaces as Python's
 * json.dumps(indent=2) does. Neither ends with a newline. */
struct ht__jw ht__jw_line(struct ht__buf *out);
struct ht__jw ht__jw_indented(struct ht__buf *out);
/* One whole value has been written, and nothing failed. */
bool ht__jw_done(const struct ht__jw *w);

/* Each call writes one value. `key` is its name in an object; NULL in an array and at the top. */
void ht__jw_object(struct ht__jw *w, const char *key);
void ht__jw_array(struct ht__jw *w, const char *key);
/* Closes the object or array that was opened last. */
void ht__jw_end(struct ht__jw *w);
/* Opens a report: an object that begins with the version and the verb. */
void ht__jw_report(struct ht__jw *w, const char *verb);

/* Escaped as ht__json_quote does; null for NULL. */
void ht__jw_str(struct ht__jw *w, const char *key, const char *text);
void ht__jw_text(struct ht__jw *w, const char *key, const char *text, size_t len);
void ht__jw_int(struct ht__jw *w, const char *key, int64_t value);
void ht__jw_uint(struct ht__jw *w, const char *key, uint64_t value);
void ht__jw_bool(struct ht__jw *w, const char *key, bool value);
void ht__jw_null(struct ht__jw *w, const char *key);

/* Numbers that are not finite become null. The decimal separator is a point in every locale. */
/* The fewest digits that read back as the same double, laid out as Python's repr: 1e-05, 10000.0. */
void ht__jw_double(struct ht__jw *w, const char *key, double value);
void ht__jw_fixed(struct ht__jw *w, const char *key, double value, int decimals); /* as %.*f */
void ht__jw_digits(struct ht__jw *w, const char *key, double value, int digits);  /* as %.*g */
/* A number that is text already. */
void ht__jw_number(struct ht__jw *w, const char *key, const char *text);
/* A value that another writer wrote. It is taken as it is, also by the indented style. */
void ht__jw_raw(struct ht__jw *w, const char *key, const char *json, size_t len);

/* A parsed tree: its members in their order, its numbers as they stood in the text. */
void ht__jw_node(struct ht__jw *w, const char *key, const struct ht__jnode *node);
/* The members of an object into the object that is open, but for those named. */
void ht__jw_members(struct ht__jw *w, const struct ht__jnode *object, const char *const *without, size_t n_without);

#endif
