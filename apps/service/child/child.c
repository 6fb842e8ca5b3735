/* Following a child: its lines, its limits, its end. */
#include "service/child/start.h"
#include "service/system/steady.h"

#include <halftone/halftone.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASK_SECONDS 0.25  /* between questions whether the child is still wanted */
#define GRACE_SECONDS 1.5 /* from SIGINT to SIGKILL */
enum { ERROR_LINE = 1000, CHUNK = 65536 };

struct run {
    const struct child_settings *settings;
    struct child_stop *stop;
    child_line_fn on_line;
    child_error_fn on_error;
    void *ctx;
    struct child_exit *exit;
    struct child_process p;
    char *line; /* of stdout, unfinished */
    size_t len, room, output;
    char error_line[ERROR_LINE];
    size_t error_len;
    double start, kill_at; /* kill_at: 0 not yet */
    int status;
    bool ended, cut; /* waited for; cut: end is decided (stopped, timed out, babbled) */
};

bool child_stop_init(struct child_stop *stop)
{
    atomic_init(&stop->wished, 0);
    stop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return stop->wake >= 0;
}

void child_stop_free(struct child_stop *stop)
{
    if (stop->wake >= 0) close(stop->wake);
    stop->wake = -1;
}

static void wish(struct child_stop *stop, int level)
{
    int now = atomic_load(&stop->wished);
    while (now < level && !atomic_compare_exchange_weak(&stop->wished, &now, level))
        ;
    ssize_t told = write(stop->wake, &(uint64_t){1}, sizeof(uint64_t)); /* full: it is awake */
    (void)told;
}

void child_stop(struct child_stop *stop)
{
    wish(stop, 1);
}

void child_kill(struct child_stop *stop)
{
    wish(stop, 2);
}

/* Signals go to the group: whatever the child started ends too. */
static void signal_all(struct run *r, int number)
{
    if (!r->ended) kill(-r->p.pid, number);
}

static void decide(struct run *r, enum child_end end)
{
    if (r->cut) return;
    r->cut = true;
    r->exit->end = end;
}

static void interrupt(struct run *r, enum child_end end)
{
    decide(r, end);
    if (r->kill_at > 0) return;
    signal_all(r, SIGINT);
    r->kill_at = steady_seconds() + GRACE_SECONDS;
}

static void kill_now(struct run *r, enum child_end end)
{
    decide(r, end);
    signal_all(r, SIGKILL);
    r->kill_at = 1e300;
}

static void take_line(struct run *r, char *line, size_t len)
{
    json_t *value = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    line[len] = '\0'; /* where the newline was */
    bool go_on = !r->on_line || r->on_line(r->ctx, value, value ? NULL : line);
    json_decref(value);
    if (!go_on) interrupt(r, CHILD_STOPPED);
}

static void take_lines(struct run *r)
{
    char *start = r->line, *end;
    size_t left = r->len;
    while (!r->cut && (end = memchr(start, '\n', left)) != NULL) {
        take_line(r, start, (size_t)(end - start));
        left -= (size_t)(end + 1 - start);
        start = end + 1;
    }
    memmove(r->line, start, left);
    r->len = left;
}

/* Room for another chunk and a final zero. */
static bool make_room(struct run *r)
{
    if (r->room - r->len > CHUNK) return true;
    size_t room = r->room ? r->room * 2 : 2 * CHUNK;
    char *line = realloc(r->line, room);
    if (!line) return false;
    r->line = line;
    r->room = room;
    return true;
}

/* False: the pipe has ended. */
static bool read_out(struct run *r)
{
    const struct child_settings *s = r->settings;
    size_t max_line = s->max_line ? s->max_line : (size_t)16 << 20,
           max = s->max_output ? s->max_output : (size_t)64 << 20;
    if (!make_room(r)) {
        kill_now(r, CHILD_BABBLED);
        return false;
    }
    ssize_t n = read(r->p.out, r->line + r->len, CHUNK);
    if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR);
    bool line_ended = memchr(r->line + r->len, '\n', (size_t)n) != NULL;
    r->len += (size_t)n;
    r->output += (size_t)n;
    if (r->cut)
        r->len = 0;
    else if (line_ended)
        take_lines(r);
    if (!r->cut && (r->len > max_line || r->output > max)) kill_now(r, CHILD_BABBLED);
    return true;
}

