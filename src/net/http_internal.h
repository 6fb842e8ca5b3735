/*
 * Inside the HTTP server.
 *
 * Threads: `threads` loops, each with an epoll set, its own connections and a heap of their deadlines. Whichever loop is
 * awake accepts. A connection belongs to one loop, and only that loop's thread touches it. Other threads reach it through
 * its request or its stream, which they post to the loop.
 *
 * Locks, outer before inner: request or stream > loop's mailbox. The server's places have a lock that nothing is taken in.
 */
#ifndef HT_NET_HTTP_INTERNAL_H
#define HT_NET_HTTP_INTERNAL_H

#include "net/http.h"
#include "net/http_parts.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/socket.h>

enum ht__http_phase {
    HT__PHASE_HEAD,   /* accepted, or a request has begun: its head is awaited */
    HT__PHASE_IDLE,   /* between requests */
    HT__PHASE_BODY,   /* the body is awaited */
    HT__PHASE_WORK,   /* the application has it */
    HT__PHASE_ANSWER, /* the answer is going out */
    HT__PHASE_STREAM, /* an answer without an end waits for the application */
    HT__PHASE_LINGER, /* answered before all was read: what still comes is thrown away */
    HT__PHASE_DEAD,   /* closed; freed when the loop's turn is over */
};

enum {
    HT__HTTP_PEER_SLOTS = 4096,
    HT__HTTP_MAX_THREADS = 64,
    HT__HTTP_RESERVE = 16,
    HT__HTTP_SCRATCH = 96 << 10,
    HT__HTTP_HEAD_SCRATCH = 20 << 10
};

/* Something that was posted to a loop. */
struct ht__http_mail {
    struct ht__http_mail *next;
    enum { HT__MAIL_CONN, HT__MAIL_REQUEST, HT__MAIL_STREAM } kind;
    void *what; /* a conn, or a request or a stream with a reference */
};

struct ht__http_conn {
    TAILQ_ENTRY(ht__http_conn) all; /* of the loop; then of its dead */
    TAILQ_ENTRY(ht__http_conn) idle;
    TAILQ_ENTRY(ht__http_conn) extra;
    TAILQ_ENTRY(ht__http_conn) ready;
    struct ht__http_mail mail; /* on its way from the loop that accepted it */
    struct ht__http_loop *loop;
    int fd;
    unsigned peer_slot;
    char peer[INET6_ADDRSTRLEN];
    enum ht__http_phase phase;
    bool has_place;          /* counted in */
    bool is_extra, is_ready; /* in the lists of these names; extra: in the reserve */
    bool blocked;            /* the socket takes no more at present */
    unsigned interest;       /* what epoll watches for */

    char *in; /* what was read and not used yet */
    size_t in_len;
    struct ht__http_scan scan;
    struct ht__http_chunks chunks;
    uint64_t n_read; /* body bytes of the present request */
    struct ht__http_request *request;

    char *out; /* what the socket did not take at once */
    size_t out_at, out_len;

    int64_t deadline, key; /* ms; the key in the heap is never later than the deadline */
    size_t heap_at;
    uint64_t mark; /* progress when the present span began */
    int graces;    /* given because bytes lay there unread */
};

TAILQ_HEAD(ht__http_conns, ht__http_conn);

struct ht__http_loop {
    struct ht__http *server;
    pthread_t thread;
    bool runs; /* the thread was started */
    int epoll, wake;
    int64_t now;
    struct ht__http_conns conns, idle, extras, ready, dead;
    int n_extras, n_ready;
    atomic_int n_conns, n_idle; /* others look at them to choose a loop */
    struct ht__http_conn **heap;
    size_t heap_len, heap_cap;
    bool listens, stopped, ended, cancelled;
    int64_t listens_again; /* after descriptors ran out */
    time_t date_of;
    char date[40];
    char *scratch;      /* HT__HTTP_SCRATCH bytes for what one connection reads in its turn */
    char *head_scratch; /* HT__HTTP_HEAD_SCRATCH bytes for what it sends */

    pthread_mutex_t mail_lock;
    struct ht__http_mail *mail, **mail_end;
};

