/* A connection: head, body, the application, its answer, and the next request. All in its loop's thread. */
#include "net/http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { REQUESTS_A_TURN = 32 };

/* -- Ends. -- */

/* The request is done with: reported, and its owner told that nobody waits. */
static void end_request(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    struct ht__http *server = conn->loop->server;
    conn->request = NULL;
    r->conn = NULL;
    pthread_mutex_lock(&r->lock);
    r->gone = true;
    int status = r->headed ? r->answer.status : 0;
    bool streams = r->answered && r->answer.kind == HT__ANSWER_STREAM;
    pthread_mutex_unlock(&r->lock);
    if (streams) ht__http_stream_leave(r->answer.stream);
    if (server->set.on_done)
        server->set.on_done(server->set.ctx, r, status, r->sent, (double)(ht__http_now() - r->began) / 1000);
    ht__http_request_drop(r);
}

static void leave_idle(struct ht__http_conn *conn)
{
    if (conn->phase != HT__PHASE_IDLE) return;
    TAILQ_REMOVE(&conn->loop->idle, conn, idle);
    atomic_fetch_sub(&conn->loop->n_idle, 1);
}

static void leave_extras(struct ht__http_conn *conn)
{
    if (!conn->is_extra) return;
    conn->is_extra = false;
    TAILQ_REMOVE(&conn->loop->extras, conn, extra);
    conn->loop->n_extras--;
}

void ht__http_conn_close(struct ht__http_conn *conn)
{
    struct ht__http_loop *loop = conn->loop;
    if (conn->phase == HT__PHASE_DEAD) return;
    leave_idle(conn);
    leave_extras(conn);
    conn->phase = HT__PHASE_DEAD;
    ht__http_unmake_ready(conn);
    ht__http_heap_remove(conn);
    TAILQ_REMOVE(&loop->conns, conn, all);
    TAILQ_INSERT_TAIL(&loop->dead, conn, all);
    if (conn->request) end_request(conn);
    /* a child that was forked and has not called exec yet may hold the socket: closing alone would not end its events */
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
    close(conn->fd);
    ht__http_leave_place(conn);
    atomic_fetch_sub(&loop->n_conns, 1);
    atomic_fetch_sub(&loop->server->n_conns, 1);
}

void ht__http_conn_free(struct ht__http_conn *conn)
{
    free(conn->in);
    free(conn->out);
    free(conn);
}

static void become_idle(struct ht__http_conn *conn)
{
    ht__http_enter(conn, HT__PHASE_IDLE);
    TAILQ_INSERT_TAIL(&conn->loop->idle, conn, idle);
    atomic_fetch_add(&conn->loop->n_idle, 1);
}

/* Closing on bytes that are still coming could destroy the answer on its way: they are thrown away for a while. */
static void linger(struct ht__http_conn *conn)
{
    shutdown(conn->fd, SHUT_WR);
    ht__http_enter(conn, HT__PHASE_LINGER);
    if (conn->in_len > 0) ht__http_make_ready(conn);
}

void ht__http_conn_finish(struct ht__http_conn *conn)
{
    bool closes = conn->request->closes, pending = conn->request->body_pending;
    end_request(conn);
    conn->n_read = 0;
    conn->scan = (struct ht__http_scan){0};
    if (closes && !pending && conn->in_len == 0 && ht__http_unread(conn->fd) == 0) {
        ht__http_conn_close(conn);
    } else if (closes) {
        linger(conn);
    } else if (atomic_load(&conn->loop->server->stopping) && conn->in_len == 0) {
        ht__http_conn_close(conn);
    } else {
        become_idle(conn);
        if (conn->in_len > 0) ht__http_make_ready(conn);
    }
}

/* -- Answers. -- */

/* What epoll has to watch for now. */
static void settle(struct ht__http_conn *conn)
{
    unsigned interest = EPOLLIN;
    if (conn->phase == HT__PHASE_DEAD) return;
    if (conn->phase == HT__PHASE_WORK) interest = atomic_load(&conn->request->left) ? 0 : EPOLLRDHUP;
    if (conn->phase == HT__PHASE_ANSWER) interest = EPOLLOUT;
    if (conn->phase == HT__PHASE_STREAM) interest = conn->blocked || conn->out ? EPOLLOUT | EPOLLRDHUP : EPOLLRDHUP;
    if (interest == conn->interest) return;
    struct epoll_event e = {.events = interest, .data.ptr = conn};
    conn->interest = interest;
    if (epoll_ctl(conn->loop->epoll, EPOLL_CTL_MOD, conn->fd, &e) != 0) ht__http_conn_close(conn);
}

