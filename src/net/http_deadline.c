/*
 * What a connection is held to, and the heap of deadlines.
 *
 *   HEAD    header_seconds for the whole head, however lively its bytes trickle in       closed
 *           (in the reserve: two seconds)
 *   IDLE    idle_seconds                                                                 closed
 *   BODY    each body_seconds bring 4 KiB more, or the end                               408, closed
 *   WORK    none: the application's own
 *   ANSWER  each body_seconds the peer takes 4 KiB more, or all                          closed
 *   STREAM  in each body_seconds something is taken of what was sent                     closed
 *   LINGER  two seconds                                                                  closed
 *
 * A deadline that moves back, as most do, leaves the heap alone: it is put right when its old time comes.
 */
#include "net/http_internal.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum { LINGER_MS = 2000, RESERVE_MS = 2000, GRACE_MS = 1000, MAX_GRACES = 3, LEAST_PROGRESS = 4096 };
#define NOT_BEGUN UINT64_MAX

/* -- The heap. -- */

static void put(struct ht__http_loop *loop, size_t i, struct ht__http_conn *conn)
{
    loop->heap[i] = conn;
    conn->heap_at = i;
}

static void sift_up(struct ht__http_loop *loop, size_t i)
{
    struct ht__http_conn *conn = loop->heap[i];
    for (; i > 0 && loop->heap[(i - 1) / 2]->key > conn->key; i = (i - 1) / 2)
        put(loop, i, loop->heap[(i - 1) / 2]);
    put(loop, i, conn);
}

static void sift_down(struct ht__http_loop *loop, size_t i)
{
    struct ht__http_conn *conn = loop->heap[i];
    for (size_t child; (child = 2 * i + 1) < loop->heap_len; i = child) {
        if (child + 1 < loop->heap_len && loop->heap[child + 1]->key < loop->heap[child]->key) child++;
        if (loop->heap[child]->key >= conn->key) break;
        put(loop, i, loop->heap[child]);
    }
    put(loop, i, conn);
}

bool ht__http_heap_add(struct ht__http_conn *conn)
{
    struct ht__http_loop *loop = conn->loop;
    if (loop->heap_len == loop->heap_cap) {
        size_t cap = loop->heap_cap ? 2 * loop->heap_cap : 64;
        struct ht__http_conn **heap = realloc(loop->heap, cap * sizeof(struct ht__http_conn *));
        if (!heap) return false;
        loop->heap = heap;
        loop->heap_cap = cap;
    }
    conn->deadline = conn->key = INT64_MAX;
    put(loop, loop->heap_len++, conn);
    return true;
}

void ht__http_heap_remove(struct ht__http_conn *conn)
{
    struct ht__http_loop *loop = conn->loop;
    struct ht__http_conn *last = loop->heap[--loop->heap_len];
    size_t i = conn->heap_at;
    if (last == conn) return;
    put(loop, i, last);
    sift_up(loop, i);
    sift_down(loop, last->heap_at);
}

void ht__http_set_deadline(struct ht__http_conn *conn, int64_t deadline)
{
    conn->deadline = deadline;
    if (deadline >= conn->key) return;
    conn->key = deadline;
    sift_up(conn->loop, conn->heap_at);
}

/* -- Progress. -- */

int ht__http_unread(int fd)
{
    int n = 0;
    return ioctl(fd, SIOCINQ, &n) == 0 ? n : 0;
}

static int unsent(int fd)
{
    int n = 0;
    return ioctl(fd, SIOCOUTQ, &n) == 0 ? n : 0;
}

/* Bytes that the peer has taken; 0 when the kernel does not say. */
static uint64_t acked(int fd)
{
    /* glibc's struct ends before tcpi_bytes_acked (Linux 4.1); the kernel's layout: 104 bytes of 32-bit fields, then
       pacing_rate, max_pacing_rate, bytes_acked */
    unsigned char info[256] = {0};
    socklen_t len = sizeof info;
    uint64_t n = 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0 && len >= 128) memcpy(&n, info + 120, sizeof n);
    return n;
}

