/* /quantize/jobs: lists, creation, and what can be done with one. */
#include "service/api/access.h"
#include "service/api/estimates.h"
#include "service/api/job_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_id(const char *text)
{
    return strlen(text) == STORE_ID_SIZE - 1 && strspn(text, "0123456789abcdef") == STORE_ID_SIZE - 1;
}

/* The job's id in the path; NULL: answered. */
static const char *job_id(struct api_call *call)
{
    if (is_id(call->segments[0])) return call->segments[0];
    api_problem(call, "not-found", "there is no such job");
    return NULL;
}

static void answer_job(struct api_call *call, int status, const char *id)
{
    json_t *job = store_job(call->server->store, id);
    if (!job) {
        api_problem(call, "not-found", "there is no such job");
        return;
    }
    scheduler_add_live(call->server->scheduler, job);
    api_json(call, status, job);
}

/* <…?what was asked for&cursor=…>; rel="next" */
static void add_link(struct api_call *call, const char *path, const char *cursor)
{
    char *text = NULL;
    size_t size;
    const char *name, *value;
    FILE *to = cursor ? open_memstream(&text, &size) : NULL;
    if (!to) return;
    fprintf(to, "<%s?cursor=", path);
    for (const char *p = cursor; *p; p++)
        fprintf(to, "%%%02X", (unsigned char)*p);
    for (size_t i = 0; ht__http_query_at(call->request, i, &name, &value); i++) {
        if (strcmp(name, "cursor") == 0 || strcmp(name, "offset") == 0) continue;
        fprintf(to, "&%s=", name); /* one of the names that are known */
        for (const char *p = value; *p; p++)
            fprintf(to, "%%%02X", (unsigned char)*p);
    }
    fprintf(to, ">; rel=\"next\"");
    if (fclose(to) == 0) api_header(call, "Link", text);
    free(text);
}

void api_answer_page(struct api_call *call, const char *path, json_t *page, enum store_result result)
{
    if (!page && result == STORE_CONFLICT) {
        api_problem_at(call, "invalid",
                       json_pack("[{s:s, s:s}]", "pointer", "sort", "detail", "invalid sort or cursor"));
    } else if (!page) {
        api_store_problem(call, result, "list");
    } else {
        add_link(call, path, json_string_value(json_object_get(page, "next_cursor")));
        api_json(call, 200, page);
    }
}

static bool statuses_known(const char *list)
{
    static const char known[] =
        " queued downloading preparing quantizing measuring verifying completed failed cancelled ";
    while (*list) {
        char word[24];
        size_t n = strcspn(list, ",");
        if (n == 0 || n + 3 > sizeof word) return false;
        snprintf(word, sizeof word, " %.*s ", (int)n, list);
        if (!strstr(known, word)) return false;
        list += n + (list[n] == ',');
    }
    return true;
}

void api_jobs_list(struct api_call *call)
{
    struct server *server = call->server;
    struct ht__http_request *r = call->request;
    enum store_result result = STORE_FAILED;
    int64_t limit = 50, offset = 0;
    struct job_filter f = {.status = ht__http_query(r, "status"),
                           .search = ht__http_query(r, "search"),
                           .sort = ht__http_query(r, "sort"),
                           .cursor = ht__http_query(r, "cursor")};
    if (!api_query_known(call, "status search sort limit offset cursor") ||
        !api_query_number(call, "limit", 1, 200, &limit) || !api_query_number(call, "offset", 0, 1000000000, &offset))
        return;
    if (f.status && !statuses_known(f.status)) {
        api_problem_at(call, "invalid",
                       json_pack("[{s:s, s:s}]", "pointer", "status", "detail", "there is no such status"));
        return;
    }
    if (f.cursor && offset) {
        api_problem_at(call, "invalid",
                       json_pack("[{s:s, s:s}]", "pointer", "offset", "detail", "not together with cursor"));
        return;
    }
    f.limit = (int)limit;
    f.offset = (int)offset;
    json_t *page = store_jobs(server->store, &f, &result);
    if (page) scheduler_add_live(server->scheduler, json_object_get(page, "jobs"));
    api_answer_page(call, ht__http_path(r), page, result);
}

static bool key_allowed(const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < n; i++)
        if (key[i] <= 0x20 || key[i] >= 0x7f) return false;
    return n > 0 && n < 256;
}

static void submit(struct api_call *call, const json_t *requests, bool several)
{
    struct server *server = call->server;
    const json_t *one[100];
    char ids[100][STORE_ID_SIZE], sha256[65], location[128];
    size_t n = json_array_size(requests), len;
    const char *key = ht__http_header(call->request, "Idempotency-Key");
    bool replayed = false;
    if (key && !key_allowed(key)) {
        api_problem(call, "invalid", "Idempotency-Key: expected 1 to 255 printable characters");
        return;
    }
    for (size_t i = 0; i < n; i++)
        one[i] = json_array_get(requests, i);
    const char *body = ht__http_body(call->request, &len);
    access_hash(body, len, sha256);
    enum store_result result = store_submit(server->store, one, n, call->caller.token_id, key, sha256,
                                            server->settings->max_queued, ids, &replayed);
    if (result == STORE_CONFLICT) {
        api_problem(call, "key-conflict", "this Idempotency-Key came with another body before");
        return;
    }
    if (result == STORE_CROWDED) {
        api_header(call, "Retry-After", "60");
        api_problem(call, "too-many", "%lld jobs may wait; that many do", (long long)server->settings->max_queued);
        return;
    }
    if (result != STORE_OK) {
        api_store_problem(call, result, result == STORE_NOT_FOUND ? "upload" : "job");
        return;
    }
    for (size_t i = 0; i < n && !replayed; i++)
        scheduler_changed(server->scheduler, ids[i]);
    if (replayed) api_header(call, "Idempotent-Replayed", "true");
    if (!several) {
        snprintf(location, sizeof location, "/api/v1/quantize/jobs/%s", ids[0]);
        api_header(call, "Location", location);
        answer_job(call, 201, ids[0]);
        return;
    }
    json_t *jobs = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *job = store_job(server->store, ids[i]);
        if (job) json_array_append_new(jobs, job);
    }
    scheduler_add_live(server->scheduler, jobs);
    api_json(call, 201, json_pack("{s:o}", "jobs", jobs));
}

