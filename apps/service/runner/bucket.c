/* What crashes left in the bucket, at the start and in a thread of its own: folders of attempts that nobody recorded, and
 * uploads that nobody will complete. */
#include "service/artifacts/artifacts.h"
#include "service/runner/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool goes_on(void *ctx)
{
    struct scheduler *s = ctx;
    pthread_mutex_lock(&s->lock);
    bool closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return !closing;
}

struct sweep {
    struct scheduler *s;
    json_t *known; /* {folder: nobody needs it} */
};

static bool note(void *ctx, const char *name, uint64_t size)
{
    struct sweep *sweep = ctx;
    char folder[300], id[STORE_ID_SIZE];
    (void)size;
    if (!name_folder(name, folder, id) || json_object_get(sweep->known, folder)) return true;
    /* of a job that is not known (an older database was put back) everything stays */
    bool unneeded = store_job_ended(sweep->s->store, id) && !store_folder_used(sweep->s->store, folder);
    json_object_set_new(sweep->known, folder, json_boolean(unneeded));
    return goes_on(sweep->s);
}

static bool is_stale(void *ctx, const char *name)
{
    struct scheduler *s = ctx;
    char folder[300], id[STORE_ID_SIZE];
    return name_folder(name, folder, id) && !store_job_unfinished(s->store, id);
}

static void *sweep_bucket(void *ctx)
{
    struct scheduler *s = ctx;
    struct artifacts *a = s->settings.artifacts;
    struct artifacts_call call = {.goes_on = goes_on, .ctx = s};
    struct sweep sweep = {s, json_object()};
    const char *folder;
    json_t *unneeded;
    enum artifacts_result result = artifacts_list(a, "objects/", note, &sweep, &call);
    json_object_foreach(sweep.known, folder, unneeded)
        if (result == ARTIFACTS_OK && json_is_true(unneeded)) result = artifacts_remove(a, folder, &call);
    if (result == ARTIFACTS_OK) result = artifacts_end_stale(a, "objects/", is_stale, s, &call);
    if (result == ARTIFACTS_FAILED || result == ARTIFACTS_MISSING) scheduler__tell(s, "warning", "", call.why);
    json_decref(sweep.known);
    return NULL;
}

void run__sweep_bucket(struct scheduler *s)
{
    if (artifacts_are_far(s->settings.artifacts)) s->sweeping = pthread_create(&s->sweeper, NULL, sweep_bucket, s) == 0;
}

void run__sweep_end(struct scheduler *s)
{
    if (s->sweeping) pthread_join(s->sweeper, NULL);
    s->sweeping = false;
}
