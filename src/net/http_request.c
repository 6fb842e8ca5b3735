/* The request: its head in memory of its own, and what can be asked of it. */
#include "net/http_internal.h"

#include <stdlib.h>
#include <string.h>

struct ht__http_request *ht__http_request_new(struct ht__http *server, struct ht__http_conn *conn,
                                              struct MHD_Connection *mhd, const char *target)
{
    struct ht__http_request *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->target = strdup(target);
    if (!r->target) {
        free(r);
        return NULL;
    }
    r->came_at = target;
    r->server = server;
    r->conn = conn;
    r->mhd = mhd;
    atomic_init(&r->refs, 1);
    r->began = ht__http_now();
    r->method = r->path = "";
    r->max_body = server->set.max_body;
    memcpy(r->peer, conn->peer, sizeof r->peer);
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void ht__http_request_drop(struct ht__http_request *r)
{
    if (atomic_fetch_sub(&r->refs, 1) > 1) return;
    if (r->response) MHD_destroy_response(r->response);
    while (r->fields) {
        struct ht__http_field *next = r->fields->next;
        free(r->fields);
        r->fields = next;
    }
    if (r->free_user) r->free_user(r->user);
    pthread_mutex_destroy(&r->lock);
    free(r->headers);
    free(r->target);
    free(r->text);
    free(r->body);
    free(r);
}

/* -- The head. -- */

/* A measure of the head, then its copy. */
struct taker {
    struct ht__http_request *r;
    char *out; /* NULL: measure only */
    size_t text, cookies;
    int n;
    const char *next; /* where in the library's buffer the next line must begin; NULL: the lines are not as sent */
};

static char *put(struct taker *t, const char *text, size_t len)
{
    char *at = t->out;
    memcpy(at, text, len);
    at[len] = '\0';
    t->out += len + 1;
    return at;
}

/* The library does not trim: in what frames the body, its reading and ours must be of the same bytes. */
static size_t trimmed(const char *name, const char *value, size_t len)
{
    if (ht__http_same_name(name, "transfer-encoding") || ht__http_same_name(name, "content-length")) return len;
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    return len;
}

/*
 * The library cuts the head into strings in place, so they must lie in its buffer as they were sent:
 *
 *     GET \0 /target \0 HTTP/1.1 \0\0 name \0 value \0\0 name \0 value \0\0 \0\0
 *          ' '        ' '        CR LF    ':' SP        CR LF        ...   CR LF
 *
 * They do not when a line ended in a bare LF, held a NUL or was folded (all three of which it takes without a word).
 */
static const char *line_end(struct taker *t, const char *name, size_t name_len, const char *value, size_t value_len)
{
    if (name != t->next || value <= name + name_len) return NULL;
    for (const char *p = name + name_len + 1; p < value; p++)
        if (*p != ' ' && *p != '\t') return NULL;
    const char *end = value + value_len;
    return end[0] == '\0' && end[1] == '\0' ? end + 2 : NULL;
}

static enum MHD_Result take_header(void *ctx, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                   const char *value, size_t value_len)
{
    struct taker *t = ctx;
    (void)kind;
    if (!value) value_len = 0;
    if (t->out) {
        if (t->next) t->next = value ? line_end(t, name, name_len, value, value_len) : NULL;
        struct ht__http_pair *pair = &t->r->headers[t->n];
        pair->name = put(t, name, name_len);
        pair->value = put(t, value ? value : "", trimmed(pair->name, value, value_len));
    } else {
        t->text += name_len + value_len + 2;
    }
    t->n++;
    return MHD_YES;
}

/* Cookies into one text, each header's after a ';'. */
static void take_cookies(struct taker *t)
{
    struct ht__http_request *r = t->r;
    char *text = t->out;
    for (int i = 0; i < r->n_headers; i++) {
        if (!ht__http_same_name(r->headers[i].name, "cookie")) continue;
        t->out = stpcpy(t->out, r->headers[i].value);
        *t->out++ = ';';
    }
    if (t->out == text) return;
    *t->out++ = '\0';
    r->n_cookies = ht__http_cookie_split(text, r->cookies, HT__HTTP_MAX_PAIRS);
}

/* Whether the lines lie as they were sent; asked only of the library's generation that needs it. */
static bool is_as_sent(const struct taker *t, const char *method)
{
    if (strncmp(MHD_get_version(), "0.", 2) != 0) return true; /* from 1.0 on it refuses such lines itself */
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(t->r->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info && t->next && (size_t)(t->next + 2 - method) == info->header_size;
}

/* Room for everything; the pairs in one block, the text in another. */
static bool make_room(struct ht__http_request *r, const struct taker *measured, const char *method)
{
    size_t target = strlen(r->target);
    /* method; path; query; headers; cookies are part of them, each with at most two bytes more */
    r->text = malloc(strlen(method) + 1 + 2 * (target + 1) + 2 * measured->text + 1);
    r->headers = calloc((size_t)measured->n + 2 * HT__HTTP_MAX_PAIRS, sizeof *r->headers);
    if (!r->text || !r->headers) return false;
    r->cookies = r->headers + measured->n;
    r->query = r->cookies + HT__HTTP_MAX_PAIRS;
    return true;
}

static struct ht__http_verdict judge(struct ht__http_request *r, struct taker *t, bool as_sent, const char *version)
{
    struct ht__http_head head = {r->method, r->target, strcmp(version, "HTTP/1.0") == 0 ? 0 : 1, r->headers, r->n_headers};
    struct ht__http_verdict v = ht__http_guard(&head);
    if (v.status == 0 && !as_sent) {
        v.status = 400;
        v.reason = "the head has bare line feeds, folded lines or NULs";
    }
    if (v.status != 0) return v;
    char *path = t->out, *query = t->out + v.path_len + 1;
    t->out = query + (v.query ? strlen(v.query) : 0) + 1;
    if (!ht__http_path_decode(v.path, v.path_len, path)) {
        v.status = 400;
        v.reason = "the path is malformed";
        return v;
    }
    r->path = path;
    int n = v.query ? ht__http_query_split(v.query, strlen(v.query), query, r->query, HT__HTTP_MAX_PAIRS) : 0;
    if (n < 0) {
        v.status = 400;
        v.reason = "the query is malformed";
        return v;
    }
    r->n_query = n;
    take_cookies(t);
    return v;
}

struct ht__http_verdict ht__http_request_head(struct ht__http_request *r, const char *method, const char *version)
{
    struct taker t = {.r = r};
    MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, take_header, &t);
    r->body_size = UINT64_MAX; /* until it is known that there is none */
    if (!make_room(r, &t, method))
        return (struct ht__http_verdict){.status = 503, .reason = "no memory for the request"};
    t = (struct taker){.r = r, .out = r->text};
    r->method = put(&t, method, strlen(method));
    bool line_as_sent = r->came_at == method + strlen(method) + 1 && version == r->came_at + strlen(r->target) + 1;
    t.next = line_as_sent ? version + strlen(version) + 2 : NULL;
    MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, take_header, &t);
    r->n_headers = t.n;
    struct ht__http_verdict v = judge(r, &t, is_as_sent(&t, method), version);
    if (v.status == 0) r->body_size = v.body_size;
    r->expects_continue = v.expects_continue;
    return v;
}

