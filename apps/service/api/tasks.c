/*
 * /tasks/JOB-EPOCH: a job that a worker on another machine has. Every request says which attempt it speaks for; one whose
 * attempt is over gets 409 and changes nothing.
 */
#include "service/api/estimates.h"
#include "service/api/grants.h"
#include "service/api/json.h"
#include "service/child/model_files.h"
#include "service/child/roots.h"
#include "service/runner/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char lost[] = "this attempt is over: the job has ended, or another worker has it";

/* False: it was answered. */
static bool task_of(struct api_call *call, struct store_claim *claim)
{
    if (remote_task_named(call->segments[0], claim)) return true;
    api_problem(call, "not-found", "there is no such task");
    return false;
}

static void answer_failure(struct api_call *call, enum store_result result)
{
    if (result == STORE_CONFLICT)
        api_problem(call, "conflict", "%s", lost);
    else
        api_store_problem(call, result, "task");
}

/* ---- what a worker tells ---- */

static const struct field live_fields[] = {
    {"tensor", FIELD_TEXT, 0, 1000},          {"unit", FIELD_TEXT, 0, 40},      {"done", FIELD_INTEGER, 0, 9e18},
    {"total", FIELD_INTEGER, 0, 9e18},        {"rate", FIELD_NUMBER, 0, 1e300}, {"seconds", FIELD_NUMBER, 0, 1e300},
    {"seconds_left", FIELD_NUMBER, 0, 1e300}, {NULL, FIELD_FLAG, 0, 0}};

