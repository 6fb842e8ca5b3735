/* Statements, transactions and failures, in one place. */
#include "service/store/sql.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local enum store_result latest_failure;

enum store_result store_failure(void)
{
    return latest_failure;
}

void store_failure_clear(void)
{
    latest_failure = STORE_OK;
}

enum store_result store__failed(struct store *s, enum store_result result, const char *what)
{
    pthread_mutex_lock(&s->pool);
    snprintf(s->why, sizeof s->why, "%s", what);
    pthread_mutex_unlock(&s->pool);
    if (result == STORE_DAMAGED) atomic_store(&s->damaged, true);
    return latest_failure = result;
}

void store_why(struct store *s, char *why, size_t size)
{
    pthread_mutex_lock(&s->pool);
    snprintf(why, size, "%s", s->why);
    pthread_mutex_unlock(&s->pool);
}

static bool means_full(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* The errno of the latest failure in one of the connection's files. */
static int errno_of(sqlite3 *db, int which)
{
    sqlite3_file *file = NULL;
    int error = 0;
    if (sqlite3_file_control(db, "main", which, &file) == SQLITE_OK && file && file->pMethods)
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
    return error;
}

/* SQLite says SQLITE_FULL only for ENOSPC in a write; a quota, a limit, or shared memory that cannot grow are
 * I/O errors to it, and only errno says why. */
static bool is_full(struct connection *c, int rc)
{
    if ((rc & 0xff) == SQLITE_FULL) return true;
    if ((rc & 0xff) != SQLITE_IOERR || !c->db) return false;
    return means_full(sqlite3_system_errno(c->db)) || means_full(errno_of(c->db, SQLITE_FCNTL_FILE_POINTER)) ||
           means_full(errno_of(c->db, SQLITE_FCNTL_JOURNAL_POINTER));
}

enum store_result store__result(struct store *s, struct connection *c, int rc, const char *what)
{
    char why[256];
    if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE) return STORE_OK;
    if ((rc & 0xff) == SQLITE_CONSTRAINT) return STORE_CONFLICT;
    snprintf(why, sizeof why, "database: %.60s: %s", what, c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
    if (is_full(c, rc)) return store__failed(s, STORE_FULL, why);
    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB) return store__failed(s, STORE_DAMAGED, why);
    bool busy = (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
    return store__failed(s, busy ? STORE_BUSY : STORE_FAILED, why);
}

const char *store_result_text(enum store_result result)
{
    static const char *const texts[] = {"ok",
                                        "not found",
                                        "conflict",
                                        "busy",
                                        "disk full",
                                        "failed",
                                        "damaged",
                                        "the data folder is gone",
                                        "too many jobs wait"};
    return (unsigned)result < sizeof texts / sizeof *texts ? texts[result] : "unknown";
}

sqlite3_stmt *store__statement(struct store *s, struct connection *c, const char *sql)
{
    for (int i = 0; i < c->n; i++)
        if (c->cache[i].sql == sql) {
            sqlite3_reset(c->cache[i].statement);
            sqlite3_clear_bindings(c->cache[i].statement);
            return c->cache[i].statement;
        }
    if (c->n == STATEMENTS) {
        store__failed(s, STORE_FAILED, "database: too many statements");
        return NULL;
    }
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
    if (rc != SQLITE_OK) {
        store__result(s, c, rc, sql);
        return NULL;
    }
    c->cache[c->n].sql = sql;
    c->cache[c->n++].statement = statement;
    return statement;
}

/* The first failure (memory, or a text beyond SQLite's limit). */
static int bind_all(sqlite3_stmt *statement, const char *format, va_list values)
{
    int rc = SQLITE_OK;
    for (int i = 1; *format && rc == SQLITE_OK; format++, i++) {
        double number;
        switch (*format) {
        case 's': rc = sqlite3_bind_text(statement, i, va_arg(values, const char *), -1, SQLITE_TRANSIENT); break;
        case 'i': rc = sqlite3_bind_int64(statement, i, va_arg(values, int64_t)); break;
        case 'd': rc = sqlite3_bind_double(statement, i, va_arg(values, double)); break;
        case 'D':
            number = va_arg(values, double);
            if (number >= 0) rc = sqlite3_bind_double(statement, i, number);
            break;
        default: break;
        }
    }
    return rc;
}

void store__bind(sqlite3_stmt *statement, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    bind_all(statement, format, values);
    va_end(values);
}

enum store_result store__run(struct store *s, struct connection *c, int *changed, const char *sql, const char *format,
                             ...)
{
    va_list values;
    sqlite3_stmt *statement = store__statement(s, c, sql);
    if (!statement) return store_failure();
    va_start(values, format);
    int rc = bind_all(statement, format, values);
    va_end(values);
    if (rc != SQLITE_OK) return store__result(s, c, rc, sql);
    do
        rc = sqlite3_step(statement);
    while (rc == SQLITE_ROW);
    enum store_result result = store__result(s, c, rc, sql);
    if (changed) *changed = rc == SQLITE_DONE ? sqlite3_changes(c->db) : 0;
    sqlite3_reset(statement);
    return result;
}

enum store_result store__next(struct store *s, struct connection *c, sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) return STORE_OK;
    enum store_result result = store__result(s, c, rc, "read");
    sqlite3_reset(statement);
    return result == STORE_OK ? STORE_NOT_FOUND : result;
}

