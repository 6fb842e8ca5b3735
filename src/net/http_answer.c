/* Answers: made in any thread, delivered by the connection's loop. */
#include "net/http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
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
    pthread_mutex_lock(&r->lock);
    struct ht__http_field **end = &r->fields;
    while (*end)
        end = &(*end)->next;
    field->next = NULL;
    *end = field;
    pthread_mutex_unlock(&r->lock);
    return true;
}

/* -- Making. -- */

struct answer {
    int status;
    struct MHD_Response *response; /* NULL: no memory, the connection will break */
    const void *memory;
    uint64_t len;
    struct ht__http_stream *stream;
};

/* Under the request's lock: the request has its answer, and its connection wakes. */
static void set_answer(struct ht__http_request *r, const struct answer *a)
{
    bool whole = a->response && !r->starved;
    for (const struct ht__http_field *f = r->fields; whole && f; f = f->next)
        whole = MHD_add_response_header(a->response, f->name, f->value) == MHD_YES;
    if (a->response && !whole) MHD_destroy_response(a->response); /* rather none than one without its Content-Range */
    r->status = a->status;
    r->response = whole ? a->response : NULL;
    r->memory = whole ? a->memory : NULL;
    r->answer_len = a->len;
    r->stream = whole ? a->stream : NULL;
    r->answered = true;
    if (r->suspended) MHD_resume_connection(r->mhd);
    r->suspended = false;
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
static void give(struct ht__http_request *r, const struct answer *a)
{
    pthread_mutex_lock(&r->lock);
    bool first = !r->answered;
    if (first) set_answer(r, a);
    let_go(r);
    if (!first && a->response) MHD_destroy_response(a->response);
}

static void answer_memory(struct ht__http_request *r, int status, const char *content_type, const void *body, size_t len,
                          enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(len, (void *)body, mode);
    if (!response && mode == MHD_RESPMEM_MUST_FREE) free((void *)body);
    if (content_type) ht__http_add_header(r, "Content-Type", content_type);
    give(r, &(struct answer){status, response, response ? body : NULL, len, NULL});
}

void ht__http_answer_static(struct ht__http_request *r, int status, const char *content_type, const void *body, size_t len)
{
    answer_memory(r, status, content_type, len > 0 ? body : "", len, MHD_RESPMEM_PERSISTENT);
}

void ht__http_answer_owned(struct ht__http_request *r, int status, const char *content_type, void *body, size_t len)
{
    if (body && len > 0) {
        answer_memory(r, status, content_type, body, len, MHD_RESPMEM_MUST_FREE);
        return;
    }
    free(body);
    ht__http_answer_static(r, status, content_type, "", 0);
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
    if (len == 0) {
        close(fd);
        ht__http_answer_static(r, status, content_type, "", 0);
        return;
    }
    struct stat st;
    if (offset > INT64_MAX || len > INT64_MAX - offset || fstat(fd, &st) != 0 ||
        (S_ISREG(st.st_mode) && (uint64_t)st.st_size < offset + len)) {
        close(fd); /* the library would wait for bytes that never come */
        ht__http_refuse(r, 500, "the file is shorter than it was");
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_fd_at_offset64(len, fd, offset);
    if (!response) close(fd);
    if (content_type) ht__http_add_header(r, "Content-Type", content_type);
    give(r, &(struct answer){status, response, NULL, len, NULL});
}

struct ht__http_stream *ht__http_answer_stream(struct ht__http_request *r, const char *content_type, size_t max_queued)
{
    struct MHD_Response *response = NULL;
    if (content_type) ht__http_add_header(r, "Content-Type", content_type);
    pthread_mutex_lock(&r->lock); /* a request that was cancelled has no server any more to know of the stream */
    bool first = !r->answered;
    struct ht__http_stream *stream = ht__http_stream_new(first ? r : NULL, max_queued, &response);
    if (first) set_answer(r, &(struct answer){200, response, NULL, 0, response ? stream : NULL});
    let_go(r);
    return stream;
}

void ht__http_refuse(struct ht__http_request *r, int status, const char *reason)
{
    char text[256];
    int n = snprintf(text, sizeof text, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}\n",
                     MHD_get_reason_phrase_for((unsigned)status), status, reason);
    r->closes = true;
    ht__http_answer(r, status, "application/problem+json", text, (size_t)n);
}

void ht__http_cancel(struct ht__http_request *r)
{
    static const char text[] = "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
                               "\"detail\":\"the server is closing\"}\n";
    struct MHD_Response *response =
        MHD_create_response_from_buffer(sizeof text - 1, (void *)text, MHD_RESPMEM_PERSISTENT);
    if (response) MHD_add_response_header(response, "Content-Type", "application/problem+json");
    pthread_mutex_lock(&r->lock);
    bool first = !r->answered; /* the owner has not let go: its reference stays */
    if (first) set_answer(r, &(struct answer){503, response, response ? text : NULL, sizeof text - 1, NULL});
    pthread_mutex_unlock(&r->lock);
    if (!first && response) MHD_destroy_response(response);
}

void ht__http_cancel_waiting(struct ht__http *server)
{
    pthread_mutex_lock(&server->waiting_lock);
    server->cancelling = true;
    for (struct ht__http_request *r = server->waiting; r; r = r->next_waiting)
        ht__http_cancel(r);
    pthread_mutex_unlock(&server->waiting_lock);
}

/* -- Delivering. -- */

/* As RFC 9110 has it, in whatever locale. */
static void date_text(char out[64])
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    snprintf(out, 64, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + t.tm_wday * 3, t.tm_mday % 100,
             months + t.tm_mon * 3, (t.tm_year + 1900) % 10000, t.tm_hour % 100, t.tm_min % 100, t.tm_sec % 100);
}

