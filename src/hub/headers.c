#include "hub/headers.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void ht__reply_begin(struct ht__reply *r, bool first_hop)
{
    if (first_hop) {
        memset(r, 0, sizeof *r);
        r->linked_size = UINT64_MAX;
    }
    r->status = 0;
    r->lost = false;
    r->etag[0] = r->next[0] = r->location[0] = r->code[0] = r->message[0] = '\0';
    r->length = r->first = r->total = UINT64_MAX;
    r->wait = -1;
}

/* Digits and nothing else, below 2^63. */
static bool number(const char *text, size_t len, uint64_t *out)
{
    uint64_t n = 0;
    if (len == 0 || len > 18) return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        n = n * 10 + (uint64_t)(text[i] - '0');
    }
    *out = n;
    return true;
}

/* Printable ASCII; the rest is left out, as these texts are shown to people. */
static void text(char *out, size_t size, const char *value, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < size; i++)
        if (value[i] >= 0x20 && value[i] < 0x7f) out[n++] = value[i];
    out[n] = '\0';
}

/* An address with characters that no address has is none; one that does not fit is not followed. */
static void address(char *out, size_t size, const char *value, size_t len)
{
    out[0] = '\0';
    if (len >= size) return;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)value[i] <= 0x20 || (unsigned char)value[i] >= 0x7f) return;
    memcpy(out, value, len);
    out[len] = '\0';
}

/* "bytes 0-99/200"; also "bytes * /200" without the blank, of a 416. */
static void content_range(struct ht__reply *r, const char *value, size_t len)
{
    if (len < 6 || strncasecmp(value, "bytes ", 6) != 0) return;
    const char *p = value + 6, *end = value + len, *slash = memchr(p, '/', (size_t)(end - p));
    if (!slash) return;
    const char *dash = memchr(p, '-', (size_t)(slash - p));
    uint64_t first, last, total;
    if (!number(slash + 1, (size_t)(end - slash - 1), &total)) return;
    r->total = total;
    r->first = UINT64_MAX; /* said twice, the last one counts */
    if (dash && number(p, (size_t)(dash - p), &first) && number(dash + 1, (size_t)(slash - dash - 1), &last) &&
        first <= last && last < total)
        r->first = first;
}

/* Seconds, or a date. */
static void retry_after(struct ht__reply *r, const char *value, size_t len, int64_t now)
{
    uint64_t seconds;
    char copy[64];
    if (number(value, len, &seconds)) {
        r->wait = (double)seconds;
        return;
    }
    text(copy, sizeof copy, value, len);
    time_t when = curl_getdate(copy, NULL);
    if (when >= 0) r->wait = when > now ? (double)(when - now) : 0;
}

/* RateLimit: "api";r=0;t=55 - t is when the window ends. It counts only when nothing is left in it. */
static void rate_limit(struct ht__reply *r, const char *value, size_t len)
{
    char copy[256];
    uint64_t left = 1, seconds;
    text(copy, sizeof copy, value, len);
    const char *rest = strstr(copy, ";r="), *t = strstr(copy, ";t=");
    if (rest) (void)number(rest + 3, strspn(rest + 3, "0123456789"), &left);
    if (r->wait < 0 && rest && left == 0 && t && number(t + 3, strspn(t + 3, "0123456789"), &seconds))
        r->wait = (double)seconds;
}

/* <https://…>; rel="next" */
static void link_next(struct ht__reply *r, const char *value, size_t len)
{
    char copy[1200];
    text(copy, sizeof copy, value, len);
    const char *open = strchr(copy, '<'), *close = open ? strchr(open, '>') : NULL;
    if (close && strstr(close, "rel=\"next\"")) address(r->next, sizeof r->next, open + 1, (size_t)(close - open - 1));
}

static bool is(const char *name, size_t len, const char *want)
{
    return strlen(want) == len && strncasecmp(name, want, len) == 0;
}

/* These describe the file, and only the endpoint is asked about it. */
static void of_endpoint(struct ht__reply *r, const char *name, size_t n, const char *value, size_t len)
{
    uint64_t size;
    if (is(name, n, "x-linked-etag"))
        (void)ht__etag_read(value, len, r->linked_etag, sizeof r->linked_etag);
    else if (is(name, n, "x-linked-size") && number(value, len, &size))
        r->linked_size = size;
    else if (is(name, n, "x-repo-commit"))
        text(r->commit, sizeof r->commit, value, len);
    else if (is(name, n, "x-error-code"))
        text(r->code, sizeof r->code, value, len);
    else if (is(name, n, "x-error-message"))
        text(r->message, sizeof r->message, value, len);
    else if (is(name, n, "link"))
        link_next(r, value, len);
}

void ht__reply_header(struct ht__reply *r, const char *line, size_t len, bool endpoint, int64_t now)
{
    const char *colon = memchr(line, ':', len);
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* after a 1xx the answer itself begins */
        ht__reply_begin(r, false);
        return;
    }
    if (!colon) return;
    const char *value = colon + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t n = (size_t)(colon - line), v = (size_t)(end - value);
    if (endpoint) of_endpoint(r, line, n, value, v);
    if (is(line, n, "etag"))
        (void)ht__etag_read(value, v, r->etag, sizeof r->etag);
    else if (is(line, n, "content-length"))
        (void)number(value, v, &r->length);
    else if (is(line, n, "content-range"))
        content_range(r, value, v);
    else if (is(line, n, "retry-after"))
        retry_after(r, value, v, now);
    else if (is(line, n, "ratelimit"))
        rate_limit(r, value, v);
    else if (is(line, n, "location"))
        address(r->location, sizeof r->location, value, v);
}
