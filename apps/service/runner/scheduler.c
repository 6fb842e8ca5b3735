/* The worker's threads, and what the rest of the server may ask of them. */
#include "service/artifacts/dir.h"
#include "service/runner/run.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CLAIM_SECONDS = 60 };

void scheduler__tell(struct scheduler *s, const char *level, const char *job_id, const char *text)
{
    if (s->settings.on_log) s->settings.on_log(s->settings.ctx, level, job_id, text);
}

static bool is_closing(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    bool closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return closing;
}

/* The store could not answer: try again in a second. */
static void wait_a_moment(struct scheduler *s, enum store_result result)
{
    char why[256];
    s->link->operations->why(s->link, why, sizeof why);
    scheduler__tell(s, "error", "", why[0] ? why : store_result_text(result));
    for (int i = 0; i < 10 && !is_closing(s); i++)
        nanosleep(&(struct timespec){0, 100000000}, NULL);
}

void scheduler__tell_job(struct scheduler *s, const char *id)
{
    json_t *brief = s->store ? store_job_brief(s->store, id) : NULL;
    if (!brief) return;
    scheduler_add_live(s, brief);
    events_publish(s->events, "job", id, brief);
    store_notify(s->store, "job", id);
}

static void *work(void *ctx)
{
    struct scheduler *s = ctx;
    struct store_claim claim;
    while (!is_closing(s)) {
        enum store_result result = s->link->operations->claim(s->link, CLAIM_SECONDS, &claim);
        if (result == STORE_OK)
            run__job(s, &claim);
        else if (result == STORE_CONFLICT)
            scheduler__tell_job(s, claim.id); /* its attempts are used up */
        else if (result != STORE_NOT_FOUND)
            wait_a_moment(s, result);
    }
    return NULL;
}

/* May the folder go? Work that no unfinished job needs may. Finished files only when their job is known and nothing
 * of them is in the registry: after an older database was put back, models that it does not know must stay. */
static bool is_left_over(struct scheduler *s, const char *name, const char *id, bool models, const char *only)
{
    if (only) return strcmp(id, only) == 0 && !(models && store_folder_used(s->store, name));
    if (models) return store_job_ended(s->store, id) && !store_folder_used(s->store, name);
    return !store_job_unfinished(s->store, id);
}

/* Folders that a crash left behind; with `only` an id, those of this job. */
static void sweep(struct scheduler *s, const char *inside, const char *only)
{
    char path[4400], name[300], id[STORE_ID_SIZE];
    bool models = strcmp(inside, "jobs") != 0;
    snprintf(path, sizeof path, "%s/%s", store_folder(s->store), inside);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", inside, e->d_name);
        if (!name_id(e->d_name, id) || !is_left_over(s, name, id, models, only)) continue;
        snprintf(path, sizeof path, "%s/%s", store_folder(s->store), name);
        dir_remove(path);
    }
    if (dir) closedir(dir);
}

