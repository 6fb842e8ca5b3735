/* The server's life: open, stop accepting, close. */
#include "net/http_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* A request's head, its parsed form and the answer's head all lie in it: of a head some 12 KiB fit, more is 431. */
enum { CONNECTION_MEMORY = 16 << 10, KEPT_DESCRIPTORS = 64 };

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

/*
 * The library's own listening, connection limit, time-outs and thread pool stay unused: quiescing it can abort the
 * process when a loop wakes at the same moment, reaching its limit leaves one of its locks taken, and its time-outs
 * start anew with every byte. The keeper does all four. Its strictness is the guard's: its own refusals go out with
 * their head twice.
 */
static struct MHD_Daemon *start_loop(struct ht__http *server)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
    unsigned never_reached = (unsigned)server->set.max_connections + 1024;
    return MHD_start_daemon(flags, 0, NULL, NULL, ht__http_on_call, server, MHD_OPTION_EXTERNAL_LOGGER, ht__http_vlog,
                            server, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                            MHD_OPTION_CONNECTION_LIMIT, never_reached,
                            MHD_OPTION_NOTIFY_CONNECTION, ht__http_on_connection, server, MHD_OPTION_URI_LOG_CALLBACK,
                            ht__http_on_line, server, MHD_OPTION_NOTIFY_COMPLETED, ht__http_on_completed, server,
                            MHD_OPTION_UNESCAPE_CALLBACK, ht__http_identity, server, MHD_OPTION_END);
}

static enum ht_err start(struct ht__http *server, const char *address, struct ht_diag *diag)
{
    HT_TRY(ht__http_listen(address, server->set.port, &server->listener, &server->port, diag));
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->wake < 0) return ht__fail(diag, HT_ERR_IO, address, -1, "no descriptor left for the server");
    for (; server->n_loops < server->set.threads; server->n_loops++) {
        server->loops[server->n_loops] = start_loop(server);
        if (!server->loops[server->n_loops])
            return ht__fail(diag, HT_ERR_IO, address, -1, "the HTTP library cannot start an event loop");
    }
    if (pthread_create(&server->keeper, NULL, ht__http_keep, server) != 0)
        return ht__fail(diag, HT_ERR_IO, address, -1, "cannot start a thread");
    server->keeper_runs = true;
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
    server->listener = server->wake = -1;
    pthread_mutex_init(&server->conns_lock, NULL);
    pthread_mutex_init(&server->waiting_lock, NULL);
    pthread_mutex_init(&server->streams_lock, NULL);
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
    struct ht__http *s = (struct ht__http *)server; /* the lock is not part of what is asked */
    pthread_mutex_lock(&s->conns_lock);
    int n = s->n_conns;
    pthread_mutex_unlock(&s->conns_lock);
    return n;
}

void ht__http_stop_accepting(struct ht__http *server)
{
    atomic_store(&server->stopping, true);
    ht__http_wake(server);
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

/* Before the library is stopped nothing may be suspended: it would abort the process. */
static void end_all(struct ht__http *server)
{
    ht__http_stop_accepting(server);
    ht__http_end_streams(server);
    int64_t now = ht__http_now();
    if (wait_for_connections(server, now + 1000 * (int64_t)server->set.close_seconds)) return;
    ht__http_cancel_waiting(server);
    if (wait_for_connections(server, ht__http_now() + 250)) return; /* the 503s go out */
    pthread_mutex_lock(&server->conns_lock);
    for (struct ht__http_conn *c = server->conns; c; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&server->conns_lock);
    wait_for_connections(server, ht__http_now() + 1000);
}

void ht__http_close(struct ht__http **serverp)
{
    struct ht__http *server = *serverp;
    *serverp = NULL;
    if (!server) return;
    if (server->keeper_runs) {
        end_all(server);
        atomic_store(&server->closing, true);
        ht__http_wake(server);
        pthread_join(server->keeper, NULL);
    }
    ht__http_cancel_waiting(server);
    for (int i = 0; i < server->n_loops; i++)
        MHD_stop_daemon(server->loops[i]);
    if (server->listener >= 0) close(server->listener);
    if (server->wake >= 0) close(server->wake);
    pthread_mutex_destroy(&server->conns_lock);
    pthread_mutex_destroy(&server->waiting_lock);
    pthread_mutex_destroy(&server->streams_lock);
    pthread_mutex_destroy(&server->log_lock);
    free(server);
}
