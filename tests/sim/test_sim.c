/*
 * The service's queue and its workers under a seeded virtual clock and network. The store is the real one; workers, their
 * folders and the network are simulated: messages come late, twice or not at all, the server and workers crash at any event, workers
 * are stopped for longer than their lease and come back, the clock of leases leaps, users cancel and retry. Jobs are made whole or
 * in parts. A reference model of what must hold runs along, and every answer of the store is held against it:
 *
 *   P1 an accepted job stays known; P2 attempts are bounded; P3 one publication a job, whole, of what was made; P4 a stale
 *   claim changes nothing; P5 what was cancelled is not published; P6 ids of events grow, and whoever listens, or comes back with
 *   the last id that it heard, knows which jobs have ended; and when faults end, every job ends. All of it is compared after each
 *   event. P7, the loss of Redis, takes a real one: tests/server/campaign.py.
 *
 * HT_SIM_SEEDS=N runs N seeds, HT_SIM_SEED=S only that one, HT_SIM_TRACE=1 prints its events; a seed replays exactly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/effort.h"
#include "lib/store_place.h"
#include "service/artifacts/dir.h"
#include "service/events/events.h"
#include "service/store/claims.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { JOBS = 16, WORKERS = 6, PARTS = 5, ATTEMPTS = 4, QUEUED_EVENTS = 256, FOLDERS = 4096, LISTENERS = 3 };
enum { LEASE = LEASE_SECONDS * 1000, BEAT = LEASE / 3, SILENCE = LEASE * 2 / 3, PATIENCE = 5000 };

enum state { WAITING, RUNNING, IN_PARTS, COMPLETED, FAILED, CANCELLED };
static const char *const names[] = {"queued", "preparing", "quantizing", "completed", "failed", "cancelled"};

/* Of a job or of one of its tasks, as it must be. */
struct held {
    enum state state;
    int64_t epoch, lease_end;
    int attempts;
};

struct job {
    char id[STORE_ID_SIZE];
    struct held whole, tasks[PARTS];
    int parts; /* into which it is divided when it is claimed first; 0: it is not */
    bool divided, cancel;
    bool placed;        /* its finished folder has its name */
    unsigned placed_of; /* the parts in it */
    int published;
    int64_t epoch; /* the largest given */
};

/* What an attempt has left: finished parts, as bits. */
struct folder {
    int job;
    int64_t epoch;
    unsigned finished;
    bool left; /* its process is gone: where the job has ended, the service takes it away when it starts */
};

enum kind { CLAIM, BEATS, SPLIT, DONE, PUBLISH, GIVE_BACK, FAIL, DROP };
static const char *const kinds[] = {"claim", "beat", "split", "done", "publish", "give back", "fail", "drop"};

enum occasion { TO_SERVER, TO_WORKER, WORK, TICK, WAKE };
struct happening {
    int64_t at;
    uint64_t order;
    enum occasion event;
    int worker;
    unsigned life; /* of the worker or server that it is for */
    enum kind kind;
    struct store_claim claim;
    enum store_result result;
    bool cancel;
};

struct worker {
    unsigned life;
    bool dead, claiming, working;
    int64_t stopped_until, heard, asked;
    enum kind wish; /* what it wants to be answered; BEATS: nothing but its lease */
    struct store_claim claim;
    unsigned finished;
};

/* Somebody's page: what it was told of the jobs. */
struct listener {
    struct world *w;
    struct events_subscription *subscription; /* NULL: the connection is lost */
    uint64_t last;                            /* the id heard last; 0: none yet */
    enum state knows[JOBS];
};

struct world {
    char folder[64];
    struct store *store; /* NULL: the server is down */
    struct events *told;
    struct listener listeners[LISTENERS];
    bool dying; /* between a commit and the event that would have told of it */
    uint64_t random, order, digest;
    unsigned seed, life;
    int64_t now;
    bool calm, trace;
    struct job jobs[JOBS];
    int n_jobs;
    struct worker workers[WORKERS];
    bool cut[WORKERS];
    struct happening queue[QUEUED_EVENTS];
    int n_queue;
    struct folder folders[FOLDERS];
    int n_folders;
    uint64_t events, lost_messages, crashes, fenced;
};

