#include "service/api/grants.h"

#include "service/system/steady.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct grant {
    struct grants *grants;
    struct grant *next;
    atomic_bool ended;
    double until;                           /* 0: no end */
    char token[STORE_ID_SIZE], session[65]; /* "": none */
};

struct grants {
    pthread_mutex_t lock;
    struct grant *first;
};

struct grants *grants_open(void)
{
    struct grants *grants = calloc(1, sizeof *grants);
    if (grants) pthread_mutex_init(&grants->lock, NULL);
    return grants;
}

void grants_close(struct grants **grants)
{
    if (!*grants) return;
    pthread_mutex_destroy(&(*grants)->lock);
    free(*grants);
    *grants = NULL;
}

struct grant *grants_take(const struct api_call *call)
{
    const struct caller *by = &call->caller;
    struct grants *grants = call->server->grants;
    struct grant *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->grants = grants;
    g->until = by->until;
    memcpy(g->token, by->token_id, sizeof g->token);
    memcpy(g->session, by->session, sizeof g->session);
    pthread_mutex_lock(&grants->lock);
    g->next = grants->first;
    grants->first = g;
    pthread_mutex_unlock(&grants->lock);
    /* a token that was removed after the request was let in and before the grant was there to be ended */
    if (*g->token && !store_token_known(call->server->store, g->token)) atomic_store(&g->ended, true);
    return g;
}

bool grant_holds(const struct grant *g)
{
    return !atomic_load(&g->ended) && (g->until == 0 || steady_seconds() < g->until);
}

void grant_give_back(struct grant **grant)
{
    struct grant *g = *grant;
    if (!g) return;
    pthread_mutex_lock(&g->grants->lock);
    struct grant **at = &g->grants->first;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    pthread_mutex_unlock(&g->grants->lock);
    free(g);
    *grant = NULL;
}

void grants_end_of(struct grants *grants, const char *who)
{
    if (!*who) return;
    pthread_mutex_lock(&grants->lock);
    for (struct grant *g = grants->first; g; g = g->next)
        if (strcmp(g->token, who) == 0 || strcmp(g->session, who) == 0) atomic_store(&g->ended, true);
    pthread_mutex_unlock(&grants->lock);
}
