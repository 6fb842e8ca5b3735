/*
 * `halftone worker`: this machine's cores for a service elsewhere. The jobs run as they do within the service (runner/,
 * child/); only whom they come from and go to is another.
 *
 *   SIGTERM: no more claims -> running jobs are given back, their attempt is not counted -> the server is told
 */
#include "service/worker/worker.h"

#include "service/artifacts/dir.h"
#include "service/child/hub_environment.h"
#include "service/doorbell/redis.h"
#include "service/runner/runner.h"
#include "service/settings/settings.h"
#include "service/system/notify.h"
#include "service/worker/far.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DONE = 0, FAILED = 1, USAGE = 2 };

struct options {
    const char *server, *redis, *artifacts, *data, *name, *labels, *slots, *threads, *memory, *level;
    struct settings_list models;
};

struct work {
    struct options options;
    struct far far;
    char server[1024], share[3008], folder[3008], name[256];
    json_t *labels;
    int lock;
    int64_t memory, threads;
    struct roots *roots;
    char **hub;
    struct scheduler *scheduler;
};

static int usage(const char *why)
{
    fprintf(stderr, "halftone worker: %s\n`halftone worker --help` shows how it is used.\n", why);
    return USAGE;
}

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "halftone worker: %s%s%s\n", what, *why ? ": " : "", why);
    return FAILED;
}

/* ---- what it is told ---- */

static bool add_model(struct settings_list *list, const char *folder)
{
    char **items = realloc(list->items, (list->n + 1) * sizeof *items);
    if (!items) return false;
    list->items = items;
    return (items[list->n++] = strdup(folder)) != NULL;
}

static const char **field_of(const char *name, size_t len, struct options *o)
{
    const struct {
        const char *name;
        const char **field;
    } known[] = {{"redis", &o->redis},    {"artifacts", &o->artifacts}, {"server", &o->server},
                 {"data", &o->data},      {"name", &o->name},           {"labels", &o->labels},
                 {"slots", &o->slots},    {"threads", &o->threads},     {"memory-limit", &o->memory},
                 {"log-level", &o->level}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == len && strncmp(known[i].name, name, len) == 0) return known[i].field;
    return NULL;
}

static int read_options(struct options *o, int argc, char **argv)
{
    char why[200];
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i] + 2, *value;
        size_t len = strncmp(argv[i], "--", 2) == 0 ? strcspn(name, "=") : 0;
        bool models = len == 6 && strncmp(name, "models", 6) == 0;
        const char **field = len ? field_of(name, len, o) : NULL;
        if (!field && !models) {
            snprintf(why, sizeof why, "unexpected argument \"%.100s\"", argv[i]);
            return usage(why);
        }
        value = name[len] == '=' ? name + len + 1 : argv[++i];
        if (!value || !*value) {
            snprintf(why, sizeof why, "--%.*s needs a value", (int)len, name);
            return usage(why);
        }
        if (field) *field = value;
        if (models && !add_model(&o->models, value)) return failed("not enough memory", "");
    }
    return DONE;
}

/* From 1 to `most`; absent: `otherwise`. -1: it is none. */
static int64_t count_of(const char *text, int64_t most, int64_t otherwise)
{
    char *end;
    if (!text) return otherwise;
    long long n = *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : -1;
    return n < 1 || n > most || *end ? -1 : n;
}

