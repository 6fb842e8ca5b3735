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
    store_why(s->store, why, sizeof why);
    scheduler__tell(s, "error", "", why[0] ? why : store_result_text(result));
    for (int i = 0; i < 10 && !is_closing(s); i++)
        nanosleep(&(struct timespec){0, 100000000}, NULL);
}

static void tell_job(struct scheduler *s, const char *id)
{
    json_t *brief = store_job_brief(s->store, id);
    if (!brief) return;
    scheduler_add_live(s, brief);
    events_publish(s->events, "job", id, brief);
}

static void *work(void *ctx)
{
    struct scheduler *s = ctx;
    struct store_claim claim;
    while (!is_closing(s)) {
        enum store_result result = queue_claim(s->queue, "embedded", CLAIM_SECONDS, &claim);
        if (result == STORE_OK)
            run__job(s, &claim);
        else if (result == STORE_CONFLICT)
            tell_job(s, claim.id); /* its attempts are used up */
        else if (result != STORE_NOT_FOUND)
            wait_a_moment(s, result);
    }
    return NULL;
}

/* A name that ends with an id, with that id; or NULL. */
static const char *id_at_end(const char *name)
{
    size_t n = strlen(name);
    const char *id = n >= 32 ? name + n - 32 : NULL;
    return id && strspn(id, "0123456789abcdef") == 32 && (id == name || id[-1] == '-') ? id : NULL;
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
    char path[4400], name[300];
    bool models = strcmp(inside, "models") == 0;
    snprintf(path, sizeof path, "%s/%s", store_folder(s->store), inside);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        const char *id = id_at_end(e->d_name);
        snprintf(name, sizeof name, "%s/%s", inside, e->d_name);
        if (!id || !is_left_over(s, name, id, models, only)) continue;
        snprintf(path, sizeof path, "%s/%s", store_folder(s->store), name);
        dir_remove(path);
    }
    if (dir) closedir(dir);
}

static void free_scheduler(struct scheduler *s)
{
    queue_close(&s->queue);
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
    if (s->settings.parallel < 1) s->settings.parallel = 1;
    if (s->settings.max_attempts < 1) s->settings.max_attempts = 3;
    if (settings->program && !(s->program = strdup(settings->program))) return false;
    while (settings->hub_environment && settings->hub_environment[n])
        n++;
    s->hub_environment = calloc(n + 1, sizeof *s->hub_environment);
    for (size_t i = 0; s->hub_environment && i < n; i++)
        if (!(s->hub_environment[i] = strdup(settings->hub_environment[i]))) return false;
    s->threads = calloc((size_t)s->settings.parallel, sizeof *s->threads);
    s->queue = queue_embedded(s->store, s->settings.max_attempts, QUEUE_LOOK_SECONDS);
    return s->hub_environment && s->threads && s->queue;
}

bool scheduler_open(struct store *store, struct events *events, const struct scheduler_settings *settings,
                    struct scheduler **scheduler, char *why, size_t size)
{
    struct scheduler *s = calloc(1, sizeof *s);
    *scheduler = NULL;
    snprintf(why, size, "out of memory");
    if (!s) return false;
    pthread_mutex_init(&s->lock, NULL);
    s->store = store;
    s->events = events;
    if (!copy_settings(s, settings)) {
        free_scheduler(s);
        return false;
    }
    sweep(s, "jobs", NULL);
    sweep(s, "models", NULL);
    for (; s->n_threads < s->settings.parallel; s->n_threads++)
        if (pthread_create(&s->threads[s->n_threads], NULL, work, s) != 0) break;
    s->state.workers = s->n_threads;
    *scheduler = s;
    if (s->n_threads > 0) return true;
    snprintf(why, size, "no thread can be started");
    scheduler_close(scheduler);
    return false;
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
    queue_stop(s->queue);
    for (int i = 0; i < s->n_threads; i++)
        pthread_join(s->threads[i], NULL);
    free_scheduler(s);
}

void scheduler_changed(struct scheduler *s, const char *id)
{
    tell_job(s, id);
    queue_push(s->queue, id);
}

/* What an unfinished job left: its work, and a published folder that was never recorded. */
static void remove_remains(struct scheduler *s, const char *id)
{
    sweep(s, "jobs", id);
    sweep(s, "models", id);
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
    if (!runs_here && !store_job_unfinished(s->store, id)) remove_remains(s, id); /* of an earlier attempt */
    tell_job(s, id);
    return STORE_OK;
}

enum store_result scheduler_delete(struct scheduler *s, const char *id)
{
    enum store_result result = store_delete(s->store, id);
    if (result != STORE_OK) return result;
    remove_remains(s, id);
    events_publish(s->events, "removed", id, json_pack("{s:s}", "id", id));
    return STORE_OK;
}

static void add_live(struct scheduler *s, json_t *job)
{
    const char *id = json_string_value(json_object_get(job, "id"));
    for (struct run *run = s->runs; run && id; run = run->next)
        if (strcmp(run->claim.id, id) == 0) run__add_live(run, job);
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
