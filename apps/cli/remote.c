/* Requests to a server. */
#include "remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_ANSWER = 64 << 20, CONNECT_SECONDS = 10, ANSWER_SECONDS = 180 };

int remote_take_options(const struct command *c, int *argc, char **argv, struct remote_options *o)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        const char *arg = argv[i], *equals = strchr(arg, '=');
        size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
        bool server = len == 8 && strncmp(arg, "--server", 8) == 0, token = len == 7 && strncmp(arg, "--token", 7) == 0;
        if (strcmp(arg, "--") == 0) { /* what follows are not options */
            while (i < *argc)
                argv[kept++] = argv[i++];
        } else if (strcmp(arg, "--json") == 0) {
            o->json = true;
        } else if (server || token) {
            const char *value = equals ? equals + 1 : i + 1 < *argc ? argv[++i] : NULL;
            if (!value || !*value) return usage_error(c, "%.*s needs a value", (int)len, arg);
            *(server ? &o->server : &o->token) = value;
        } else {
            argv[kept++] = argv[i];
        }
    }
    *argc = kept;
    argv[kept] = NULL;
    return EXIT_DONE;
}

static const char *setting(const char *given, const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return given ? given : value && *value ? value : otherwise;
}

static bool is_here(const char *server)
{
    static const char *const local[] = {"127.0.0.1", "localhost", "[::1]"};
    const char *host = strstr(server, "://") + 3;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
        size_t n = strlen(local[i]);
        if (strncmp(host, local[i], n) == 0 && (host[n] == ':' || host[n] == '/' || !host[n])) return true;
    }
    return false;
}

/* A token must not be readable on the way, nor a header of its own making. */
static int check_token(struct remote *r)
{
    bool safe = r->here || strncmp(r->server, "https://", 8) == 0;
    for (const char *p = r->token; p && *p; p++)
        if (*p <= ' ' || *p > '~')
            return usage_error(r->command, "the token contains a character that tokens cannot have");
    if (r->token && !safe) fprintf(stderr, "warning: the token is sent to %s unencrypted\n", r->server);
    return EXIT_DONE;
}

static void set_up(struct remote *r)
{
    CURL *c = r->curl;
    char agent[64], header[600];
    snprintf(agent, sizeof agent, "halftone/%s", ht_version());
    curl_easy_setopt(c, CURLOPT_USERAGENT, agent);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, r->fault);
    if (r->token) {
        snprintf(header, sizeof header, "Authorization: Bearer %s", r->token);
        r->headers = curl_slist_append(r->headers, header);
    }
}

const struct remote_kind halftone_server = {.name = "a Halftone server",
                                            .server_variable = "HALFTONE_SERVER",
                                            .token_variable = "HALFTONE_TOKEN",
                                            .address = "http://127.0.0.1:8700"};

int remote_open(struct remote *r, const struct remote_kind *kind, const struct command *command,
                const struct remote_options *o)
{
    const char *server = setting(o->server, kind->server_variable, kind->address);
    char found[sizeof r->server];
    *r = (struct remote){.command = command, .kind = kind, .json = o->json};
    r->token = setting(o->token, kind->token_variable, NULL);
    if (kind->find) {
        int status = kind->find(command, server, found);
        if (status != EXIT_DONE) return status;
        server = found;
    }
    int n = snprintf(r->server, sizeof r->server, "%s%s", strstr(server, "://") ? "" : "http://", server);
    if (n < 0 || n >= (int)sizeof r->server || (r->token && strlen(r->token) > 512))
        return usage_error(command, "the server or the token is too long");
    while (n > 0 && r->server[n - 1] == '/')
        r->server[--n] = '\0';
    if (strncmp(r->server, "http://", 7) != 0 && strncmp(r->server, "https://", 8) != 0)
        return usage_error(command, "the address of a server begins with http:// or https://");
    r->here = is_here(r->server);
    int status = check_token(r);
    if (status != EXIT_DONE) return status;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    r->curl = curl_easy_init();
    if (!r->curl) return EXIT_RESOURCES;
    set_up(r);
    return EXIT_DONE;
}

void remote_close(struct remote *r)
{
    if (r->curl) curl_easy_cleanup(r->curl);
    curl_slist_free_all(r->headers);
    r->curl = NULL;
    r->headers = NULL;
}

char *remote_path(struct remote *r, const char *fmt, const char *a, const char *b)
{
    char *ea = a ? curl_easy_escape(r->curl, a, 0) : NULL, *eb = b ? curl_easy_escape(r->curl, b, 0) : NULL,
         *path = NULL;
    size_t size = strlen(fmt) + (ea ? strlen(ea) : 0) + (eb ? strlen(eb) : 0) + 16;
    if ((ea || !a) && (eb || !b)) path = malloc(size);
    const char *pieces[] = {ea, eb};
    size_t n = 0, piece = 0;
    if (path) n = (size_t)snprintf(path, size, "/api/v1");
    for (const char *p = fmt; path && *p; p++) {
        if (p[0] == '%' && p[1] == 's' && piece < 2 && pieces[piece]) {
            n += (size_t)snprintf(path + n, size - n, "%s", pieces[piece++]);
            p++;
        } else {
            path[n++] = *p;
            path[n] = '\0';
        }
    }
    curl_free(ea);
    curl_free(eb);
    return path;
}