void api_jobs_create(struct api_call *call)
{
    bool several;
    const char *dry = ht__http_query(call->request, "dry_run");
    if (!api_query_known(call, "dry_run")) return;
    if (dry && strcmp(dry, "true") != 0 && strcmp(dry, "false") != 0 && *dry) {
        api_problem_at(call, "invalid",
                       json_pack("[{s:s, s:s}]", "pointer", "dry_run", "detail", "expected true or false"));
        return;
    }
    json_t *requests = job_requests(call, &several);
    if (!requests) return;
    if (dry && strcmp(dry, "false") != 0) {
        estimates_answer(call, requests, several);
        return;
    }
    submit(call, requests, several);
    json_decref(requests);
}

void api_jobs_get(struct api_call *call)
{
    const char *id = job_id(call);
    if (id) answer_job(call, 200, id);
}

void api_jobs_patch(struct api_call *call)
{
    static const struct field fields[] = {{"priority", FIELD_INTEGER, -100, 100}, {NULL, FIELD_FLAG, 0, 0}};
    struct faults faults = {0};
    const char *id = job_id(call);
    if (!id) return;
    const json_t *priority = json_object_get(call->body, "priority");
    fields_check(call->body, fields, "", &faults);
    if (!priority) faults_add(&faults, "/priority", "expected an integer");
    if (faults.list) {
        api_problem_at(call, "invalid", faults.list);
        return;
    }
    enum store_result result = store_set_priority(call->server->store, id, (int)json_integer_value(priority));
    if (result != STORE_OK) {
        api_store_problem(call, result, "job");
        return;
    }
    scheduler_changed(call->server->scheduler, id);
    answer_job(call, 200, id);
}

void api_jobs_delete(struct api_call *call)
{
    const char *id = job_id(call);
    if (!id) return;
    enum store_result result = scheduler_delete(call->server->scheduler, id);
    if (result == STORE_CONFLICT)
        api_problem(call, "conflict", "the job runs: cancel it first");
    else if (result != STORE_OK)
        api_store_problem(call, result, "job");
    else
        api_empty(call, 204);
}

void api_jobs_cancel(struct api_call *call)
{
    const char *id = job_id(call);
    if (!id) return;
    enum store_result result = scheduler_cancel(call->server->scheduler, id);
    if (result == STORE_CONFLICT) { /* what is cancelled already is as wished */
        json_t *job = store_job_brief(call->server->store, id);
        const char *status = json_string_value(json_object_get(job, "status"));
        if (status && strcmp(status, "cancelled") == 0) result = STORE_OK;
        json_decref(job);
    }
    if (result == STORE_CONFLICT)
        api_problem(call, "conflict", "the job has ended");
    else if (result != STORE_OK)
        api_store_problem(call, result, "job");
    else
        answer_job(call, 200, id);
}

void api_jobs_retry(struct api_call *call)
{
    const char *id = job_id(call);
    if (!id) return;
    enum store_result result = store_retry(call->server->store, id);
    if (result == STORE_CONFLICT)
        api_problem(call, "conflict", "only a failed or cancelled job can be tried again");
    else if (result != STORE_OK)
        api_store_problem(call, result, "job");
    if (result != STORE_OK) return;
    scheduler_changed(call->server->scheduler, id);
    answer_job(call, 200, id);
}

void api_jobs_log(struct api_call *call)
{
    int64_t after = 0, limit = 200;
    const char *id = job_id(call);
    if (!id || !api_query_known(call, "after limit") || !api_query_number(call, "after", 0, INT64_MAX - 1, &after) ||
        !api_query_number(call, "limit", 1, 1000, &limit))
        return;
    json_t *log = store_log(call->server->store, id, after, (int)limit);
    if (log)
        api_json(call, 200, log);
    else
        api_problem(call, "not-found", "there is no such job");
}

void api_jobs_tensors(struct api_call *call)
{
    const char *id = job_id(call);
    json_t *tensors = id ? scheduler_tensors(call->server->scheduler, id) : NULL;
    if (tensors)
        api_json(call, 200, tensors);
    else if (id)
        api_problem(call, "not-found", "there is no such job");
}

void api_outputs_list(struct api_call *call)
{
    const char *id = job_id(call);
    json_t *outputs = id ? store_outputs(call->server->store, id) : NULL;
    if (outputs)
        api_json(call, 200, json_pack("{s:o}", "outputs", outputs));
    else if (id)
        api_problem(call, "not-found", "there is no such job");
}
