/*
 * Store, events and scheduler without HTTP, driven by JSON lines: worker DATA PROGRAM [PARALLEL [ATTEMPTS
 * [HUB-VARIABLE…]]].
 * {"do": "submit", "request": {…}, "key": …}, {"do": "job", "id": …} and so on; each is answered by one line
 * {"answer": …}. Events are lines {"event": …} in between. End of input: closes properly.
 */
#include "service/runner/runner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct worker {
    struct store *store;
    struct events *events;
    struct scheduler *scheduler;
};

static void put(json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    flockfile(stdout);
    puts(text ? text : "null");
    fflush(stdout);
    funlockfile(stdout);
    free(text);
    json_decref(line);
}

static void on_event(void *ctx, const struct event *event)
{
    (void)ctx;
    put(json_pack("{s:s, s:I, s:o}", "event", event->kind, "id", (json_int_t)event->id, "data",
                  json_loads(event->data, 0, NULL)));
}

static void on_log(void *ctx, const char *level, const char *job_id, const char *text)
{
    (void)ctx;
    fprintf(stderr, "%s %s %s\n", level, job_id, text);
}

static json_t *submit(struct worker *w, const json_t *command)
{
    const json_t *request = json_object_get(command, "request");
    char ids[1][STORE_ID_SIZE];
    bool replayed;
    enum store_result result =
        store_submit(w->store, &request, 1, NULL, json_string_value(json_object_get(command, "key")),
                     json_string_value(json_object_get(command, "hash")), 0, ids, &replayed);
    if (result != STORE_OK) return json_string(store_result_text(result));
    scheduler_changed(w->scheduler, ids[0]);
    return json_pack("{s:s, s:b}", "id", ids[0], "replayed", replayed);
}

static json_t *list(struct worker *w, const json_t *command)
{
    enum store_result result;
    struct job_filter filter = {.status = json_string_value(json_object_get(command, "status")), .limit = 200};
    json_t *jobs = store_jobs(w->store, &filter, &result);
    scheduler_add_live(w->scheduler, json_object_get(jobs, "jobs"));
    return jobs;
}

static json_t *models(struct worker *w)
{
    enum store_result result;
    return store_models(w->store, &(struct model_filter){.limit = 200}, &result);
}

static json_t *file(struct worker *w, const char *id, const char *name)
{
    struct store_file f;
    enum store_result result = store_output_file(w->store, id, name, &f);
    if (result != STORE_OK) return json_string(store_result_text(result));
    return json_pack("{s:s, s:s, s:I, s:s}", "path", f.path, "name", f.name, "size", (json_int_t)f.size, "sha256",
                     f.sha256);
}

static json_t *state(struct worker *w)
{
    struct scheduler_state s;
    scheduler_state(w->scheduler, &s);
    return json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I}", "workers", s.workers, "busy", s.busy, "claimed",
                     (json_int_t)s.claimed, "completed", (json_int_t)s.completed, "failed", (json_int_t)s.failed,
                     "cancelled", (json_int_t)s.cancelled, "fenced", (json_int_t)s.fenced);
}

static json_t *obey(struct worker *w, const json_t *command)
{
    const char *what = json_string_value(json_object_get(command, "do")),
               *id = json_string_value(json_object_get(command, "id"));
    if (strcmp(what, "submit") == 0) return submit(w, command);
    if (strcmp(what, "jobs") == 0) return list(w, command);
    if (strcmp(what, "models") == 0) return models(w);
    if (strcmp(what, "state") == 0) return state(w);
    if (!id) return json_string("what?");
    if (strcmp(what, "job") == 0) {
        json_t *job = store_job(w->store, id);
        scheduler_add_live(w->scheduler, job);
        return job;
    }
    if (strcmp(what, "file") == 0) return file(w, id, json_string_value(json_object_get(command, "name")));
    if (strcmp(what, "log") == 0) return store_log(w->store, id, 0, 0);
    enum store_result result = strcmp(what, "cancel") == 0   ? scheduler_cancel(w->scheduler, id)
                               : strcmp(what, "delete") == 0 ? scheduler_delete(w->scheduler, id)
                               : strcmp(what, "retry") == 0  ? store_retry(w->store, id)
                               : strcmp(what, "forget") == 0 ? store_model_delete(w->store, id)
                                                             : STORE_FAILED;
    if (strcmp(what, "retry") == 0) scheduler_changed(w->scheduler, id);
    return json_string(store_result_text(result));
}

static void serve(struct worker *w)
{
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        json_t *command = json_loads(line, 0, NULL), *answer = command ? obey(w, command) : NULL;
        put(json_pack("{s:o}", "answer", answer ? answer : json_null()));
        json_decref(command);
    }
    free(line);
}

int main(int argc, char **argv)
{
    struct worker w;
    char why[400];
    if (argc < 3) return 2;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    char *everywhere[] = {(char *)"/"}; /* models lie anywhere here */
    struct settings_list folders = {everywhere, 1};
    struct roots *roots;
    if (!roots_open(&folders, &roots, why, sizeof why)) return 1;
    struct scheduler_settings settings = {.program = argv[2],
                                          .roots = roots,
                                          .parallel = argc > 3 ? atoi(argv[3]) : 1,
                                          .memory_limit =
                                              getenv("WORKER_MEMORY") ? strtoull(getenv("WORKER_MEMORY"), NULL, 10) : 0,
                                          .max_attempts = argc > 4 ? atoi(argv[4]) : 3,
                                          .on_log = on_log,
                                          .hub_environment = argc > 5 ? (const char *const *)argv + 5 : NULL};
    if (!store_open(argv[1], &w.store, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    w.events = events_open(w.store);
    struct events_subscription *subscription = w.events ? events_subscribe(w.events, NULL, 0, on_event, NULL) : NULL;
    if (!subscription || !scheduler_open(w.store, w.events, &settings, &w.scheduler, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    put(json_pack("{s:s}", "answer", "ready"));
    serve(&w);
    scheduler_close(&w.scheduler);
    events_unsubscribe(w.events, subscription);
    events_close(&w.events);
    store_close(&w.store);
    roots_close(&roots);
    return 0;
}
