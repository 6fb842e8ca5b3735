/* What every kind of place has in common: names, hashes, errands that are run by themselves. */
#include "service/artifacts/driver.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ERRANDS = 4096 };

bool artifacts__goes_on(const struct artifacts_call *call)
{
    return !call->goes_on || call->goes_on(call->ctx);
}

enum artifacts_result artifacts__fail(struct artifacts_call *call, enum artifacts_result result, const char *format,
                                      ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(call->why, sizeof call->why, format, values);
    va_end(values);
    return result;
}

struct artifacts_hash *artifacts__hash_open(void)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    if (hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1) return (struct artifacts_hash *)hash;
    EVP_MD_CTX_free(hash);
    return NULL;
}

bool artifacts__hash_add(struct artifacts_hash *hash, const void *data, size_t len)
{
    return EVP_DigestUpdate((EVP_MD_CTX *)hash, data, len) == 1;
}

void artifacts__hash_end(struct artifacts_hash *hash, char sha256[65])
{
    unsigned char bytes[EVP_MAX_MD_SIZE] = {0};
    EVP_DigestFinal_ex((EVP_MD_CTX *)hash, bytes, NULL);
    EVP_MD_CTX_free((EVP_MD_CTX *)hash);
    for (int i = 0; i < 32; i++)
        snprintf(sha256 + 2 * i, 3, "%02x", bytes[i]);
}

bool artifacts_is_name(const char *name)
{
    size_t len = name ? strlen(name) : 0;
    if (len == 0 || len > 1000 || name[0] == '/' || name[len - 1] == '/') return false;
    for (const char *part = name; part; part = strchr(part, '/'), part += part != NULL)
        if (*part == '.' || *part == '/') return false; /* hidden, or empty */
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) return false;
    return true;
}

/* ---- errands ---- */

static bool is_closing(void *ctx)
{
    struct artifacts *a = ctx;
    pthread_mutex_lock(&a->lock);
    bool closing = a->closing;
    pthread_mutex_unlock(&a->lock);
    return closing;
}

static bool is_open(void *ctx)
{
    return !is_closing(ctx);
}

/* What fails is found again: a removal by the sweep at the next start, a copy by who asks next. */
static void run_errand(struct artifacts *a, const struct errand *e)
{
    char path[4400];
    struct artifacts_call call = {.goes_on = is_open, .ctx = a};
    if (*e->sha256)
        artifacts_copy(a, e->name, e->size, e->sha256, path, sizeof path, &call);
    else
        artifacts_remove(a, e->name, &call);
}

