/*
 * The queue as a state machine: workers that claim, beat, finish, stall, come back from the dead; a clock
 * of leases that leaps; users who cancel and retry; a server that restarts. A model of what must hold
 * runs along. HT_QUEUE_SEEDS=N runs N seeds (default 60); HT_QUEUE_SEED=S only that one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/effort.h"
#include "lib/store_place.h"
#include "service/artifacts/dir.h"
#include "service/queue/queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { JOBS = 24, WORKERS = 5, STEPS = 400, ATTEMPTS = 4 };

enum state { QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED };
static const char *const names[] = {"queued", "preparing", "completed", "failed", "cancelled"};

struct job {
    char id[STORE_ID_SIZE];
    enum state state;
    int64_t epoch, lease_end;
    int attempts, published, priority;
    bool cancel;
};

struct world {
    char folder[64];
    struct store *store;
    uint64_t random;
    unsigned seed;
    int64_t now;
    struct job jobs[JOBS];
    int n_jobs;
    struct {
        bool busy;
        struct store_claim claim;
    } workers[WORKERS];
};

static uint64_t roll(struct world *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % n;
}

static int64_t clock_of(void *ctx)
{
    return ((struct world *)ctx)->now;
}

static void open_store(struct world *w)
{
    char why[300];
    if (!store_place_open(w->folder, &w->store, why, sizeof why)) fail_msg("%s", why);
    store_set_clock(w->store, clock_of, w);
}

static struct job *find(struct world *w, const char *id)
{
    for (int i = 0; i < w->n_jobs; i++)
        if (strcmp(w->jobs[i].id, id) == 0) return &w->jobs[i];
    fail_msg("seed %u: a job that nobody submitted", w->seed);
    return NULL;
}

static void check(struct world *w, enum store_result got, bool expected, const char *what)
{
    if (got == (expected ? STORE_OK : STORE_CONFLICT)) return;
    fail_msg("seed %u: %s gave \"%s\" where it is %s", w->seed, what, store_result_text(got),
             expected ? "valid" : "stale");
}

static void submit(struct world *w)
{
    bool replayed;
    char ids[1][STORE_ID_SIZE];
    if (w->n_jobs == JOBS) return;
    struct job *j = &w->jobs[w->n_jobs++];
    *j = (struct job){.priority = (int)roll(w, 3)};
    json_t *r = json_pack("{s:s, s:s, s:[s], s:i}", "name", "x", "source_model", "m", "gguf_quant_types", "Q8_0",
                          "priority", j->priority);
    const json_t *list[] = {r};
    assert_int_equal(store_submit(w->store, list, 1, NULL, NULL, NULL, 0, ids, &replayed), STORE_OK);
    strcpy(j->id, ids[0]);
    json_decref(r);
}

static bool claimable(const struct world *w, const struct job *j)
{
    return j->state == QUEUED || (j->state == RUNNING && j->lease_end <= w->now);
}

/* The one that must come next: highest priority, then the oldest. */
static struct job *expected_next(struct world *w)
{
    struct job *best = NULL;
    for (int i = 0; i < w->n_jobs; i++)
        if (claimable(w, &w->jobs[i]) && (!best || w->jobs[i].priority > best->priority)) best = &w->jobs[i];
    return best;
}

static void claim(struct world *w, int i)
{
    struct store_claim c;
    struct job *expected = expected_next(w);
    enum store_result result = store_claim_next(w->store, "remote", ATTEMPTS, &c);
    if (!expected) {
        assert_int_equal(result, STORE_NOT_FOUND);
        return;
    }
    assert_string_equal(c.id, expected->id);
    struct job *j = find(w, c.id);
    if (j->attempts == ATTEMPTS && !j->cancel) { /* worn out */
        assert_int_equal(result, STORE_CONFLICT);
        j->state = FAILED;
        j->epoch = 0;
        return;
    }
    assert_int_equal(result, STORE_OK);
    assert_true(c.epoch > j->epoch);
    *j = (struct job){.state = RUNNING,
                      .epoch = c.epoch,
                      .lease_end = w->now + LEASE_SECONDS * 1000,
                      .attempts = j->attempts + 1,
                      .published = j->published,
                      .priority = j->priority,
                      .cancel = j->cancel};
    strcpy(j->id, c.id);
    assert_int_equal(c.attempt, j->attempts);
    w->workers[i].busy = true;
    w->workers[i].claim = c;
}

static bool move(void *ctx)
{
    ((struct job *)ctx)->published++;
    return true;
}

