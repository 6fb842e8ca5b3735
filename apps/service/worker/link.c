/*
 * The link to a server: what a run tells is kept until the next heartbeat, unless it is a step; what the server says
 * of it comes back with each answer.
 */
#include "service/worker/far.h"

#include "service/artifacts/dir.h"
#include "service/system/steady.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ASK_SECONDS = 20, AWAY_ASK_SECONDS = 8, UNWOKEN_SECONDS = 15, MOST_LINES = 500, LONGEST_WAIT = 15 };

/* A job that this worker has. */
struct duty {
    struct duty *next;
    struct store_claim claim;
    json_t *request, *lines; /* of the log, not sent yet */
    json_t *live;            /* the latest figures, not sent yet; NULL: none */
    double progress;
    char place[256]; /* in the bucket; "": there is none */
};

static struct far *of(struct worker_link *link)
{
    return (struct far *)link;
}

void far_task(const struct store_claim *claim, char text[80])
{
    snprintf(text, 80, "%s-%lld", claim->id, (long long)claim->epoch);
}

/* Under the lock. */
static struct duty *find(struct far *f, const struct store_claim *claim)
{
    struct duty *d = f->duties;
    while (d && (strcmp(d->claim.id, claim->id) != 0 || d->claim.epoch != claim->epoch))
        d = d->next;
    return d;
}

static void free_duty(struct duty *d)
{
    json_decref(d->request);
    json_decref(d->lines);
    json_decref(d->live);
    free(d);
}

/* ---- claims ---- */

static void wait(struct far *f, double seconds)
{
    for (double until = steady_seconds() + seconds; steady_seconds() < until && !atomic_load(&f->stopped);)
        nanosleep(&(struct timespec){0, 50000000}, NULL);
}

/* Said once when it begins, and once when it is over. */
static void note_reach(struct far *f, bool reached)
{
    pthread_mutex_lock(&f->lock);
    bool news = f->unreachable == reached;
    f->unreachable = !reached;
    pthread_mutex_unlock(&f->lock);
    char why[500];
    far_why(f, why, sizeof why);
    if (news && !atomic_load(&f->stopped))
        log_event(f->log, reached ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, reached ? "reached" : "unreachable", "{s:s}",
                  "text", reached ? f->server : why);
}

static bool take_task(struct far *f, const json_t *task, struct store_claim *claim)
{
    const char *id = json_string_value(json_object_get(task, "job_id"));
    json_t *request = json_object_get(task, "request");
    struct duty *d = calloc(1, sizeof *d);
    *claim = (struct store_claim){.part = (int)json_integer_value(json_object_get(task, "part")),
                                  .parts = (int)json_integer_value(json_object_get(task, "parts")),
                                  .epoch = json_integer_value(json_object_get(task, "epoch")),
                                  .attempt = (int)json_integer_value(json_object_get(task, "attempt"))};
    if (json_is_true(json_object_get(task, "collects"))) claim->part = -claim->part;
    /* the id names a folder here */
    bool sane = id && strlen(id) == STORE_ID_SIZE - 1 && strspn(id, "0123456789abcdef") == STORE_ID_SIZE - 1 &&
                claim->epoch > 0 && json_is_object(request) && json_is_string(json_object_get(request, "source_model"));
    if (!d || !sane) {
        free(d);
        far_fail(f, "%s gave a job that makes no sense", f->server);
        return false;
    }
    snprintf(claim->id, sizeof claim->id, "%s", id);
    const char *place = json_string_value(json_object_get(task, "place"));
    snprintf(d->place, sizeof d->place, "%s", artifacts_is_name(place) ? place : "");
    d->claim = *claim;
    d->request = json_incref(request);
    d->lines = json_array();
    pthread_mutex_lock(&f->lock);
    d->next = f->duties;
    f->duties = d;
    pthread_mutex_unlock(&f->lock);
    return true;
}

