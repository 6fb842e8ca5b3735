/*
 * From the folder's own database to PostgreSQL: whole, in one transaction, and only into an empty one. What was written is
 * read back and compared, row by row, before it counts. Tables and columns are those that the source says it has.
 *
 * Leases are measured by another clock there: one that runs begins anew. Each database has marks of its own (meta).
 */
#include "service/store/sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 60, PAGE = 500 };

struct move {
    struct store *from, *to;
    struct connection *source; /* a snapshot */
    int64_t lease;             /* as it is there: until then */
    char *why;
    size_t size;
};

struct table {
    char name[64], columns[2000], key[400];
    char column[MOST_COLUMNS][48];
    bool text[MOST_COLUMNS]; /* what it holds, where it is not NULL; else numbers */
    int n;
    int64_t rows;
};

static bool refuse(struct move *m, const char *what, const char *about)
{
    snprintf(m->why, m->size, "%s%s", what, about);
    return false;
}

static bool failed(struct move *m, struct store *s, struct connection *c, const char *what)
{
    char said[180];
    c->driver->failure(c, said, sizeof said);
    snprintf(m->why, m->size, "%s: %.60s: %s", s == m->from ? "the data folder's database" : "the new database", what,
             said);
    return false;
}

/* ---- tables ---- */

static struct statement *prepare(struct move *m, struct store *s, struct connection *c, const char *sql)
{
    struct statement *statement = c->driver->prepare(c, sql);
    if (!statement) failed(m, s, c, sql);
    return statement;
}

static void append(char *list, size_t size, const char *name)
{
    size_t n = strlen(list);
    snprintf(list + n, size - n, "%s%s", n ? ", " : "", name);
}

static bool read_columns(struct move *m, struct table *t)
{
    char sql[160], key[8][48] = {{0}};
    enum sql_step step = SQL_FAILED;
    snprintf(sql, sizeof sql, "SELECT name, pk, type = 'TEXT' FROM pragma_table_info('%s') ORDER BY cid", t->name);
    struct statement *row = prepare(m, m->from, m->source, sql);
    while (row && t->n < MOST_COLUMNS && (step = sql_step(row)) == SQL_ROW) {
        int64_t at = sql_int64(row, 1);
        t->text[t->n] = sql_int64(row, 2) != 0;
        snprintf(t->column[t->n++], sizeof *t->column, "%s", store__text(row, 0));
        append(t->columns, sizeof t->columns, store__text(row, 0));
        if (at >= 1 && at <= 8) snprintf(key[at - 1], sizeof *key, "%s", store__text(row, 0));
    }
    if (row) m->source->driver->finalize(row);
    for (int i = 0; i < 8 && *key[i]; i++)
        append(t->key, sizeof t->key, key[i]);
    return (step == SQL_DONE && *t->key) || refuse(m, "its columns cannot be told: ", t->name);
}

/* In the order in which they were made: a table comes after those that it refers to. */
static struct table *read_tables(struct move *m, int *n)
{
    struct table *list = calloc(32, sizeof *list);
    struct statement *row =
        list ? prepare(m, m->from, m->source,
                       "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'meta' ORDER BY rowid")
             : NULL;
    bool done = row != NULL;
    *n = 0;
    while (row && *n < 32 && sql_step(row) == SQL_ROW)
        snprintf(list[(*n)++].name, sizeof list->name, "%s", store__text(row, 0));
    if (row) m->source->driver->finalize(row);
    for (int i = 0; done && i < *n; i++)
        done = read_columns(m, &list[i]);
    if (done && *n > 0) return list;
    free(list);
    return NULL;
}

static void select_all(const struct table *t, char *sql, size_t size)
{
    snprintf(sql, size, "SELECT %s FROM %s ORDER BY %s", t->columns, t->name, t->key);
}

/* ---- rows ---- */

static bool is_running(const struct table *t, int column, int64_t value)
{
    return strcmp(t->column[column], "lease_until") == 0 && value > 1 && value < INT64_C(4611686018427387904);
}

