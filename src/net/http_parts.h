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
 * pairs, -1 for a bad escape, -2 for more than `max` pairs.
 */
int ht__http_query_split(const char *text, size_t len, char *out, struct ht__http_pair *pairs, int max);

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

/* -- Heads. -- */

/* HEAD: of a whole head, its last line's end included; LINE: of the request line. */
enum { HT__HTTP_MAX_HEADERS = 100, HT__HTTP_MAX_PAIRS = 128, HT__HTTP_MAX_HEAD = 16384, HT__HTTP_MAX_LINE = 8192 };

/* Bytes of the blank lines (CR LF) at the start of the text: allowed before a request line. */
size_t ht__http_blank_lines(const char *data, size_t len);

/* How far a head was looked through: zeros at its start. It may come in any pieces. */
struct ht__http_scan {
    size_t at, line; /* bytes that were seen; where the present line begins */
    int status;      /* of a refusal, with its reason */
    const char *reason;
};
enum ht__http_step { HT__HTTP_MORE, HT__HTTP_DATA, HT__HTTP_END, HT__HTTP_BAD };
/*
 * Looks for the head's end in all that came of it so far. END: it is scan->at bytes long, and nothing in it is a control
 * byte but tabs and the CR LF at the ends of lines.
 */
enum ht__http_step ht__http_scan(struct ht__http_scan *scan, const char *data, size_t len);

/* A request's head as text. Header values are without the white space around them. */
struct ht__http_head {
    const char *method, *target;
    int minor; /* HTTP/1.minor */
    const struct ht__http_pair *headers;
    int n_headers;
};

/*
 * Cuts a scanned head into strings in place (`text` is writable). `headers` has room for HT__HTTP_MAX_HEADERS + 1; more
 * are not cut. Returns 0, or a status with the reason; what was cut until then is in `head`.
 */
int ht__http_cut(char *text, size_t len, struct ht__http_pair *headers, struct ht__http_head *head,
                 const char **reason);

/*
 * What a head asks for, or why it is refused: `status` 0 or a status with its `reason`.
 * The body's size comes from Content-Length; UINT64_MAX when it is chunked.
 */
struct ht__http_verdict {
    int status;
    const char *reason;
    uint64_t body_size;
    bool expects_continue;
    bool closes;              /* the client wants the connection to end with the answer */
    const char *path, *query; /* within target; query NULL when there is none */
    size_t path_len;
};
struct ht__http_verdict ht__http_guard(const struct ht__http_head *head);

/* -- Chunked bodies. -- */

/* Zeros and `max` at a body's start. */
struct ht__http_chunks {
    uint64_t max, total; /* most bytes of the body; bytes announced so far */
    uint64_t left;       /* of the present chunk */
    int state, n_digits;
    size_t n_beside; /* bytes of extensions and trailers */
    int status;      /* of a refusal, with its reason */
    const char *reason;
};
/*
 * Takes the next step through `data`; *used: bytes of it that were taken. DATA: *piece and *n are body bytes within it.
 * END: the body is whole. MORE: all was taken.
 */
enum ht__http_step ht__http_chunks(struct ht__http_chunks *c, const char *data, size_t len, size_t *used,
                                   const char **piece, size_t *n);

#endif