static void free_scheduler(struct scheduler *s)
{
    if (s->link) s->link->operations->close(s->link);
    if (s->remote) remote__close(&s->remote);
    for (char **e = s->hub_environment; e && *e; e++)
        free(*e);
    free(s->hub_environment);
    free(s->program);
    free(s->threads);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool copy_settings(struct scheduler *s, const struct scheduler_settings *settings)
{
    size_t n = 0;
    s->settings = *settings;
    if (s->settings.parallel < 0) s->settings.parallel = 0;
    if (s->settings.max_attempts < 1) s->settings.max_attempts = 3;
    if (settings->program && !(s->program = strdup(settings->program))) return false;
    while (settings->hub_environment && settings->hub_environment[n])
        n++;
    s->hub_environment = calloc(n + 1, sizeof *s->hub_environment);
    for (size_t i = 0; s->hub_environment && i < n; i++)
        if (!(s->hub_environment[i] = strdup(settings->hub_environment[i]))) return false;
    s->threads = calloc((size_t)s->settings.parallel + 1, sizeof *s->threads);
    return s->hub_environment && s->threads;
}

static struct scheduler *new_scheduler(const struct scheduler_settings *settings, const char *folder)
{
    struct scheduler *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    pthread_mutex_init(&s->lock, NULL);
    snprintf(s->folder, sizeof s->folder, "%s", folder);
    if (copy_settings(s, settings)) return s;
    free_scheduler(s);
    return NULL;
}

static bool start(struct scheduler *s, struct scheduler **scheduler, char *why, size_t size)
{
    for (; s->n_threads < s->settings.parallel; s->n_threads++)
        if (pthread_create(&s->threads[s->n_threads], NULL, work, s) != 0) break;
    s->state.workers = s->n_threads;
    *scheduler = s;
    if (s->n_threads > 0 || s->settings.parallel == 0) return true;
    snprintf(why, size, "no thread can be started");
    scheduler_close(scheduler);
    return false;
}

/* What another service on the same database did. A job that waits there may be done here; one that has ended is no more
 * waited for by who listens here. */
static void hear(void *ctx, const char *kind, const char *id)
{
    struct scheduler *s = ctx;
    json_t *brief = strcmp(kind, "job") == 0 ? store_job_brief(s->store, id) : NULL;
    if (brief)
        events_publish(s->events, "job", id, brief);
    else if (strcmp(kind, "removed") == 0)
        events_publish(s->events, "removed", id, json_pack("{s:s}", "id", id));
    else if (strcmp(kind, "resync") == 0)
        events_publish(s->events, "resync", NULL, NULL);
    s->link->operations->ring(s->link, id);
    if (s->settings.on_work) s->settings.on_work(s->settings.work_ctx);
}

bool scheduler_open(struct store *store, struct events *events, const struct scheduler_settings *settings,
                    struct scheduler **scheduler, char *why, size_t size)
{
    struct scheduler *s = new_scheduler(settings, store_folder(store));
    *scheduler = NULL;
    snprintf(why, size, "out of memory");
    if (!s) return false;
    s->store = store;
    s->events = events;
    s->link = link_here(store, s->settings.artifacts, events, s->settings.max_attempts);
    s->remote = remote__open();
    if (!s->link || !s->remote) {
        free_scheduler(s);
        return false;
    }
    sweep(s, "jobs", NULL);
    sweep(s, "models", NULL);
    sweep(s, "objects", NULL);
    if (!start(s, scheduler, why, size)) return false;
    run__sweep_bucket(s);
    if (store_listen(store, hear, s)) return true;
    scheduler_close(scheduler);
    return false;
}

bool scheduler_open_elsewhere(struct worker_link *link, const char *folder, const struct scheduler_settings *settings,
                              struct scheduler **scheduler, char *why, size_t size)
{
    struct scheduler *s = new_scheduler(settings, folder);
    *scheduler = NULL;
    snprintf(why, size, "out of memory");
    if (!s) {
        link->operations->close(link);
        return false;
    }
    s->link = link;
    return start(s, scheduler, why, size);
}

void scheduler_close(struct scheduler **scheduler)
{
    struct scheduler *s = *scheduler;
    *scheduler = NULL;
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    for (struct run *run = s->runs; run; run = run->next) {
        pthread_mutex_lock(&run->lock_live);
        run->suspended = true;
        pthread_mutex_unlock(&run->lock_live);
        child_kill(&run->stop);
    }
    pthread_mutex_unlock(&s->lock);
    s->link->operations->stop(s->link);
    for (int i = 0; i < s->n_threads; i++)
        pthread_join(s->threads[i], NULL);
    run__sweep_end(s);
    if (s->store) store_listen_end(s->store);
    free_scheduler(s);
}

void scheduler_changed(struct scheduler *s, const char *id)
{
    scheduler__tell_job(s, id);
    s->link->operations->ring(s->link, id);
    if (s->settings.on_work) s->settings.on_work(s->settings.work_ctx);
}

/* What an unfinished job left: its work, and a published folder that was never recorded. */
void scheduler__remove_remains(struct scheduler *s, const char *id)
{
    sweep(s, "jobs", id);
    sweep(s, "models", id);
    sweep(s, "objects", id);
}

enum store_result scheduler_cancel(struct scheduler *s, const char *id)
{
    bool runs_here = false;
    enum store_result result = store_cancel(s->store, id);
    if (result == STORE_NOT_FOUND || result == STORE_CONFLICT) return result;
    pthread_mutex_lock(&s->lock);
    for (struct run *run = s->runs; run; run = run->next) {
        if (strcmp(run->claim.id, id) != 0) continue;
        runs_here = true;
        pthread_mutex_lock(&run->lock_live);
        run->cancel = true;
        if (run->brief) json_object_set_new(run->brief, "current_step", json_string("cancelling"));
        pthread_mutex_unlock(&run->lock_live);
        child_stop(&run->stop);
    }
    pthread_mutex_unlock(&s->lock);
    if (result != STORE_OK && !runs_here) return result;
    /* one that runs here is stopped whether or not the wish can be written just now: that gives room back */
    if (!store_job_unfinished(s->store, id)) scheduler__remove_remains(s, id); /* of an earlier attempt, or of parts */
    if (!runs_here) remote__cancelling(s->remote, id);
    scheduler__tell_job(s, id);
    return STORE_OK;
}

enum store_result scheduler_delete(struct scheduler *s, const char *id)
{
    enum store_result result = store_delete(s->store, id);
    if (result != STORE_OK) return result;
    scheduler__remove_remains(s, id);
    store_notify(s->store, "removed", id);
    events_publish(s->events, "removed", id, json_pack("{s:s}", "id", id));
    return STORE_OK;
}

/* A job that has ended in the store is what the store says, though its run may not have put everything away yet. */
static bool has_ended(const json_t *job)
{
    const char *status = json_string_value(json_object_get(job, "status"));
    return status &&
           (strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0);
}

static void add_live(struct scheduler *s, json_t *job)
{
    const char *id = json_string_value(json_object_get(job, "id"));
    if (has_ended(job)) return;
    for (struct run *run = s->runs; run && id; run = run->next)
        if (strcmp(run->claim.id, id) == 0) run__add_live(run, job);
    if (s->remote && id) remote__add_live(s->remote, job);
}

void scheduler_add_live(struct scheduler *s, json_t *what)
{
    json_t *job;
    size_t i;
    pthread_mutex_lock(&s->lock);
    if (json_is_array(what))
        json_array_foreach(what, i, job)
            add_live(s, job);
    else
        add_live(s, what);
    pthread_mutex_unlock(&s->lock);
}

void scheduler_state(struct scheduler *s, struct scheduler_state *state)
{
    pthread_mutex_lock(&s->lock);
    *state = s->state;
    pthread_mutex_unlock(&s->lock);
}
