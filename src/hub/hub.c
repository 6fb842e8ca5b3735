#include "hub/hub.h"
#include "hub/address.h"

#include <ctype.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool curl_ready;

static void start_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static char *part_of(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    return curl_url_get(url, part, &text, flags) == CURLUE_OK ? text : NULL;
}

bool ht__hub_origin(const char *text, char *out, size_t size)
{
    CURLU *url = curl_url();
    bool ok = url && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK;
    char *scheme = ok ? part_of(url, CURLUPART_SCHEME, 0) : NULL;
    char *host = ok ? part_of(url, CURLUPART_HOST, 0) : NULL;
    char *port = ok ? part_of(url, CURLUPART_PORT, CURLU_DEFAULT_PORT) : NULL;
    char *user = ok ? part_of(url, CURLUPART_USER, 0) : NULL;
    ok = scheme && host && port && !user && (strcasecmp(scheme, "https") == 0 || strcasecmp(scheme, "http") == 0) &&
         (size_t)snprintf(out, size, "%s://%s:%s", scheme, host, port) < size;
    for (char *p = out; ok && *p; p++)
        *p = (char)tolower((unsigned char)*p);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_url_cleanup(url);
    return ok;
}

/* Where the endpoint's host is a number it is known at once, also when a proxy connects for us. */
static void classify_endpoint(struct ht__hub *hub)
{
    char host[600];
    enum ht__address_class class;
    snprintf(host, sizeof host, "%s", strstr(hub->origin, "//") + 2);
    *strrchr(host, ':') = '\0';
    if (ht__address_of_host(host, &class)) atomic_store(&hub->endpoint_class, (int)class);
}

/* What goes into a header line must be one line. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= 0x20 || (unsigned char)*text >= 0x7f) return false;
    return true;
}

static bool copy(struct ht__arena *arena, const char **text)
{
    return !*text || (*text = ht__arena_str(arena, *text)) != NULL;
}

static enum ht_err set_up(struct ht__hub *hub, struct ht_diag *diag)
{
    struct ht__hub_settings *s = &hub->settings;
    char origin[600];
    if (!s->endpoint || !*s->endpoint) s->endpoint = "https://huggingface.co";
    if (s->token && !*s->token) s->token = NULL;
    if (!copy(&hub->arena, &s->endpoint) || !copy(&hub->arena, &s->token) || !copy(&hub->arena, &s->cache) ||
        !copy(&hub->arena, &s->proxy) || !copy(&hub->arena, &s->no_proxy) || !copy(&hub->arena, &s->ca_file))
        return ht__fail_memory(diag, "hub");
    char *end = (char *)s->endpoint + strlen(s->endpoint);
    while (end > s->endpoint && end[-1] == '/')
        *--end = '\0';
    if (!is_plain(s->endpoint) || strpbrk(s->endpoint, "?#") || !ht__hub_origin(s->endpoint, origin, sizeof origin))
        return ht__fail(diag, HT_ERR_USAGE, "HF_ENDPOINT", -1, "not the address of a hub: expected https://HOST");
    if (s->token && !is_plain(s->token))
        return ht__fail(diag, HT_ERR_USAGE, "HF_TOKEN", -1, "the token contains characters that no token has");
    hub->http = strncmp(origin, "http:", 5) == 0;
    if (hub->http) s->proxy = NULL; /* a mirror in one's own network */
    hub->origin = ht__arena_str(&hub->arena, origin);
    if (s->n_parallel <= 0) s->n_parallel = 8;
    if (s->n_tries <= 0) s->n_tries = 6;
    if (s->timeout <= 0) s->timeout = 30;
    if (!hub->origin) return ht__fail_memory(diag, "hub");
    classify_endpoint(hub);
    return HT_OK;
}

enum ht_err ht__hub_open(const struct ht__hub_settings *settings, const struct ht__alloc *alloc, struct ht__hub **out,
                         struct ht_diag *diag)
{
    *out = NULL;
    pthread_once(&once, start_curl);
    if (!curl_ready) return ht__fail(diag, HT_ERR_INTERNAL, "libcurl", -1, "cannot be started");
    struct ht__hub *hub = ht__new(alloc, sizeof *hub);
    if (!hub) return ht__fail_memory(diag, "hub");
    hub->alloc = alloc;
    hub->settings = *settings;
    ht__arena_init(&hub->arena, alloc);
    atomic_init(&hub->halted, false);
    atomic_init(&hub->endpoint_class, HT__ADDRESS_PUBLIC);
    enum ht_err err = set_up(hub, diag);
    if (err != HT_OK)
        ht__hub_close(&hub);
    else
        *out = hub;
    return err;
}

void ht__hub_close(struct ht__hub **p)
{
    struct ht__hub *hub = *p;
    if (!hub) return;
    const struct ht__alloc *alloc = hub->alloc;
    ht__arena_close(&hub->arena);
    ht__free(alloc, hub);
    *p = NULL;
}

bool ht__hub_stopped(const struct ht__hub *hub)
{
    if (atomic_load_explicit(&hub->halted, memory_order_relaxed)) return true;
    return hub->settings.stopped && hub->settings.stopped(hub->settings.stopped_ctx);
}

bool ht__hub_sleep(const struct ht__hub *hub, double seconds)
{
    for (; seconds > 0 && !ht__hub_stopped(hub); seconds -= 0.1) {
        struct timespec t = {0, seconds < 0.1 ? (long)(seconds * 1e9) : 100000000};
        nanosleep(&t, NULL);
    }
    return ht__hub_stopped(hub);
}
