/*
 * One thread answers all of them, the longest waiting first: at a ring, and every second, for leases that end ring
 * nothing. In between it puts in order what workers left that are gone.
 */
#include "service/api/lender.h"

#include "service/api/access.h"
#include "service/doorbell/bell.h"
#include "service/runner/remote.h"
#include "service/system/steady.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_WAITING = 4096, LOOK_SECONDS = 1, TIDY_SECONDS = 3 };

struct waiting {
    struct waiting *next;
    struct api_call *call;
    char worker[STORE_ID_SIZE];
    json_t *machine;
    char entry[48], consumer[160]; /* of the doorbell that woke it; "": it asks by itself */
    double until;
    bool seen; /* it was written down that it lives */
};

struct lender {
    struct server *server;
    pthread_t thread;
    pthread_mutex_t lock; /* owns the rest */
    pthread_cond_t bell;
    struct waiting *first, **last;
    size_t n;
    bool rung, closing;
    char share[72];
};

static void free_waiting(struct waiting *w)
{
    json_decref(w->machine);
    free(w);
}

static json_t *task_of(struct server *server, const struct store_claim *claim, json_t *request)
{
    char task[80], place[256];
    snprintf(task, sizeof task, "%s-%lld", claim->id, (long long)claim->epoch);
    int lease = store_lease(server->store);
    remote_place(server->scheduler, claim, request, place, sizeof place);
    bool bucket = *remote_bucket(server->scheduler);
    return json_pack(
        "{s:s, s:s, s:I, s:i, s:i, s:o, s:s*, s:o*, s:o*, s:o*}", "task", task, "job_id", claim->id, "epoch",
        (json_int_t)claim->epoch, "attempt", claim->attempt, "lease_seconds", lease, "request", request, "place",
        bucket ? place : NULL, "part", claim->parts ? json_integer(abs(claim->part)) : NULL, "parts",
        claim->parts ? json_integer(claim->parts) : NULL, "collects", claim->part < 0 ? json_true() : NULL);
}

/* True: it was answered. */
static bool serve(struct lender *l, struct waiting *w, bool closing)
{
    struct store_claim claim;
    json_t *request;
    struct server *server = l->server;
    bool left = ht__http_client_left(w->call->request);
    enum store_result result = w->seen ? STORE_OK : store_worker_seen(server->store, w->worker, w->machine, false);
    if (result != STORE_OK) {
        api_store_problem(w->call, result, "worker");
        return true;
    }
    w->seen = true;
    result =
        closing || left ? STORE_NOT_FOUND : remote_claim(server->scheduler, w->worker, w->machine, &claim, &request);
    if (result == STORE_OK)
        api_json(w->call, 200, task_of(server, &claim, request));
    else if (result != STORE_NOT_FOUND)
        api_store_problem(w->call, result, "job");
    else if (closing || left || steady_seconds() >= w->until)
        api_empty(w->call, 204);
    else
        return false;
    return true;
}

/* All that wait now. Under no lock while the store is asked. */
static void serve_all(struct lender *l, bool closing)
{
    pthread_mutex_lock(&l->lock);
    struct waiting *list = l->first;
    l->first = NULL;
    l->last = &l->first;
    pthread_mutex_unlock(&l->lock);
    struct waiting *kept = NULL, **end = &kept;
    size_t served = 0;
    for (struct waiting *w = list, *next; w; w = next) {
        next = w->next;
        w->next = NULL;
        if (serve(l, w, closing)) {
            if (*w->entry) bell_done(atomic_load(&l->server->bell), w->entry, w->consumer);
            free_waiting(w);
            served++;
            continue;
        }
        *end = w;
        end = &w->next;
    }
    pthread_mutex_lock(&l->lock);
    l->n -= served;
    if (kept) { /* before those that came meanwhile */
        *end = l->first;
        if (!l->first) l->last = end;
        l->first = kept;
    }
    pthread_mutex_unlock(&l->lock);
}

static void *work(void *ctx)
{
    struct lender *l = ctx;
    double tidied = 0;
    bool closing = false;
    while (!closing) {
        serve_all(l, false);
        double now = steady_seconds();
        if (now - tidied > TIDY_SECONDS) {
            remote_tidy(l->server->scheduler);
            tidied = now;
        }
        pthread_mutex_lock(&l->lock);
        double until = steady_seconds() + LOOK_SECONDS;
        for (double left; !l->rung && !l->closing && (left = until - steady_seconds()) > 0;)
            steady_cond_wait(&l->bell, &l->lock, left);
        l->rung = false;
        closing = l->closing;
        pthread_mutex_unlock(&l->lock);
    }
    serve_all(l, true);
    return NULL;
}

/* What shows that a folder is the service's: see lender_share. */
static void put_share(struct lender *l)
{
    char path[4200], sha256[65];
    if (!access_new_secret(l->share, sha256)) return;
    snprintf(path, sizeof path, "%s/.share-%s", store_folder(l->server->store), store_embedded_name(l->server->store));
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    bool done = fd >= 0 && write(fd, l->share, strlen(l->share)) == (ssize_t)strlen(l->share);
    if (fd >= 0) close(fd);
    if (!done) l->share[0] = '\0';
}

struct lender *lender_open(struct server *server)
{
    struct lender *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->server = server;
    l->last = &l->first;
    pthread_mutex_init(&l->lock, NULL);
    steady_cond_init(&l->bell);
    put_share(l);
    if (pthread_create(&l->thread, NULL, work, l) == 0) return l;
    pthread_cond_destroy(&l->bell);
    pthread_mutex_destroy(&l->lock);
    free(l);
    return NULL;
}

void lender_close(struct lender **lender)
{
    struct lender *l = *lender;
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_broadcast(&l->bell);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->bell);
    pthread_mutex_destroy(&l->lock);
    free(l);
    *lender = NULL;
}

void lender_ring(struct lender *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->rung = true;
    pthread_cond_broadcast(&l->bell);
    pthread_mutex_unlock(&l->lock);
}

bool lender_wait(struct lender *l, struct api_call *call, const char *worker, json_t *machine, double seconds)
{
    struct waiting *w = calloc(1, sizeof *w);
    bool taken = false;
    if (w) {
        w->call = call;
        w->machine = machine;
        w->until = steady_seconds() + seconds;
        snprintf(w->worker, sizeof w->worker, "%s", worker);
        const char *entry = json_string_value(json_object_get(call->body, "entry")),
                   *consumer = json_string_value(json_object_get(call->body, "consumer"));
        snprintf(w->entry, sizeof w->entry, "%s", entry ? entry : "");
        snprintf(w->consumer, sizeof w->consumer, "%s", consumer ? consumer : "");
        pthread_mutex_lock(&l->lock);
        taken = !l->closing && l->n < MOST_WAITING;
        if (taken) {
            *l->last = w;
            l->last = &w->next;
            l->n++;
            l->rung = true;
            pthread_cond_broadcast(&l->bell);
        }
        pthread_mutex_unlock(&l->lock);
    }
    if (taken) return true;
    json_decref(machine);
    free(w);
    return false;
}

const char *lender_share(const struct lender *l)
{
    return l->share;
}
