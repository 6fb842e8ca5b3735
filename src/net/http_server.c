/* The server's life: open, stop accepting, close. */
#include "net/http_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { KEPT_DESCRIPTORS = 64 }; /* the reserve among them */

int64_t ht__http_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void pause_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static int or_default(int value, int fallback)
{
    return value > 0 ? value : fallback;
}

/* The application's own files must find descriptors too, however many clients come. */
static int most_connections(int wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= (rlim_t)wanted + KEPT_DESCRIPTORS) return wanted;
    return limit.rlim_cur > 2 * KEPT_DESCRIPTORS ? (int)limit.rlim_cur - KEPT_DESCRIPTORS : KEPT_DESCRIPTORS;
}

static void fill_defaults(struct ht__http_settings *s)
{
    s->threads = or_default(s->threads, 2);
    if (s->threads > HT__HTTP_MAX_THREADS) s->threads = HT__HTTP_MAX_THREADS;
    s->max_connections = most_connections(or_default(s->max_connections, 4096));
    s->header_seconds = or_default(s->header_seconds, 10);
    s->body_seconds = or_default(s->body_seconds, 20);
    s->idle_seconds = or_default(s->idle_seconds, 60);
    s->close_seconds = or_default(s->close_seconds, 5);
    if (s->max_body == 0) s->max_body = 1 << 20;
    s->address = NULL;
}

static enum ht_err start(struct ht__http *server, const char *address, struct ht_diag *diag)
{
    server->loops = calloc((size_t)server->set.threads, sizeof *server->loops);
    if (!server->loops) return ht__fail_memory(diag, address);
    HT_TRY(ht__http_listen(address, server->set.port, &server->listener, &server->port, diag));
    server->n_loops = server->set.threads; /* the first loop may hand connections to the last at once */
    for (int i = 0; i < server->n_loops; i++)
        HT_TRY(ht__http_loop_init(&server->loops[i], server, diag));
    for (int i = 0; i < server->n_loops; i++)
        HT_TRY(ht__http_loop_start(&server->loops[i], diag));
    return HT_OK;
}

enum ht_err ht__http_open(const struct ht__http_settings *settings, struct ht__http **out, struct ht_diag *diag)
{
    const char *address = settings->address ? settings->address : "127.0.0.1";
    *out = NULL;
    struct ht__http *server = calloc(1, sizeof *server);
    if (!server) return ht__fail_memory(diag, address);
    server->set = *settings;
    fill_defaults(&server->set);
    server->listener = -1;
    pthread_mutex_init(&server->places_lock, NULL);
    pthread_mutex_init(&server->log_lock, NULL);
    if (getrandom(&server->peer_seed, sizeof server->peer_seed, GRND_NONBLOCK) < 0) /* too early after boot */
        server->peer_seed = (uint64_t)ht__http_now() ^ (uintptr_t)server;
    enum ht_err err = start(server, address, diag);
    if (err == HT_OK)
        *out = server;
    else
        ht__http_close(&server);
    return err;
}

uint16_t ht__http_port(const struct ht__http *server)
{
    return server->port;
}

int ht__http_connections(const struct ht__http *server)
{
    return atomic_load(&((struct ht__http *)server)->n_conns);
}

/* Tells all loops. */
static void announce(struct ht__http *server, atomic_bool *what)
{
    atomic_store(what, true);
    for (int i = 0; i < server->n_loops; i++)
        if (server->loops[i].runs) ht__http_wake(&server->loops[i]);
}

void ht__http_stop_accepting(struct ht__http *server)
{
    announce(server, &server->stopping);
}

/* Waits until all connections are gone or it is `deadline`. */
static bool wait_for_connections(struct ht__http *server, int64_t deadline)
{
    while (ht__http_connections(server) > 0) {
        if (ht__http_now() >= deadline) return false;
        pause_ms(5);
    }
    return true;
}

/* What is in flight may end; what has not ended by then is cut. */
static void end_all(struct ht__http *server)
{
    ht__http_stop_accepting(server);
    announce(server, &server->ending);
    if (wait_for_connections(server, ht__http_now() + 1000 * (int64_t)server->set.close_seconds)) return;
    announce(server, &server->cancelling);
    wait_for_connections(server, ht__http_now() + 250); /* the 503s go out */
}

void ht__http_close(struct ht__http **serverp)
{
    struct ht__http *server = *serverp;
    *serverp = NULL;
    if (!server) return;
    bool whole = server->n_loops > 0 && server->loops[server->n_loops - 1].runs;
    if (whole) end_all(server);
    announce(server, &server->quitting);
    for (int i = 0; i < server->n_loops; i++)
        if (server->loops[i].runs) pthread_join(server->loops[i].thread, NULL);
    for (int i = 0; i < server->n_loops; i++)
        ht__http_loop_free(&server->loops[i]);
    if (server->listener >= 0 && (!whole || atomic_load(&server->n_listening) > 0)) close(server->listener);
    pthread_mutex_destroy(&server->places_lock);
    pthread_mutex_destroy(&server->log_lock);
    free(server->loops);
    free(server);
}
