/* What the adapter has to complain of, at most a few lines a second. */
#include "net/http_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINES_A_SECOND = 5 };

/* Whether a line may go out now; *dropped: how many could not before it. */
static bool allowed(struct ht__http *server, int *dropped)
{
    int64_t second = ht__http_now() / 1000;
    *dropped = 0;
    pthread_mutex_lock(&server->log_lock);
    if (second != server->log_second) {
        server->log_second = second;
        server->log_lines = 0;
    }
    bool ok = server->log_lines < LINES_A_SECOND;
    if (ok) {
        server->log_lines++;
        *dropped = server->log_dropped;
        server->log_dropped = 0;
    } else {
        server->log_dropped++;
    }
    pthread_mutex_unlock(&server->log_lock);
    return ok;
}

void ht__http_log(struct ht__http *server, const char *fmt, ...)
{
    char line[512];
    int dropped;
    va_list args;
    if (!server->set.on_log || !allowed(server, &dropped)) return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line - 48, fmt, args);
    va_end(args);
    for (char *p = line; *p; p++) /* the text may quote the request */
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = ' ';
    size_t n = strlen(line);
    if (dropped > 0) snprintf(line + n, sizeof line - n, " (and %d lines before it dropped)", dropped);
    server->set.on_log(server->set.ctx, line);
}
