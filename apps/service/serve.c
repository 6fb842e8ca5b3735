/*
 * `halftone serve`: everything is opened in the order of its dependencies, and closed the other way
 * round.
 *
 *   settings -> store -> events -> scheduler -> helpers, streams -> HTTP      ready
 *   a signal: /readyz says 503 -> listeners are told -> running jobs give back what they do -> HTTP closes -> store
 * closes
 */
#include "service/api/access.h"
#include "service/api/adjust.h"
#include "service/api/estimates.h"
#include "service/api/grants.h"
#include "service/api/lender.h"
#include "service/api/metrics.h"
#include "service/api/proxies.h"
#include "service/admin/admin.h"
#include "service/artifacts/artifacts.h"
#include "service/artifacts/dir.h"
#include "service/api/readiness.h"
#include "service/api/request_log.h"
#include "service/child/hub_environment.h"
#include "service/doorbell/bell.h"
#include "service/doorbell/redis.h"
#include "service/child/roots.h"
#include "service/runner/link.h"
#include "service/api/streams.h"
#include "service/system/notify.h"
#include "service/ollama/ollama.h"
#include "service/levels/levels.h"
#include "service/runtime/own.h"
#include "service/runtime/runtime.h"
#include "service/runtime/worker.h"
#include "service/serve.h"
#include "service/system/steady.h"
#include "service/worker/worker.h"
#include "service/api/tokens.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    DONE = 0,
    FAILED = 1,
    USAGE = 2,
    HELPERS = 4,
    WRITERS = 2,
    FETCHERS = 4,
    MAX_FETCHES = 256,
    MAX_WAITING = 64,
    SWITCHERS = 2,
    MAX_SWITCHES = 16,
    MAX_WRITES = 512
};

struct service {
    struct server server;
    struct settings settings;
    char data[4096], uploads[4200];
    char **hub;
};

static int usage(const char *why)
{
    fprintf(stderr, "halftone serve: %s\n`halftone serve --help` shows how it is used.\n", why);
    return USAGE;
}

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "halftone serve: %s%s%s\n", what, *why ? ": " : "", why);
    return FAILED;
}

/* -- Settings. -- */

static bool data_folder(struct service *s)
{
    bool given = s->settings.data && *s->settings.data;
    if (!settings_data(&s->settings, s->data, sizeof s->data)) return false;
    for (char *at = s->data + 1; !given && (at = strchr(at, '/')) != NULL; at++) { /* the way to the usual place */
        *at = '\0';
        mkdir(s->data, 0700);
        *at = '/';
    }
    return true;
}

/* 0: no address; 1: another; 2: of this machine alone. */
static int address_kind(const char *text)
{
    unsigned char v4[4], v6[16];
    static const unsigned char one[16] = {[15] = 1};
    if (inet_pton(AF_INET, text, v4) == 1) return v4[0] == 127 ? 2 : 1;
    if (inet_pton(AF_INET6, text, v6) == 1) return memcmp(v6, one, 16) == 0 ? 2 : 1;
    return 0;
}

#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* Everybody on a machine can read the arguments of its processes. */
static bool has_word(const char *url, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(argv[i], url)) return true;
    return false;
}

static bool has_password(const char *url, int argc, char **argv)
{
    const char *at = url ? strchr(url, '@') : NULL, *user = url ? strstr(url, "://") : NULL;
    bool secret = (at && user && memchr(user + 3, ':', (size_t)(at - user - 3))) || (url && strstr(url, "password="));
    return secret && has_word(url, argc, argv);
}

