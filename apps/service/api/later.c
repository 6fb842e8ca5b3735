/* Answers that wait for a child: given by a helper, and the reasons when there is none. */
#include "service/api/estimates.h"
#include "service/api/job_request.h"
#include "service/child/roots.h"
#include "service/child/lend.h"

#include <ctype.h>
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

static bool under_a_root(const struct roots *roots, const char *path)
{
    for (size_t i = 0; i < roots_count(roots); i++) {
        const char *root = roots_path(roots, i);
        size_t n = strlen(root);
        if (strncmp(path, root, n) == 0 && (path[n] == '/' || !path[n] || !isalnum((unsigned char)path[n])))
            return true;
    }
    return false;
}

/* What follows the last slash of a path that has one. */
static const char *last_part(const char *path, size_t *len)
{
    const char *at = path;
    for (size_t i = 0; i + 1 < *len; i++)
        if (path[i] == '/') at = path + i + 1;
    *len -= (size_t)(at - path);
    return at;
}

void api_hide_paths(const struct roots *roots, const char *text, char *shown, size_t size)
{
    size_t n = 0;
    for (const char *p = text, *from; *p && n + 1 < size;) {
        bool path = *p == '/' && (p == text || strchr(" \"'(=", p[-1]));
        size_t len = path ? strcspn(p, " \"')") : 1, left = size - 1 - n;
        from = p;
        p += len;
        if (path && !under_a_root(roots, from)) from = last_part(from, &len);
        if (len > left) len = left;
        memcpy(shown + n, from, len);
        n += len;
    }
    shown[n] = '\0';
}

uint64_t api_headers_memory(const struct server *server)
{
    int64_t limit = server->settings->memory_limit;
    return confine_headers_memory(limit > 0 ? (uint64_t)limit : 0);
}

/* -- What a child says. -- */

struct said {
    json_t *last;
    char code[40], message[1024];
};

static bool keep_line(void *ctx, json_t *value, const char *text)
{
    struct said *said = ctx;
    const char *event = json_string_value(json_object_get(value, "event"));
    if (event && strcmp(event, "error") == 0) {
        const char *code = json_string_value(json_object_get(value, "code")),
                   *where = json_string_value(json_object_get(value, "where"));
        const char *message = json_string_value(json_object_get(value, "message"));
        snprintf(said->code, sizeof said->code, "%s", code ? code : "");
        snprintf(said->message, sizeof said->message, "%s%s%s", where ? where : "", where && *where ? ": " : "",
                 message ? message : "");
    } else if (value && !event) {
        json_decref(said->last);
        said->last = json_incref(value);
    }
    return true;
}

/* The last line of stderr, without the program's own name in front. */
static void last_line(const char *text, char *line, size_t size)
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
}

static const char *kind_of(const struct said *said, const struct child_exit *exit)
{
    static const char *const kinds[][2] = {
        {"HT_ERR_NOT_FOUND", "not-found"}, {"HT_ERR_DENIED", "gated"},
        {"HT_ERR_IO", "failed"},           {"HT_ERR_INTERNAL", "failed"},
        {"HT_ERR_MEMORY", "does-not-fit"}, {"HT_ERR_NO_SPACE", "does-not-fit"},
        {"HT_ERR_CANCELLED", "stopping"},  {"HT_ERR_NO_MEMORY_BUDGET", "does-not-fit"}};
    if (exit->end == CHILD_TIMED_OUT) return "timeout";
    if (exit->end == CHILD_STOPPED) return "stopping";
    if (exit->end != CHILD_EXITED) return "failed";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(said->code, kinds[i][0]) == 0) return kinds[i][1];
    if (*said->code) return "invalid";
    if (exit->code == 2 && strstr(exit->error_text, "there is no command"))
        return "unavailable"; /* a program without this part */
    return exit->code == 2 || exit->code == 3 ? "invalid" : exit->code == 4 ? "does-not-fit" : "failed";
}

static void answer_failure(struct api_call *call, const struct said *said, const struct child_exit *exit,
                           const char *what)
{
    char line[1024], shown[1024];
    const char *kind = kind_of(said, exit);
    if (*said->message)
        snprintf(line, sizeof line, "%s", said->message);
    else
        last_line(exit->error_text, line, sizeof line);
    if (!*line || exit->end != CHILD_EXITED) snprintf(line, sizeof line, "%s", exit->reason);
    api_hide_paths(call->server->roots, line, shown, sizeof shown);
    log_event(call->server->log, LOG_LEVEL_INFO, "child_failed", "{s:s, s:s, s:i, s:i, s:s}", "what", what, "kind",
              kind, "end", (int)exit->end, "code", exit->code, "said", shown);
    if (strcmp(kind, "stopping") == 0)
        api_problem(call, kind, "the service is stopping");
    else if (strcmp(kind, "timeout") == 0)
        api_problem(call, kind, "%s took too long", what);
    else if (strcmp(kind, "unavailable") == 0)
        api_problem(call, kind, "%s: this program cannot do that", what);
    else
        api_problem(call, kind, "%s: %s", what, shown);
}

bool api_client_left(void *request)
{
    return ht__http_client_left(request);
}

static json_t *answer_of(struct api_call *call, bool done, struct said said, struct child_exit exit, const char *what)
{
    if (done && said.last) return said.last;
    if (done) snprintf(exit.reason, sizeof exit.reason, "it answered nothing"), exit.end = CHILD_BABBLED;
    answer_failure(call, &said, &exit, what);
    json_decref(said.last);
    return NULL;
}

json_t *api_ask_child(struct api_call *call, const struct child_settings *settings, struct child_stop *stop,
                      const char *what)
{
    struct said said = {0};
    struct child_exit exit = {0};
    bool done = child_run(settings, stop, keep_line, NULL, &said, &exit);
    return answer_of(call, done, said, exit, what);
}

json_t *api_ask_reader(struct api_call *call, struct child_settings *settings, const json_t *request,
                       struct child_stop *stop, const char *what)
{
    const struct server *server = call->server;
    struct said said = {0};
    struct child_exit exit = {0};
    struct confined confined;
    char name[1400];
    const struct lend_settings lend = {.hub_environment = server->hub_environment,
                                       .model = job_request_source(request, name, sizeof name),
                                       .timeout_seconds = 2 * settings->timeout_seconds};
    confine_child(settings, &confined, roots_held(server->roots), store_folder(server->store), request);
    settings->memory_limit = api_headers_memory(server);
    bool done = job_request_is_hub(request) ? lend_run(&lend, settings, &confined, stop, keep_line, NULL, &said, &exit)
                                            : child_run(settings, stop, keep_line, NULL, &said, &exit);
    return answer_of(call, done, said, exit, what);
}