/* A worker does something with its claim, however old it is. */
static void act(struct world *w, int i)
{
    const struct store_claim *c = &w->workers[i].claim;
    struct job *j = find(w, c->id);
    bool mine = j->state == RUNNING && j->epoch == c->epoch, cancel;
    json_t *published = json_pack("{s:[{s:s, s:s, s:s, s:i}]}", "outputs", "name", "m-Q8_0.gguf", "format", "gguf",
                                  "quant_type", "Q8_0", "file_size", 1);
    char folder[64];
    snprintf(folder, sizeof folder, "models/m-%s", c->id);
    switch (roll(w, 8)) {
    case 0:
    case 1:
    case 2:
        check(w, store_heartbeat(w->store, c, &cancel), mine, "a heartbeat");
        if (mine) assert_int_equal(cancel, j->cancel);
        if (mine) j->lease_end = w->now + LEASE_SECONDS * 1000;
        break;
    case 3:
        check(w,
              store_update_job(w->store, c,
                               &(struct store_update){
                                   .progress = 5, .step = "s", .estimated_disk_gb = -1, .estimated_time_minutes = -1}),
              mine, "an update");
        break;
    case 4:
        check(w, store_publish(w->store, c, folder, published, move, j), mine && !j->cancel, "publishing");
        if (mine && !j->cancel) j->state = COMPLETED;
        w->workers[i].busy = mine && j->cancel;
        break;
    case 5:
        check(w, store_fail(w->store, c, "e", "a"), mine, "failing");
        if (mine) j->state = FAILED;
        w->workers[i].busy = false;
        break;
    case 6:
        check(w, store_release(w->store, c), mine, "giving back");
        if (mine) j->state = QUEUED, j->attempts--, j->epoch++;
        w->workers[i].busy = false;
        break;
    default:
        if (mine && !j->cancel) break;
        check(w, store_cancelled(w->store, c), mine, "cancelling");
        if (mine) j->state = CANCELLED;
        w->workers[i].busy = false;
    }
    json_decref(published);
}

static void user(struct world *w)
{
    if (!w->n_jobs) return;
    struct job *j = &w->jobs[roll(w, (uint64_t)w->n_jobs)];
    if (roll(w, 2)) {
        check(w, store_cancel(w->store, j->id), j->state == QUEUED || j->state == RUNNING, "the user's cancel");
        if (j->state == QUEUED)
            j->state = CANCELLED, j->epoch++;
        else if (j->state == RUNNING)
            j->cancel = true;
    } else if (j->published == 0) {
        check(w, store_retry(w->store, j->id), j->state == FAILED || j->state == CANCELLED, "the user's retry");
        if (j->state != FAILED && j->state != CANCELLED) return;
        j->state = QUEUED;
        j->attempts = 0;
        j->cancel = false;
        j->epoch++;
    }
}

/* Workers are remote ones: a restart gives them a fresh lease, for the server cannot know that they are gone. */
static void restart(struct world *w)
{
    store_close(&w->store);
    open_store(w);
    /* set_clock comes after the opening, which used the machine's: workers' next heartbeat sets them right */
    for (int i = 0; i < w->n_jobs; i++)
        if (w->jobs[i].state == RUNNING) {
            struct store_claim c = {.epoch = w->jobs[i].epoch};
            bool cancel;
            strcpy(c.id, w->jobs[i].id);
            assert_int_equal(store_heartbeat(w->store, &c, &cancel), STORE_OK);
            w->jobs[i].lease_end = w->now + LEASE_SECONDS * 1000;
        }
}

static void step(struct world *w)
{
    int i = (int)roll(w, WORKERS);
    switch (roll(w, 12)) {
    case 0: submit(w); break;
    case 1: user(w); break;
    case 2: w->now += (int64_t)roll(w, 5000); break;
    case 3: w->now += (int64_t)roll(w, 3 * LEASE_SECONDS * 1000); break;  /* a leap: suspended machine */
    case 4: w->workers[i].busy = w->workers[i].busy && roll(w, 2); break; /* dies without a word */
    case 5:
        if (roll(w, 8) == 0) restart(w);
        break;
    default:
        if (w->workers[i].busy)
            act(w, i);
        else
            claim(w, i);
    }
}

