#include "service/doorbell/bell.h"

#include "service/doorbell/redis.h"
#include "service/system/steady.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_SECONDS = 5,
    AWAY_SECONDS = 1,
    MOST_ENTRIES = 10000,
    MOST_WAITING = 5000,
    MOST_TRIES = 5,
    LONG_IDLE = 3, /* times as long as until an entry is given out anew */
    MOST_RECLAIMED = 1000,
    MOST_DONE = 10000
};

/* XACK does not ask whose the entry is, so it is looked up in the same breath. An entry that was answered goes. */
static const char acknowledge[] = "local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1, ARGV[3])\n"
                                  "if #p == 0 then return 0 end\n"
                                  "redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])\n"
                                  "redis.call('XDEL', KEYS[1], ARGV[2])\n"
                                  "return 1\n";

/* A worker that is gone leaves its name in the group. One that nothing is owed to goes, looked at and removed in one breath; who
 * asks again has it again. */
static const char forget_idle[] = "local gone = 0\n"
                                  "for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do\n"
                                  "  local of = {}\n"
                                  "  for i = 1, #c, 2 do of[c[i]] = c[i + 1] end\n"
                                  "  if of['pending'] == 0 and of['idle'] > tonumber(ARGV[2]) then\n"
                                  "    gone = gone + 1\n"
                                  "    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of['name'])\n"
                                  "  end\n"
                                  "end\n"
                                  "return gone\n";

struct done {
    struct done *next;
    char entry[48], consumer[160];
};

struct bell {
    struct redis *redis; /* the thread's */
    struct store *store;
    struct log *log;
    double idle_seconds;
    json_t *entries; /* {"JOB-EPOCH": entry}, as the stream had them */
    json_t *dead;    /* {"JOB-EPOCH": true} */
    pthread_t thread;
    pthread_mutex_t lock; /* owns the rest */
    pthread_cond_t changed;
    bool rung, closing;
    struct done *first, **last;
    size_t n_done;
    struct bell_figures figures;
};

static void count(struct bell *b, uint64_t *counter)
{
    pthread_mutex_lock(&b->lock);
    ++*counter;
    pthread_mutex_unlock(&b->lock);
}

/* ---- entries ---- */

static void key_of(const char *job, const char *epoch, char *key, size_t size)
{
    snprintf(key, size, "%.40s-%.20s", job, epoch);
}

/* The value of a field of an entry [id, [field, value, …]]. */
static const char *field_of(const struct redis_answer *entry, const char *name)
{
    struct redis_answer fields;
    if (!redis_at(entry, 1, &fields)) return "";
    for (size_t i = 0; i + 1 < fields.n; i += 2)
        if (strcmp(redis_text(&fields, i), name) == 0) return redis_text(&fields, i + 1);
    return "";
}

static bool forget_entry(struct bell *b, const char *entry)
{
    struct redis_answer a;
    return redis_ask(b->redis, 0, &a, "XACK", REDIS_TASKS, REDIS_GROUP, entry, NULL) &&
           redis_ask(b->redis, 0, &a, "XDEL", REDIS_TASKS, entry, NULL);
}

static bool add_entry(struct bell *b, const char *job, const char *epoch, int tries)
{
    struct redis_answer a;
    char number[16], key[80];
    snprintf(number, sizeof number, "%d", tries);
    key_of(job, epoch, key, sizeof key);
    if (!redis_ask(b->redis, 0, &a, "XADD", REDIS_TASKS, "*", "job", job, "epoch", epoch, "tries", number, NULL) ||
        a.kind != REDIS_TEXT)
        return false;
    json_object_set_new(b->entries, key, json_string(a.text));
    count(b, &b->figures.added);
    return true;
}

/* The group is made with the stream; that it is there already is no failure. */
static bool make_group(struct bell *b)
{
    struct redis_answer a;
    if (!redis_ask(b->redis, 0, &a, "XGROUP", "CREATE", REDIS_TASKS, REDIS_GROUP, "0", "MKSTREAM", NULL)) return false;
    return a.kind != REDIS_ERROR || strncmp(a.text, "BUSYGROUP", 9) == 0;
}

