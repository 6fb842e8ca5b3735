/* The pure parts of the HTTP adapter: what a request's text means, and what of it is refused. */
#ifndef HT_NET_HTTP_PARTS_H
#define HT_NET_HTTP_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__http_pair {
    const char *name, *value; /* NUL-terminated */
};

/* -- Targets. -- */

/*
 * Percent escapes decoded once into `out` (room for len + 1), NUL-terminated. False for an escape
 * that is none, for one that gives NUL or another control byte, and for what is no UTF-8
 * afterwards. plus: '+' is a space, as forms send it.
 */
bool ht__http_decode(const char *text, size_t len, bool plus, char *out);
/* As ht__http_decode, and false for a path that does not begin with '/' or has an empty, "." or
   ".." segment (the last segment may be empty: a folder's name). */
bool ht__http_path_decode(const char *text, size_t len, char *out);
/*
 * "a=1&b" into pairs; `out` has room for len + 1 bytes and holds the texts. Returns the number of
 * pairs, or -1 for a bad escape or more than `max`.
 */
int ht__http_query_split(const char *text, size_t len, char *out, struct ht__http_pair *pairs,
                         int max);

/* -- Headers. -- */

/* "a=1; b=2" in place into pairs; what is no pair is left out, and what comes past `max`. Returns
 * their number. */
int ht__http_cookie_split(char *text, struct ht__http_pair *pairs, int max);

/* A name or method as RFC 9110 has it: a token. */
bool ht__http_is_token(const char *text);
/* A header's value: no control bytes but the tab. */
bool ht__http_is_value(const char *text);
/* ASCII, either case. */
bool ht__http_same_name(const char *a, const char *b);

/* A request's head as text. Header values are without the white space around them. */
struct ht__http_head {
    const char *method, *target;
    int minor; /* HTTP/1.minor */
    const struct ht__http_pair *headers;
    int n_headers;
};

enum { HT__HTTP_MAX_HEADERS = 100, HT__HTTP_MAX_PAIRS = 128 };

/*
 * What a head asks for, or why it is refused: `status` 0 or a status with its `reason`.
 * The body's size comes from Content-Length; UINT64_MAX when it is chunked.
 */
struct ht__http_verdict {
    int status;
    const char *reason;
    uint64_t body_size;
    bool expects_continue;
    const char *path, *query; /* within target; query NULL when there is none */
    size_t path_len;
};
struct ht__http_verdict ht__http_guard(const struct ht__http_head *head);

#endif
