#include "hub/link.h"
#include "hub/address.h"
#include "hub/headers.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    MAX_HOPS = 5,
    MAX_REFUSAL = 64 << 10, /* of the body of an answer that is no 2xx: nobody reads it */
    CONNECT_SECONDS = 15,
    SLOWEST = 1024,     /* bytes a second: below it for `timeout` seconds a connection counts as dead */
    LONGEST_WAIT = 900, /* seconds that a server may ask for */
    ORIGIN_MAX = 600,
};

struct ht__link {
    struct ht__hub *hub;
    CURL *curl;
    /* of the hop under way */
    const struct ht__request *request;
    struct ht__reply *reply;
    bool at_endpoint, begun, vetoed;
    uint64_t taken;
    enum ht_err err; /* of begin and sink */
    struct ht_diag *diag;
    char origin[ORIGIN_MAX];
    char error[CURL_ERROR_SIZE];
};

struct ht__hub *ht__link_hub(struct ht__link *link)
{
    return link->hub;
}

/* ---- what curl calls ---- */

/* After names were resolved: the last word on where a connection goes. With a proxy, it goes there, or to a host
 * that was named as one to be reached without it. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct ht__link *link = ctx;
    enum ht__address_class class = ht__address_classify(&a->addr);
    bool proxied = link->hub->settings.proxy && *link->hub->settings.proxy;
    (void)purpose;
    if (link->at_endpoint && !proxied)
        atomic_store(&link->hub->endpoint_class, (int)class);
    else if (!proxied && !ht__address_allowed(class, (enum ht__address_class)atomic_load(&link->hub->endpoint_class))) {
        link->vetoed = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
    struct ht__link *link = ctx;
    ht__reply_header(link->reply, data, size * n, link->at_endpoint, (int64_t)time(NULL));
    return size * n;
}

static bool is_good(int status)
{
    return status >= 200 && status < 300;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct ht__link *link = ctx;
    const struct ht__request *q = link->request;
    size_t len = size * n;
    long status = 0;
    curl_easy_getinfo(link->curl, CURLINFO_RESPONSE_CODE, &status);
    link->reply->status = (int)status;
    if (!is_good((int)status)) return (link->taken += len) > MAX_REFUSAL ? 0 : len;
    if (len > q->limit || link->taken > q->limit - len) {
        link->err = ht__fail(link->diag, HT_ERR_LIMIT, link->origin, -1,
                             "the answer is longer than the expected %llu bytes", (unsigned long long)q->limit);
        return 0;
    }
    link->taken += len;
    if (!link->begun && q->begin) link->err = q->begin(q->ctx, link->reply, link->diag);
    link->begun = true;
    if (link->err == HT_OK && q->sink) link->err = q->sink(q->ctx, data, len, link->diag);
    return link->err == HT_OK ? len : 0;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct ht__link *link = ctx;
    (void)a, (void)b, (void)c, (void)d;
    return ht__hub_stopped(link->hub);
}

/* ---- one handle ---- */

static void set_up(struct ht__link *link)
{
    const struct ht__hub_settings *s = &link->hub->settings;
    CURL *c = link->curl;
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, link->hub->http ? "http,https" : "https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "halftone/" HT_VERSION);
    curl_easy_setopt(c, CURLOPT_PROXY, s->proxy ? s->proxy : ""); /* "": whatever the environment says */
    curl_easy_setopt(c, CURLOPT_NOPROXY, s->no_proxy ? s->no_proxy : "");
    if (s->ca_file) curl_easy_setopt(c, CURLOPT_CAINFO, s->ca_file);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)(s->timeout < CONNECT_SECONDS ? s->timeout : CONNECT_SECONDS));
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)SLOWEST);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)s->timeout);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, link->error);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, link);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, link);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, link);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, link);
}

enum ht_err ht__link_open(struct ht__hub *hub, struct ht__link **out, struct ht_diag *diag)
{
    struct ht__link *link = ht__new(hub->alloc, sizeof *link);
    *out = NULL;
    if (!link) return ht__fail_memory(diag, "connection");
    link->hub = hub;
    link->curl = curl_easy_init();
    if (!link->curl) {
        ht__free(hub->alloc, link);
        return ht__fail_memory(diag, "connection");
    }
    set_up(link);
    *out = link;
    return HT_OK;
}