/* What the stream has; of two entries for one job the later goes. */
static bool read_entries(struct bell *b)
{
    struct redis_answer list, entry;
    char most[16];
    json_t *twice = json_array();
    const json_t *item;
    size_t i;
    snprintf(most, sizeof most, "%d", MOST_ENTRIES);
    if (!redis_ask(b->redis, 0, &list, "XRANGE", REDIS_TASKS, "-", "+", "COUNT", most, NULL) ||
        list.kind != REDIS_LIST) {
        json_decref(twice);
        return false;
    }
    json_object_clear(b->entries);
    for (i = 0; i < list.n; i++) {
        char key[80];
        if (!redis_at(&list, i, &entry)) continue;
        key_of(field_of(&entry, "job"), field_of(&entry, "epoch"), key, sizeof key);
        if (json_object_get(b->entries, key))
            json_array_append_new(twice, json_string(redis_text(&entry, 0)));
        else
            json_object_set_new(b->entries, key, json_string(redis_text(&entry, 0)));
    }
    bool done = true;
    json_array_foreach(twice, i, item)
        done = done && forget_entry(b, json_string_value(item));
    json_decref(twice);
    return done;
}

/* A worker took it and then said nothing. */
static bool give_anew(struct bell *b, const char *entry, const char *job, const char *epoch, int tries)
{
    struct redis_answer a;
    char key[80];
    if (!forget_entry(b, entry)) return false;
    key_of(job, epoch, key, sizeof key);
    json_object_del(b->entries, key);
    count(b, &b->figures.reclaimed);
    if (tries < MOST_TRIES) return add_entry(b, job, epoch, tries + 1);
    json_object_set_new(b->dead, key, json_true());
    count(b, &b->figures.dead);
    log_event(b->log, LOG_LEVEL_WARNING, "doorbell_dead", "{s:s, s:i}", "job_id", job, "tries", tries);
    return redis_ask(b->redis, 0, &a, "XADD", REDIS_DEAD, "MAXLEN", "~", "1000", "*", "job", job, "epoch", epoch, NULL);
}

/* One at a time: what is inside an answer is gone with the next command. It looks at ten at most, of which none may have been
 * idle for long enough: it goes on from where it was. */
static bool reclaim(struct bell *b)
{
    struct redis_answer a, list, entry;
    char idle[24], from[48] = "0-0";
    snprintf(idle, sizeof idle, "%.0f", b->idle_seconds * 1000);
    for (int i = 0; i < MOST_RECLAIMED; i++) {
        if (!redis_ask(b->redis, 0, &a, "XAUTOCLAIM", REDIS_TASKS, REDIS_GROUP, "service", idle, from, "COUNT", "1",
                       NULL))
            return false;
        snprintf(from, sizeof from, "%s", redis_text(&a, 0));
        if (redis_at(&a, 1, &list) && redis_at(&list, 0, &entry) && *redis_text(&entry, 0)) {
            char id[48], job[48], epoch[24];
            snprintf(id, sizeof id, "%s", redis_text(&entry, 0));
            snprintf(job, sizeof job, "%s", field_of(&entry, "job"));
            snprintf(epoch, sizeof epoch, "%s", field_of(&entry, "epoch"));
            int tries = atoi(field_of(&entry, "tries"));
            if (!give_anew(b, id, job, epoch, tries)) return false;
        }
        if (!*from || strcmp(from, "0-0") == 0) break;
    }
    return true;
}

/* A user of Redis that may not (of an older file of users) leaves them. */
static bool forget_consumers(struct bell *b)
{
    struct redis_answer a;
    char idle[24];
    snprintf(idle, sizeof idle, "%.0f", b->idle_seconds * 1000 * LONG_IDLE);
    return redis_ask(b->redis, 0, &a, "EVAL", forget_idle, "1", REDIS_TASKS, REDIS_GROUP, idle, NULL);
}

/* ---- the store and the stream ---- */

