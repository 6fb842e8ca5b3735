/*
 * Server-sent events, as far as our server sends them: "id:", "event:", "data:", "retry:" and comments, a line
 * each, an empty line behind each event.
 */
#include "remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A comment comes every 15 seconds: silence for three times as long is a dead connection. */
enum { MOST_LINE = 1 << 20, SILENCE_SECONDS = 45, MOST_FAILURES = 5 };

struct stream {
    remote_begin_fn *begin;
    remote_event_fn *event;
    void *ctx;
    bool begun, ended;
    char *line, *data;
    size_t len, data_len;
    char kind[32], id[32];
    long retry_ms;
};

static void field(struct stream *s, const char *name, const char *value)
{
    if (strcmp(name, "id") == 0 && strspn(value, "0123456789") == strlen(value)) {
        snprintf(s->id, sizeof s->id, "%s", value);
    } else if (strcmp(name, "event") == 0) {
        snprintf(s->kind, sizeof s->kind, "%s", value);
    } else if (strcmp(name, "retry") == 0) {
        long ms = strtol(value, NULL, 10);
        if (ms >= 0 && ms <= 60000) s->retry_ms = ms;
    } else if (strcmp(name, "data") == 0 && s->data_len + strlen(value) + 2 < MOST_LINE) {
        s->data_len +=
            (size_t)snprintf(s->data + s->data_len, MOST_LINE - s->data_len, "%s%s", s->data_len ? "\n" : "", value);
    }
}

static void end_line(struct stream *s)
{
    s->line[s->len] = '\0';
    if (s->len && s->line[s->len - 1] == '\r') s->line[--s->len] = '\0';
    if (s->len == 0 && s->data_len) {
        s->ended = s->event(s->ctx, s->kind, s->data);
        s->data_len = 0;
        s->kind[0] = '\0';
    } else if (s->len && s->line[0] != ':') {
        char *colon = strchr(s->line, ':');
        if (colon) *colon = '\0';
        field(s, s->line, colon ? colon + 1 + (colon[1] == ' ') : "");
    }
    s->len = 0;
}

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    struct stream *s = ctx;
    if (!s->begun) {
        s->begun = true;
        s->ended = s->begin(s->ctx);
    }
    for (size_t i = 0; i < size * n && !s->ended; i++) {
        if (data[i] == '\n')
            end_line(s);
        else if (s->len + 1 < MOST_LINE)
            s->line[s->len++] = data[i];
    }
    return s->ended ? 0 : size * n;
}

static CURL *prepare(const struct remote *r, struct stream *s, const char *url, struct curl_slist **headers,
                     char *fault)
{
    char header[64];
    CURL *c = curl_easy_duphandle(r->curl);
    if (!c) return NULL;
    for (const struct curl_slist *h = r->headers; h; h = h->next)
        *headers = curl_slist_append(*headers, h->data);
    *headers = curl_slist_append(*headers, "Accept: text/event-stream");
    if (s->id[0] && snprintf(header, sizeof header, "Last-Event-ID: %s", s->id) > 0)
        *headers = curl_slist_append(*headers, header);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, NULL);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, *headers);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 0L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_SECONDS);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, fault);
    return c;
}

/* One connection, until it or the watching ends. */
static CURLcode listen_once(const struct remote *r, struct stream *s, const char *url, char *fault)
{
    struct curl_slist *headers = NULL;
    CURL *c = prepare(r, s, url, &headers, fault);
    s->begun = false;
    s->len = s->data_len = 0;
    CURLcode code = c ? curl_easy_perform(c) : CURLE_OUT_OF_MEMORY;
    if (c) curl_easy_cleanup(c);
    curl_slist_free_all(headers);
    return code;
}

static int keep_listening(const struct remote *r, struct stream *s, const char *url)
{
    char fault[CURL_ERROR_SIZE] = "";
    for (int failures = 0; !s->ended;) {
        CURLcode code = listen_once(r, s, url, fault);
        failures = s->begun ? 0 : failures + 1;
        if (s->ended) break;
        if (failures == MOST_FAILURES || code == CURLE_HTTP_RETURNED_ERROR) {
            fprintf(stderr, "halftone %s: %s cannot be watched: %s\n", r->command->name, r->server,
                    fault[0] ? fault : curl_easy_strerror(code));
            return EXIT_FAILED;
        }
        usleep((useconds_t)s->retry_ms * 1000);
    }
    return EXIT_DONE;
}

int remote_events(struct remote *r, const char *path, remote_begin_fn *begin, remote_event_fn *event, void *ctx)
{
    struct stream s = {.begin = begin, .event = event, .ctx = ctx, .retry_ms = 3000};
    char url[4096];
    int status = EXIT_RESOURCES;
    s.line = malloc(MOST_LINE);
    s.data = malloc(MOST_LINE);
    if (s.line && s.data && snprintf(url, sizeof url, "%s%s", r->server, path) < (int)sizeof url)
        status = keep_listening(r, &s, url);
    free(s.line);
    free(s.data);
    return status;
}
