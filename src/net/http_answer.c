/* Answers: made in any thread; the connection's loop sends them. */
#include "net/http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- Headers. -- */

bool ht__http_add_header(struct ht__http_request *r, const char *name, const char *value)
{
    size_t n = strlen(name), m = strlen(value);
    if (!ht__http_is_token(name) || !ht__http_is_value(value)) return false;
    struct ht__http_field *field = malloc(sizeof *field + n + m + 2);
    if (!field) {
        r->starved = true;
        return false;
    }
    memcpy(field->name, name, n + 1);
    field->value = memcpy(field->name + n + 1, value, m + 1);
    field->name_len = n;
    field->value_len = m;
    field->next = NULL;
    pthread_mutex_lock(&r->lock);
    *r->fields_end = field;
    r->fields_end = &field->next;
    pthread_mutex_unlock(&r->lock);
    return true;
}

/* -- Making. -- */

void ht__http_piece_drop(struct ht__http_piece *piece)
{
    if (!piece->data && piece->fd >= 0) close(piece->fd);
    *piece = (struct ht__http_piece){.fd = -1};
}

void ht__http_answer_drop(struct ht__http_answer *a)
{
    if (a->owned) free((void *)a->body);
    if (a->kind == HT__ANSWER_FILE) close(a->fd);
    if (a->kind == HT__ANSWER_PIECES) {
        ht__http_piece_drop(&a->piece);
        a->pieces.free(a->pieces.ctx);
    }
    if (a->kind == HT__ANSWER_STREAM) ht__http_stream_drop(a->stream);
    *a = (struct ht__http_answer){.status = a->status};
}

/* Under the request's lock: the request has its answer, and its loop is told. */
static void set_answer(struct ht__http_request *r, const struct ht__http_answer *a)
{
    r->answer = *a;
    if (r->starved) ht__http_answer_drop(&r->answer); /* rather none than one without its Content-Range */
    r->answered = true;
    if (!r->parked || r->gone) return;
    r->parked = false;
    atomic_fetch_add(&r->refs, 1);
    ht__http_post(r->loop, &r->mail);
}

/* Ends the owner's part; what it held is dropped. Unlocks. */
static void let_go(struct ht__http_request *r)
{
    bool owned = r->deferred && !r->owner_gone;
    r->owner_gone = true;
    pthread_mutex_unlock(&r->lock);
    if (owned) ht__http_request_drop(r);
}

/* Hands an answer over; when the request has one already, this one goes nowhere. */
static void give(struct ht__http_request *r, const char *content_type, struct ht__http_answer a)
{
    if (content_type) ht__http_add_header(r, "Content-Type", content_type);
    pthread_mutex_lock(&r->lock);
    bool first = !r->answered;
    if (first) set_answer(r, &a);
    let_go(r);
    if (!first) ht__http_answer_drop(&a);
}

void ht__http_answer_static(struct ht__http_request *r, int status, const char *content_type, const void *body,
                            size_t len)
{
    give(r, content_type,
         (struct ht__http_answer){.kind = HT__ANSWER_MEMORY, .status = status, .body = body, .len = len});
}

void ht__http_answer_owned(struct ht__http_request *r, int status, const char *content_type, void *body, size_t len)
{
    give(r, content_type,
         (struct ht__http_answer){
             .kind = HT__ANSWER_MEMORY, .status = status, .body = body, .owned = true, .len = body ? len : 0});
}

void ht__http_answer(struct ht__http_request *r, int status, const char *content_type, const void *body, size_t len)
{
    static const char sorry[] = "out of memory\n";
    void *copy = len > 0 ? malloc(len) : NULL;
    if (copy)
        ht__http_answer_owned(r, status, content_type, memcpy(copy, body, len), len);
    else if (len == 0)
        ht__http_answer_static(r, status, content_type, "", 0);
    else
        ht__http_answer_static(r, 503, "text/plain", sorry, sizeof sorry - 1);
}

