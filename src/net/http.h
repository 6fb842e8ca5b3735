/*
 * HTTP/1.1 server behind a dozen functions: a few event loops (epoll), each with connections of its own.
 *
 * A request's life:   headers -> guards -> on_begin -> body -> on_request -> answer -> on_done
 *
 *   - The parser takes HTTP/1.1 to the letter, and the guards refuse (400, problem+json) what two HTTP programs could
 *     read differently: bare line feeds, folded lines, no or two Hosts, two Content-Lengths, Content-Length with
 *     Transfer-Encoding, a coding other than `chunked`, control bytes, bad escapes and `..` in the path. Refused
 *     requests reach on_done alone. Where not even the request line could be read, method and target are "".
 *   - on_begin may answer at once (refuse before the body comes); the connection closes if a body was to come.
 *   - on_request answers once: there and then, or from any thread after ht__http_defer. It runs in a server thread that
 *     other clients wait for: work longer than a millisecond or two belongs in another thread.
 *   - All that is read from a request (strings, body, user) lives until it is answered and, within on_begin and
 *     on_request, until they return. That the client has left meanwhile changes nothing: the answer then goes nowhere.
 *   - on_done comes once for each request whose head was whole or refused, after the last byte or the break. The user
 *     data is freed after it.
 *
 * Every callback may run in several threads at a time.
 */
#ifndef HT_NET_HTTP_H
#define HT_NET_HTTP_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__http;
struct ht__http_request;
struct ht__http_stream;

/* Zeros stand for the defaults in brackets. */
struct ht__http_settings {
    const char *address; /* numeric IPv4 or IPv6 [127.0.0.1] */
    uint16_t port;       /* 0: any that is free, see ht__http_port */
    int threads;         /* [2] */
    /* [4096] at most 64 fewer than descriptors. More end one that is idle, or wait in the reserve: 503 */
    int max_connections;
    int max_connections_per_peer; /* [no limit] for each address (IPv6: each /64); more go into the reserve */
    /* NULL-terminated: GET and HEAD of these (probes) are served in the reserve too, over every limit; may be NULL */
    const char *const *reserved_paths;
    int header_seconds; /* [10] from accept, or from the next request's first line, to the headers' end */
    int body_seconds;   /* [20] each such span must move a body on by 4 KiB or to its end; answers too */
    int idle_seconds;   /* [60] keep-alive: from an answer's end to the next request's first line */
    int close_seconds;  /* [5] how long ht__http_close waits for answers in flight */
    size_t max_body;    /* [1 MiB] collected in memory; larger: 413 */
    void *ctx;
    void (*on_begin)(void *ctx, struct ht__http_request *r); /* may be NULL */
    void (*on_request)(void *ctx, struct ht__http_request *r);
    void (*on_done)(void *ctx, struct ht__http_request *r, int status, uint64_t bytes,
                    double seconds);             /* may be NULL */
    void (*on_log)(void *ctx, const char *line); /* complaints, at most a few a second; may be NULL */
};

enum ht_err ht__http_open(const struct ht__http_settings *settings, struct ht__http **server, struct ht_diag *diag);
uint16_t ht__http_port(const struct ht__http *server);
int ht__http_connections(const struct ht__http *server);
/* Refuses new connections; answers from now on say `Connection: close`. */
void ht__http_stop_accepting(struct ht__http *server);
/*
 * Stops accepting, ends every stream, waits for the answers in flight (deferred ones that are not given in time are
 * answered 503 for their owner, whose own answer then goes nowhere), closes. NULL-safe. Not from a callback.
 */
void ht__http_close(struct ht__http **server);

/* -- What was asked. -- */
const char *ht__http_method(const struct ht__http_request *r);
const char *ht__http_path(const struct ht__http_request *r);   /* decoded once, UTF-8, begins with '/' */
const char *ht__http_target(const struct ht__http_request *r); /* path and query as they came, for logs */
const char *ht__http_peer(const struct ht__http_request *r);   /* numeric address, no port */
const char *ht__http_header(const struct ht__http_request *r, const char *name); /* the first, or NULL */
/* The last: what the nearest proxy added where it adds a line of its own. NULL: none. */
const char *ht__http_last_header(const struct ht__http_request *r, const char *name);
const char *ht__http_cookie(const struct ht__http_request *r, const char *name); /* the first, or NULL */
/* Decoded once, '+' is a space; the first of the name, "" when it has no '=', NULL when it is not there. */
const char *ht__http_query(const struct ht__http_request *r, const char *name);
/* All of them, in order; false past the last. */
bool ht__http_query_at(const struct ht__http_request *r, size_t i, const char **name, const char **value);
/* What Content-Length says; UINT64_MAX for a chunked body, 0 for none. */
uint64_t ht__http_body_size(const struct ht__http_request *r);
/* The collected body, NUL-terminated past its length; "" when there is none or it went to a sink. */
const void *ht__http_body(const struct ht__http_request *r, size_t *len);
void *ht__http_user(const struct ht__http_request *r);
/* `free_user` may be NULL. */
void ht__http_set_user(struct ht__http_request *r, void *user, void (*free_user)(void *user));

