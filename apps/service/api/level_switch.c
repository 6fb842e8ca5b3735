/*
 *   finding -> (making: a job of the queue) -> loading -> config.json says so -> the old one is unloaded when it is idle
 *
 * Until config.json says so nothing has changed for anybody. Requests that run end on the old one.
 */
#include "service/api/level_switch.h"

#include "service/api/ask_model.h"
#include "service/api/job_request.h"
#include "service/api/run.h"
#include "service/system/steady.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static bool failed(struct level_switch *s, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool failed(struct level_switch *s, const char *kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(s->why, sizeof s->why, format, args);
    va_end(args);
    snprintf(s->kind, sizeof s->kind, "%s", kind);
    return false;
}

static bool stopped(const struct child_stop *stop)
{
    return stop && atomic_load(&stop->wished) != 0;
}

bool level_switch_find(struct level_switch *s, struct server *server, const json_t *list, const char *name)
{
    int bits;
    char key[512];
    const json_t *found = catalog_find(list, name), *e;
    size_t i;
    s->server = server;
    if (found)
        catalog_family(list, found, s->family, sizeof s->family);
    else if (!catalog_open_name(list, name, s->family, sizeof s->family, &bits))
        return false;
    json_array_foreach(list, i, e) {
        catalog_family(list, e, key, sizeof key);
        if (strcmp(key, s->family) != 0) continue;
        if (!*s->name || *text_of(e, "path")) snprintf(s->name, sizeof s->name, "%s", text_of(e, "base"));
    }
    return true;
}

/* ---- making ------------------------------------------------------------------------------------- */

/* What the level can be made of: a file of 16 bits that lies under the allowed folders, or what the registry's variants were
 * made of. NULL: nothing. The caller's. */
static json_t *source_of(struct level_switch *s, const json_t *list, struct child_stop *stop)
{
    const json_t *full = levels_find(s->server->levels, list, s->family, LEVEL_OFF, stop), *e;
    char key[512];
    size_t i;
    if (*text_of(full, "path"))
        return json_pack("{s:O, s:s}", "source_model", json_object_get(full, "path"), "source_type", "local");
    json_array_foreach(list, i, e) {
        catalog_family(list, e, key, sizeof key);
        if (strcmp(key, s->family) != 0) continue;
        json_t *model = *text_of(e, "model") ? store_model(s->server->store, text_of(e, "model")) : NULL;
        json_t *source = model ? json_pack("{s:O, s:O, s:O?}", "source_model", json_object_get(model, "source_model"),
                                           "source_type", json_object_get(model, "source_type"), "source_revision",
                                           json_object_get(model, "source_revision"))
                               : NULL;
        json_decref(model);
        if (source) return source;
    }
    return NULL;
}

static bool submit(struct level_switch *s, json_t *body, char id[STORE_ID_SIZE])
{
    char why[600], ids[1][STORE_ID_SIZE];
    bool replayed = false;
    json_object_set_new(body, "name", json_sprintf("%.150s: level %s", s->name, level_text(s->to)));
    json_object_set_new(body, "outputs", json_pack("[{s:s, s:s}]", "format", "gguf", "type", level_type(s->to)));
    json_t *request = job_request_of(s->server, body, why, sizeof why);
    if (!request) return failed(s, "invalid", "level %s of %s cannot be made: %s", level_text(s->to), s->name, why);
    const json_t *one = request;
    enum store_result result =
        store_submit(s->server->store, &one, 1, "", NULL, NULL, s->server->settings->max_queued, ids, &replayed);
    json_decref(request);
    if (result != STORE_OK)
        return failed(s, "unavailable", "level %s of %s cannot be made: %s", level_text(s->to), s->name,
                      store_result_text(result));
    snprintf(id, STORE_ID_SIZE, "%s", ids[0]);
    scheduler_changed(s->server->scheduler, id);
    return true;
}

/* Until the job has ended. */
static bool wait_for_job(struct level_switch *s, const char *id, struct child_stop *stop)
{
    const struct timespec moment = {.tv_nsec = 50000000};
    for (;;) {
        if (stopped(stop))
            return failed(s, "stopping", "the service is stopping; the job %s goes on at its next start", id);
        json_t *job = store_job(s->server->store, id);
        const char *status = text_of(job, "status"), *error = text_of(job, "error");
        bool over = !job || strcmp(status, "completed") == 0;
        bool wrong = !job || strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0;
        if (wrong)
            failed(s, "failed", "level %s of %s was not made: the job %s %s%s%s", level_text(s->to), s->name, id,
                   job ? status : "was deleted", *error ? ": " : "", error);
        json_decref(job);
        if (over || wrong) return !wrong;
        nanosleep(&moment, NULL);
    }
}

static bool make(struct level_switch *s, const json_t *list, char id[STORE_ID_SIZE], struct child_stop *stop)
{
    json_t *source = source_of(s, list, stop);
    if (!source)
        return failed(
            s, "unsupported",
            "%s has no level %s, and it cannot be made: there is no model of 16 bits here that it could be made "
            "of, and it is not known where it came from; pull or upload one",
            s->name, level_text(s->to));
    bool ok = submit(s, source, id);
    json_decref(source);
    if (!ok) return false;
    levels_tell(s->server->levels, s->family, "making", id, NULL);
    return wait_for_job(s, id, stop);
}

/* ---- loading ------------------------------------------------------------------------------------ */

