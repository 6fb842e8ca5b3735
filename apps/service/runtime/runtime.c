#include "service/runtime/runtime.h"

#include "service/runtime/model.h"
#include "service/system/machine.h"
#include "service/system/steady.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_WAITING = 512, MOST_TEXTS = 16, MOMENT_NS = 50000000, WHO = 80 };
#define BESIDE ((uint64_t)192 << 20) /* of a process, besides weights, keys and values */
#define CACHE_SHARE 4                /* a model's keys and values may take this part of the limit */
#define FOR_EVER 1e300

struct task {
    struct task *next;
    json_int_t id;
    json_t *request;
    char who[WHO];
    double since, keep_alive;
    bool running, told_ready, loads;
    bool (*wanted)(void *ctx);
    void (*on_event)(void *ctx, const json_t *event);
    void *ctx;
};

enum state { LOADING, READY, ENDING };

/* A model's process and its thread, which follows it. */
struct instance {
    struct instance *next;
    struct runtime *runtime;
    struct runtime_model model;
    struct stat identity; /* of the file or folder, when it was opened */
    enum state state;
    uint64_t bytes; /* that it is taken to need; 0: it has no room yet */
    json_t *ready;  /* what it said then */
    double asked, load_seconds, last_used, keep_alive;
    int pid;            /* of the process; 0: it has not said it yet */
    struct task *tasks; /* in the order in which they came */
    int n_running, n_waiting, n_texts;
    int socket; /* our end */
    char *out;  /* not taken by the socket yet */
    size_t n_out;
    struct child_stop stop;
    char code[64], why[800]; /* of an error that is not a task's */
};

struct runtime {
    struct runtime_settings settings;
    pthread_mutex_t lock; /* owns all of it, and of every instance */
    pthread_cond_t changed;
    struct instance *instances;
    json_int_t last_id;
    uint64_t limit; /* bytes of all models; settings.memory_limit or less */
    bool closing;
};

static void say(struct runtime *rt, const char *level, const char *name, const char *text)
{
    char line[1400];
    if (!rt->settings.on_log) return;
    snprintf(line, sizeof line, "%s: %s", name, text);
    rt->settings.on_log(rt->settings.ctx, level, line);
}

/* ---- tasks -------------------------------------------------------------------------------------- */

static void free_task(struct task *t)
{
    json_decref(t->request);
    free(t);
}

static void give(const struct task *t, json_t *event)
{
    if (event) t->on_event(t->ctx, event);
    json_decref(event);
}

static bool only_loads(const struct task *t)
{
    return t->loads;
}

static void tell_done(struct runtime *rt, const struct runtime_model *model, int pid, const struct task *t,
                      const json_t *event)
{
    const char *kind = json_string_value(json_object_get(event, "event"));
    struct runtime_done done = {.model = model,
                                .ok = strcmp(kind, "end") == 0,
                                .left = strcmp(kind, "gone") == 0,
                                .seconds = steady_seconds() - t->since,
                                .event = event};
    if (only_loads(t) || !rt->settings.on_done) return;
    if (pid) machine_process_memory(pid, &done.memory, &done.most_memory);
    rt->settings.on_done(rt->settings.done_ctx, &done);
}

/* The last event of a task, which is in no list any more. */
static void end_task(struct runtime *rt, const struct runtime_model *model, struct task *t, const char *event,
                     const char *code, const char *message)
{
    static const char *const last =
        "{\"event\": \"error\", \"code\": \"HT_ERR_MEMORY\", \"message\": \"memory is out\"}";
    json_t *value = json_pack("{s:s, s:s, s:s}", "event", event, "code", code, "message", message);
    if (!value) value = json_loads(last, 0, NULL);
    if (value) tell_done(rt, model, 0, t, value);
    give(t, value);
    free_task(t);
}

static struct task *take_out(struct instance *m, struct task **at)
{
    struct task *t = *at;
    *at = t->next;
    t->next = NULL;
    if (t->running)
        m->n_running--;
    else
        m->n_waiting--;
    m->last_used = steady_seconds();
    return t;
}

static struct task **find_task(struct instance *m, json_int_t id)
{
    struct task **at = &m->tasks;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return *at ? at : NULL;
}

/* ---- to the process ----------------------------------------------------------------------------- */

