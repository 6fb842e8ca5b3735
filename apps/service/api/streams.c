/*
 * A listener is fed by the publisher's thread, which must not wait: what a client does not take in time fills the
 * stream's queue, and a full queue ends it. The client comes back with Last-Event-ID and gets what it missed, or
 * `resync` when that is more than is kept, or than a stream holds at once.
 */
#include "service/api/streams.h"

#include "net/http.h"
#include "service/api/api.h"
#include "service/system/steady.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_QUEUED = 256 << 10, MAX_REPLAY = 128 << 10, PING_SECONDS = 15 };

struct listener {
    struct listener *next;
    struct ht__http_stream *stream;
    struct events_subscription *subscription;
    pthread_mutex_t lock; /* order on the stream: a replay's end and new events meet here */
    bool replaying, lagging;
    size_t replayed;
    uint64_t latest;
    atomic_bool gone;
    int seconds;                            /* since the last ping */
    char token[STORE_ID_SIZE], session[65]; /* what it listens by */
    double until;                           /* 0: no end */
};

struct streams {
    struct events *events;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    struct listener *first;
    int n;
    bool closing, started;
};

static void send_text(struct listener *l, const char *text, size_t len)
{
    if (!atomic_load(&l->gone) && !ht__http_stream_send(l->stream, text, len)) atomic_store(&l->gone, true);
}

/* One piece, so that it is sent whole or not at all. Data is one line of JSON. */
static void send_event(struct listener *l, uint64_t id, const char *kind, const char *data, size_t data_len)
{
    char small[1024], *text = small;
    size_t size = data_len + strlen(kind) + 64;
    if (size > sizeof small && !(text = malloc(size))) {
        atomic_store(&l->gone, true);
        return;
    }
    int n =
        snprintf(text, size, "id: %llu\nevent: %s\ndata: %.*s\n\n", (unsigned long long)id, kind, (int)data_len, data);
    send_text(l, text, (size_t)n);
    l->replayed += (size_t)n;
    if (text != small) free(text);
}

static void on_event(void *ctx, const struct event *event)
{
    struct listener *l = ctx;
    pthread_mutex_lock(&l->lock);
    l->latest = event->id;
    if (l->replaying && l->replayed > MAX_REPLAY) l->lagging = true;
    if (!l->lagging) send_event(l, event->id, event->kind, event->data, event->data_len);
    pthread_mutex_unlock(&l->lock);
}

