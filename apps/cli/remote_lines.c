/* Answers that come as JSON objects, one a line, and files that are sent: what Ollama's interface is made of. */
#include "remote.h"

#include <stdlib.h>
#include <string.h>

/* A line of Ollama's own client may be as long; what is no line may be the words of a refusal. */
enum { MOST_LINE = 8 << 20, MOST_REFUSAL = 64 << 10 };

struct lines {
    struct remote *remote;
    CURL *curl;
    remote_line_fn *line;
    void *ctx;
    char *data;
    size_t len, cap;
    long http;
    int status; /* EXIT_DONE as long as it goes on */
};

static int end_line(struct lines *s)
{
    size_t len = s->len;
    s->len = 0;
    while (len && (s->data[len - 1] == '\r' || s->data[len - 1] == ' '))
        len--;
    if (len == 0) return EXIT_DONE;
    json_t *object = json_loadb(s->data, len, JSON_REJECT_DUPLICATES, NULL);
    int status = EXIT_DONE;
    if (!json_is_object(object))
        status = remote_strange(s->remote, "a line of its answer is no JSON object");
    else if (json_object_get(object, "error"))
        status = remote_refused(s->remote, 500, s->data, len);
    else
        status = s->line(s->ctx, object);
    json_decref(object);
    return status;
}

static bool put(struct lines *s, const char *data, size_t n, size_t most)
{
    if (n > most - s->len) return false;
    if (s->len + n > s->cap) {
        size_t cap = 2 * (s->len + n) < 4096 ? 4096 : 2 * (s->len + n);
        char *grown = realloc(s->data, cap);
        if (!grown) return s->status = EXIT_RESOURCES, false;
        s->data = grown;
        s->cap = cap;
    }
    if (n) memcpy(s->data + s->len, data, n);
    s->len += n;
    return true;
}

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    struct lines *s = ctx;
    size_t all = size * n;
    if (!s->http) curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &s->http);
    if (s->http != 200) return put(s, data, all, MOST_REFUSAL) ? all : 0;
    for (size_t at = 0, len; at < all && s->status == EXIT_DONE; at += len + 1) {
        const char *end = memchr(data + at, '\n', all - at);
        len = end ? (size_t)(end - data) - at : all - at;
        if (!put(s, data + at, len, MOST_LINE)) {
            if (s->status == EXIT_DONE) s->status = remote_strange(s->remote, "a line of its answer is too long");
        } else if (end) {
            s->status = end_line(s);
        }
    }
    return s->status == EXIT_DONE ? all : 0;
}

/* The options of the connection, and headers of its own: `type` of what is sent, NULL: nothing is. */
static CURL *prepare(struct remote *r, const char *path, const char *type, struct curl_slist **headers)
{
    char url[4096], header[128];
    CURL *c =
        snprintf(url, sizeof url, "%s%s", r->server, path) < (int)sizeof url ? curl_easy_duphandle(r->curl) : NULL;
    if (!c) return NULL;
    for (const struct curl_slist *h = r->headers; h; h = h->next)
        *headers = curl_slist_append(*headers, h->data);
    *headers =
        curl_slist_append(*headers, "Expect:"); /* of servers that do not know it there is a second to wait for */
    if (type && snprintf(header, sizeof header, "Content-Type: %s", type) < (int)sizeof header)
        *headers = curl_slist_append(*headers, header);
    r->fault[0] = '\0';
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, *headers);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, NULL);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, r->fault);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 0L); /* a model may take minutes to load, and says nothing meanwhile */
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    return c;
}

static void finish(CURL *c, struct curl_slist *headers)
{
    if (c) curl_easy_cleanup(c);
    curl_slist_free_all(headers);
}

/* What came of it, after the connection has ended. */
static int judge(struct lines *s, CURLcode code)
{
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &s->http);
    if (s->status != EXIT_DONE) return s->status;
    if (s->http && s->http != 200) return remote_refused(s->remote, s->http, s->data, s->len);
    if (code != CURLE_OK) return remote_unreachable(s->remote, curl_easy_strerror(code));
    return end_line(s); /* the last line may have no end */
}

int remote_lines(struct remote *r, const char *path, json_t *body, remote_line_fn *line, void *ctx)
{
    struct lines s = {.remote = r, .line = line, .ctx = ctx};
    struct curl_slist *headers = NULL;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    s.curl = text ? prepare(r, path, "application/json", &headers) : NULL;
    int status = EXIT_RESOURCES;
    if (s.curl) {
        curl_easy_setopt(s.curl, CURLOPT_POSTFIELDS, text);
        curl_easy_setopt(s.curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
        curl_easy_setopt(s.curl, CURLOPT_WRITEFUNCTION, take);
        curl_easy_setopt(s.curl, CURLOPT_WRITEDATA, &s);
        status = judge(&s, curl_easy_perform(s.curl));
    }
    finish(s.curl, headers);
    free(text);
    free(s.data);
    return status;
}

static size_t ignore(char *data, size_t size, size_t n, void *ctx)
{
    (void)data;
    (void)ctx;
    return size * n;
}

int remote_head(struct remote *r, const char *path)
{
    struct curl_slist *headers = NULL;
    CURL *c = prepare(r, path, NULL, &headers);
    int status = EXIT_RESOURCES;
    r->http = 0;
    if (c) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
        curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, ignore);
        curl_easy_setopt(c, CURLOPT_TIMEOUT, 60L);
        CURLcode code = curl_easy_perform(c);
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r->http);
        status = code != CURLE_OK                   ? remote_unreachable(r, curl_easy_strerror(code))
                 : r->http == 200 || r->http == 404 ? EXIT_DONE
                                                    : remote_refused(r, r->http, NULL, 0);
    }
    finish(c, headers);
    return status;
}

/* ---- files that are sent ------------------------------------------------------------------------- */

struct upload {
    struct lines answer;
    FILE *file;
    uint64_t done, size;
    void (*tell)(void *ctx, uint64_t done);
    void *ctx;
};

static size_t give(char *data, size_t size, size_t n, void *ctx)
{
    struct upload *u = ctx;
    uint64_t left = u->size - u->done;
    size_t got = fread(data, 1, left < size * n ? (size_t)left : size * n, u->file);
    if (got == 0 && left > 0) return CURL_READFUNC_ABORT;
    u->done += got;
    if (u->tell) u->tell(u->ctx, u->done);
    return got;
}

int remote_upload(struct remote *r, const char *path, FILE *file, uint64_t size, void (*tell)(void *ctx, uint64_t done),
                  void *ctx)
{
    struct upload u = {.answer = {.remote = r}, .file = file, .size = size, .tell = tell, .ctx = ctx};
    struct curl_slist *headers = NULL;
    CURL *c = u.answer.curl = prepare(r, path, "application/octet-stream", &headers);
    int status = EXIT_RESOURCES;
    if (c) {
        u.answer.http = -1; /* whatever it answers is a refusal's words or nothing */
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, give);
        curl_easy_setopt(c, CURLOPT_READDATA, &u);
        curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
        curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
        curl_easy_setopt(c, CURLOPT_WRITEDATA, &u.answer);
        CURLcode code = curl_easy_perform(c);
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r->http);
        status = r->http == 200 || r->http == 201 ? EXIT_DONE
                 : r->http                        ? remote_refused(r, r->http, u.answer.data, u.answer.len)
                 : u.done < size && feof(file)    ? remote_unreachable(r, "the file became shorter while it was sent")
                                                  : remote_unreachable(r, curl_easy_strerror(code));
    }
    finish(c, headers);
    free(u.answer.data);
    return status;
}
