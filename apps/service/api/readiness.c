#include "service/api/readiness.h"

#include "service/api/access.h"
#include "service/system/steady.h"

#include <stdlib.h>
#include <sys/statvfs.h>

#define LOOK_SECONDS 2.0
#define USES_SECONDS 30.0    /* between notes of which tokens were used */
#define CHECK_SECONDS 3600.0 /* between looks at every page of the database */
enum { LEAST_ROOM = 16 << 20 };

struct readiness {
    struct server *server;
    pthread_t thread;
    atomic_bool closing;
    pthread_mutex_t lock; /* owns the rest */
    pthread_cond_t wake;
    struct readiness_state state;
};

static struct readiness_state look(const struct server *server)
{
    struct statvfs v;
    struct readiness_state state = {.database = store_state(server->store), .room = true};
    if (statvfs(store_folder(server->store), &v) == 0) state.room = (uint64_t)v.f_bavail * v.f_frsize >= LEAST_ROOM;
    return state;
}

static void tell(const struct server *server, const struct readiness_state *state)
{
    bool ready = state->database == STORE_OK && state->room;
    log_event(server->log, ready ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, ready ? "ready" : "not_ready", "{s:s, s:s}",
              "database", store_result_text(state->database), "disk", state->room ? "ok" : "full");
}

static void take(struct readiness *r)
{
    struct readiness_state now = look(r->server);
    pthread_mutex_lock(&r->lock);
    bool changed = now.database != r->state.database || now.room != r->state.room;
    r->state = now;
    pthread_mutex_unlock(&r->lock);
    if (changed) tell(r->server, &now);
    if (now.database == STORE_OK && now.room) store_keep_reserve(r->server->store);
}

static void *watch(void *ctx)
{
    struct readiness *r = ctx;
    double uses = steady_seconds() + USES_SECONDS, check = 0;
    for (;;) {
        pthread_mutex_lock(&r->lock);
        if (!atomic_load(&r->closing)) steady_cond_wait(&r->wake, &r->lock, LOOK_SECONDS);
        pthread_mutex_unlock(&r->lock);
        if (atomic_load(&r->closing)) break;
        if (steady_seconds() >= check) {
            store_check(r->server->store, &r->closing); /* the next look reports what it finds */
            check = steady_seconds() + CHECK_SECONDS;
        }
        take(r);
        if (steady_seconds() >= uses) {
            access_note_uses(r->server->access);
            uses = steady_seconds() + USES_SECONDS;
        }
    }
    access_note_uses(r->server->access);
    return NULL;
}

struct readiness *readiness_open(struct server *server)
{
    struct readiness *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->server = server;
    r->state = look(server);
    pthread_mutex_init(&r->lock, NULL);
    steady_cond_init(&r->wake);
    if (pthread_create(&r->thread, NULL, watch, r) == 0) return r;
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    free(r);
    return NULL;
}

void readiness_close(struct readiness **readiness)
{
    struct readiness *r = *readiness;
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    atomic_store(&r->closing, true);
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    free(r);
    *readiness = NULL;
}

struct readiness_state readiness_state(struct readiness *r)
{
    pthread_mutex_lock(&r->lock);
    struct readiness_state state = r->state;
    pthread_mutex_unlock(&r->lock);
    return state;
}
