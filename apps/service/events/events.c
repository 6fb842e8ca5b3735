/*
 * A ring of the latest events and a list of listeners, behind one lock: publishing calls the listeners
 * under it, so each gets the events in order, and unsubscribing waits for a call that is under way.
 */
#include "service/events/events.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { RING = 4096, BLOCK = 10000 };
#define RING_BYTES ((size_t)8 << 20)

struct kept {
    uint64_t id;
    size_t len;
    char kind[12], job_id[STORE_ID_SIZE];
    char data[];
};

struct events_subscription {
    struct events_subscription *next, **at;
    char job_id[STORE_ID_SIZE]; /* "": all */
    event_fn fn;
    void *ctx;
    bool missed; /* an event was lost for want of memory */
};

struct events {
    struct store *store;
    pthread_mutex_t lock; /* owns the rest */
    uint64_t next, end;   /* ids that are ours */
    uint64_t latest;      /* given out */
    uint64_t gone;        /* everything after this id is in the ring */
    struct kept *ring[RING];
    size_t first, n, bytes;
    struct events_subscription *subscriptions;
    int n_subscriptions;
};

struct events *events_open(struct store *store)
{
    struct events *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->store = store;
    e->next = store_event_block(store, BLOCK);
    if (e->next == 0) {
        free(e);
        return NULL;
    }
    e->end = e->next + BLOCK;
    e->latest = e->gone = e->next - 1;
    pthread_mutex_init(&e->lock, NULL);
    return e;
}

static void drop_first(struct events *e)
{
    struct kept *k = e->ring[e->first];
    e->gone = k->id;
    e->bytes -= sizeof *k + k->len;
    e->first = (e->first + 1) % RING;
    e->n--;
    free(k);
}

void events_close(struct events **events)
{
    struct events *e = *events;
    *events = NULL;
    if (!e) return;
    while (e->n)
        drop_first(e);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

/* The next id. A new block is asked for when half of the old one is left, and again with each event until
 * the store can give one: a full disk is no reason to fall silent. 0: all are used up. */
static uint64_t take_id(struct events *e)
{
    if (e->next >= e->end - BLOCK / 2 && (e->next % 64 == 0 || e->next == e->end)) {
        uint64_t block = store_event_block(e->store, BLOCK);
        if (block) {
            e->next = block;
            e->end = block + BLOCK;
        }
    }
    return e->next < e->end ? e->latest = e->next++ : 0;
}

static struct kept *make(uint64_t id, const char *kind, const char *job_id, const char *data)
{
    size_t len = strlen(data);
    struct kept *k = malloc(sizeof *k + len + 1);
    if (!k) return NULL;
    k->id = id;
    k->len = len;
    strncpy(k->kind, kind, sizeof k->kind - 1)[sizeof k->kind - 1] = '\0';
    strncpy(k->job_id, job_id ? job_id : "", sizeof k->job_id - 1)[sizeof k->job_id - 1] = '\0';
    memcpy(k->data, data, len + 1);
    return k;
}

static void keep(struct events *e, struct kept *k)
{
    while (e->n == RING || (e->n && e->bytes + k->len > RING_BYTES))
        drop_first(e);
    e->ring[(e->first + e->n++) % RING] = k;
    e->bytes += sizeof *k + k->len;
}

static bool concerns(const struct events_subscription *s, const char *job_id)
{
    return !s->job_id[0] || !job_id[0] || strcmp(s->job_id, job_id) == 0;
}

static void tell(struct events_subscription *s, const struct kept *k)
{
    if (!concerns(s, k->job_id)) return;
    s->fn(s->ctx, &(struct event){k->id, k->kind, k->job_id, k->data, k->len});
}

static void tell_resync(struct events_subscription *s, uint64_t id)
{
    s->fn(s->ctx, &(struct event){id, "resync", "", "{}", 2});
    s->missed = false;
}

/* An event without memory for it: listeners must read the list again. */
static void lose(struct events *e, uint64_t id)
{
    while (e->n)
        drop_first(e);
    if (id) e->gone = id;
    for (struct events_subscription *s = e->subscriptions; s; s = s->next)
        s->missed = true;
}

static uint64_t publish(struct events *e, const char *kind, const char *job_id, const char *data)
{
    uint64_t id = take_id(e);
    struct kept *k = id && data ? make(id, kind, job_id, data) : NULL;
    if (!k) {
        lose(e, id);
        return 0;
    }
    keep(e, k);
    for (struct events_subscription *s = e->subscriptions; s; s = s->next) {
        if (s->missed) tell_resync(s, id - 1);
        tell(s, k);
    }
    return id;
}

uint64_t events_publish(struct events *e, const char *kind, const char *job_id, json_t *data)
{
    char *text = data ? json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(12)) : strdup("{}");
    json_decref(data);
    pthread_mutex_lock(&e->lock);
    uint64_t id = publish(e, kind, job_id, text);
    pthread_mutex_unlock(&e->lock);
    free(text);
    return id;
}

static void replay(struct events *e, struct events_subscription *s, uint64_t after)
{
    if (after < e->gone || after > e->latest) {
        tell_resync(s, e->latest);
        return;
    }
    for (size_t i = 0; i < e->n; i++) {
        const struct kept *k = e->ring[(e->first + i) % RING];
        if (k->id > after) tell(s, k);
    }
}

struct events_subscription *events_subscribe(struct events *e, const char *job_id, uint64_t after_id, event_fn fn,
                                             void *ctx)
{
    struct events_subscription *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->fn = fn;
    s->ctx = ctx;
    strncpy(s->job_id, job_id ? job_id : "", sizeof s->job_id - 1);
    pthread_mutex_lock(&e->lock);
    s->next = e->subscriptions;
    s->at = &e->subscriptions;
    if (s->next) s->next->at = &s->next;
    e->subscriptions = s;
    e->n_subscriptions++;
    if (after_id) replay(e, s, after_id);
    pthread_mutex_unlock(&e->lock);
    return s;
}

void events_unsubscribe(struct events *e, struct events_subscription *s)
{
    if (!s) return;
    pthread_mutex_lock(&e->lock);
    *s->at = s->next;
    if (s->next) s->next->at = s->at;
    e->n_subscriptions--;
    pthread_mutex_unlock(&e->lock);
    free(s);
}

int events_subscribers(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    int n = e->n_subscriptions;
    pthread_mutex_unlock(&e->lock);
    return n;
}

uint64_t events_latest(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    uint64_t id = e->latest;
    pthread_mutex_unlock(&e->lock);
    return id;
}