static void end_listener(struct streams *s, struct listener *l)
{
    events_unsubscribe(s->events, l->subscription);
    ht__http_stream_end(&l->stream);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* Takes listeners that are gone (or all) out of the list; under the lock. They are ended without it. */
static struct listener *take_gone(struct streams *s, bool all)
{
    struct listener *gone = NULL;
    for (struct listener **at = &s->first; *at;) {
        struct listener *l = *at;
        if (!all && !atomic_load(&l->gone)) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        l->next = gone;
        gone = l;
        s->n--;
    }
    return gone;
}

static void each_second(struct listener *first)
{
    double now = steady_seconds();
    for (struct listener *l = first; l; l = l->next) {
        if (l->until > 0 && now >= l->until) atomic_store(&l->gone, true);
        if (++l->seconds < PING_SECONDS) continue;
        l->seconds = 0;
        send_text(l, ": ping\n\n", 8);
    }
}

static void *tend(void *ctx)
{
    struct streams *s = ctx;
    double second = steady_seconds() + 1;
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        steady_cond_wait(&s->wake, &s->lock, second - steady_seconds()); /* woken when a listener is to go */
        for (; steady_seconds() >= second; second += 1)
            each_second(s->first);
        struct listener *gone = take_gone(s, false), *next;
        pthread_mutex_unlock(&s->lock);
        for (; gone; gone = next) {
            next = gone->next;
            end_listener(s, gone);
        }
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct streams *streams_open(struct events *events)
{
    struct streams *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->events = events;
    pthread_mutex_init(&s->lock, NULL);
    steady_cond_init(&s->wake);
    s->started = pthread_create(&s->thread, NULL, tend, s) == 0;
    if (!s->started) streams_close(&s);
    return s;
}

void streams_close(struct streams **streams)
{
    struct streams *s = *streams;
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->started) pthread_join(s->thread, NULL);
    struct listener *all = take_gone(s, true), *next;
    for (; all; all = next) {
        next = all->next;
        end_listener(s, all);
    }
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *streams = NULL;
}

bool streams_add(struct streams *s, struct ht__http_stream *stream, const char *job_id, uint64_t after,
                 const struct caller *by)
{
    static const char hello[] = "retry: 3000\n\n";
    struct listener *l = calloc(1, sizeof *l);
    if (!l) return ht__http_stream_end(&stream), false;
    pthread_mutex_init(&l->lock, NULL);
    l->stream = stream;
    l->replaying = true;
    memcpy(l->token, by->token_id, sizeof l->token);
    memcpy(l->session, by->session, sizeof l->session);
    l->until = by->until;
    send_text(l, hello, sizeof hello - 1);
    l->subscription = events_subscribe(s->events, job_id, after, on_event, l);
    if (!l->subscription) {
        ht__http_stream_end(&l->stream);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return false;
    }
    pthread_mutex_lock(&l->lock);
    if (l->lagging) send_event(l, l->latest, "resync", "{}", 2);
    l->replaying = l->lagging = false;
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_lock(&s->lock);
    l->next = s->first;
    s->first = l;
    s->n++;
    pthread_mutex_unlock(&s->lock);
    return true;
}

void streams_end_of(struct streams *s, const char *who)
{
    pthread_mutex_lock(&s->lock);
    for (struct listener *l = s->first; l; l = l->next)
        if (*who && (strcmp(l->token, who) == 0 || strcmp(l->session, who) == 0)) atomic_store(&l->gone, true);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

int streams_count(struct streams *s)
{
    pthread_mutex_lock(&s->lock);
    int n = s->n;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* -- The two addresses. -- */

enum { STREAM_QUEUE = MAX_QUEUED };

static void listen_to(struct api_call *call, const char *job_id)
{
    const char *last = ht__http_header(call->request, "Last-Event-ID");
    int64_t after = 0;
    if (!api_query_known(call, "after") || !api_query_number(call, "after", 0, INT64_MAX - 1, &after)) return;
    if (last && *last) { /* one that is not ours is as one that is no longer known */
        char *end;
        unsigned long long id = *last >= '0' && *last <= '9' ? strtoull(last, &end, 10) : 0;
        after = id > 0 && !*end && id < INT64_MAX ? (int64_t)id : INT64_MAX;
    }
    if (atomic_load(&call->server->stopping)) {
        api_problem(call, "stopping", "the service is stopping");
        return;
    }
    api_common_headers(call->request);
    api_header(call, "Cache-Control", "no-store");
    api_header(call, "X-Accel-Buffering", "no");
    struct streams *streams = call->server->streams;
    char id[STORE_ID_SIZE] = ""; /* the call may end with the stream */
    struct server *server = call->server;
    struct caller by = call->caller;
    if (job_id) snprintf(id, sizeof id, "%s", job_id);
    struct ht__http_stream *stream = ht__http_answer_stream(call->request, "text/event-stream", STREAM_QUEUE);
    streams_add(streams, stream, job_id ? id : NULL, (uint64_t)after, &by);
    /* a token that was removed in between: its streams were ended before this one was there */
    if (*by.token_id && !store_token_known(server->store, by.token_id)) streams_end_of(streams, by.token_id);
}

void api_events(struct api_call *call)
{
    listen_to(call, NULL);
}

void api_jobs_events(struct api_call *call)
{
    json_t *job =
        strlen(call->segments[0]) == STORE_ID_SIZE - 1 ? store_job_brief(call->server->store, call->segments[0]) : NULL;
    bool known = job != NULL;
    json_decref(job);
    if (known)
        listen_to(call, call->segments[0]);
    else
        api_problem(call, "not-found", "there is no such job");
}
