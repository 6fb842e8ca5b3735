#include "service/levels/stats.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 2000 };

struct figures {
    struct figures *next;
    char path[4096];
    unsigned long long succeeded, failed, left, tokens;
    double sum, least, most, token_seconds;
    uint64_t memory, most_memory;
};

struct stats {
    pthread_mutex_t lock;
    struct figures *list;
    size_t n;
};

struct stats *stats_open(void)
{
    struct stats *s = calloc(1, sizeof *s);
    if (s) pthread_mutex_init(&s->lock, NULL);
    return s;
}

void stats_close(struct stats **stats)
{
    struct stats *s = *stats;
    if (!s) return;
    while (s->list) {
        struct figures *f = s->list;
        s->list = f->next;
        free(f);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
    *stats = NULL;
}

static struct figures *find(struct stats *s, const char *path)
{
    struct figures *f = s->list;
    while (f && strcmp(f->path, path) != 0)
        f = f->next;
    return f;
}

static struct figures *make(struct stats *s, const char *path)
{
    struct figures *f = s->n < MOST ? calloc(1, sizeof *f) : NULL;
    if (!f) return NULL;
    snprintf(f->path, sizeof f->path, "%s", path);
    f->next = s->list;
    s->list = f;
    s->n++;
    return f;
}

static void succeed(struct figures *f, const struct runtime_done *done)
{
    double seconds = json_number_value(json_object_get(done->event, "seconds"));
    if (f->succeeded == 0 || done->seconds < f->least) f->least = done->seconds;
    if (done->seconds > f->most) f->most = done->seconds;
    f->sum += done->seconds;
    f->succeeded++;
    f->tokens += (unsigned long long)json_integer_value(json_object_get(done->event, "new_tokens"));
    f->token_seconds += seconds > 0 ? seconds : 0;
}

void stats_done(void *stats, const struct runtime_done *done)
{
    struct stats *s = stats;
    pthread_mutex_lock(&s->lock);
    struct figures *f = find(s, done->model->path);
    if (!f) f = make(s, done->model->path);
    if (f) {
        if (done->ok)
            succeed(f, done);
        else if (done->left)
            f->left++;
        else
            f->failed++;
        if (done->memory) f->memory = done->memory;
        if (done->most_memory > f->most_memory) f->most_memory = done->most_memory;
    }
    pthread_mutex_unlock(&s->lock);
}

static json_t *real_or_null(double value, bool known)
{
    return known ? json_real(value) : json_null();
}

static json_t *bytes_or_null(uint64_t value)
{
    return value ? json_integer((json_int_t)value) : json_null();
}

json_t *stats_json(struct stats *s, const char *path)
{
    struct figures f = {.next = NULL};
    pthread_mutex_lock(&s->lock);
    const struct figures *found = find(s, path);
    if (found) f = *found;
    pthread_mutex_unlock(&s->lock);
    unsigned long long ended = f.succeeded + f.failed;
    bool any = f.succeeded > 0;
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o}", "calls", (json_int_t)(ended + f.left),
        "succeeded", (json_int_t)f.succeeded, "failed", (json_int_t)f.failed, "left", (json_int_t)f.left, "rate",
        real_or_null(ended ? (double)f.succeeded / (double)ended : 0, ended > 0), "average_seconds",
        real_or_null(any ? f.sum / (double)f.succeeded : 0, any), "least_seconds", real_or_null(f.least, any),
        "most_seconds", real_or_null(f.most, any), "tokens", (json_int_t)f.tokens, "tokens_per_second",
        real_or_null(f.token_seconds > 0 ? (double)f.tokens / f.token_seconds : 0, f.token_seconds > 0), "memory_bytes",
        bytes_or_null(f.memory), "most_memory_bytes", bytes_or_null(f.most_memory));
}
