#include "service/child/hub_environment.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const hub_names[] = {
    /* where the cache is: one of these */
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "XDG_CACHE_HOME",
    "HOME", /* the rest */
    "HF_TOKEN",
    "HUGGINGFACE_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "HALFTONE_HUB_TRIES",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE"};
enum { N_HUB_NAMES = sizeof hub_names / sizeof *hub_names, N_CACHE_NAMES = 5 };

char **hub_environment_open(const char *folder)
{
    char **list = calloc(N_HUB_NAMES + 2, sizeof *list);
    int n = 0, caches = 0;
    for (int i = 0; list && i < N_HUB_NAMES; i++) {
        const char *value = getenv(hub_names[i]);
        if (!value || !*value || asprintf(&list[n], "%s=%s", hub_names[i], value) < 0) continue;
        caches += i < N_CACHE_NAMES;
        n++;
    }
    if (list && !caches && asprintf(&list[n], "HF_HOME=%s/hub", folder) >= 0) n++;
    if (list) list[n] = NULL;
    return list;
}

void hub_environment_close(char ***environment)
{
    for (char **e = *environment; e && *e; e++)
        free(*e);
    free(*environment);
    *environment = NULL;
}
