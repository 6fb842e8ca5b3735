/* Inside this folder: a kind of place for files. See artifacts.h for what each function promises. */
#ifndef HT_SERVICE_ARTIFACTS_DRIVER_H
#define HT_SERVICE_ARTIFACTS_DRIVER_H

#include "service/artifacts/artifacts.h"

#include <pthread.h>
#include <stdatomic.h>

struct artifacts_driver {
    const char *name;
    bool far;
    bool (*probe)(struct artifacts *a, const char *id, const char **note, struct artifacts_call *call);
    json_t *(*stage)(struct artifacts *a, const char *from, const char *place, const json_t *files,
                     struct artifacts_call *call);
    enum artifacts_result (*publish)(struct artifacts *a, const char *from, const char *place, const json_t *files,
                                     const json_t *staged, struct artifacts_call *call);
    void (*discard)(struct artifacts *a, const char *place, const json_t *staged);
    enum artifacts_result (*read)(struct artifacts *a, const char *name, uint64_t from, uint64_t len,
                                  artifacts_sink *sink, void *sink_ctx, struct artifacts_call *call);
    enum artifacts_result (*look)(struct artifacts *a, const char *name, uint64_t *size, char sha256[65],
                                  struct artifacts_call *call);
    bool (*link)(struct artifacts *a, const char *name, const char *as, int seconds, char *url, size_t size);
    enum artifacts_result (*remove)(struct artifacts *a, const char *name, struct artifacts_call *call);
    enum artifacts_result (*list)(struct artifacts *a, const char *prefix, artifacts_found *found, void *found_ctx,
                                  struct artifacts_call *call);
    enum artifacts_result (*end_stale)(struct artifacts *a, const char *prefix,
                                       bool (*unwanted)(void *ctx, const char *name), void *unwanted_ctx,
                                       struct artifacts_call *call);
    void (*close)(struct artifacts *a);
};

/* What is done some time later: a removal, or where sha256 is not "", a copy. */
struct errand {
    struct errand *next;
    char name[1100], sha256[65];
    uint64_t size;
};

struct artifacts {
    const struct artifacts_driver *driver;
    char folder[3008], url[1200];
    uint64_t copies;
    pthread_mutex_t lock; /* owns the errands that wait */
    pthread_cond_t bell;
    pthread_t thread;
    struct errand *first, **last;
    size_t waiting;
    bool running, closing;    /* running: the thread is there */
    pthread_mutex_t fetching; /* one copy is made at a time */
    struct {
        atomic_ullong requests, retries, failures, bytes_sent, bytes_received;
    } figures;
    void *own; /* the driver's */
};

extern const struct artifacts_driver artifacts__local, artifacts__s3;
bool artifacts__open_s3(struct artifacts *a, const char *url, char *why, size_t size);

bool artifacts__goes_on(const struct artifacts_call *call);
enum artifacts_result artifacts__fail(struct artifacts_call *call, enum artifacts_result result, const char *format,
                                      ...) __attribute__((format(printf, 3, 4)));
/* The file's SHA-256, piece by piece as it comes. */
struct artifacts_hash;
struct artifacts_hash *artifacts__hash_open(void);
bool artifacts__hash_add(struct artifacts_hash *hash, const void *data, size_t len);
/* Frees it. */
void artifacts__hash_end(struct artifacts_hash *hash, char sha256[65]);

#endif