/* -- Questions. -- */

static const char *find(const struct ht__http_pair *pairs, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(pairs[i].name, name) == 0) return pairs[i].value;
    return NULL;
}

const char *ht__http_method(const struct ht__http_request *r)
{
    return r->method;
}

const char *ht__http_path(const struct ht__http_request *r)
{
    return r->path;
}

const char *ht__http_target(const struct ht__http_request *r)
{
    return r->target;
}

const char *ht__http_peer(const struct ht__http_request *r)
{
    return r->peer;
}

const char *ht__http_header(const struct ht__http_request *r, const char *name)
{
    for (int i = 0; i < r->n_headers; i++)
        if (ht__http_same_name(r->headers[i].name, name)) return r->headers[i].value;
    return NULL;
}

const char *ht__http_cookie(const struct ht__http_request *r, const char *name)
{
    return find(r->cookies, r->n_cookies, name);
}

const char *ht__http_query(const struct ht__http_request *r, const char *name)
{
    return find(r->query, r->n_query, name);
}

bool ht__http_query_at(const struct ht__http_request *r, size_t i, const char **name, const char **value)
{
    if (i >= (size_t)r->n_query) return false;
    *name = r->query[i].name;
    *value = r->query[i].value;
    return true;
}

uint64_t ht__http_body_size(const struct ht__http_request *r)
{
    return r->body_size;
}

const void *ht__http_body(const struct ht__http_request *r, size_t *len)
{
    if (len) *len = r->body_len;
    return r->body ? r->body : "";
}

void *ht__http_user(const struct ht__http_request *r)
{
    return r->user;
}

void ht__http_set_user(struct ht__http_request *r, void *user, void (*free_user)(void *user))
{
    if (r->free_user && r->user != user) r->free_user(r->user);
    r->user = user;
    r->free_user = free_user;
}

void ht__http_take_body(struct ht__http_request *r, bool (*sink)(void *ctx, const void *data, size_t len), void *ctx,
                        uint64_t max_len)
{
    if (!r->at_begin) return;
    r->sink = sink;
    r->sink_ctx = ctx;
    r->max_body = max_len;
}

bool ht__http_body_whole(const struct ht__http_request *r)
{
    return !r->refused;
}

void ht__http_defer(struct ht__http_request *r)
{
    pthread_mutex_lock(&r->lock);
    if (!r->deferred && !r->answered) {
        r->deferred = true;
        atomic_fetch_add(&r->refs, 1);
    }
    pthread_mutex_unlock(&r->lock);
}
