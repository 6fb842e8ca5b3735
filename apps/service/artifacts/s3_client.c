/*
 * One request and its answer. libcurl signs it (CURLOPT_AWS_SIGV4). What its older versions take as it stands, and newer ones
 * put right themselves, is written here in the one way that both sign alike: queries sorted and with a '=' for each name,
 * escaped paths, and x-amz-content-sha256 always said.
 *
 * 429, 500, 502, 503, 504, broken connections and silence are tried again, later and later. A request that was cut while
 * its answer came goes on with what is missing.
 */
#include "service/artifacts/s3.h"

#include "service/system/steady.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { MOST_ANSWER = 16 << 20, CONNECT_SECONDS = 10, STILL_SECONDS = 30, TRIES = 8 };

static const char empty_sha256[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static CURL *take_handle(struct s3 *s)
{
    pthread_mutex_lock(&s->lock);
    CURL *c = s->n_idle ? s->idle[--s->n_idle] : NULL;
    pthread_mutex_unlock(&s->lock);
    return c ? c : curl_easy_init();
}

static void give_handle(struct s3 *s, CURL *c)
{
    if (!c) return;
    curl_easy_reset(c);
    pthread_mutex_lock(&s->lock);
    bool kept = s->n_idle < S3_HANDLES;
    if (kept) s->idle[s->n_idle++] = c;
    pthread_mutex_unlock(&s->lock);
    if (!kept) curl_easy_cleanup(c);
}

struct exchange {
    struct s3 *s;
    struct s3_request *r;
    struct artifacts_call *call;
    CURL *curl;
    uint64_t came; /* to the sink, by this try */
    bool stopped;
};

static size_t take_body(char *data, size_t size, size_t n, void *ctx)
{
    struct exchange *x = ctx;
    struct s3_request *r = x->r;
    size_t len = size * n;
    long status = 0;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    if (r->sink && status >= 200 && status < 300) {
        if (r->from > 0 && status != 206) return 0; /* not what was asked for */
        x->came += len;
        if (r->sink(r->ctx, data, len)) return len;
        r->enough = true;
        return 0;
    }
    if (len > MOST_ANSWER - r->len) return 0;
    char *grown = realloc(r->text, r->len + len + 1);
    if (!grown) return 0;
    memcpy(grown + r->len, data, len);
    r->text = grown;
    r->len += len;
    r->text[r->len] = '\0';
    return len;
}

static bool header_is(const char *line, size_t len, const char *name, char *value, size_t size)
{
    size_t n = strlen(name);
    if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':') return false;
    const char *from = line + n + 1, *end = line + len;
    while (from < end && (*from == ' ' || *from == '\t'))
        from++;
    while (end > from && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    snprintf(value, size, "%.*s", (int)(end - from), from);
    return true;
}

static size_t take_header(char *line, size_t size, size_t n, void *ctx)
{
    struct exchange *x = ctx;
    struct s3_request *r = x->r;
    char number[32];
    if (header_is(line, size * n, "ETag", r->etag, sizeof r->etag)) return size * n;
    if (header_is(line, size * n, "x-amz-meta-sha256", r->sha256_meta, sizeof r->sha256_meta)) return size * n;
    if (header_is(line, size * n, "Content-Length", number, sizeof number)) r->length = strtoull(number, NULL, 10);
    return size * n;
}

static int look(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct exchange *x = ctx;
    (void)a, (void)b, (void)c, (void)d;
    x->stopped = !artifacts__goes_on(x->call);
    return x->stopped;
}

static void sha256_of(const struct s3_request *r, char hex[65])
{
    unsigned char bytes[EVP_MAX_MD_SIZE] = {0};
    if (r->sha256 || !r->size) {
        snprintf(hex, 65, "%s", r->sha256 ? r->sha256 : empty_sha256);
        return;
    }
    EVP_Digest(r->body, r->size, bytes, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

static struct curl_slist *headers_of(const struct s3 *s, const struct s3_request *r)
{
    char text[4300], hex[65];
    sha256_of(r, hex);
    snprintf(text, sizeof text, "x-amz-content-sha256: %s", hex);
    struct curl_slist *list = curl_slist_append(NULL, text);
    if (*s->token) {
        snprintf(text, sizeof text, "x-amz-security-token: %s", s->token);
        list = curl_slist_append(list, text);
    }
    if (strcmp(r->method, "PUT") == 0) list = curl_slist_append(list, "Content-Type: application/octet-stream");
    if (strcmp(r->method, "POST") == 0) list = curl_slist_append(list, "Content-Type: application/xml");
    for (const char *const *h = r->headers; *h; h++)
        list = curl_slist_append(list, *h);
    return list;
}

static void set_up(struct exchange *x, const char *url, const char *who, const char *how, const char *range,
                   struct curl_slist *headers, char *fault)
{
    CURL *c = x->curl;
    const struct s3_request *r = x->r;
    bool sends = strcmp(r->method, "PUT") == 0 || strcmp(r->method, "POST") == 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, fault);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "halftone/" HT_VERSION);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STILL_SECONDS);
    curl_easy_setopt(c, CURLOPT_EXPECT_100_TIMEOUT_MS, 1L);
    curl_easy_setopt(c, CURLOPT_AWS_SIGV4, how);
    curl_easy_setopt(c, CURLOPT_USERPWD, who);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, look);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, x);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    if (*range) curl_easy_setopt(c, CURLOPT_RANGE, range);
    if (sends) curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->size);
    if (sends) curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->size ? r->body : "");
    if (strcmp(r->method, "HEAD") == 0)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method);
}

