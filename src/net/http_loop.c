/* The library's callbacks: a connection's and a request's way through the loops. */
#include "net/http_internal.h"

#include <stdlib.h>
#include <string.h>

void ht__http_set_phase(struct ht__http_conn *conn, enum ht__http_phase phase)
{
    atomic_store(&conn->since, ht__http_now());
    atomic_store(&conn->phase, (int)phase);
}

bool ht__http_move_phase(struct ht__http_conn *conn, enum ht__http_phase from, enum ht__http_phase to)
{
    int expected = (int)from;
    if (!atomic_compare_exchange_strong(&conn->phase, &expected, (int)to)) return false;
    atomic_store(&conn->since, ht__http_now());
    return true;
}

/* -- Connections. -- */

static void connected(struct ht__http *server, struct MHD_Connection *mhd, const struct sockaddr *addr, void **context)
{
    struct ht__http_conn *conn = calloc(1, sizeof *conn);
    *context = conn;
    if (!conn) return; /* its requests will be turned away */
    conn->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    ht__http_peer_text(addr, conn->peer);
    ht__http_set_phase(conn, HT__PHASE_HEADER);
    conn->seen_phase = -1;
    pthread_mutex_lock(&server->conns_lock);
    conn->next = server->conns;
    if (conn->next) conn->next->prev = conn;
    server->conns = conn;
    pthread_mutex_unlock(&server->conns_lock);
}

static void disconnected(struct ht__http *server, const struct sockaddr *addr, struct ht__http_conn *conn)
{
    pthread_mutex_lock(&server->conns_lock);
    server->peers[ht__http_peer_slot(server->peer_seed, addr)]--;
    server->n_conns--;
    if (conn) {
        if (conn->next) conn->next->prev = conn->prev;
        *(conn->prev ? &conn->prev->next : &server->conns) = conn->next;
    }
    bool was_full = server->n_conns == server->set.max_connections - 1;
    pthread_mutex_unlock(&server->conns_lock);
    free(conn);
    if (was_full) ht__http_wake(server);
}

void ht__http_on_connection(void *ctx, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode what)
{
    const struct sockaddr *addr = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        connected(ctx, mhd, addr, context);
    else
        disconnected(ctx, addr, *context);
}

/* -- Requests. -- */

/* Escapes are decoded once, by us. */
size_t ht__http_identity(void *ctx, struct MHD_Connection *mhd, char *text)
{
    (void)ctx, (void)mhd;
    return strlen(text);
}

void *ht__http_on_line(void *ctx, const char *target, struct MHD_Connection *mhd)
{
    struct ht__http_conn *conn = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (!conn) return NULL;
    /* the first request's head is timed from the connection's start */
    if (atomic_load(&conn->phase) != HT__PHASE_HEADER) ht__http_set_phase(conn, HT__PHASE_HEADER);
    return ht__http_request_new(ctx, conn, mhd, target);
}

static void leave_waiting(struct ht__http_request *r)
{
    struct ht__http *server = r->server;
    pthread_mutex_lock(&server->waiting_lock);
    if (r->in_waiting) {
        if (r->next_waiting) r->next_waiting->prev_waiting = r->prev_waiting;
        *(r->prev_waiting ? &r->prev_waiting->next_waiting : &server->waiting) = r->next_waiting;
        r->in_waiting = false;
    }
    pthread_mutex_unlock(&server->waiting_lock);
}

static void enter_waiting(struct ht__http_request *r)
{
    struct ht__http *server = r->server;
    r->prev_waiting = NULL;
    r->next_waiting = server->waiting;
    if (r->next_waiting) r->next_waiting->prev_waiting = r;
    server->waiting = r;
    r->in_waiting = true;
}

/* The application was asked: its answer goes out, or the connection sleeps until there is one. */
static enum MHD_Result settle(struct ht__http_request *r, enum ht__http_where where)
{
    struct ht__http *server = r->server;
    pthread_mutex_lock(&r->lock);
    bool answered = r->answered, deferred = r->deferred;
    pthread_mutex_unlock(&r->lock);
    if (!answered && !deferred) {
        ht__http_log(server, "%s %s was given no answer", r->method, r->path);
        ht__http_refuse(r, 500, "the server gave no answer");
        answered = true;
    }
    if (deferred) leave_waiting(r);
    if (answered) return ht__http_deliver(r, where);

    pthread_mutex_lock(&server->waiting_lock);
    pthread_mutex_lock(&r->lock);
    answered = r->answered;
    if (!answered && !server->cancelling) {
        r->suspended = true;
        MHD_suspend_connection(r->mhd);
        enter_waiting(r);
    }
    bool cancel = !answered && server->cancelling;
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_unlock(&server->waiting_lock);
    if (cancel) ht__http_cancel(r);
    return answered || cancel ? ht__http_deliver(r, where) : MHD_YES;
}

static enum MHD_Result ask(struct ht__http_request *r, enum ht__http_where where)
{
    r->asked = true;
    r->server->set.on_request(r->server->set.ctx, r);
    return settle(r, where);
}

