#include "service/child/lend.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct lender {
    const struct lend_settings *settings;
    int sockets[2]; /* the lender's, the reader's */
    struct child_stop stop;
    pthread_t thread;
    child_line_fn on_line;
    child_error_fn on_error;
    void *ctx;
    pthread_mutex_t lock; /* for the rest */
    pthread_cond_t changed;
    bool ready, ended;
    char folder[4096]; /* of the model's small files */
    struct child_exit exit;
};

/* Lines go on until the reader starts: it reports its own from then on. */
static bool lender_line(void *ctx, json_t *value, const char *text)
{
    struct lender *l = ctx;
    const char *snapshot = json_string_value(json_object_get(value, "snapshot"));
    pthread_mutex_lock(&l->lock);
    bool silent = l->ready;
    if (snapshot && !silent) {
        l->ready = silent = true;
        snprintf(l->folder, sizeof l->folder, "%s", snapshot);
        pthread_cond_signal(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return silent || !l->on_line || l->on_line(l->ctx, value, text);
}

static void lender_error(void *ctx, const char *text)
{
    struct lender *l = ctx;
    pthread_mutex_lock(&l->lock);
    bool silent = l->ready;
    pthread_mutex_unlock(&l->lock);
    if (!silent && l->on_error) l->on_error(l->ctx, text);
}

static void run_lender(struct lender *l)
{
    const struct lend_settings *s = l->settings;
    const char *environment[80], *arguments[] = {"hub", "lend", "--json", "--", s->model, NULL};
    char socket[64];
    size_t n = 0;
    for (const char *const *e = s->hub_environment; e && *e && n < 78; e++)
        environment[n++] = *e;
    snprintf(socket, sizeof socket, "HALFTONE_HUB_SOCKET=%d", l->sockets[0]);
    environment[n++] = socket;
    environment[n] = NULL;
    struct child_settings settings = {.program = s->program,
                                      .arguments = arguments,
                                      .environment = environment,
                                      .network = true,
                                      .timeout_seconds = s->timeout_seconds,
                                      .keep_fd = s->keep_fd,
                                      .socket = l->sockets[0]};
    child_run(&settings, &l->stop, lender_line, lender_error, l, &l->exit);
}

static void *work(void *ctx)
{
    struct lender *l = ctx;
    run_lender(l);
    close(l->sockets[0]); /* a reader that still asks gets an error */
    pthread_mutex_lock(&l->lock);
    l->ended = true;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Until the lender has something to lend. The wish to stop comes without a signal to us: it is looked at. */
static bool wait_until_ready(struct lender *l, const struct child_settings *reader, struct child_stop *stop)
{
    pthread_mutex_lock(&l->lock);
    while (!l->ready && !l->ended) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 50000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&l->changed, &l->lock, &until);
        bool unwanted = reader->unwanted && reader->unwanted(reader->unwanted_ctx);
        if (unwanted || (stop && atomic_load(&stop->wished))) child_stop(&l->stop);
    }
    bool ready = l->ready;
    pthread_mutex_unlock(&l->lock);
    return ready;
}

static bool start(struct lender *l)
{
    pthread_condattr_t attributes;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, l->sockets) != 0) return false;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (child_stop_init(&l->stop) && pthread_create(&l->thread, NULL, work, l) == 0) return true;
    child_stop_free(&l->stop);
    close(l->sockets[0]);
    close(l->sockets[1]);
    return false;
}

static bool run_reader(struct lender *l, struct child_settings *settings, struct confined *confined,
                       struct child_stop *stop, struct child_exit *exit)
{
    char socket[64];
    const char *environment[] = {socket, NULL};
    snprintf(socket, sizeof socket, "HALFTONE_HUB_SOCKET=%d", l->sockets[1]);
    settings->environment = environment;
    settings->socket = l->sockets[1];
    confine_to_repository(settings, confined, l->folder);
    bool done = child_run(settings, stop, l->on_line, l->on_error, l->ctx, exit);
    settings->environment = NULL;
    return done;
}

bool lend_run(const struct lend_settings *lend, struct child_settings *settings, struct confined *confined,
              struct child_stop *stop, child_line_fn on_line, child_error_fn on_error, void *ctx,
              struct child_exit *exit)
{
    struct lender *l = calloc(1, sizeof *l);
    bool done = false;
    *exit = (struct child_exit){.end = CHILD_NOT_STARTED, .reason = "not enough memory, descriptors or threads"};
    if (l) {
        l->settings = lend;
        l->on_line = on_line;
        l->on_error = on_error;
        l->ctx = ctx;
    }
    if (l && start(l)) {
        bool ready = wait_until_ready(l, settings, stop);
        if (ready) done = run_reader(l, settings, confined, stop, exit);
        close(l->sockets[1]);
        child_stop(&l->stop);
        pthread_join(l->thread, NULL);
        if (!ready) *exit = l->exit;
        child_stop_free(&l->stop);
        pthread_cond_destroy(&l->changed);
        pthread_mutex_destroy(&l->lock);
    }
    free(l);
    return done;
}