static bool split_labels(struct work *w, const char *text)
{
    w->labels = json_array();
    while (text && *text) {
        size_t n = strcspn(text, ",");
        if (n == 0 || n > 60 || strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") < n)
            return false;
        json_array_append_new(w->labels, json_stringn(text, n));
        text += n + (text[n] == ',');
    }
    return w->labels != NULL;
}

static int find_server(struct work *w)
{
    const char *given = w->options.server ? w->options.server : getenv("HALFTONE_SERVER"),
               *token = getenv("HALFTONE_TOKEN");
    if (!given || !*given) return usage("--server: the address of the service is wanted, such as http://host:8700");
    int n = snprintf(w->server, sizeof w->server, "%s%s", strstr(given, "://") ? "" : "http://", given);
    if (n >= (int)sizeof w->server) return usage("--server: the address is too long");
    while (n > 0 && w->server[n - 1] == '/')
        w->server[--n] = '\0';
    bool secure = strncmp(w->server, "https://", 8) == 0;
    if (!secure && strncmp(w->server, "http://", 7) != 0)
        return usage("--server: the address begins with http:// or https://");
    if (strchr(w->server, '@'))
        return usage("--server: a secret does not belong on the command line; see HALFTONE_TOKEN");
    for (const char *p = token; p && *p; p++)
        if (*p <= ' ' || *p > '~') return usage("HALFTONE_TOKEN contains a character that tokens cannot have");
    if (token && strlen(token) > 512) return usage("HALFTONE_TOKEN is too long");
    bool here = strncmp(w->server, "http://127.", 11) == 0 || strncmp(w->server, "http://localhost", 16) == 0 ||
                strncmp(w->server, "http://[::1]", 12) == 0;
    if (token && *token && !secure && !here)
        fprintf(stderr, "warning: the token and the models are sent to %s unencrypted\n", w->server);
    w->far.server = w->server;
    w->far.token = token && *token ? token : NULL;
    return DONE;
}

/* Absent, or "http": what is made is sent to the server. s3://…: there, see open_bucket. */
static bool find_share(struct work *w)
{
    char real[PATH_MAX];
    const char *given = w->options.artifacts;
    if (!given || strcmp(given, "http") == 0 || strncmp(given, "s3://", 5) == 0) return true;
    if (strncmp(given, "file://", 7) == 0) given += 7;
    if (given[0] != '/' || !realpath(given, real) || strlen(real) > 2900) return false;
    snprintf(w->share, sizeof w->share, "%s", real);
    w->far.share = w->share;
    return true;
}

static int check(struct work *w)
{
    const struct options *o = &w->options;
    char host[200] = "worker";
    enum log_level level;
    int64_t slots = count_of(o->slots, 64, 1);
    w->threads = count_of(o->threads, 1024, 0);
    w->memory = o->memory ? settings_size(o->memory) : 0;
    if (slots < 0) return usage("--slots: from 1 to 64");
    if (w->threads < 0) return usage("--threads: from 1 to 1024");
    if (w->memory < 0) return usage("--memory-limit: no size; write 300M, 4G or 1.5Gi");
    if (o->level && !log_level_named(o->level, &level)) return usage("--log-level: debug, info, warning or error");
    if (!split_labels(w, o->labels))
        return usage("--labels: words of letters, digits and \"._-\", with commas between them");
    gethostname(host, sizeof host - 1);
    snprintf(w->name, sizeof w->name, "%s", o->name ? o->name : host);
    if (strlen(w->name) > 100) return usage("--name: at most 100 bytes");
    if (!find_share(w))
        return usage("--artifacts: the service's data folder as it is seen here, file:///mnt/halftone, or its bucket, "
                     "s3://BUCKET/PREFIX");
    w->far.slots = (int)slots;
    w->far.name = w->name;
    w->far.labels = w->labels;
    return find_server(w);
}

/* ---- its folder ---- */

static bool name_folder(const struct work *w, char *folder, size_t size)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n = -1;
    if (w->options.data)
        n = snprintf(folder, size, "%s", w->options.data);
    else if (xdg && xdg[0] == '/')
        n = snprintf(folder, size, "%s/halftone-worker", xdg);
    else if (home && home[0] == '/')
        n = snprintf(folder, size, "%s/.local/share/halftone-worker", home);
    return n > 0 && n < (int)size;
}

static bool make_way(char *path)
{
    for (char *p = path + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST) return false;
    }
    return dir_make(path);
}

/* One worker a folder: two would continue the same unfinished work. */
static int open_folder(struct work *w)
{
    char path[4096], real[PATH_MAX];
    if (!name_folder(w, path, 2900)) return usage("there is no place for unfinished work: give --data DIR");
    if (!make_way(path) || !realpath(path, real) || strlen(real) >= sizeof w->folder)
        return failed(path, strerror(errno));
    snprintf(w->folder, sizeof w->folder, "%s", real);
    snprintf(path, sizeof path, "%s/jobs", w->folder);
    if (!dir_make(path)) return failed(path, strerror(errno));
    snprintf(path, sizeof path, "%s/uploads", w->folder);
    if (!dir_make(path)) return failed(path, strerror(errno));
    snprintf(path, sizeof path, "%s/lock", w->folder);
    w->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->lock < 0) return failed(path, strerror(errno));
    if (flock(w->lock, LOCK_EX | LOCK_NB) != 0)
        return failed(w->folder, "another process uses this folder: give each worker its own, by --data DIR");
    w->far.folder = w->folder;
    return DONE;
}

/* ---- its work ---- */