void ht__http_send_by_hand(struct ht__http_conn *conn, int status, const struct ht__http_field *fields,
                           const char *content_type, const void *body, size_t len)
{
    char *text = NULL, date[64];
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (f) {
        date_text(date);
        fprintf(f, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\nContent-Length: %zu\r\n", status,
                MHD_get_reason_phrase_for((unsigned)status), date, len);
        for (; fields; fields = fields->next)
            fprintf(f, "%s: %s\r\n", fields->name, fields->value);
        if (content_type) fprintf(f, "Content-Type: %s\r\n", content_type);
        fputs("\r\n", f);
        fwrite(body, 1, len, f);
        if (fclose(f) == 0 && send(conn->fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) len = 0;
    }
    free(text);
    shutdown(conn->fd, SHUT_WR);
}

enum MHD_Result ht__http_deliver(struct ht__http_request *r, enum ht__http_where where)
{
    bool pending = where != HT__AT_END;
    r->delivered = true;
    if (!r->response) return MHD_NO;
    /* Closing on a body that is still coming could destroy the answer on its way: it is sent, and the rest is thrown
       away for a while. Whoever waits for "100 Continue" sends none. */
    if (r->memory && (where == HT__IN_BODY || (where == HT__AT_HEAD && !r->expects_continue))) {
        r->by_hand = true;
        ht__http_set_phase(r->conn, HT__PHASE_LINGER);
        bool head = strcmp(r->method, "HEAD") == 0;
        ht__http_send_by_hand(r->conn, r->status, r->fields, NULL, r->memory, head ? 0 : (size_t)r->answer_len);
        return MHD_YES;
    }
    if (where == HT__IN_BODY) return MHD_NO; /* neither files nor streams can go out by hand */
    if (pending || r->closes || atomic_load(&r->server->stopping))
        MHD_add_response_header(r->response, "Connection", "close");
    /* to HEAD the library would send the end of the chunks that it leaves out */
    if (r->stream && strcmp(r->method, "HEAD") == 0)
        MHD_set_response_options(r->response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    if (!r->memory && !r->stream) r->acked_before = ht__http_acked(r->conn->fd);
    ht__http_set_phase(r->conn, r->stream ? HT__PHASE_STREAM : HT__PHASE_ANSWER);
    return MHD_queue_response(r->mhd, (unsigned)r->status, r->response);
}