static bool is_answered(struct ht__http_request *r)
{
    pthread_mutex_lock(&r->lock);
    bool answered = r->answered;
    pthread_mutex_unlock(&r->lock);
    return answered;
}

static enum MHD_Result head_came(struct ht__http_request *r, const char *method, const char *version)
{
    struct ht__http *server = r->server;
    struct ht__http_verdict v = ht__http_request_head(r, method, version);
    r->headed = true;
    if (v.status != 0)
        ht__http_refuse(r, v.status, v.reason);
    else if (server->set.on_begin) {
        r->at_begin = true;
        server->set.on_begin(server->set.ctx, r);
        r->at_begin = false;
    }
    bool answered = is_answered(r);
    if (!answered && r->body_size != UINT64_MAX && r->body_size > r->max_body) {
        ht__http_refuse(r, 413, "the body is larger than this resource takes");
        answered = true;
    }
    /* without a body the library comes again at once; answered only then, the connection lives on */
    if (r->body_size == 0 && v.status == 0) return MHD_YES;
    if (answered) return ht__http_deliver(r, HT__AT_HEAD);
    atomic_store(&r->conn->n_read, 0);
    ht__http_set_phase(r->conn, HT__PHASE_BODY);
    return MHD_YES;
}

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

static enum MHD_Result piece_came(struct ht__http_request *r, const char *data, size_t *size)
{
    size_t n = *size;
    uint64_t total = atomic_load(&r->conn->n_read);
    if (r->asked) { /* a refused upload's answer was deferred, and is there */
        *size = 0;
        return settle(r, HT__IN_BODY);
    }
    if (total + n > r->max_body) {
        *size = 0;
        ht__http_refuse(r, 413, "the body is larger than this resource takes");
        return ht__http_deliver(r, HT__IN_BODY);
    }
    atomic_store(&r->conn->n_read, total + n);
    *size = 0;
    if (r->sink) {
        if (r->sink(r->sink_ctx, data, n)) return MHD_YES;
        if (!ht__http_move_phase(r->conn, HT__PHASE_BODY, HT__PHASE_WORK)) return MHD_YES;
        r->refused = true;
        enum MHD_Result result = ask(r, HT__IN_BODY);
        if (!is_answered(r)) *size = n; /* the same piece comes again when the connection wakes */
        return result;
    }
    if (collect(r, data, n)) return MHD_YES;
    ht__http_refuse(r, 503, "no memory for the body");
    return ht__http_deliver(r, HT__IN_BODY);
}

static enum MHD_Result all_came(struct ht__http_request *r)
{
    if (r->asked) return settle(r, HT__AT_END);
    if (is_answered(r)) return ht__http_deliver(r, HT__AT_END);
    if (r->body_size == 0)
        ht__http_set_phase(r->conn, HT__PHASE_WORK);
    else if (!ht__http_move_phase(r->conn, HT__PHASE_BODY, HT__PHASE_WORK))
        return MHD_NO; /* the keeper has just ended it */
    return ask(r, HT__AT_END);
}

enum MHD_Result ht__http_on_call(void *server, struct MHD_Connection *mhd, const char *url, const char *method,
                                 const char *version, const char *data, size_t *size, void **request)
{
    struct ht__http_request *r = *request;
    (void)server, (void)mhd, (void)url;
    if (!r) return MHD_NO; /* there was no memory for it */
    if (!r->headed) return head_came(r, method, version);
    if (atomic_load(&r->conn->phase) == HT__PHASE_LINGER) {
        bool more = *size > 0;
        *size = 0;
        return more ? MHD_YES : MHD_NO;
    }
    return *size > 0 ? piece_came(r, data, size) : all_came(r);
}

static uint64_t bytes_sent(const struct ht__http_request *r, bool whole)
{
    if (strcmp(r->method, "HEAD") == 0 || !r->answered) return 0;
    if (r->stream) return r->stream->sent;
    if (whole || r->by_hand) return r->answer_len;
    return r->memory ? 0 : ht__http_acked(r->conn->fd) - r->acked_before;
}

void ht__http_on_completed(void *ctx, struct MHD_Connection *mhd, void **request,
                           enum MHD_RequestTerminationCode how)
{
    struct ht__http *server = ctx;
    struct ht__http_request *r = *request;
    *request = NULL;
    if (!r) return;
    if (r->deferred) leave_waiting(r);
    int status = r->delivered ? r->status : 0;
    if (!r->delivered && atomic_load(&r->conn->phase) == HT__PHASE_LINGER) status = 408; /* the keeper's */
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_HTTP_STATUS);
    if (!r->headed && info) status = (int)info->http_status; /* the library's own refusal */
    if (server->set.on_done)
        server->set.on_done(server->set.ctx, r, status, bytes_sent(r, how == MHD_REQUEST_TERMINATED_COMPLETED_OK),
                            (double)(ht__http_now() - r->began) / 1000);
    ht__http_set_phase(r->conn, HT__PHASE_IDLE);
    ht__http_request_drop(r);
}
