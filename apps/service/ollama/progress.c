#include "service/ollama/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE = 1 << 20 };

static void send_line(struct progress *p, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT), *line = NULL;
    int n = text ? asprintf(&line, "%s\n", text) : -1;
    if (!p->stream) {
        api_common_headers(p->call->request);
        api_header(p->call, "Cache-Control", "no-store");
        p->stream = ht__http_answer_stream(p->call->request, "application/x-ndjson", QUEUE);
        p->call = NULL;
    }
    if (n >= 0) ht__http_stream_send(p->stream, line, (size_t)n); /* who left is asked for by progress_left */
    if (n >= 0) free(line);
    free(text);
}

void progress_say(struct progress *p, json_t *status)
{
    if (p->streams) send_line(p, status);
    json_decref(p->last);
    p->last = status;
}

void progress_status(struct progress *p, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    progress_say(p, json_pack("{s:s}", "status", text));
}

void progress_success(struct progress *p)
{
    progress_status(p, "success");
    if (p->stream)
        ht__http_stream_end(&p->stream);
    else
        api_json(p->call, 200, json_incref(p->last));
    json_decref(p->last);
}

void progress_failure(struct progress *p, const char *kind, const char *message)
{
    json_t *error = json_pack("{s:s}", "error", message);
    if (p->stream) {
        send_line(p, error);
        ht__http_stream_end(&p->stream);
    } else {
        api_problem(p->call, kind, "%s", message);
    }
    json_decref(error);
    json_decref(p->last);
}

bool progress_left(void *progress)
{
    struct progress *p = progress;
    return p->stream ? !ht__http_stream_send(p->stream, "", 0) : ht__http_client_left(p->call->request);
}