static int check_settings(struct service *s, int argc, char **argv)
{
    char why[600];
    enum log_level level;
    struct settings *set = &s->settings;
    if (!settings_read(argc, argv, set, why, sizeof why)) return usage(why);
    int kind = address_kind(set->host);
    if (kind == 0) return usage("--host: expected a numeric address such as 127.0.0.1, 0.0.0.0 or ::1");
    if (set->port > 65535) return usage("--port: from 0 to 65535");
    if (has_password(set->store, argc, argv))
        return usage(
            "--store: the password does not belong on the command line; give it as PGPASSWORD or in ~/.pgpass");
    if (set->name && (strlen(set->name) > 31 || strspn(set->name, NAME_LETTERS) != strlen(set->name)))
        return usage("--name: at most 31 letters, digits and \"._-\"");
    if (redis_is_open_secret(set->redis) && has_word(set->redis, argc, argv))
        return usage(
            "--redis: the password does not belong on the command line; give it as REDIS_PASSWORD or in REDIS_URL");
    if (strcmp(set->downloads, "redirect") != 0 && strcmp(set->downloads, "proxy") != 0)
        return usage("--downloads: redirect or proxy");
    if (set->artifacts && strchr(set->artifacts, '@'))
        return usage("--artifacts: a secret does not belong on the command line; see AWS_SECRET_ACCESS_KEY");
    if (set->workers > 1) return usage("--workers: 0 or 1; see --jobs for how many jobs run here at a time");
    if (set->lease < 3 || set->lease > 86400) return usage("--lease: from 3 to 86400");
    if (set->jobs < 1 || set->jobs > 64) return usage("--jobs: from 1 to 64");
    if (set->connections < 8 || set->connections > 100000) return usage("--connections: from 8 to 100000");
    if (set->http_threads < 1 || set->http_threads > 64) return usage("--http-threads: from 1 to 64");
    if (set->ollama_port > 65535) return usage("--ollama-port: from 0 to 65535");
    if (set->run_texts > 256) return usage("--run-texts: at most 256");
    if (set->run_threads > 1024) return usage("--run-threads: at most 1024");
    if (!log_level_named(set->log_level, &level)) return usage("--log-level: debug, info, warning or error");
    if (set->scope && !set->new_token) return usage("--scope belongs to --new-token");
    if (!data_folder(s)) return usage("there is no place for data: give --data DIR");
    s->server.loopback = kind == 2;
    if (set->rate_limit == SETTINGS_UNSET) set->rate_limit = s->server.loopback ? 0 : 100;
    return DONE;
}

/* -- Start. -- */

static void on_job_log(void *ctx, const char *level, const char *job_id, const char *text)
{
    enum log_level l = LOG_LEVEL_INFO;
    log_level_named(level, &l);
    log_event(ctx, l, "job", "{s:s, s:s}", "job_id", job_id ? job_id : "", "text", text);
}

static void on_http_log(void *ctx, const char *line)
{
    struct server *server = ctx;
    log_event(server->log, LOG_LEVEL_DEBUG, "http", "{s:s}", "text", line);
}

/* Uploads that were cut off by the end of an earlier run: folders of one file each. */
static void clear_uploads(const char *folder)
{
    DIR *dir = opendir(folder), *one;
    struct dirent *e, *file;
    while (dir && (e = readdir(dir)) != NULL) {
        if (strncmp(e->d_name, ".incoming-", 10) != 0) continue;
        int fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || !(one = fdopendir(fd))) continue;
        while ((file = readdir(one)) != NULL)
            unlinkat(dirfd(one), file->d_name, 0);
        closedir(one);
        unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
    }
    if (dir) closedir(dir);
}

static void on_work(void *ctx)
{
    struct server *server = ctx;
    lender_ring(atomic_load(&server->lender));
    bell_ring(atomic_load(&server->bell));
}

static bool open_scheduler(struct service *s, char *why, size_t size)
{
    struct server *server = &s->server;
    int64_t limit = s->settings.memory_limit;
    struct scheduler_settings settings = {.parallel = s->settings.workers ? (int)s->settings.jobs : 0,
                                          .memory_limit = limit > 0 ? (uint64_t)limit : 0,
                                          .hub_environment = server->hub_environment,
                                          .roots = server->roots,
                                          .artifacts = server->artifacts,
                                          .on_log = on_job_log,
                                          .ctx = server->log,
                                          .on_work = on_work,
                                          .work_ctx = server};
    return scheduler_open(server->store, server->events, &settings, &server->scheduler, why, size);
}

static void on_runtime_log(void *ctx, const char *level, const char *text)
{
    enum log_level l = LOG_LEVEL_INFO;
    log_level_named(level, &l);
    log_event(ctx, l, "model", "{s:s}", "text", text);
}

static bool open_runtime(struct service *s)
{
    const struct settings *set = &s->settings;
    struct runtime_settings settings = {.memory_limit = set->run_memory > 0 ? (uint64_t)set->run_memory : 0,
                                        .keep_alive = (double)set->keep_alive,
                                        .context = (int)set->run_context,
                                        .texts = (int)set->run_texts,
                                        .threads = (int)set->run_threads,
                                        .exact = set->run_exact != 0,
                                        .roots = roots_held(s->server.roots),
                                        .on_log = on_runtime_log,
                                        .ctx = s->server.log,
                                        .on_done = stats_done,
                                        .done_ctx = s->server.stats};
    s->server.runtime = runtime_open(&settings);
    return s->server.runtime != NULL;
}