void ht__link_close(struct ht__link **p)
{
    struct ht__link *link = *p;
    if (!link) return;
    curl_easy_cleanup(link->curl);
    ht__free(link->hub->alloc, link);
    *p = NULL;
}

/* ---- one hop ---- */

static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
    char line[4200];
    if ((size_t)snprintf(line, sizeof line, "%s: %s", name, value) >= sizeof line) return false;
    struct curl_slist *more = curl_slist_append(*list, line);
    if (more) *list = more;
    return more != NULL;
}

static bool headers_of(struct ht__link *link, const struct ht__request *q, struct curl_slist **list)
{
    char quoted[200], bearer[4100];
    *list = NULL;
    bool ok = add_header(list, "Accept-Encoding", "identity"); /* ranges and sizes are of the file itself */
    if (q->if_range) {
        snprintf(quoted, sizeof quoted, "\"%s\"", q->if_range);
        ok = ok && add_header(list, "If-Range", quoted);
    }
    if (link->at_endpoint && link->hub->settings.token) {
        ok = ok && (size_t)snprintf(bearer, sizeof bearer, "Bearer %s", link->hub->settings.token) < sizeof bearer &&
             add_header(list, "Authorization", bearer);
    }
    return ok;
}

static void ask(struct ht__link *link, const struct ht__request *q, const char *url, struct curl_slist *list)
{
    char range[64];
    CURL *c = link->curl;
    bool ranged = q->first || q->len;
    if (ranged && q->len)
        snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)q->first,
                 (unsigned long long)(q->first + q->len - 1));
    else
        snprintf(range, sizeof range, "%llu-", (unsigned long long)q->first);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(c, CURLOPT_RANGE, ranged ? range : NULL);
    if (q->head)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
}