static void forget_answer(struct s3_request *r)
{
    free(r->text);
    r->text = NULL;
    r->len = 0;
    r->status = 0;
    r->length = 0;
    r->etag[0] = r->sha256_meta[0] = '\0';
}

/* One try. */
static CURLcode perform(struct exchange *x, char *fault)
{
    struct s3 *s = x->s;
    struct s3_request *r = x->r;
    char url[S3_URL_SIZE + 2048], who[520], how[100], range[60] = "";
    size_t n;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    forget_answer(r);
    if (!s3__address(s, s->endpoint, r->name, url, S3_URL_SIZE)) return CURLE_URL_MALFORMAT;
    n = strlen(url);
    if (r->query && *r->query) snprintf(url + n, sizeof url - n, "?%s", r->query);
    snprintf(who, sizeof who, "%s:%s", s->key, s->secret);
    snprintf(how, sizeof how, "aws:amz:%s:s3", s->region);
    if (r->to > 0) snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)r->from, (unsigned long long)r->to);
    struct curl_slist *headers = headers_of(s, r);
    x->curl = take_handle(s);
    x->came = 0;
    if (x->curl && headers) {
        set_up(x, url, who, how, range, headers, fault);
        code = curl_easy_perform(x->curl);
        curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &r->status);
        curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, NULL);
    }
    atomic_fetch_add(&s->artifacts->figures.requests, 1);
    atomic_fetch_add(&s->artifacts->figures.bytes_received, x->came);
    if (code == CURLE_OK && r->status < 300) atomic_fetch_add(&s->artifacts->figures.bytes_sent, r->size);
    give_handle(s, x->curl);
    curl_slist_free_all(headers);
    memset(who, 0, sizeof who);
    return code;
}

static bool is_passing(long status)
{
    return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

/* What came is not asked for again. False: it cannot go on. */
static bool go_on_behind(struct s3_request *r, const struct exchange *x)
{
    if (!x->came) return true;
    if (!r->again || r->to == 0) return false;
    r->from += x->came;
    return r->from <= r->to;
}

static bool wait_for(struct artifacts_call *call, double seconds)
{
    for (double until = steady_seconds() + seconds; steady_seconds() < until;) {
        if (!artifacts__goes_on(call)) return false;
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    return true;
}

bool s3__ask(struct s3 *s, struct s3_request *r, struct artifacts_call *call)
{
    struct exchange x = {.s = s, .r = r, .call = call};
    double pause = .1;
    for (int i = 0;; i++) {
        char fault[CURL_ERROR_SIZE] = "";
        CURLcode code = perform(&x, fault);
        if (r->enough || (code == CURLE_OK && !is_passing(r->status))) return true;
        if (x.stopped) return artifacts__fail(call, ARTIFACTS_STOPPED, "it was stopped"), false;
        if (x.came > 0) i = 0; /* it moves */
        bool more = i + 1 < TRIES && !r->once && code != CURLE_URL_MALFORMAT && go_on_behind(r, &x);
        if (!more && code == CURLE_OK) return true;
        if (!more)
            artifacts__fail(call, ARTIFACTS_FAILED, "%s cannot be reached: %s", s->endpoint,
                            fault[0] ? fault : curl_easy_strerror(code));
        if (!more) atomic_fetch_add(&s->artifacts->figures.failures, 1);
        if (!more) return false;
        atomic_fetch_add(&s->artifacts->figures.retries, 1);
        if (!wait_for(call, pause)) return artifacts__fail(call, ARTIFACTS_STOPPED, "it was stopped"), false;
        pause = pause < 3 ? pause * 2 : 5;
    }
}

/* ---- answers ---- */

static char entity(const char **p)
{
    static const struct {
        const char *name;
        char is;
    } known[] = {{"&amp;", '&'}, {"&lt;", '<'},   {"&gt;", '>'},   {"&quot;", '"'}, {"&apos;", '\''},
                 {"&#34;", '"'}, {"&#x22;", '"'}, {"&#39;", '\''}, {"&#38;", '&'}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i].name);
        if (strncmp(*p, known[i].name, n) != 0) continue;
        *p += n;
        return known[i].is;
    }
    return *(*p)++;
}

bool s3__element(const char **at, const char *tag, char *text, size_t size)
{
    char open[64], end[64];
    snprintf(open, sizeof open, "<%s>", tag);
    snprintf(end, sizeof end, "</%s>", tag);
    const char *from = *at ? strstr(*at, open) : NULL, *to = from ? strstr(from, end) : NULL;
    size_t n = 0;
    if (!to) return false;
    for (const char *p = from + strlen(open); p < to && n + 1 < size;)
        text[n++] = *p == '&' ? entity(&p) : *p++;
    text[n] = '\0';
    *at = to + strlen(end);
    return true;
}

enum artifacts_result s3__judge(struct s3 *s, const struct s3_request *r, struct artifacts_call *call)
{
    char code[100] = "", message[200] = "";
    const char *at = r->text, *again = r->text;
    s3__element(&at, "Code", code, sizeof code);
    s3__element(&again, "Message", message, sizeof message);
    artifacts__fail(call, ARTIFACTS_FAILED, "s3://%s: status %ld%s%s%s%s", s->bucket, r->status, *code ? " " : "", code,
                    *message ? ": " : "", message);
    atomic_fetch_add(&s->artifacts->figures.failures, 1);
    if (r->status == 404) return ARTIFACTS_MISSING;
    return r->status == 412 ? ARTIFACTS_CONFLICT : ARTIFACTS_FAILED;
}
