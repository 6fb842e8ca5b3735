/*
 * Who works on what next. The store is the source of truth; a queue only decides how workers learn that there is
 * something (the doorbell). The embedded one is a condition variable in this process.
 *
 * Threads: every function from any thread. A queue lives until queue_close; nobody may wait in it then
 * (queue_stop sends them home first).
 */
#ifndef HT_SERVICE_QUEUE_QUEUE_H
#define HT_SERVICE_QUEUE_QUEUE_H

#include "service/store/claims.h"

struct queue;

struct queue_operations {
    /* The doorbell: a job may be there. Never fails: claims look into the store anyway, every few seconds. */
    void (*push)(struct queue *queue, const char *job_id);
    /* Waits up to `seconds` for a job and claims it. NOT_FOUND: none came, or the queue is closing. */
    enum store_result (*claim)(struct queue *queue, const char *worker, double seconds, struct store_claim *claim);
    enum store_result (*heartbeat)(struct queue *queue, const struct store_claim *claim, bool *cancel);
    /* The job ended or was given back: the transport may forget it. The store was written before. */
    void (*finish)(struct queue *queue, const struct store_claim *claim);
    /* No more claims; those that wait return. */
    void (*stop)(struct queue *queue);
    void (*close)(struct queue *queue);
};

struct queue {
    const struct queue_operations *operations;
};

/* Who waits is woken by a push, and looks into the store so often without one: leases that end push nothing. */
enum { QUEUE_LOOK_SECONDS = 5 };
/* NULL: no memory. */
struct queue *queue_embedded(struct store *store, int max_attempts, double look_seconds);

static inline void queue_push(struct queue *q, const char *job_id)
{
    q->operations->push(q, job_id);
}
static inline void queue_stop(struct queue *q)
{
    q->operations->stop(q);
}
static inline void queue_finish(struct queue *q, const struct store_claim *c)
{
    q->operations->finish(q, c);
}
static inline enum store_result queue_claim(struct queue *q, const char *worker, double seconds, struct store_claim *c)
{
    return q->operations->claim(q, worker, seconds, c);
}
static inline enum store_result queue_heartbeat(struct queue *q, const struct store_claim *c, bool *cancel)
{
    return q->operations->heartbeat(q, c, cancel);
}
void queue_close(struct queue **queue); /* NULL-safe */

#endif