/* Addresses of files may carry signatures: a diagnosis names the host alone. */
static enum ht_err explain(struct ht__link *link, CURLcode code)
{
    const char *why = link->error[0] ? link->error : curl_easy_strerror(code);
    if (link->err != HT_OK) return link->err;
    if (code == CURLE_ABORTED_BY_CALLBACK) return ht__fail(link->diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    if (link->vetoed)
        return ht__fail(link->diag, HT_ERR_DENIED, link->origin, -1,
                        "the hub redirects to an address in a private network: not followed");
    if (code == CURLE_OUT_OF_MEMORY) return ht__fail_memory(link->diag, "connection");
    if (code == CURLE_UNSUPPORTED_PROTOCOL)
        return ht__fail(link->diag, HT_ERR_DENIED, link->origin, -1, "a hub must be reached over https");
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return ht__fail(link->diag, HT_ERR_IO, link->origin, -1,
                        "its certificate cannot be verified: %.200s (SSL_CERT_FILE names other authorities)", why);
    link->reply->lost = true;
    return ht__fail(link->diag, HT_ERR_IO, link->origin, -1, "the connection failed: %.200s", why);
}

static enum ht_err hop(struct ht__link *link, const char *url)
{
    struct curl_slist *list;
    link->begun = link->vetoed = false;
    link->taken = 0;
    link->err = HT_OK;
    link->error[0] = '\0';
    enum ht_err err = headers_of(link, link->request, &list) ? HT_OK : ht__fail_memory(link->diag, "connection");
    if (err == HT_OK) {
        ask(link, link->request, url, list);
        CURLcode code = curl_easy_perform(link->curl);
        long status = 0;
        curl_easy_getinfo(link->curl, CURLINFO_RESPONSE_CODE, &status);
        link->reply->status = (int)status;
        bool refused = code == CURLE_WRITE_ERROR && link->err == HT_OK && status && !is_good((int)status);
        if (code != CURLE_OK && !refused) err = explain(link, code);
    }
    curl_easy_setopt(link->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(list);
    return err;
}

/* ---- a request with its redirects ---- */

/* Where the answer leads, as a whole address; false when it leads nowhere that we may go. */
static enum ht_err next_hop(struct ht__link *link, char *url)
{
    char *to = NULL, origin[ORIGIN_MAX], host[ORIGIN_MAX];
    enum ht__address_class class;
    struct ht__reply *r = link->reply;
    curl_easy_getinfo(link->curl, CURLINFO_REDIRECT_URL, &to);
    if (!r->location[0] || !to || strlen(to) >= HT__URL_MAX || !ht__hub_origin(to, origin, sizeof origin))
        return ht__fail(link->diag, HT_ERR_DENIED, link->origin, -1, "the redirect is not a web address");
    if (!link->hub->http && strncmp(origin, "https:", 6) != 0)
        return ht__fail(link->diag, HT_ERR_DENIED, link->origin, -1, "a redirect from https to http: not followed");
    snprintf(host, sizeof host, "%s", strstr(origin, "//") + 2);
    *strrchr(host, ':') = '\0';
    if (strcmp(origin, link->hub->origin) != 0 && ht__address_of_host(host, &class) &&
        !ht__address_allowed(class, (enum ht__address_class)atomic_load(&link->hub->endpoint_class))) {
        link->vetoed = true;
        link->err = HT_OK;
        return explain(link, CURLE_COULDNT_CONNECT);
    }
    memmove(url, to, strlen(to) + 1);
    return HT_OK;
}

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static enum ht_err follow(struct ht__link *link)
{
    struct ht__reply *r = link->reply;
    char to[HT__URL_MAX];
    for (int hops = 0;; hops++) {
        if (!ht__hub_origin(r->url, link->origin, sizeof link->origin))
            return ht__fail(link->diag, HT_ERR_USAGE, "hub", -1, "not a web address");
        link->at_endpoint = strcmp(link->origin, link->hub->origin) == 0;
        if (hops) ht__reply_begin(r, false);
        HT_TRY(hop(link, r->url));
        if (!is_redirect(r->status)) return HT_OK;
        if (hops == MAX_HOPS)
            return ht__fail(link->diag, HT_ERR_DENIED, link->origin, -1, "more than %d redirects", MAX_HOPS);
        HT_TRY(next_hop(link, to));
        char origin[ORIGIN_MAX];
        if (link->request->at_home && ht__hub_origin(to, origin, sizeof origin) && strcmp(origin, link->origin) != 0)
            return HT_OK;
        memcpy(r->url, to, strlen(to) + 1);
    }
}

enum ht_err ht__link_send(struct ht__link *link, const struct ht__request *request, struct ht__reply *reply,
                          struct ht_diag *diag)
{
    ht__reply_begin(reply, true);
    if (strlen(request->url) >= sizeof reply->url)
        return ht__fail(diag, HT_ERR_LIMIT, "hub", -1, "the address is too long");
    memcpy(reply->url, request->url, strlen(request->url) + 1);
    link->request = request;
    link->reply = reply;
    link->diag = diag;
    enum ht_err err =
        ht__hub_stopped(link->hub) ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled") : follow(link);
    link->request = NULL;
    link->reply = NULL;
    link->diag = NULL;
    return err;
}

bool ht__reply_is_busy(const struct ht__reply *r)
{
    return r->status == 429 || r->status == 408 || (r->status >= 500 && r->status != 501 && r->status != 505);
}

enum ht_err ht__link_wait(struct ht__link *link, struct ht__patience *patience, const struct ht__reply *reply,
                          struct ht_diag *diag)
{
    const struct ht__hub_settings *s = &link->hub->settings;
    bool told = reply->wait >= 0 && ht__reply_is_busy(reply);
    if (++patience->failures >= s->n_tries) {
        if (reply->status == 429)
            return ht__fail(diag, HT_ERR_IO, link->origin, -1,
                            "the hub limits how much may be asked; a token raises the limit");
        if (reply->status)
            return ht__fail(diag, HT_ERR_IO, link->origin, -1, "the hub answers with status %d", reply->status);
        return HT_ERR_IO; /* told already */
    }
    double pause = told ? reply->wait : 0.25 * (double)(1 << (patience->failures < 6 ? patience->failures : 6));
    if (pause > LONGEST_WAIT)
        return ht__fail(diag, HT_ERR_IO, link->origin, -1, "the hub limits requests: try again in %.0f minutes",
                        pause / 60);
    if (told && pause >= 1) ht__log_printf(s->log, HT__LOG_INFO, "the hub asks to wait %.0f s", pause);
    ht__diag_clear(diag);
    return ht__hub_sleep(link->hub, pause) ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled") : HT_OK;
}