#define broken(w, ...)                                                                                                 \
    do {                                                                                                               \
        print_error("seed %u, event %llu: ", (w)->seed, (unsigned long long)(w)->events);                              \
        fail_msg(__VA_ARGS__);                                                                                         \
    } while (0)

static uint64_t roll(struct world *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % n;
}

static bool chance(struct world *w, uint64_t one_in)
{
    return !w->calm && roll(w, one_in) == 0;
}

static int64_t clock_of(void *ctx)
{
    return ((struct world *)ctx)->now;
}

static void note(struct world *w, const char *what, int worker, const struct store_claim *c, int result)
{
    int job = -1;
    for (int i = 0; c && i < w->n_jobs; i++)
        if (strcmp(w->jobs[i].id, c->id) == 0) job = i;
    int64_t values[] = {w->now, worker, job, c ? c->epoch : 0, c ? c->part : 0, result};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        w->digest = (w->digest ^ (uint64_t)values[i]) * 0x100000001b3u;
    for (const char *p = what; *p; p++)
        w->digest = (w->digest ^ (unsigned char)*p) * 0x100000001b3u;
    if (w->trace)
        print_message("%9.3f worker %d %s: job %d epoch %lld part %d: %d\n", (double)w->now / 1000, worker, what, job,
                      c ? (long long)c->epoch : 0LL, c ? c->part : 0, result);
}

/* ---- what happens when ---- */

static void put(struct world *w, int64_t delay, struct happening h)
{
    if (w->n_queue == QUEUED_EVENTS) broken(w, "too many events wait");
    h.at = w->now + delay;
    h.order = w->order++;
    int i = w->n_queue++;
    for (; i > 0 && (w->queue[i - 1].at < h.at || (w->queue[i - 1].at == h.at && w->queue[i - 1].order < h.order)); i--)
        w->queue[i] = w->queue[i - 1];
    w->queue[i] = h;
}

/* Late, twice, or not at all. */
static void post(struct world *w, struct happening h)
{
    int64_t delay = 1 + (int64_t)roll(w, 80);
    if (chance(w, 12) || (w->cut[h.worker] && !w->calm)) {
        w->lost_messages++;
        return;
    }
    if (chance(w, 30)) delay += (int64_t)roll(w, 2 * LEASE);
    put(w, delay, h);
    if (chance(w, 15) && w->n_queue < QUEUED_EVENTS / 2) put(w, delay + (int64_t)roll(w, 20000), h);
}

/* ---- folders ---- */

static struct folder *folder_of(struct world *w, int job, int64_t epoch)
{
    for (int i = 0; i < w->n_folders; i++)
        if (w->folders[i].job == job && w->folders[i].epoch == epoch) return &w->folders[i];
    if (w->n_folders == FOLDERS) broken(w, "too many folders");
    w->folders[w->n_folders] = (struct folder){.job = job, .epoch = epoch};
    return &w->folders[w->n_folders++];
}

static void remove_folders(struct world *w, int job, int64_t epoch) /* epoch 0: all of the job's */
{
    int kept = 0;
    for (int i = 0; i < w->n_folders; i++)
        if (w->folders[i].job != job || (epoch && w->folders[i].epoch != epoch)) w->folders[kept++] = w->folders[i];
    w->n_folders = kept;
}

static unsigned all_parts(const struct job *j)
{
    return j->parts ? (1u << j->parts) - 1 : 1;
}

/* ---- the model ---- */

static int index_of(struct world *w, const char *id)
{
    for (int i = 0; i < w->n_jobs; i++)
        if (strcmp(w->jobs[i].id, id) == 0) return i;
    broken(w, "a job that nobody submitted");
    return 0;
}

/* Who has this claim: the job, one of its tasks, or (NULL) nobody any more. */
static struct held *holder(struct job *j, const struct store_claim *c)
{
    if (j->whole.state == RUNNING && j->whole.epoch == c->epoch) return &j->whole;
    for (int i = 0; i < j->parts && j->whole.state == IN_PARTS; i++)
        if (j->tasks[i].state == RUNNING && j->tasks[i].epoch == c->epoch) return &j->tasks[i];
    return NULL;
}

