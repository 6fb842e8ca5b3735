/*
 * What the log and the counters get of each request. Refused requests cost a client nothing, so they must not fill the
 * log either: of each status a few lines a second are written, and the next one says how many were left out.
 */
#include "service/api/request_log.h"

#include "service/api/metrics.h"
#include "service/api/rates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST = 400, STATUSES = 200, PER_SECOND = 1, AT_ONCE = 20 };

struct request_log {
    struct rates *rates;
    atomic_ullong left_out[STATUSES]; /* since the last line of that status */
    atomic_ullong total;
};

struct request_log *request_log_open(void)
{
    struct request_log *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->rates = rates_open(PER_SECOND, AT_ONCE);
    if (!l->rates) request_log_close(&l);
    return l;
}

void request_log_close(struct request_log **log)
{
    if (!*log) return;
    rates_close(&(*log)->rates);
    free(*log);
    *log = NULL;
}

uint64_t request_log_left_out(const struct request_log *log)
{
    return atomic_load(&log->total);
}

static bool is_left_out(struct request_log *l, int status)
{
    char kind[16];
    snprintf(kind, sizeof kind, "%d", status);
    if (rates_wait(l->rates, kind, true) == 0) return false;
    atomic_fetch_add(&l->left_out[status - FIRST], 1);
    atomic_fetch_add(&l->total, 1);
    return true;
}

/* The caller's trace (W3C trace context), when it is one. */
static const char *trace_of(const struct ht__http_request *r)
{
    const char *trace = ht__http_header(r, "traceparent");
    return trace && strlen(trace) == 55 && strspn(trace, "0123456789abcdef-") == 55 ? trace : NULL;
}

/* What changes nothing, and what workers say every other second. */
static enum log_level level_of(const char *method, const char *path, int status)
{
    bool read = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    read = read || (strcmp(method, "PATCH") == 0 && strncmp(path, "/api/v1/tasks/", 14) == 0) ||
           (status == 204 && strncmp(path, "/api/v1/workers/", 16) == 0);
    if (status >= 500) return LOG_LEVEL_WARNING;
    return read && status < 400 ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
}

void api_done(void *ctx, struct ht__http_request *r, int status, uint64_t bytes, double seconds)
{
    struct server *server = ctx;
    const char *method = ht__http_method(r);
    enum log_level level = level_of(method, ht__http_path(r), status);
    json_int_t before = 0;
    metrics_request(server->metrics, status, bytes, seconds);
    if (!log_wants(server->log, level)) return;
    if (status >= FIRST && status < FIRST + STATUSES) {
        bool all = log_wants(server->log, LOG_LEVEL_DEBUG);
        if (!all && is_left_out(server->request_log, status)) return;
        before = (json_int_t)atomic_exchange(&server->request_log->left_out[status - FIRST], 0);
    }
    const struct api_call *call = ht__http_user(r);
    json_t *left_out = before ? json_integer(before) : NULL;
    log_event(server->log, level, "request", "{s:s, s:s, s:s, s:i, s:I, s:f, s:s, s:s, s:s*, s:o*}", "request_id",
              call ? call->id : "", "method", method, "path", ht__http_path(r), "status", status, "bytes",
              (json_int_t)bytes, "seconds", seconds, "peer", call ? call->peer : ht__http_peer(r), "token",
              call ? call->caller.token_id : "", "traceparent", trace_of(r), "left_out", left_out);
}