static int64_t in_seconds(const struct ht__http_conn *conn, int seconds)
{
    return conn->loop->now + 1000 * (int64_t)seconds;
}

void ht__http_enter(struct ht__http_conn *conn, enum ht__http_phase phase)
{
    const struct ht__http_settings *set = &conn->loop->server->set;
    int64_t head = in_seconds(conn, set->header_seconds), reserve = conn->loop->now + RESERVE_MS, deadline = INT64_MAX;
    conn->phase = phase;
    conn->graces = 0;
    switch (phase) {
    case HT__PHASE_HEAD: deadline = conn->has_place || head < reserve ? head : reserve; break;
    case HT__PHASE_IDLE: deadline = in_seconds(conn, set->idle_seconds); break;
    case HT__PHASE_BODY:
        conn->mark = conn->n_read;
        deadline = in_seconds(conn, set->body_seconds);
        break;
    case HT__PHASE_ANSWER:
        conn->mark = NOT_BEGUN; /* most answers never wait for their client */
        deadline = in_seconds(conn, set->body_seconds);
        break;
    case HT__PHASE_STREAM:
        conn->mark = acked(conn->fd);
        deadline = in_seconds(conn, set->body_seconds);
        break;
    case HT__PHASE_LINGER: deadline = conn->loop->now + LINGER_MS; break;
    default: break;
    }
    ht__http_set_deadline(conn, deadline);
}

void ht__http_answer_waits(struct ht__http_conn *conn)
{
    if (conn->phase != HT__PHASE_ANSWER || conn->mark != NOT_BEGUN) return;
    conn->mark = acked(conn->fd);
    ht__http_set_deadline(conn, in_seconds(conn, conn->loop->server->set.body_seconds));
}

/* The loop may have been held up while the bytes lay there: the client is not late then. */
static bool is_excused(struct ht__http_conn *conn)
{
    if (conn->graces >= MAX_GRACES || ht__http_unread(conn->fd) == 0) return false;
    conn->graces++;
    ht__http_set_deadline(conn, conn->loop->now + GRACE_MS);
    return true;
}

/* A new span when the last one moved things on. */
static bool moves(struct ht__http_conn *conn, uint64_t progress, uint64_t least)
{
    if (progress - conn->mark < least) return false;
    conn->mark = progress;
    ht__http_set_deadline(conn, in_seconds(conn, conn->loop->server->set.body_seconds));
    return true;
}

static void expire(struct ht__http_conn *conn)
{
    switch (conn->phase) {
    case HT__PHASE_HEAD:
        if (!is_excused(conn)) ht__http_conn_close(conn);
        break;
    case HT__PHASE_BODY:
        if (!moves(conn, conn->n_read, LEAST_PROGRESS) && !is_excused(conn)) ht__http_conn_too_slow(conn);
        break;
    case HT__PHASE_ANSWER:
        if (conn->mark == NOT_BEGUN)
            ht__http_answer_waits(conn);
        else if (!moves(conn, acked(conn->fd), LEAST_PROGRESS))
            ht__http_conn_close(conn);
        break;
    case HT__PHASE_STREAM:
        if (!moves(conn, acked(conn->fd), unsent(conn->fd) > 0)) ht__http_conn_close(conn);
        break;
    default: ht__http_conn_close(conn); break;
    }
}

void ht__http_run_deadlines(struct ht__http_loop *loop)
{
    while (loop->heap_len > 0 && loop->heap[0]->key <= loop->now) {
        struct ht__http_conn *conn = loop->heap[0];
        if (conn->deadline <= loop->now) expire(conn);
        if (conn->phase == HT__PHASE_DEAD) continue;
        conn->key = conn->deadline;
        sift_down(loop, conn->heap_at);
    }
}

int ht__http_next_deadline(const struct ht__http_loop *loop, int most)
{
    if (loop->heap_len == 0 || loop->heap[0]->key >= loop->now + most) return most;
    return loop->heap[0]->key <= loop->now ? 0 : (int)(loop->heap[0]->key - loop->now);
}
