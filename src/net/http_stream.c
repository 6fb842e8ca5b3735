/*
 * Streams: a bounded ring between any thread and the connection's loop, which is told when there is something new in it.
 */
#include "net/http_internal.h"

#include <stdlib.h>
#include <string.h>

enum { KEPT_EMPTY = 4096 };

void ht__http_stream_drop(struct ht__http_stream *s)
{
    if (atomic_fetch_sub(&s->refs, 1) > 1) return;
    pthread_mutex_destroy(&s->lock);
    free(s->queue);
    free(s);
}

/* Under the stream's lock. */
static void tell(struct ht__http_stream *s)
{
    if (!s->live || s->gone || s->posted) return;
    s->posted = true;
    atomic_fetch_add(&s->refs, 1);
    ht__http_post(s->loop, &s->mail);
}

/* Stands for any stream that could not be made. */
static struct ht__http_stream nowhere = {.gone = true};

struct ht__http_stream *ht__http_stream_new(struct ht__http_request *r, size_t max_queued, bool *answer)
{
    struct ht__http_stream *s = calloc(1, sizeof *s);
    *answer = s && r;
    if (!s) return &nowhere;
    pthread_mutex_init(&s->lock, NULL);
    atomic_init(&s->refs, r ? 2 : 1);
    s->mail.kind = HT__MAIL_STREAM;
    s->mail.what = s;
    s->max = max_queued;
    s->gone = !r || r->gone;
    if (r) s->loop = r->loop;
    return s;
}

/* -- The loop's side. -- */

void ht__http_stream_join(struct ht__http_stream *s, struct ht__http_conn *conn)
{
    s->conn = conn;
    pthread_mutex_lock(&s->lock);
    s->live = true;
    if (atomic_load(&conn->loop->server->ending)) s->ended = true;
    pthread_mutex_unlock(&s->lock);
}

void ht__http_stream_leave(struct ht__http_stream *s)
{
    s->conn = NULL;
    pthread_mutex_lock(&s->lock);
    s->gone = true;
    pthread_mutex_unlock(&s->lock);
}

/* Takes up to n bytes out of the ring. */
static size_t take(struct ht__http_stream *s, char *out, size_t n)
{
    if (n > s->len) n = s->len;
    size_t first = s->cap - s->head < n ? s->cap - s->head : n;
    memcpy(out, s->queue + s->head, first);
    memcpy(out + first, s->queue, n - first);
    s->len -= n;
    s->head = s->len == 0 ? 0 : (s->head + n) % s->cap;
    if (s->len == 0 && s->cap > KEPT_EMPTY) { /* a thousand idle streams should not each keep their largest burst */
        free(s->queue);
        s->queue = NULL;
        s->cap = 0;
    }
    return n;
}

enum ht__http_step ht__http_stream_take(struct ht__http_stream *s, char *out, size_t max, size_t *n)
{
    enum ht__http_step step = HT__HTTP_MORE;
    pthread_mutex_lock(&s->lock);
    if (s->broken) {
        step = HT__HTTP_BAD;
    } else if (s->len > 0) {
        *n = take(s, out, max);
        step = HT__HTTP_DATA;
    } else if (s->ended) {
        step = HT__HTTP_END;
    }
    pthread_mutex_unlock(&s->lock);
    return step;
}

/* -- The application's side. -- */

/* Room for len more bytes, the ring's content at its start. */
static bool grow(struct ht__http_stream *s, size_t len)
{
    size_t cap = s->cap ? s->cap : 512;
    while (cap - s->len < len)
        cap *= 2;
    char *queue = malloc(cap);
    if (!queue) return false;
    size_t n = s->len, first = s->cap - s->head < n ? s->cap - s->head : n;
    if (n > 0) {
        memcpy(queue, s->queue + s->head, first);
        memcpy(queue + first, s->queue, n - first);
    }
    free(s->queue);
    s->queue = queue;
    s->cap = cap;
    s->head = 0;
    return true;
}

static bool put(struct ht__http_stream *s, const char *data, size_t len)
{
    bool room = len <= s->max && s->len <= s->max - len;
    if (!room || (s->cap - s->len < len && !grow(s, len))) {
        s->broken = true; /* bytes are lost: the client must not take what it has for the whole */
        tell(s);
        return false;
    }
    size_t at = (s->head + s->len) % s->cap, first = s->cap - at < len ? s->cap - at : len;
    memcpy(s->queue + at, data, first);
    memcpy(s->queue, data + first, len - first);
    s->len += len;
    tell(s);
    return true;
}

bool ht__http_stream_send(struct ht__http_stream *s, const void *data, size_t len)
{
    if (s == &nowhere) return false;
    pthread_mutex_lock(&s->lock);
    bool ok = !s->gone && !s->ended && !s->broken && (len == 0 || put(s, data, len));
    pthread_mutex_unlock(&s->lock);
    return ok;
}

void ht__http_stream_end(struct ht__http_stream **stream)
{
    struct ht__http_stream *s = *stream;
    *stream = NULL;
    if (!s || s == &nowhere) return;
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    tell(s);
    pthread_mutex_unlock(&s->lock);
    ht__http_stream_drop(s);
}