void ht__http_answer_file(struct ht__http_request *r, int status, const char *content_type, int fd, uint64_t offset,
                          uint64_t len)
{
    struct stat st;
    bool whole = offset <= INT64_MAX && len <= INT64_MAX - offset && fstat(fd, &st) == 0 &&
                 (!S_ISREG(st.st_mode) || (uint64_t)st.st_size >= offset + len);
    if (!whole) {
        close(fd); /* half an answer would be told by its length alone */
        ht__http_refuse(r, 500, "the file is shorter than it was");
        return;
    }
    give(r, content_type,
         (struct ht__http_answer){.kind = HT__ANSWER_FILE, .status = status, .fd = fd, .offset = offset, .len = len});
}

void ht__http_answer_pieces(struct ht__http_request *r, int status, const char *content_type,
                            const struct ht__http_pieces *pieces, uint64_t len)
{
    give(r, content_type,
         (struct ht__http_answer){
             .kind = HT__ANSWER_PIECES, .status = status, .pieces = *pieces, .piece = {.fd = -1}, .len = len});
}

struct ht__http_stream *ht__http_answer_stream(struct ht__http_request *r, const char *content_type, size_t max_queued)
{
    struct ht__http_answer a = {.kind = HT__ANSWER_STREAM, .status = 200};
    bool made;
    if (content_type) ht__http_add_header(r, "Content-Type", content_type);
    pthread_mutex_lock(&r->lock); /* a request that was cancelled has no server any more to know of the stream */
    bool first = !r->answered;
    a.stream = ht__http_stream_new(first ? r : NULL, max_queued, &made);
    if (!made) a.kind = HT__ANSWER_BROKEN;
    struct ht__http_stream *stream = a.stream;
    if (first) set_answer(r, &a);
    let_go(r);
    return stream;
}

/* A problem as application/problem+json. The reasons are the adapter's own texts: nothing in them must be escaped. */
static int problem(char *out, size_t size, int status, const char *reason)
{
    return snprintf(out, size, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}\n",
                    ht__http_reason_phrase(status), status, reason);
}

void ht__http_refuse(struct ht__http_request *r, int status, const char *reason)
{
    char text[256];
    int n = problem(text, sizeof text, status, reason);
    r->closes = true;
    ht__http_answer(r, status, "application/problem+json", text, (size_t)n);
}

void ht__http_cancel(struct ht__http_request *r)
{
    static const char text[] = "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
                               "\"detail\":\"the server is closing\"}\n";
    struct ht__http_answer a = {.kind = HT__ANSWER_MEMORY, .status = 503, .body = text, .len = sizeof text - 1};
    ht__http_add_header(r, "Content-Type", "application/problem+json");
    pthread_mutex_lock(&r->lock); /* the owner has not let go: its reference stays */
    if (!r->answered) set_answer(r, &a);
    pthread_mutex_unlock(&r->lock);
}

const char *ht__http_reason_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {{200, "OK"},
                   {201, "Created"},
                   {202, "Accepted"},
                   {204, "No Content"},
                   {206, "Partial Content"},
                   {301, "Moved Permanently"},
                   {302, "Found"},
                   {303, "See Other"},
                   {304, "Not Modified"},
                   {307, "Temporary Redirect"},
                   {308, "Permanent Redirect"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {406, "Not Acceptable"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {410, "Gone"},
                   {411, "Length Required"},
                   {412, "Precondition Failed"},
                   {413, "Content Too Large"},
                   {414, "URI Too Long"},
                   {415, "Unsupported Media Type"},
                   {416, "Range Not Satisfiable"},
                   {417, "Expectation Failed"},
                   {421, "Misdirected Request"},
                   {422, "Unprocessable Content"},
                   {428, "Precondition Required"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {502, "Bad Gateway"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"},
                   {507, "Insufficient Storage"}};
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (phrases[i].status == status) return phrases[i].phrase;
    return "Unknown";
}
