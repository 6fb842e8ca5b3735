/*
 * Sending: the answer's head, then its body from memory, from a file, from pieces or from a stream, as far as the socket takes it.
 */
#include "net/http_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <time.h>

/* FILE_TURN: of a file in one turn, so that others get theirs. STREAM_PIECE: of a stream in one chunk. */
enum { FILE_TURN = 4 << 20, STREAM_PIECE = 16 << 10, STREAM_TURN = 16, CHUNK_FRAME = 16, HEAD_BESIDE = 256 };

enum sent { ALL, PART, FAILED };

/* -- The socket. -- */

static enum sent stuck(struct ht__http_conn *conn)
{
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return FAILED;
    conn->blocked = true;
    ht__http_answer_waits(conn);
    return PART;
}

/* What the socket did not take is kept. */
static enum sent keep(struct ht__http_conn *conn, const char *data, size_t len)
{
    conn->out = malloc(len);
    if (!conn->out) return FAILED;
    memcpy(conn->out, data, len);
    conn->out_at = 0;
    conn->out_len = len;
    return PART;
}

/* Sends `head`, then *body, of which *body_sent is told. What is left of the head is kept; what is left of the body not. */
static enum sent send_both(struct ht__http_conn *conn, const char *head, size_t head_len, const char *body,
                           size_t body_len, size_t *body_sent, int flags)
{
    struct iovec iov[2] = {{(char *)head, head_len}, {(char *)body, body_len}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = body_len > 0 ? 2 : 1};
    ssize_t n = sendmsg(conn->fd, &message, MSG_NOSIGNAL | flags);
    *body_sent = n > (ssize_t)head_len ? (size_t)n - head_len : 0;
    if (n == (ssize_t)(head_len + body_len)) return ALL;
    if (n < 0 && stuck(conn) == FAILED) return FAILED;
    size_t sent = n > 0 ? (size_t)n : 0;
    return sent < head_len ? keep(conn, head + sent, head_len - sent) : PART;
}

static enum sent flush(struct ht__http_conn *conn)
{
    if (!conn->out) return ALL;
    while (conn->out_at < conn->out_len) {
        ssize_t n = send(conn->fd, conn->out + conn->out_at, conn->out_len - conn->out_at, MSG_NOSIGNAL);
        if (n < 0) return stuck(conn);
        conn->out_at += (size_t)n;
    }
    free(conn->out);
    conn->out = NULL;
    return ALL;
}

/* -- Heads. -- */

/* As RFC 9110 has it, in whatever locale. */
static const char *date(struct ht__http_loop *loop)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm t;
    if (now == loop->date_of) return loop->date;
    gmtime_r(&now, &t);
    snprintf(loop->date, sizeof loop->date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + t.tm_wday % 7 * 3,
             t.tm_mday % 100, months + t.tm_mon % 12 * 3, (t.tm_year + 1900) % 10000, t.tm_hour % 100, t.tm_min % 100,
             t.tm_sec % 100);
    loop->date_of = now;
    return loop->date;
}

static bool is_head(const struct ht__http_request *r)
{
    return strcmp(r->method, "HEAD") == 0;
}

static bool has_no_body(int status)
{
    return status < 200 || status == 204 || status == 304;
}

/* How the body's end is told, and what the connection does then. */
static int framing(const struct ht__http_request *r, char *out, size_t size)
{
    const char *connection = r->closes ? "Connection: close\r\n" : r->minor == 0 ? "Connection: keep-alive\r\n" : "";
    if (r->answer.kind == HT__ANSWER_STREAM)
        return snprintf(out, size, "%s%s", r->minor > 0 && !is_head(r) ? "Transfer-Encoding: chunked\r\n" : "",
                        connection);
    if (has_no_body(r->answer.status)) return snprintf(out, size, "%s", connection);
    return snprintf(out, size, "Content-Length: %llu\r\n%s", (unsigned long long)r->answer.len, connection);
}