static void expect(struct world *w, enum store_result got, bool valid, const char *what)
{
    if (!valid && got == STORE_CONFLICT) w->fenced++;
    if (got != (valid ? STORE_OK : STORE_CONFLICT))
        broken(w, "%s gave \"%s\" where it is %s", what, store_result_text(got), valid ? "valid" : "stale");
}

static bool claimable(const struct world *w, const struct held *h)
{
    return h->state == WAITING || (h->state == RUNNING && h->lease_end <= w->now);
}

/* The oldest job, or task of it, that waits. */
static struct held *next_claim(struct world *w, int *job, int *part)
{
    for (*job = 0; *job < w->n_jobs; ++*job) {
        struct job *j = &w->jobs[*job];
        *part = 0;
        if (claimable(w, &j->whole)) return &j->whole;
        for (int i = 0; i < j->parts && j->whole.state == IN_PARTS; i++)
            if ((*part = i + 1, claimable(w, &j->tasks[i]))) return &j->tasks[i];
    }
    return NULL;
}

/* ---- who listens ---- */

/* The list, read anew: all that is true now. */
static void read_list(struct listener *l)
{
    for (int i = 0; i < l->w->n_jobs; i++)
        l->knows[i] = l->w->jobs[i].whole.state;
}

static void hear_event(void *ctx, const struct event *event)
{
    struct listener *l = ctx;
    bool resync = strcmp(event->kind, "resync") == 0;
    if (event->id < l->last || (!resync && event->id == l->last))
        broken(l->w, "an event's id is not larger than the last");
    l->last = event->id;
    if (resync) {
        read_list(l);
        return;
    }
    for (int state = WAITING; state <= CANCELLED; state++)
        if (strstr(event->data, names[state])) l->knows[index_of(l->w, event->job_id)] = (enum state)state;
}

static void hang_up(struct world *w, struct listener *l)
{
    events_unsubscribe(w->told, l->subscription);
    l->subscription = NULL;
}

/* Comes back with the id that it heard last; the first time it reads the list. */
static void call(struct world *w, struct listener *l)
{
    bool first = l->last == 0;
    l->w = w;
    l->subscription = events_subscribe(w->told, NULL, l->last, hear_event, l);
    if (!l->subscription) broken(w, "nobody can listen");
    if (first) l->last = events_latest(w->told);
    if (first) read_list(l);
}

/* What the service says when a job has ended, or waits anew: unless it dies just now. */
static void tell(struct world *w, int job)
{
    if (!w->dying) w->dying = chance(w, 20);
    if (!w->dying)
        events_publish(w->told, "job", w->jobs[job].id, json_pack("{s:s}", "status", names[w->jobs[job].whole.state]));
}

static void check_listeners(struct world *w)
{
    for (int i = 0; i < LISTENERS; i++)
        for (int j = 0; j < w->n_jobs && w->listeners[i].subscription; j++) {
            enum state state = w->jobs[j].whole.state;
            if (state >= COMPLETED && w->listeners[i].knows[j] != state)
                broken(w, "a listener was not told that job %d is %s", j, names[state]);
        }
}

static void job_ends(struct world *w, int job, enum state state)
{
    w->jobs[job].whole.state = state;
    remove_folders(w, job, 0);
    tell(w, job);
    if (state != CANCELLED) return;
    w->jobs[job].divided = w->jobs[job].placed = false;
}

/* ---- the server ---- */

static void open_store(struct world *w)
{
    char why[300];
    if (!store_place_open(w->folder, &w->store, why, sizeof why)) broken(w, "%s", why);
    store_set_clock(w->store, clock_of, w);
    w->told = events_open(w->store);
    if (!w->told) broken(w, "no ids for events");
    w->life++;
}

static void close_store(struct world *w)
{
    for (int i = 0; i < LISTENERS; i++)
        if (w->listeners[i].subscription) hang_up(w, &w->listeners[i]);
    events_close(&w->told);
    store_close(&w->store);
    w->dying = false;
}