static void flush(struct instance *m)
{
    while (m->n_out > 0) {
        ssize_t n = send(m->socket, m->out, m->n_out, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return; /* later; or it has gone, and its end is on its way */
        m->n_out -= (size_t)n;
        memmove(m->out, m->out + n, m->n_out);
    }
}

static bool send_json(struct instance *m, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    size_t len = text ? strlen(text) : 0;
    char *grown = text ? realloc(m->out, m->n_out + len + 1) : NULL;
    if (grown) {
        m->out = grown;
        memcpy(grown + m->n_out, text, len);
        grown[m->n_out + len] = '\n';
        m->n_out += len + 1;
        flush(m);
    }
    free(text);
    return grown != NULL;
}

static int running_of(const struct instance *m, const char *who)
{
    int n = 0;
    for (const struct task *t = m->tasks; t; t = t->next)
        n += t->running && strcmp(t->who, who) == 0;
    return n;
}

/* Of those that wait, the one whose asker has the fewest running; of several, the one that came first. */
static struct task *next_task(struct instance *m)
{
    struct task *best = NULL;
    int least = 0;
    for (struct task *t = m->tasks; t; t = t->next) {
        int n = t->running ? 0 : running_of(m, t->who);
        if (t->running || (best && n >= least)) continue;
        best = t;
        least = n;
    }
    return best;
}

/* As many as the model takes at once. Tasks that are done by being loaded, and those that cannot be sent, come back in a
 * list. */
static struct task *dispatch(struct instance *m)
{
    struct task *done = NULL, *t;
    while (m->state == READY && m->n_running < m->n_texts && (t = next_task(m)) != NULL) {
        json_object_set_new(t->request, "id", json_integer(t->id));
        if (!only_loads(t) && send_json(m, t->request)) {
            t->running = true;
            m->n_running++;
            m->n_waiting--;
            json_decref(t->request);
            t->request = NULL;
            continue;
        }
        struct task **at = find_task(m, t->id);
        take_out(m, at);
        t->next = done;
        done = t;
    }
    return done;
}

static json_t *ready_event(const struct instance *m, const struct task *t)
{
    json_t *event = json_copy(m->ready);
    double waited = m->asked + m->load_seconds - t->since;
    json_object_set_new(event, "load_seconds", json_real(waited > 0 ? waited : 0));
    return event;
}

static void end_loaded(struct instance *m, struct task *done)
{
    while (done) {
        struct task *t = done;
        bool loaded = only_loads(t);
        done = t->next;
        if (loaded) give(t, ready_event(m, t));
        end_task(m->runtime, &m->model, t, loaded ? "end" : "error", loaded ? "" : "HT_ERR_MEMORY",
                 loaded ? "" : "memory is out");
    }
}

/* ---- room --------------------------------------------------------------------------------------- */

static uint64_t held(const struct runtime *rt)
{
    uint64_t sum = 0;
    for (const struct instance *m = rt->instances; m; m = m->next)
        sum += m->bytes;
    return sum;
}

static void end_instance(struct instance *m)
{
    if (m->state == ENDING) return;
    m->state = ENDING;
    child_stop(&m->stop);
}

static struct instance *end_least_used(struct runtime *rt, const struct instance *but)
{
    struct instance *found = NULL;
    for (struct instance *m = rt->instances; m; m = m->next)
        if (m != but && m->state == READY && !m->tasks && (!found || m->last_used < found->last_used)) found = m;
    if (found) end_instance(found);
    return found;
}

static bool some_end(const struct runtime *rt)
{
    for (const struct instance *m = rt->instances; m; m = m->next)
        if (m->state == ENDING && m->bytes) return true;
    return false;
}

static uint64_t cache_limit(const struct runtime *rt)
{
    return rt->limit / CACHE_SHARE;
}

/* Tasks that nobody wants any more; in a list. */
static struct task *take_unwanted(struct instance *m)
{
    struct task *gone = NULL;
    for (struct task **at = &m->tasks; *at;) {
        struct task *t = *at;
        if (t->wanted(t->ctx)) {
            at = &t->next;
            continue;
        }
        bool running = t->running;
        json_int_t id = t->id;
        take_out(m, at);
        t->next = gone;
        gone = t;
        json_t *cancel = running ? json_pack("{s:s, s:I}", "do", "cancel", "id", id) : NULL;
        if (cancel) send_json(m, cancel);
        json_decref(cancel);
    }
    return gone;
}

static void end_gone(struct instance *m, struct task *gone)
{
    while (gone) {
        struct task *t = gone;
        gone = t->next;
        end_task(m->runtime, &m->model, t, "gone", "", "");
    }
}

static void wait_a_moment(struct runtime *rt)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += MOMENT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&rt->changed, &rt->lock, &until);
}