/* consumer: who was woken by the entry; "" and "": nobody was. */
static enum store_result ask_once(struct far *f, double seconds, const char *entry, const char *consumer,
                                  struct store_claim *claim)
{
    char path[100];
    json_t *task = NULL;
    pthread_mutex_lock(&f->lock);
    snprintf(path, sizeof path, "/workers/%s/claim", f->id);
    bool known = *f->id;
    pthread_mutex_unlock(&f->lock);
    enum store_result result = known ? STORE_OK : far_introduce(f);
    if (!known) return result == STORE_OK ? STORE_NOT_FOUND : result;
    struct asked a = {.method = "POST",
                      .path = path,
                      .seconds = seconds + 15,
                      .until_stopped = true,
                      .body = json_pack("{s:i, s:o, s:s*, s:s*}", "seconds", (int)seconds, "machine", far_machine(f),
                                        "entry", *entry ? entry : NULL, "consumer", *entry ? consumer : NULL)};
    result = far_ask(f, &a, &task);
    if (result == STORE_NOT_FOUND) { /* the server has forgotten this worker: introduce it anew */
        pthread_mutex_lock(&f->lock);
        f->id[0] = '\0';
        pthread_mutex_unlock(&f->lock);
    } else if (result == STORE_OK) {
        result = !task ? STORE_NOT_FOUND : take_task(f, task, claim) ? STORE_OK : STORE_FAILED;
    }
    json_decref(task);
    return result;
}

/* Woken by Redis, it asks at once; now and then it asks without being woken; without Redis it waits at the server. So it does
 * when it was woken for a job that does not suit it: the entry is anew there at once, for others, and would only wake it again. */
static enum store_result ask_when_woken(struct far *f, struct store_claim *claim)
{
    char entry[48] = "", consumer[160];
    if (!f->wake) return ask_once(f, ASK_SECONDS, "", "", claim);
    pthread_mutex_lock(&f->lock);
    snprintf(consumer, sizeof consumer, "%s-%.8s", f->name, f->id);
    bool known = *f->id;
    pthread_mutex_unlock(&f->lock);
    if (!known) return ask_once(f, 0, "", "", claim);
    enum wake_result woken = wake_wait(f, f->wake, consumer, UNWOKEN_SECONDS, entry);
    if (atomic_load(&f->stopped)) return STORE_NOT_FOUND; /* an entry that it took is found idle */
    enum store_result result = ask_once(f, woken == WAKE_AWAY ? AWAY_ASK_SECONDS : 0, entry, consumer, claim);
    if (woken != WAKE_ENTRY || result != STORE_NOT_FOUND || atomic_load(&f->stopped)) return result;
    return ask_once(f, UNWOKEN_SECONDS, "", "", claim);
}

/* While the server cannot be reached it is asked again, less and less often. */
static enum store_result claim_next(struct worker_link *link, double seconds, struct store_claim *claim)
{
    struct far *f = of(link);
    double end = steady_seconds() + seconds, pause = 1;
    while (!atomic_load(&f->stopped) && steady_seconds() < end) {
        enum store_result result = ask_when_woken(f, claim);
        bool answered = result == STORE_OK || result == STORE_NOT_FOUND;
        note_reach(f, answered);
        if (result == STORE_OK) return result;
        if (answered) {
            pause = 1;
            continue;
        }
        wait(f, pause);
        pause = pause < LONGEST_WAIT / 2.0 ? pause * 2 : LONGEST_WAIT;
    }
    return STORE_NOT_FOUND;
}

static json_t *request_of(struct worker_link *link, const struct store_claim *claim)
{
    struct far *f = of(link);
    pthread_mutex_lock(&f->lock);
    struct duty *d = find(f, claim);
    json_t *request = d ? json_deep_copy(d->request) : NULL;
    pthread_mutex_unlock(&f->lock);
    return request;
}

void far_place(struct far *f, const struct store_claim *claim, char *place, size_t size)
{
    pthread_mutex_lock(&f->lock);
    struct duty *d = find(f, claim);
    snprintf(place, size, "%s", d ? d->place : "");
    pthread_mutex_unlock(&f->lock);
}

/* What figures are added to; the server has the rest. */
static json_t *brief_of(struct worker_link *link, const struct store_claim *claim)
{
    struct far *f = of(link);
    pthread_mutex_lock(&f->lock);
    struct duty *d = find(f, claim);
    json_t *brief =
        d ? json_pack("{s:s, s:O?}", "id", claim->id, "progress", json_object_get(d->request, "progress")) : NULL;
    pthread_mutex_unlock(&f->lock);
    return brief;
}

