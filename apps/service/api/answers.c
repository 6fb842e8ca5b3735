/* A small memory of answers that cost a child process each: half a minute, sixty-four of them. */
#include "service/api/access.h"
#include "service/api/estimates.h"
#include "service/system/steady.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { N_ANSWERS = 64, KEEP_SECONDS = 30 };

struct answers {
    pthread_mutex_t lock;
    struct {
        char asked[65]; /* its hash */
        json_t *answer;
        double until;
    } kept[N_ANSWERS];
};

struct answers *answers_open(void)
{
    struct answers *a = calloc(1, sizeof *a);
    if (a) pthread_mutex_init(&a->lock, NULL);
    return a;
}

void answers_close(struct answers **answers)
{
    if (!*answers) return;
    for (int i = 0; i < N_ANSWERS; i++)
        json_decref((*answers)->kept[i].answer);
    pthread_mutex_destroy(&(*answers)->lock);
    free(*answers);
    *answers = NULL;
}

/* Values are copied both ways: json_t counts references without locks. */
json_t *answers_find(struct answers *a, const char *asked)
{
    char hash[65];
    json_t *found = NULL;
    access_hash(asked, strlen(asked), hash);
    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < N_ANSWERS && !found; i++)
        if (a->kept[i].until > steady_seconds() && strcmp(a->kept[i].asked, hash) == 0)
            found = json_deep_copy(a->kept[i].answer);
    pthread_mutex_unlock(&a->lock);
    return found;
}

void answers_keep(struct answers *a, const char *asked, const json_t *answer)
{
    pthread_mutex_lock(&a->lock);
    int oldest = 0;
    for (int i = 1; i < N_ANSWERS; i++)
        if (a->kept[i].until < a->kept[oldest].until) oldest = i;
    json_decref(a->kept[oldest].answer);
    access_hash(asked, strlen(asked), a->kept[oldest].asked);
    a->kept[oldest].answer = json_deep_copy(answer);
    a->kept[oldest].until = steady_seconds() + KEEP_SECONDS;
    pthread_mutex_unlock(&a->lock);
}
