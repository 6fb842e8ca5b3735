/* Opening the database: one process a folder, one writer, a few readers, sound or refused. */
#include "service/store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifndef CIFS_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xFF534D42
#endif
#ifndef SMB2_SUPER_MAGIC
#define SMB2_SUPER_MAGIC 0xFE534D42
#endif

static bool refuse(char *why, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool refuse(char *why, size_t size, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(why, size, format, values);
    va_end(values);
    return false;
}

/* WAL needs memory that processes share, which network file systems do not have. */
static bool is_network(const char *folder)
{
    struct statfs fs;
    if (statfs(folder, &fs) != 0) return false;
    switch ((unsigned long)fs.f_type & 0xffffffff) {
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case CODA_SUPER_MAGIC:
    case AFS_SUPER_MAGIC:
    case V9FS_MAGIC: return true;
    default: return false;
    }
}

static bool make_folder(const char *folder, char *why, size_t size)
{
    char path[4096];
    struct stat info;
    snprintf(path, sizeof path, "%s", folder);
    for (char *p = path + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST) return refuse(why, size, "%s: %s", path, strerror(errno));
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST) return refuse(why, size, "%s: %s", path, strerror(errno));
    if (stat(path, &info) != 0) return refuse(why, size, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(info.st_mode)) return refuse(why, size, "%s is not a folder", path);
    if (access(path, R_OK | W_OK | X_OK) != 0) return refuse(why, size, "%s: %s", path, strerror(errno));
    return true;
}

/* A server that was killed just as it started a child leaves the lock to that child for a moment, until it has
 * noticed. */
static bool take_lock(int fd)
{
    for (int i = 0; i < 40; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
        if (errno != EWOULDBLOCK && errno != EINTR) return false;
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
    return false;
}

/* One service of a name and folder: several of a shared database may have the folder too, each under a name of its own. */
static void name_service(struct store *s)
{
    char host[32] = "";
    if (s->called)
        snprintf(host, sizeof host, "%s", s->called);
    else
        gethostname(host, sizeof host - 1);
    for (char *p = host; *p; p++)
        if (*p == '/') *p = '-';
    unsigned hash = 2166136261u;
    for (const char *p = s->folder; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    snprintf(s->name, sizeof s->name, "embedded");
    if (s->driver != &store__sqlite) snprintf(s->name, sizeof s->name, "embedded-%s-%08x", host, hash);
}

static bool prepare_folder(struct store *s, const char *folder, char *why, size_t size)
{
    static const char *const inside[] = {"jobs", "models", "uploads"};
    char path[4096], real[4096];
    if (strlen(folder) > 3000) return refuse(why, size, "the data folder's name is too long");
    if (!make_folder(folder, why, size)) return false;
    if (!realpath(folder, real) || strlen(real) >= sizeof s->folder)
        return refuse(why, size, "%s: %s", folder, strerror(errno));
    strcpy(s->folder, real);
    bool lite = s->driver == &store__sqlite;
    if (lite && is_network(real))
        return refuse(why, size, "%s lies on a network file system, where a database is not safe", folder);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", s->folder, inside[i]);
        if (!make_folder(path, why, size)) return false;
    }
    name_service(s);
    snprintf(path, sizeof path, "%s/%s%s", s->folder, lite ? "lock" : "lock-", lite ? "" : s->name);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock < 0) return refuse(why, size, "%s: %s", path, strerror(errno));
    if (!take_lock(s->lock)) return refuse(why, size, "%s is in use by another process", folder);
    return true;
}

static bool is_damaged(struct store *s, const char *reason, char *why, size_t size)
{
    return refuse(why, size, "%s/halftone.db is damaged (%.100s): restore a copy, or move it away", s->folder, reason);
}

static bool connect_one(struct store *s, struct connection *c, bool writer, char *why, size_t size)
{
    char path[4096], said[200];
    snprintf(path, sizeof path, "%s/halftone.db", s->folder);
    if (s->driver == &store__sqlite) {
        if (store__sqlite_open(c, path, writer)) return true;
        enum store_result result = c->driver->failure(c, said, sizeof said);
        return result == STORE_DAMAGED ? is_damaged(s, said, why, size) : refuse(why, size, "%s: %s", path, said);
    }
#ifdef HAVE_LIBPQ
    c->by_index = writer;
    if (store__postgres_open(c, s->url)) return true;
    return refuse(why, size, "the database: %s", c->said);
#else
    return refuse(why, size, "this program was built without PostgreSQL");
#endif
}

static bool is_sound(struct store *s, char *why, size_t size)
{
    struct statement *statement;
    bool sound = store__first(s, &s->writer, &statement, "PRAGMA quick_check(1)", "") == STORE_OK &&
                 strcmp(store__text(statement, 0), "ok") == 0;
    char said[200];
    s->driver->failure(&s->writer, said, sizeof said);
    if (!sound) is_damaged(s, said, why, size);
    if (statement) sql_reset(statement);
    return sound;
}

