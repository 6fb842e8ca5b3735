/* The embedded queue: the store, and a condition variable as the doorbell. */
#include "service/queue/queue.h"

#include "service/system/steady.h"

#include <pthread.h>
#include <stdlib.h>

struct embedded {
    struct queue queue;
    struct store *store;
    int max_attempts;
    double look_seconds;
    pthread_mutex_t lock; /* owns the rest */
    pthread_cond_t bell;
    unsigned rings;
    bool stopped;
};

static void push(struct queue *queue, const char *job_id)
{
    struct embedded *q = (struct embedded *)queue;
    (void)job_id; /* the store knows which is next */
    pthread_mutex_lock(&q->lock);
    q->rings++;
    pthread_cond_broadcast(&q->bell);
    pthread_mutex_unlock(&q->lock);
}

/* Waits for a ring after the `seen` ones. False: the queue is stopped. */
static bool wait_for_ring(struct embedded *q, unsigned *seen, double until)
{
    pthread_mutex_lock(&q->lock);
    for (double left; !q->stopped && q->rings == *seen && (left = until - steady_seconds()) > 0;)
        steady_cond_wait(&q->bell, &q->lock, left);
    *seen = q->rings;
    bool open = !q->stopped;
    pthread_mutex_unlock(&q->lock);
    return open;
}

static enum store_result claim(struct queue *queue, const char *worker, double seconds, struct store_claim *c)
{
    struct embedded *q = (struct embedded *)queue;
    double end = steady_seconds() + seconds;
    pthread_mutex_lock(&q->lock);
    unsigned seen = q->rings; /* before looking: a ring during the look is not lost */
    bool open = !q->stopped;
    pthread_mutex_unlock(&q->lock);
    while (open) {
        enum store_result result = store_claim_next(q->store, worker, q->max_attempts, c);
        if (result != STORE_NOT_FOUND) return result;
        double now = steady_seconds(), until = now + q->look_seconds < end ? now + q->look_seconds : end;
        if (now >= end) break;
        open = wait_for_ring(q, &seen, until);
    }
    return STORE_NOT_FOUND;
}

static enum store_result heartbeat(struct queue *queue, const struct store_claim *c, bool *cancel)
{
    return store_heartbeat(((struct embedded *)queue)->store, c, cancel);
}

static void finish(struct queue *queue, const struct store_claim *c)
{
    push(queue, c->id); /* others may wait for what this one held up */
}

static void stop(struct queue *queue)
{
    struct embedded *q = (struct embedded *)queue;
    pthread_mutex_lock(&q->lock);
    q->stopped = true;
    pthread_cond_broadcast(&q->bell);
    pthread_mutex_unlock(&q->lock);
}

static void close_embedded(struct queue *queue)
{
    struct embedded *q = (struct embedded *)queue;
    pthread_cond_destroy(&q->bell);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

struct queue *queue_embedded(struct store *store, int max_attempts, double look_seconds)
{
    static const struct queue_operations operations = {push, claim, heartbeat, finish, stop, close_embedded};
    struct embedded *q = calloc(1, sizeof *q);
    if (!q) return NULL;
    q->queue.operations = &operations;
    q->store = store;
    q->max_attempts = max_attempts;
    q->look_seconds = look_seconds;
    pthread_mutex_init(&q->lock, NULL);
    steady_cond_init(&q->bell);
    return &q->queue;
}

void queue_close(struct queue **queue)
{
    if (*queue) (*queue)->operations->close(*queue);
    *queue = NULL;
}
