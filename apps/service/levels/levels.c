#include "service/levels/levels.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

enum { NAME = 512, MOST_SWITCHES = 500 };

struct change {
    struct change *next;
    char family[NAME], state[16], job[STORE_ID_SIZE], detail[600];
    enum level to;
    time_t since;
    bool over;
};

struct levels {
    struct levels_settings settings;
    char config[4200];
    struct kinds *kinds;
    pthread_mutex_t lock; /* of what follows */
    json_t *ai;           /* the latest that could be read */
    enum config_state state;
    char fault[600];
    struct stat seen; /* of config.json, when it was read */
    struct change *changes;
    bool started;
    json_t *overrides; /* {family: level} */
    json_t *told;      /* what was logged once: {"family level": true} */
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static void say(struct levels *l, const char *level, const char *text)
{
    if (l->settings.on_log) l->settings.on_log(l->settings.ctx, level, text);
}

/* ---- config.json -------------------------------------------------------------------------------- */

/* Under the lock. What cannot be read leaves what was read before. */
static void take_config(struct levels *l)
{
    char fault[600] = "";
    json_t *ai = level_config_read(l->config, &l->state, fault, sizeof fault);
    if (!ai && l->started && strcmp(fault, l->fault) != 0) say(l, "warning", fault);
    snprintf(l->fault, sizeof l->fault, "%s", fault);
    if (!ai) return;
    json_int_t limit = json_integer_value(json_object_get(ai, "gpu_memory_limit_mb"));
    if (limit != json_integer_value(json_object_get(l->ai, "gpu_memory_limit_mb")))
        runtime_limit(l->settings.runtime, (uint64_t)limit << 20);
    json_decref(l->ai);
    l->ai = ai;
}

/* Under the lock: reads it where it is another file than before. */
static void refresh(struct levels *l)
{
    struct stat now;
    if (stat(l->config, &now) != 0) memset(&now, 0, sizeof now);
    if (now.st_ino == l->seen.st_ino && now.st_size == l->seen.st_size &&
        now.st_mtim.tv_sec == l->seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == l->seen.st_mtim.tv_nsec &&
        now.st_mode == l->seen.st_mode)
        return;
    l->seen = now;
    take_config(l);
}

struct levels *levels_open(const struct levels_settings *settings)
{
    struct levels *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->settings = *settings;
    snprintf(l->config, sizeof l->config, "%s", settings->config);
    l->kinds = kinds_open(roots_held(settings->roots));
    l->ai = json_object();
    l->overrides = json_object();
    l->told = json_object();
    pthread_mutex_init(&l->lock, NULL);
    if (!l->kinds || !l->ai || !l->overrides || !l->told) {
        levels_close(&l);
        return NULL;
    }
    refresh(l);
    return l;
}

void levels_started(struct levels *l)
{
    pthread_mutex_lock(&l->lock);
    l->started = true;
    if (*l->fault) say(l, "warning", l->fault);
    pthread_mutex_unlock(&l->lock);
}

void levels_close(struct levels **levels)
{
    struct levels *l = *levels;
    if (!l) return;
    while (l->changes) {
        struct change *c = l->changes;
        l->changes = c->next;
        free(c);
    }
    kinds_close(&l->kinds);
    json_decref(l->ai);
    json_decref(l->overrides);
    json_decref(l->told);
    pthread_mutex_destroy(&l->lock);
    free(l);
    *levels = NULL;
}

json_t *levels_config(struct levels *l)
{
    static const char *const states[] = {"absent", "read", "damaged"};
    pthread_mutex_lock(&l->lock);
    refresh(l);
    json_t *o = json_pack("{s:s, s:s?, s:o}", "state", states[l->state], "fault", *l->fault ? l->fault : NULL, "ai",
                          json_deep_copy(l->ai));
    pthread_mutex_unlock(&l->lock);
    return o;
}

bool levels_change(struct levels *l, const json_t *changes, char *why, size_t size)
{
    pthread_mutex_lock(&l->lock);
    bool ok = level_config_write(l->config, changes, why, size);
    refresh(l);
    pthread_mutex_unlock(&l->lock);
    return ok;
}

/* Under the lock. */
static enum level wanted(const struct levels *l, const char *family, const char **by)
{
    const json_t *override = json_object_get(l->overrides, family);
    const char *name;
    char key[NAME];
    json_t *one;
    *by = "adjusting";
    if (override) return (enum level)json_integer_value(override);
    *by = "model";
    json_object_foreach(json_object_get(l->ai, "models"), name, one) {
        catalog_plain(name, key, sizeof key);
        if (strcmp(key, family) == 0 && level_config_of(one) != LEVEL_UNSET) return level_config_of(one);
    }
    *by = "all";
    return level_config_of(l->ai);
}

enum level levels_wanted(struct levels *l, const char *family, const char **by)
{
    pthread_mutex_lock(&l->lock);
    refresh(l);
    enum level level = wanted(l, family, by);
    pthread_mutex_unlock(&l->lock);
    return level;
}

void levels_override(struct levels *l, const char *family, enum level level)
{
    pthread_mutex_lock(&l->lock);
    if (level == LEVEL_UNSET)
        json_object_del(l->overrides, family);
    else
        json_object_set_new(l->overrides, family, json_integer(level));
    pthread_mutex_unlock(&l->lock);
}

enum level levels_overridden(struct levels *l, const char *family)
{
    pthread_mutex_lock(&l->lock);
    const json_t *override = json_object_get(l->overrides, family);
    enum level level = override ? (enum level)json_integer_value(override) : LEVEL_UNSET;
    pthread_mutex_unlock(&l->lock);
    return level;
}

json_t *levels_own(struct levels *l, const char *family, const char *name, enum level level)
{
    const char *one, *called = NULL;
    char key[NAME];
    json_t *value, *set = level == LEVEL_UNSET ? json_pack("{s:n, s:n}", "enable_quantization", "quantization_bits")
                                               : level_config_json(level);
    pthread_mutex_lock(&l->lock);
    json_object_foreach(json_object_get(l->ai, "models"), one, value) {
        catalog_plain(one, key, sizeof key);
        if (strcmp(key, family) == 0) called = one;
    }
    json_t *changes = json_pack("{s:{s:o}}", "models", called ? called : name, set);
    pthread_mutex_unlock(&l->lock);
    return changes;
}

/* ---- files -------------------------------------------------------------------------------------- */

static bool kind_of(struct levels *l, const json_t *entry, struct child_stop *stop, struct kind *kind,
                    struct runtime_model *model)
{
    const char *why = NULL;
    *kind = (struct kind){.level = LEVEL_UNSET};
    if (catalog_place(l->settings.store, l->settings.roots, entry, model, &why)) {
        kinds_of(l->kinds, model->path, stop, kind);
        return true;
    }
    snprintf(kind->fault, sizeof kind->fault, "%s", why ? why : "it is gone");
    return false;
}

/* Of several files of a level: what is made for it here, then a client's own name, then what came first. */
static int merit(const json_t *entry, enum level level)
{
    int n = strcasecmp(text_of(entry, "level"), level_type(level)) == 0 ? 2 : 0;
    return n + (json_is_true(json_object_get(entry, "own")) ? 1 : 0);
}

const json_t *levels_find(struct levels *l, const json_t *list, const char *family, enum level level,
                          struct child_stop *stop)
{
    const json_t *best = NULL, *e;
    size_t i;
    json_array_foreach(list, i, e) {
        struct kind kind;
        struct runtime_model model;
        char key[NAME];
        catalog_family(list, e, key, sizeof key);
        if (strcmp(key, family) != 0 || (best && merit(e, level) <= merit(best, level))) continue;
        if (kind_of(l, e, stop, &kind, &model) && kind.level == level) best = e;
    }
    return best;
}

/* A line of the log for what is wanted and not there, once. */
static void tell_missing(struct levels *l, const char *name, enum level level, const json_t *found)
{
    char key[NAME + 16], text[1200];
    snprintf(key, sizeof key, "%s %s", name, level_text(level));
    pthread_mutex_lock(&l->lock);
    bool first = !json_object_get(l->told, key) && json_object_size(l->told) < MOST_SWITCHES;
    if (first) json_object_set_new(l->told, key, json_true());
    pthread_mutex_unlock(&l->lock);
    if (!first) return;
    snprintf(text, sizeof text, "%s: level %s is wanted and not there, %s answers; a switch makes it", name,
             level_text(level), text_of(found, "name"));
    say(l, "warning", text);
}

const json_t *levels_choose(struct levels *l, const json_t *list, const char *name, const json_t *found)
{
    char family[NAME];
    const char *by;
    int bits;
    if (!catalog_open_name(list, name, family, sizeof family, &bits)) return found;
    enum level level = bits ? (enum level)bits : levels_wanted(l, family, &by);
    if (level == LEVEL_UNSET) return found;
    const json_t *chosen = levels_find(l, list, family, level, NULL);
    if (chosen) return chosen;
    if (found) tell_missing(l, name, level, found);
    return bits ? NULL : found; /* a level that is part of the name is not left out */
}

/* What a family is called without a level. */
static const char *base_of(const json_t *list, const char *family)
{
    const char *name = "";
    const json_t *e;
    char key[NAME];
    size_t i;
    json_array_foreach(list, i, e) {
        catalog_family(list, e, key, sizeof key);
        if (strcmp(key, family) == 0 && (!*name || *text_of(e, "path"))) name = text_of(e, "base");
    }
    return name;
}

const json_t *levels_now(struct levels *l, const json_t *list, const char *family, struct child_stop *stop,
                         enum level *level, struct runtime_model *model)
{
    const char *name = base_of(list, family);
    const json_t *now = levels_choose(l, list, name, catalog_find(list, name));
    struct kind kind = {.level = LEVEL_UNSET};
    if (!now || !kind_of(l, now, stop, &kind, model)) return NULL;
    *level = kind.level;
    return now;
}

/* ---- switches ----------------------------------------------------------------------------------- */

static struct change *change_of(const struct levels *l, const char *family)
{
    struct change *c = l->changes;
    while (c && strcmp(c->family, family) != 0)
        c = c->next;
    return c;
}

bool levels_begin(struct levels *l, const char *family, enum level to)
{
    pthread_mutex_lock(&l->lock);
    struct change *c = change_of(l, family);
    bool free_ = !c || c->over;
    if (!c && (c = calloc(1, sizeof *c)) != NULL) {
        snprintf(c->family, sizeof c->family, "%s", family);
        c->next = l->changes;
        l->changes = c;
    }
    if (c && free_) {
        c->to = to;
        c->over = false;
        c->since = time(NULL);
        *c->job = *c->detail = '\0';
        snprintf(c->state, sizeof c->state, "finding");
    }
    pthread_mutex_unlock(&l->lock);
    return c && free_;
}

void levels_tell(struct levels *l, const char *family, const char *state, const char *job, const char *detail)
{
    pthread_mutex_lock(&l->lock);
    struct change *c = change_of(l, family);
    if (c) {
        snprintf(c->state, sizeof c->state, "%s", state);
        if (job) snprintf(c->job, sizeof c->job, "%s", job);
        if (detail) snprintf(c->detail, sizeof c->detail, "%s", detail);
        c->over = strcmp(state, "done") == 0 || strcmp(state, "failed") == 0;
    }
    pthread_mutex_unlock(&l->lock);
}

static json_t *switch_json(struct levels *l, const char *family)
{
    json_t *o = NULL;
    pthread_mutex_lock(&l->lock);
    const struct change *c = change_of(l, family);
    if (c)
        o = json_pack("{s:s, s:s, s:I, s:s?, s:s?}", "to", level_text(c->to), "state", c->state, "since",
                      (json_int_t)c->since, "job", *c->job ? c->job : NULL, "detail", *c->detail ? c->detail : NULL);
    pthread_mutex_unlock(&l->lock);
    return o ? o : json_null();
}

/* ---- what there is ------------------------------------------------------------------------------ */

static json_t *instance_of(json_t *running, const char *path)
{
    json_t *one;
    size_t i;
    json_array_foreach(running, i, one)
        if (strcmp(text_of(one, "path"), path) == 0 && strcmp(text_of(one, "state"), "ending") != 0) return one;
    return NULL;
}

static json_t *bytes_of(const json_t *instance, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(instance, key));
    return n > 0 ? json_integer(n) : json_null();
}

