/* /runtime/levels: which level of a model answers, figures of each, and the settings that say it. */
#include "service/api/adjust.h"
#include "service/api/estimates.h"
#include "service/api/json.h"
#include "service/api/level_switch.h"
#include "service/api/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what there is ------------------------------------------------------------------------------ */

static json_t *shown_config(struct api_call *call)
{
    static const char *const names[] = {"enable_quantization", "quantization_bits", "gpu_memory_limit_mb", "models"};
    json_t *config = levels_config(call->server->levels), *ai = json_object_get(config, "ai");
    json_t *o =
        json_pack("{s:O, s:O}", "state", json_object_get(config, "state"), "fault", json_object_get(config, "fault"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *value = json_object_get(ai, names[i]);
        json_object_set_new(o, names[i], value ? json_incref(value) : i == 3 ? json_object() : json_null());
    }
    json_decref(config);
    return o;
}

struct listing {
    char family[512]; /* "": all */
};

static void answer_list(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    const struct listing *l = call->state;
    json_t *list = run_catalog(call);
    if (!list) return;
    json_t *models = levels_list(call->server->levels, list, *l->family ? l->family : NULL, stop);
    json_decref(list);
    if (!*l->family) {
        json_int_t limit = (json_int_t)runtime_limit_now(call->server->runtime);
        api_json(call, 200,
                 json_pack("{s:o, s:I, s:o}", "settings", shown_config(call), "memory_limit_bytes", limit, "models",
                           models));
        return;
    }
    json_t *one = json_incref(json_array_get(models, 0));
    json_decref(models);
    if (one)
        api_json(call, 200, one);
    else
        api_problem(call, "model-not-found", "the model is not there any more");
}

static void list_later(struct api_call *call, const char *family)
{
    struct listing *l = calloc(1, sizeof *l);
    if (!l) {
        api_problem(call, "internal", "not enough memory");
        return;
    }
    snprintf(l->family, sizeof l->family, "%s", family);
    api_later(call, answer_list, l, free);
}

void api_levels_list(struct api_call *call)
{
    list_later(call, "");
}

/* false: it was answered. */
static bool find(struct api_call *call, struct level_switch *s)
{
    json_t *list = run_catalog(call);
    if (!list) return false;
    bool found = level_switch_find(s, call->server, list, call->segments[0]);
    json_decref(list);
    if (!found) api_problem(call, "model-not-found", "model \"%.200s\" not found", call->segments[0]);
    return found;
}

void api_levels_get(struct api_call *call)
{
    struct level_switch s = {.to = LEVEL_UNSET};
    if (find(call, &s)) list_later(call, s.family);
}

/* ---- settings ----------------------------------------------------------------------------------- */

static const struct field settings_fields[] = {{"enable_quantization", FIELD_FLAG, 0, 0},
                                               {"quantization_bits", FIELD_INTEGER, 4, 8},
                                               {"gpu_memory_limit_mb", FIELD_INTEGER, 1, 1 << 30},
                                               {NULL, FIELD_FLAG, 0, 0}};

/* null removes a setting: it has no kind. */
static bool check_settings(struct api_call *call, const struct field *fields)
{
    struct faults faults = {0};
    json_t *given = json_object(), *value;
    const char *name;
    json_object_foreach(call->body, name, value)
        if (!json_is_null(value)) json_object_set(given, name, value);
    fields_check(given, fields, "", &faults);
    if (json_object_size(call->body) == 0) faults_add(&faults, "", "expected one setting or several");
    json_decref(given);
    if (faults.list) api_problem_at(call, "invalid", faults.list);
    return !faults.list;
}

static bool change(struct api_call *call, const json_t *changes)
{
    char why[700];
    if (levels_change(call->server->levels, changes, why, sizeof why)) return true;
    bool invalid = strncmp(why, "ai.", 3) == 0;
    api_problem(call, invalid ? "invalid" : "conflict", "%s", why);
    return false;
}

void api_levels_patch(struct api_call *call)
{
    if (check_settings(call, settings_fields) && change(call, call->body)) list_later(call, "");
}

/* ---- switching ---------------------------------------------------------------------------------- */

static void run(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct level_switch *s = call->state;
    if (level_switch_run(s, stop)) {
        api_json(call, 200, s->report);
        return;
    }
    char shown[900];
    api_hide_paths(call->server->roots, s->why, shown, sizeof shown);
    if (strcmp(s->kind, "no-room") == 0) api_header(call, "Retry-After", "2");
    api_problem(call, s->kind, "%s", shown);
}

/* "level", or the two settings. UNSET: neither; *fault: what is wrong. */
static enum level level_of(const json_t *body, bool *unset, const char **fault)
{
    const char *text = json_string_value(json_object_get(body, "level"));
    *fault = NULL;
    *unset = text && strcmp(text, "unset") == 0;
    if (*unset) return LEVEL_UNSET;
    if (text) {
        if (level_named(text) == LEVEL_UNSET) *fault = "expected \"off\", \"8\", \"4\" or \"unset\"";
        return level_named(text);
    }
    json_int_t bits = json_integer_value(json_object_get(body, "quantization_bits"));
    if (json_is_true(json_object_get(body, "enable_quantization")) && bits != 4 && bits != 8)
        *fault = "expected \"quantization_bits\" of 4 or 8 with \"enable_quantization\"";
    else if (level_config_of(body) == LEVEL_UNSET)
        *fault = "expected \"off\", \"8\", \"4\" or \"unset\"";
    return level_config_of(body);
}

static void later(struct api_call *call, const struct level_switch *wish)
{
    struct level_switch *s = malloc(sizeof *s);
    if (!s) {
        api_problem(call, "internal", "not enough memory");
        return;
    }
    *s = *wish;
    call->state = s;
    call->free_state = free;
    ht__http_defer(call->request);
    if (helpers_do(call->server->switchers, run, call)) return;
    api_header(call, "Retry-After", "2");
    api_problem(call, "busy", "too many switches are under way");
}

void api_levels_switch(struct api_call *call)
{
    static const struct field fields[] = {{"level", FIELD_TEXT, 1, 8},
                                          {"enable_quantization", FIELD_FLAG, 0, 0},
                                          {"quantization_bits", FIELD_INTEGER, 4, 8},
                                          {"make", FIELD_FLAG, 0, 0},
                                          {NULL, FIELD_FLAG, 0, 0}};
    struct level_switch s = {.make = !json_is_false(json_object_get(call->body, "make"))};
    const char *fault = NULL;
    bool unset;
    if (!check_settings(call, fields)) return;
    s.to = level_of(call->body, &unset, &fault);
    if (fault) {
        api_problem_at(call, "invalid", json_pack("[{s:s, s:s}]", "pointer", "/level", "detail", fault));
        return;
    }
    if (!find(call, &s)) return;
    if (!unset) {
        later(call, &s);
        return;
    }
    json_t *changes = levels_own(call->server->levels, s.family, s.name, LEVEL_UNSET);
    if (change(call, changes)) list_later(call, s.family);
    json_decref(changes);
}

/* ---- adjusting ---------------------------------------------------------------------------------- */

void api_adjust_get(struct api_call *call)
{
    api_json(call, 200, adjust_json(call->server->adjuster));
}

/* What the members may be is checked where config.json is: it is the same for those who write it. */
void api_adjust_patch(struct api_call *call)
{
    json_t *known = adjust_json(call->server->adjuster), *names = json_object_get(known, "settings"), *value;
    struct faults faults = {0};
    const char *name;
    json_object_foreach(call->body, name, value)
        if (!json_object_get(names, name)) {
            char pointer[256];
            faults_pointer(pointer, sizeof pointer, "", name);
            faults_add(&faults, pointer, "there is no field \"%.60s\"", name);
        }
    json_decref(known);
    if (json_object_size(call->body) == 0) faults_add(&faults, "", "expected one setting or several");
    if (faults.list) {
        api_problem_at(call, "invalid", faults.list);
        return;
    }
    json_t *changes = json_pack("{s:O}", "adjust", call->body);
    bool ok = change(call, changes);
    json_decref(changes);
    if (!ok) return;
    adjust_wake(call->server->adjuster);
    api_adjust_get(call);
}