/* The answer is there and begins to go out. */
static void deliver(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    bool streams = r->answer.kind == HT__ANSWER_STREAM, head = strcmp(r->method, "HEAD") == 0;
    if (r->body_pending || !conn->has_place || atomic_load(&conn->loop->server->stopping)) r->closes = true;
    if (streams && (head || r->minor == 0)) r->closes = true; /* HTTP/1.0 has no other end for it */
    ht__http_enter(conn, streams ? HT__PHASE_STREAM : HT__PHASE_ANSWER);
    if (streams && head) {
        ht__http_stream_leave(r->answer.stream);
        r->stream_over = true;
    } else if (streams) {
        ht__http_stream_join(r->answer.stream, conn);
    }
    ht__http_write(conn);
}

static void refuse(struct ht__http_conn *conn, int status, const char *reason)
{
    conn->request->body_pending = true; /* whatever comes now is not read as a request */
    ht__http_refuse(conn->request, status, reason);
    deliver(conn);
}

/* Whether there is an answer; otherwise the loop will be told of it. */
static bool is_answered(struct ht__http_request *r)
{
    pthread_mutex_lock(&r->lock);
    if (!r->answered && !r->deferred && r->asked) {
        pthread_mutex_unlock(&r->lock);
        ht__http_log(r->server, "%s %s was given no answer", r->method, r->path);
        ht__http_refuse(r, 500, "the server gave no answer");
        return true;
    }
    bool answered = r->answered;
    r->parked = !answered && r->deferred;
    pthread_mutex_unlock(&r->lock);
    return answered;
}

static void ask(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    ht__http_enter(conn, HT__PHASE_WORK);
    r->asked = true;
    r->server->set.on_request(r->server->set.ctx, r);
    if (!is_answered(r) && conn->loop->cancelled) ht__http_cancel(r);
    if (is_answered(r)) deliver(conn);
}

void ht__http_conn_answered(struct ht__http_conn *conn)
{
    if (conn->phase != HT__PHASE_WORK) return;
    deliver(conn);
    settle(conn);
}

void ht__http_conn_streams(struct ht__http_conn *conn)
{
    if (conn->phase != HT__PHASE_STREAM || conn->blocked || conn->out) return;
    ht__http_write(conn);
    settle(conn);
}

void ht__http_conn_too_slow(struct ht__http_conn *conn)
{
    refuse(conn, 408, "the body came too slowly");
    settle(conn);
}

/* -- Heads. -- */

static bool is_reserved(const struct ht__http_request *r)
{
    const char *const *path = r->server->set.reserved_paths;
    if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0) return false;
    while (path && *path && strcmp(*path, r->path) != 0)
        path++;
    return path && *path;
}

/* Whether the connection may ask this: it has a place by now, or this needs none. */
static bool is_admitted(struct ht__http_conn *conn)
{
    if (conn->has_place || ht__http_take_place(conn)) {
        leave_extras(conn);
        return true;
    }
    if (is_reserved(conn->request)) return true;
    ht__http_add_header(conn->request, "Retry-After", "1");
    return false;
}

static void begin(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    struct ht__http *server = r->server;
    r->body_pending = r->body_size > 0;
    if (server->set.on_begin) {
        r->at_begin = true;
        server->set.on_begin(server->set.ctx, r);
        r->at_begin = false;
    }
    if (is_answered(r)) {
        deliver(conn);
    } else if (r->body_size != UINT64_MAX && r->body_size > r->max_body) {
        refuse(conn, 413, "the body is larger than this resource takes");
    } else {
        if (r->expects_continue) ht__http_write_continue(conn);
        if (r->body_size == 0) {
            ask(conn);
            return;
        }
        conn->chunks = (struct ht__http_chunks){.max = r->max_body};
        ht__http_enter(conn, HT__PHASE_BODY);
    }
}

static void take_head(struct ht__http_conn *conn, const char *data, size_t len)
{
    struct ht__http_request *r = ht__http_request_new(conn);
    if (!r) {
        ht__http_conn_close(conn);
        return;
    }
    conn->request = r;
    if (conn->scan.status != 0) {
        refuse(conn, conn->scan.status, conn->scan.reason);
        return;
    }
    struct ht__http_verdict v = ht__http_request_head(r, data, len);
    if (v.status != 0)
        refuse(conn, v.status, v.reason);
    else if (!is_admitted(conn))
        refuse(conn, 503, "all connections are taken; try again later");
    else
        begin(conn);
}

/* Returns how many bytes were used; 0: more must come. */
static size_t use_head(struct ht__http_conn *conn, const char *data, size_t len)
{
    size_t blank = conn->scan.at == 0 ? ht__http_blank_lines(data, len) : 0;
    if (len == blank) return blank;
    enum ht__http_step step = ht__http_scan(&conn->scan, data + blank, len - blank);
    if (step == HT__HTTP_MORE) return blank;
    size_t n = conn->scan.at;
    take_head(conn, data + blank, n);
    return step == HT__HTTP_END ? blank + n : len;
}

/* -- Bodies. -- */

