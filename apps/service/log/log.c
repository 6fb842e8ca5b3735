/*
 * Whoever logs puts a line into a ring and goes on; one thread writes the ring out. A pipe that nobody drains thus
 * costs lines, never a request: what finds the ring full is counted, and the count is logged when there is room again.
 */
#include "service/log/log.h"

#include "service/system/steady.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A pipe that poll calls writable takes PIPE_BUF bytes without waiting. */
enum { RING = 1 << 20, CHUNK = PIPE_BUF, POLL_MS = 200, PATIENCE_SECONDS = 1, LONGEST_CLOSE_SECONDS = 5 };

struct log {
    int fd;
    enum log_level least;
    pthread_t thread;
    pthread_mutex_t lock; /* owns the rest */
    pthread_cond_t wake;  /* a line came, or the log closes */
    pthread_cond_t moved; /* something was written, or the writer ended */
    char *ring;
    size_t first, n;
    uint64_t dropped, told; /* lines lost since the start; of them already logged */
    uint64_t written;       /* bytes */
    bool held;              /* until the service has said where it listens */
    bool closing, given_up, ended;
};

static const char *const level_names[] = {"debug", "info", "warning", "error", "info"};

bool log_wants(const struct log *log, enum log_level level)
{
    return log && level >= log->least;
}

bool log_level_named(const char *name, enum log_level *level)
{
    for (int i = 0; i < LOG_LEVEL_ALWAYS; i++)
        if (strcmp(level_names[i], name) == 0) return *level = (enum log_level)i, true;
    return false;
}

void log_time(char text[32])
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(text, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + n, 32 - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

/* -- The ring. -- */

static void put(struct log *log, enum log_level level, const char *line, size_t len)
{
    pthread_mutex_lock(&log->lock);
    if (len > RING - log->n) {
        log->dropped++;
    } else {
        bool in_front = log->held && level == LOG_LEVEL_ALWAYS;
        if (in_front) log->first = (log->first + RING - len) % RING;
        size_t at = (log->first + (in_front ? 0 : log->n)) % RING, head = len < RING - at ? len : RING - at;
        memcpy(log->ring + at, line, head);
        memcpy(log->ring, line + head, len - head);
        log->n += len;
        pthread_cond_signal(&log->wake);
    }
    pthread_mutex_unlock(&log->lock);
}

static size_t peek(const struct log *log, char chunk[CHUNK])
{
    size_t n = log->n < CHUNK ? log->n : CHUNK, head = n < RING - log->first ? n : RING - log->first;
    memcpy(chunk, log->ring + log->first, head);
    memcpy(chunk + head, log->ring, n - head);
    return n;
}

static uint64_t lines_in(const char *chunk, size_t n)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += chunk[i] == '\n';
    return lines;
}

/* -- The writer. -- */

/* Bytes that were written; 0: no room yet; -1: they cannot be written. */
static ssize_t try_write(int fd, const char *chunk, size_t n)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int ready = poll(&p, 1, POLL_MS);
    if (ready == 0 || (ready < 0 && errno == EINTR)) return 0;
    ssize_t wrote = write(fd, chunk, n);
    return wrote < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : wrote;
}

/* The line that says how many were lost, in place of a chunk of the ring. */
static size_t confess(const struct log *log, char chunk[CHUNK])
{
    char time[32];
    log_time(time);
    int n =
        snprintf(chunk, CHUNK,
                 "{\"time\":\"%s\",\"level\":\"warning\",\"event\":\"log_dropped\",\"lines\":%llu,\"total\":%llu}\n",
                 time, (unsigned long long)(log->dropped - log->told), (unsigned long long)log->dropped);
    return (size_t)n;
}

static void advance(struct log *log, const char *chunk, size_t n, ssize_t wrote)
{
    size_t done = wrote < 0 ? n : (size_t)wrote;
    if (wrote < 0) log->dropped += lines_in(chunk, n);
    if (wrote > 0) log->written += (uint64_t)wrote;
    log->first = (log->first + done) % RING;
    log->n -= done;
    pthread_cond_signal(&log->moved);
}

