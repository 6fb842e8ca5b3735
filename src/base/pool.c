#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

/* Turns of waiting for work before a thread sleeps: a few tens of microseconds, as the next call of a
 * forward pass is mostly that near. */
enum { SPINS = 4000, MOST_THREADS = 256 };

struct helper {
    struct ht__pool *pool;
    pthread_t thread;
    int index;
};

struct ht__pool {
    const struct ht__alloc *alloc;
    int n_threads;
    struct helper *helpers;
    int n_started;
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* of the call in progress; set before `round` grows */
    ht__task_fn *fn;
    void *ctx;
    int64_t n;
    _Atomic int64_t next;
    _Atomic int busy; /* helpers that have not ended this round */
    _Atomic uint32_t round;
    _Atomic bool closing;
};

int ht__core_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_tasks(struct ht__pool *p, int thread)
{
    for (;;) {
        int64_t task = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (task >= p->n) return;
        p->fn(p->ctx, task, thread);
    }
}

/* Waits for a round after `seen`. */
static uint32_t next_round(struct ht__pool *p, uint32_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t round = atomic_load_explicit(&p->round, memory_order_acquire);
        if (round != seen) return round;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    while (atomic_load_explicit(&p->round, memory_order_acquire) == seen)
        pthread_cond_wait(&p->work, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return atomic_load_explicit(&p->round, memory_order_acquire);
}

static void *help(void *arg)
{
    struct helper *h = arg;
    struct ht__pool *p = h->pool;
    for (uint32_t seen = 0;;) {
        seen = next_round(p, seen);
        if (atomic_load(&p->closing)) return NULL;
        take_tasks(p, h->index);
        atomic_fetch_sub_explicit(&p->busy, 1, memory_order_release);
    }
}

enum ht_err ht__pool_open(int n_threads, const struct ht__alloc *alloc, struct ht__pool **pool, struct ht_diag *diag)
{
    if (n_threads <= 0) n_threads = ht__core_count();
    if (n_threads > MOST_THREADS) n_threads = MOST_THREADS;
    struct ht__pool *p = ht__new(alloc, sizeof *p);
    if (p) p->helpers = ht__new_array(alloc, (size_t)n_threads, sizeof *p->helpers);
    if (!p || !p->helpers) {
        ht__free(alloc, p);
        return ht__fail_memory(diag, "threads");
    }
    p->alloc = alloc;
    p->n_threads = n_threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    for (int i = 1; i < n_threads; i++) {
        struct helper *h = &p->helpers[i];
        *h = (struct helper){.pool = p, .index = i};
        int err = pthread_create(&h->thread, NULL, help, h);
        if (err) {
            ht__pool_close(&p);
            return ht__fail_errno(diag, err, NULL, "cannot start a thread");
        }
        p->n_started++;
    }
    *pool = p;
    return HT_OK;
}

static void begin(struct ht__pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->round, 1, memory_order_release);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

void ht__pool_close(struct ht__pool **pool)
{
    struct ht__pool *p = *pool;
    if (!p) return;
    atomic_store(&p->closing, true);
    begin(p);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->helpers[i].thread, NULL);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    ht__free(p->alloc, p->helpers);
    ht__free(p->alloc, p);
    *pool = NULL;
}

int ht__pool_threads(const struct ht__pool *pool)
{
    return pool->n_threads;
}

void ht__pool_run(struct ht__pool *p, int64_t n, ht__task_fn *fn, void *ctx)
{
    if (p->n_started == 0 || n < 2) {
        for (int64_t i = 0; i < n; i++)
            fn(ctx, i, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    p->n = n;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store_explicit(&p->busy, p->n_started, memory_order_relaxed);
    begin(p);
    take_tasks(p, 0);
    /* every helper has to see the round: the next call reuses its fields */
    for (int spins = 0; atomic_load_explicit(&p->busy, memory_order_acquire) > 0; spins++)
        spins < SPINS ? relax() : (void)sched_yield();
}