/* A crash: what is not committed is gone; workers elsewhere get a fresh lease, by the clock that is set now. */
static void restart_server(struct world *w)
{
    close_store(w);
    open_store(w);
    for (int i = 0; i < w->n_jobs; i++) {
        struct job *j = &w->jobs[i];
        if (j->whole.state >= COMPLETED) remove_folders(w, i, 0);
        for (int t = -1; t < j->parts; t++) {
            struct held *h = t < 0 ? &j->whole : &j->tasks[t];
            struct store_claim c = {.epoch = h->epoch};
            bool cancel;
            snprintf(c.id, sizeof c.id, "%s", j->id);
            if (holder(j, &c) != h) continue;
            expect(w, store_heartbeat(w->store, &c, &cancel), true, "a heartbeat after a restart");
            h->lease_end = w->now + LEASE;
        }
    }
}

struct moving {
    struct world *w;
    struct job *job;
    unsigned parts;
    bool dies; /* between the rename and the commit */
};

static bool move(void *ctx)
{
    struct moving *m = ctx;
    if (!m->job->placed) m->job->placed_of = m->parts;
    m->job->placed = true;
    return !m->dies;
}

static enum store_result publish(struct world *w, int job, const struct store_claim *c, unsigned parts)
{
    struct job *j = &w->jobs[job];
    struct moving m = {w, j, parts, chance(w, 10)};
    bool valid = holder(j, c) == &j->whole && j->whole.state == RUNNING && !j->cancel, was_placed = j->placed;
    json_t *published = json_pack("{s:[]}", "outputs");
    enum store_result result = store_publish(w->store, c, "models/x", published, move, &m);
    json_decref(published);
    if (valid && m.dies) { /* the server is gone with its answer */
        if (result == STORE_OK) broken(w, "published by a server that died");
        w->crashes++;
        restart_server(w);
        return STORE_FAILED;
    }
    if (!valid && j->placed != was_placed) broken(w, "a stale claim moved files");
    expect(w, result, valid, "publishing");
    if (result != STORE_OK) return result;
    if (++j->published > 1) broken(w, "published twice");
    if (j->placed_of != all_parts(j)) broken(w, "published with parts %x of %x", j->placed_of, all_parts(j));
    job_ends(w, job, COMPLETED);
    return result;
}

static enum store_result serve_claim(struct world *w, struct store_claim *c)
{
    int job, part;
    struct held *expected = next_claim(w, &job, &part);
    enum store_result result = store_claim_next(w->store, "elsewhere", ATTEMPTS, c);
    if (!expected) {
        if (result != STORE_NOT_FOUND) broken(w, "a claim of what nobody waits for");
        return result;
    }
    struct job *j = &w->jobs[job];
    if (strcmp(c->id, j->id) != 0 || c->part != part) broken(w, "not the job or part that is first");
    if (expected->attempts == ATTEMPTS && !j->cancel) {
        if (result != STORE_CONFLICT) broken(w, "more attempts than there are");
        job_ends(w, job, FAILED);
        return STORE_NOT_FOUND;
    }
    if (result != STORE_OK) broken(w, "a claim gave \"%s\"", store_result_text(result));
    if (c->epoch <= j->epoch) broken(w, "an epoch that was given before");
    j->epoch = c->epoch;
    *expected = (struct held){RUNNING, c->epoch, w->now + LEASE, expected->attempts + 1};
    if (c->attempt != expected->attempts || c->parts != (part ? j->parts : 0)) broken(w, "another attempt or division");
    if (part || !j->placed) return result;
    /* an attempt came as far as the rename: it is only recorded, unless the job is to be cancelled */
    return publish(w, job, c, 0) == STORE_CONFLICT ? STORE_OK : STORE_NOT_FOUND;
}

static enum store_result serve_split(struct world *w, const struct store_claim *c)
{
    struct job *j = &w->jobs[index_of(w, c->id)];
    bool valid = holder(j, c) == &j->whole && !j->cancel;
    enum store_result result = store_split(w->store, c, j->parts);
    expect(w, result, valid, "dividing");
    if (!valid) return result;
    j->whole.attempts--;
    j->epoch++;
    bool left = !j->divided;
    for (int i = 0; i < j->parts; i++) {
        if (j->divided && j->tasks[i].state == COMPLETED) continue;
        j->tasks[i] = (struct held){.state = WAITING};
        left = true;
    }
    j->divided = true;
    j->whole.state = left ? IN_PARTS : WAITING;
    return result;
}

