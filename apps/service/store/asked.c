/*
 * Claims are collected: who asks while another claim is being committed waits for it, and all who wait then are served in one
 * transaction. A claim has to lie on the disk before anybody hears of it, so that a disk that syncs 300 times a second gave 300
 * claims a second when each had a transaction of its own.
 *
 * One thread at a time serves: the first of those who ask. It answers them when the transaction has ended, and gives its turn to the first of
 * those who came meanwhile.
 */
#include "service/store/sql.h"

/* Up to so many at once, those that wait longest. */
static void gather(struct store *s, struct asking **all, int *n)
{
    pthread_mutex_lock(&s->asked);
    while (s->first_asking && *n < STORE__MOST_ASKING) {
        all[(*n)++] = s->first_asking;
        s->first_asking = s->first_asking->next;
    }
    if (!s->first_asking) s->last_asking = &s->first_asking;
    pthread_mutex_unlock(&s->asked);
}

/* An idle worker asks often: the snapshot of a reader answers that there is nothing without a write. */
static bool is_idle(struct store *s)
{
    struct statement *row;
    struct connection *c = store__read(s);
    if (!c) return false;
    enum store_result result = store__first(s, c, &row,
                                            "SELECT 1 FROM jobs WHERE lease_until = 0 UNION ALL"
                                            " SELECT 1 FROM jobs WHERE " STORE__LEASE_ENDED " UNION ALL"
                                            " SELECT 1 FROM jobs WHERE " STORE__TASKS_WAIT " LIMIT 1",
                                            "i", s->now(s->now_ctx));
    if (result == STORE_OK) sql_reset(row);
    store__read_end(s, c);
    return result == STORE_NOT_FOUND;
}

/* Nobody is told anything before the commit: when it fails, everybody has failed. */
static void answer(struct asking **all, int n, enum store_result result)
{
    for (int i = 0; i < n && result != STORE_OK; i++)
        all[i]->result = result;
}

/* After claims there are mostly more: only who found nothing, the last time, looks before it writes. */
static void serve(struct store *s, struct asking **all, int *n)
{
    gather(s, all, n);
    if (!s->found && is_idle(s)) {
        answer(all, *n, STORE_NOT_FOUND);
        return;
    }
    enum store_result result = store__begin(s);
    if (result == STORE_OK) {
        gather(s, all, n);
        result = store__end(s, store__choose(s, all, *n));
        /* to who asked that would say that a job is worn out */
        if (result == STORE_CONFLICT) result = store__failed(s, STORE_FAILED, "database: the tables refused a claim");
    }
    s->found = result == STORE_OK;
    answer(all, *n, result);
}

static void tell(struct store *s, struct asking **all, int n)
{
    pthread_mutex_lock(&s->asked);
    for (int i = 0; i < n; i++) {
        all[i]->answered = true;
        pthread_cond_signal(&all[i]->told); /* under the lock: it goes away with who waits for it */
    }
    s->serving = s->first_asking != NULL;
    if (s->serving) {
        s->first_asking->serves = true;
        pthread_cond_signal(&s->first_asking->told);
    }
    pthread_mutex_unlock(&s->asked);
}

static void wait_in_line(struct store *s, struct asking *a)
{
    pthread_mutex_lock(&s->asked);
    *s->last_asking = a;
    s->last_asking = &a->next;
    if (!s->serving) a->serves = s->serving = true;
    while (!a->answered && !a->serves)
        pthread_cond_wait(&a->told, &s->asked);
    pthread_mutex_unlock(&s->asked);
}

enum store_result store_claim_suited(struct store *s, const char *worker, int max_attempts, store_suits_fn *fn,
                                     void *ctx, struct store_claim *c)
{
    struct asking *all[STORE__MOST_ASKING],
        a = {.worker = worker, .max_attempts = max_attempts, .suits = fn, .ctx = ctx};
    int n = 0;
    pthread_cond_init(&a.told, NULL);
    wait_in_line(s, &a);
    if (!a.answered) { /* the first in the line, and so among those that it serves */
        serve(s, all, &n);
        tell(s, all, n);
    } else {
        store__failed_elsewhere(a.result);
    }
    pthread_cond_destroy(&a.told);
    if (a.result == STORE_OK || a.result == STORE_CONFLICT) *c = a.claim;
    return a.result;
}

enum store_result store_claim_next(struct store *s, const char *worker, int max_attempts, struct store_claim *c)
{
    return store_claim_suited(s, worker, max_attempts, NULL, NULL, c);
}