static bool can_fit(struct instance *m, uint64_t need)
{
    uint64_t limit = m->runtime->limit;
    if (need <= limit) return true;
    snprintf(m->code, sizeof m->code, RUNTIME_ROOM);
    snprintf(m->why, sizeof m->why, "the model needs about %.1f GB, more than the %.1f GB that models may take here",
             (double)need * 1e-9, (double)limit * 1e-9);
    return false;
}

/* Until the limit has room for the model; the least used ones go for it. Under the lock, which is left while waiting. */
static bool find_room(struct instance *m)
{
    struct runtime *rt = m->runtime;
    uint64_t need = runtime_need(m->model.size);
    bool can;
    while ((can = can_fit(m, need)) && held(rt) + need > rt->limit && !rt->closing && m->tasks) {
        if (!some_end(rt)) end_least_used(rt, m);
        wait_a_moment(rt);
        struct task *gone = take_unwanted(m);
        pthread_mutex_unlock(&rt->lock);
        end_gone(m, gone);
        pthread_mutex_lock(&rt->lock);
    }
    if (can) m->bytes = need;
    return can && !rt->closing && m->tasks;
}

/* ---- from the process --------------------------------------------------------------------------- */

static void take_ready(struct instance *m, const json_t *value)
{
    struct runtime *rt = m->runtime;
    char text[200];
    json_int_t weights = json_integer_value(json_object_get(value, "weight_bytes")),
               cache = json_integer_value(json_object_get(value, "cache_bytes"));
    m->ready = json_deep_copy(value);
    m->pid = (int)json_integer_value(json_object_get(value, "pid"));
    m->n_texts = (int)json_integer_value(json_object_get(value, "n_texts"));
    m->load_seconds = steady_seconds() - m->asked;
    m->last_used = steady_seconds();
    m->bytes = (uint64_t)weights + (uint64_t)cache + BESIDE;
    if (m->state == LOADING) m->state = READY;
    snprintf(text, sizeof text, "loaded in %.2f s, %.0f MB, context %lld", m->load_seconds, (double)m->bytes * 1e-6,
             (long long)json_integer_value(json_object_get(value, "n_ctx")));
    say(rt, "info", m->model.name, text);
    while (held(rt) > rt->limit && end_least_used(rt, m))
        ;
}

static void take_failure(struct instance *m, const json_t *value)
{
    const char *code = json_string_value(json_object_get(value, "code"));
    const char *message = json_string_value(json_object_get(value, "message"));
    snprintf(m->code, sizeof m->code, "%s", code ? code : RUNTIME_ENDED);
    snprintf(m->why, sizeof m->why, "%s", message ? message : "the model's process failed");
}

/* An event of a task, in this thread alone: nobody else ends tasks that run, but take_unwanted, here too. */
static void pass_on(struct instance *m, const json_t *value)
{
    struct runtime *rt = m->runtime;
    const char *event = json_string_value(json_object_get(value, "event"));
    bool last = event && (strcmp(event, "end") == 0 || strcmp(event, "error") == 0);
    json_t *ready = NULL;
    pthread_mutex_lock(&rt->lock);
    struct task **at = find_task(m, json_integer_value(json_object_get(value, "id")));
    struct task *t = at ? *at : NULL;
    if (t && !t->told_ready) {
        ready = ready_event(m, t);
        t->told_ready = true;
    }
    if (t && last) take_out(m, at);
    int pid = m->pid;
    pthread_mutex_unlock(&rt->lock);
    if (!t) return;
    give(t, ready);
    if (last) tell_done(rt, &m->model, pid, t, value);
    t->on_event(t->ctx, value);
    if (last) free_task(t);
}

