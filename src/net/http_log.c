/* What the library and the adapter have to complain of, at most a few lines a second. */
#include "net/http_internal.h"

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

void ht__http_vlog(void *ctx, const char *fmt, va_list args)
{
    struct ht__http *server = ctx;
    char line[512];
    int dropped;
    if (!server->set.on_log) return;
    vsnprintf(line, sizeof line - 48, fmt, args);
    /* its words for the connections that we end on purpose */
    if (strncmp(line, "Application reported internal error", 35) == 0 || !allowed(server, &dropped)) return;
    for (char *p = line; *p; p++) /* the text may quote the request */
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = ' ';
    size_t n = strlen(line);
    while (n > 0 && line[n - 1] == ' ')
        line[--n] = '\0';
    if (dropped > 0) snprintf(line + n, sizeof line - n, " (and %d lines before it dropped)", dropped);
    server->set.on_log(server->set.ctx, line);
}

void ht__http_log(struct ht__http *server, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    ht__http_vlog(server, fmt, args);
    va_end(args);
}