static bool add_missing(struct bell *b, const json_t *waiting)
{
    const char *key;
    const json_t *job;
    json_object_foreach((json_t *)waiting, key, job) {
        char epoch[24];
        if (json_object_get(b->entries, key) || json_object_get(b->dead, key)) continue;
        snprintf(epoch, sizeof epoch, "%lld", (long long)json_integer_value(json_object_get(job, "epoch")));
        if (!add_entry(b, json_string_value(json_object_get(job, "id")), epoch, 1)) return false;
    }
    return true;
}

static bool drop_needless(struct bell *b, const json_t *waiting)
{
    const char *key;
    json_t *entry;
    void *next;
    json_object_foreach_safe(b->entries, next, key, entry)
    {
        if (json_object_get(waiting, key)) continue;
        if (!forget_entry(b, json_string_value(entry))) return false;
        json_object_del(b->entries, key);
    }
    json_object_foreach_safe(b->dead, next, key, entry) if (!json_object_get(waiting, key))
        json_object_del(b->dead, key);
    return true;
}

static json_t *waiting_of(struct bell *b)
{
    json_t *list = store_waiting(b->store, MOST_WAITING), *map = list ? json_object() : NULL, *job;
    size_t i;
    json_array_foreach(list, i, job) {
        char key[80], epoch[24];
        snprintf(epoch, sizeof epoch, "%lld", (long long)json_integer_value(json_object_get(job, "epoch")));
        key_of(json_string_value(json_object_get(job, "id")), epoch, key, sizeof key);
        json_object_set(map, key, job);
    }
    json_decref(list);
    return map;
}

/* whole: the stream is read anew. False: Redis is away. */
static bool compare(struct bell *b, bool whole)
{
    if (whole && !(make_group(b) && read_entries(b) && reclaim(b) && forget_consumers(b))) return false;
    json_t *waiting = waiting_of(b);
    bool done = !waiting || (add_missing(b, waiting) && drop_needless(b, waiting));
    json_decref(waiting);
    pthread_mutex_lock(&b->lock);
    b->figures.entries = json_object_size(b->entries);
    pthread_mutex_unlock(&b->lock);
    return done;
}

/* ---- who was woken ---- */

static struct done *take_done(struct bell *b)
{
    pthread_mutex_lock(&b->lock);
    struct done *d = b->first;
    if (d) b->first = d->next;
    if (d && !b->first) b->last = &b->first;
    if (d) b->n_done--;
    pthread_mutex_unlock(&b->lock);
    return d;
}

static bool acknowledge_all(struct bell *b)
{
    struct redis_answer a;
    for (struct done *d; (d = take_done(b)) != NULL; free(d)) {
        if (!redis_ask(b->redis, 0, &a, "EVAL", acknowledge, "1", REDIS_TASKS, REDIS_GROUP, d->entry, d->consumer,
                       NULL)) {
            free(d); /* it will be found idle */
            return false;
        }
        bool its_own = a.kind == REDIS_NUMBER && a.number == 1;
        count(b, its_own ? &b->figures.acknowledged : &b->figures.refused);
        const char *key;
        json_t *entry;
        void *next;
        if (its_own)
            json_object_foreach_safe(b->entries, next, key, entry) if (strcmp(json_string_value(entry), d->entry) == 0)
                json_object_del(b->entries, key);
    }
    return true;
}