static void compare(struct world *w)
{
    for (int i = 0; i < w->n_jobs; i++) {
        const struct job *j = &w->jobs[i];
        json_t *job = store_job_brief(w->store, j->id);
        if (!job || strcmp(json_string_value(json_object_get(job, "status")), names[j->state]) != 0)
            fail_msg("seed %u: job %d is %s, not %s", w->seed, i,
                     job ? json_string_value(json_object_get(job, "status")) : "lost", names[j->state]);
        json_decref(job);
        if (j->published > 1 || (j->published == 1) != (j->state == COMPLETED))
            fail_msg("seed %u: job %d published %d times", w->seed, i, j->published);
    }
}

/* Whatever is left gets done by one worker that behaves: nothing is stuck. */
static void drain(struct world *w)
{
    struct store_claim c;
    enum store_result result;
    w->now += 2 * LEASE_SECONDS * 1000;
    for (int i = 0; i < 4 * JOBS && (result = store_claim_next(w->store, "remote", 1000, &c)) != STORE_NOT_FOUND; i++) {
        assert_int_equal(result, STORE_OK);
        struct job *j = find(w, c.id);
        j->state = j->cancel ? CANCELLED : COMPLETED;
        json_t *nothing = json_pack("{s:[]}", "outputs");
        result = j->cancel ? store_cancelled(w->store, &c) : store_publish(w->store, &c, "models/x", nothing, move, j);
        json_decref(nothing);
        assert_int_equal(result, STORE_OK);
    }
    for (int i = 0; i < w->n_jobs; i++)
        assert_true(w->jobs[i].state >= COMPLETED);
    compare(w);
}

static void make_folder(char folder[64])
{
    /* in memory where there is such a place: a thousand commits that wait for a disk are no test of it */
    strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/test_queue_XXXXXX" : "/tmp/test_queue_XXXXXX");
    assert_non_null(mkdtemp(folder));
}

static void run_seed(unsigned seed)
{
    struct world w = {.random = seed * 0x9e3779b97f4a7c15u + 1, .seed = seed, .now = 1000};
    make_folder(w.folder);
    open_store(&w);
    for (int i = 0; i < STEPS; i++) {
        step(&w);
        if (i % 40 == 0) compare(&w);
    }
    compare(&w);
    drain(&w);
    store_close(&w.store);
    dir_remove(w.folder);
}

static void test_simulation(void **state)
{
    const char *one = getenv("HT_QUEUE_SEED"), *many = getenv("HT_QUEUE_SEEDS");
    unsigned n = many ? (unsigned)atoi(many) : (unsigned)effort(12, 60, 600);
    (void)state;
    if (one) {
        run_seed((unsigned)atoi(one));
        return;
    }
    for (unsigned seed = 1; seed <= n; seed++)
        run_seed(seed);
}

struct crew {
    struct queue *queue;
    struct store *store;
    atomic_int claimed, failed;
};

static void *take_all(void *ctx)
{
    struct crew *crew = ctx;
    struct store_claim c;
    enum store_result result;
    while ((result = queue_claim(crew->queue, store_embedded_name(crew->store), 1e6, &c)) == STORE_OK) {
        atomic_fetch_add(&crew->claimed, 1);
        if (store_fail(crew->store, &c, "done", "") != STORE_OK) atomic_fetch_add(&crew->failed, 1);
        queue_finish(crew->queue, &c);
    }
    if (result != STORE_NOT_FOUND) atomic_fetch_add(&crew->failed, 1);
    return NULL;
}

/* The embedded queue: each job goes to one thread; waiting ones hear the bell at once, and go home when it stops. */
static void test_embedded(void **state)
{
    char folder[64], why[300], ids[1][STORE_ID_SIZE];
    struct crew crew = {0};
    pthread_t threads[4];
    bool replayed;
    (void)state;
    make_folder(folder);
    assert_true(store_place_open(folder, &crew.store, why, sizeof why));
    crew.queue = queue_embedded(crew.store, 3, 1e6); /* never without a ring */
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, &crew), 0);
    json_t *r = json_pack("{s:s, s:[s]}", "source_model", "m", "gguf_quant_types", "Q8_0");
    const json_t *list[] = {r};
    for (int i = 0; i < 200; i++) {
        assert_int_equal(store_submit(crew.store, list, 1, NULL, NULL, NULL, 0, ids, &replayed), STORE_OK);
        queue_push(crew.queue, ids[0]);
    }
    while (atomic_load(&crew.claimed) < 200 && atomic_load(&crew.failed) == 0)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    queue_stop(crew.queue);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crew.claimed), 200);
    assert_int_equal(atomic_load(&crew.failed), 0);
    json_decref(r);
    queue_close(&crew.queue);
    store_close(&crew.store);
    dir_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_simulation), cmocka_unit_test(test_embedded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