static enum store_result serve_done(struct world *w, const struct store_claim *c)
{
    int job = index_of(w, c->id);
    struct job *j = &w->jobs[job];
    struct held *h = holder(j, c);
    enum store_result result = store_task_done(w->store, c);
    bool again = false, known = false;
    for (int i = 0; i < j->parts && j->divided; i++) {
        known |= j->tasks[i].epoch == c->epoch;
        again |= j->tasks[i].epoch == c->epoch && j->tasks[i].state == COMPLETED && j->whole.state != COMPLETED;
    }
    if (!known && result == STORE_NOT_FOUND) return STORE_CONFLICT; /* another has it since, or it is cancelled */
    expect(w, result, again || (h && h != &j->whole), "a finished part");
    if (!h || result != STORE_OK || again) return result;
    h->state = COMPLETED;
    int left = 0;
    for (int i = 0; i < j->parts; i++)
        left += j->tasks[i].state != COMPLETED;
    if (left == 0) j->whole.state = WAITING;
    return result;
}

static enum store_result serve_end(struct world *w, const struct store_claim *c, enum kind kind)
{
    int job = index_of(w, c->id);
    struct job *j = &w->jobs[job];
    struct held *h = holder(j, c);
    enum store_result result = kind == FAIL   ? store_fail(w->store, c, "e", "a")
                               : kind == DROP ? store_cancelled(w->store, c)
                                              : store_release(w->store, c);
    expect(w, result, h != NULL && !(kind == DROP && h != &j->whole), "an end");
    if (result != STORE_OK) return result;
    if (kind == FAIL) job_ends(w, job, FAILED);
    if (kind == DROP) job_ends(w, job, CANCELLED);
    if (kind != GIVE_BACK) return result;
    h->state = WAITING;
    h->attempts--;
    if (h == &j->whole) j->epoch++;
    return result;
}

static void serve(struct world *w, struct happening h)
{
    struct held *held;
    int job = h.kind == CLAIM ? 0 : index_of(w, h.claim.id);
    switch (h.kind) {
    case CLAIM: h.result = serve_claim(w, &h.claim); break;
    case BEATS:
        held = holder(&w->jobs[job], &h.claim);
        h.result = store_heartbeat(w->store, &h.claim, &h.cancel);
        expect(w, h.result, held != NULL, "a heartbeat");
        if (held) held->lease_end = w->now + LEASE;
        break;
    case SPLIT: h.result = serve_split(w, &h.claim); break;
    case DONE: h.result = serve_done(w, &h.claim); break;
    case PUBLISH:
        if (w->jobs[job].published && store_claim_completed(w->store, &h.claim))
            h.result = STORE_OK; /* asked again */
        else if (folder_of(w, job, h.claim.epoch)->finished == all_parts(&w->jobs[job]))
            h.result = publish(w, job, &h.claim, all_parts(&w->jobs[job]));
        else
            h.result = STORE_FAILED; /* a late word: its worker has given up, and no report is there */
        break;
    default: h.result = serve_end(w, &h.claim, h.kind);
    }
    note(w, kinds[h.kind], h.worker, &h.claim, (int)h.result);
    if (h.kind == PUBLISH && folder_of(w, job, h.claim.epoch)->finished == 0) remove_folders(w, job, h.claim.epoch);
    if (h.result == STORE_FAILED) return; /* nobody is there to answer */
    h.event = TO_WORKER;
    h.life = w->workers[h.worker].life;
    post(w, h);
}

/* ---- workers ---- */

static void ask(struct world *w, int i, enum kind kind)
{
    struct worker *k = &w->workers[i];
    k->asked = w->now;
    post(w, (struct happening){.event = TO_SERVER, .worker = i, .life = k->life, .kind = kind, .claim = k->claim});
}

static void forget(struct world *w, int i)
{
    w->workers[i].working = w->workers[i].claiming = false;
    w->workers[i].wish = BEATS;
    w->workers[i].claim = (struct store_claim){.epoch = 0};
}

