/*
 * Streams: a bounded ring between any thread and the connection's loop. The connection sleeps while the ring is empty.
 */
#include "net/http_internal.h"

#include <stdlib.h>
#include <string.h>

enum { KEPT_EMPTY = 4096, RESPONSE_BLOCK = 1024 };

static void drop(struct ht__http_stream *s)
{
    if (atomic_fetch_sub(&s->refs, 1) > 1) return;
    pthread_mutex_destroy(&s->lock);
    free(s->queue);
    free(s);
}

static void wake(struct ht__http_stream *s)
{
    if (s->suspended) MHD_resume_connection(s->mhd);
    s->suspended = false;
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

static ssize_t read_stream(void *ctx, uint64_t pos, char *out, size_t max)
{
    struct ht__http_stream *s = ctx;
    ssize_t n = 0;
    (void)pos;
    pthread_mutex_lock(&s->lock);
    if (s->broken) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (s->len > 0) {
        n = (ssize_t)take(s, out, max);
        s->sent += (uint64_t)n;
    } else if (s->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        s->suspended = true;
        MHD_suspend_connection(s->mhd);
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

static void unlist(struct ht__http_stream *s)
{
    struct ht__http *server = s->server;
    pthread_mutex_lock(&server->streams_lock);
    if (s->next) s->next->prev = s->prev;
    *(s->prev ? &s->prev->next : &server->streams) = s->next;
    pthread_mutex_unlock(&server->streams_lock);
}

/* The response is gone: so is the connection, as far as the stream knows. */
static void response_gone(void *ctx)
{
    struct ht__http_stream *s = ctx;
    unlist(s);
    pthread_mutex_lock(&s->lock);
    s->gone = true;
    s->suspended = false;
    pthread_mutex_unlock(&s->lock);
    drop(s);
}

static void enlist(struct ht__http_stream *s)
{
    struct ht__http *server = s->server;
    pthread_mutex_lock(&server->streams_lock);
    s->next = server->streams;
    if (s->next) s->next->prev = s;
    server->streams = s;
    if (server->ending) s->ended = true;
    pthread_mutex_unlock(&server->streams_lock);
}

/* Stands for any stream that could not be made. */
static struct ht__http_stream nowhere = {.gone = true};

struct ht__http_stream *ht__http_stream_new(struct ht__http_request *r, size_t max_queued, struct MHD_Response **response)
{
    *response = NULL;
    struct ht__http_stream *s = calloc(1, sizeof *s);
    if (!s) return &nowhere;
    pthread_mutex_init(&s->lock, NULL);
    atomic_init(&s->refs, 1);
    s->max = max_queued;
    s->gone = true;
    if (!r) return s;
    *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, RESPONSE_BLOCK, read_stream, s, response_gone);
    if (!*response) return s;
    s->gone = false;
    s->server = r->server;
    s->conn = r->conn;
    s->mhd = r->mhd;
    s->moved = ht__http_now();
    atomic_init(&s->refs, 2);
    enlist(s);
    return s;
}

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
        wake(s);
        return false;
    }
    size_t at = (s->head + s->len) % s->cap, first = s->cap - at < len ? s->cap - at : len;
    memcpy(s->queue + at, data, first);
    memcpy(s->queue, data + first, len - first);
    s->len += len;
    wake(s);
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
    if (!s->gone) wake(s);
    pthread_mutex_unlock(&s->lock);
    drop(s);
}

void ht__http_break_stream(struct ht__http_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->broken = true;
    wake(s);
    pthread_mutex_unlock(&s->lock);
}

void ht__http_end_streams(struct ht__http *server)
{
    pthread_mutex_lock(&server->streams_lock);
    server->ending = true;
    for (struct ht__http_stream *s = server->streams; s; s = s->next) {
        pthread_mutex_lock(&s->lock);
        s->ended = true;
        wake(s);
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_unlock(&server->streams_lock);
}
