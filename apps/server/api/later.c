/* Answers that wait for a child: given by a helper, and the reasons when there is none. */
#include "server/api/estimates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool api_later(struct api_call *call, helper_fn *run, void *state, void (*free_state)(void *))
{
    call->state = state;
    call->free_state = free_state;
    ht__http_defer(call->request);
    if (helpers_do(call->server->helpers, run, call)) return true;
    api_header(call, "Retry-After", "2");
    api_problem(call, "busy", "too many of these are being worked on");
    return false;
}

/* What a child said, without its own name in front, and without folders that are not the client's business. */
static void last_line(const char *text, const struct server *server, char *line, size_t size)
{
    size_t n = strlen(text);
    while (n && text[n - 1] == '\n')
        n--;
    const char *start = text + n;
    while (start > text && start[-1] != '\n')
        start--;
    if (strncmp(start, "halftone ", 9) == 0) {
        const char *colon = memchr(start, ':', (size_t)(text + n - start));
        if (colon) start = colon + 1 + strspn(colon + 1, " ");
    }
    snprintf(line, size, "%.*s", (int)(text + n - start), start);
    const char *data = store_folder(server->store);
    size_t len = strlen(data);
    for (char *at; len > 1 && (at = strstr(line, data)) != NULL;)
        memmove(at, at + len, strlen(at + len) + 1);
}

void api_child_problem(struct api_call *call, const struct child_exit *exit, const char *what)
{
    char said[512];
    last_line(exit->error_text, call->server, said, sizeof said);
    const char *detail = *said ? said : exit->reason;
    log_event(call->server->log, LOG_LEVEL_WARNING, "child_failed", "{s:s, s:i, s:i, s:s}", "what", what, "end", (int)exit->end,
              "code", exit->code, "said", said);
    switch (exit->end) {
    case CHILD_TIMED_OUT: api_problem(call, "timeout", "%s took too long", what); return;
    case CHILD_STOPPED: api_problem(call, "stopping", "the service is stopping"); return;
    case CHILD_EXITED:
        if (exit->code == 3) api_problem(call, "invalid", "%s: %s", what, detail);
        else if (exit->code == 4) api_problem(call, "does-not-fit", "%s: %s", what, detail);
        else if (exit->code == 2 && strstr(exit->error_text, "there is no command")) /* a program without this part */
            api_problem(call, "unavailable", "%s: this program cannot do that", what);
        else if (exit->code == 2) api_problem(call, "invalid", "%s: %s", what, detail);
        else api_problem(call, "failed", "%s: %s", what, detail);
        return;
    default: api_problem(call, "failed", "%s: %s", what, detail);
    }
}