struct body {
    char *data;
    size_t len;
};

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    struct body *b = ctx;
    size_t len = size * n;
    if (len > MOST_ANSWER - b->len) return 0;
    char *grown = realloc(b->data, b->len + len + 1);
    if (!grown) return 0;
    memcpy(grown + b->len, data, len);
    b->data = grown;
    b->len += len;
    b->data[b->len] = '\0';
    return len;
}

static int status_of(long http)
{
    return http == 400 || http == 422   ? EXIT_USAGE
           : http == 404 || http == 413 ? EXIT_INPUT
           : http == 507                ? EXIT_RESOURCES
                                        : EXIT_FAILED;
}

/* Each kind has its own words: "detail" and "title" of a problem, or "error". */
static const char *reason_of(const json_t *problem)
{
    static const char *const names[] = {"detail", "title", "error"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (*text_of(problem, names[i])) return text_of(problem, names[i]);
    return "";
}

int remote_refused(struct remote *r, long http, const char *body, size_t len)
{
    json_t *problem = len ? json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const json_t *e, *errors = json_object_get(problem, "errors");
    size_t i;
    if (r->json && json_is_object(problem)) {
        json_incref(problem);
        print_answer(problem);
    }
    fprintf(stderr, "halftone %s: ", r->command->name);
    if (*reason_of(problem))
        put_safe(stderr, reason_of(problem));
    else
        fprintf(stderr, "%s answered with status %ld", r->server, http);
    fputc('\n', stderr);
    if (json_array_size(errors) > 1)
        json_array_foreach(errors, i, e) {
            fputs("  ", stderr);
            put_safe(stderr, text_of(e, "pointer"));
            fputs(": ", stderr);
            put_safe(stderr, text_of(e, "detail"));
            fputc('\n', stderr);
        }
    if (http == 401) fprintf(stderr, "  give a token with --token TOKEN or %s\n", r->kind->token_variable);
    json_decref(problem);
    return status_of(http);
}

int remote_unreachable(struct remote *r, const char *why)
{
    fprintf(stderr, "halftone %s: cannot reach %s: %s\n", r->command->name, r->server, r->fault[0] ? r->fault : why);
    return EXIT_FAILED;
}

int remote_strange(struct remote *r, const char *why)
{
    fprintf(stderr, "halftone %s: %s is not %s: %s\n", r->command->name, r->server, r->kind->name, why);
    return EXIT_FAILED;
}

static int perform(struct remote *r, const char *path, struct body *b, json_t **answer)
{
    char url[4096];
    long http = 0;
    if (snprintf(url, sizeof url, "%s%s", r->server, path) >= (int)sizeof url)
        return usage_error(r->command, "the name is too long");
    r->fault[0] = '\0';
    curl_easy_setopt(r->curl, CURLOPT_URL, url);
    curl_easy_setopt(r->curl, CURLOPT_TIMEOUT, (long)ANSWER_SECONDS);
    curl_easy_setopt(r->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(r->curl, CURLOPT_WRITEDATA, b);
    CURLcode code = curl_easy_perform(r->curl);
    if (code != CURLE_OK) return remote_unreachable(r, curl_easy_strerror(code));
    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &http);
    r->http = http;
    if ((http < 200 || http > 299) && !(http == 404 && r->may_lack)) return remote_refused(r, http, b->data, b->len);
    json_t *value = b->len ? json_loadb(b->data, b->len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (b->len && !value) return remote_strange(r, "its answer is not JSON");
    if (answer)
        *answer = value;
    else
        json_decref(value);
    return EXIT_DONE;
}

int remote_send(struct remote *r, const char *method, const char *path, json_t *body, const char *key, json_t **answer)
{
    struct body b = {0};
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL, header[320];
    struct curl_slist *headers = NULL;
    if (answer) *answer = NULL;
    for (const struct curl_slist *h = r->headers; h; h = h->next)
        headers = curl_slist_append(headers, h->data);
    headers = curl_slist_append(headers, "Accept: application/json");
    if (text) headers = curl_slist_append(headers, "Content-Type: application/json");
    if (key && snprintf(header, sizeof header, "Idempotency-Key: %s", key) < (int)sizeof header)
        headers = curl_slist_append(headers, header);
    curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(r->curl, CURLOPT_HTTPGET, 1L);
    if (strcmp(method, "GET") != 0) {
        curl_easy_setopt(r->curl, CURLOPT_POSTFIELDS, text ? text : "");
        curl_easy_setopt(r->curl, CURLOPT_POSTFIELDSIZE, text ? (long)strlen(text) : 0L);
    }
    curl_easy_setopt(r->curl, CURLOPT_CUSTOMREQUEST, strcmp(method, "GET") == 0 ? NULL : method);
    int status = body && !text ? EXIT_RESOURCES : perform(r, path, &b, answer);
    curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(r->curl, CURLOPT_POSTFIELDS, NULL); /* nothing that a copy of the handle would send */
    curl_easy_setopt(r->curl, CURLOPT_HTTPGET, 1L);
    curl_slist_free_all(headers);
    json_decref(body);
    free(text);
    free(b.data);
    return status;
}

int remote_call(struct remote *r, const char *method, const char *path, json_t *body, json_t **answer)
{
    if (path) return remote_send(r, method, path, body, NULL, answer);
    json_decref(body);
    return EXIT_RESOURCES;
}