/* The end of what it said, in whole lines. */
static void keep_error(struct child_exit *exit, const char *line)
{
    size_t len = strlen(line), have = strlen(exit->error_text), room = sizeof exit->error_text - 1;
    while (have && have + len + 1 > room) {
        char *next = strchr(exit->error_text, '\n');
        size_t drop = next ? (size_t)(next + 1 - exit->error_text) : have;
        memmove(exit->error_text, exit->error_text + drop, have - drop + 1);
        have -= drop;
    }
    snprintf(exit->error_text + have, sizeof exit->error_text - have, "%s%s", have ? "\n" : "", line);
}

static void end_error_line(struct run *r)
{
    r->error_line[r->error_len] = '\0';
    if (r->error_len) {
        char shown[ERROR_LINE];
        ht_text_escape(r->error_line, r->error_len, shown, sizeof shown); /* it goes to logs and terminals */
        keep_error(r->exit, shown);
        if (r->on_error) r->on_error(r->ctx, shown);
    }
    r->error_len = 0;
}

static bool read_error(struct run *r)
{
    char chunk[4096];
    ssize_t n = read(r->p.error, chunk, sizeof chunk);
    if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR);
    for (ssize_t i = 0; i < n; i++) {
        if (chunk[i] == '\n' || chunk[i] == '\0')
            end_error_line(r);
        else if (r->error_len < ERROR_LINE - 1)
            r->error_line[r->error_len++] = chunk[i]; /* the rest of a long line goes */
    }
    return true;
}

static void heed_wish(struct run *r)
{
    int wished = r->stop ? atomic_load(&r->stop->wished) : 0;
    if (wished == 2 && r->kill_at < 1e300) kill_now(r, CHILD_STOPPED);
    if (wished == 1 || (!r->cut && r->settings->unwanted && r->settings->unwanted(r->settings->unwanted_ctx)))
        interrupt(r, CHILD_STOPPED);
}

/* Milliseconds until something has to be done by the clock. Without a pidfd the end has to be looked for. */
static int patience(struct run *r)
{
    double now = steady_seconds(), until = now + 60;
    if (r->settings->timeout_seconds > 0 && r->kill_at <= 0) until = r->start + r->settings->timeout_seconds;
    if (r->kill_at > 0 && r->kill_at < until) until = r->kill_at;
    if (r->settings->unwanted && until > now + ASK_SECONDS) until = now + ASK_SECONDS;
    if (r->p.pid_fd < 0 && until > now + 0.05) until = now + 0.05;
    return until <= now ? 0 : until > now + 60 ? 60000 : (int)((until - now) * 1000) + 1;
}

static void heed_clock(struct run *r)
{
    double now = steady_seconds(), timeout = r->settings->timeout_seconds;
    if (r->kill_at > 0 && now >= r->kill_at) kill_now(r, CHILD_STOPPED);
    if (r->kill_at <= 0 && timeout > 0 && now >= r->start + timeout) interrupt(r, CHILD_TIMED_OUT);
}