static void bind_column(const struct move *m, const struct table *t, struct statement *to, struct statement *row, int i)
{
    const struct sql_driver *d = to->driver;
    int64_t number;
    switch (sql_type(row, i)) {
    case SQL_INTEGER:
        number = sql_int64(row, i);
        d->bind_integer(to, i + 1, is_running(t, i, number) ? m->lease : number);
        break;
    case SQL_REAL: d->bind_real(to, i + 1, sql_real(row, i)); break;
    case SQL_TEXT: d->bind_text(to, i + 1, sql_text(row, i)); break;
    default: t->text[i] ? d->bind_text(to, i + 1, NULL) : d->bind_no_real(to, i + 1); break;
    }
}

static struct statement *prepare_insert(struct move *m, const struct table *t)
{
    char sql[3000], values[400] = "", one[16];
    for (int i = 0; i < t->n; i++) {
        snprintf(one, sizeof one, "?%d", i + 1);
        append(values, sizeof values, one);
    }
    snprintf(sql, sizeof sql, "INSERT INTO %s(%s) VALUES(%s) ON CONFLICT DO NOTHING", t->name, t->columns, values);
    return prepare(m, m->to, &m->to->writer, sql);
}

static bool copy_table(struct move *m, struct table *t)
{
    char sql[3000];
    select_all(t, sql, sizeof sql);
    struct statement *row = prepare(m, m->from, m->source, sql), *insert = prepare_insert(m, t);
    bool done = row && insert;
    enum sql_step step = SQL_DONE;
    while (done && (step = sql_step(row)) == SQL_ROW) {
        insert->driver->clear(insert);
        for (int i = 0; i < t->n; i++)
            bind_column(m, t, insert, row, i);
        done = sql_step(insert) == SQL_DONE || failed(m, m->to, &m->to->writer, t->name);
        t->rows++;
    }
    if (step == SQL_FAILED) done = failed(m, m->from, m->source, t->name);
    if (row) m->source->driver->finalize(row);
    if (insert) insert->driver->finalize(insert);
    return done;
}

/* ---- comparing ---- */

static bool is_same(const struct table *t, struct statement *a, struct statement *b, int i)
{
    enum sql_type type = sql_type(a, i);
    if (type != sql_type(b, i)) return false;
    switch (type) {
    case SQL_INTEGER:
        return sql_int64(a, i) == sql_int64(b, i) ||
               (is_running(t, i, sql_int64(a, i)) && is_running(t, i, sql_int64(b, i)));
    case SQL_REAL: return sql_real(a, i) == sql_real(b, i);
    case SQL_TEXT: return strcmp(sql_text(a, i), sql_text(b, i)) == 0;
    default: return true;
    }
}

/* Of a database there, page by page: its answers come whole. */
static enum sql_step next_there(struct statement *page, int *in_page)
{
    for (;;) {
        enum sql_step step = sql_step(page);
        *in_page += step == SQL_ROW;
        if (step != SQL_DONE || *in_page == 0) return step;
        *in_page = 0;
        sql_reset(page);
    }
}

static bool compare_rows(struct move *m, const struct table *t, struct statement *here, struct statement *there)
{
    int in_page = 0;
    for (int64_t n = 1;; n++) {
        enum sql_step a = sql_step(here), b = next_there(there, &in_page);
        if (a == SQL_FAILED) return failed(m, m->from, m->source, t->name);
        if (b == SQL_FAILED) return failed(m, m->to, &m->to->writer, t->name);
        bool same = a == b;
        for (int i = 0; same && a == SQL_ROW && i < t->n; i++)
            same = is_same(t, here, there, i);
        if (!same) {
            snprintf(m->why, m->size, "row %" PRId64 " of %s is not what it was", n, t->name);
            return false;
        }
        if (a == SQL_DONE) return true;
    }
}

static bool compare_table(struct move *m, const struct table *t)
{
    char sql[3000], declare[3100], fetch[40];
    struct connection *c = &m->to->writer;
    select_all(t, sql, sizeof sql);
    snprintf(declare, sizeof declare, "DECLARE moved NO SCROLL CURSOR FOR %s", sql);
    snprintf(fetch, sizeof fetch, "FETCH %d FROM moved", PAGE);
    if (!c->driver->script(c, declare)) return failed(m, m->to, c, t->name);
    struct statement *here = prepare(m, m->from, m->source, sql), *there = prepare(m, m->to, c, fetch);
    bool same = here && there && compare_rows(m, t, here, there);
    if (here) m->source->driver->finalize(here);
    if (there) c->driver->finalize(there);
    return c->driver->script(c, "CLOSE moved") && same;
}