void bell_done(struct bell *b, const char *entry, const char *consumer)
{
    struct done *d = b ? calloc(1, sizeof *d) : NULL;
    if (!d) return;
    snprintf(d->entry, sizeof d->entry, "%s", entry);
    snprintf(d->consumer, sizeof d->consumer, "%s", consumer);
    pthread_mutex_lock(&b->lock);
    bool taken = b->n_done < MOST_DONE;
    if (taken) {
        *b->last = d;
        b->last = &d->next;
        b->n_done++;
        pthread_cond_signal(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    if (!taken) free(d);
}

void bell_ring(struct bell *b)
{
    if (!b) return;
    pthread_mutex_lock(&b->lock);
    b->rung = true;
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

/* ---- the thread ---- */

/* A worker's wake-up lasts as long as Redis keeps it. What its configuration may lose is said once. */
static void look_at_configuration(struct bell *b)
{
    struct redis_answer a;
    char policy[60] = "", kept[20] = "";
    if (redis_ask(b->redis, 0, &a, "CONFIG", "GET", "maxmemory-policy", NULL))
        snprintf(policy, sizeof policy, "%s", redis_text(&a, 1));
    if (redis_ask(b->redis, 0, &a, "CONFIG", "GET", "appendonly", NULL))
        snprintf(kept, sizeof kept, "%s", redis_text(&a, 1));
    if (*policy && strcmp(policy, "noeviction") != 0)
        log_event(
            b->log, LOG_LEVEL_WARNING, "doorbell", "{s:s}", "text",
            "Redis may throw entries away (maxmemory-policy is not noeviction): they are added anew every few seconds");
    if (strcmp(kept, "no") == 0)
        log_event(b->log, LOG_LEVEL_INFO, "doorbell", "{s:s}", "text",
                  "Redis keeps nothing over its restart (appendonly no): entries are added anew from the database");
}

static void note_reach(struct bell *b, bool reached)
{
    pthread_mutex_lock(&b->lock);
    bool news = b->figures.reached != reached;
    b->figures.reached = reached;
    if (!reached) b->figures.failures++;
    pthread_mutex_unlock(&b->lock);
    if (news && reached) look_at_configuration(b);
    if (news)
        log_event(b->log, reached ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, reached ? "doorbell_reached" : "doorbell_away",
                  "{s:s}", "text", reached ? redis_where(b->redis) : redis_why(b->redis));
}

/* False: closing. */
static bool wait(struct bell *b, double seconds, bool away)
{
    double until = steady_seconds() + seconds;
    pthread_mutex_lock(&b->lock);
    for (double left; !b->closing && (away || (!b->rung && !b->first)) && (left = until - steady_seconds()) > 0;)
        steady_cond_wait(&b->changed, &b->lock, left);
    b->rung = false;
    bool open = !b->closing;
    pthread_mutex_unlock(&b->lock);
    return open;
}

static void *work(void *ctx)
{
    struct bell *b = ctx;
    double looked = -LOOK_SECONDS;
    bool reached = true;
    do {
        bool whole = !reached || steady_seconds() - looked >= LOOK_SECONDS;
        reached = acknowledge_all(b) && compare(b, whole);
        if (reached && whole) looked = steady_seconds();
        note_reach(b, reached);
    } while (wait(b, reached ? LOOK_SECONDS : AWAY_SECONDS, !reached));
    return NULL;
}

static void free_bell(struct bell *b)
{
    for (struct done *d; (d = take_done(b)) != NULL;)
        free(d);
    redis_close(&b->redis);
    json_decref(b->entries);
    json_decref(b->dead);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

bool bell_open(const char *url, struct store *store, struct log *log, double idle_seconds, struct bell **bell,
               char *why, size_t size)
{
    struct bell *b = calloc(1, sizeof *b);
    *bell = NULL;
    snprintf(why, size, "not enough memory");
    if (!b) return false;
    pthread_mutex_init(&b->lock, NULL);
    steady_cond_init(&b->changed);
    b->last = &b->first;
    b->store = store;
    b->log = log;
    b->idle_seconds = idle_seconds;
    b->entries = json_object();
    b->dead = json_object();
    if (redis_open(url, &b->redis, why, size) && pthread_create(&b->thread, NULL, work, b) == 0) {
        *bell = b;
        return true;
    }
    free_bell(b);
    return false;
}

void bell_close(struct bell **bell)
{
    struct bell *b = *bell;
    *bell = NULL;
    if (!b) return;
    pthread_mutex_lock(&b->lock);
    b->closing = true;
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    free_bell(b);
}

void bell_figures(struct bell *b, struct bell_figures *figures)
{
    *figures = (struct bell_figures){.reached = false};
    if (!b) return;
    pthread_mutex_lock(&b->lock);
    *figures = b->figures;
    pthread_mutex_unlock(&b->lock);
}
