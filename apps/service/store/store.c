/* Opening the database: one process a folder, one writer, a few readers, sound or refused. */
#include "service/store/sql.h"

#include <errno.h>
#include <fcntl.h>
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

static bool prepare_folder(struct store *s, const char *folder, char *why, size_t size)
{
    static const char *const inside[] = {"jobs", "models", "uploads"};
    char path[4096], real[4096];
    if (strlen(folder) > 3000) return refuse(why, size, "the data folder's name is too long");
    if (!make_folder(folder, why, size)) return false;
    if (!realpath(folder, real) || strlen(real) >= sizeof s->folder)
        return refuse(why, size, "%s: %s", folder, strerror(errno));
    strcpy(s->folder, real);
    if (is_network(real))
        return refuse(why, size, "%s lies on a network file system, where a database is not safe", folder);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", s->folder, inside[i]);
        if (!make_folder(path, why, size)) return false;
    }
    snprintf(path, sizeof path, "%s/lock", s->folder);
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
    static const char *const settings =
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA"
        " trusted_schema=OFF;PRAGMA journal_size_limit=67108864; PRAGMA cell_size_check=ON; PRAGMA"
        " temp_store=MEMORY; PRAGMA cache_size=-1024;";
    char path[4096];
    snprintf(path, sizeof path, "%s/halftone.db", s->folder);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_CREATE : 0);
    int rc = sqlite3_open_v2(path, &c->db, flags, NULL);
    if (rc == SQLITE_OK) sqlite3_busy_timeout(c->db, 5000);
    if (rc == SQLITE_OK) sqlite3_extended_result_codes(c->db, 1);
    if (rc == SQLITE_OK) rc = sqlite3_exec(c->db, settings, NULL, NULL, NULL);
    if (rc == SQLITE_OK && !writer) rc = sqlite3_exec(c->db, "PRAGMA query_only=ON", NULL, NULL, NULL);
    if (rc == SQLITE_OK) return true;
    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB)
        return is_damaged(s, sqlite3_errstr(rc), why, size);
    return refuse(why, size, "%s: %s", path, c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
}

static bool is_sound(struct store *s, char *why, size_t size)
{
    sqlite3_stmt *statement;
    bool sound = store__first(s, &s->writer, &statement, "PRAGMA quick_check(1)", "") == STORE_OK &&
                 strcmp(store__text(statement, 0), "ok") == 0;
    if (!sound) is_damaged(s, sqlite3_errmsg(s->writer.db), why, size);
    if (statement) sqlite3_reset(statement);
    return sound;
}

/* The mark "clean" is there only between a clean close and the next opening. */
static bool was_clean(struct store *s)
{
    sqlite3_stmt *statement;
    bool clean = store__first(s, &s->writer, &statement, "SELECT value FROM meta WHERE name='clean'", "") == STORE_OK &&
                 sqlite3_column_int(statement, 0) == 1;
    if (statement) sqlite3_reset(statement);
    return clean;
}

static enum store_result mark(struct store *s, int64_t clean)
{
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result =
        store__run(s, &s->writer, NULL, "INSERT OR REPLACE INTO meta(name, value) VALUES('clean', ?1)", "i", clean);
    /* Embedded workers lived in a process that is dead: their leases have ended. Others get a fresh one. */
    if (result == STORE_OK && !clean)
        result = store__run(s, &s->writer, NULL,
                            "UPDATE jobs SET lease_until=CASE WHEN worker LIKE 'embedded%' THEN 1 ELSE ?1 END "
                            "WHERE lease_until > 0",
                            "i", s->now(s->now_ctx) + LEASE_SECONDS * 1000);
    return store__end(s, result);
}

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

static bool open_all(struct store *s, const char *folder, char *why, size_t size)
{
    if (!prepare_folder(s, folder, why, size) || !connect_one(s, &s->writer, true, why, size)) return false;
    store__note_file(s);
    store_keep_reserve(s);
    enum store_result result = store__migrate(s);
    if (result != STORE_OK) return refuse(why, size, "%s", s->why[0] ? s->why : store_result_text(result));
    if (!was_clean(s) && !is_sound(s, why, size)) return false;
    if (mark(s, 0) != STORE_OK) return refuse(why, size, "%s", s->why);
    for (int i = 0; i < READERS; i++)
        if (!connect_one(s, &s->readers[i], false, why, size)) return false;
    return true;
}

bool store_open(const char *folder, struct store **store, char *why, size_t size)
{
    struct store *s = calloc(1, sizeof *s);
    *store = NULL;
    if (!s) return refuse(why, size, "out of memory");
    s->lock = -1;
    s->now = steady;
    pthread_mutex_init(&s->writing, NULL);
    pthread_mutex_init(&s->pool, NULL);
    pthread_cond_init(&s->returned, NULL);
    *store = s;
    s->opened = open_all(s, folder, why, size);
    if (s->opened) return true;
    store_close(store);
    return false;
}

static void disconnect(struct connection *c)
{
    for (int i = 0; i < c->n; i++)
        sqlite3_finalize(c->cache[i].statement);
    for (int i = 0; i < BUILT; i++)
        sqlite3_finalize(c->built[i]);
    sqlite3_close(c->db);
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
    if (s->lock >= 0) close(s->lock);
    pthread_mutex_destroy(&s->writing);
    pthread_mutex_destroy(&s->pool);
    pthread_cond_destroy(&s->returned);
    free(s);
}

const char *store_folder(const struct store *s)
{
    return s->folder;
}

uint64_t store_event_block(struct store *s, unsigned n)
{
    sqlite3_stmt *statement;
    if (store__begin(s) != STORE_OK) return 0;
    int64_t next = 1;
    enum store_result result =
        store__first(s, &s->writer, &statement, "SELECT value FROM meta WHERE name='next_event'", "");
    if (result == STORE_OK) {
        next = sqlite3_column_int64(statement, 0);
        sqlite3_reset(statement);
    }
    if (result == STORE_NOT_FOUND) result = STORE_OK;
    if (result == STORE_OK)
        result = store__run(s, &s->writer, NULL, "INSERT OR REPLACE INTO meta(name, value) VALUES('next_event', ?1)",
                            "i", next + n);
    return store__end(s, result) == STORE_OK ? (uint64_t)next : 0;
}
