/* A worker that is woken by Redis in place of holding a request open. Redis away, or emptied: it asks the server as if there were none. */
#include "service/doorbell/redis.h"
#include "service/system/steady.h"
#include "service/worker/far.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BLOCK_SECONDS = 3, AWAY_SECONDS = 10 };

struct wake {
    char url[1024];
    pthread_mutex_t lock; /* owns the rest */
    struct redis *idle[FAR_HANDLES];
    int n_idle;
    bool away; /* it was said */
    double away_until;
};

struct wake *wake_open(const char *url, char *why, size_t size)
{
    struct wake *w = calloc(1, sizeof *w);
    struct redis *first;
    if (!w || strlen(url) >= sizeof w->url) {
        free(w);
        snprintf(why, size, "not enough memory, or the address is too long");
        return NULL;
    }
    snprintf(w->url, sizeof w->url, "%s", url);
    if (!redis_open(url, &first, why, size)) {
        free(w);
        return NULL;
    }
    pthread_mutex_init(&w->lock, NULL);
    w->idle[w->n_idle++] = first;
    return w;
}

void wake_close(struct wake **wake)
{
    struct wake *w = *wake;
    *wake = NULL;
    if (!w) return;
    for (int i = 0; i < w->n_idle; i++)
        redis_close(&w->idle[i]);
    pthread_mutex_destroy(&w->lock);
    memset(w->url, 0, sizeof w->url);
    free(w);
}

static struct redis *take(struct wake *w)
{
    char why[200];
    struct redis *r = NULL;
    pthread_mutex_lock(&w->lock);
    if (w->n_idle) r = w->idle[--w->n_idle];
    pthread_mutex_unlock(&w->lock);
    if (!r) redis_open(w->url, &r, why, sizeof why);
    return r;
}

static void give(struct wake *w, struct redis *r)
{
    pthread_mutex_lock(&w->lock);
    bool kept = w->n_idle < FAR_HANDLES;
    if (kept) w->idle[w->n_idle++] = r;
    pthread_mutex_unlock(&w->lock);
    if (!kept) redis_close(&r);
}

static void note(struct far *f, struct wake *w, bool reached, const char *why)
{
    pthread_mutex_lock(&w->lock);
    bool news = w->away == reached;
    w->away = !reached;
    if (!reached) w->away_until = steady_seconds() + AWAY_SECONDS;
    pthread_mutex_unlock(&w->lock);
    if (news)
        log_event(f->log, reached ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, reached ? "doorbell_reached" : "doorbell_away",
                  "{s:s}", "text", why);
}

/* [[stream, [[id, fields], …]]] */
static bool entry_of(const struct redis_answer *a, char entry[48])
{
    struct redis_answer stream, entries, first;
    if (!redis_at(a, 0, &stream) || !redis_at(&stream, 1, &entries) || !redis_at(&entries, 0, &first)) return false;
    snprintf(entry, 48, "%s", redis_text(&first, 0));
    return *entry != '\0';
}

enum wake_result wake_wait(struct far *f, struct wake *w, const char *consumer, double seconds, char entry[48])
{
    double end = steady_seconds() + seconds;
    pthread_mutex_lock(&w->lock);
    bool away = steady_seconds() < w->away_until;
    pthread_mutex_unlock(&w->lock);
    struct redis *r = away ? NULL : take(w);
    enum wake_result result = r ? WAKE_NOTHING : WAKE_AWAY;
    while (r && result == WAKE_NOTHING && steady_seconds() < end && !atomic_load(&f->stopped)) {
        struct redis_answer a;
        char block[16];
        snprintf(block, sizeof block, "%d", BLOCK_SECONDS * 1000);
        bool answered = redis_ask(r, BLOCK_SECONDS, &a, "XREADGROUP", "GROUP", REDIS_GROUP, consumer, "COUNT", "1",
                                  "BLOCK", block, "STREAMS", REDIS_TASKS, ">", NULL);
        if (!answered || (a.kind == REDIS_ERROR && strncmp(a.text, "NOGROUP", 7) != 0)) {
            note(f, w, false, redis_why(r));
            result = WAKE_AWAY;
            break;
        }
        note(f, w, true, redis_where(r));
        if (a.kind == REDIS_ERROR) /* it was emptied: the service makes it anew */
            nanosleep(&(struct timespec){0, 300000000}, NULL);
        else if (entry_of(&a, entry))
            result = WAKE_ENTRY;
    }
    if (r) give(w, r);
    return result;
}