static bool collect(struct ht__http_request *r, const char *data, size_t size)
{
    if (size >= r->body_cap - r->body_len || !r->body) { /* one byte is kept for the NUL */
        size_t cap = r->body_cap < 512 ? 1024 : r->body_cap * 2;
        while (cap - r->body_len <= size)
            cap *= 2;
        char *body = realloc(r->body, cap);
        if (!body) return false;
        r->body = body;
        r->body_cap = cap;
    }
    memcpy(r->body + r->body_len, data, size);
    r->body_len += size;
    r->body[r->body_len] = '\0';
    return true;
}

static void take_piece(struct ht__http_conn *conn, const char *data, size_t n)
{
    struct ht__http_request *r = conn->request;
    conn->n_read += n;
    if (!r->sink) {
        if (!collect(r, data, n)) refuse(conn, 503, "no memory for the body");
    } else if (!r->sink(r->sink_ctx, data, n)) {
        r->refused = true;
        ask(conn);
    }
}

static void body_came(struct ht__http_conn *conn)
{
    conn->request->body_pending = false;
    ask(conn);
}

static size_t use_chunks(struct ht__http_conn *conn, const char *data, size_t len)
{
    size_t used, n;
    const char *piece;
    switch (ht__http_chunks(&conn->chunks, data, len, &used, &piece, &n)) {
    case HT__HTTP_DATA: take_piece(conn, piece, n); break;
    case HT__HTTP_END: body_came(conn); break;
    case HT__HTTP_BAD: refuse(conn, conn->chunks.status, conn->chunks.reason); break;
    case HT__HTTP_MORE: break;
    }
    return used;
}

static size_t use_body(struct ht__http_conn *conn, const char *data, size_t len)
{
    const struct ht__http_request *r = conn->request;
    if (r->body_size == UINT64_MAX) return use_chunks(conn, data, len);
    uint64_t left = r->body_size - conn->n_read;
    size_t n = len < left ? len : (size_t)left;
    take_piece(conn, data, n);
    if (conn->phase == HT__PHASE_BODY && conn->n_read == r->body_size) body_came(conn);
    return n;
}

/* -- Turns. -- */

/* Uses what was read as far as it goes. Returns how many bytes that were. */
static size_t use(struct ht__http_conn *conn, const char *data, size_t len)
{
    size_t at = 0;
    for (int n_requests = 0; at < len && n_requests < REQUESTS_A_TURN;) {
        size_t used;
        switch (conn->phase) {
        case HT__PHASE_IDLE:
            leave_idle(conn);
            ht__http_enter(conn, HT__PHASE_HEAD);
            continue;
        case HT__PHASE_HEAD:
            n_requests++;
            used = use_head(conn, data + at, len - at);
            break;
        case HT__PHASE_BODY: used = use_body(conn, data + at, len - at); break;
        case HT__PHASE_LINGER: used = len - at; break;
        default: return at;
        }
        at += used;
        if (used == 0) return at;
    }
    return at;
}

static bool keep_rest(struct ht__http_conn *conn, const char *data, size_t len)
{
    free(conn->in);
    conn->in = NULL;
    conn->in_len = len;
    if (len == 0) return true;
    conn->in = malloc(len);
    if (conn->in) memcpy(conn->in, data, len);
    return conn->in != NULL;
}

static bool reads(const struct ht__http_conn *conn)
{
    return conn->phase <= HT__PHASE_BODY || conn->phase == HT__PHASE_LINGER;
}

/* What was left over is used first, then the socket is read once. */
void ht__http_conn_turn(struct ht__http_conn *conn)
{
    char *data = conn->loop->scratch;
    size_t len = conn->in_len, at;
    if (len > 0) memcpy(data, conn->in, len);
    at = use(conn, data, len);
    bool needs_more = reads(conn) && (at == len || conn->phase == HT__PHASE_HEAD);
    if (needs_more && HT__HTTP_SCRATCH - len >= HT__HTTP_MAX_HEAD) {
        ssize_t n = recv(conn->fd, data + len, HT__HTTP_SCRATCH - len, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            ht__http_conn_close(conn);
            return;
        }
        len += n > 0 ? (size_t)n : 0;
        at += use(conn, data + at, len - at);
    }
    if (conn->phase == HT__PHASE_DEAD) return;
    if (!keep_rest(conn, data + at, len - at)) {
        ht__http_conn_close(conn);
        return;
    }
    if (at < len && reads(conn) && conn->phase != HT__PHASE_HEAD) ht__http_make_ready(conn);
    settle(conn);
}

void ht__http_conn_event(struct ht__http_conn *conn, unsigned events)
{
    if (conn->phase == HT__PHASE_DEAD) return;
    if (reads(conn)) {
        ht__http_conn_turn(conn);
        return;
    }
    if (conn->phase == HT__PHASE_WORK && (events & EPOLLRDHUP)) atomic_store(&conn->request->left, true);
    if ((events & (EPOLLERR | EPOLLHUP)) || (conn->phase == HT__PHASE_STREAM && (events & EPOLLRDHUP)))
        ht__http_conn_close(conn);
    else if (conn->phase != HT__PHASE_WORK)
        ht__http_write(conn);
    settle(conn);
}