static bool open_levels(struct service *s)
{
    const char *given = s->settings.levels_config;
    char path[4200];
    snprintf(path, sizeof path, "%s/config.json", store_folder(s->server.store));
    struct levels_settings settings = {.config = given && *given ? given : path,
                                       .runtime = s->server.runtime,
                                       .store = s->server.store,
                                       .roots = s->server.roots,
                                       .stats = s->server.stats,
                                       .on_log = on_runtime_log,
                                       .ctx = s->server.log};
    s->server.levels = levels_open(&settings);
    return s->server.levels != NULL;
}

static bool open_http(struct service *s, char *why, size_t size)
{
    struct server *server = &s->server;
    static const char *const probes[] = {"/healthz", "/readyz", NULL};
    struct ht_diag diag = {0};
    int connections = (int)s->settings.connections;
    struct ht__http_settings settings = {.address = s->settings.host,
                                         .port = (uint16_t)s->settings.port,
                                         .threads = (int)s->settings.http_threads,
                                         .max_connections = connections,
                                         .max_connections_per_peer = server->loopback ? 0 : connections / 4 + 1,
                                         .reserved_paths = probes,
                                         .max_body = API_MAX_BODY,
                                         .ctx = server,
                                         .on_begin = api_begin,
                                         .on_request = api_request,
                                         .on_done = api_done,
                                         .on_log = on_http_log};
    enum ht_err err = ht__http_open(&settings, &server->http, &diag);
    if (!err && s->settings.ollama_port) {
        settings.port = (uint16_t)s->settings.ollama_port;
        settings.on_begin = ollama_begin;
        err = ht__http_open(&settings, &server->ollama, &diag);
    }
    snprintf(why, size, "%s", err ? diag.message : "");
    return !err;
}

static int no_memory(void)
{
    return failed("not enough memory", "");
}

static bool open_store(struct service *s, char *why, size_t size)
{
    const char *url = s->settings.store && *s->settings.store ? s->settings.store : NULL, *name = s->settings.name;
    return store_open_at(url, name && *name ? name : NULL, s->data, &s->server.store, why, size);
}

/* What the bucket does not do is told before the first job, and not by one that fails. */
static bool open_artifacts(struct service *s, char *why, size_t size)
{
    struct server *server = &s->server;
    const char *note;
    char id[20];
    if (!artifacts_open(s->settings.artifacts, store_folder(server->store), &server->artifacts, why, size))
        return false;
    store_set_artifacts(server->store, server->artifacts);
    if (!artifacts_are_far(server->artifacts)) return true;
    char path[4200];
    snprintf(path, sizeof path, "%s/objects", store_folder(server->store));
    if (!dir_make(path)) return snprintf(why, size, "its folder for copies: %s", strerror(errno)), false;
    artifacts_set_copies(server->artifacts, (uint64_t)s->settings.artifact_copies);
    snprintf(id, sizeof id, "%08x%08x", server->run, (unsigned)getpid());
    if (!artifacts_probe(server->artifacts, id, &note, why, size)) return false;
    if (note) log_event(server->log, LOG_LEVEL_WARNING, "artifacts", "{s:s}", "text", note);
    return true;
}

/* What a worker took is given out anew after twice the lease: until then it may just be slow to ask. */
static bool open_bell(struct service *s, char *why, size_t size)
{
    struct bell *bell = NULL;
    const char *url = s->settings.redis;
    if (!url || !*url) return true;
    if (!bell_open(url, s->server.store, s->server.log, 2 * (double)s->settings.lease, &bell, why, size)) return false;
    atomic_store(&s->server.bell, bell);
    return true;
}