static void look_for_end(struct run *r)
{
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_PID, (id_t)r->p.pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    kill(-r->p.pid, SIGKILL); /* what it may have left behind: while it is unreaped, nobody else has its number */
    while (waitpid(r->p.pid, &r->status, 0) < 0 && errno == EINTR)
        ;
    r->ended = true;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void follow(struct run *r)
{
    while (!r->ended) {
        struct pollfd fds[] = {{r->p.out, POLLIN, 0},
                               {r->p.error, POLLIN, 0},
                               {r->p.pid_fd, POLLIN, 0},
                               {r->stop ? r->stop->wake : -1, POLLIN, 0}};
        heed_wish(r);
        poll(fds, 4, patience(r));
        uint64_t count;
        if (fds[3].revents && read(r->stop->wake, &count, sizeof count) < 0) continue;
        if (fds[0].revents && !read_out(r)) close_fd(&r->p.out);
        if (fds[1].revents && !read_error(r)) close_fd(&r->p.error);
        heed_clock(r);
        look_for_end(r);
    }
}

/* What it wrote before it ended is still in the pipes. One that somebody else holds open is left. */
static void drain(struct run *r)
{
    struct pollfd out = {r->p.out, POLLIN, 0}, error = {r->p.error, POLLIN, 0};
    while (r->p.out >= 0 && poll(&out, 1, 0) > 0 && read_out(r))
        ;
    while (r->p.error >= 0 && poll(&error, 1, 0) > 0 && read_error(r))
        ;
    end_error_line(r);
    if (r->len && !r->cut) take_line(r, r->line, r->len); /* the last line lacks its newline */
}

static void explain(struct run *r)
{
    struct child_exit *e = r->exit;
    bool signalled = WIFSIGNALED(r->status);
    e->code = signalled ? WTERMSIG(r->status) : WEXITSTATUS(r->status);
    if (!r->cut) e->end = signalled ? CHILD_KILLED : CHILD_EXITED;
    switch (e->end) {
    case CHILD_STOPPED: snprintf(e->reason, sizeof e->reason, "stopped"); break;
    case CHILD_TIMED_OUT:
        snprintf(e->reason, sizeof e->reason, "stopped after %.0f s without an end", r->settings->timeout_seconds);
        break;
    case CHILD_BABBLED: snprintf(e->reason, sizeof e->reason, "stopped: it wrote more than it may"); break;
    case CHILD_KILLED:
        snprintf(e->reason, sizeof e->reason, "killed by signal %d (%s)", e->code,
                 e->code == SIGKILL ? "out of memory?" : strsignal(e->code));
        break;
    default:
        if (e->code) snprintf(e->reason, sizeof e->reason, "ended with status %d", e->code);
    }
}

bool child_run(const struct child_settings *settings, struct child_stop *stop, child_line_fn on_line,
               child_error_fn on_error, void *ctx, struct child_exit *exit)
{
    struct run r = {.settings = settings,
                    .stop = stop,
                    .on_line = on_line,
                    .on_error = on_error,
                    .ctx = ctx,
                    .exit = exit,
                    .start = steady_seconds()};
    *exit = (struct child_exit){.end = CHILD_NOT_STARTED};
    if ((stop && atomic_load(&stop->wished)) || (settings->unwanted && settings->unwanted(settings->unwanted_ctx))) {
        exit->end = CHILD_STOPPED;
        snprintf(exit->reason, sizeof exit->reason, "stopped before it started");
        return false;
    }
    if (!child__start(settings, &r.p, exit->reason, sizeof exit->reason)) return false;
    follow(&r);
    drain(&r);
    explain(&r);
    exit->seconds = steady_seconds() - r.start;
    close_fd(&r.p.out);
    close_fd(&r.p.error);
    close_fd(&r.p.pid_fd);
    free(r.line);
    return exit->end == CHILD_EXITED && exit->code == 0;
}

/* The last value that was a line; and all of the text, for documents over several lines. */
struct last {
    json_t *value;
    char *text;
    size_t len;
};

static bool keep_last(void *ctx, json_t *value, const char *text)
{
    struct last *l = ctx;
    if (value) {
        json_decref(l->value);
        l->value = json_incref(value);
        return true;
    }
    size_t len = strlen(text);
    char *grown = realloc(l->text, l->len + len + 2);
    if (!grown) return false;
    l->text = grown;
    memcpy(grown + l->len, text, len);
    l->len += len;
    grown[l->len++] = '\n';
    return true;
}

json_t *child_json(const struct child_settings *settings, struct child_stop *stop, struct child_exit *exit)
{
    struct last l = {0};
    bool done = child_run(settings, stop, keep_last, NULL, &l, exit);
    json_t *whole = done && l.text ? json_loadb(l.text, l.len, 0, NULL) : NULL;
    json_t *result = whole ? whole : json_incref(l.value);
    json_decref(l.value);
    free(l.text);
    if (done && result) return result;
    if (done) snprintf(exit->reason, sizeof exit->reason, "it answered nothing");
    json_decref(result);
    return NULL;
}
