/* The service as a whole: what its parts share. Set up by serve.c before the first request, closed after the last. */
#ifndef HT_SERVER_SERVER_H
#define HT_SERVER_SERVER_H

#include "net/http.h"
#include "server/events.h"
#include "server/log.h"
#include "server/runner.h"
#include "server/settings.h"
#include "server/store.h"

#include <stdatomic.h>

struct access;  /* api/access.h: tokens, sessions, rates */
struct helpers; /* api/helpers.h: threads that wait for children */
struct metrics; /* api/metrics.h */
struct roots;   /* api/roots.h: folders of local models */
struct streams; /* api/streams.h: clients that listen to events */
struct answers; /* api/answers.h: estimates that were made before */

struct server {
    const struct settings *settings;
    struct log *log;
    struct store *store;
    struct events *events;
    struct scheduler *scheduler;
    struct ht__http *http;
    struct access *access;
    struct helpers *helpers, *writers; /* wait for children; for the store's turn to write */
    struct metrics *metrics;
    struct roots *roots;
    struct streams *streams;
    struct answers *answers;
    const char *const *hub_environment; /* for children that reach the hub */
    const char *uploads;                /* DATA/uploads */
    char *gguf_types;                   /* the list of types as it is answered */
    bool loopback;                      /* listens to this machine alone */
    double started;                     /* CLOCK_MONOTONIC */
    uint32_t run;                       /* of this start: what requests' ids begin with */
    atomic_ullong n_requests;
    atomic_bool ready, stopping;
    atomic_int in_flight; /* callbacks of HTTP that run: they lean on all of the above */
};

#endif
