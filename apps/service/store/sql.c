/* Statements, transactions and failures, in one place. */
#include "service/store/sql.h"

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

void store__failed_elsewhere(enum store_result result)
{
    if (result != STORE_OK && result != STORE_NOT_FOUND && result != STORE_CONFLICT) latest_failure = result;
}

void store_why(struct store *s, char *why, size_t size)
{
    pthread_mutex_lock(&s->pool);
    snprintf(why, size, "%s", s->why);
    pthread_mutex_unlock(&s->pool);
}

enum store_result store__failure(struct store *s, struct connection *c, const char *what)
{
    char why[256], said[180];
    enum store_result result = c->driver->failure(c, said, sizeof said);
    if (result == STORE_CONFLICT) return result;
    snprintf(why, sizeof why, "database: %.60s: %s", what, said);
    return store__failed(s, result, why);
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

struct statement *store__statement(struct store *s, struct connection *c, const char *sql)
{
    for (int i = 0; i < c->n; i++)
        if (c->cache[i].sql == sql) {
            c->driver->clear(c->cache[i].statement);
            return c->cache[i].statement;
        }
    if (c->n == STATEMENTS) {
        store__failed(s, STORE_FAILED, "database: too many statements");
        return NULL;
    }
    struct statement *statement = c->driver->prepare(c, sql);
    if (!statement) {
        store__failure(s, c, sql);
        return NULL;
    }
    c->cache[c->n].sql = sql;
    c->cache[c->n++].statement = statement;
    return statement;
}

/* A failure (memory, or a text beyond the database's limit) is told by the next step. */
static void bind_all(struct statement *s, const char *format, va_list values)
{
    const struct sql_driver *d = s->driver;
    for (int i = 1; *format; format++, i++) {
        double number;
        switch (*format) {
        case 's': d->bind_text(s, i, va_arg(values, const char *)); break;
        case 'i': d->bind_integer(s, i, va_arg(values, int64_t)); break;
        case 'd': d->bind_real(s, i, va_arg(values, double)); break;
        case 'D':
            number = va_arg(values, double);
            if (number >= 0)
                d->bind_real(s, i, number);
            else
                d->bind_no_real(s, i);
            break;
        default: d->bind_text(s, i, NULL); break;
        }
    }
}

void store__bind(struct statement *statement, const char *format, ...)
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
    enum sql_step step;
    struct statement *statement = store__statement(s, c, sql);
    if (!statement) return store_failure();
    va_start(values, format);
    bind_all(statement, format, values);
    va_end(values);
    do
        step = sql_step(statement);
    while (step == SQL_ROW);
    enum store_result result = step == SQL_DONE ? STORE_OK : store__failure(s, c, sql);
    if (changed) *changed = step == SQL_DONE ? c->driver->changed(statement) : 0;
    sql_reset(statement);
    return result;
}

enum store_result store__next(struct store *s, struct connection *c, struct statement *statement)
{
    enum sql_step step = sql_step(statement);
    if (step == SQL_ROW) return STORE_OK;
    enum store_result result = step == SQL_DONE ? STORE_NOT_FOUND : store__failure(s, c, "read");
    sql_reset(statement);
    return result;
}

enum store_result store__first(struct store *s, struct connection *c, struct statement **statement, const char *sql,
                               const char *format, ...)
{
    va_list values;
    *statement = store__statement(s, c, sql);
    if (!*statement) return store_failure();
    va_start(values, format);
    bind_all(*statement, format, values);
    va_end(values);
    return store__next(s, c, *statement);
}

/* What was refused for its sense says nothing about the disk. */
static void note_write(struct store *s, enum store_result result)
{
    if (result != STORE_NOT_FOUND && result != STORE_CONFLICT && result != STORE_CROWDED)
        atomic_store(&s->latest_write, (int)result);
}

static enum store_result begin(struct store *s, const char *how)
{
    if (atomic_load(&s->damaged)) return store__failed(s, STORE_DAMAGED, "the database is damaged");
    if (!store__is_there(s)) return store__failed(s, STORE_GONE, "the data folder was removed or replaced");
    pthread_mutex_lock(&s->writing);
    enum store_result result = store__run(s, &s->writer, NULL, how, "");
    if (result != STORE_OK) note_write(s, result);
    if (result != STORE_OK) pthread_mutex_unlock(&s->writing);
    return result;
}

enum store_result store__begin(struct store *s)
{
    return begin(s, s->driver->begin_write);
}

enum store_result store__begin_beat(struct store *s)
{
    return begin(s, s->driver->begin_beat);
}

/* Some failures (a full disk, memory) make SQLite roll back by itself: ROLLBACK then has nothing to do. */
enum store_result store__end(struct store *s, enum store_result result)
{
    struct connection *c = &s->writer;
    if (result == STORE_OK) result = store__run(s, c, NULL, "COMMIT", "");
    if (c->driver->in_transaction(c)) {
        for (int i = 0; i < c->n; i++)
            sql_reset(c->cache[i].statement);
        c->driver->script(c, "ROLLBACK");
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
    if (store__run(s, c, NULL, s->driver->begin_read, "") == STORE_OK) return c;
    store__read_end(s, c);
    return NULL;
}

void store__read_end(struct store *s, struct connection *c)
{
    if (c->driver->in_transaction(c)) store__run(s, c, NULL, "COMMIT", "");
    pthread_mutex_lock(&s->pool);
    c->taken = false;
    pthread_cond_signal(&s->returned);
    pthread_mutex_unlock(&s->pool);
}
