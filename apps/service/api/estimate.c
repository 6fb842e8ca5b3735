/* POST /quantize/estimate and a job's dry run: exact figures from headers, by `halftone estimate`. */
#include "service/api/estimates.h"
#include "service/api/job_request.h"
#include "service/api/types.h"

#include "service/runner/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

enum { ESTIMATE_SECONDS = 120 };

struct estimating {
    json_t *requests;
    bool several;
};

static void free_estimating(void *state)
{
    struct estimating *e = state;
    json_decref(e->requests);
    free(e);
}

static json_t *copy_or(const json_t *object, const char *name, json_t *otherwise)
{
    json_t *value = json_object_get(object, name);
    if (!value) return otherwise;
    json_decref(otherwise);
    return json_deep_copy(value);
}

/* An output as the API returns it: without paths and without the table of its tensors. */
static json_t *output_of(const json_t *child)
{
    const char *type = json_string_value(json_object_get(child, "type")),
               *format = json_string_value(json_object_get(child, "format"));
    json_t *bits = json_object_get(child, "bits_per_weight");
    if (!bits) bits = json_object_get(child, "bpw");
    return json_pack("{s:s, s:s, s:o, s:o, s:s, s:o}", "type", type ? type : "", "format", format ? format : "gguf",
                     "size_bytes", copy_or(child, "size_bytes", json_integer(0)), "bits_per_weight",
                     bits ? json_deep_copy(bits) : json_real(0), "hint", type ? type_hint(type) : "", "run_memory",
                     copy_or(child, "run_memory", json_null()));
}

/* Of the source: what it is, not where. */
static json_t *source_of(const json_t *child, const json_t *request)
{
    static const char *const names[] = {"kind",    "format", "architecture", "parameters",
                                        "tensors", "bytes",  "revision",     "name"};
    json_t *source = json_object(), *from = json_object_get(child, "source");
    json_object_set(source, "source_model", json_object_get(request, "source_model"));
    json_object_set(source, "source_type", json_object_get(request, "source_type"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_object_get(from, names[i])) json_object_set(source, names[i], json_object_get(from, names[i]));
    return source;
}

static json_int_t free_bytes(const struct server *server)
{
    struct statvfs v;
    return statvfs(store_folder(server->store), &v) == 0 ? (json_int_t)v.f_bavail * (json_int_t)v.f_frsize : 0;
}

static json_t *from_child(const json_t *child, const json_t *request)
{
    const json_t *o;
    size_t i;
    json_t *outputs = json_array(), *seconds = json_object_get(child, "seconds");
    json_array_foreach(json_object_get(child, "outputs"), i, o)
        json_array_append_new(outputs, output_of(o));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "source", source_of(child, request), "outputs",
                     outputs, "download_bytes", copy_or(child, "download_bytes", json_integer(0)), "temporary_bytes",
                     copy_or(child, "temporary_bytes", json_integer(0)), "disk_bytes",
                     copy_or(child, "disk_bytes", json_integer(0)), "memory_bytes",
                     copy_or(child, "memory_bytes", json_integer(0)), "engine_memory_bytes",
                     copy_or(child, "engine_memory_bytes", json_integer(0)), "seconds",
                     json_is_number(seconds) ? json_deep_copy(seconds) : json_null(), "reasons",
                     copy_or(child, "reasons", json_array()));
}

/* "3.57 MB"; decimal, as the page shows sizes. */
static const char *amount(json_int_t bytes, char text[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double n = (double)bytes;
    int unit = 0;
    for (; n >= 999.5 && unit < 4; unit++)
        n /= 1000;
    snprintf(text, 32, "%.*f %s", unit == 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2, n, units[unit]);
    return text;
}

/* What this machine has now is looked up each time, even for an estimate from the cache. */
static void add_room(struct server *server, json_t *estimate)
{
    json_int_t free = free_bytes(server), limit = server->settings->memory_limit, want = 0;
    json_int_t memory = json_integer_value(json_object_get(estimate, "memory_bytes"));
    json_t *reasons = json_object_get(estimate, "reasons");
    static const char *const parts[] = {"download_bytes", "temporary_bytes", "disk_bytes"};
    for (int i = 0; i < 3; i++)
        want += json_integer_value(json_object_get(estimate, parts[i]));
    char needed[32], there[32];
    if (want > free)
        json_array_append_new(
            reasons, json_sprintf("the job needs %s of disk, %s are free", amount(want, needed), amount(free, there)));
    if (limit > 0 && memory > limit)
        json_array_append_new(reasons, json_sprintf("the job needs %s of memory, this server allows a job %s",
                                                    amount(memory, needed), amount(limit, there)));
    json_object_set_new(estimate, "disk_free_bytes", json_integer(free));
    json_object_set_new(estimate, "fits", json_boolean(json_array_size(reasons) == 0));
}

static json_t *run_child(struct api_call *call, const json_t *request, struct child_stop *stop)
{
    static const char *const extra[] = {"--json", NULL};
    char source[1400];
    char **arguments =
        command_arguments("estimate", request, job_request_source(request, source, sizeof source), extra);
    if (!arguments) {
        api_problem(call, "internal", "not enough memory");
        return NULL;
    }
    struct child_settings settings = {.arguments = (const char *const *)arguments,
                                      .timeout_seconds = ESTIMATE_SECONDS,
                                      .nice = 5,
                                      .unwanted = api_client_left,
                                      .unwanted_ctx = call->request};
    json_t *result = api_ask_reader(call, &settings, request, stop, "the estimate");
    command_free(&arguments);
    return result;
}

/* An estimate, remembered or made; NULL: the call was answered. */
static json_t *one(struct api_call *call, const json_t *request, struct child_stop *stop)
{
    static const char *const key_of[] = {"source_model", "source_type", "source_path", "source_revision",
                                         "requested",    "config",      "options"};
    json_t *key = json_object();
    for (size_t i = 0; i < sizeof key_of / sizeof *key_of; i++)
        if (json_object_get(request, key_of[i])) json_object_set(key, key_of[i], json_object_get(request, key_of[i]));
    char *asked = json_dumps(key, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(key);
    json_t *estimate = asked ? answers_find(call->server->answers, asked) : NULL;
    if (!estimate) {
        json_t *child = run_child(call, request, stop);
        estimate = child ? from_child(child, request) : NULL;
        if (estimate && asked) answers_keep(call->server->answers, asked, estimate);
        if (child && !estimate) api_problem(call, "internal", "not enough memory");
        json_decref(child);
    }
    free(asked);
    if (estimate) add_room(call->server, estimate);
    return estimate;
}

static void run(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct estimating *e = call->state;
    const json_t *request;
    json_t *list = json_array();
    size_t i;
    json_array_foreach(e->requests, i, request) {
        json_t *estimate = one(call, request, stop);
        if (!estimate) {
            json_decref(list);
            return;
        }
        json_array_append_new(list, estimate);
    }
    if (e->several) {
        api_json(call, 200, json_pack("{s:o}", "estimates", list));
        return;
    }
    json_t *only = json_incref(json_array_get(list, 0));
    json_decref(list);
    api_json(call, 200, only);
}

void estimates_answer(struct api_call *call, json_t *requests, bool several)
{
    struct estimating *e = calloc(1, sizeof *e);
    if (!e) {
        json_decref(requests);
        api_problem(call, "internal", "not enough memory");
        return;
    }
    e->requests = requests;
    e->several = several;
    api_later(call, run, e, free_estimating);
}

void api_estimate(struct api_call *call)
{
    bool several;
    json_t *requests = job_requests(call, &several);
    if (requests) estimates_answer(call, requests, several);
}