struct ht__http {
    struct ht__http_settings set; /* defaults filled in; address is not kept */
    struct ht__http_loop *loops;
    int n_loops;
    int listener;
    atomic_int n_listening; /* loops that hold the listening socket */
    uint16_t port;
    atomic_bool stopping;   /* no new connections, answers close */
    atomic_bool ending;     /* no stream may go on */
    atomic_bool cancelling; /* no deferred answer is waited for */
    atomic_bool quitting;   /* the loops end */
    atomic_int n_conns;

    pthread_mutex_t places_lock;
    int n_places; /* taken */
    uint64_t peer_seed;
    uint16_t peers[HT__HTTP_PEER_SLOTS]; /* places by the hash of the address */

    pthread_mutex_t log_lock;
    int64_t log_second;
    int log_lines, log_dropped;
};

struct ht__http_field { /* a header of the answer */
    struct ht__http_field *next;
    size_t name_len, value_len;
    char *value;
    char name[];
};

enum ht__http_kind { HT__ANSWER_BROKEN, HT__ANSWER_MEMORY, HT__ANSWER_FILE, HT__ANSWER_PIECES, HT__ANSWER_STREAM };

struct ht__http_answer {
    enum ht__http_kind kind; /* BROKEN: there was no memory for it, the connection ends */
    int status;
    const char *body;
    bool owned; /* body is freed */
    int fd;
    uint64_t offset, len;
    struct ht__http_pieces pieces;
    struct ht__http_piece piece; /* the one that goes out */
    struct ht__http_stream *stream;
};

struct ht__http_request {
    struct ht__http *server;
    struct ht__http_loop *loop;
    struct ht__http_conn *conn; /* the loop's own: NULL when the connection is gone */
    struct ht__http_mail mail;
    _Atomic(int) refs; /* the connection's, the owner's of a deferred answer, and the mailbox's */
    int64_t began;     /* ms */

    char peer[INET6_ADDRSTRLEN];
    struct ht__http_pair *headers, *query, *cookies; /* one block with the text that they point to */
    int n_headers, n_query, n_cookies;
    const char *method, *target, *path;
    int minor;

    uint64_t body_size, max_body;
    bool expects_continue, closes, body_pending;
    bool asked;       /* on_request was called */
    atomic_bool left; /* the client closed its side while the answer was awaited */
    bool (*sink)(void *ctx, const void *data, size_t len);
    void *sink_ctx;
    bool refused, at_begin; /* the sink said no; within on_begin */
    char *body;
    size_t body_len, body_cap;
    void *user;
    void (*free_user)(void *user);

    bool headed;      /* the answer's head was made */
    bool stream_over; /* its last piece was taken */
    uint64_t sent;

    pthread_mutex_t lock; /* guards what follows */
    bool deferred, owner_gone, answered;
    bool parked;  /* the loop waits to be told of the answer */
    bool gone;    /* nobody waits for it any more */
    bool starved; /* there was no memory for a header */
    struct ht__http_field *fields, **fields_end;
    struct ht__http_answer answer;
};

struct ht__http_stream {
    struct ht__http_loop *loop;
    struct ht__http_conn *conn; /* the loop's own */
    struct ht__http_mail mail;
    _Atomic(int) refs; /* the owner's, the answer's and the mailbox's */
    pthread_mutex_t lock;
    char *queue; /* a ring */
    size_t head, len, cap, max;
    bool live, posted;        /* live: its connection wants to be told */
    bool ended, gone, broken; /* broken: the connection ends with it */
};

int64_t ht__http_now(void); /* monotonic, ms */

/* http_log.c */
void ht__http_log(struct ht__http *server, const char *fmt, ...) HT_PRINTF(2, 3);

/* http_listen.c */
enum ht_err ht__http_listen(const char *address, uint16_t port, int *fd, uint16_t *bound, struct ht_diag *diag);
void ht__http_peer_text(const struct sockaddr *addr, char text[INET6_ADDRSTRLEN]);
/* The address without what one client can choose freely, hashed to a slot. */
unsigned ht__http_peer_slot(uint64_t seed, const struct sockaddr *addr);

