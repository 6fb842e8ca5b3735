/* /workers: who works for this service on other machines, and the jobs that they ask for. */
#include "service/api/access.h"
#include "service/api/json.h"
#include "service/api/lender.h"
#include "service/runner/remote.h"

#include <stdio.h>
#include <string.h>

enum { MOST_WAIT = 30 };

static bool is_id(const char *text)
{
    return text && strlen(text) == STORE_ID_SIZE - 1 && strspn(text, "0123456789abcdef") == STORE_ID_SIZE - 1;
}

void api_workers_list(struct api_call *call)
{
    json_t *workers = store_workers(call->server->store);
    if (workers)
        api_json(call, 200, json_pack("{s:o}", "workers", workers));
    else
        api_store_problem(call, store_failure(), "workers");
}

static const struct field machine_fields[] = {{"hostname", FIELD_TEXT, 0, 255},
                                              {"cpu", FIELD_TEXT, 0, 255},
                                              {"cpu_levels", FIELD_TEXTS, 0, 20},
                                              {"threads", FIELD_INTEGER, 0, 1000000},
                                              {"load", FIELD_NUMBER, 0, 1e9},
                                              {"memory_bytes", FIELD_INTEGER, 0, 9e18},
                                              {"memory_available_bytes", FIELD_INTEGER, 0, 9e18},
                                              {"disk_free_bytes", FIELD_INTEGER, 0, 9e18},
                                              {"formats", FIELD_TEXTS, 0, 100},
                                              {"share", FIELD_FLAG, 0, 0},
                                              {NULL, FIELD_FLAG, 0, 0}};

/* False: it was answered. */
static bool check_body(struct api_call *call, const struct field *fields, struct faults *faults)
{
    fields_check(call->body, fields, "", faults);
    const json_t *machine = json_object_get(call->body, "machine");
    if (json_is_object(machine)) fields_check(machine, machine_fields, "/machine", faults);
    if (!faults->list) return true;
    api_problem_at(call, "invalid", faults->list);
    return false;
}

/* Of the jobs whose unfinished work the worker still has: those that nobody will continue. */
static json_t *to_drop(struct server *server, const json_t *holds)
{
    const json_t *id;
    size_t i;
    json_t *drop = json_array();
    json_array_foreach(holds, i, id)
        if (!remote_wants_work(server->scheduler, json_string_value(id))) json_array_append(drop, (json_t *)id);
    return drop;
}

void api_workers_add(struct api_call *call)
{
    static const struct field fields[] = {{"name", FIELD_TEXT, 1, 100},    {"version", FIELD_TEXT, 1, 40},
                                          {"slots", FIELD_INTEGER, 1, 64}, {"labels", FIELD_TEXTS, 0, 50},
                                          {"machine", FIELD_OBJECT, 0, 0}, {"holds", FIELD_TEXTS, 0, 10000},
                                          {NULL, FIELD_FLAG, 0, 0}};
    struct faults faults = {0};
    struct server *server = call->server;
    char id[STORE_ID_SIZE];
    const char *bucket = remote_bucket(server->scheduler);
    const char *version = json_string_value(json_object_get(call->body, "version"));
    if (!json_object_get(call->body, "name")) faults_add(&faults, "/name", "expected a text");
    if (!version) faults_add(&faults, "/version", "expected a text");
    if (!check_body(call, fields, &faults)) return;
    if (strcmp(version, HT_VERSION) != 0) { /* the same bytes are promised of one version only */
        api_problem(call, "conflict", "this service is version %s and the worker %.40s: use the same", HT_VERSION,
                    version);
        return;
    }
    if (!json_object_get(call->body, "slots")) json_object_set_new(call->body, "slots", json_integer(1));
    enum store_result result = store_worker_add(server->store, call->body, id);
    if (result != STORE_OK) {
        api_store_problem(call, result, "worker");
        return;
    }
    log_event(server->log, LOG_LEVEL_INFO, "worker", "{s:s, s:s}", "worker_id", id, "name",
              json_string_value(json_object_get(call->body, "name")));
    api_json(call, 201,
             json_pack("{s:s, s:i, s:s, s:o, s:s*}", "id", id, "lease_seconds", store_lease(server->store), "share",
                       lender_share(server->lender), "drop", to_drop(server, json_object_get(call->body, "holds")),
                       "artifacts", *bucket ? bucket : NULL));
}

void api_workers_remove(struct api_call *call)
{
    enum store_result result =
        is_id(call->segments[0]) ? store_worker_remove(call->server->store, call->segments[0]) : STORE_NOT_FOUND;
    if (result == STORE_OK)
        api_empty(call, 204);
    else
        api_store_problem(call, result, "worker");
}

void api_workers_claim(struct api_call *call)
{
    static const struct field fields[] = {{"seconds", FIELD_INTEGER, 0, MOST_WAIT},
                                          {"machine", FIELD_OBJECT, 0, 0},
                                          {"entry", FIELD_TEXT, 3, 47},
                                          {"consumer", FIELD_TEXT, 1, 159},
                                          {NULL, FIELD_FLAG, 0, 0}};
    struct faults faults = {0};
    struct server *server = call->server;
    if (!check_body(call, fields, &faults)) return;
    json_t *machine = json_object_get(call->body, "machine");
    if (!is_id(call->segments[0])) {
        api_problem(call, "not-found", "there is no such worker");
        return;
    }
    ht__http_defer(call->request); /* the lender answers */
    double seconds = json_number_value(json_object_get(call->body, "seconds"));
    if (lender_wait(server->lender, call, call->segments[0], json_incref(machine), seconds)) return;
    api_header(call, "Retry-After", "2");
    api_problem(call, "busy", "too many workers are waiting");
}
