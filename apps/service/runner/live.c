/*
 * What a running job shows: its figures live here and in events; the store gets them with each new step
 * and every half minute. A thread of its own keeps the lease, whatever the job's thread is busy with,
 * and brings the wish to cancel.
 */
#include "service/runner/run.h"
#include "service/system/steady.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define EVENT_SECONDS 0.2 /* at most five events a second */
#define KEEP_SECONDS 30.0

/* One beat. Under no lock: the store may take its time. */
static enum store_result beat(struct run *run)
{
    struct scheduler *s = run->scheduler;
    bool cancel = false, lost = false;
    enum store_result result = s->link->operations->heartbeat(s->link, &run->claim, &cancel);
    double now = steady_seconds();
    pthread_mutex_lock(&run->lock_live);
    if (result == STORE_OK) run->beat_at = now;
    lost = !run->ending && (result == STORE_CONFLICT || now - run->beat_at > s->link->silence_seconds);
    run->cancel |= cancel;
    run->lost |= lost;
    run->fenced |= lost && result == STORE_CONFLICT;
    pthread_mutex_unlock(&run->lock_live);
    if (lost)
        child_kill(&run->stop);
    else if (cancel)
        child_stop(&run->stop);
    pthread_mutex_lock(&s->lock);
    s->state.heartbeats_missed += result != STORE_OK && result != STORE_CONFLICT;
    s->state.fenced += lost && result == STORE_CONFLICT;
    pthread_mutex_unlock(&s->lock);
    return result;
}

void run__learn(struct run *run)
{
    while (run__may_go_on(run) && beat(run) != STORE_OK)
        nanosleep(&(struct timespec){0, 100000000}, NULL);
}

static void *keep_lease(void *ctx)
{
    struct run *run = ctx;
    bool over = false;
    const double between = run->scheduler->link->beat_seconds;
    while (!over) {
        beat(run);
        pthread_mutex_lock(&run->lock_live);
        /* a beat that failed is tried again soon */
        double now = steady_seconds(), until = now + (now - run->beat_at > 1 && between > 2 ? 2 : between);
        for (; !run->over && now < until; now = steady_seconds())
            steady_cond_wait(&run->ended, &run->lock_live, until - now);
        over = run->over || run->lost;
        pthread_mutex_unlock(&run->lock_live);
    }
    return NULL;
}

bool run__begin(struct run *run)
{
    run->beat_at = steady_seconds();
    run->beating = pthread_create(&run->heart, NULL, keep_lease, run) == 0;
    return run->beating;
}

void run__end(struct run *run)
{
    if (!run->beating) return;
    pthread_mutex_lock(&run->lock_live);
    run->over = true;
    pthread_cond_broadcast(&run->ended);
    pthread_mutex_unlock(&run->lock_live);
    pthread_join(run->heart, NULL);
    run->beating = false;
}

bool run__may_go_on(struct run *run)
{
    pthread_mutex_lock(&run->lock_live);
    bool go_on = !run->cancel && !run->lost && !run->suspended;
    pthread_mutex_unlock(&run->lock_live);
    return go_on;
}

void run__refresh(struct run *run)
{
    struct worker_link *link = run->scheduler->link;
    json_t *brief = link->operations->brief(link, &run->claim);
    if (!brief) return;
    pthread_mutex_lock(&run->lock_live);
    json_decref(run->brief);
    run->brief = json_deep_copy(brief);
    double progress = json_number_value(json_object_get(brief, "progress"));
    if (progress > run->progress) run->progress = progress;
    run->told_at = steady_seconds();
    pthread_mutex_unlock(&run->lock_live);
    link->operations->tell(link, &run->claim, brief);
    if (run->scheduler->store) store_notify(run->scheduler->store, "job", run->claim.id);
}

static double progress_of(struct run *run)
{
    pthread_mutex_lock(&run->lock_live);
    double progress = run->progress;
    pthread_mutex_unlock(&run->lock_live);
    return progress;
}

enum store_result run__update(struct run *run, const struct store_update *update)
{
    struct worker_link *link = run->scheduler->link;
    return link->operations->update(link, &run->claim, update);
}

bool run__step(struct run *run, const char *status, const char *step, const char *text)
{
    struct store_update update = {status, step, text, progress_of(run), -1, -1, NULL, NULL};
    if (run->claim.parts) return run__may_go_on(run); /* what one of many does is not what the job does */
    enum store_result result = run__update(run, &update);
    pthread_mutex_lock(&run->lock_live);
    snprintf(run->step, sizeof run->step, "%s", step);
    run->kept_at = steady_seconds();
    if (result == STORE_CONFLICT) run->lost = true;
    if (result != STORE_OK && run->brief) {
        json_object_set_new(run->brief, "status", json_string(status));
        json_object_set_new(run->brief, "step", json_string(step));
        json_object_set_new(run->brief, "current_step", json_string(text));
    }
    pthread_mutex_unlock(&run->lock_live);
    if (result == STORE_OK) {
        run__log(run, "info", text); /* with its time: what took how long */
        run__refresh(run);
    }
    return result != STORE_CONFLICT;
}

