/*
 * Inside the HTTP adapter.
 *
 * Threads: `threads` libmicrohttpd daemons with one event loop each ("loops"), and one of our own, the keeper, which
 * accepts connections, hands them to the loops in turn and watches every deadline. Answers may come from any thread.
 *
 * Locks, outer before inner: conns_lock or waiting_lock or streams_lock > request/stream lock > libmicrohttpd's.
 */
#ifndef HT_NET_HTTP_INTERNAL_H
#define HT_NET_HTTP_INTERNAL_H

#include "net/http.h"
#include "net/http_parts.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* Where a connection is; what the keeper holds it to is in http_keeper.c. */
enum ht__http_phase {
    HT__PHASE_HEADER, /* accepted, or a request line has come: the head is awaited */
    HT__PHASE_IDLE,   /* between requests */
    HT__PHASE_BODY,   /* the body is awaited */
    HT__PHASE_WORK,   /* the application has it */
    HT__PHASE_ANSWER, /* the answer is going out */
    HT__PHASE_STREAM, /* an answer without an end */
    HT__PHASE_LINGER, /* answered by hand in mid-request: what still comes is thrown away */
};

struct ht__http_conn {
    struct ht__http_conn *prev, *next; /* under conns_lock */
    int fd;                            /* open as long as the connection is in the list */
    unsigned peer_slot;
    char peer[INET6_ADDRSTRLEN];
    _Atomic(int) phase;       /* enum ht__http_phase */
    _Atomic(int64_t) since;   /* ms: when the phase began */
    _Atomic(uint64_t) n_read; /* body bytes of the present request */
    /* the keeper's own */
    int seen_phase;
    int64_t seen_since, window; /* of the phase; start of the span in which there must be progress */
    uint64_t mark;              /* what had gone over at its start */
};

enum { HT__HTTP_PEER_SLOTS = 4096, HT__HTTP_MAX_THREADS = 64 };

struct ht__http {
    struct ht__http_settings set; /* defaults filled in; address is not kept */
    struct MHD_Daemon *loops[HT__HTTP_MAX_THREADS];
    int n_loops;
    int listener, wake; /* wake: eventfd that ends the keeper's sleep */
    uint16_t port;
    pthread_t keeper;
    bool keeper_runs;
    atomic_bool stopping; /* no new connections, answers close */
    atomic_bool closing;  /* the keeper ends */
    unsigned next_loop;

    pthread_mutex_t conns_lock;
    struct ht__http_conn *conns;
    int n_conns; /* accepted and not closed */
    uint64_t peer_seed;
    uint16_t peers[HT__HTTP_PEER_SLOTS]; /* connections by the hash of the address */

    pthread_mutex_t waiting_lock;
    struct ht__http_request *waiting; /* deferred and suspended */
    bool cancelling;                  /* nobody may wait any more */

    pthread_mutex_t streams_lock;
    struct ht__http_stream *streams;
    bool ending; /* no stream may go on */

    pthread_mutex_t log_lock;
    int64_t log_second;
    int log_lines, log_dropped;
};

struct ht__http_field { /* a header of the answer */
    struct ht__http_field *next;
    char *value;
    char name[];
};

struct ht__http_request {
    struct ht__http *server;
    struct ht__http_conn *conn;
    struct MHD_Connection *mhd;
    _Atomic(int) refs; /* the connection's, and the owner's of a deferred answer */
    int64_t began;     /* ms */

    char peer[INET6_ADDRSTRLEN];
    const char *came_at; /* where in the library's buffer the target began: compared, never read */
    char *target;        /* as it came */
    char *text;   /* holds what follows */
    const char *method, *path;
    struct ht__http_pair *headers, *query, *cookies; /* one block */
    int n_headers, n_query, n_cookies;

    bool headed, asked; /* the head was seen; on_request was called */
    bool expects_continue;
    uint64_t body_size, max_body;
    bool (*sink)(void *ctx, const void *data, size_t len);
    void *sink_ctx;
    bool refused, at_begin; /* the sink said no; within on_begin */
    char *body;
    size_t body_len, body_cap;
    void *user;
    void (*free_user)(void *user);

    bool in_waiting; /* under waiting_lock */
    struct ht__http_request *prev_waiting, *next_waiting;