static bool wanted(void *stop)
{
    return !stopped(stop);
}

static bool load(struct level_switch *s, const struct runtime_model *model, struct child_stop *stop)
{
    struct asked asked;
    bool loaded =
        ask_model(s->server->runtime, model, json_pack("{s:s}", "do", "load"), "levels", wanted, stop, &asked);
    if (!loaded && stopped(stop))
        failed(s, "stopping", "the service is stopping");
    else if (!loaded)
        failed(s, run_problem(asked.code), "level %s of %s cannot be loaded: %s; what answered before answers on",
               level_text(s->to), s->name, asked.why);
    asked_free(&asked);
    return loaded;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static json_t *catalog(struct level_switch *s)
{
    json_t *list = catalog_list(s->server->store, s->server->roots);
    if (!list) failed(s, "internal", "the list of models cannot be made");
    return list;
}

/* What answers for the model's name now. */
static bool place_now(struct level_switch *s, const json_t *list, struct runtime_model *model)
{
    const char *why;
    const json_t *now = levels_choose(s->server->levels, list, s->name, catalog_find(list, s->name));
    return now && catalog_place(s->server->store, s->server->roots, now, model, &why);
}

/* From now on requests are for this level. */
static bool change_to(struct level_switch *s, enum level level)
{
    char why[700];
    if (s->passing) {
        levels_override(s->server->levels, s->family, level);
        return true;
    }
    json_t *changes = levels_own(s->server->levels, s->family, s->name, level);
    bool ok = levels_change(s->server->levels, changes, why, sizeof why);
    json_decref(changes);
    if (ok) levels_override(s->server->levels, s->family, LEVEL_UNSET); /* who says a level means it */
    return ok || failed(s, "conflict", "%s", why);
}

/* What change_to would have to be called with for things to be as they are. */
static enum level level_before(struct level_switch *s)
{
    const char *by;
    if (s->passing) return levels_overridden(s->server->levels, s->family);
    enum level level = levels_wanted(s->server->levels, s->family, &by);
    return strcmp(by, "model") == 0 ? level : LEVEL_UNSET;
}

/* Where both levels do not fit beside each other, requests are for the new one first, so that the old one can become idle. */
static bool load_and_change(struct level_switch *s, const struct runtime_model *model, struct child_stop *stop)
{
    bool ahead = !runtime_fits(s->server->runtime, model->size);
    enum level before = level_before(s);
    levels_tell(s->server->levels, s->family, "loading", NULL, NULL);
    if (ahead && !change_to(s, s->to)) return false;
    if (load(s, model, stop)) return ahead || change_to(s, s->to);
    struct level_switch back = *s; /* its failure is not what went wrong */
    if (ahead) change_to(&back, before);
    return false;
}

/* The file of the level; *list is made anew where it had to be made. NULL: why. */
static const json_t *find_or_make(struct level_switch *s, json_t **list, char job[STORE_ID_SIZE],
                                  struct child_stop *stop)
{
    const json_t *target = levels_find(s->server->levels, *list, s->family, s->to, stop);
    if (target) return target;
    if (!s->make) {
        failed(s, "model-not-found", "%s has no level %s here; with \"make\": true it is made", s->name,
               level_text(s->to));
        return NULL;
    }
    if (!make(s, *list, job, stop)) return NULL;
    json_decref(*list);
    if (!(*list = catalog(s))) return NULL;
    target = levels_find(s->server->levels, *list, s->family, s->to, stop);
    if (!target)
        failed(s, "failed",
               "the job %s ended, and %s has no level %s all the same: what it made was removed, or most of its "
               "weights are stored otherwise",
               job, s->name, level_text(s->to));
    return target;
}

static bool run(struct level_switch *s, json_t **list, struct child_stop *stop)
{
    struct runtime_model old = {.path = ""}, model;
    char job[STORE_ID_SIZE] = "", old_name[512] = "", name[512];
    const char *why = "";
    double begun = steady_seconds();
    if (place_now(s, *list, &old)) snprintf(old_name, sizeof old_name, "%s", old.name);
    const json_t *target = find_or_make(s, list, job, stop);
    double found = steady_seconds();
    if (!target) return false;
    snprintf(name, sizeof name, "%s", text_of(target, "name"));
    if (!catalog_place(s->server->store, s->server->roots, target, &model, &why))
        return failed(s, "model-not-found", "%s: %s", name, why);
    if (!load_and_change(s, &model, stop)) return false;
    if (*old.path && strcmp(old.path, model.path) != 0) runtime_unload(s->server->runtime, old.path);
    s->report = json_pack("{s:s, s:s, s:s?, s:s, s:b, s:s?, s:{s:f, s:f}}", "name", s->name, "to", level_text(s->to),
                          "from", *old_name ? old_name : NULL, "answers", name, "made", *job != '\0', "job",
                          *job ? job : NULL, "seconds", "found", found - begun, "loaded", steady_seconds() - found);
    return true;
}

bool level_switch_run(struct level_switch *s, struct child_stop *stop)
{
    if (!levels_begin(s->server->levels, s->family, s->to))
        return failed(s, "conflict", "another switch of %s is under way", s->name);
    json_t *list = catalog(s);
    bool ok = list && run(s, &list, stop);
    json_decref(list);
    levels_tell(s->server->levels, s->family, ok ? "done" : "failed", NULL, ok ? NULL : s->why);
    return ok;
}