/* ---- what is told ---- */

static void tell(struct worker_link *link, const struct store_claim *claim, json_t *brief)
{
    struct far *f = of(link);
    json_t *live = json_object_get(brief, "live");
    pthread_mutex_lock(&f->lock);
    struct duty *d = find(f, claim);
    if (d && json_is_object(live)) {
        json_decref(d->live);
        d->live = json_incref(live);
    }
    double progress = json_number_value(json_object_get(brief, "progress"));
    if (d && progress > d->progress) d->progress = progress;
    pthread_mutex_unlock(&f->lock);
    json_decref(brief);
}

static void put_log(struct worker_link *link, const struct store_claim *claim, const char *level, const char *text)
{
    struct far *f = of(link);
    json_t *line = json_pack("{s:s, s:s}", "level", level, "text", text);
    pthread_mutex_lock(&f->lock);
    struct duty *d = find(f, claim);
    if (d && line && json_array_size(d->lines) < MOST_LINES) json_array_append(d->lines, line);
    pthread_mutex_unlock(&f->lock);
    json_decref(line);
}

/* With all that was kept. Steals `told`; *cancel may be NULL. */
static enum store_result send_told(struct far *f, const struct store_claim *claim, json_t *told, bool *cancel)
{
    char task[80], path[120];
    json_t *answer = NULL, *lines = NULL;
    if (!told) return STORE_FAILED;
    pthread_mutex_lock(&f->lock);
    struct duty *d = find(f, claim);
    if (d && json_array_size(d->lines) > 0) {
        lines = d->lines;
        d->lines = json_array();
        json_object_set(told, "log", lines);
    }
    if (d && d->live) json_object_set_new(told, "live", d->live);
    if (d) d->live = NULL;
    if (d && !json_object_get(told, "progress")) json_object_set_new(told, "progress", json_real(d->progress));
    json_object_set_new(told, "worker", json_string(f->id));
    if (atomic_load(&f->stopped)) json_object_set_new(told, "draining", json_true());
    pthread_mutex_unlock(&f->lock);
    far_task(claim, task);
    snprintf(path, sizeof path, "/tasks/%s", task);
    double seconds = f->link.silence_seconds / 2;
    struct asked a = {.method = "PATCH", .path = path, .body = told, .seconds = seconds > 1 ? seconds : 1};
    enum store_result result = far_ask(f, &a, &answer);
    if (result == STORE_NOT_FOUND) result = STORE_CONFLICT;
    if (result == STORE_OK && cancel) *cancel = json_is_true(json_object_get(answer, "cancel"));
    json_decref(answer);
    pthread_mutex_lock(&f->lock);
    d = find(f, claim);
    if (d && lines && result != STORE_OK && result != STORE_CONFLICT) { /* again, with the next */
        json_array_extend(lines, d->lines);
        json_decref(d->lines);
        d->lines = json_incref(lines);
    }
    pthread_mutex_unlock(&f->lock);
    json_decref(lines);
    return result;
}

static enum store_result heartbeat(struct worker_link *link, const struct store_claim *claim, bool *cancel)
{
    return send_told(of(link), claim, json_object(), cancel);
}

static enum store_result update(struct worker_link *link, const struct store_claim *claim, const struct store_update *u)
{
    json_t *told = json_pack("{s:s*, s:s*, s:s*, s:s*}", "status", u->status, "step", u->step, "current_step",
                             u->current_step, "source_revision", u->source_revision);
    if (u->progress >= 0) json_object_set_new(told, "progress", json_real(u->progress));
    if (u->estimated_disk_gb >= 0) json_object_set_new(told, "estimated_disk_gb", json_real(u->estimated_disk_gb));
    if (u->estimated_time_minutes >= 0)
        json_object_set_new(told, "estimated_time_minutes", json_real(u->estimated_time_minutes));
    return send_told(of(link), claim, told, NULL);
}

static enum store_result outputs(struct worker_link *link, const struct store_claim *claim, const json_t *rows)
{
    return send_told(of(link), claim, json_pack("{s:O}", "outputs", rows), NULL);
}