/* The mark "clean" is there only between a clean close and the next opening. */
static bool was_clean(struct store *s)
{
    struct statement *statement;
    bool clean = store__first(s, &s->writer, &statement, "SELECT value FROM meta WHERE name='clean'", "") == STORE_OK &&
                 sql_int64(statement, 0) == 1;
    if (statement) sql_reset(statement);
    return clean;
}

/* Embedded workers lived in a process that is dead: their leases have ended. Others get a fresh one where leases are
 * measured by this machine's clock, which may have begun anew. */
static enum store_result end_leases(struct store *s)
{
    int64_t fresh = s->now(s->now_ctx) + s->lease_ms;
    if (s->driver != &store__sqlite) {
        enum store_result result = store__run(
            s, &s->writer, NULL, "UPDATE jobs SET lease_until = 1 WHERE worker = ?1 AND lease_until > 0", "s", s->name);
        if (result != STORE_OK) return result;
        return store__run(s, &s->writer, NULL, "UPDATE tasks SET lease_until = 1 WHERE worker = ?1 AND lease_until > 0",
                          "s", s->name);
    }
    enum store_result result = store__run(s, &s->writer, NULL,
                                          "UPDATE jobs SET lease_until=CASE WHEN worker LIKE 'embedded%' THEN 1 ELSE "
                                          "?1 END WHERE lease_until > 0 AND lease_until < " STORE__IN_PARTS,
                                          "i", fresh);
    if (result != STORE_OK) return result;
    return store__run(s, &s->writer, NULL,
                      "UPDATE tasks SET lease_until=CASE WHEN worker LIKE 'embedded%' THEN 1 ELSE ?1 END "
                      "WHERE lease_until > 0",
                      "i", fresh);
}

static enum store_result mark(struct store *s, int64_t clean)
{
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, NULL,
                        "INSERT INTO meta(name, value) VALUES('clean', ?1) ON CONFLICT(name) DO UPDATE SET value ="
                        " excluded.value",
                        "i", clean);
    if (result == STORE_OK && !clean) result = end_leases(s);
    return store__end(s, result);
}

#ifdef HAVE_LIBPQ
/* Several services: the database's clock is the one that all of them have. */
static int64_t shared(void *ctx)
{
    struct store *s = ctx;
    pthread_mutex_lock(&s->telling);
    int64_t now = s->told;
    if (s->driver->clock(&s->clock, &now) && now > s->told) s->told = now; /* one that goes back ends no lease early */
    now = s->told;
    pthread_mutex_unlock(&s->telling);
    return now;
}
#endif

static int64_t steady(void *ctx)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000 + 1; /* 0 is for jobs that wait */
}

void store_set_clock(struct store *s, int64_t (*now)(void *ctx), void *ctx)
{
    s->now = now;
    s->now_ctx = ctx;
}

void store_set_task_bytes(struct store *s, int64_t bytes)
{
    s->task_bytes = bytes;
}

void store_set_lease(struct store *s, int seconds)
{
    s->lease_ms = seconds * 1000LL;
}

int store_lease(const struct store *s)
{
    return (int)(s->lease_ms / 1000);
}

static bool was_moved(struct store *s)
{
    struct statement *statement;
    bool moved = store__first(s, &s->writer, &statement, "SELECT 1 FROM meta WHERE name='moved'", "") == STORE_OK;
    if (moved) sql_reset(statement);
    return moved;
}

static bool open_all(struct store *s, const char *folder, char *why, size_t size)
{
    bool lite = s->driver == &store__sqlite;
    if (!prepare_folder(s, folder, why, size) || !connect_one(s, &s->writer, true, why, size)) return false;
    if (!lite && !connect_one(s, &s->clock, false, why, size)) return false;
    if (lite) store__note_file(s);
    store_keep_reserve(s);
    enum store_result result = store__migrate(s);
    if (result != STORE_OK) return refuse(why, size, "%s", s->why[0] ? s->why : store_result_text(result));
    if (lite && !was_clean(s) && !is_sound(s, why, size)) return false;
    if (lite && !s->to_be_moved && was_moved(s))
        return refuse(why, size, "%s: its jobs and models were moved to another database: give that, by --store",
                      folder);
    if (mark(s, 0) != STORE_OK) return refuse(why, size, "%s", s->why);
    for (int i = 0; i < READERS; i++)
        if (!connect_one(s, &s->readers[i], false, why, size)) return false;
    return true;
}

static struct store *new_store(const char *url, const char *name)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->lock = -1;
    s->now = steady;
    s->driver = &store__sqlite;
#ifdef HAVE_LIBPQ
    if (url) {
        s->driver = &store__postgres;
        s->now = shared;
        s->now_ctx = s;
    }