static char *put(char *out, const char *text, size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

/* Into the loop's scratch or, where that is too small, into memory of its own: *own. Returns its length; 0: no memory. */
static size_t make_head(struct ht__http_conn *conn, char **head, char **own)
{
    const struct ht__http_request *r = conn->request;
    size_t most = HEAD_BESIDE;
    for (const struct ht__http_field *f = r->fields; f; f = f->next)
        most += f->name_len + f->value_len + 4;
    *own = most > HT__HTTP_HEAD_SCRATCH ? malloc(most) : NULL;
    *head = *own ? *own : conn->loop->head_scratch;
    if (!*own && most > HT__HTTP_HEAD_SCRATCH) return 0;
    char *out = *head;
    out += snprintf(out, HEAD_BESIDE, "HTTP/1.1 %03d %s\r\nDate: %s\r\n", r->answer.status,
                    ht__http_reason_phrase(r->answer.status), date(conn->loop));
    out += framing(r, out, HEAD_BESIDE - (size_t)(out - *head));
    for (const struct ht__http_field *f = r->fields; f; f = f->next) {
        out = put(out, f->name, f->name_len);
        out = put(out, ": ", 2);
        out = put(out, f->value, f->value_len);
        out = put(out, "\r\n", 2);
    }
    out = put(out, "\r\n", 2);
    return (size_t)(out - *head);
}

/* The head, and with it as much of a body in memory as goes. */
static enum sent start(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    struct ht__http_answer *a = &r->answer;
    char *head, *own;
    r->headed = true;
    if (a->kind == HT__ANSWER_BROKEN) return FAILED;
    size_t body_sent, len = make_head(conn, &head, &own);
    if (is_head(r) || has_no_body(a->status)) a->len = 0;
    bool memory = a->kind == HT__ANSWER_MEMORY;
    enum sent sent = len == 0 ? FAILED
                              : send_both(conn, head, len, a->body, memory ? (size_t)a->len : 0, &body_sent,
                                          !memory && a->kind != HT__ANSWER_STREAM && a->len > 0 ? MSG_MORE : 0);
    free(own);
    if (len > 0 && memory) r->sent = body_sent;
    return sent;
}

/* -- Bodies. -- */

static enum sent send_memory(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    while (r->sent < r->answer.len) {
        ssize_t n = send(conn->fd, r->answer.body + r->sent, (size_t)(r->answer.len - r->sent), MSG_NOSIGNAL);
        if (n < 0) return stuck(conn);
        r->sent += (uint64_t)n;
    }
    return ALL;
}

static enum sent send_file(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    uint64_t until = r->sent + FILE_TURN;
    while (r->sent < r->answer.len) {
        uint64_t left = r->answer.len - r->sent;
        off_t at = (off_t)(r->answer.offset + r->sent);
        ssize_t n = sendfile(conn->fd, r->answer.fd, &at, left < FILE_TURN ? (size_t)left : FILE_TURN);
        if (n == 0) return FAILED; /* the file was cut: the client sees that bytes are missing */
        if (n < 0) return stuck(conn);
        r->sent += (uint64_t)n;
        if (r->sent < until || r->sent == r->answer.len) continue;
        conn->blocked = true; /* others first */
        return PART;
    }
    return ALL;
}

/* The piece that goes out next, when the last is out. */
static bool have_piece(struct ht__http_answer *a)
{
    while (a->piece.len == 0) {
        ht__http_piece_drop(&a->piece);
        if (!a->pieces.next(a->pieces.ctx, &a->piece)) return false;
    }
    return true;
}

static ssize_t send_some(int to, struct ht__http_piece *piece, size_t most, bool more)
{
    size_t len = piece->len < most ? (size_t)piece->len : most;
    off_t at = (off_t)piece->offset;
    if (!piece->data) return sendfile(to, piece->fd, &at, len);
    return send(to, (const char *)piece->data + piece->offset, len, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
}

static enum sent send_pieces(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    struct ht__http_answer *a = &r->answer;
    uint64_t until = r->sent + FILE_TURN;
    while (r->sent < a->len) {
        uint64_t left = a->len - r->sent;
        if (!have_piece(a)) return FAILED; /* the client sees that bytes are missing */
        ssize_t n = send_some(conn->fd, &a->piece, left < FILE_TURN ? (size_t)left : FILE_TURN, a->piece.len < left);
        if (n == 0) return FAILED;
        if (n < 0) return stuck(conn);
        r->sent += (uint64_t)n;
        a->piece.offset += (uint64_t)n;
        a->piece.len -= (uint64_t)n;
        if (r->sent < until || r->sent == a->len) continue;
        conn->blocked = true; /* others first */
        return PART;
    }
    return ALL;
}

/* One piece with its frame around it; CHUNK_FRAME bytes lie before and after it. */
static enum sent send_piece(struct ht__http_conn *conn, char *piece, size_t n)
{
    struct ht__http_request *r = conn->request;
    size_t none;
    r->sent += n;
    if (r->minor == 0) return send_both(conn, piece, n, NULL, 0, &none, 0);
    char size[CHUNK_FRAME];
    int digits = snprintf(size, sizeof size, "%zx\r\n", n);
    memcpy(piece - digits, size, (size_t)digits);
    memcpy(piece + n, "\r\n", 2);
    return send_both(conn, piece - digits, n + (size_t)digits + 2, NULL, 0, &none, 0);
}

/* PART without being blocked: the stream has no more for now. */
static enum sent send_stream(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    size_t n, none;
    for (int i = 0; i < STREAM_TURN; i++) {
        char *piece = conn->loop->head_scratch + CHUNK_FRAME;
        enum sent sent = ALL;
        switch (ht__http_stream_take(r->answer.stream, piece, STREAM_PIECE, &n)) {
        case HT__HTTP_MORE: return PART;
        case HT__HTTP_BAD: return FAILED;
        case HT__HTTP_DATA: sent = send_piece(conn, piece, n); break;
        case HT__HTTP_END:
            ht__http_stream_leave(r->answer.stream);
            r->answer.len = r->sent;
            r->stream_over = true;
            return r->minor == 0 ? ALL : send_both(conn, "0\r\n\r\n", 5, NULL, 0, &none, 0);
        }
        if (sent != ALL) return sent;
    }
    conn->blocked = true; /* others first */
    return PART;
}

static enum sent send_body(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    switch (r->answer.kind) {
    case HT__ANSWER_MEMORY: return send_memory(conn);
    case HT__ANSWER_FILE: return send_file(conn);
    case HT__ANSWER_PIECES: return send_pieces(conn);
    case HT__ANSWER_STREAM: return r->stream_over ? ALL : send_stream(conn);
    default: return FAILED;
    }
}

/* Where only the connection's end tells the body's, a broken one must not look like it. */
static void reset(struct ht__http_conn *conn)
{
    struct linger at_once = {.l_onoff = 1};
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void ht__http_write(struct ht__http_conn *conn)
{
    struct ht__http_request *r = conn->request;
    conn->blocked = false;
    enum sent sent = flush(conn);
    if (sent == ALL && !r->headed) sent = start(conn);
    if (sent == ALL || (sent == PART && !conn->out && !conn->blocked)) sent = send_body(conn);
    if (sent == FAILED) {
        if (r->answer.kind == HT__ANSWER_STREAM && r->minor == 0) reset(conn);
        ht__http_conn_close(conn);
    } else if (sent == ALL) {
        ht__http_conn_finish(conn);
    }
}

void ht__http_write_continue(struct ht__http_conn *conn)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t none;
    conn->blocked = false;
    if (flush(conn) == ALL) send_both(conn, text, sizeof text - 1, NULL, 0, &none, 0);
}