static int open_parts(struct service *s)
{
    struct server *server = &s->server;
    char why[600] = "";
    server->settings = &s->settings;
    if (!roots_open(&s->settings.models, &server->roots, why, sizeof why)) return usage(why);
    if (!proxies_open(&s->settings.trusted_proxy, &server->proxies, why, sizeof why)) return usage(why);
    if (!open_store(s, why, sizeof why)) return failed("the store", why);
    if (!open_artifacts(s, why, sizeof why)) return failed("--artifacts", why);
    snprintf(s->uploads, sizeof s->uploads, "%s/uploads", store_folder(server->store));
    server->uploads = s->uploads;
    s->hub = hub_environment_open(store_folder(server->store));
    if (!s->hub) return no_memory();
    server->hub_environment = (const char *const *)s->hub;
    if (!store_is_shared(server->store)) clear_uploads(s->uploads); /* those of others may be coming in */
    own_prune(store_folder(server->store));
    if (!server->loopback && store_token_count(server->store) <= 0) {
        fprintf(stderr,
                "halftone serve: %s can be reached from other machines, and there is no token. Make one first:\n"
                "  halftone serve --new-token NAME --scope admin --data %s\n"
                "or listen on this machine alone: --host 127.0.0.1\n",
                s->settings.host, s->data);
        return USAGE;
    }
    server->access = access_open(server->store, server->loopback, (int)s->settings.rate_limit);
    server->grants = grants_open();
    server->metrics = metrics_open();
    server->answers = answers_open();
    server->request_log = request_log_open();
    server->events = events_open(server->store);
    server->types = formats_types();
    if (!server->types || !server->access || !server->grants || !server->metrics || !server->answers ||
        !server->events || !server->request_log)
        return no_memory();
    server->streams = streams_open(server->events);
    server->helpers = helpers_open(HELPERS, MAX_WAITING);
    server->writers = helpers_open(WRITERS, MAX_WRITES);
    server->switchers = helpers_open(SWITCHERS, MAX_SWITCHES);
    server->fetchers = helpers_open(FETCHERS, MAX_FETCHES);
    if (!server->fetchers || !server->streams || !server->helpers || !server->switchers || !server->writers)
        return no_memory();
    server->readiness = readiness_open(server);
    server->stats = stats_open();
    if (!server->readiness || !server->stats || !open_runtime(s) || !open_levels(s)) return no_memory();
    if (!open_http(s, why, sizeof why)) return failed("the port cannot be listened on", why);
    store_set_lease(server->store, (int)s->settings.lease);
    store_set_task_bytes(server->store, s->settings.task_size);
    if (!open_scheduler(s, why, sizeof why)) return failed("the workers", why);
    atomic_store(&server->lender, lender_open(server));
    if (!server->lender) return no_memory();
    if (!open_bell(s, why, sizeof why)) return failed("--redis", why);
    server->adjuster = adjust_open(server, s->settings.readings, why, sizeof why);
    if (!server->adjuster) return failed("the readings", why);
    return DONE;
}

/* -- Stop. -- */

static void close_parts(struct service *s)
{
    struct server *server = &s->server;
    const struct timespec moment = {.tv_nsec = 1000000};
    atomic_store(&server->stopping, true); /* from now on probes and the page are answered, nothing else */
    if (server->events) events_publish(server->events, "shutdown", NULL, NULL);
    while (atomic_load(&server->in_flight) > 0)
        nanosleep(&moment, NULL);
    helpers_close(&server->writers); /* these may still give the helpers something to do */
    adjust_close(&server->adjuster);
    helpers_close(&server->switchers);
    helpers_close(&server->fetchers);
    helpers_close(&server->helpers);
    struct lender *lender = atomic_exchange(&server->lender, NULL);
    lender_close(&lender);
    struct bell *bell = atomic_exchange(&server->bell, NULL);
    scheduler_close(&server->scheduler);
    bell_close(&bell);
    runtime_close(&server->runtime); /* tasks end with their last event, which is answered while HTTP is there */
    ht__http_close(&server->ollama);
    ht__http_close(&server->http);
    levels_close(&server->levels);
    stats_close(&server->stats);
    readiness_close(&server->readiness);
    streams_close(&server->streams);
    events_close(&server->events);
    access_close(&server->access);
    grants_close(&server->grants);
    answers_close(&server->answers);
    metrics_close(&server->metrics);
    request_log_close(&server->request_log);
    artifacts_close(&server->artifacts);
    store_close(&server->store);
    roots_close(&server->roots);
    proxies_close(&server->proxies);
    log_close(&server->log);
    formats_free(&server->types);
    hub_environment_close(&s->hub);
}