/* ---- all of it ---- */

/* -1: it cannot be told. */
static int64_t rows_there(struct move *m, const struct table *t)
{
    char sql[200];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", t->name);
    struct statement *row = prepare(m, m->to, &m->to->writer, sql);
    int64_t n = row && sql_step(row) == SQL_ROW ? sql_int64(row, 0) : -1;
    if (row && n < 0) failed(m, m->to, &m->to->writer, t->name);
    if (row) row->driver->finalize(row);
    return n;
}

/* Of the marks that each database has only this one counts: events' numbers never go back. */
static bool move_events(struct move *m)
{
    struct statement *row;
    enum store_result result =
        store__first(m->from, m->source, &row, "SELECT value FROM meta WHERE name = 'next_event'", "");
    if (result == STORE_NOT_FOUND) return true;
    if (result != STORE_OK) return failed(m, m->from, m->source, "meta");
    int64_t next = sql_int64(row, 0);
    sql_reset(row);
    result = store__run(m->to, &m->to->writer, NULL,
                        "INSERT INTO meta(name, value) VALUES('next_event', ?1) ON CONFLICT(name) DO UPDATE SET value ="
                        " CASE WHEN excluded.value > meta.value THEN excluded.value ELSE meta.value END",
                        "i", next);
    return result == STORE_OK || failed(m, m->to, &m->to->writer, "meta");
}

/* Inside a transaction there. *before: it had been moved by an earlier call, which is found out by comparing. */
static bool move_all(struct move *m, struct table *tables, int n, bool *before)
{
    int64_t there = 0;
    for (int i = 0; i < n; i++) {
        int64_t rows = rows_there(m, &tables[i]);
        if (rows < 0) return false;
        there += rows;
        tables[i].rows = rows;
    }
    *before = there > 0;
    for (int i = 0; !*before && i < n; i++) {
        tables[i].rows = 0;
        if (!copy_table(m, &tables[i])) return false;
    }
    for (int i = 0; i < n; i++) {
        if (compare_table(m, &tables[i])) continue;
        char reason[200];
        snprintf(reason, sizeof reason, "%.199s", m->why);
        if (*before) refuse(m, "give an empty database; this one holds something else: ", reason);
        return false;
    }
    return *before || move_events(m);
}

static bool move_in_one(struct move *m, struct table *tables, int n, bool *before)
{
    enum store_result result = store__begin(m->to);
    if (result != STORE_OK) return failed(m, m->to, &m->to->writer, "begin");
    bool done = move_all(m, tables, n, before);
    result = store__end(m->to, done ? STORE_OK : STORE_FAILED);
    return done && (result == STORE_OK || failed(m, m->to, &m->to->writer, "commit"));
}

/* From now on this database is refused by a service: two of them would part from each other. */
static bool mark_moved(struct move *m)
{
    struct store *s = m->from;
    enum store_result result = store__begin(s);
    if (result == STORE_OK)
        result = store__end(
            s, store__run(s, &s->writer, NULL,
                          "INSERT INTO meta(name, value) VALUES('moved', 1) ON CONFLICT(name) DO NOTHING", ""));
    return result == STORE_OK || failed(m, s, &s->writer, "mark");
}

static json_t *counts(const struct table *tables, int n)
{
    json_t *o = json_object();
    for (int i = 0; i < n; i++)
        json_object_set_new(o, tables[i].name, json_integer(tables[i].rows));
    return o;
}

bool store_migrate(struct store *from, struct store *to, bool *before, json_t **rows, char *why, size_t size)
{
    struct move m = {.from = from, .to = to, .why = why, .size = size};
    int n = 0;
    *rows = NULL;
    m.lease = to->now(to->now_ctx) + to->lease_ms;
    m.source = store__read(from);
    if (!m.source) return refuse(&m, "the data folder's database cannot be read", "");
    struct table *tables = read_tables(&m, &n);
    bool done = tables && move_in_one(&m, tables, n, before);
    store__read_end(from, m.source);
    if (done) *rows = counts(tables, n);
    free(tables);
    return done && mark_moved(&m);
}