static void *run_errands(void *ctx)
{
    struct artifacts *a = ctx;
    pthread_mutex_lock(&a->lock);
    while (!a->closing || a->first) {
        struct errand *e = a->first;
        if (!e) {
            pthread_cond_wait(&a->bell, &a->lock);
            continue;
        }
        pthread_mutex_unlock(&a->lock);
        run_errand(a, e);
        pthread_mutex_lock(&a->lock);
        a->first = e->next;
        if (!a->first) a->last = &a->first;
        a->waiting--;
        free(e);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static bool waits(const struct artifacts *a, const struct errand *wanted)
{
    const struct errand *e = a->first;
    while (e && (strcmp(e->name, wanted->name) != 0 || strcmp(e->sha256, wanted->sha256) != 0))
        e = e->next;
    return e != NULL;
}

static void later(struct artifacts *a, const char *name, uint64_t size, const char *sha256)
{
    struct errand *e = calloc(1, sizeof *e);
    if (!e) return;
    e->size = size;
    snprintf(e->name, sizeof e->name, "%s", name);
    snprintf(e->sha256, sizeof e->sha256, "%s", sha256);
    pthread_mutex_lock(&a->lock);
    if (!a->running) a->running = pthread_create(&a->thread, NULL, run_errands, a) == 0;
    bool taken = a->running && !a->closing && a->waiting < MOST_ERRANDS && !waits(a, e);
    if (taken) {
        *a->last = e;
        a->last = &e->next;
        a->waiting++;
        pthread_cond_signal(&a->bell);
    }
    pthread_mutex_unlock(&a->lock);
    if (!taken) free(e);
}

void artifacts_remove_later(struct artifacts *a, const char *name)
{
    later(a, name, 0, "");
}

void artifacts_copy_later(struct artifacts *a, const char *name, uint64_t size, const char *sha256)
{
    later(a, name, size, sha256);
}

/* ---- from opening to closing ---- */

bool artifacts_open(const char *url, const char *folder, struct artifacts **artifacts, char *why, size_t size)
{
    struct artifacts *a = calloc(1, sizeof *a);
    *artifacts = NULL;
    snprintf(why, size, "out of memory");
    if (!a) return false;
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->fetching, NULL);
    pthread_cond_init(&a->bell, NULL);
    a->last = &a->first;
    a->copies = (uint64_t)16 << 30;
    snprintf(a->folder, sizeof a->folder, "%s", folder);
    bool s3 = url && strncmp(url, "s3://", 5) == 0, here = !url || !*url || strncmp(url, "file:", 5) == 0;
    a->driver = s3 ? &artifacts__s3 : &artifacts__local;
    bool done = here || (s3 && artifacts__open_s3(a, url, why, size));
    if (!here && !s3) snprintf(why, size, "%.200s: s3://BUCKET/PREFIX or file:///FOLDER is wanted", url);
    if (done)
        *artifacts = a;
    else
        artifacts_close(&a);
    return done;
}

void artifacts_close(struct artifacts **artifacts)
{
    struct artifacts *a = *artifacts;
    *artifacts = NULL;
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->closing = true;
    pthread_cond_broadcast(&a->bell);
    pthread_mutex_unlock(&a->lock);
    if (a->running) pthread_join(a->thread, NULL);
    if (a->driver->close) a->driver->close(a);
    pthread_cond_destroy(&a->bell);
    pthread_mutex_destroy(&a->fetching);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

bool artifacts_are_far(const struct artifacts *a)
{
    return a && a->driver->far;
}

const char *artifacts_url(const struct artifacts *a)
{
    return a ? a->url : "";
}

bool artifacts_probe(struct artifacts *a, const char *id, const char **note, char *why, size_t size)
{
    struct artifacts_call call = {0};
    *note = NULL;
    bool works = a->driver->probe(a, id, note, &call);
    if (!works) snprintf(why, size, "%s", call.why);
    return works;
}

void artifacts_figures(const struct artifacts *a, struct artifacts_figures *f)
{
    *f = (struct artifacts_figures){atomic_load(&a->figures.requests), atomic_load(&a->figures.retries),
                                    atomic_load(&a->figures.failures), atomic_load(&a->figures.bytes_sent),
                                    atomic_load(&a->figures.bytes_received)};
}

/* ---- what the drivers do ---- */

json_t *artifacts_stage(struct artifacts *a, const char *from, const char *place, const json_t *files,
                        struct artifacts_call *call)
{
    return a->driver->stage(a, from, place, files, call);
}

enum artifacts_result artifacts_publish(struct artifacts *a, const char *from, const char *place, const json_t *files,
                                        const json_t *staged, struct artifacts_call *call)
{
    return a->driver->publish(a, from, place, files, staged, call);
}

void artifacts_discard(struct artifacts *a, const char *place, const json_t *staged)
{
    a->driver->discard(a, place, staged);
}

enum artifacts_result artifacts_read(struct artifacts *a, const char *name, uint64_t from, uint64_t len,
                                     artifacts_sink *sink, void *sink_ctx, struct artifacts_call *call)
{
    return a->driver->read(a, name, from, len, sink, sink_ctx, call);
}

enum artifacts_result artifacts_look(struct artifacts *a, const char *name, uint64_t *size, char sha256[65],
                                     struct artifacts_call *call)
{
    return a->driver->look(a, name, size, sha256, call);
}

bool artifacts_link(struct artifacts *a, const char *name, const char *as, int seconds, char *url, size_t size)
{
    return a->driver->link && a->driver->link(a, name, as, seconds, url, size);
}

enum artifacts_result artifacts_remove(struct artifacts *a, const char *name, struct artifacts_call *call)
{
    return a->driver->remove(a, name, call);
}

enum artifacts_result artifacts_list(struct artifacts *a, const char *prefix, artifacts_found *found, void *found_ctx,
                                     struct artifacts_call *call)
{
    return a->driver->list(a, prefix, found, found_ctx, call);
}

enum artifacts_result artifacts_end_stale(struct artifacts *a, const char *prefix,
                                          bool (*unwanted)(void *ctx, const char *name), void *unwanted_ctx,
                                          struct artifacts_call *call)
{
    return a->driver->end_stale ? a->driver->end_stale(a, prefix, unwanted, unwanted_ctx, call) : ARTIFACTS_OK;
}
