/*
 * The keeper: one thread that accepts connections and holds them to their deadlines.
 *
 *   HEADER  header_seconds for the whole head, however lively its bytes trickle in         closed
 *   IDLE    idle_seconds                                                                   closed
 *   BODY    each body_seconds bring 4 KiB more, or the end                                 408, closed
 *   WORK    none: the application's own
 *   ANSWER  each body_seconds the peer takes 4 KiB more, or all                            closed
 *   STREAM  what was sent is taken within body_seconds; the peer has not hung up           ended
 *   LINGER  two seconds                                                                    closed
 *
 * A connection is closed by shutting its socket down: the loop that owns it then finds it dead.
 */
#include "net/http_internal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { SWEEP_MS = 200, THOROUGH_MS = 500, LINGER_MS = 2000, LEAST_PROGRESS = 4096, ACCEPTS_A_TURN = 64 };

void ht__http_wake(struct ht__http *server)
{
    uint64_t one = 1;
    ssize_t n = write(server->wake, &one, sizeof one);
    (void)n; /* a full counter wakes as well */
}

/* tcp_info as far as this kernel fills it, zeros after. */
static bool tcp_state(int fd, struct tcp_info *info, uint64_t *acked)
{
    /* glibc's struct ends before tcpi_bytes_acked (Linux 4.1); the kernel's layout: 104 bytes of 32-bit fields, then
       pacing_rate, max_pacing_rate, bytes_acked */
    union {
        struct tcp_info info;
        unsigned char bytes[256];
    } u;
    socklen_t len = sizeof u;
    memset(&u, 0, sizeof u);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &u, &len) != 0) return false;
    *info = u.info;
    *acked = 0;
    if (len >= 128) memcpy(acked, u.bytes + 120, sizeof *acked);
    return true;
}

uint64_t ht__http_acked(int fd)
{
    struct tcp_info info;
    uint64_t acked = 0;
    return tcp_state(fd, &info, &acked) ? acked : 0;
}

static int unsent(int fd)
{
    int n = 0;
    return ioctl(fd, SIOCOUTQ, &n) == 0 ? n : 0;
}

static uint64_t progress(const struct ht__http_conn *c, int phase)
{
    if (phase == HT__PHASE_BODY) return atomic_load(&c->n_read);
    return phase == HT__PHASE_ANSWER ? ht__http_acked(c->fd) : 0;
}

/* Whether a client is late, or its bytes wait for a loop that is held up: three times the time is then its share. */
static bool overdue(const struct ht__http_conn *c, int64_t waited, int64_t allowed)
{
    int unread = 0;
    if (waited < allowed) return false;
    return waited >= 3 * allowed || ioctl(c->fd, SIOCINQ, &unread) != 0 || unread == 0;
}

/* Whether the body or the answer stands still: within the last span it moved less than it had to. */
static bool stalled(struct ht__http_conn *c, int phase, int64_t now, int64_t span)
{
    if (phase == HT__PHASE_BODY ? !overdue(c, now - c->window, span) : now - c->window < span) return false;
    uint64_t moved = progress(c, phase) - c->mark;
    if (moved < LEAST_PROGRESS) return true;
    c->window = now;
    c->mark += moved;
    return false;
}

static bool is_late(struct ht__http *server, struct ht__http_conn *c, int64_t now)
{
    const struct ht__http_settings *s = &server->set;
    int phase = atomic_load(&c->phase);
    int64_t since = atomic_load(&c->since);
    if (phase != c->seen_phase || since != c->seen_since) {
        c->seen_phase = phase;
        c->seen_since = since;
        c->window = now;
        c->mark = progress(c, phase);
    }
    switch (phase) {
    case HT__PHASE_HEADER: return overdue(c, now - since, 1000 * (int64_t)s->header_seconds);
    case HT__PHASE_IDLE:
        if (server->n_conns >= s->max_connections && now - since >= 1000) return true; /* others wait */
        return atomic_load(&server->stopping) || overdue(c, now - since, 1000 * (int64_t)s->idle_seconds);
    case HT__PHASE_BODY:
    case HT__PHASE_ANSWER: return stalled(c, phase, now, 1000 * (int64_t)s->body_seconds);
    case HT__PHASE_LINGER: return now - since >= LINGER_MS;
    default: return false;
    }
}

/* The library does not see an end that came together with the last bytes, and would wait for more until the deadline. */
static bool has_hung_up(const struct ht__http_conn *c)
{
    struct tcp_info info;
    uint64_t acked;
    int unread = 0;
    if (c->seen_phase != HT__PHASE_HEADER && c->seen_phase != HT__PHASE_IDLE && c->seen_phase != HT__PHASE_BODY)
        return false;
    if (!tcp_state(c->fd, &info, &acked) || info.tcpi_state == TCP_ESTABLISHED) return false;
    return ioctl(c->fd, SIOCINQ, &unread) == 0 && unread == 0;
}