static enum store_result output_status(struct worker_link *link, const struct store_claim *claim, const char *status)
{
    return send_told(of(link), claim, json_pack("{s:s}", "output_status", status), NULL);
}

/* ---- the end ---- */

static enum store_result end(struct worker_link *link, const struct store_claim *claim, enum link_end how,
                             const char *error, const char *advice)
{
    static const char *const names[] = {
        [LINK_RELEASED] = "queued", [LINK_FAILED] = "failed", [LINK_CANCELLED] = "cancelled"};
    struct far *f = of(link);
    char task[80], path[120];
    send_told(f, claim, json_object(), NULL); /* the last lines of its log */
    far_task(claim, task);
    snprintf(path, sizeof path, "/tasks/%s/finish", task);
    struct asked a = {.method = "POST",
                      .path = path,
                      .seconds = 10,
                      .body =
                          json_pack("{s:s, s:s*, s:s*}", "status", names[how], "error", error, "error_advice", advice)};
    enum store_result result = far_ask(f, &a, NULL);
    return result == STORE_NOT_FOUND ? STORE_CONFLICT : result;
}

static enum store_result finish(struct worker_link *link, const struct store_claim *claim, json_t *body)
{
    struct far *f = of(link);
    char task[80], path[120];
    send_told(f, claim, json_object(), NULL);
    far_task(claim, task);
    snprintf(path, sizeof path, "/tasks/%s/finish", task);
    struct asked a = {.method = "POST", .path = path, .body = body};
    enum store_result result = far_ask(f, &a, NULL);
    return result == STORE_NOT_FOUND ? STORE_CONFLICT : result;
}

static enum store_result split(struct worker_link *link, const struct store_claim *claim, int parts)
{
    return finish(link, claim,
                  json_pack("{s:s, s:i, s:o*}", "status", "split", "parts", abs(parts), "collects",
                            parts < 0 ? json_true() : NULL));
}

static enum store_result part_done(struct worker_link *link, const struct store_claim *claim)
{
    return finish(link, claim, json_pack("{s:s}", "status", "completed"));
}

/* What was fetched for it goes with its work; see fetch.c. */
static void finished(struct worker_link *link, const struct store_claim *claim)
{
    struct far *f = of(link);
    char work[4200], source[4200];
    far_work(link, claim, work, sizeof work);
    snprintf(source, sizeof source, "%s/uploads/%s", f->folder, claim->id);
    if (!dir_exists(work)) dir_remove(source);
    pthread_mutex_lock(&f->lock);
    for (struct duty **at = &f->duties; *at;) {
        struct duty *d = *at;
        if (strcmp(d->claim.id, claim->id) == 0 && d->claim.epoch == claim->epoch) {
            *at = d->next;
            free_duty(d);
        } else {
            at = &d->next;
        }
    }
    pthread_mutex_unlock(&f->lock);
}

static void why_not(struct worker_link *link, char *why, size_t size)
{
    far_why(of(link), why, size);
}

static void ring(struct worker_link *link, const char *job_id)
{
    (void)link, (void)job_id;
}

static void stop(struct worker_link *link)
{
    atomic_store(&of(link)->stopped, true);
}

static void close_far(struct worker_link *link)
{
    struct far *f = of(link);
    for (int i = 0; i < f->n_idle; i++)
        curl_easy_cleanup(f->idle[i]);
    f->n_idle = 0;
}

struct worker_link *far_link(struct far *f)
{
    static const struct link_operations operations = {.claim = claim_next,
                                                      .request = request_of,
                                                      .brief = brief_of,
                                                      .tell = tell,
                                                      .heartbeat = heartbeat,
                                                      .update = update,
                                                      .outputs = outputs,
                                                      .output_status = output_status,
                                                      .log = put_log,
                                                      .end = end,
                                                      .publish = far_publish,
                                                      .split = split,
                                                      .part_done = part_done,
                                                      .fetch = far_fetch,
                                                      .work = far_work,
                                                      .finished = finished,
                                                      .why = why_not,
                                                      .ring = ring,
                                                      .stop = stop,
                                                      .close = close_far};
    f->link = (struct worker_link){&operations, !f->share, 2, 20}; /* until the server says otherwise */
    return &f->link;
}