/*
 * In on_begin only: the body goes piece by piece to `sink` instead of into memory; more than max_len: 413. When the
 * sink says false, on_request comes at once and ht__http_body_whole is false: the answer then ends the connection.
 * A client that leaves halfway gives no on_request, only on_done: clean up in the user's free function.
 */
void ht__http_take_body(struct ht__http_request *r, bool (*sink)(void *ctx, const void *data, size_t len), void *ctx,
                        uint64_t max_len);
bool ht__http_body_whole(const struct ht__http_request *r);

/* -- The answer: headers first, then exactly one of the rest. -- */
/*
 * False, and not added, when name or value could not stand in a header (a line break above all). Copies. Without memory
 * the answer will break the connection: rather none than one that lacks a header.
 */
bool ht__http_add_header(struct ht__http_request *r, const char *name, const char *value);
/* HEAD gets the same headers and no body: answer it as GET. content_type may be NULL. */
void ht__http_answer(struct ht__http_request *r, int status, const char *content_type, const void *body,
                     size_t len); /* copies */
void ht__http_answer_owned(struct ht__http_request *r, int status, const char *content_type, void *body,
                           size_t len); /* frees body with free() */
void ht__http_answer_static(struct ht__http_request *r, int status, const char *content_type, const void *body,
                            size_t len); /* body outlives the server */
/* Owns fd; sendfile. Status and Content-Range are the caller's. */
void ht__http_answer_file(struct ht__http_request *r, int status, const char *content_type, int fd, uint64_t offset,
                          uint64_t len);
/*
 * A body that is put together as it goes out: pieces of memory (`data`, borrowed until the next one is asked for) or of
 * files (`data` NULL; the server closes fd). next is called in the connection's loop, so it must not wait; false: there
 * is no more, and where that is less than `len` the connection breaks, so that the client notices. free is called once,
 * also when the answer goes nowhere. Status and Content-Range are the caller's.
 */
struct ht__http_piece {
    const void *data;
    int fd;
    uint64_t offset, len;
};
struct ht__http_pieces {
    bool (*next)(void *ctx, struct ht__http_piece *piece);
    void (*free)(void *ctx);
    void *ctx;
};
void ht__http_answer_pieces(struct ht__http_request *r, int status, const char *content_type,
                            const struct ht__http_pieces *pieces, uint64_t len);
/*
 * 200 and a body without an end, for server-sent events; at most max_queued bytes wait for a slow client.
 * Never NULL: without memory the stream is one whose client is gone.
 */
struct ht__http_stream *ht__http_answer_stream(struct ht__http_request *r, const char *content_type, size_t max_queued);
/* on_request only: answered later, from any thread. Nothing but the answer may follow in on_request itself. */
void ht__http_defer(struct ht__http_request *r);
/* Between ht__http_defer and the answer, any thread: has the client closed its side? Nobody will read the answer then. */
bool ht__http_client_left(struct ht__http_request *r);

/* Any thread. All of it or nothing; false: the client is gone or too slow (or the server closes): end the stream. */
bool ht__http_stream_send(struct ht__http_stream *stream, const void *data, size_t len);
/* Any thread, once; also after the server was closed. What is queued still goes out, unless the queue was full. */
void ht__http_stream_end(struct ht__http_stream **stream);

/* -- Pure. -- */
enum ht__range { HT__RANGE_NONE, HT__RANGE_ONE, HT__RANGE_UNSATISFIABLE };
/*
 * A Range header (RFC 9110, 14.2) on a representation of `size` bytes. NONE: serve it whole (no header, another unit,
 * several ranges, nonsense). If-Range is the caller's.
 */
enum ht__range ht__http_range(const char *header, uint64_t size, uint64_t *first, uint64_t *len);

#endif
