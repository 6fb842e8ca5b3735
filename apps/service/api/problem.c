/* Errors as application/problem+json (RFC 9457), and in the shapes of other programs at their addresses. */
#include "service/api/api.h"
#include "service/api/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct problem {
    const char *kind;
    int status;
    const char *title;
} problems[] = {
#define PROBLEM(kind, status, title) {kind, status, title},
#include "service/api/problems.def"
#undef PROBLEM
};
enum { N_PROBLEMS = sizeof problems / sizeof *problems };

#define TYPES "/api/v1/problems/"

static const struct problem *find(const char *kind)
{
    for (int i = 0; i < N_PROBLEMS; i++)
        if (strcmp(problems[i].kind, kind) == 0) return &problems[i];
    return NULL;
}

/* Where the store failed, what looks like "there is none" or like a lack of memory is something else. */
static bool is_of_the_store(struct api_call *call, const char *kind)
{
    enum store_result failure = store_failure();
    if (failure == STORE_OK || !call->route || (strcmp(kind, "not-found") != 0 && strcmp(kind, "internal") != 0))
        return false;
    store_failure_clear();
    api_store_problem(call, failure, "database");
    return true;
}

/* -- Shapes. -- */

/* OpenAI's: {"error": {message, type, param, code}}. 422 is a plain 400 there. */
static const char *openai_type(int status)
{
    return status == 401   ? "authentication_error"
           : status == 403 ? "permission_error"
           : status == 429 ? "rate_limit_error"
           : status >= 500 ? "server_error"
                           : "invalid_request_error";
}

json_t *api_openai_error(const char *kind, const char *detail, const char *param)
{
    const struct problem *p = find(kind);
    return json_pack("{s:{s:s, s:s, s:s?, s:s}}", "error", "message", detail, "type", openai_type(p->status), "param",
                     param, "code", kind);
}

static json_t *problem_body(const struct problem *p, const char *detail, json_t *errors)
{
    char type[64];
    snprintf(type, sizeof type, TYPES "%s", p->kind);
    json_t *body =
        json_pack("{s:s, s:s, s:i, s:s}", "type", type, "title", p->title, "status", p->status, "detail", detail);
    if (errors && body) json_object_set(body, "errors", errors);
    return body;
}

/* The body at this address, and the status and the type that it has there. */
static json_t *body_of(const struct api_call *call, const struct problem *p, const char *detail, json_t *errors,
                       int *status, const char **type)
{
    const char *pointer = json_string_value(json_object_get(json_array_get(errors, 0), "pointer"));
    enum api_shape shape = api_shape_of(ht__http_path(call->request));
    *status = shape != SHAPE_PROBLEM && p->status == 422 ? 400 : p->status;
    *type = shape == SHAPE_PROBLEM ? "application/problem+json" : "application/json";
    if (shape == SHAPE_OPENAI) return api_openai_error(p->kind, detail, pointer && *pointer ? pointer + 1 : NULL);
    if (shape == SHAPE_OLLAMA) return json_pack("{s:s}", "error", detail);
    return problem_body(p, detail, errors);
}

enum api_shape api_shape_of(const char *path)
{
    if (strncmp(path, "/v1/", 4) == 0) return SHAPE_OPENAI;
    if (strncmp(path, "/api/", 5) == 0 && strncmp(path, "/api/v1/", 8) != 0) return SHAPE_OLLAMA;
    return SHAPE_PROBLEM;
}

/* Steals errors, which may be NULL. detail may hold what a client sent: bytes that are no UTF-8 become '?'. */
static void answer(struct api_call *call, const char *kind, char *detail, json_t *errors)
{
    static const char out_of_memory[] = "{\"type\": \"" TYPES "internal\", \"title\": \"The service failed\", "
                                        "\"status\": 500, \"detail\": \"not enough memory\"}";
    if (is_of_the_store(call, kind)) {
        json_decref(errors);
        return;
    }
    const struct problem *p = find(kind);
    const char *type;
    int status;
    json_t *text = json_string(detail);
    for (char *c = detail; !text && *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    json_decref(text);
    json_t *body = body_of(call, p, detail, errors, &status, &type);
    json_decref(errors);
    char *json = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    api_common_headers(call->request);
    if (!json) {
        ht__http_answer_static(call->request, 500, "application/problem+json", out_of_memory, sizeof out_of_memory - 1);
        return;
    }
    ht__http_answer_owned(call->request, status, type, json, strlen(json));
}

void api_problem(struct api_call *call, const char *kind, const char *format, ...)
{
    char detail[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    answer(call, kind, detail, NULL);
}

void api_problem_at(struct api_call *call, const char *kind, json_t *errors)
{
    char detail[1024];
    json_t *first = json_array_get(errors, 0);
    const char *pointer = json_string_value(json_object_get(first, "pointer"));
    const char *text = json_string_value(json_object_get(first, "detail"));
    size_t n = json_array_size(errors);
    snprintf(detail, sizeof detail, "%s%s%s%s", pointer ? pointer : "", pointer && *pointer ? ": " : "",
             text ? text : "", n > 1 ? " (and more)" : "");
    answer(call, kind, detail, errors);
}

void api_store_problem(struct api_call *call, enum store_result result, const char *what)
{
    switch (result) {
    case STORE_NOT_FOUND: api_problem(call, "not-found", "there is no such %s", what); return;
    case STORE_CONFLICT: api_problem(call, "conflict", "the state of the %s does not allow this", what); return;
    case STORE_BUSY:
        metrics_busy(call->server->metrics);
        api_header(call, "Retry-After", "2");
        api_problem(call, "busy", "the database is in use");
        return;
    case STORE_DAMAGED:
        api_problem(call, "unavailable", "the database is damaged: stop the service and restore a copy of its folder");
        return;
    case STORE_GONE:
        api_problem(call, "unavailable", "the data folder was removed or replaced: restart the service");
        return;
    case STORE_FULL: api_problem(call, "no-space", "the disk is full: nothing was changed"); return;
    default: break;
    }
    char why[300];
    store_failure_clear();
    store_why(call->server->store, why, sizeof why);
    log_event(call->server->log, LOG_LEVEL_ERROR, "store_failed", "{s:s}", "reason", why);
    api_problem(call, "internal", "the database failed; the log says why");
}

void api_problems(struct api_call *call)
{
    const struct problem *p = find(call->segments[0]);
    if (!p) {
        api_problem(call, "not-found", "there is no such kind of problem");
        return;
    }
    api_json(call, 200, json_pack("{s:s, s:i, s:s}", "kind", p->kind, "status", p->status, "title", p->title));
}