static bool on_line(void *ctx, json_t *value, const char *text)
{
    struct instance *m = ctx;
    struct runtime *rt = m->runtime;
    const char *event = json_string_value(json_object_get(value, "event"));
    (void)text;
    if (!event) return true;
    if (json_object_get(value, "id")) {
        pass_on(m, value);
    } else {
        pthread_mutex_lock(&rt->lock);
        if (strcmp(event, "ready") == 0)
            take_ready(m, value);
        else
            take_failure(m, value);
        pthread_mutex_unlock(&rt->lock);
    }
    pthread_mutex_lock(&rt->lock);
    struct task *done = dispatch(m);
    pthread_mutex_unlock(&rt->lock);
    end_loaded(m, done);
    return true;
}

static void on_error(void *ctx, const char *text)
{
    struct instance *m = ctx;
    say(m->runtime, "warning", m->model.name, text);
}

/* Is the file still the one that was loaded? */
static bool is_same(const struct instance *m)
{
    struct stat now;
    return stat(m->model.path, &now) == 0 && now.st_ino == m->identity.st_ino && now.st_dev == m->identity.st_dev &&
           now.st_mtim.tv_sec == m->identity.st_mtim.tv_sec && now.st_mtim.tv_nsec == m->identity.st_mtim.tv_nsec;
}

/* A few times a second: clients that left, what the socket did not take, models that nobody used for long. */
static bool on_tick(void *ctx)
{
    struct instance *m = ctx;
    struct runtime *rt = m->runtime;
    pthread_mutex_lock(&rt->lock);
    struct task *gone = take_unwanted(m), *done;
    flush(m);
    done = dispatch(m);
    bool idle = m->state == READY && !m->tasks;
    bool over = idle && (steady_seconds() >= m->last_used + m->keep_alive || !is_same(m));
    if (over) m->state = ENDING; /* from now on a task of this model gets another process */
    pthread_mutex_unlock(&rt->lock);
    end_gone(m, gone);
    end_loaded(m, done);
    return over;
}

/* ---- a model's thread --------------------------------------------------------------------------- */

static void run_child(struct instance *m, int theirs, struct child_exit *exit)
{
    const struct runtime_settings *s = &m->runtime->settings;
    char socket[64], context[32], texts[32], threads[32], cache[32], folder[4096];
    const char *environment[] = {socket, NULL};
    const char *arguments[] = {"serve",   "--as-model", m->model.path,        "--context", context,
                               "--texts", texts,        "--threads",          threads,     "--cache",
                               cache,     "--exact",    s->exact ? "1" : "0", NULL};
    snprintf(socket, sizeof socket, RUNTIME_SOCKET "=%d", theirs);
    snprintf(context, sizeof context, "%d", s->context);
    snprintf(texts, sizeof texts, "%d", s->texts ? s->texts : MOST_TEXTS);
    snprintf(threads, sizeof threads, "%d", s->threads);
    snprintf(cache, sizeof cache, "%llu", (unsigned long long)cache_limit(m->runtime));
    struct child_settings settings = {.arguments = arguments,
                                      .environment = environment,
                                      .socket = theirs,
                                      .max_output = SIZE_MAX,
                                      .memory_limit = s->memory_limit + BESIDE,
                                      .unwanted = on_tick,
                                      .unwanted_ctx = m,
                                      .readable_fds = s->roots->fds,
                                      .n_readable_fds = s->roots->n};
    struct confined confined;
    snprintf(folder, sizeof folder, "%s", m->model.path);
    if (S_ISREG(m->identity.st_mode)) *strrchr(folder, '/') = '\0'; /* the other parts of a split file lie beside it */
    confine_to_repository(&settings, &confined, folder);
    child_run(&settings, &m->stop, on_line, on_error, m, exit);
}

static struct task *fail_all(struct instance *m)
{
    struct task *all = m->tasks;
    m->tasks = NULL;
    m->n_running = m->n_waiting = 0;
    return all;
}

static void leave(struct instance *m)
{
    struct runtime *rt = m->runtime;
    struct instance **at = &rt->instances;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    pthread_cond_broadcast(&rt->changed);
}

static void free_instance(struct instance *m)
{
    json_decref(m->ready);
    child_stop_free(&m->stop);
    if (m->socket >= 0) close(m->socket);
    free(m->out);
    free(m);
}

static void explain(struct instance *m, const struct child_exit *exit, bool ran)
{
    if (*m->code) return;
    if (m->runtime->closing) {
        snprintf(m->code, sizeof m->code, RUNTIME_STOP);
        snprintf(m->why, sizeof m->why, "the service is stopping");
    } else {
        snprintf(m->code, sizeof m->code, RUNTIME_ENDED);
        snprintf(m->why, sizeof m->why, "the model's process ended: %s",
                 ran && *exit->reason ? exit->reason : "no reason");
    }
}