/* Its process is gone; its files are not. Another begins in its place. */
static void crash(struct world *w, int i)
{
    const struct store_claim *c = &w->workers[i].claim;
    for (int f = 0; f < w->n_folders; f++)
        w->folders[f].left |= w->folders[f].epoch == c->epoch && strcmp(w->jobs[w->folders[f].job].id, c->id) == 0;
    w->crashes++;
    forget(w, i);
    w->workers[i].life++;
    w->workers[i].dead = true;
    put(w, 1 + (int64_t)roll(w, 2 * LEASE), (struct happening){.event = WAKE, .worker = i, .life = w->workers[i].life});
}

static void begin_work(struct world *w, int i, const struct store_claim *c)
{
    struct worker *k = &w->workers[i];
    k->claim = *c;
    k->working = true;
    k->claiming = false;
    k->wish = BEATS;
    k->heard = w->now;
    put(w, 500 + (int64_t)roll(w, 60000), (struct happening){.event = WORK, .worker = i, .life = k->life, .claim = *c});
}

/* The attempt's time is up: what has it come to? */
static void work_ends(struct world *w, int i)
{
    struct worker *k = &w->workers[i];
    int job = index_of(w, k->claim.id);
    struct job *j = &w->jobs[job];
    struct folder *f = folder_of(w, job, k->claim.epoch);
    if (chance(w, 12)) {
        k->wish = roll(w, 4) ? GIVE_BACK : FAIL;
    } else if (k->claim.part) {
        f->finished |= 1u << (k->claim.part - 1);
        k->wish = DONE;
    } else if (j->parts && !j->divided) {
        k->wish = SPLIT;
    } else { /* what others have finished is taken, the rest made here */
        f->finished = all_parts(j);
        k->wish = PUBLISH;
    }
    ask(w, i, k->wish);
}

/* Once a second or so: heartbeats, patience. */
static void tick(struct world *w, int i)
{
    struct worker *k = &w->workers[i];
    if (!k->working) {
        if (!k->claiming || w->now - k->asked > PATIENCE) k->claiming = true, ask(w, i, CLAIM);
    } else if (w->now - k->heard > SILENCE) { /* before the lease ends it stops by itself */
        remove_folders(w, index_of(w, k->claim.id), k->claim.epoch);
        forget(w, i);
    } else {
        ask(w, i, BEATS);
        if (k->wish != BEATS) ask(w, i, k->wish);
    }
    put(w, k->working ? BEAT : 1000 + (int64_t)roll(w, 4000),
        (struct happening){.event = TICK, .worker = i, .life = k->life});
}

static void hear(struct world *w, const struct happening *h)
{
    struct worker *k = &w->workers[h->worker];
    if (h->kind == CLAIM) {
        if (h->result == STORE_OK && !k->working) begin_work(w, h->worker, &h->claim);
        if (h->result == STORE_NOT_FOUND) k->claiming = false;
        return; /* a job that comes when it has one already: its lease ends */
    }
    if (!k->working || k->claim.epoch != h->claim.epoch || strcmp(k->claim.id, h->claim.id) != 0) return;
    if (h->result == STORE_OK) k->heard = w->now;
    if (h->result == STORE_CONFLICT) {
        remove_folders(w, index_of(w, k->claim.id), k->claim.epoch);
        forget(w, h->worker);
    } else if (h->kind != BEATS) {
        if (h->kind == PUBLISH || h->kind == DROP) remove_folders(w, index_of(w, k->claim.id), k->claim.epoch);
        forget(w, h->worker);
    } else if (h->cancel && k->wish != DROP) {
        k->wish = DROP;
        ask(w, h->worker, DROP);
    }
}

/* ---- users, and what goes wrong ---- */

static void submit(struct world *w)
{
    bool replayed;
    char ids[1][STORE_ID_SIZE];
    if (w->n_jobs == JOBS) return;
    json_t *r = json_pack("{s:s, s:s, s:[s]}", "name", "x", "source_model", "m", "gguf_quant_types", "Q8_0");
    const json_t *list[] = {r};
    if (store_submit(w->store, list, 1, NULL, NULL, NULL, 0, ids, &replayed) != STORE_OK)
        broken(w, "submitting failed");
    json_decref(r);
    struct job *j = &w->jobs[w->n_jobs++];
    *j = (struct job){.parts = roll(w, 3) ? 2 + (int)roll(w, PARTS - 1) : 0};
    snprintf(j->id, sizeof j->id, "%s", ids[0]);
}

