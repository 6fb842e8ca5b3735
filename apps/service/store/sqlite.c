/* The driver of SQLite: one file, one process. */
#include "service/store/sql.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lite {
    struct statement base;
    sqlite3_stmt *inner;
    int bound; /* the first failure of a binding */
};

static sqlite3 *of(struct connection *c)
{
    return c->db;
}

static sqlite3_stmt *inner(struct statement *s)
{
    return ((struct lite *)s)->inner;
}

static struct statement *prepare(struct connection *c, const char *sql)
{
    struct lite *l = calloc(1, sizeof *l);
    c->code = SQLITE_NOMEM;
    if (!l) return NULL;
    l->base.driver = &store__sqlite;
    l->base.connection = c;
    c->code = sqlite3_prepare_v3(of(c), sql, -1, SQLITE_PREPARE_PERSISTENT, &l->inner, NULL);
    if (c->code == SQLITE_OK) return &l->base;
    free(l);
    return NULL;
}

static void finalize(struct statement *s)
{
    sqlite3_finalize(inner(s));
    free(s);
}

static void reset(struct statement *s)
{
    sqlite3_reset(inner(s));
}

static void clear(struct statement *s)
{
    sqlite3_reset(inner(s));
    sqlite3_clear_bindings(inner(s));
    ((struct lite *)s)->bound = SQLITE_OK;
}

static void note(struct statement *s, int rc)
{
    struct lite *l = (struct lite *)s;
    if (l->bound == SQLITE_OK) l->bound = rc;
}

static void bind_text(struct statement *s, int at, const char *text)
{
    note(s, sqlite3_bind_text(inner(s), at, text, -1, SQLITE_TRANSIENT));
}

static void bind_integer(struct statement *s, int at, int64_t value)
{
    note(s, sqlite3_bind_int64(inner(s), at, value));
}

static void bind_real(struct statement *s, int at, double value)
{
    note(s, sqlite3_bind_double(inner(s), at, value));
}

static void bind_no_real(struct statement *s, int at)
{
    note(s, sqlite3_bind_null(inner(s), at));
}

static enum sql_step step(struct statement *s)
{
    struct lite *l = (struct lite *)s;
    int rc = l->bound != SQLITE_OK ? l->bound : sqlite3_step(l->inner);
    if (rc == SQLITE_ROW) return SQL_ROW;
    if (rc == SQLITE_DONE) return SQL_DONE;
    s->connection->code = rc;
    return SQL_FAILED;
}

static int columns(struct statement *s)
{
    return sqlite3_column_count(inner(s));
}

static enum sql_type type(struct statement *s, int column)
{
    switch (sqlite3_column_type(inner(s), column)) {
    case SQLITE_INTEGER: return SQL_INTEGER;
    case SQLITE_FLOAT: return SQL_REAL;
    case SQLITE_NULL: return SQL_NULL;
    default: return SQL_TEXT;
    }
}

static const char *text(struct statement *s, int column)
{
    return (const char *)sqlite3_column_text(inner(s), column);
}

static int64_t integer(struct statement *s, int column)
{
    return sqlite3_column_int64(inner(s), column);
}

static double real(struct statement *s, int column)
{
    return sqlite3_column_double(inner(s), column);
}

static const char *sql(struct statement *s)
{
    return sqlite3_sql(inner(s));
}

static int changed(struct statement *s)
{
    return sqlite3_changes(of(s->connection));
}

static bool in_transaction(struct connection *c)
{
    return !sqlite3_get_autocommit(of(c));
}

static bool script(struct connection *c, const char *text_of_it)
{
    c->code = sqlite3_exec(of(c), text_of_it, NULL, NULL, NULL);
    return c->code == SQLITE_OK;
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
static bool is_full(sqlite3 *db, int rc)
{
    if ((rc & 0xff) == SQLITE_FULL) return true;
    if ((rc & 0xff) != SQLITE_IOERR || !db) return false;
    return means_full(sqlite3_system_errno(db)) || means_full(errno_of(db, SQLITE_FCNTL_FILE_POINTER)) ||
           means_full(errno_of(db, SQLITE_FCNTL_JOURNAL_POINTER));
}

static enum store_result failure(struct connection *c, char *why, size_t size)
{
    int rc = c->code, kind = rc & 0xff;
    snprintf(why, size, "%s", c->db ? sqlite3_errmsg(of(c)) : sqlite3_errstr(rc));
    if (kind == SQLITE_CONSTRAINT) return STORE_CONFLICT;
    if (is_full(of(c), rc)) return STORE_FULL;
    if (kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB) return STORE_DAMAGED;
    return kind == SQLITE_BUSY || kind == SQLITE_LOCKED ? STORE_BUSY : STORE_FAILED;
}

static void disconnect(struct connection *c)
{
    sqlite3_close(of(c));
    c->db = NULL;
}

const struct sql_driver store__sqlite = {.name = "sqlite",
                                         .begin_write = "BEGIN IMMEDIATE",
                                         .begin_beat = "BEGIN IMMEDIATE",
                                         .begin_read = "BEGIN",
                                         .prepare = prepare,
                                         .finalize = finalize,
                                         .reset = reset,
                                         .clear = clear,
                                         .bind_text = bind_text,
                                         .bind_integer = bind_integer,
                                         .bind_real = bind_real,
                                         .bind_no_real = bind_no_real,
                                         .step = step,
                                         .columns = columns,
                                         .type = type,
                                         .text = text,
                                         .integer = integer,
                                         .real = real,
                                         .sql = sql,
                                         .changed = changed,
                                         .in_transaction = in_transaction,
                                         .script = script,
                                         .failure = failure,
                                         .disconnect = disconnect};

bool store__sqlite_open(struct connection *c, const char *path, bool writer)
{
    static const char *const settings =
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA"
        " trusted_schema=OFF;PRAGMA journal_size_limit=67108864; PRAGMA cell_size_check=ON; PRAGMA"
        " temp_store=MEMORY; PRAGMA cache_size=-1024;";
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_CREATE : 0);
    sqlite3 *db = NULL;
    c->driver = &store__sqlite;
    c->code = sqlite3_open_v2(path, &db, flags, NULL);
    c->db = db;
    if (c->code != SQLITE_OK) return false;
    sqlite3_busy_timeout(db, 5000);
    sqlite3_extended_result_codes(db, 1);
    return script(c, settings) && (writer || script(c, "PRAGMA query_only=ON"));
}

static int wants_to_stop(void *stop)
{
    return atomic_load((atomic_bool *)stop);
}

void store__sqlite_stop_at(struct connection *c, atomic_bool *stop)
{
    sqlite3_progress_handler(of(c), stop ? 10000 : 0, stop ? wants_to_stop : NULL, stop);
}