static void *follow(void *ctx)
{
    struct instance *m = ctx;
    struct runtime *rt = m->runtime;
    struct child_exit exit = {.end = CHILD_NOT_STARTED};
    int pair[2] = {-1, -1};
    pthread_mutex_lock(&rt->lock);
    bool room = find_room(m);
    pthread_mutex_unlock(&rt->lock);
    bool run = room && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0;
    if (run) {
        m->socket = pair[0];
        run_child(m, pair[1], &exit);
        close(pair[1]);
    }
    pthread_mutex_lock(&rt->lock);
    m->state = ENDING;
    explain(m, &exit, run);
    struct task *all = fail_all(m);
    bool asked = exit.end == CHILD_STOPPED || !room;
    say(rt, asked ? "info" : "warning", m->model.name, asked ? "unloaded" : m->why);
    pthread_mutex_unlock(&rt->lock);
    while (all) {
        struct task *t = all;
        all = t->next;
        end_task(rt, &m->model, t, "error", m->code, m->why);
    }
    pthread_mutex_lock(&rt->lock);
    leave(m);
    pthread_mutex_unlock(&rt->lock);
    free_instance(m);
    return NULL;
}

static struct instance *start(struct runtime *rt, const struct runtime_model *model, const struct stat *identity)
{
    pthread_t thread;
    struct instance *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->runtime = rt;
    m->model = *model;
    m->identity = *identity;
    m->socket = -1;
    m->asked = m->last_used = steady_seconds();
    m->keep_alive = rt->settings.keep_alive;
    if (!child_stop_init(&m->stop)) return free(m), NULL;
    m->next = rt->instances;
    rt->instances = m;
    if (pthread_create(&thread, NULL, follow, m) == 0) {
        pthread_detach(thread);
        return m;
    }
    rt->instances = m->next;
    free_instance(m);
    return NULL;
}

/* ---- for the service ---------------------------------------------------------------------------- */