    pthread_mutex_t lock; /* guards what follows */
    bool deferred, owner_gone, suspended, answered;
    bool delivered, closes;
    struct ht__http_field *fields;
    bool starved; /* there was no memory for a header */
    int status;
    struct MHD_Response *response;
    const void *memory; /* the answer's body, when it lies in memory */
    uint64_t answer_len;
    struct ht__http_stream *stream; /* set when the answer is one; the response keeps it alive */
    uint64_t acked_before;          /* what TCP had delivered when the answer began */
    bool by_hand;                   /* sent without the library */
};

struct ht__http_stream {
    struct ht__http_stream *prev, *next; /* streams_lock */
    struct ht__http *server;
    struct ht__http_conn *conn;
    struct MHD_Connection *mhd;
    _Atomic(int) refs; /* the owner's and the response's */
    pthread_mutex_t lock;
    char *queue; /* a ring */
    size_t head, len, cap, max;
    bool suspended, ended, gone, broken; /* broken: the connection ends with it */
    uint64_t sent;
    uint64_t acked; /* the keeper's own: what the peer had taken, and when that last moved */
    int64_t moved;
};

int64_t ht__http_now(void); /* monotonic, ms */
void ht__http_set_phase(struct ht__http_conn *conn, enum ht__http_phase phase);
/* As a compare-and-set: false when another thread was first. */
bool ht__http_move_phase(struct ht__http_conn *conn, enum ht__http_phase from, enum ht__http_phase to);

/* http_log.c: the library's printer, and ours. */
void ht__http_vlog(void *server, const char *fmt, va_list args) HT_PRINTF(2, 0);
void ht__http_log(struct ht__http *server, const char *fmt, ...) HT_PRINTF(2, 3);

/* http_listen.c */
enum ht_err ht__http_listen(const char *address, uint16_t port, int *fd, uint16_t *bound, struct ht_diag *diag);
void ht__http_peer_text(const struct sockaddr *addr, char text[INET6_ADDRSTRLEN]);
/* The address without what one client can choose freely, hashed to a slot. */
unsigned ht__http_peer_slot(uint64_t seed, const struct sockaddr *addr);

/* http_keeper.c */
void *ht__http_keep(void *server);
void ht__http_wake(struct ht__http *server);
/* Bytes that the peer has taken; 0 when the kernel does not say. */
uint64_t ht__http_acked(int fd);

/* http_loop.c: the callbacks of libmicrohttpd. */
void ht__http_on_connection(void *server, struct MHD_Connection *mhd, void **conn, enum MHD_ConnectionNotificationCode what);
void *ht__http_on_line(void *server, const char *target, struct MHD_Connection *mhd);
enum MHD_Result ht__http_on_call(void *server, struct MHD_Connection *mhd, const char *url, const char *method,
                                 const char *version, const char *data, size_t *size, void **request);
void ht__http_on_completed(void *server, struct MHD_Connection *mhd, void **request,
                           enum MHD_RequestTerminationCode how);
size_t ht__http_identity(void *ctx, struct MHD_Connection *mhd, char *text);

/* http_request.c */
struct ht__http_request *ht__http_request_new(struct ht__http *server, struct ht__http_conn *conn,
                                              struct MHD_Connection *mhd, const char *target);
void ht__http_request_drop(struct ht__http_request *r);
/* Takes the head over and judges it. A status of 0: go on. */
struct ht__http_verdict ht__http_request_head(struct ht__http_request *r, const char *method, const char *version);

/* http_answer.c */
/* A problem document; the connection closes after it. */
void ht__http_refuse(struct ht__http_request *r, int status, const char *reason);
/* In the loop's thread, once answered. */
enum ht__http_where { HT__AT_HEAD, HT__IN_BODY, HT__AT_END };
enum MHD_Result ht__http_deliver(struct ht__http_request *r, enum ht__http_where where);
/* Whatever fits is sent, and nothing after it; the peer's own end is then awaited for a while. */
void ht__http_send_by_hand(struct ht__http_conn *conn, int status, const struct ht__http_field *fields,
                           const char *content_type, const void *body, size_t len);
/* Unless it was answered: 503, and its owner's answer will go nowhere. */
void ht__http_cancel(struct ht__http_request *r);
/* The server closes: nobody waits any more. */
void ht__http_cancel_waiting(struct ht__http *server);

/* http_stream.c */
/* Under the request's lock; r NULL: a stream whose client is gone. */
struct ht__http_stream *ht__http_stream_new(struct ht__http_request *r, size_t max_queued, struct MHD_Response **response);
void ht__http_end_streams(struct ht__http *server);
/* The client is gone: what is sent from now on goes nowhere. */
void ht__http_break_stream(struct ht__http_stream *s);

#endif
