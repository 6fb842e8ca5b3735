/*
 * Accepting, and the limits on connections.
 *
 * Every connection is accepted. One that finds no place (all are taken, or all of its address's) takes that of the
 * longest idle one. Where nobody is idle it goes into the reserve: a request for a reserved path is served there, any
 * other gets a 503, and either way the connection ends. Where the reserve is full too, its oldest makes room: who asks
 * at once, as probes do, is served however many sit there saying nothing.
 */
#include "net/http_internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ACCEPTS_A_TURN = 64, REST_MS = 100 };

bool ht__http_take_place(struct ht__http_conn *conn)
{
    struct ht__http *server = conn->loop->server;
    int most = server->set.max_connections_per_peer;
    if (conn->has_place) return true;
    pthread_mutex_lock(&server->places_lock);
    uint16_t *of_peer = &server->peers[conn->peer_slot];
    conn->has_place =
        server->n_places < server->set.max_connections && (most <= 0 || *of_peer < most) && *of_peer < UINT16_MAX;
    if (conn->has_place) {
        server->n_places++;
        ++*of_peer;
    }
    pthread_mutex_unlock(&server->places_lock);
    return conn->has_place;
}

void ht__http_leave_place(struct ht__http_conn *conn)
{
    struct ht__http *server = conn->loop->server;
    if (!conn->has_place) return;
    pthread_mutex_lock(&server->places_lock);
    server->n_places--;
    server->peers[conn->peer_slot]--;
    pthread_mutex_unlock(&server->places_lock);
    conn->has_place = false;
}

static bool all_taken(struct ht__http *server)
{
    pthread_mutex_lock(&server->places_lock);
    bool taken = server->n_places >= server->set.max_connections;
    pthread_mutex_unlock(&server->places_lock);
    return taken;
}

/* -- Beginning. -- */

/* Closes the connection that has been idle longest, unless its next request lies there already. */
static bool end_an_idle(struct ht__http_loop *loop)
{
    struct ht__http_conn *conn;
    TAILQ_FOREACH(conn, &loop->idle, idle)
    {
        if (ht__http_unread(conn->fd) > 0) continue;
        ht__http_conn_close(conn);
        return true;
    }
    return false;
}

static void enter_reserve(struct ht__http_conn *conn)
{
    struct ht__http_loop *loop = conn->loop;
    int most = HT__HTTP_RESERVE / loop->server->n_loops;
    TAILQ_INSERT_TAIL(&loop->extras, conn, extra);
    conn->is_extra = true;
    if (++loop->n_extras > (most > 2 ? most : 2)) ht__http_conn_close(TAILQ_FIRST(&loop->extras));
}

void ht__http_adopt(struct ht__http_conn *conn)
{
    struct ht__http_loop *loop = conn->loop;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = conn};
    TAILQ_INSERT_HEAD(&loop->conns, conn, all);
    conn->interest = EPOLLIN;
    if (!ht__http_heap_add(conn)) {
        TAILQ_REMOVE(&loop->conns, conn, all);
        atomic_fetch_sub(&loop->n_conns, 1);
        atomic_fetch_sub(&loop->server->n_conns, 1);
        close(conn->fd);
        free(conn);
        return;
    }
    if (!ht__http_take_place(conn) && (!all_taken(loop->server) || !end_an_idle(loop) || !ht__http_take_place(conn)))
        enter_reserve(conn);
    ht__http_enter(conn, HT__PHASE_HEAD);
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, conn->fd, &e) != 0) {
        ht__http_conn_close(conn);
        return;
    }
    if (!conn->has_place) ht__http_conn_turn(conn); /* before the next one takes its room */
}

/* -- Accepting. -- */

/* The loop with an idle connection to end when all places are taken, else the one with the fewest connections. */
static struct ht__http_loop *choose(struct ht__http_loop *own)
{
    struct ht__http *server = own->server;
    struct ht__http_loop *best = own;
    bool full = all_taken(server);
    for (int i = 0; i < server->n_loops; i++) {
        struct ht__http_loop *loop = &server->loops[i];
        if (full ? atomic_load(&loop->n_idle) > atomic_load(&best->n_idle)
                 : atomic_load(&loop->n_conns) < atomic_load(&best->n_conns))
            best = loop;
    }
    return best;
}

static void begin(struct ht__http_loop *own, int fd, const struct sockaddr *addr)
{
    struct ht__http *server = own->server;
    struct ht__http_conn *conn = calloc(1, sizeof *conn);
    int on = 1;
    if (!conn) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* answers are sent whole */
    conn->fd = fd;
    conn->peer_slot = ht__http_peer_slot(server->peer_seed, addr);
    ht__http_peer_text(addr, conn->peer);
    conn->loop = choose(own);
    atomic_fetch_add(&server->n_conns, 1);
    atomic_fetch_add(&conn->loop->n_conns, 1);
    if (conn->loop == own) {
        ht__http_adopt(conn);
        return;
    }
    conn->mail.kind = HT__MAIL_CONN;
    conn->mail.what = conn;
    ht__http_post(conn->loop, &conn->mail);
}

void ht__http_listen_on(struct ht__http_loop *loop, bool on)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = &loop->server->listener};
    if (loop->listens == on) return;
    if (epoll_ctl(loop->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, loop->server->listener, &e) == 0) loop->listens = on;
}

/* Descriptors or memory have run out: idle connections give some back, or a while must pass. */
static void rest(struct ht__http_loop *loop)
{
    if (end_an_idle(loop)) return;
    ht__http_log(loop->server, "no descriptor or memory is left for more connections");
    ht__http_listen_on(loop, false);
    loop->listens_again = loop->now + REST_MS;
}

void ht__http_accept(struct ht__http_loop *loop)
{
    for (int i = 0; i < ACCEPTS_A_TURN && !atomic_load(&loop->server->stopping); i++) {
        struct sockaddr_storage addr;
        socklen_t len = sizeof addr;
        int fd = accept4(loop->server->listener, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            begin(loop, fd, (struct sockaddr *)&addr);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) rest(loop);
        if (errno == EAGAIN || errno == EWOULDBLOCK || !loop->listens) return;
    }
}