static void *write_out(void *ctx)
{
    struct log *log = ctx;
    char chunk[CHUNK];
    pthread_mutex_lock(&log->lock);
    for (bool cut = false;;) { /* cut: a line is half written */
        bool lost = log->dropped > log->told;
        if (log->n == 0 && !lost && log->closing) break;
        if ((log->n == 0 && !lost) || (log->held && !log->closing)) {
            pthread_cond_wait(&log->wake, &log->lock);
            continue;
        }
        uint64_t dropped = log->dropped;
        bool tells = log->n == 0 || (lost && !cut && log->n < RING / 2);
        size_t n = tells ? confess(log, chunk) : peek(log, chunk);
        pthread_mutex_unlock(&log->lock);
        ssize_t wrote = try_write(log->fd, chunk, n);
        pthread_mutex_lock(&log->lock);
        if (tells && wrote != 0) log->told = dropped; /* if writing fails, this line is not tried again */
        if (!tells && wrote != 0) advance(log, chunk, n, wrote);
        if (!tells && wrote > 0) cut = chunk[wrote - 1] != '\n';
        if (log->given_up) break;
    }
    log->ended = true;
    pthread_cond_signal(&log->moved);
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

/* -- Open and close. -- */

static void free_log(struct log *log)
{
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->wake);
    pthread_cond_destroy(&log->moved);
    free(log->ring);
    free(log);
}

/* Signals are for the thread that waits for them. */
static bool start_writer(struct log *log)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&log->thread, NULL, write_out, log) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

struct log *log_open(int fd, enum log_level least)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log) return NULL;
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->wake, NULL);
    steady_cond_init(&log->moved);
    log->fd = fd;
    log->least = least;
    log->ring = malloc(RING);
    if (log->ring && start_writer(log)) return log;
    free_log(log);
    return NULL;
}

void log_hold(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    log->held = true;
    pthread_mutex_unlock(&log->lock);
}

void log_release(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    log->held = false;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
}

/* Waits as long as lines go out. False: the writer hangs in a write. */
static bool wait_for_writer(struct log *log)
{
    double end = steady_seconds() + LONGEST_CLOSE_SECONDS;
    while (!log->ended && steady_seconds() < end) {
        uint64_t before = log->written;
        steady_cond_wait(&log->moved, &log->lock, PATIENCE_SECONDS);
        if (log->written == before) break;
    }
    log->given_up = true;
    for (int i = 0; i < 5 && !log->ended; i++)
        steady_cond_wait(&log->moved, &log->lock, POLL_MS * 1e-3);
    return log->ended;
}

void log_close(struct log **closed)
{
    struct log *log = *closed;
    *closed = NULL;
    if (!log) return;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->wake);
    bool ended = wait_for_writer(log);
    pthread_mutex_unlock(&log->lock);
    if (!ended) { /* it keeps what it works with: the process ends without it */
        pthread_detach(log->thread);
        return;
    }
    pthread_join(log->thread, NULL);
    free_log(log);
}

uint64_t log_dropped(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    uint64_t dropped = log->dropped;
    pthread_mutex_unlock(&log->lock);
    return dropped;
}

void log_event(struct log *log, enum log_level level, const char *event, const char *format, ...)
{
    if (!log_wants(log, level)) return;
    char time[32];
    log_time(time);
    json_t *line = json_pack("{s:s, s:s, s:s}", "time", time, "level", level_names[level], "event", event);
    if (format) {
        va_list args;
        va_start(args, format);
        json_t *more = json_vpack_ex(NULL, 0, format, args);
        va_end(args);
        if (more) json_object_update_new(line, more);
    }
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    size_t len = text ? strlen(text) : 0;
    if (text) {
        text[len] = '\n'; /* in the place of the end: nothing reads it as a string any more */
        put(log, level, text, len + 1);
    }
    free(text);
    json_decref(line);
}
