#include "service/api/helpers.h"

#include "service/store/store.h"

#include <pthread.h>
#include <stdlib.h>

struct task {
    helper_fn *fn;
    void *ctx;
};

struct helpers {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t *threads;
    int n_threads;
    struct task *ring; /* size entries, n of them from `first` on */
    size_t size, first, n;
    struct child_stop stop;
    bool closing;
};

static void *work(void *ctx)
{
    struct helpers *h = ctx;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (h->n == 0 && !h->closing)
            pthread_cond_wait(&h->wake, &h->lock);
        if (h->n == 0) break;
        struct task task = h->ring[h->first];
        h->first = (h->first + 1) % h->size;
        h->n--;
        pthread_mutex_unlock(&h->lock);
        store_failure_clear();
        task.fn(task.ctx, &h->stop);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

struct helpers *helpers_open(int threads, int most_waiting)
{
    struct helpers *h = calloc(1, sizeof *h);
    if (!h) return NULL;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    h->size = (size_t)most_waiting;
    h->ring = calloc(h->size, sizeof *h->ring);
    h->threads = calloc((size_t)threads, sizeof *h->threads);
    bool ok = child_stop_init(&h->stop) && h->ring && h->threads;
    while (ok && h->n_threads < threads && (ok = pthread_create(&h->threads[h->n_threads], NULL, work, h) == 0))
        h->n_threads++;
    if (!ok) helpers_close(&h);
    return h;
}

void helpers_close(struct helpers **helpers)
{
    struct helpers *h = *helpers;
    if (!h) return;
    pthread_mutex_lock(&h->lock);
    h->closing = true;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
    child_stop(&h->stop);
    for (int i = 0; i < h->n_threads; i++)
        pthread_join(h->threads[i], NULL);
    child_stop_free(&h->stop);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h->threads);
    free(h->ring);
    free(h);
    *helpers = NULL;
}

bool helpers_do(struct helpers *h, helper_fn *fn, void *ctx)
{
    pthread_mutex_lock(&h->lock);
    bool taken = !h->closing && h->n < h->size;
    if (taken) h->ring[(h->first + h->n++) % h->size] = (struct task){fn, ctx};
    if (taken) pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return taken;
}
