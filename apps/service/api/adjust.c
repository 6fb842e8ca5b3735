/*
 *   readings -> gauges -> policy -> a step -> which model -> its switch, without config.json
 *
 * Down: the loaded model that takes most memory and has a lower level. Up: what was stepped down last, if it fits.
 */
#include "service/api/adjust.h"

#include "service/api/level_switch.h"
#include "service/levels/policy.h"
#include "service/levels/sensors.h"
#include "service/system/steady.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NAME = 512, MOST_DECISIONS = 200, MOST_STEPPED = 500 };
#define IDLE_SECONDS 1.0
#define TRACE_SECONDS 0.002 /* between readings of a trace, whose own times count */

/* A family that was stepped down, and the level from which. */
struct stepped {
    struct stepped *next;
    char family[NAME], name[NAME];
    enum level from;
};

struct adjuster {
    struct server *server;
    struct sensors *sensors;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool closing;
    struct child_stop stop;
    json_t *reading, *gauges, *decisions;
    char reason[400];
    json_int_t last_id;
    /* the thread's own */
    struct policy policy;
    struct policy_settings settings;
    struct stepped *stepped; /* the latest first; changed under the lock */
    bool ended;              /* the trace */
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* ---- decisions ---------------------------------------------------------------------------------- */

struct decision {
    enum step step;
    char family[NAME], name[NAME], reason[500], error[900];
    enum level from, to;
    bool chosen, applied;
};

static json_t *decision_json(const struct decision *d, bool dry_run, double time_)
{
    return json_pack("{s:I, s:f, s:s, s:s?, s:s?, s:s?, s:s, s:b, s:b, s:s?}", "at", (json_int_t)time(NULL), "time",
                     time_, "step", d->step == STEP_DOWN ? "down" : "up", "model", d->chosen ? d->name : NULL, "from",
                     d->chosen ? level_text(d->from) : NULL, "to", d->chosen ? level_text(d->to) : NULL, "reason",
                     d->reason, "dry_run", dry_run, "applied", d->applied, "error", *d->error ? d->error : NULL);
}

static void record(struct adjuster *a, const struct decision *d, double time_)
{
    json_t *o = decision_json(d, a->settings.dry_run, time_);
    pthread_mutex_lock(&a->lock);
    json_object_set_new(o, "id", json_integer(++a->last_id));
    json_array_append(a->decisions, o);
    if (json_array_size(a->decisions) > MOST_DECISIONS) json_array_remove(a->decisions, 0);
    pthread_mutex_unlock(&a->lock);
    log_event(a->server->log, LOG_LEVEL_INFO, "adjusted", "{s:O}", "decision", o);
    json_decref(o);
}

/* ---- down --------------------------------------------------------------------------------------- */

/* The next level below that is there, or may be made. UNSET: none. */
static enum level lower(struct adjuster *a, const json_t *list, const char *family, enum level from)
{
    for (int i = 0; i < N_LEVELS; i++) {
        enum level level = level_order[i];
        if (level >= from) continue;
        if (a->settings.make || levels_find(a->server->levels, list, family, level, &a->stop)) return level;
    }
    return LEVEL_UNSET;
}

/* Is this loaded model the one to step down? Then it takes the place of what was chosen before. */
static void consider(struct adjuster *a, const json_t *list, const json_t *instance, json_int_t *most,
                     struct decision *d)
{
    struct runtime_model model;
    struct level_switch s = {.to = LEVEL_UNSET};
    enum level level;
    json_int_t memory = json_integer_value(json_object_get(instance, "memory"));
    if (strcmp(text_of(instance, "state"), "ready") != 0 || memory <= *most) return;
    if (!level_switch_find(&s, a->server, list, text_of(instance, "name"))) return;
    const json_t *now = levels_now(a->server->levels, list, s.family, &a->stop, &level, &model);
    if (!now || strcmp(model.path, text_of(instance, "path")) != 0 || level <= LEVEL_4) return;
    enum level to = lower(a, list, s.family, level);
    if (to == LEVEL_UNSET) return;
    *most = memory;
    d->chosen = true;
    d->from = level;
    d->to = to;
    snprintf(d->family, sizeof d->family, "%s", s.family);
    snprintf(d->name, sizeof d->name, "%s", s.name);
}

static void choose_down(struct adjuster *a, const json_t *list, struct decision *d)
{
    json_t *running = runtime_list(a->server->runtime), *one;
    json_int_t most = -1;
    size_t i;
    json_array_foreach(running, i, one)
        consider(a, list, one, &most, d);
    json_decref(running);
    if (!d->chosen) snprintf(d->error, sizeof d->error, "no loaded model has a lower level here");
}

/* ---- up ----------------------------------------------------------------------------------------- */

static void drop_stepped(struct adjuster *a, const char *family)
{
    pthread_mutex_lock(&a->lock);
    for (struct stepped **at = &a->stepped; *at;) {
        struct stepped *s = *at;
        if (strcmp(s->family, family) != 0) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        free(s);
    }
    pthread_mutex_unlock(&a->lock);
}

static void add_stepped(struct adjuster *a, const struct decision *d)
{
    size_t n = 0;
    for (const struct stepped *s = a->stepped; s; s = s->next, n++)
        if (strcmp(s->family, d->family) == 0) return; /* from higher up */
    struct stepped *s = n < MOST_STEPPED ? calloc(1, sizeof *s) : NULL;
    if (!s) return;
    snprintf(s->family, sizeof s->family, "%s", d->family);
    snprintf(s->name, sizeof s->name, "%s", d->name);
    s->from = d->from;
    pthread_mutex_lock(&a->lock);
    s->next = a->stepped;
    a->stepped = s;
    pthread_mutex_unlock(&a->lock);
}

/* Would the higher level make high again what is low now? */
static bool fits(struct adjuster *a, const json_t *reading, uint64_t old, uint64_t new, char *error, size_t size)
{
    const json_t *host = json_object_get(reading, "host"), *left = json_object_get(host, "memory_available_bytes");
    double total = json_number_value(json_object_get(host, "memory_total_bytes"));
    double more = new > old ? (double)(new - old) : 0;
    if (runtime_need(new) > runtime_limit_now(a->server->runtime)) {
        snprintf(error, size, "it needs more than the memory that models may take");
        return false;
    }
    if (!json_is_number(left) || total <= 0) return true;
    double share = (total - json_number_value(left) + more) / total;
    if (share <= a->settings.memory_high) return true;
    snprintf(error, size, "memory in use would be %.3g, above %.3g", share, a->settings.memory_high);
    return false;
}

static void choose_up(struct adjuster *a, const json_t *list, const json_t *reading, struct decision *d)
{
    struct stepped *s;
    while ((s = a->stepped) != NULL && levels_overridden(a->server->levels, s->family) == LEVEL_UNSET)
        drop_stepped(a, s->family); /* somebody said a level since */
    if (!s) return;
    struct runtime_model now = {.size = 0}, next = {.size = 0};
    enum level level = levels_overridden(a->server->levels, s->family);
    const char *why;
    for (int i = N_LEVELS - 1; i >= 0; i--) {
        enum level to = level_order[i];
        const json_t *e =
            to > level && to <= s->from ? levels_find(a->server->levels, list, s->family, to, &a->stop) : NULL;
        if (!e || !catalog_place(a->server->store, a->server->roots, e, &next, &why)) continue;
        d->chosen = true;
        d->from = level;
        d->to = to;
        break;
    }
    snprintf(d->family, sizeof d->family, "%s", s->family);
    snprintf(d->name, sizeof d->name, "%s", s->name);
    if (!d->chosen) {
        drop_stepped(a, s->family); /* the level from which it came is gone */
        levels_override(a->server->levels, d->family, LEVEL_UNSET);
        return;
    }
    levels_now(a->server->levels, list, s->family, &a->stop, &level, &now);
    fits(a, reading, now.size, next.size, d->error, sizeof d->error);
}

/* ---- steps -------------------------------------------------------------------------------------- */

static bool is_loaded(struct adjuster *a, const json_t *list, const char *family)
{
    json_t *running = runtime_list(a->server->runtime), *one;
    struct runtime_model model;
    enum level level;
    size_t i;
    bool loaded = false;
    const json_t *now = levels_now(a->server->levels, list, family, &a->stop, &level, &model);
    json_array_foreach(running, i, one)
        loaded |= now && strcmp(text_of(one, "path"), model.path) == 0;
    json_decref(running);
    return loaded;
}

/* What is not loaded is not loaded for it. */
static void apply(struct adjuster *a, const json_t *list, struct decision *d)
{
    struct level_switch s = {.server = a->server, .to = d->to, .passing = true, .make = a->settings.make};
    snprintf(s.family, sizeof s.family, "%s", d->family);
    snprintf(s.name, sizeof s.name, "%s", d->name);
    if (d->step == STEP_UP && !is_loaded(a, list, d->family)) {
        levels_override(a->server->levels, d->family, d->to);
        d->applied = true;
    } else {
        d->applied = level_switch_run(&s, &a->stop);
        json_decref(s.report);
        if (!d->applied) snprintf(d->error, sizeof d->error, "%s", s.why);
    }
    if (!d->applied) return;
    if (d->step == STEP_DOWN) {
        add_stepped(a, d);
    } else if (a->stepped && a->stepped->from == d->to) {
        levels_override(a->server->levels, d->family, LEVEL_UNSET); /* it is where it was */
        drop_stepped(a, d->family);
    }
}

static void step(struct adjuster *a, enum step which, const char *reason, const json_t *reading, double time_)
{
    struct decision d = {.step = which};
    json_t *list = catalog_list(a->server->store, a->server->roots);
    snprintf(d.reason, sizeof d.reason, "%s", reason);
    if (list && which == STEP_DOWN)
        choose_down(a, list, &d);
    else if (list)
        choose_up(a, list, reading, &d);
    bool silent = which == STEP_UP && !d.chosen; /* nothing was stepped down: that is how it should be */
    if (d.chosen && !*d.error && !a->settings.dry_run) apply(a, list, &d);
    json_decref(list);
    if (silent) return;
    policy_stepped(&a->policy, &a->settings, time_);
    record(a, &d, time_);
}

/* ---- the thread --------------------------------------------------------------------------------- */

static void take_settings(struct adjuster *a)
{
    json_t *config = levels_config(a->server->levels);
    char why[300];
    struct policy_settings settings;
    if (policy_settings_read(json_object_get(json_object_get(config, "ai"), "adjust"), &settings, why, sizeof why)) {
        if (settings.enabled != a->settings.enabled) policy_init(&a->policy);
        a->settings = settings;
    }
    json_decref(config);
}

static void look(struct adjuster *a)
{
    char reason[400] = "";
    struct gauges gauges;
    json_t *reading = sensors_read(a->sensors);
    if (!reading) {
        a->ended = sensors_is_trace(a->sensors);
        return;
    }
    double at = json_number_value(json_object_get(reading, "time"));
    policy_gauges(reading, a->settings.watch, &gauges);
    enum step which = policy_judge(&a->policy, &a->settings, &gauges, at, reason, sizeof reason);
    pthread_mutex_lock(&a->lock);
    json_decref(a->reading);
    json_decref(a->gauges);
    a->reading = json_incref(reading);
    a->gauges = policy_gauges_json(&gauges);
    snprintf(a->reason, sizeof a->reason, "%s", reason);
    pthread_mutex_unlock(&a->lock);
    if (which != STEP_NONE) step(a, which, reason, reading, at);
    json_decref(reading);
}

static void *adjust(void *ctx)
{
    struct adjuster *a = ctx;
    pthread_mutex_lock(&a->lock);
    while (!a->closing) {
        pthread_mutex_unlock(&a->lock);
        take_settings(a);
        if (a->settings.enabled && !a->ended) look(a);
        bool trace = sensors_is_trace(a->sensors) && !a->ended;
        double pause = !a->settings.enabled ? IDLE_SECONDS : trace ? TRACE_SECONDS : a->settings.interval;
        pthread_mutex_lock(&a->lock);
        if (!a->closing) steady_cond_wait(&a->wake, &a->lock, pause);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

struct adjuster *adjust_open(struct server *server, const char *trace, char *why, size_t size)
{
    struct sensors_settings settings = {.trace = trace};
    struct adjuster *a = calloc(1, sizeof *a);
    snprintf(why, size, "not enough memory");
    if (!a) return NULL;
    a->server = server;
    a->decisions = json_array();
    a->sensors = sensors_open(&settings, why, size);
    pthread_mutex_init(&a->lock, NULL);
    steady_cond_init(&a->wake);
    policy_init(&a->policy);
    bool stops = a->sensors && child_stop_init(&a->stop);
    if (stops && a->decisions && pthread_create(&a->thread, NULL, adjust, a) == 0) return a;
    if (stops) child_stop_free(&a->stop);
    sensors_close(&a->sensors);
    json_decref(a->decisions);
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a);
    return NULL;
}

void adjust_wake(struct adjuster *a)
{
    pthread_mutex_lock(&a->lock);
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

void adjust_close(struct adjuster **adjuster)
{
    struct adjuster *a = *adjuster;
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->closing = true;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
    child_stop(&a->stop);
    pthread_join(a->thread, NULL);
    child_stop_free(&a->stop);
    while (a->stepped)
        drop_stepped(a, a->stepped->family);
    sensors_close(&a->sensors);
    json_decref(a->reading);
    json_decref(a->gauges);
    json_decref(a->decisions);
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a);
    *adjuster = NULL;
}

/* ---- for the API -------------------------------------------------------------------------------- */

json_t *adjust_json(struct adjuster *a)
{
    json_t *config = levels_config(a->server->levels), *stepped = json_array();
    struct policy_settings settings;
    char why[300];
    bool known =
        policy_settings_read(json_object_get(json_object_get(config, "ai"), "adjust"), &settings, why, sizeof why);
    json_decref(config);
    pthread_mutex_lock(&a->lock);
    for (const struct stepped *s = a->stepped; s; s = s->next)
        json_array_append_new(stepped, json_pack("{s:s, s:s}", "model", s->name, "from", level_text(s->from)));
    json_t *o = json_pack(
        "{s:o, s:s, s:o, s:o, s:s?, s:o, s:o}", "settings", known ? policy_settings_json(&settings) : json_null(),
        "source", sensors_is_trace(a->sensors) ? "trace" : "machine", "reading",
        a->reading ? json_incref(a->reading) : json_null(), "gauges", a->gauges ? json_incref(a->gauges) : json_null(),
        "reason", *a->reason ? a->reason : NULL, "stepped", stepped, "decisions", json_deep_copy(a->decisions));
    pthread_mutex_unlock(&a->lock);
    return o;
}
