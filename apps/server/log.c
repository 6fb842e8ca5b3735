#include "server/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct log {
    pthread_mutex_t lock;
    int fd;
    enum log_level least;
};

static const char *const level_names[] = {"debug", "info", "warning", "error", "info"};

struct log *log_open(int fd, enum log_level least)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log) return NULL;
    pthread_mutex_init(&log->lock, NULL);
    log->fd = fd;
    log->least = least;
    return log;
}

void log_close(struct log **log)
{
    if (!*log) return;
    pthread_mutex_destroy(&(*log)->lock);
    free(*log);
    *log = NULL;
}

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

/* A log that cannot be written is no reason to stop serving: what is left of the line is lost. */
static void write_line(struct log *log, const char *line, size_t len)
{
    pthread_mutex_lock(&log->lock);
    while (len > 0) {
        ssize_t n = write(log->fd, line, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        line += n;
        len -= (size_t)n;
    }
    pthread_mutex_unlock(&log->lock);
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
        write_line(log, text, len + 1);
    }
    free(text);
    json_decref(line);
}
