/* The service as a whole: what its parts share. Set up by serve.c before the first request, closed after the last. */
#ifndef HT_SERVICE_API_SERVER_H
#define HT_SERVICE_API_SERVER_H

#include "net/http.h"
#include "service/events/events.h"
#include "service/log/log.h"
#include "service/runner/runner.h"
#include "service/settings/settings.h"
#include "service/store/store.h"

#include <stdatomic.h>

struct access;      /* api/access.h: tokens, sessions, rates */
struct grants;      /* api/grants.h: transfers that end with their tokens */
struct helpers;     /* api/helpers.h: threads that wait for children */
struct metrics;     /* api/metrics.h */
struct roots;       /* child/roots.h: folders of local models */
struct streams;     /* api/streams.h: clients that listen to events */
struct answers;     /* api/answers.h: estimates that were made before */
struct proxies;     /* api/proxies.h: whose word about addresses is taken */
struct readiness;   /* api/readiness.h */
struct runtime;     /* runtime/runtime.h: models that answer */
struct stats;       /* levels/stats.h: figures of each of them */
struct adjuster;    /* api/adjust.h: steps through the levels by readings */
struct levels;      /* levels/levels.h: which level of a model answers */
struct request_log; /* api/request_log.h */
struct lender;      /* api/lender.h: workers of other machines that wait */

struct server {
    const struct settings *settings;
    struct log *log;
    struct store *store;
    struct events *events;
    struct scheduler *scheduler;
    struct ht__http *http, *ollama; /* the second where --ollama-port is given */
    struct access *access;
    struct grants *grants;
    struct helpers *helpers, *writers; /* wait for children; for the store's turn to write */
    struct helpers *switchers;         /* wait for levels of models */
    struct helpers *fetchers;          /* wait for files from the bucket */
    struct artifacts *artifacts;
    struct bell *_Atomic bell; /* NULL: there is no Redis */
    struct metrics *metrics;
    struct roots *roots;
    struct streams *streams;
    struct answers *answers;
    struct request_log *request_log;
    struct proxies *proxies;
    struct readiness *readiness;
    struct runtime *runtime;
    struct stats *stats;
    struct levels *levels;
    struct lender *_Atomic lender;
    struct adjuster *adjuster;
    const char *const *hub_environment; /* for children that reach the hub */
    const char *uploads;                /* DATA/uploads */
    char **types;                       /* of each format, the list of its types as it is answered */
    bool loopback;                      /* listens to this machine alone */
    double started;                     /* CLOCK_MONOTONIC */
    uint32_t run;                       /* of this start: what requests' ids begin with */
    atomic_ullong n_requests;
    atomic_bool ready, stopping;
    atomic_int in_flight; /* callbacks of HTTP that run: they lean on all of the above */
};

#endif