/* Also after the last token was removed: who had one would not expect it. */
static void say_who_may(struct server *server)
{
    static const char text[] =
        "there is no token: everybody on this machine may do everything through a loopback address";
    if (access_wants_token(server->access)) return;
    if (isatty(STDOUT_FILENO))
        printf("Note: %s.\n", text);
    else
        log_event(server->log, LOG_LEVEL_ALWAYS, "no_token", "{s:s}", "text", text);
}

/* For a person at a terminal: what to open, and how it ends. A wildcard address is no place to go to. */
static void say_where(const struct service *s, const char *url)
{
    bool any = strcmp(s->settings.host, "0.0.0.0") == 0 || strcmp(s->settings.host, "::") == 0;
    printf("Halftone %s is running.\n", HT_VERSION);
    if (any)
        printf("Open http://127.0.0.1:%u/ on this machine, or port %u of its address from another.\n",
               ht__http_port(s->server.http), ht__http_port(s->server.http));
    else
        printf("Open %s in a browser.\n", url);
    printf("Ctrl-C stops it.\n");
}

static int serve(struct service *s)
{
    struct server *server = &s->server;
    sigset_t wanted;
    char url[128];
    int signal_number = 0;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    pthread_sigmask(SIG_BLOCK, &wanted,
                    NULL); /* before any thread starts: all of them then leave signals to this one */
    int status = open_parts(s);
    if (status == DONE) {
        unsigned port = ht__http_port(server->http);
        bool six = strchr(s->settings.host, ':') != NULL;
        snprintf(url, sizeof url, "http://%s%s%s:%u/", six ? "[" : "", s->settings.host, six ? "]" : "", port);
        atomic_store(&server->ready, true);
        bool person = isatty(STDOUT_FILENO);
        if (!person) say_who_may(server); /* the last of what is held comes first: this is the second line */
        log_event(server->log, person ? LOG_LEVEL_INFO : LOG_LEVEL_ALWAYS, "listening", "{s:s, s:i, s:s, s:s, s:f}",
                  "address", s->settings.host, "port", (int)port, "url", url, "version", HT_VERSION, "seconds",
                  steady_seconds() - server->started);
        log_release(server->log);
        if (person) say_where(s, url);
        if (person) say_who_may(server);
        levels_started(server->levels);
        fflush(stdout);
        notify_manager("READY=1");
        sigwait(&wanted, &signal_number);
        notify_manager("STOPPING=1");
        log_event(server->log, LOG_LEVEL_INFO, "stopping", "{s:s}", "signal",
                  signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    }
    close_parts(s);
    return status;
}

/* A thousand listeners want a thousand descriptors: as many as we may have. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int manage_tokens(struct service *s)
{
    char why[600];
    if (!open_store(s, why, sizeof why)) {
        fprintf(stderr, "halftone serve: %s\nWhile the service runs, tokens are made by itself: POST /api/v1/tokens\n",
                why);
        return FAILED;
    }
    int status = tokens_command(&s->settings, s->server.store);
    store_close(&s->server.store);
    return status;
}

int model_main(int argc, char **argv)
{
    return runtime_worker_main(argc, argv);
}

int worker_main(int argc, char **argv)
{
    return worker_run(argc, argv);
}

int admin_main(int argc, char **argv)
{
    return admin_run(argc, argv);
}

int server_main(int argc, char **argv)
{
    struct service *s = calloc(1, sizeof *s);
    if (!s) return no_memory();
    s->server.started = steady_seconds();
    if (getrandom(&s->server.run, sizeof s->server.run, 0) != sizeof s->server.run) s->server.run = (uint32_t)getpid();
    signal(SIGPIPE, SIG_IGN);
    int status = check_settings(s, argc, argv);
    if (status == DONE && (s->settings.new_token || s->settings.list_tokens || s->settings.remove_token)) {
        status = manage_tokens(s);
    } else if (status == DONE) {
        enum log_level level = LOG_LEVEL_INFO;
        log_level_named(s->settings.log_level, &level);
        /* a person is told in words, and sees of the log what went wrong */
        if (isatty(STDOUT_FILENO) && level == LOG_LEVEL_INFO) level = LOG_LEVEL_WARNING;
        s->server.log = log_open(STDOUT_FILENO, level);
        if (s->server.log) log_hold(s->server.log);
        raise_descriptors();
        status = s->server.log ? serve(s) : no_memory();
    }
    settings_free(&s->settings);
    free(s);
    return status;
}
