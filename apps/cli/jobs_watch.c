/* jobs watch: a job's progress until it ends, from the server's events. */
#include "jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct watch {
    struct remote *remote;
    const char *id;
    char *path; /* of the job */
    char status[24];
    int result;
    bool terminal, shown;
};

static bool is_end(const char *status)
{
    return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0;
}

/* A line that is rewritten. */
static void draw(struct watch *w, const json_t *job)
{
    enum { WIDTH = 24 };
    char bar[WIDTH * 4] = "", left[32] = "", line[400];
    const json_t *live = json_object_get(job, "live"), *seconds = json_object_get(live, "seconds_left");
    double progress = number_of(job, "progress");
    for (int i = 0; i < WIDTH; i++)
        strcat(bar, i < (int)(progress / 100 * WIDTH) ? "●" : "·");
    if (json_is_number(seconds) && json_number_value(seconds) >= 0) human_time(json_number_value(seconds), left);
    snprintf(line, sizeof line, "%s %5.1f %%  %.30s%s%s  %.40s", bar, progress, text_of(job, "current_step"),
             *left ? "  left " : "", left, text_of(live, "tensor"));
    fputs("\r\033[K", stdout);
    print_safe(line, 0);
    fflush(stdout);
    w->shown = true;
}

/* What a job says now. true: it ended. */
static bool tell(struct watch *w, const json_t *job)
{
    const char *status = text_of(job, "status");
    bool changed = strcmp(w->status, status) != 0;
    snprintf(w->status, sizeof w->status, "%s", status);
    if (w->remote->json)
        print_answer(json_incref((json_t *)job));
    else if (w->terminal)
        draw(w, job);
    else if (changed)
        printf("%s\n", w->status);
    fflush(stdout);
    if (!is_end(w->status)) return false;
    if (w->shown) printf("\r\033[K%s\n", w->status);
    w->result = strcmp(w->status, "completed") == 0 ? EXIT_DONE : EXIT_FAILED;
    if (*text_of(job, "error")) {
        fprintf(stderr, "halftone %s: ", w->remote->command->name);
        put_safe(stderr, text_of(job, "error"));
        fputs(*text_of(job, "error_advice") ? "\n  " : "", stderr);
        put_safe(stderr, text_of(job, "error_advice"));
        fputc('\n', stderr);
    }
    return true;
}

/* The state of the job: events from before the connection do not come. */
static bool ask(void *ctx)
{
    struct watch *w = ctx;
    json_t *job;
    w->result = remote_call(w->remote, "GET", w->path, NULL, &job);
    if (w->result != EXIT_DONE) return true;
    bool ended = tell(w, job);
    json_decref(job);
    return ended;
}

static bool hear(void *ctx, const char *kind, const char *data)
{
    struct watch *w = ctx;
    if (strcmp(kind, "resync") == 0) return ask(w);
    json_t *job = strcmp(kind, "job") == 0 || strcmp(kind, "removed") == 0
                      ? json_loads(data, JSON_REJECT_DUPLICATES, NULL)
                      : NULL;
    bool ended = false;
    if (strcmp(text_of(job, "id"), w->id) == 0) {
        if (strcmp(kind, "removed") == 0) {
            fprintf(stderr, "halftone %s: the job was deleted\n", w->remote->command->name);
            w->result = EXIT_FAILED;
            ended = true;
        } else {
            ended = tell(w, job);
        }
    }
    json_decref(job);
    return ended;
}

int watch_remote_job(struct remote *r, const char *id)
{
    struct watch w = {.remote = r, .id = id, .terminal = !r->json && isatty(STDOUT_FILENO)};
    char *events = remote_path(r, "/quantize/jobs/%s/events", id, NULL);
    w.path = remote_path(r, "/quantize/jobs/%s", id, NULL);
    int status = EXIT_RESOURCES;
    if (events && w.path && !ask(&w)) {
        status = remote_events(r, events, ask, hear, &w);
        if (status == EXIT_DONE) status = w.result;
    } else if (events && w.path) {
        status = w.result; /* it had ended, or there is none */
    }
    free(events);
    free(w.path);
    return status;
}

int jobs_watch(struct remote *r, int argc, char **argv)
{
    char id[33];
    (void)argc;
    int status = find_job(r, argv[1], id);
    return status == EXIT_DONE ? watch_remote_job(r, id) : status;
}