static void on_log(void *ctx, const char *level, const char *job_id, const char *text)
{
    enum log_level l = LOG_LEVEL_INFO;
    log_level_named(level, &l);
    log_event(ctx, l, "job", "{s:s, s:s}", "job_id", job_id ? job_id : "", "text", text);
}

static int open_bucket(struct work *w)
{
    char why[500];
    const char *given = w->options.artifacts;
    if (!given || strncmp(given, "s3://", 5) != 0) return DONE;
    if (artifacts_open(given, w->folder, &w->far.bucket, why, sizeof why)) return DONE;
    fprintf(stderr, "halftone worker: --artifacts: %s\n", why);
    return USAGE;
}

/* The address is environment too; a password has its place there alone. */
static int open_wake(struct work *w)
{
    char why[300];
    const char *given = w->options.redis, *url = given ? given : getenv("REDIS_URL");
    if (redis_is_open_secret(given))
        return usage(
            "--redis: the password does not belong on the command line; give it as REDIS_PASSWORD or in REDIS_URL");
    if (!url || !*url || (w->far.wake = wake_open(url, why, sizeof why))) return DONE;
    fprintf(stderr, "halftone worker: --redis: %s\n", why);
    return USAGE;
}

/* What the server refuses for good is told at once, and not asked again and again. */
static int introduce(struct work *w)
{
    char why[500];
    enum store_result result = far_introduce(&w->far);
    if (result == STORE_OK) return DONE;
    far_why(&w->far, why, sizeof why);
    bool later = result == STORE_BUSY || strstr(why, "cannot be reached") != NULL;
    if (!later) return failed(w->server, why);
    log_event(w->far.log, LOG_LEVEL_WARNING, "unreachable", "{s:s}", "text", why);
    return DONE;
}

static int work(struct work *w)
{
    char why[600] = "";
    sigset_t wanted;
    int signal_number = 0;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    pthread_sigmask(SIG_BLOCK, &wanted, NULL); /* before any thread starts */
    if (!roots_open(&w->options.models, &w->roots, why, sizeof why)) return usage(why);
    w->far.roots = w->roots;
    w->hub = hub_environment_open(w->folder);
    struct worker_link *link = far_link(&w->far);
    if (!w->hub) return failed("not enough memory", "");
    int status = open_bucket(w);
    if (status == DONE) status = open_wake(w);
    if (status == DONE) status = introduce(w);
    if (status != DONE) return status;
    const struct scheduler_settings settings = {.parallel = w->far.slots,
                                                .threads = (int)w->threads,
                                                .memory_limit = (uint64_t)w->memory,
                                                .hub_environment = (const char *const *)w->hub,
                                                .roots = w->roots,
                                                .on_log = on_log,
                                                .ctx = w->far.log};
    if (!scheduler_open_elsewhere(link, w->folder, &settings, &w->scheduler, why, sizeof why))
        return failed("the workers", why);
    notify_manager("READY=1");
    sigwait(&wanted, &signal_number);
    notify_manager("STOPPING=1");
    log_event(w->far.log, LOG_LEVEL_INFO, "stopping", "{s:s}", "signal",
              signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    scheduler_close(&w->scheduler);
    far_leave(&w->far);
    return DONE;
}

static void close_work(struct work *w)
{
    for (int i = 0; i < w->far.n_idle; i++)
        curl_easy_cleanup(w->far.idle[i]);
    hub_environment_close(&w->hub);
    roots_close(&w->roots);
    artifacts_close(&w->far.bucket);
    wake_close(&w->far.wake);
    log_close(&w->far.log);
    json_decref(w->labels);
    for (size_t i = 0; i < w->options.models.n; i++)
        free(w->options.models.items[i]);
    free(w->options.models.items);
    if (w->lock >= 0) close(w->lock);
    free(w);
}

int worker_run(int argc, char **argv)
{
    struct work *w = calloc(1, sizeof *w);
    if (!w) return failed("not enough memory", "");
    enum log_level level = LOG_LEVEL_INFO;
    w->lock = -1;
    pthread_mutex_init(&w->far.lock, NULL);
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = read_options(&w->options, argc, argv);
    if (status == DONE) status = check(w);
    if (status == DONE) status = open_folder(w);
    if (w->options.level) log_level_named(w->options.level, &level);
    if (status == DONE) w->far.log = log_open(STDOUT_FILENO, level);
    if (status == DONE) status = w->far.log ? work(w) : failed("not enough memory", "");
    close_work(w);
    curl_global_cleanup();
    return status;
}
