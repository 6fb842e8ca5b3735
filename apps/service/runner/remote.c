#include "service/runner/remote.h"

#include "service/artifacts/dir.h"
#include "service/runner/hash_files.h"
#include "service/runner/run.h"
#include "service/settings/settings.h"
#include "service/system/steady.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define KEEP_SECONDS 30.0 /* progress goes to the store so often */

/* A job that is known to run elsewhere. */
struct lent {
    struct lent *next;
    struct store_claim claim;
    json_t *brief;    /* as events show it */
    json_t *received; /* {name: sha256} */
    double progress, kept_at, heard_at;
};

struct remote {
    pthread_mutex_t lock; /* owns the list and what is in it */
    struct lent *lents;
};

struct remote *remote__open(void)
{
    struct remote *r = calloc(1, sizeof *r);
    if (r) pthread_mutex_init(&r->lock, NULL);
    return r;
}

static void free_lent(struct lent *l)
{
    json_decref(l->brief);
    json_decref(l->received);
    free(l);
}

void remote__close(struct remote **remote)
{
    struct remote *r = *remote;
    *remote = NULL;
    for (struct lent *l = r->lents, *next; l; l = next) {
        next = l->next;
        free_lent(l);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static bool is_of(const struct lent *l, const struct store_claim *claim)
{
    return strcmp(l->claim.id, claim->id) == 0 && l->claim.epoch == claim->epoch;
}

/* Under the lock; made when it is not there (it runs since before this server was started). NULL: no memory. */
static struct lent *lent_of(struct remote *r, const struct store_claim *claim)
{
    struct lent *l = r->lents;
    while (l && !is_of(l, claim))
        l = l->next;
    if (l) return l;
    l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->claim = *claim;
    l->received = json_object();
    l->heard_at = l->kept_at = steady_seconds();
    l->next = r->lents;
    r->lents = l;
    return l;
}

/* All attempts of the job; claim NULL with `before`: those that said nothing since. */
static void forget(struct remote *r, const char *id, double before)
{
    pthread_mutex_lock(&r->lock);
    for (struct lent **at = &r->lents; *at;) {
        struct lent *l = *at;
        if (id ? strcmp(l->claim.id, id) == 0 : l->heard_at < before) {
            *at = l->next;
            free_lent(l);
        } else {
            at = &l->next;
        }
    }
    pthread_mutex_unlock(&r->lock);
}

void remote__add_live(struct remote *r, json_t *job)
{
    static const char *const keys[] = {"status", "step", "current_step", "progress", "live"};
    const char *id = json_string_value(json_object_get(job, "id"));
    const json_t *attempt = json_object_get(job, "attempt");
    pthread_mutex_lock(&r->lock);
    for (struct lent *l = r->lents; l; l = l->next) {
        if (!id || strcmp(l->claim.id, id) != 0 || !l->brief) continue;
        if (!json_equal(attempt, json_object_get(l->brief, "attempt"))) continue;
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            json_t *value = json_object_get(l->brief, keys[i]);
            if (value) json_object_set_new(job, keys[i], json_deep_copy(value));
        }
    }
    pthread_mutex_unlock(&r->lock);
}

void remote__cancelling(struct remote *r, const char *id)
{
    pthread_mutex_lock(&r->lock);
    for (struct lent *l = r->lents; l; l = l->next)
        if (strcmp(l->claim.id, id) == 0 && l->brief)
            json_object_set_new(l->brief, "current_step", json_string("cancelling"));
    pthread_mutex_unlock(&r->lock);
}

/* ---- which job a worker may have ---- */

static bool has(const json_t *list, const char *word)
{
    const json_t *item;
    size_t i;
    if (!json_is_array(list)) return true; /* it did not say */
    json_array_foreach(list, i, item)
        if (json_is_string(item) && strcasecmp(json_string_value(item), word) == 0) return true;
    return false;
}

static bool writes_all(const json_t *machine, const json_t *job)
{
    const json_t *formats = json_object_get(machine, "formats"), *output;
    json_t *requested = store_requested(job);
    bool all = true;
    size_t i;
    json_array_foreach(requested, i, output) {
        const char *format = json_string_value(json_object_get(output, "format"));
        all = all && (!format || has(formats, format));
    }
    json_decref(requested);
    return all;
}

static bool suits(void *ctx, const json_t *job)
{
    const json_t *machine = ctx, *options = json_object_get(job, "options");
    const char *cpu = json_string_value(json_object_get(options, "cpu")),
               *memory = json_string_value(json_object_get(options, "memory"));
    double disk = json_number_value(json_object_get(job, "estimated_disk_gb")) * 1e9;
    const json_t *has_memory = json_object_get(machine, "memory_bytes"),
                 *has_disk = json_object_get(machine, "disk_free_bytes");
    int64_t wants = memory ? settings_size(memory) : -1;
    if (json_is_true(json_object_get(job, "cancel"))) return false; /* see remote_tidy */
    /* parts lie in the service's folder */
    if (json_is_true(json_object_get(job, "split")) && !json_is_true(json_object_get(machine, "share"))) return false;
    if (cpu && !has(json_object_get(machine, "cpu_levels"), cpu)) return false;
    if (wants > 0 && json_is_number(has_memory) && (double)wants > json_number_value(has_memory)) return false;
    if (disk > 0 && json_is_number(has_disk) && disk > json_number_value(has_disk)) return false;
    return writes_all(machine, job);
}

/* ---- claims ---- */

static void attempt_folder(const struct scheduler *s, const struct store_claim *claim, char *path, size_t size)
{
    snprintf(path, size, "%s/jobs/%s.e%lld", s->folder, claim->id, (long long)claim->epoch);
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

const char *remote_bucket(const struct scheduler *s)
{
    return artifacts_url(s->settings.artifacts);
}

void remote_place(const struct scheduler *s, const struct store_claim *claim, const json_t *request, char *name,
                  size_t size)
{
    name_place(request, claim, artifacts_are_far(s->settings.artifacts), name, size);
}

/* What an attempt published just before the server stopped is only recorded. False: there is nothing. */
static bool record_published(struct scheduler *s, const struct store_claim *claim, const json_t *request)
{
    char name[256], place[4400], why[300];
    remote_place(s, claim, request, name, sizeof name);
    snprintf(place, sizeof place, "%s/%s", s->folder, name);
    json_t *report = dir_exists(place) ? read_report(place) : NULL;
    bool done = false;
    if (report) {
        const struct publication p = {claim, request, report, place, place, name, always, NULL, false};
        done = publish_folder(s->store, NULL, &p, NULL, why, sizeof why) == STORE_OK;
    } else if (!store_folder_used(s->store, name)) {
        dir_remove(place); /* never whole without a report */
    }
    json_decref(report);
    return done;
}

static void ended(struct scheduler *s, const char *id)
{
    forget(s->remote, id, 0);
    scheduler__remove_remains(s, id);
    scheduler__tell_job(s, id);
}

static void remember(struct scheduler *s, const struct store_claim *claim)
{
    json_t *brief = store_job_brief(s->store, claim->id);
    pthread_mutex_lock(&s->remote->lock);
    struct lent *l = lent_of(s->remote, claim);
    if (l) {
        json_decref(l->brief);
        l->brief = json_deep_copy(brief);
    }
    pthread_mutex_unlock(&s->remote->lock);
    if (brief) events_publish(s->events, "job", claim->id, brief);
    store_notify(s->store, "job", claim->id);
}

static void count(struct scheduler *s, uint64_t *counter)
{
    pthread_mutex_lock(&s->lock);
    ++*counter;
    pthread_mutex_unlock(&s->lock);
}

enum store_result remote_claim(struct scheduler *s, const char *worker, const json_t *machine,
                               struct store_claim *claim, json_t **request)
{
    *request = NULL;
    for (;;) {
        enum store_result result =
            store_claim_suited(s->store, worker, s->settings.max_attempts, suits, (void *)machine, claim);
        if (result == STORE_CONFLICT) { /* its attempts are used up */
            ended(s, claim->id);
            continue;
        }
        if (result != STORE_OK) return result;
        *request = store_request(s->store, claim->id);
        if (!*request) {
            store_release(s->store, claim);
            return STORE_FAILED;
        }
        if (claim->parts || !record_published(s, claim, *request)) break;
        json_decref(*request);
        *request = NULL;
        ended(s, claim->id);
    }
    if (!claim->parts) remember(s, claim);
    count(s, &s->state.claimed);
    return STORE_OK;
}

/* ---- what a worker tells ---- */

static double number_or(const json_t *told, const char *key)
{
    const json_t *value = json_object_get(told, key);
    return json_is_number(value) ? json_number_value(value) : -1;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* Is there something that the store has to know now? Progress alone can wait. */
static bool is_a_step(const json_t *told)
{
    static const char *const keys[] = {"status",          "step",    "current_step",           "estimated_disk_gb",
                                       "source_revision", "outputs", "estimated_time_minutes", "output_status"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(told, keys[i])) return true;
    return false;
}

static enum store_result record(struct scheduler *s, const struct store_claim *claim, const json_t *told)
{
    const json_t *outputs = json_object_get(told, "outputs");
    const char *status = text_of(told, "output_status");
    const struct store_update update = {.status = text_of(told, "status"),
                                        .step = text_of(told, "step"),
                                        .current_step = text_of(told, "current_step"),
                                        .progress = number_or(told, "progress"),
                                        .estimated_disk_gb = number_or(told, "estimated_disk_gb"),
                                        .estimated_time_minutes = number_or(told, "estimated_time_minutes"),
                                        .source_revision = text_of(told, "source_revision")};
    enum store_result result = store_update_job(s->store, claim, &update);
    if (result == STORE_OK && outputs) result = store_set_outputs(s->store, claim, outputs);
    if (result == STORE_OK && status) result = store_output_status(s->store, claim, NULL, status);
    return result;
}

static void keep_log(struct scheduler *s, const struct store_claim *claim, const json_t *told)
{
    const json_t *line;
    size_t i;
    json_array_foreach(json_object_get(told, "log"), i, line) {
        store_log_append(s->store, claim->id, text_of(line, "level"), text_of(line, "text"));
        scheduler__tell(s, text_of(line, "level"), claim->id, text_of(line, "text"));
    }
}

/* The figures are shown from now on. `fresh` (or NULL) is the job as the store has it. */
static void show(struct scheduler *s, const struct store_claim *claim, const json_t *told, json_t *fresh)
{
    json_t *shown = NULL, *live = json_object_get(told, "live");
    pthread_mutex_lock(&s->remote->lock);
    struct lent *l = lent_of(s->remote, claim);
    if (l && fresh) {
        json_decref(l->brief);
        l->brief = json_incref(fresh);
    }
    if (l && l->brief) {
        double progress = number_or(told, "progress");
        if (progress > l->progress) l->progress = progress;
        if (l->progress > json_number_value(json_object_get(l->brief, "progress")))
            json_object_set_new(l->brief, "progress", json_real(l->progress));
        if (live) json_object_set(l->brief, "live", live);
        shown = json_deep_copy(l->brief);
    }
    if (l) l->heard_at = steady_seconds();
    pthread_mutex_unlock(&s->remote->lock);
    if (shown && (fresh || live))
        events_publish(s->events, "job", claim->id, shown);
    else
        json_decref(shown);
    if (fresh) store_notify(s->store, "job", claim->id);
    json_decref(fresh);
}

/* Is it time to write the progress down? */
static bool is_due(struct scheduler *s, const struct store_claim *claim)
{
    double now = steady_seconds();
    pthread_mutex_lock(&s->remote->lock);
    struct lent *l = lent_of(s->remote, claim);
    bool due = l && now - l->kept_at > KEEP_SECONDS;
    if (due) l->kept_at = now;
    bool unknown = l && !l->brief;
    pthread_mutex_unlock(&s->remote->lock);
    return due || unknown;
}

enum store_result remote_hear(struct scheduler *s, const struct store_claim *claim, const json_t *told, bool *cancel)
{
    enum store_result result = store_heartbeat(s->store, claim, cancel);
    if (result == STORE_CONFLICT) {
        count(s, &s->state.fenced);
        return result;
    }
    if (result != STORE_OK) return result;
    json_t *fresh = NULL;
    if (store_claim_is_task(s->store, claim)) { /* what one of many does is not what the job does */
        keep_log(s, claim, told);
        return result;
    }
    if (is_a_step(told) || is_due(s, claim)) {
        result = record(s, claim, told);
        if (result == STORE_OK) fresh = store_job_brief(s->store, claim->id);
    }
    keep_log(s, claim, told);
    show(s, claim, told, fresh);
    return result;
}

enum store_result remote_end(struct scheduler *s, const struct store_claim *claim, enum link_end how, const char *error,
                             const char *advice)
{
    enum store_result result = how == LINK_FAILED      ? store_fail(s->store, claim, error, advice)
                               : how == LINK_CANCELLED ? store_cancelled(s->store, claim)
                                                       : store_release(s->store, claim);
    if (result != STORE_OK) return result;
    forget(s->remote, claim->id, 0);
    if (how == LINK_CANCELLED) scheduler__remove_remains(s, claim->id);
    if (how == LINK_CANCELLED) count(s, &s->state.cancelled);
    if (how == LINK_FAILED) count(s, &s->state.failed);
    scheduler_changed(s, claim->id);
    return result;
}

enum store_result remote_split(struct scheduler *s, const struct store_claim *claim, int parts)
{
    enum store_result result = store_split(s->store, claim, parts);
    if (result != STORE_OK) return result;
    forget(s->remote, claim->id, 0);
    scheduler_changed(s, claim->id);
    return result;
}

/* ---- what a worker brings ---- */

enum store_result remote_out(struct scheduler *s, const struct store_claim *claim, char *path, size_t size)
{
    enum store_result result = store_claim_holds(s->store, claim);
    if (result != STORE_OK) return result;
    attempt_folder(s, claim, path, size);
    if (!dir_make(path)) return STORE_FAILED;
    snprintf(path + strlen(path), size - strlen(path), "/out");
    return dir_make(path) ? STORE_OK : STORE_FAILED;
}

void remote_received(struct scheduler *s, const struct store_claim *claim, const char *name, const char *sha256)
{
    pthread_mutex_lock(&s->remote->lock);
    struct lent *l = lent_of(s->remote, claim);
    if (l) json_object_set_new(l->received, name, json_string(sha256));
    pthread_mutex_unlock(&s->remote->lock);
}

static bool was_received(struct scheduler *s, const struct store_claim *claim, const char *name, const char *sha256)
{
    pthread_mutex_lock(&s->remote->lock);
    struct lent *l = lent_of(s->remote, claim);
    const char *known = l ? json_string_value(json_object_get(l->received, name)) : NULL;
    bool same = known && strcmp(known, sha256) == 0;
    pthread_mutex_unlock(&s->remote->lock);
    return same;
}

static void forget_files(struct hashed_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(files[i].path);
        free(files[i].name);
    }
    free(files);
}

static size_t count_files(const json_t *report)
{
    const json_t *output;
    size_t i, n = 0;
    json_array_foreach(json_object_get(report, "outputs"), i, output)
        n += json_array_size(json_object_get(output, "files"));
    return n;
}

/* Those that did not come with their hash. NULL: no memory. */
static struct hashed_file *files_to_read(struct scheduler *s, const struct store_claim *claim,
                                         const struct publication *p, size_t *n)
{
    const json_t *output, *file;
    size_t i, j;
    bool whole = true;
    struct hashed_file *files = calloc(count_files(p->report) + 1, sizeof *files);
    *n = 0;
    if (!files) return NULL;
    json_array_foreach(json_object_get(p->report, "outputs"), i, output) {
        const char *folder = run__folder_of(output);
        json_array_foreach(json_object_get(output, "files"), j, file) {
            struct hashed_file *f = &files[*n];
            char name[520], path[5000];
            f->wanted = text_of(file, "sha256");
            snprintf(name, sizeof name, "%s%s%s", folder ? folder : "", folder ? "/" : "",
                     run__base_name(text_of(file, "path")));
            if (was_received(s, claim, name, f->wanted)) continue;
            snprintf(path, sizeof path, "%s/%s", p->out, name);
            f->path = strdup(path);
            f->name = strdup(name);
            whole = whole && f->path && f->name;
            ++*n;
        }
    }
    if (whole) return files;
    forget_files(files, *n);
    return NULL;
}

/* Every file is what the report says, byte for byte: it came with that hash, or is read now. */
static bool is_as_reported(struct scheduler *s, const struct store_claim *claim, const struct publication *p, char *why,
                           size_t size)
{
    size_t n, i = 0;
    struct hashed_file *files = files_to_read(s, claim, p, &n);
    snprintf(why, size, "out of memory");
    if (!files) return false;
    hash_files(files, n, p->goes_on, p->ctx);
    while (i < n && strcmp(files[i].sha256, files[i].wanted) == 0)
        i++;
    why[0] = '\0';
    if (i < n) snprintf(why, size, "%s is not what the worker's report says: its SHA-256 is another", files[i].name);
    forget_files(files, n);
    return i == n;
}

static enum store_result publish(struct scheduler *s, const struct publication *p, const json_t *staged, char *why,
                                 size_t size)
{
    if (!p->report) {
        snprintf(why, size, "the worker brought no report, or not all files that it names");
        return STORE_FAILED;
    }
    if (!staged && !is_as_reported(s, p->claim, p, why, size)) return STORE_FAILED;
    enum store_result result = publish_folder(s->store, s->settings.artifacts, p, staged, why, size);
    if (result != STORE_OK && result != STORE_CONFLICT && !*why) store_why(s->store, why, size);
    return result;
}

/* Of files that are in the bucket only the report came here. */
static json_t *report_of(const char *out, const json_t *staged)
{
    char path[4500];
    if (!staged) return read_report(out);
    snprintf(path, sizeof path, "%s/report.json", out);
    return run__load(path);
}

enum store_result remote_publish(struct scheduler *s, const struct store_claim *claim, const json_t *staged,
                                 bool (*goes_on)(void *ctx), void *ctx, char *why, size_t size)
{
    char out[4400], name[256], place[4400];
    bool cancel;
    why[0] = '\0';
    enum store_result result = store_task_done(s->store, claim);
    if (result == STORE_OK) scheduler_changed(s, claim->id);
    if (result != STORE_NOT_FOUND) return result;
    result = store_heartbeat(s->store, claim, &cancel);
    if (result == STORE_CONFLICT && store_claim_completed(s->store, claim)) return STORE_OK; /* asked again */
    if (result == STORE_OK && cancel) result = STORE_CONFLICT;
    if (result != STORE_OK) return result;
    json_t *request = store_request(s->store, claim->id);
    if (!request) return STORE_FAILED;
    attempt_folder(s, claim, out, sizeof out - 8);
    strcat(out, "/out");
    remote_place(s, claim, request, name, sizeof name);
    snprintf(place, sizeof place, "%s/%s", s->folder, name);
    if (!artifacts_are_far(s->settings.artifacts)) staged = NULL;
    struct publication p = {claim, request, report_of(out, staged), out, place, name, goes_on, ctx, false};
    result = publish(s, &p, staged, why, size);
    json_decref(p.report);
    json_decref(request);
    if (result != STORE_OK) return result;
    count(s, &s->state.completed);
    ended(s, claim->id);
    if (s->settings.on_work) s->settings.on_work(s->settings.work_ctx);
    return STORE_OK;
}

/* ---- housekeeping ---- */

static bool is_to_be_cancelled(void *ctx, const json_t *job)
{
    (void)ctx;
    return json_is_true(json_object_get(job, "cancel"));
}

void remote_tidy(struct scheduler *s)
{
    struct store_claim claim;
    enum store_result result;
    while ((result = store_claim_suited(s->store, "embedded tidying", s->settings.max_attempts, is_to_be_cancelled,
                                        NULL, &claim)) == STORE_OK) {
        if (store_cancelled(s->store, &claim) == STORE_OK) count(s, &s->state.cancelled);
        ended(s, claim.id);
    }
    forget(s->remote, NULL, steady_seconds() - 4.0 * store_lease(s->store));
}

bool remote_wants_work(struct scheduler *s, const char *id)
{
    return store_job_unfinished(s->store, id);
}

bool remote_task_named(const char *text, struct store_claim *claim)
{
    char *end;
    *claim = (struct store_claim){.attempt = 0};
    if (strspn(text, "0123456789abcdef") != STORE_ID_SIZE - 1 || text[STORE_ID_SIZE - 1] != '-') return false;
    snprintf(claim->id, sizeof claim->id, "%s", text);
    const char *number = text + STORE_ID_SIZE;
    claim->epoch = *number >= '1' && *number <= '9' ? strtoll(number, &end, 10) : 0;
    return claim->epoch > 0 && !*end && claim->epoch < INT64_MAX;
}