static bool is_one_of(const char *text, const char *words)
{
    size_t n = strlen(text);
    for (const char *p = words; n && (p = strstr(p, text)) != NULL; p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

static void check_word(const json_t *object, const char *name, const char *words, const char *parent,
                       struct faults *faults)
{
    char pointer[256];
    const char *word = json_string_value(json_object_get(object, name));
    faults_pointer(pointer, sizeof pointer, parent, name);
    if (word && !is_one_of(word, words)) faults_add(faults, pointer, "expected one of: %s", words);
}

static void check_live(json_t *told, struct faults *faults)
{
    json_t *live = json_object_get(told, "live"), *left;
    if (!live) return;
    json_t *copy = json_copy(live);
    left = json_object_get(copy, "seconds_left");
    if (json_is_null(left)) json_object_del(copy, "seconds_left");
    fields_check(copy, live_fields, "/live", faults);
    for (const struct field *f = live_fields; f->name; f++)
        if (!json_object_get(live, f->name)) faults_add(faults, "/live", "\"%s\" is missing", f->name);
    json_decref(copy);
}

static void check_outputs(const json_t *told, struct faults *faults)
{
    static const struct field fields[] = {{"name", FIELD_TEXT, 1, 255},
                                          {"format", FIELD_TEXT, 1, 80},
                                          {"quant_type", FIELD_TEXT, 1, 1000},
                                          {"file_size", FIELD_INTEGER, 0, 9e18},
                                          {"bits_per_weight", FIELD_NUMBER, 0, 1000},
                                          {"run_memory", FIELD_OBJECT, 0, 0},
                                          {NULL, FIELD_FLAG, 0, 0}};
    const json_t *output;
    size_t i;
    json_array_foreach(json_object_get(told, "outputs"), i, output) {
        char pointer[60];
        snprintf(pointer, sizeof pointer, "/outputs/%zu", i);
        fields_check(output, fields, pointer, faults);
        for (int k = 0; k < 4; k++)
            if (!json_object_get(output, fields[k].name))
                faults_add(faults, pointer, "\"%s\" is missing", fields[k].name);
    }
}

static void check_log(const json_t *told, struct faults *faults)
{
    static const struct field fields[] = {
        {"level", FIELD_TEXT, 1, 10}, {"text", FIELD_TEXT, 0, 4000}, {NULL, FIELD_FLAG, 0, 0}};
    const json_t *line;
    size_t i;
    json_array_foreach(json_object_get(told, "log"), i, line) {
        char pointer[60];
        snprintf(pointer, sizeof pointer, "/log/%zu", i);
        fields_check(line, fields, pointer, faults);
        check_word(line, "level", "info warning error", pointer, faults);
        if (!json_object_get(line, "level") || !json_object_get(line, "text"))
            faults_add(faults, pointer, "expected level and text");
    }
}

static void check_told(json_t *told, struct faults *faults)
{
    static const struct field fields[] = {{"worker", FIELD_TEXT, 32, 32},
                                          {"draining", FIELD_FLAG, 0, 0},
                                          {"status", FIELD_TEXT, 1, 20},
                                          {"step", FIELD_TEXT, 0, 40},
                                          {"current_step", FIELD_TEXT, 0, 300},
                                          {"progress", FIELD_NUMBER, 0, 100},
                                          {"source_revision", FIELD_TEXT, 1, 100},
                                          {"estimated_disk_gb", FIELD_NUMBER, 0, 1e12},
                                          {"estimated_time_minutes", FIELD_NUMBER, 0, 1e12},
                                          {"live", FIELD_OBJECT, 0, 0},
                                          {"outputs", FIELD_OBJECTS, 1, 10000},
                                          {"output_status", FIELD_TEXT, 1, 20},
                                          {"log", FIELD_OBJECTS, 0, 1000},
                                          {NULL, FIELD_FLAG, 0, 0}};
    fields_check(told, fields, "", faults);
    if (faults->list) return; /* the rest leans on their kinds */
    check_word(told, "status", "downloading preparing quantizing measuring verifying", "", faults);
    check_word(told, "output_status", "pending writing verifying", "", faults);
    check_live(told, faults);
    check_outputs(told, faults);
    check_log(told, faults);
}

void api_task_tell(struct api_call *call)
{
    struct store_claim claim;
    struct faults faults = {0};
    struct server *server = call->server;
    bool cancel = false;
    if (!task_of(call, &claim)) return;
    check_told(call->body, &faults);
    if (faults.list) {
        api_problem_at(call, "invalid", faults.list);
        return;
    }
    enum store_result result = remote_hear(server->scheduler, &claim, call->body, &cancel);
    if (result != STORE_OK) {
        answer_failure(call, result);
        return;
    }
    const char *worker = json_string_value(json_object_get(call->body, "worker"));
    if (worker) store_worker_seen(server->store, worker, NULL, json_is_true(json_object_get(call->body, "draining")));
    api_json(call, 200, json_pack("{s:b, s:i}", "cancel", cancel, "lease_seconds", store_lease(server->store)));
}

/* ---- the end ---- */

static bool goes_on(void *ctx)
{
    struct child_stop *stop = ctx;
    return !stop || atomic_load(&stop->wished) == 0;
}

static void publish(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct store_claim claim;
    char why[700];
    remote_task_named(call->segments[0], &claim);
    const json_t *staged = json_object_get(call->body, "staged");
    enum store_result result = remote_publish(call->server->scheduler, &claim, staged, goes_on, stop, why, sizeof why);
    if (result == STORE_OK)
        api_json(call, 200, json_pack("{s:s}", "status", "completed"));
    else if (result == STORE_FAILED && *why && !atomic_load(&call->server->stopping))
        api_problem(call, "invalid", "%s", why);
    else
        answer_failure(call, result);
}

static void divide(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct store_claim claim;
    (void)stop;
    remote_task_named(call->segments[0], &claim);
    int parts = (int)json_integer_value(json_object_get(call->body, "parts"));
    bool collects = json_is_true(json_object_get(call->body, "collects"));
    enum store_result result = remote_split(call->server->scheduler, &claim, collects ? -parts : parts);
    if (result == STORE_OK)
        api_json(call, 200, json_pack("{s:s}", "status", "quantizing"));
    else
        answer_failure(call, result);
}

static void end(void *ctx, struct child_stop *stop)
{
    static const char *const names[] = {
        [LINK_RELEASED] = "queued", [LINK_FAILED] = "failed", [LINK_CANCELLED] = "cancelled"};
    struct api_call *call = ctx;
    struct store_claim claim;
    const char *error = json_string_value(json_object_get(call->body, "error")),
               *advice = json_string_value(json_object_get(call->body, "error_advice")),
               *as = json_string_value(json_object_get(call->body, "status"));
    (void)stop;
    remote_task_named(call->segments[0], &claim);
    enum link_end how = strcmp(as, "failed") == 0      ? LINK_FAILED
                        : strcmp(as, "cancelled") == 0 ? LINK_CANCELLED
                                                       : LINK_RELEASED;
    enum store_result result = remote_end(call->server->scheduler, &claim, how,
                                          how == LINK_FAILED && !error ? "the worker gave no reason" : error, advice);
    if (result == STORE_OK)
        api_json(call, 200, json_pack("{s:s}", "status", names[how]));
    else
        answer_failure(call, result);
}

static void check_staged(const json_t *staged, struct faults *faults)
{
    static const struct field fields[] = {{"name", FIELD_TEXT, 1, 520},
                                          {"upload", FIELD_TEXT, 1, 799},
                                          {"parts", FIELD_OBJECTS, 1, 10000},
                                          {NULL, FIELD_FLAG, 0, 0}};
    static const struct field parts[] = {
        {"etag", FIELD_TEXT, 1, 127}, {"sha256", FIELD_TEXT, 44, 44}, {NULL, FIELD_FLAG, 0, 0}};
    const json_t *file, *part;
    size_t i, j;
    json_array_foreach(staged, i, file) {
        char pointer[60];
        snprintf(pointer, sizeof pointer, "/staged/%zu", i);
        fields_check(file, fields, pointer, faults);
        if (faults->list) return;
        for (const struct field *f = fields; f->name; f++)
            if (!json_object_get(file, f->name)) faults_add(faults, pointer, "\"%s\" is missing", f->name);
        json_array_foreach(json_object_get(file, "parts"), j, part)
            fields_check(part, parts, pointer, faults);
    }
}

void api_task_finish(struct api_call *call)
{
    static const struct field fields[] = {{"status", FIELD_TEXT, 1, 20},
                                          {"error", FIELD_TEXT, 1, 2000},
                                          {"error_advice", FIELD_TEXT, 1, 1000},
                                          {"staged", FIELD_OBJECTS, 1, 10000},
                                          {"parts", FIELD_INTEGER, 2, STORE_MOST_PARTS},
                                          {"collects", FIELD_FLAG, 0, 0},
                                          {NULL, FIELD_FLAG, 0, 0}};
    struct store_claim claim;
    struct faults faults = {0};
    if (!task_of(call, &claim)) return;
    const char *status = json_string_value(json_object_get(call->body, "status"));
    fields_check(call->body, fields, "", &faults);
    if (!faults.list && !status) faults_add(&faults, "/status", "expected a text");
    if (!faults.list) check_word(call->body, "status", "completed failed cancelled queued split", "", &faults);
    if (!faults.list && (strcmp(status, "split") == 0) != (json_object_get(call->body, "parts") != NULL))
        faults_add(&faults, "/parts", "expected with \"split\", and only there");
    if (!faults.list && strcmp(status, "split") != 0 && json_object_get(call->body, "collects"))
        faults_add(&faults, "/collects", "expected with \"split\", and only there");
    if (!faults.list) check_staged(json_object_get(call->body, "staged"), &faults);
    if (faults.list) {
        api_problem_at(call, "invalid", faults.list);
        return;
    }
    api_later(call,
              strcmp(status, "completed") == 0 ? publish
              : strcmp(status, "split") == 0   ? divide
                                               : end,
              NULL, NULL);
}

/* ---- files that a worker brings ---- */

struct bringing {
    struct server *server;
    struct grant *grant;
    struct store_claim claim;
    char path[4800], part[4808]; /* the second until it is whole */
    char name[256], digest[120];
    int fd;
    uint64_t size;
    const char *failure;
    EVP_MD_CTX *hash;
};

static void free_bringing(void *state)
{
    struct bringing *b = state;
    if (b->fd >= 0) close(b->fd);
    if (*b->part) unlink(b->part);
    EVP_MD_CTX_free(b->hash);
    grant_give_back(&b->grant);
    free(b);
}

/* "name" or "folder/name", nothing hidden, no way out. */
static bool is_plain(const char *name)
{
    const char *slash = strchr(name, '/');
    if (slash && (strchr(slash + 1, '/') || slash[1] == '.' || !slash[1])) return false;
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) return false;
    return *name && *name != '.' && *name != '/';
}

static bool take_piece(void *ctx, const void *data, size_t len)
{
    struct bringing *b = ctx;
    if (!grant_holds(b->grant)) return b->failure = "token-unknown", false;
    for (size_t done = 0; done < len;) {
        ssize_t n = write(b->fd, (const char *)data + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return b->failure = errno == ENOSPC || errno == EDQUOT ? "no-space" : "internal", false;
        done += (size_t)n;
    }
    EVP_DigestUpdate(b->hash, data, len);
    b->size += len;
    return true;
}

static bool open_part(struct bringing *b, const char *out)
{
    const char *slash = strchr(b->name, '/');
    if (slash) {
        snprintf(b->path, sizeof b->path, "%s/%.*s", out, (int)(slash - b->name), b->name);
        if (mkdir(b->path, 0700) != 0 && errno != EEXIST) return false;
    }
    snprintf(b->path, sizeof b->path, "%s/%s", out, b->name);
    snprintf(b->part, sizeof b->part, "%s.part", b->path);
    b->fd = open(b->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    b->hash = EVP_MD_CTX_new();
    return b->fd >= 0 && b->hash && EVP_DigestInit_ex(b->hash, EVP_sha256(), NULL) == 1;
}

static bool has_room(const struct server *server, uint64_t size)
{
    struct statvfs v;
    if (size == UINT64_MAX || statvfs(store_folder(server->store), &v) != 0) return true;
    return (uint64_t)v.f_bavail * v.f_frsize >= size;
}

void api_task_file_begin(struct api_call *call)
{
    struct server *server = call->server;
    char out[4400];
    struct store_claim claim;
    const char *digest = ht__http_header(call->request, "Content-Digest");
    uint64_t size = ht__http_body_size(call->request);
    if (!task_of(call, &claim)) return;
    if (!is_plain(call->segments[1])) {
        api_problem(call, "invalid", "a file is called NAME or FOLDER/NAME, and nothing begins with a dot");
        return;
    }
    if (!digest || strncmp(digest, "sha-256=:", 9) != 0 || strlen(digest) > 100) {
        api_problem(call, "invalid", "the header Content-Digest: sha-256=:…: is missing");
        return;
    }
    if (!has_room(server, size)) {
        api_problem(call, "no-space", "the disk has no room for this file");
        return;
    }
    enum store_result result = remote_out(server->scheduler, &claim, out, sizeof out);
    if (result != STORE_OK) {
        answer_failure(call, result);
        return;
    }
    struct bringing *b = calloc(1, sizeof *b);
    if (b) b->fd = -1;
    call->state = b;
    call->free_state = b ? free_bringing : NULL;
    if (b) {
        b->server = server;
        b->claim = claim;
        snprintf(b->name, sizeof b->name, "%s", call->segments[1]);
        snprintf(b->digest, sizeof b->digest, "%s", digest);
        b->grant = grants_take(call);
    }
    if (!b || !b->grant || !open_part(b, out))
        api_problem(call, "internal", "the file could not be made");
    else
        ht__http_take_body(call->request, take_piece, b, (uint64_t)server->settings->upload_limit);
}

/* Whole, as it was meant to be, and on the disk: it gets its name. */
static void keep_file(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct bringing *b = call->state;
    unsigned char bytes[EVP_MAX_MD_SIZE];
    char digest[120] = "sha-256=:", sha256[65];
    (void)stop;
    EVP_DigestFinal_ex(b->hash, bytes, NULL);
    EVP_EncodeBlock((unsigned char *)digest + 9, bytes, 32);
    strcat(digest, ":");
    for (int i = 0; i < 32; i++)
        snprintf(sha256 + 2 * i, 3, "%02x", bytes[i]);
    if (strcmp(digest, b->digest) != 0) {
        api_problem(call, "invalid", "what came has another SHA-256 than Content-Digest says: send it again");
    } else if (fsync(b->fd) != 0 || rename(b->part, b->path) != 0) {
        api_problem(call, "internal", "the file could not be written");
    } else {
        *b->part = '\0';
        remote_received(b->server->scheduler, &b->claim, b->name, sha256);
        api_json(call, 201,
                 json_pack("{s:s, s:I, s:s}", "name", b->name, "size", (json_int_t)b->size, "sha256", sha256));
    }
}

void api_task_file_end(struct api_call *call)
{
    struct bringing *b = call->state;
    if (!ht__http_body_whole(call->request)) {
        api_problem(call, b->failure ? b->failure : "bad-request", "the file did not come whole");
        return;
    }
    ht__http_defer(call->request);
    if (helpers_do(call->server->writers, keep_file, call)) return;
    api_header(call, "Retry-After", "5");
    api_problem(call, "busy", "too many files are being written");
}

/* ---- the model, for workers that do not see it ---- */

/* Where the job's model lies on this machine. NULL: answered. */
static json_t *source_of(struct api_call *call, char real[PATH_MAX], bool *uploaded)
{
    struct store_claim claim;
    struct server *server = call->server;
    if (!task_of(call, &claim)) return NULL;
    enum store_result holds = store_claim_holds(server->store, &claim);
    json_t *request = holds == STORE_OK ? store_request(server->store, claim.id) : NULL, *files = NULL;
    const char *type = json_string_value(json_object_get(request, "source_type")),
               *path = json_string_value(json_object_get(request, "source_path"));
    if (!request) {
        answer_failure(call, holds != STORE_OK ? holds : store_failure() != STORE_OK ? store_failure() : STORE_FAILED);
        return NULL;
    }
    const char *fault = "the model is on the hub: fetch it there";
    *uploaded = type && strcmp(type, "upload") == 0;
    if (path && *uploaded)
        fault = realpath(path, real) ? NULL : "the upload is gone";
    else if (path && type && strcmp(type, "local") == 0)
        fault = roots_model_fault(server->roots, path, real);
    if (!fault && !(files = model_files(real))) fault = "the model cannot be read";
    if (fault) api_problem(call, "not-found", "%s", fault);
    if (files) json_object_set_new(files, "path", json_string(real));
    json_decref(request);
    return files;
}

void api_task_source(struct api_call *call)
{
    char real[PATH_MAX];
    bool uploaded;
    json_t *files = source_of(call, real, &uploaded);
    if (files) api_json(call, 200, files);
}

static bool is_listed(const json_t *files, const char *name)
{
    const json_t *file;
    size_t i;
    json_array_foreach(json_object_get(files, "files"), i, file)
        if (strcmp(json_string_value(json_object_get(file, "name")), name) == 0) return true;
    return false;
}

void api_task_source_file(struct api_call *call)
{
    char real[PATH_MAX], path[PATH_MAX], found[PATH_MAX], range[80];
    bool uploaded;
    enum roots_result result;
    struct stat info;
    json_t *files = source_of(call, real, &uploaded);
    if (!files) return;
    bool folder = json_is_true(json_object_get(files, "folder")), listed = is_listed(files, call->segments[1]);
    json_decref(files);
    int n = folder ? (int)strlen(real) : (int)(strrchr(real, '/') - real), fd = -1;
    snprintf(path, sizeof path, "%.*s/%.250s", n, real, call->segments[1]);
    if (listed && uploaded)
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    else if (listed)
        fd = roots_open_at(call->server->roots, path, found, NULL, &result);
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        if (fd >= 0) close(fd);
        api_problem(call, "not-found", "the model has no such file");
        return;
    }
    uint64_t first = 0, len = (uint64_t)info.st_size;
    const char *wanted = ht__http_header(call->request, "Range");
    bool part = ht__http_range(wanted, (uint64_t)info.st_size, &first, &len) == HT__RANGE_ONE;
    if (!part) first = 0, len = (uint64_t)info.st_size;
    snprintf(range, sizeof range, "bytes %llu-%llu/%llu", (unsigned long long)first,
             (unsigned long long)(first + len - 1), (unsigned long long)info.st_size);
    if (part) api_header(call, "Content-Range", range);
    api_common_headers(call->request);
    api_header(call, "Cache-Control", "no-store");
    ht__http_answer_file(call->request, part ? 206 : 200, "application/octet-stream", fd, first, len);
}
