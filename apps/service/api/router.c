/* From a request to its handler: the guards, in the order in which they cost least. */
#include "service/api/access.h"
#include "service/api/helpers.h"
#include "service/api/json.h"
#include "service/api/proxies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void add_headers(struct ht__http_request *r, const char *content_policy)
{
    const char *const headers[][2] = {
        {"Content-Security-Policy", content_policy},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        ht__http_add_header(r, headers[i][0], headers[i][1]);
    const struct api_call *call = ht__http_user(r);
    if (call) ht__http_add_header(r, "X-Request-Id", call->id);
}

void api_common_headers(struct ht__http_request *r)
{
    add_headers(r, "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
                   "frame-ancestors 'none'");
}

void api_document_headers(struct ht__http_request *r)
{
    add_headers(r, "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
                   "frame-ancestors 'none'; sandbox");
}

void api_header(struct api_call *call, const char *name, const char *value)
{
    ht__http_add_header(call->request, name, value);
}

bool api_is(const struct api_call *call, const char *method)
{
    return strcmp(ht__http_method(call->request), method) == 0;
}

void api_json(struct api_call *call, int status, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(value);
    if (!text) {
        api_problem(call, "internal", "not enough memory for the answer");
        return;
    }
    api_common_headers(call->request);
    api_header(call, "Cache-Control", "no-store");
    ht__http_answer_owned(call->request, status, "application/json", text, strlen(text));
}

void api_text(struct api_call *call, int status, const char *type, const char *text)
{
    api_common_headers(call->request);
    api_header(call, "Cache-Control", "no-store");
    ht__http_answer(call->request, status, type, text, strlen(text));
}

void api_empty(struct api_call *call, int status)
{
    api_common_headers(call->request);
    ht__http_answer(call->request, status, NULL, "", 0);
}

/* Does a path match a pattern? {} takes one segment that is not empty; with `rest`, the last one takes all that is left. */
static bool matches(const char *pattern, const char *path, bool rest, char (*segments)[256])
{
    int n = 0;
    while (*pattern) {
        if (pattern[0] == '{' && pattern[1] == '}') {
            size_t len = rest && !pattern[2] ? strlen(path) : strcspn(path, "/");
            if (len == 0 || len > 255) return false;
            memcpy(segments[n], path, len);
            segments[n++][len] = '\0';
            path += len;
            pattern += 2;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *path == '\0';
}

/* The route, or NULL with the methods that the path has ("": no such path). */
static const struct route *find_route(const char *method, const char *path, char (*segments)[256], char allow[64])
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    char found[3][256];
    *allow = '\0';
    for (const struct route *r = api_routes; r->method; r++) {
        if (!matches(r->pattern, path, r->flags & ROUTE_REST, found)) continue;
        if (strcmp(r->method, wanted) == 0) return memcpy(segments, found, sizeof found), r;
        size_t n = strlen(allow);
        snprintf(allow + n, 64 - n, "%s%s%s", n ? ", " : "", r->method, strcmp(r->method, "GET") == 0 ? ", HEAD" : "");
    }
    return NULL;
}

static bool changes(const struct api_call *call)
{
    return !api_is(call, "GET") && !api_is(call, "HEAD");
}

/* A page of another site can make a browser send requests with the browser's cookie, or to a loopback service that
 * wants none; it cannot add an Authorization header, nor hide where it comes from. */
static bool guard_origin(struct api_call *call)
{
    const char *origin = ht__http_header(call->request, "Origin"),
               *site = ht__http_header(call->request, "Sec-Fetch-Site");
    const char *mode = ht__http_header(call->request, "Sec-Fetch-Mode");
    if (ht__http_header(call->request, "Authorization")) return true;
    bool foreign = site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0;
    bool visit = !changes(call) && mode && strcmp(mode, "navigate") == 0; /* a link that somebody follows */
    if (origin && changes(call) && !access_same_site(origin, ht__http_header(call->request, "Host"))) foreign = true;
    if (!foreign || visit) return true;
    api_problem(call, "origin", "the request comes from a page of another site");
    return false;
}

static bool wait(struct api_call *call, int seconds, const char *detail)
{
    char text[16];
    if (!seconds) return true;
    snprintf(text, sizeof text, "%d", seconds);
    api_header(call, "Retry-After", text);
    api_problem(call, "too-many", "%s", detail);
    return false;
}

static bool unknown_token(struct api_call *call, const char *kind, const char *detail)
{
    api_header(call, "WWW-Authenticate", "Bearer realm=\"halftone\"");
    api_problem(call, kind, "%s", detail);
    return false;
}

static bool guard_token(struct api_call *call)
{
    struct access *access = call->server->access;
    const char *header = ht__http_header(call->request, "Authorization");
    const char *cookie = ht__http_cookie(call->request, "halftone_session");
    bool open = call->route->flags & ROUTE_OPEN;
    /* programs that speak as OpenAI's clients do always send a key, also where none is wanted */
    if (api_shape_of(ht__http_path(call->request)) != SHAPE_PROBLEM && !access_wants_token(access)) header = NULL;
    if (header || cookie) {
        bool bearer = header && strncasecmp(header, "Bearer ", 7) == 0;
        call->caller.cookie = !header;
        if (bearer)
            call->caller.scope = access_token(access, header + 7 + strspn(header + 7, " "), call->caller.token_id);
        else if (!header)
            call->caller.scope = access_session(access, cookie, &call->caller);
        if (call->caller.scope == SCOPE_NONE && store_failure() != STORE_OK)
            return api_store_problem(call, store_failure(), "token"), false; /* it may be a valid one */
        if (call->caller.scope == SCOPE_NONE && header) {
            if (!wait(call, access_wrong_token(access, call->peer), "too many wrong tokens came from this address"))
                return false;
            return unknown_token(call, "token-unknown", "the token is not known");
        }
    }
    if (call->caller.scope == SCOPE_NONE && !access_wants_token(access)) call->caller.scope = SCOPE_ADMIN;
    if (open || store_scope_allows(call->caller.scope, call->route->scope)) return true;
    if (call->caller.scope == SCOPE_NONE)
        return unknown_token(call, "token-wanted", "a token is required: `Authorization: Bearer ht_…`");
    api_problem(call, "scope", "this needs a token of the scope \"%s\"; this one has \"%s\"",
                store_scope_names[call->route->scope], store_scope_names[call->caller.scope]);
    return false;
}

/* While it starts or stops, only probes are answered: the parts behind the others are not there. */
static bool guard_state(struct api_call *call)
{
    bool stopping = atomic_load(&call->server->stopping);
    if ((call->route->flags & ROUTE_RAW) || (!stopping && atomic_load(&call->server->ready))) return true;
    api_header(call, "Retry-After", stopping ? "10" : "1");
    api_problem(call, stopping ? "stopping" : "unavailable", "the service is %s", stopping ? "stopping" : "starting");
    return false;
}

static bool guard_body(struct api_call *call)
{
    uint64_t size = ht__http_body_size(call->request);
    if (!(call->route->flags & ROUTE_UPLOAD) && size != UINT64_MAX && size > API_MAX_BODY) {
        api_problem(call, "too-large", "the body has %llu bytes; at most %d are taken", (unsigned long long)size,
                    API_MAX_BODY);
        return false;
    }
    const char *type = ht__http_header(call->request, "Content-Type");
    if (!(call->route->flags & ROUTE_JSON)) return true;
    /* Ollama takes any type; programs that are no browsers may say what they like here too */
    bool browser = ht__http_header(call->request, "Origin") || ht__http_header(call->request, "Sec-Fetch-Site");
    if (!browser && api_shape_of(ht__http_path(call->request)) == SHAPE_OLLAMA) return true;
    size_t n = type ? strcspn(type, "; \t") : 0;
    if (type && n == 16 && strncasecmp(type, "application/json", 16) == 0) return true;
    api_problem(call, "content-type", "the body's Content-Type must be application/json");
    return false;
}

static void free_call(void *user)
{
    struct api_call *call = user;
    if (call->free_state) call->free_state(call->state);
    json_decref(call->body);
    free(call);
}

static bool guard(struct api_call *call)
{
    struct ht__http_request *r = call->request;
    char allow[64];
    if (!access_host_allowed(ht__http_header(r, "Host"), call->server->settings->host,
                             &call->server->settings->allow_host)) {
        api_problem(call, "host", "the service does not answer under this name; see --allow-host");
        return false;
    }
    call->route = find_route(ht__http_method(r), ht__http_path(r), call->segments, allow);
    if (!call->route && *allow) {
        api_header(call, "Allow", allow);
        api_problem(call, "method", "%s cannot be done here", ht__http_method(r));
        return false;
    }
    if (!call->route) {
        api_page(call); /* a file of the page, or 404 */
        return false;
    }
    if (!guard_state(call) || !guard_origin(call) || !guard_token(call)) return false;
    if (!(call->route->flags & ROUTE_RAW)) {
        const char *who = *call->caller.token_id ? call->caller.token_id : call->peer;
        if (!wait(call, access_wait(call->server->access, who), "more requests came than are allowed in this time"))
            return false;
    }
    return guard_body(call);
}

static void begin(struct server *server, struct ht__http_request *r)
{
    struct api_call *call = calloc(1, sizeof *call);
    if (!call) {
        ht__http_answer_static(r, 503, NULL, "", 0);
        return;
    }
    call->server = server;
    call->request = r;
    snprintf(call->id, sizeof call->id, "%08x-%llu", server->run, atomic_fetch_add(&server->n_requests, 1));
    proxies_client(server->proxies, ht__http_peer(r), ht__http_last_header(r, "X-Forwarded-For"),
                   ht__http_last_header(r, "Forwarded"), call->peer);
    ht__http_set_user(r, call, free_call);
    if (guard(call) && call->route->begin) call->route->begin(call);
}

static void run_in_writer(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    (void)stop; /* a write is short, or the store says that it is busy */
    call->route->run(call);
}

/* What writes may have to wait for the disk, or for another program that holds the database: some seconds in which a thread
 * that answers requests would leave a share of all clients unheard. */
static void run_or_wait(struct api_call *call)
{
    bool writes = changes(call) && !(call->route->flags & (ROUTE_UPLOAD | ROUTE_QUICK));
    if (!writes ||
        atomic_load(&call->server->stopping)) { /* the writers may have gone home: probes then write nothing */
        call->route->run(call);
        return;
    }
    ht__http_defer(call->request);
    if (helpers_do(call->server->writers, run_in_writer, call)) return;
    api_header(call, "Retry-After", "2");
    api_problem(call, "busy", "too many changes are waiting for the database");
}

/* The body came meanwhile: is there still somebody to give it to, and is it what it should be? */
static void request(struct api_call *call)
{
    char why[200];
    size_t len;
    if (!guard_state(call)) return;
    if (call->route->flags & ROUTE_JSON) {
        const char *text = ht__http_body(call->request, &len);
        call->body = api_parse_object(text, len, why, sizeof why);
        if (!call->body) {
            api_problem(call, "bad-json", "%s", why);
            return;
        }
    }
    run_or_wait(call);
}

void api_begin(void *ctx, struct ht__http_request *r)
{
    struct server *server = ctx;
    atomic_fetch_add(&server->in_flight, 1);
    store_failure_clear();
    begin(server, r);
    atomic_fetch_sub(&server->in_flight, 1);
}

void api_request(void *ctx, struct ht__http_request *r)
{
    struct server *server = ctx;
    atomic_fetch_add(&server->in_flight, 1);
    store_failure_clear();
    request(ht__http_user(r));
    atomic_fetch_sub(&server->in_flight, 1);
}

bool api_query_known(struct api_call *call, const char *names)
{
    const char *name, *value;
    for (size_t i = 0; ht__http_query_at(call->request, i, &name, &value); i++) {
        size_t n = strlen(name);
        bool known = false;
        for (const char *p = names; n && (p = strstr(p, name)) != NULL; p += n)
            if ((p == names || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0')) known = true;
        if (known) continue;
        api_problem_at(
            call, "invalid",
            json_pack("[{s:s, s:s}]", "pointer", "", "detail", "the query has a name that is not known here"));
        return false;
    }
    return true;
}

bool api_query_number(struct api_call *call, const char *name, int64_t least, int64_t most, int64_t *value)
{
    const char *text = ht__http_query(call->request, name);
    char *end, detail[120];
    if (!text) return true;
    long long n = *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : least - 1;
    if (n >= least && n <= most && n != INT64_MAX && !*end) return *value = n, true;
    snprintf(detail, sizeof detail, "expected a number from %lld to %lld", (long long)least, (long long)most);
    api_problem_at(call, "invalid", json_pack("[{s:s, s:s}]", "pointer", name, "detail", detail));
    return false;
}