enum store_result store__first(struct store *s, struct connection *c, sqlite3_stmt **statement, const char *sql,
                               const char *format, ...)
{
    va_list values;
    *statement = store__statement(s, c, sql);
    if (!*statement) return store_failure();
    va_start(values, format);
    int rc = bind_all(*statement, format, values);
    va_end(values);
    return rc == SQLITE_OK ? store__next(s, c, *statement) : store__result(s, c, rc, sql);
}

/* What was refused for its sense says nothing about the disk. */
static void note_write(struct store *s, enum store_result result)
{
    if (result != STORE_NOT_FOUND && result != STORE_CONFLICT && result != STORE_CROWDED)
        atomic_store(&s->latest_write, (int)result);
}

enum store_result store__begin(struct store *s)
{
    if (atomic_load(&s->damaged)) return store__failed(s, STORE_DAMAGED, "the database is damaged");
    if (!store__is_there(s)) return store__failed(s, STORE_GONE, "the data folder was removed or replaced");
    pthread_mutex_lock(&s->writing);
    enum store_result result = store__run(s, &s->writer, NULL, "BEGIN IMMEDIATE", "");
    if (result != STORE_OK) note_write(s, result);
    if (result != STORE_OK) pthread_mutex_unlock(&s->writing);
    return result;
}

/* Some failures (a full disk, memory) make SQLite roll back by itself: ROLLBACK then has nothing to do. */
enum store_result store__end(struct store *s, enum store_result result)
{
    struct connection *c = &s->writer;
    if (result == STORE_OK) result = store__run(s, c, NULL, "COMMIT", "");
    if (!sqlite3_get_autocommit(c->db)) {
        for (int i = 0; i < c->n; i++)
            sqlite3_reset(c->cache[i].statement);
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    }
    note_write(s, result);
    pthread_mutex_unlock(&s->writing);
    return result;
}

struct connection *store__read(struct store *s)
{
    struct connection *c = NULL;
    pthread_mutex_lock(&s->pool);
    while (!c) {
        for (int i = 0; i < READERS && !c; i++)
            if (!s->readers[i].taken) c = &s->readers[i];
        if (!c) pthread_cond_wait(&s->returned, &s->pool);
    }
    c->taken = true;
    pthread_mutex_unlock(&s->pool);
    if (store__run(s, c, NULL, "BEGIN", "") == STORE_OK) return c;
    store__read_end(s, c);
    return NULL;
}

void store__read_end(struct store *s, struct connection *c)
{
    if (!sqlite3_get_autocommit(c->db)) store__run(s, c, NULL, "COMMIT", "");
    pthread_mutex_lock(&s->pool);
    c->taken = false;
    pthread_cond_signal(&s->returned);
    pthread_mutex_unlock(&s->pool);
}