#endif
    s->url = url;
    s->called = name;
    s->lease_ms = LEASE_SECONDS * 1000;
    pthread_mutex_init(&s->writing, NULL);
    pthread_mutex_init(&s->pool, NULL);
    pthread_mutex_init(&s->telling, NULL);
    pthread_cond_init(&s->returned, NULL);
    pthread_mutex_init(&s->asked, NULL);
    s->last_asking = &s->first_asking;
    return s;
}

static bool is_known(const char *url, char *why, size_t size)
{
    if (url && strncmp(url, "postgresql://", 13) != 0 && strncmp(url, "postgres://", 11) != 0)
        return refuse(why, size, "the database's address begins with postgresql://");
#ifndef HAVE_LIBPQ
    if (url) return refuse(why, size, "this program was built without PostgreSQL (libpq)");
#endif
    return true;
}

static bool open_or_close(struct store *s, const char *folder, struct store **store, char *why, size_t size)
{
    *store = s;
    if (!s) return refuse(why, size, "out of memory");
    s->opened = open_all(s, folder, why, size);
    if (s->opened) return true;
    store_close(store);
    return false;
}

bool store_open(const char *folder, struct store **store, char *why, size_t size)
{
    return store_open_at(NULL, NULL, folder, store, why, size);
}

bool store_open_at(const char *url, const char *name, const char *folder, struct store **store, char *why, size_t size)
{
    *store = NULL;
    return is_known(url, why, size) && open_or_close(new_store(url, name), folder, store, why, size);
}

bool store_open_moved(const char *folder, struct store **store, char *why, size_t size)
{
    struct store *s = new_store(NULL, NULL);
    if (s) s->to_be_moved = true;
    return open_or_close(s, folder, store, why, size);
}

static bool look_at_all(struct store *s, const char *folder, char *why, size_t size)
{
    char real[PATH_MAX];
    if (!realpath(folder, real) || strlen(real) >= sizeof s->folder)
        return refuse(why, size, "%s: %s", folder, strerror(errno));
    strcpy(s->folder, real);
    for (int i = 0; i < READERS; i++)
        if (!connect_one(s, &s->readers[i], false, why, size)) return false;
    return store__is_newest(s, &s->readers[0]) ||
           refuse(why, size, "the database is of another version of this program: let the service start once");
}

bool store_look(const char *url, const char *folder, struct store **store, char *why, size_t size)
{
    *store = NULL;
    if (!is_known(url, why, size)) return false;
    struct store *s = *store = strlen(folder) < 3000 ? new_store(url, NULL) : NULL;
    if (!s) return refuse(why, size, "out of memory");
    if (look_at_all(s, folder, why, size)) return true;
    store_close(store);
    return false;
}

static void disconnect(struct connection *c)
{
    if (!c->driver) return;
    for (int i = 0; i < c->n; i++)
        c->driver->finalize(c->cache[i].statement);
    for (int i = 0; i < BUILT; i++)
        if (c->built[i]) c->driver->finalize(c->built[i]);
    c->driver->disconnect(c);
}

void store_close(struct store **store)
{
    struct store *s = *store;
    *store = NULL;
    if (!s) return;
    for (int i = 0; i < READERS; i++)
        disconnect(&s->readers[i]);
    if (s->opened && store_state(s) == STORE_OK) mark(s, 1);
    disconnect(&s->writer);
    disconnect(&s->clock);
    if (s->lock >= 0) close(s->lock);
    pthread_mutex_destroy(&s->writing);
    pthread_mutex_destroy(&s->pool);
    pthread_mutex_destroy(&s->telling);
    pthread_cond_destroy(&s->returned);
    pthread_mutex_destroy(&s->asked);
    free(s);
}

#ifndef HAVE_LIBPQ
void store_notify(struct store *s, const char *kind, const char *job_id)
{
    (void)s, (void)kind, (void)job_id;
}

bool store_listen(struct store *s, store_heard_fn *heard, void *ctx)
{
    (void)s, (void)heard, (void)ctx;
    return true;
}

void store_listen_end(struct store *s)
{
    (void)s;
}
#endif

bool store_is_shared(const struct store *s)
{
    return s->driver != &store__sqlite;
}

const char *store_embedded_name(const struct store *s)
{
    return s->name;
}

const char *store_folder(const struct store *s)
{
    return s->folder;
}

uint64_t store_event_block(struct store *s, unsigned n)
{
    struct statement *statement;
    if (store__begin(s) != STORE_OK) return 0;
    int64_t next = 1;
    enum store_result result =
        store__first(s, &s->writer, &statement, "SELECT value FROM meta WHERE name='next_event'", "");
    if (result == STORE_OK) {
        next = sql_int64(statement, 0);
        sql_reset(statement);
    }
    if (result == STORE_NOT_FOUND) result = STORE_OK;
    if (result == STORE_OK)
        result = store__run(s, &s->writer, NULL,
                            "INSERT INTO meta(name, value) VALUES('next_event', ?1) ON CONFLICT(name) DO UPDATE SET"
                            " value = excluded.value",
                            "i", next + n);
    return store__end(s, result) == STORE_OK ? (uint64_t)next : 0;
}
