/* The request: its head in memory of its own, and what can be asked of it. */
#include "net/http_internal.h"

#include <stdlib.h>
#include <string.h>

struct ht__http_request *ht__http_request_new(struct ht__http_conn *conn)
{
    struct ht__http_request *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->server = conn->loop->server;
    r->loop = conn->loop;
    r->conn = conn;
    r->mail.kind = HT__MAIL_REQUEST;
    r->mail.what = r;
    atomic_init(&r->refs, 1);
    r->began = conn->loop->now;
    r->method = r->target = r->path = "";
    r->minor = 1;
    r->max_body = r->server->set.max_body;
    r->fields_end = &r->fields;
    memcpy(r->peer, conn->peer, sizeof r->peer);
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void ht__http_request_drop(struct ht__http_request *r)
{
    if (atomic_fetch_sub(&r->refs, 1) > 1) return;
    ht__http_answer_drop(&r->answer);
    while (r->fields) {
        struct ht__http_field *next = r->fields->next;
        free(r->fields);
        r->fields = next;
    }
    if (r->free_user) r->free_user(r->user);
    pthread_mutex_destroy(&r->lock);
    free(r->headers);
    free(r->body);
    free(r);
}

/* -- The head. -- */

static struct ht__http_verdict refusal(int status, const char *reason)
{
    return (struct ht__http_verdict){.status = status, .reason = reason};
}

static int count_bytes(const char *text, size_t len, char byte)
{
    int n = 0;
    for (const char *p = text; (p = memchr(p, byte, (size_t)(text + len - p))) != NULL; p++)
        n++;
    return n;
}

/*
 * Everything in one block: headers, query and cookies as pairs, then the head's text, its cookies once more, the decoded
 * path and query. The pairs that can be are counted by what separates them. Returns where the head's text goes.
 */
static char *make_room(struct ht__http_request *r, const char *head, size_t len)
{
    int n_headers = count_bytes(head, len, '\n'), n_query = count_bytes(head, len, '&') + 1,
        n_cookies = count_bytes(head, len, ';') + n_headers;
    if (n_headers > HT__HTTP_MAX_HEADERS + 1) n_headers = HT__HTTP_MAX_HEADERS + 1;
    if (n_query > HT__HTTP_MAX_PAIRS) n_query = HT__HTTP_MAX_PAIRS;
    if (n_cookies > HT__HTTP_MAX_PAIRS) n_cookies = HT__HTTP_MAX_PAIRS;
    size_t pairs = (size_t)(n_headers + n_query + n_cookies) * sizeof *r->headers;
    r->headers = malloc(pairs + 3 * (len + 1));
    if (!r->headers) return NULL;
    r->query = r->headers + n_headers;
    r->cookies = r->query + n_query;
    return (char *)r->headers + pairs;
}

/* Cookies into one text, each header's after a ';'. */
static void take_cookies(struct ht__http_request *r, char *out)
{
    char *text = out;
    for (int i = 0; i < r->n_headers; i++) {
        if (!ht__http_same_name(r->headers[i].name, "cookie")) continue;
        out = stpcpy(out, r->headers[i].value);
        *out++ = ';';
    }
    if (out == text) return;
    *out = '\0';
    r->n_cookies = ht__http_cookie_split(text, r->cookies, HT__HTTP_MAX_PAIRS);
}

static struct ht__http_verdict decode_target(struct ht__http_request *r, const struct ht__http_verdict *v, char *out)
{
    if (!ht__http_path_decode(v->path, v->path_len, out)) return refusal(400, "the path is malformed");
    r->path = out;
    char *query = out + v->path_len + 1;
    int n = v->query ? ht__http_query_split(v->query, strlen(v->query), query, r->query, HT__HTTP_MAX_PAIRS) : 0;
    if (n == -2) return refusal(400, "the query has more than 128 parameters");
    if (n < 0) return refusal(400, "the query is malformed");
    r->n_query = n;
    return *v;
}

struct ht__http_verdict ht__http_request_head(struct ht__http_request *r, const char *data, size_t len)
{
    struct ht__http_head head;
    const char *reason;
    char *text = make_room(r, data, len);
    if (!text) return refusal(503, "no memory for the request");
    memcpy(text, data, len);
    text[len] = '\0';
    int status = ht__http_cut(text, len, r->headers, &head, &reason);
    if (ht__http_is_token(head.method)) r->method = head.method;
    r->target = head.target;
    if (status != 0) return refusal(status, reason);
    r->n_headers = head.n_headers;
    r->minor = head.minor;
    struct ht__http_verdict v = ht__http_guard(&head);
    if (v.status == 0) v = decode_target(r, &v, text + len + 1);
    if (v.status != 0) return v;
    take_cookies(r, text + 2 * (len + 1));
    r->body_size = v.body_size;
    r->expects_continue = v.expects_continue;
    r->closes = v.closes;
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

const char *ht__http_last_header(const struct ht__http_request *r, const char *name)
{
    for (int i = r->n_headers; i-- > 0;)
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

bool ht__http_client_left(struct ht__http_request *r)
{
    pthread_mutex_lock(&r->lock);
    bool left = r->answered || r->owner_gone || r->gone || atomic_load(&r->left);
    pthread_mutex_unlock(&r->lock);
    return left;
}
