#include "service/runtime/inbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 65536, MOST = 64 << 20 /* bytes of a line */ };

struct inbox {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock; /* owns the next two */
    pthread_cond_t changed;
    json_t *list;
    bool ended;
    char *line; /* the thread's alone */
    size_t len, room;
};

static void put(struct inbox *in, json_t *value)
{
    pthread_mutex_lock(&in->lock);
    json_array_append_new(in->list, value);
    pthread_cond_signal(&in->changed);
    pthread_mutex_unlock(&in->lock);
}

/* What is no JSON does not come from the service. */
static bool take_lines(struct inbox *in)
{
    char *start = in->line, *end;
    size_t left = in->len;
    while ((end = memchr(start, '\n', left)) != NULL) {
        json_t *value = json_loadb(start, (size_t)(end - start), JSON_REJECT_DUPLICATES, NULL);
        if (!value) return false;
        put(in, value);
        left -= (size_t)(end + 1 - start);
        start = end + 1;
    }
    memmove(in->line, start, left);
    in->len = left;
    return left < MOST;
}

static bool make_room(struct inbox *in)
{
    if (in->room - in->len >= CHUNK) return true;
    size_t room = in->room ? in->room * 2 : 2 * CHUNK;
    char *line = realloc(in->line, room);
    if (!line) return false;
    in->line = line;
    in->room = room;
    return true;
}

static void *work(void *ctx)
{
    struct inbox *in = ctx;
    while (make_room(in)) {
        ssize_t n = read(in->fd, in->line + in->len, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        in->len += (size_t)n;
        if (!take_lines(in)) break;
    }
    pthread_mutex_lock(&in->lock);
    in->ended = true;
    pthread_cond_signal(&in->changed);
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

struct inbox *inbox_open(int fd)
{
    struct inbox *in = calloc(1, sizeof *in);
    if (!in) return NULL;
    in->fd = fd;
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->changed, NULL);
    in->list = json_array();
    if (in->list && pthread_create(&in->thread, NULL, work, in) == 0) return in;
    json_decref(in->list);
    free(in);
    return NULL;
}

json_t *inbox_next(struct inbox *in, bool wait)
{
    json_t *value = NULL;
    pthread_mutex_lock(&in->lock);
    while (wait && json_array_size(in->list) == 0 && !in->ended)
        pthread_cond_wait(&in->changed, &in->lock);
    if (json_array_size(in->list) > 0) {
        value = json_incref(json_array_get(in->list, 0));
        json_array_remove(in->list, 0);
    }
    pthread_mutex_unlock(&in->lock);
    return value;
}

bool inbox_ended(struct inbox *in)
{
    pthread_mutex_lock(&in->lock);
    bool ended = in->ended && json_array_size(in->list) == 0;
    pthread_mutex_unlock(&in->lock);
    return ended;
}
