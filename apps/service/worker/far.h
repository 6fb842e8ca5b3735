/*
 * Inside this folder: the server, as a worker speaks to it.
 *
 * worker.c   what `halftone worker` is told, its start and its end
 * far.c      one request and its answer
 * link.c     jobs from the server (runner/link.h)
 * fetch.c    a job's model, where it lies with the server
 * bring.c    what a job has made, to the server
 * share.c    a worker that has the server's folder
 * wake.c     a worker that Redis wakes
 */
#ifndef HT_SERVICE_WORKER_FAR_H
#define HT_SERVICE_WORKER_FAR_H

#include "service/artifacts/artifacts.h"
#include "service/child/roots.h"
#include "service/log/log.h"
#include "service/runner/link.h"

#include <curl/curl.h>
#include <pthread.h>

enum { FAR_HANDLES = 16 };

struct far {
    struct worker_link link;
    const char *server, *token, *name, *folder; /* the caller's; folder: the worker's own, absolute */
    const char *share;                          /* the service's data folder, as it is seen here; NULL: it is not */
    struct wake *wake;                          /* Redis; NULL: the server is asked */
    struct artifacts *bucket; /* where it keeps finished files, if this worker brings them there itself */
    const json_t *labels;
    int slots;
    const struct roots *roots;
    struct log *log;
    atomic_bool stopped;
    pthread_mutex_t lock; /* owns the rest */
    CURL *idle[FAR_HANDLES];
    int n_idle;
    char id[STORE_ID_SIZE]; /* as the server calls this worker; "": not yet */
    struct duty *duties;
    char why[500]; /* of the latest failure */
    bool unreachable;
};

/* A request. body is stolen (NULL: none). *answer (may be NULL) is the caller's. OK: status 2xx. NOT_FOUND 404, CONFLICT
 * 409, BUSY 429 and 503, FULL 507, FAILED: all else, see far_why. */
struct asked {
    const char *method, *path; /* behind /api/v1 */
    json_t *body;
    double seconds;     /* until which there must be an answer; 0: 30 */
    bool until_stopped; /* ends at once when the worker stops */
    const char *digest; /* header Content-Digest, of: */
    FILE *file;         /* sent as the body, from its start */
    uint64_t size;
    int to;                              /* > 0: the answer's body goes there, from: */
    uint64_t from;                       /* asked for as a range */
    bool (*goes_on)(void *ctx);          /* asked about once a second; may be NULL */
    void (*came)(void *ctx, uint64_t n); /* bytes that went to `to`, since the start of this request */
    void *ctx;
};
enum store_result far_ask(struct far *f, struct asked *asked, json_t **answer);
/*
 * Is a request worth one more try? Waits before it says so, longer from time to time. The server may be away for as long as a
 * run goes on without it (link.silence_seconds), which the heartbeats beside this say by `goes_on`; where they are answered and
 * only this request is not, it ends after a few tries, and not before twice that time.
 */
struct patience {
    double began;
    int tries;
};
bool far_again(const struct far *f, struct patience *p, bool (*goes_on)(void *ctx), void *ctx);
void far_fail(struct far *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
void far_why(struct far *f, char *why, size_t size);
/* The name as a path of an address: everything but letters, digits, "-._~" and "/" is escaped. */
void far_escape(const char *name, char *text, size_t size);
/* Introduces this worker, and forgets unfinished work that nobody wants. */
enum store_result far_introduce(struct far *f);
void far_leave(struct far *f);
json_t *far_machine(const struct far *f);

/* wake.c. AWAY: Redis cannot be reached just now (not tried again for some seconds): ask the server, and wait there. */
struct wake;
enum wake_result { WAKE_ENTRY, WAKE_NOTHING, WAKE_AWAY };
struct wake *wake_open(const char *url, char *why, size_t size); /* NULL: why */
void wake_close(struct wake **wake);                             /* NULL-safe */
enum wake_result wake_wait(struct far *f, struct wake *wake, const char *consumer, double seconds, char entry[48]);

/* link.c. The link owns what it made, not the strings. */
struct worker_link *far_link(struct far *f);
void far_task(const struct store_claim *claim, char text[80]);
/* Where in the bucket the claim's files go; "": nowhere. */
void far_place(struct far *f, const struct store_claim *claim, char *place, size_t size);

/* Is it the service's, and does it do what the work leans on? False: far_why. */
bool far_check_share(struct far *f, const char *id, const char *wanted);
void far_work(struct worker_link *link, const struct store_claim *claim, char *work, size_t size);
bool far_fetch(struct worker_link *link, const struct link_fetch *fetch, char *why, size_t size);
enum store_result far_publish(struct worker_link *link, const struct publication *publication);

#endif
