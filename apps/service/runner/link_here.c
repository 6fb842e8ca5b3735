/* The link of workers inside the server: its store, its queue, its events. */
#include "service/runner/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct here {
    struct worker_link link;
    struct store *store;
    struct artifacts *artifacts;
    struct events *events;
    struct queue *queue;
    pthread_mutex_t lock; /* owns: */
    char why[300];        /* of the latest publication that failed before the store was asked; "": none */
};

static struct here *of(struct worker_link *link)
{
    return (struct here *)link;
}

static enum store_result claim(struct worker_link *link, double seconds, struct store_claim *c)
{
    return queue_claim(of(link)->queue, store_embedded_name(of(link)->store), seconds, c);
}

static json_t *request(struct worker_link *link, const struct store_claim *c)
{
    return store_request(of(link)->store, c->id);
}

static json_t *brief(struct worker_link *link, const struct store_claim *c)
{
    return store_job_brief(of(link)->store, c->id);
}

static void tell(struct worker_link *link, const struct store_claim *c, json_t *what)
{
    events_publish(of(link)->events, "job", c->id, what);
}

static enum store_result heartbeat(struct worker_link *link, const struct store_claim *c, bool *cancel)
{
    return queue_heartbeat(of(link)->queue, c, cancel);
}

static enum store_result update(struct worker_link *link, const struct store_claim *c, const struct store_update *u)
{
    return store_update_job(of(link)->store, c, u);
}

static enum store_result outputs(struct worker_link *link, const struct store_claim *c, const json_t *rows)
{
    return store_set_outputs(of(link)->store, c, rows);
}

static enum store_result output_status(struct worker_link *link, const struct store_claim *c, const char *status)
{
    return store_output_status(of(link)->store, c, NULL, status);
}

static void put_log(struct worker_link *link, const struct store_claim *c, const char *level, const char *text)
{
    store_log_append(of(link)->store, c->id, level, text);
}

static enum store_result end(struct worker_link *link, const struct store_claim *c, enum link_end how,
                             const char *error, const char *advice)
{
    struct store *store = of(link)->store;
    switch (how) {
    case LINK_FAILED: return store_fail(store, c, error, advice);
    case LINK_CANCELLED: return store_cancelled(store, c);
    default: return store_release(store, c);
    }
}

static enum store_result publish(struct worker_link *link, const struct publication *p)
{
    char why[sizeof of(link)->why];
    enum store_result result = publish_folder(of(link)->store, of(link)->artifacts, p, NULL, why, sizeof why);
    pthread_mutex_lock(&of(link)->lock);
    memcpy(of(link)->why, why, sizeof why);
    pthread_mutex_unlock(&of(link)->lock);
    return result;
}

static enum store_result split(struct worker_link *link, const struct store_claim *c, int parts)
{
    return store_split(of(link)->store, c, parts);
}

static enum store_result part_done(struct worker_link *link, const struct store_claim *c)
{
    return store_task_done(of(link)->store, c);
}

/* What lies on this machine is read where it is. */
static bool fetch(struct worker_link *link, const struct link_fetch *f, char *why, size_t size)
{
    (void)link, (void)f, (void)why, (void)size;
    return true;
}

static void work(struct worker_link *link, const struct store_claim *c, char *path, size_t size)
{
    if (c->parts)
        snprintf(path, size, "%.3000s/jobs/%s.e%lld", store_folder(of(link)->store), c->id, (long long)c->epoch);
    else
        snprintf(path, size, "%.3000s/jobs/%s", store_folder(of(link)->store), c->id);
}

static void finished(struct worker_link *link, const struct store_claim *c)
{
    queue_finish(of(link)->queue, c);
}

static void why_not(struct worker_link *link, char *why, size_t size)
{
    pthread_mutex_lock(&of(link)->lock);
    bool known = *of(link)->why != '\0';
    if (known) snprintf(why, size, "%s", of(link)->why);
    of(link)->why[0] = '\0';
    pthread_mutex_unlock(&of(link)->lock);
    if (!known) store_why(of(link)->store, why, size);
}

static void ring(struct worker_link *link, const char *job_id)
{
    queue_push(of(link)->queue, job_id);
}

static void stop(struct worker_link *link)
{
    queue_stop(of(link)->queue);
}

static void close_here(struct worker_link *link)
{
    struct here *h = of(link);
    queue_close(&h->queue);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

struct worker_link *link_here(struct store *store, struct artifacts *artifacts, struct events *events, int max_attempts)
{
    static const struct link_operations operations = {.claim = claim,
                                                      .request = request,
                                                      .brief = brief,
                                                      .tell = tell,
                                                      .heartbeat = heartbeat,
                                                      .update = update,
                                                      .outputs = outputs,
                                                      .output_status = output_status,
                                                      .log = put_log,
                                                      .end = end,
                                                      .publish = publish,
                                                      .split = split,
                                                      .part_done = part_done,
                                                      .fetch = fetch,
                                                      .work = work,
                                                      .finished = finished,
                                                      .why = why_not,
                                                      .ring = ring,
                                                      .stop = stop,
                                                      .close = close_here};
    struct here *h = calloc(1, sizeof *h);
    if (!h) return NULL;
    double lease = store_lease(store);
    h->link = (struct worker_link){&operations, false, lease / 3, lease * 2 / 3};
    h->store = store;
    h->artifacts = artifacts;
    h->events = events;
    h->queue = queue_embedded(store, max_attempts, QUEUE_LOOK_SECONDS);
    pthread_mutex_init(&h->lock, NULL);
    if (h->queue) return &h->link;
    free(h);
    return NULL;
}