/* http_loop.c */
enum ht_err ht__http_loop_init(struct ht__http_loop *loop, struct ht__http *server, struct ht_diag *diag);
enum ht_err ht__http_loop_start(struct ht__http_loop *loop, struct ht_diag *diag);
void ht__http_loop_free(struct ht__http_loop *loop); /* its thread has ended */
void ht__http_wake(struct ht__http_loop *loop);
/* Any thread. The mail is not posted twice: its owner sees to it. */
void ht__http_post(struct ht__http_loop *loop, struct ht__http_mail *mail);
/* The connection has work that waits for no event. */
void ht__http_make_ready(struct ht__http_conn *conn);
void ht__http_unmake_ready(struct ht__http_conn *conn);

/* http_accept.c */
void ht__http_accept(struct ht__http_loop *loop);
void ht__http_listen_on(struct ht__http_loop *loop, bool on);
/* A connection that was accepted, here or by another loop, begins. */
void ht__http_adopt(struct ht__http_conn *conn);
/* Tries to count a connection of the reserve in. */
bool ht__http_take_place(struct ht__http_conn *conn);
void ht__http_leave_place(struct ht__http_conn *conn);

/* http_deadline.c: a heap by deadlines. */
bool ht__http_heap_add(struct ht__http_conn *conn);
void ht__http_heap_remove(struct ht__http_conn *conn);
void ht__http_set_deadline(struct ht__http_conn *conn, int64_t deadline);
/* Sets the phase, and the deadline that it has. */
void ht__http_enter(struct ht__http_conn *conn, enum ht__http_phase phase);
/* The answer waits for its client: from now on it must be taken. */
void ht__http_answer_waits(struct ht__http_conn *conn);
void ht__http_run_deadlines(struct ht__http_loop *loop);
/* Milliseconds until the next of them, at most `most`. */
int ht__http_next_deadline(const struct ht__http_loop *loop, int most);
/* Bytes that lie in the socket unread. */
int ht__http_unread(int fd);

/* http_conn.c */
void ht__http_conn_event(struct ht__http_conn *conn, unsigned events);
void ht__http_conn_turn(struct ht__http_conn *conn);
/* The deferred answer, or more of the stream, is there. */
void ht__http_conn_answered(struct ht__http_conn *conn);
void ht__http_conn_streams(struct ht__http_conn *conn);
/* The answer has gone out. */
void ht__http_conn_finish(struct ht__http_conn *conn);
/* What came of the body came too slowly. */
void ht__http_conn_too_slow(struct ht__http_conn *conn);
void ht__http_conn_close(struct ht__http_conn *conn);
void ht__http_conn_free(struct ht__http_conn *conn);

/* http_write.c */
/* Sends what there is of the answer until it is whole, the socket is full or the stream is empty. */
void ht__http_write(struct ht__http_conn *conn);
/* An interim answer. */
void ht__http_write_continue(struct ht__http_conn *conn);

/* http_request.c */
struct ht__http_request *ht__http_request_new(struct ht__http_conn *conn);
/* Takes the scanned head: a verdict of status 0, or a refusal. */
struct ht__http_verdict ht__http_request_head(struct ht__http_request *r, const char *head, size_t len);
void ht__http_request_drop(struct ht__http_request *r);

/* http_answer.c */
/* The adapter's own refusal; the connection ends with it. */
void ht__http_refuse(struct ht__http_request *r, int status, const char *reason);
/* 503 in the owner's place, when the server closes. */
void ht__http_cancel(struct ht__http_request *r);
void ht__http_answer_drop(struct ht__http_answer *answer);
void ht__http_piece_drop(struct ht__http_piece *piece);
const char *ht__http_reason_phrase(int status);

/* http_stream.c */
/* Under the request's lock; r NULL: a stream whose client is gone. `answer`: whether the answer has a reference. */
struct ht__http_stream *ht__http_stream_new(struct ht__http_request *r, size_t max_queued, bool *answer);
void ht__http_stream_drop(struct ht__http_stream *s);
/* The loop's side. */
void ht__http_stream_join(struct ht__http_stream *s, struct ht__http_conn *conn);
void ht__http_stream_leave(struct ht__http_stream *s);
enum ht__http_step ht__http_stream_take(struct ht__http_stream *s, char *out, size_t max, size_t *n);

#endif