static void sweep(struct ht__http *server, int64_t now, bool thorough)
{
    pthread_mutex_lock(&server->conns_lock);
    for (struct ht__http_conn *c = server->conns; c; c = c->next) {
        bool late = is_late(server, c, now), gone = thorough && has_hung_up(c);
        if (!late && !gone) continue;
        if (gone || c->seen_phase != HT__PHASE_BODY) {
            shutdown(c->fd, SHUT_RDWR);
        } else if (ht__http_move_phase(c, HT__PHASE_BODY, HT__PHASE_LINGER)) {
            static const char text[] = "{\"type\":\"about:blank\",\"title\":\"Request Timeout\",\"status\":408,"
                                       "\"detail\":\"the body came too slowly\"}\n";
            ht__http_send_by_hand(c, 408, NULL, "application/problem+json", text, sizeof text - 1);
        }
    }
    pthread_mutex_unlock(&server->conns_lock);
}

/* A suspended connection is out of its loop's sight, so the keeper looks whether the client is still there. */
static bool stream_is_dead(struct ht__http_stream *s, int64_t now, int64_t span)
{
    struct tcp_info info;
    uint64_t acked;
    if (!tcp_state(s->conn->fd, &info, &acked)) return true;
    if (info.tcpi_state != TCP_ESTABLISHED) return true;
    if (acked != s->acked || unsent(s->conn->fd) == 0) {
        s->acked = acked;
        s->moved = now;
    }
    return now - s->moved >= span;
}

static void sweep_streams(struct ht__http *server, int64_t now)
{
    pthread_mutex_lock(&server->streams_lock);
    for (struct ht__http_stream *s = server->streams; s; s = s->next) {
        if (!stream_is_dead(s, now, 1000 * (int64_t)server->set.body_seconds)) continue;
        ht__http_break_stream(s);
        shutdown(s->conn->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&server->streams_lock);
}

/* Counts a connection in, or says no. */
static bool admit(struct ht__http *server, unsigned slot)
{
    int most = server->set.max_connections_per_peer;
    pthread_mutex_lock(&server->conns_lock);
    bool ok = (most <= 0 || server->peers[slot] < most) && server->peers[slot] < UINT16_MAX;
    if (ok) {
        server->peers[slot]++;
        server->n_conns++;
    }
    pthread_mutex_unlock(&server->conns_lock);
    return ok;
}

static void hand_over(struct ht__http *server, int fd, const struct sockaddr *addr, socklen_t len)
{
    unsigned slot = ht__http_peer_slot(server->peer_seed, addr);
    if (!admit(server, slot)) {
        close(fd);
        return;
    }
    struct MHD_Daemon *loop = server->loops[server->next_loop++ % (unsigned)server->n_loops];
    if (MHD_add_connection(loop, fd, addr, len) == MHD_YES) return;
    pthread_mutex_lock(&server->conns_lock); /* the library has closed the socket */
    server->peers[slot]--;
    server->n_conns--;
    pthread_mutex_unlock(&server->conns_lock);
}

/* False when descriptors have run out: a while must pass. */
static bool accept_some(struct ht__http *server)
{
    for (int i = 0; i < ACCEPTS_A_TURN && ht__http_connections(server) < server->set.max_connections; i++) {
        struct sockaddr_storage addr;
        socklen_t len = sizeof addr;
        int fd = accept4(server->listener, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
        hand_over(server, fd, (struct sockaddr *)&addr, len);
    }
    return true;
}

void *ht__http_keep(void *ctx)
{
    struct ht__http *server = ctx;
    int64_t swept = ht__http_now(), swept_well = swept;
    bool room = true;
    while (!atomic_load(&server->closing)) {
        if (atomic_load(&server->stopping) && server->listener >= 0) {
            close(server->listener);
            server->listener = -1;
        }
        bool accepts = room && ht__http_connections(server) < server->set.max_connections;
        struct pollfd fds[2] = {{.fd = server->wake, .events = POLLIN},
                                {.fd = accepts ? server->listener : -1, .events = POLLIN}};
        poll(fds, 2, SWEEP_MS);
        room = true;
        uint64_t n;
        if (fds[0].revents && read(server->wake, &n, sizeof n) < 0) n = 0;
        if (fds[1].revents && !atomic_load(&server->stopping)) room = accept_some(server);
        int64_t now = ht__http_now();
        bool thorough = now - swept_well >= THOROUGH_MS;
        if (thorough || now - swept >= SWEEP_MS || atomic_load(&server->stopping)) {
            sweep(server, now, thorough);
            swept = now;
        }
        if (!thorough) continue;
        sweep_streams(server, now);
        swept_well = now;
    }
    return NULL;
}
