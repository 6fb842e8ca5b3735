/*
 * The guard: a head that two programs could read differently is refused. Request smuggling lives on such heads; a
 * browser or a client library sends none of them.
 */
#include "net/http_parts.h"

#include <string.h>
#include <strings.h>

static struct ht__http_verdict refuse(int status, const char *reason)
{
    return (struct ht__http_verdict){.status = status, .reason = reason};
}

static int count(const struct ht__http_head *head, const char *name, const char **value)
{
    int n = 0;
    if (value) *value = "";
    for (int i = 0; i < head->n_headers; i++) {
        if (!ht__http_same_name(head->headers[i].name, name)) continue;
        if (n++ == 0 && value) *value = head->headers[i].value;
    }
    return n;
}

/* host[:port]: names, IPv4, [IPv6]. No user, no list, nothing else that could hide a second host. */
static bool is_host(const char *host)
{
    size_t name = host[0] == '[' ? 1 + strspn(host + 1, "0123456789abcdefABCDEF:.")
                                 : strspn(host, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._");
    if (host[0] == '[' && host[name++] != ']') return false;
    if (name == 0) return false;
    if (host[name] == '\0') return true;
    if (host[name] != ':') return false;
    size_t digits = strspn(host + name + 1, "0123456789");
    return digits <= 5 && host[name + 1 + digits] == '\0';
}

/* 1 to 18 digits, so that no arithmetic on a body's size can wrap. */
static bool content_length(const char *text, uint64_t *size)
{
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 18 || text[n] != '\0') return false;
    *size = 0;
    for (size_t i = 0; i < n; i++)
        *size = *size * 10 + (uint64_t)(text[i] - '0');
    return true;
}

static const char *fields_fault(const struct ht__http_head *head)
{
    /* of these a second one could be the one that another program believes */
    static const char *const singles[] = {"authorization", "content-type",  "expect", "host",  "idempotency-key",
                                          "if-range",      "last-event-id", "origin", "range", "sec-fetch-site"};
    for (int i = 0; i < head->n_headers; i++) {
        if (!ht__http_is_token(head->headers[i].name)) return "a header's name is malformed";
        if (!ht__http_is_value(head->headers[i].value)) return "a header's value has control bytes";
    }
    for (size_t i = 0; i < sizeof singles / sizeof *singles; i++)
        if (count(head, singles[i], NULL) > 1) return "a header that may come once came twice";
    return NULL;
}

static const char *host_fault(const struct ht__http_head *head)
{
    const char *host;
    if (count(head, "host", &host) == 0) return head->minor == 0 ? NULL : "Host is missing";
    return is_host(host) ? NULL : "Host is malformed";
}

static const char *framing_fault(const struct ht__http_head *head, uint64_t *body_size)
{
    const char *length, *coding;
    int n_lengths = count(head, "content-length", &length), n_codings = count(head, "transfer-encoding", &coding);
    *body_size = 0;
    if (n_lengths > 1) return "Content-Length came twice";
    if (n_codings > 1) return "Transfer-Encoding came twice";
    if (n_lengths == 1 && n_codings == 1) return "Content-Length and Transfer-Encoding came together";
    if (n_lengths == 1) return content_length(length, body_size) ? NULL : "Content-Length is malformed";
    if (n_codings == 0) return NULL;
    if (head->minor == 0) return "HTTP/1.0 has no Transfer-Encoding";
    *body_size = UINT64_MAX;
    return strcasecmp(coding, "chunked") == 0 ? NULL : "the only Transfer-Encoding here is chunked";
}

/* The target's path and query. A target with a host of its own must name the same one as Host. */
static const char *target_fault(const struct ht__http_head *head, struct ht__http_verdict *v)
{
    const char *path = head->target, *host;
    if (strncasecmp(path, "http://", 7) == 0) {
        const char *authority = path + 7;
        path = authority + strcspn(authority, "/?");
        size_t n = (size_t)(path - authority);
        if (count(head, "host", &host) != 1 || strlen(host) != n || strncasecmp(host, authority, n) != 0)
            return "the target's host is not Host";
    }
    for (const char *p = head->target; *p; p++)
        if (*p <= ' ' || *p >= 0x7f || *p == '#' || *p == '\\') return "the target has bytes that must be escaped";
    if (path[0] != '/') return "the target is no path";
    v->path = path;
    v->path_len = strcspn(path, "?");
    v->query = path[v->path_len] == '?' ? path + v->path_len + 1 : NULL;
    return NULL;
}

/* Whether a list, as Connection has it, names `word`. */
static bool lists(const char *list, const char *word)
{
    size_t n = strlen(word);
    while (*list) {
        list += strspn(list, " \t,");
        size_t len = strcspn(list, " \t,");
        if (len == n && strncasecmp(list, word, n) == 0) return true;
        list += len;
    }
    return false;
}

static bool connection_ends(const struct ht__http_head *head)
{
    bool closes = false, stays = head->minor > 0;
    for (int i = 0; i < head->n_headers; i++) {
        if (!ht__http_same_name(head->headers[i].name, "connection")) continue;
        closes = closes || lists(head->headers[i].value, "close");
        stays = stays || lists(head->headers[i].value, "keep-alive");
    }
    return closes || !stays;
}

struct ht__http_verdict ht__http_guard(const struct ht__http_head *head)
{
    struct ht__http_verdict v = {0};
    const char *fault, *expect;
    if (head->n_headers > HT__HTTP_MAX_HEADERS) return refuse(431, "too many headers");
    if (!ht__http_is_token(head->method)) return refuse(400, "the method is malformed");
    if ((fault = fields_fault(head)) || (fault = host_fault(head)) || (fault = framing_fault(head, &v.body_size)) ||
        (fault = target_fault(head, &v)))
        return refuse(400, fault);
    if (strcmp(head->method, "CONNECT") == 0 || strcmp(head->method, "TRACE") == 0)
        return refuse(501, "this method is not served");
    if (count(head, "expect", &expect) == 1) {
        if (strcasecmp(expect, "100-continue") != 0)
            return refuse(417, "the only expectation met here is 100-continue");
        v.expects_continue = head->minor > 0;
    }
    v.closes = connection_ends(head);
    return v;
}