static json_t *level_json(struct levels *l, const json_t *entry, json_t *running, struct child_stop *stop)
{
    struct runtime_model model;
    struct kind kind;
    bool there = kind_of(l, entry, stop, &kind, &model), known = kind.level != LEVEL_UNSET;
    const json_t *instance = there ? instance_of(running, model.path) : NULL;
    return json_pack("{s:O, s:s?, s:s?, s:o, s:s?, s:O, s:I, s:I, s:s, s:o, s:o, s:o}", "name",
                     json_object_get(entry, "name"), "level", known ? level_text(kind.level) : NULL, "type",
                     known ? kind.type : NULL, "bits_per_weight", known ? json_real(kind.bits) : json_null(), "fault",
                     *kind.fault ? kind.fault : NULL, "format", json_object_get(entry, "format"), "size_bytes",
                     (json_int_t)model.size, "need_bytes", (json_int_t)runtime_need(model.size), "state",
                     instance ? text_of(instance, "state") : "unloaded", "memory_bytes", bytes_of(instance, "resident"),
                     "most_memory_bytes", bytes_of(instance, "most_resident"), "statistics",
                     stats_json(l->settings.stats, there ? model.path : ""));
}

static json_t *family_json(struct levels *l, const json_t *list, const char *family, json_t *running,
                           struct child_stop *stop)
{
    json_t *levels = json_array();
    const json_t *e, *now;
    const char *name = NULL, *by;
    char key[NAME];
    size_t i;
    json_array_foreach(list, i, e) {
        catalog_family(list, e, key, sizeof key);
        if (strcmp(key, family) != 0) continue;
        if (!name || *text_of(e, "path")) name = text_of(e, "base");
        json_array_append_new(levels, level_json(l, e, running, stop));
    }
    enum level level = levels_wanted(l, family, &by);
    now = levels_choose(l, list, name ? name : "", catalog_find(list, name ? name : ""));
    return json_pack("{s:s, s:s?, s:s?, s:O?, s:o, s:o}", "name", name ? name : "", "wanted",
                     level == LEVEL_UNSET ? NULL : level_text(level), "wanted_by", level == LEVEL_UNSET ? NULL : by,
                     "answers", json_object_get(now, "name"), "levels", levels, "switch", switch_json(l, family));
}

json_t *levels_list(struct levels *l, const json_t *list, const char *family, struct child_stop *stop)
{
    json_t *models = json_array(), *seen = json_object(), *running = runtime_list(l->settings.runtime);
    const json_t *e;
    char key[NAME];
    size_t i;
    json_array_foreach(list, i, e) {
        catalog_family(list, e, key, sizeof key);
        if (!*key || json_object_get(seen, key) || (family && strcmp(key, family) != 0)) continue;
        json_object_set_new(seen, key, json_true());
        json_array_append_new(models, family_json(l, list, key, running, stop));
    }
    json_decref(seen);
    json_decref(running);
    return models;
}
