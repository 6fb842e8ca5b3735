#include "service/api/rates.h"

#include "service/system/steady.h"

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names fall into sets of eight; in a full set the one that was away longest makes room, which is the one whose
 * bucket is fullest, so that little is forgiven by forgetting. */
enum { N_SETS = 512, N_WAYS = 8 };

struct bucket {
    char who[64];
    double level, when;
};

struct rates {
    pthread_mutex_t lock;
    double rate, burst;
    struct bucket buckets[N_SETS][N_WAYS];
};

struct rates *rates_open(double rate, double burst)
{
    struct rates *rates = calloc(1, sizeof *rates);
    if (!rates) return NULL;
    pthread_mutex_init(&rates->lock, NULL);
    rates->rate = rate;
    rates->burst = burst;
    return rates;
}

void rates_close(struct rates **rates)
{
    if (!*rates) return;
    pthread_mutex_destroy(&(*rates)->lock);
    free(*rates);
    *rates = NULL;
}

static struct bucket *bucket_of(struct rates *rates, const char *who, double now)
{
    uint32_t hash = 2166136261u;
    for (const char *p = who; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    struct bucket *set = rates->buckets[hash % N_SETS], *oldest = &set[0];
    for (int i = 0; i < N_WAYS; i++) {
        if (strncmp(set[i].who, who, sizeof set->who - 1) == 0) return &set[i];
        if (set[i].when < oldest->when) oldest = &set[i];
    }
    snprintf(oldest->who, sizeof oldest->who, "%s", who);
    oldest->level = rates->burst;
    oldest->when = now;
    return oldest;
}

int rates_wait(struct rates *rates, const char *who, bool take)
{
    if (rates->rate <= 0) return 0;
    double now = steady_seconds();
    pthread_mutex_lock(&rates->lock);
    struct bucket *b = bucket_of(rates, who, now);
    b->level = fmin(rates->burst, b->level + (now - b->when) * rates->rate);
    b->when = now;
    int wait = b->level >= 1 ? 0 : (int)ceil((1 - b->level) / rates->rate);
    if (take && b->level >= 1) b->level -= 1;
    pthread_mutex_unlock(&rates->lock);
    return wait;
}