/* The child's steps: what they are to people and to the store, and which pass they belong to. */
static const struct step {
    const char *name, *status, *text;
    enum pass pass;
} steps[] = {
    {"download", "downloading", "downloading", PASS_DOWNLOAD},
    {"calibrate", "preparing", "collecting importance on the calibration text", PASS_CALIBRATE},
    {"check", "preparing", "checking what an earlier attempt has written", PASSES},
    {"assemble", "preparing", "taking what other attempts have finished", PASSES},
    {"quantize", "quantizing", "quantizing", PASS_QUANTIZE},
    {"verify", "verifying", "reading back and checking", PASS_VERIFY},
    {"hash", "verifying", "hashing the source", PASSES},
    {"measure", "measuring", "measuring what was lost", PASS_MEASURE},
    {"continue", "measuring", "comparing greedy texts", PASSES},
    {"choices", "measuring", "answering multiple-choice questions", PASSES},
};

static const struct step *find_step(const char *name)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (strcmp(steps[i].name, name) == 0) return &steps[i];
    return NULL;
}

/* All passes before this one are done, and `share` of it. */
static double progress_at(const struct run *run, enum pass pass, double share)
{
    double done = 0, total = 0;
    for (int p = 0; p < PASSES; p++) {
        total += run->pass_size[p];
        if (p < (int)pass) done += run->pass_size[p];
        if (p == (int)pass) done += run->pass_size[p] * (share < 1 ? share : 1);
    }
    return total > 0 ? 99.9 * done / total : 0; /* 100 is for what is published */
}

static double number(const json_t *event, const char *key)
{
    return json_number_value(json_object_get(event, key));
}

/* A file's path may be in it: its last part is enough, and does not reveal where the data are. */
static const char *short_name(const char *tensor)
{
    const char *slash = tensor ? strrchr(tensor, '/') : NULL;
    return slash ? slash + 1 : tensor ? tensor : "";
}

static json_t *live_of(const json_t *event)
{
    double left = json_is_number(json_object_get(event, "seconds_left")) ? number(event, "seconds_left") : -1;
    const char *unit = json_string_value(json_object_get(event, "unit"));
    return json_pack("{s:s, s:s, s:I, s:I, s:f, s:f, s:o}", "tensor",
                     short_name(json_string_value(json_object_get(event, "tensor"))), "unit", unit ? unit : "", "done",
                     (json_int_t)number(event, "done"), "total", (json_int_t)number(event, "total"), "rate",
                     number(event, "rate"), "seconds", number(event, "seconds"), "seconds_left",
                     left >= 0 ? json_real(left) : json_null());
}

/* Takes the figures over. Returns the event to publish, or NULL when the last one was a moment ago. */
static json_t *note(struct run *run, const struct step *step, const json_t *event)
{
    double total = number(event, "total"), done = number(event, "done"), now = steady_seconds();
    json_t *told = NULL, *live = live_of(event);
    pthread_mutex_lock(&run->lock_live);
    double progress = step->pass == PASSES ? 0 : progress_at(run, step->pass, total > 0 ? done / total : 0);
    if (progress > run->progress) run->progress = progress;
    if (step->pass == PASS_QUANTIZE && number(event, "seconds") > 0) run->rate = done / number(event, "seconds");
    if (run->brief) {
        json_object_set_new(run->brief, "progress", json_real(run->progress));
        json_object_set(run->brief, "live", live);
        if (now - run->told_at >= EVENT_SECONDS || done >= total) told = json_deep_copy(run->brief);
    }
    if (told) run->told_at = now;
    pthread_mutex_unlock(&run->lock_live);
    json_decref(live);
    return told;
}

void run__keep_progress(struct run *run)
{
    struct store_update update = {NULL, NULL, NULL, progress_of(run), -1, -1, NULL, NULL};
    run__update(run, &update);
    run->kept_at = steady_seconds();
}

void run__progress(struct run *run, const json_t *event)
{
    const char *name = json_string_value(json_object_get(event, "step"));
    const struct step *step = name ? find_step(name) : NULL;
    struct worker_link *link = run->scheduler->link;
    if (!step || run->claim.parts) return;
    if (strcmp(run->step, step->name) != 0) {
        run__step(run, step->status, step->name, step->text);
        if (step->pass == PASS_QUANTIZE) link->operations->output_status(link, &run->claim, "writing");
        if (step->pass == PASS_VERIFY) link->operations->output_status(link, &run->claim, "verifying");
    }
    json_t *told = note(run, step, event);
    if (told) link->operations->tell(link, &run->claim, told);
    if (steady_seconds() - run->kept_at > KEEP_SECONDS) run__keep_progress(run);
}

void run__add_live(struct run *run, json_t *job)
{
    static const char *const keys[] = {"status", "step", "current_step", "progress", "live"};
    pthread_mutex_lock(&run->lock_live);
    for (int i = 0; i < 5 && run->brief; i++) {
        json_t *value = json_object_get(run->brief, keys[i]);
        if (value) json_object_set_new(job, keys[i], json_deep_copy(value));
    }
    pthread_mutex_unlock(&run->lock_live);
}
