/*
 * What happens, told to whoever listens: ids strictly increase, also across restarts (they are taken
 * from the store in blocks), the last few thousand events are kept for those who come back.
 */
#ifndef HT_SERVICE_EVENTS_EVENTS_H
#define HT_SERVICE_EVENTS_EVENTS_H

#include "service/store/store.h"

struct events;
struct events_subscription;

/* Pointers live during the callback only. */
struct event {
    uint64_t id;
    const char *kind;   /* job, removed, resync, shutdown */
    const char *job_id; /* "": about no job in particular */
    const char *data;   /* JSON, one line */
    size_t data_len;
};

/* Called in the publisher's thread (a replay: in the subscriber's, before events_subscribe returns), in the order
 * of ids, one call at a time for a subscription. It must not block (queue and return) and must not call
 * into events. */
typedef void (*event_fn)(void *ctx, const struct event *event);

struct events *events_open(struct store *store); /* NULL: no memory, or no ids from the store */
void events_close(struct events **events);       /* all subscriptions must be gone; NULL-safe */

/* Steals data (NULL: {}). Returns the id; 0: lost for want of memory (subscribers then get resync the next
 * time something is published). job_id may be NULL. */
uint64_t events_publish(struct events *events, const char *kind, const char *job_id, json_t *data);

/* job_id NULL: all jobs. after_id (Last-Event-ID): 0: only what comes; otherwise first everything after it, or, when
 * that is no longer known (too old, or from another database), one `resync` that carries the latest id. "shutdown"
 * and "resync" reach everybody. NULL: no memory. */
struct events_subscription *events_subscribe(struct events *events, const char *job_id, uint64_t after_id, event_fn fn,
                                             void *ctx);
/* When it returns, the callback is not running and will not run again. Not from within the callback. NULL-safe. */
void events_unsubscribe(struct events *events, struct events_subscription *subscription);
int events_subscribers(struct events *events);
uint64_t events_latest(struct events *events);

#endif