static void user(struct world *w)
{
    if (roll(w, 2) || !w->n_jobs) {
        submit(w);
        return;
    }
    int job = (int)roll(w, (uint64_t)w->n_jobs);
    struct job *j = &w->jobs[job];
    if (roll(w, 2)) {
        bool at_once = j->whole.state == WAITING || j->whole.state == IN_PARTS, runs = j->whole.state == RUNNING;
        expect(w, store_cancel(w->store, j->id), at_once || runs, "the user's cancel");
        if (at_once) j->epoch++, job_ends(w, job, CANCELLED);
        if (runs) j->cancel = true;
    } else if (!j->published) {
        bool valid = j->whole.state == FAILED || j->whole.state == CANCELLED;
        expect(w, store_retry(w->store, j->id), valid, "the user's retry");
        if (!valid) return;
        j->whole = (struct held){.state = WAITING};
        j->cancel = false;
        j->epoch++;
        tell(w, job);
    }
}

static void misfortune(struct world *w)
{
    int i = (int)roll(w, WORKERS);
    switch (roll(w, 6)) {
    case 0: crash(w, i); break;
    case 1: w->workers[i].stopped_until = w->now + (int64_t)roll(w, 4 * LEASE); break;
    case 2: w->cut[i] = !w->cut[i]; break;
    case 3: w->now += (int64_t)roll(w, 3 * LEASE); break; /* the machine slept */
    case 4: w->crashes++, restart_server(w); break;
    default: user(w);
    }
}

/* ---- invariants ---- */

static void compare(struct world *w)
{
    for (int i = 0; i < w->n_jobs; i++) {
        const struct job *j = &w->jobs[i];
        json_t *job = store_job_brief(w->store, j->id);
        const char *status = job ? json_string_value(json_object_get(job, "status")) : "lost";
        if (strcmp(status, names[j->whole.state]) != 0)
            broken(w, "job %d is %s, not %s", i, status, names[j->whole.state]);
        json_decref(job);
        if ((j->published == 1) != (j->whole.state == COMPLETED))
            broken(w, "job %d published %d times", i, j->published);
    }
}

/* Of ended jobs nothing is left that nobody will remove: a zombie's own folder goes when it hears that it is one. */
static void check_folders(struct world *w)
{
    for (int i = 0; i < w->n_folders; i++) {
        const struct job *j = &w->jobs[w->folders[i].job];
        bool owned = j->whole.state < COMPLETED || j->whole.state == FAILED || w->folders[i].left;
        for (int k = 0; k < WORKERS; k++)
            owned |= w->workers[k].working && w->workers[k].claim.epoch == w->folders[i].epoch;
        if (!owned)
            broken(w, "the folder of epoch %lld of job %d, which has ended, is nobody's",
                   (long long)w->folders[i].epoch, w->folders[i].job);
    }
}

static void check(struct world *w)
{
    compare(w);
    check_folders(w);
    check_listeners(w);
}

/* ---- a run ---- */

/* Connections come and go. */
static void come_and_go(struct world *w)
{
    struct listener *l = &w->listeners[roll(w, LISTENERS)];
    if (!chance(w, 25)) return;
    if (l->subscription)
        hang_up(w, l);
    else
        call(w, l);
}

static void step(struct world *w)
{
    struct happening h = w->queue[--w->n_queue];
    struct worker *k = &w->workers[h.worker];
    if (h.at > w->now) w->now = h.at;
    w->events++;
    if (h.event == TO_SERVER) {
        serve(w, h);
        return;
    }
    if (h.life != k->life) return;   /* of a process that is gone */
    if (k->stopped_until > w->now) { /* SIGSTOP: later */
        put(w, k->stopped_until - w->now, h);
        return;
    }
    switch (h.event) {
    case TO_WORKER: hear(w, &h); break;
    case WORK:
        if (k->working && k->claim.epoch == h.claim.epoch && strcmp(k->claim.id, h.claim.id) == 0)
            work_ends(w, h.worker);
        break;
    case WAKE:
        k->dead = false;
        put(w, 1, (struct happening){.event = TICK, .worker = h.worker, .life = k->life});
        break;
    default: tick(w, h.worker);
    }
    if (chance(w, 400)) crash(w, h.worker);
}