struct runtime *runtime_open(const struct runtime_settings *settings)
{
    struct runtime *rt = calloc(1, sizeof *rt);
    pthread_condattr_t attributes;
    if (!rt) return NULL;
    rt->settings = *settings;
    if (rt->settings.memory_limit == 0) {
        uint64_t total, available;
        machine_memory(&total, &available);
        rt->settings.memory_limit = total / 4 * 3;
    }
    rt->limit = rt->settings.memory_limit;
    pthread_mutex_init(&rt->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&rt->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return rt;
}

void runtime_close(struct runtime **runtime)
{
    struct runtime *rt = *runtime;
    if (!rt) return;
    pthread_mutex_lock(&rt->lock);
    rt->closing = true;
    for (struct instance *m = rt->instances; m; m = m->next)
        child_stop(&m->stop);
    while (rt->instances)
        wait_a_moment(rt);
    pthread_mutex_unlock(&rt->lock);
    pthread_cond_destroy(&rt->changed);
    pthread_mutex_destroy(&rt->lock);
    free(rt);
    *runtime = NULL;
}

static struct instance *find(struct runtime *rt, const char *path)
{
    struct instance *m = rt->instances;
    while (m && (m->state == ENDING || strcmp(m->model.path, path) != 0 || !is_same(m)))
        m = m->next;
    return m;
}

static struct task *new_task(struct runtime *rt, const struct runtime_task *task)
{
    struct task *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->request = task->request;
    snprintf(t->who, sizeof t->who, "%s", task->who);
    t->since = steady_seconds();
    t->loads = strcmp(json_string_value(json_object_get(t->request, "do")), "load") == 0;
    t->keep_alive = isnan(task->keep_alive) ? rt->settings.keep_alive : task->keep_alive;
    t->wanted = task->wanted;
    t->on_event = task->on_event;
    t->ctx = task->ctx;
    return t;
}

/* NULL: it waits; otherwise why not. */
static const char *queue(struct runtime *rt, const struct runtime_model *model, struct task *t, struct instance **to,
                         const char **why)
{
    struct stat identity;
    *why = "the service is stopping";
    if (rt->closing) return RUNTIME_STOP;
    *why = "the model's file is gone";
    if (stat(model->path, &identity) != 0) return "HT_ERR_NOT_FOUND";
    struct instance *m = find(rt, model->path);
    if (!m) m = start(rt, model, &identity);
    *why = "no memory or no thread for the model";
    if (!m) return "HT_ERR_MEMORY";
    *why = "server busy, please try again.  maximum pending requests exceeded";
    if (m->n_waiting >= MOST_WAITING) return RUNTIME_FULL;
    struct task **at = &m->tasks;
    while (*at)
        at = &(*at)->next;
    *at = t;
    t->id = ++rt->last_id;
    m->n_waiting++;
    m->keep_alive = t->keep_alive < 0 ? FOR_EVER : t->keep_alive;
    *to = m;
    return NULL;
}

void runtime_submit(struct runtime *rt, const struct runtime_model *model, const struct runtime_task *task)
{
    struct task *t = new_task(rt, task), *done = NULL;
    struct instance *m = NULL;
    const char *why = "memory is out";
    if (!t) {
        json_t *event = json_pack("{s:s, s:s, s:s}", "event", "error", "code", "HT_ERR_MEMORY", "message", why);
        task->on_event(task->ctx, event);
        json_decref(event);
        json_decref(task->request);
        return;
    }
    pthread_mutex_lock(&rt->lock);
    const char *code = queue(rt, model, t, &m, &why);
    if (!code) done = dispatch(m);
    pthread_mutex_unlock(&rt->lock);
    if (code) end_task(rt, model, t, "error", code, why);
    end_loaded(m, done);
}

void runtime_unload(struct runtime *rt, const char *path)
{
    pthread_mutex_lock(&rt->lock);
    for (struct instance *m = rt->instances; m; m = m->next) {
        if (strcmp(m->model.path, path) != 0) continue;
        m->keep_alive = 0;
        if (m->state == READY && !m->tasks) end_instance(m);
    }
    pthread_mutex_unlock(&rt->lock);
}

uint64_t runtime_need(uint64_t size)
{
    return size + BESIDE;
}

void runtime_limit(struct runtime *rt, uint64_t bytes)
{
    pthread_mutex_lock(&rt->lock);
    rt->limit = bytes && bytes < rt->settings.memory_limit ? bytes : rt->settings.memory_limit;
    uint64_t left = held(rt);
    for (struct instance *m = rt->instances; m; m = m->next)
        if (m->state == ENDING) left -= m->bytes;
    while (left > rt->limit) {
        struct instance *m = end_least_used(rt, NULL);
        if (!m) break; /* the others work: they stay until they are idle, and nothing is loaded beside them */
        left -= m->bytes;
    }
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->lock);
}

uint64_t runtime_limit_now(struct runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    uint64_t limit = rt->limit;
    pthread_mutex_unlock(&rt->lock);
    return limit;
}

bool runtime_fits(struct runtime *rt, uint64_t size)
{
    pthread_mutex_lock(&rt->lock);
    bool fits = held(rt) + runtime_need(size) <= rt->limit;
    pthread_mutex_unlock(&rt->lock);
    return fits;
}

static json_t *instance_json(const struct instance *m)
{
    static const char *const states[] = {"loading", "ready", "ending"};
    double left = m->last_used + m->keep_alive - steady_seconds();
    json_t *keep = m->keep_alive >= FOR_EVER ? json_null() : json_real(m->tasks ? m->keep_alive : left > 0 ? left : 0);
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:i, s:i}", "name", m->model.name, "path", m->model.path,
                          "state", states[m->state], "size", (json_int_t)m->model.size, "memory", (json_int_t)m->bytes,
                          "keep_seconds", keep, "running", m->n_running, "waiting", m->n_waiting);
    uint64_t resident = 0, most = 0;
    if (m->pid && m->state == READY) machine_process_memory(m->pid, &resident, &most);
    json_object_set_new(o, "resident", json_integer((json_int_t)resident));
    json_object_set_new(o, "most_resident", json_integer((json_int_t)most));
    json_t *ready = m->ready ? json_incref(m->ready) : json_object();
    json_object_set_new(o, "ready", ready);
    return o;
}

json_t *runtime_list(struct runtime *rt)
{
    json_t *list = json_array();
    pthread_mutex_lock(&rt->lock);
    for (const struct instance *m = rt->instances; m; m = m->next)
        json_array_append_new(list, instance_json(m));
    pthread_mutex_unlock(&rt->lock);
    return list;
}