static bool all_ended(const struct world *w)
{
    for (int i = 0; i < w->n_jobs; i++)
        if (w->jobs[i].whole.state < COMPLETED) return false;
    return true;
}

static uint64_t run_seed(unsigned seed, uint64_t n_events, uint64_t *total)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->random = (seed + 1) * 0x9e3779b97f4a7c15u;
    w->seed = seed;
    w->now = 1000;
    w->trace = getenv("HT_SIM_TRACE") != NULL;
    strcpy(w->folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/test_sim_XXXXXX" : "/tmp/test_sim_XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    open_store(w);
    for (int i = 0; i < WORKERS; i++)
        put(w, (int64_t)roll(w, 1000), (struct happening){.event = TICK, .worker = i});
    for (int i = 0; i < 3; i++)
        submit(w);
    while (w->events < n_events) {
        step(w);
        if (roll(w, 60) == 0) misfortune(w);
        if (w->dying) w->crashes++, restart_server(w);
        come_and_go(w);
        check(w);
    }
    w->calm = true; /* nothing goes wrong any more: every job ends, within the attempts that it has left */
    memset(w->cut, 0, sizeof w->cut);
    for (int i = 0; i < LISTENERS; i++)
        if (!w->listeners[i].subscription) call(w, &w->listeners[i]);
    for (int64_t end = w->now + 400LL * LEASE; !all_ended(w) && w->now < end; check(w))
        step(w);
    for (int i = 0; i < w->n_jobs && !all_ended(w); i++)
        if (w->jobs[i].whole.state < COMPLETED)
            print_error("job %d is %s, epoch %lld, divided %d\n", i, names[w->jobs[i].whole.state],
                        (long long)w->jobs[i].whole.epoch, w->jobs[i].divided);
    if (!all_ended(w)) broken(w, "a job does not end though nothing goes wrong any more");
    for (int64_t end = w->now + 8LL * LEASE; w->now < end;)
        step(w); /* zombies hear of it */
    restart_server(w);
    check(w);
    for (int i = 0; i < w->n_folders; i++)
        broken(w, "a folder of job %d stays", w->folders[i].job);
    *total += w->events;
    uint64_t digest = w->digest;
    close_store(w);
    dir_remove(w->folder);
    free(w);
    return digest;
}

static void test_simulation(void **state)
{
    const char *one = getenv("HT_SIM_SEED"), *many = getenv("HT_SIM_SEEDS"), *long_ones = getenv("HT_SIM_EVENTS");
    unsigned n = many ? (unsigned)atoi(many) : (unsigned)effort(10, 40, 400), first = one ? (unsigned)atoi(one) : 1;
    uint64_t events = long_ones ? strtoull(long_ones, NULL, 10) : 2500, total = 0;
    (void)state;
    for (unsigned seed = first; seed < first + (one ? 1 : n); seed++)
        run_seed(seed, events, &total);
    print_message("%llu events\n", (unsigned long long)total);
}

/* A worker whose part was done long ago tells so once more, when the job is published: its folder was nobody's. */
static void test_late_words(void **state)
{
    static const unsigned seeds[] = {813, 1077};
    uint64_t total = 0;
    (void)state;
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++)
        run_seed(seeds[i], 2500, &total);
}

static void test_replays(void **state)
{
    uint64_t total = 0;
    (void)state;
    for (unsigned seed = 1; seed <= 3; seed++) {
        uint64_t first = run_seed(seed, 1500, &total);
        assert_true(first == run_seed(seed, 1500, &total));
        assert_true(first != run_seed(seed + 100, 1500, &total));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_simulation), cmocka_unit_test(test_late_words),
                                       cmocka_unit_test(test_replays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
