/*
 * The driver of PostgreSQL. Parameters are sent as text with their types, results come whole. Writes of all services on
 * one database go one after another, as those of one service on SQLite do: each write transaction begins with one
 * advisory lock, which ends with it, and a service that hangs in one is thrown out by the server. A connection that
 * broke is made anew by the next transaction; what was under way is told as BUSY.
 */
#include "service/store/sql.h"

#ifdef HAVE_LIBPQ

#include <dlfcn.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* libpq is loaded when a database of this kind is asked for: the program runs where there is none. */
#define FUNCTIONS(X)                                                                                                   \
    X(PQclear)                                                                                                         \
    X(PQcmdStatus)                                                                                                     \
    X(PQcmdTuples)                                                                                                     \
    X(PQconnectdbParams)                                                                                               \
    X(PQconsumeInput)                                                                                                  \
    X(PQerrorMessage)                                                                                                  \
    X(PQexec)                                                                                                          \
    X(PQexecPrepared)                                                                                                  \
    X(PQfinish)                                                                                                        \
    X(PQfreemem)                                                                                                       \
    X(PQftype)                                                                                                         \
    X(PQgetisnull)                                                                                                     \
    X(PQgetvalue)                                                                                                      \
    X(PQnfields)                                                                                                       \
    X(PQnotifies)                                                                                                      \
    X(PQntuples)                                                                                                       \
    X(PQprepare)                                                                                                       \
    X(PQreset) X(PQresultErrorField) X(PQresultStatus) X(PQserverVersion) X(PQsocket) X(PQstatus) X(PQtransactionStatus)

static struct {
#define FIELD(name) __typeof__(name) *name;
    FUNCTIONS(FIELD)
#undef FIELD
} pq;
static bool loaded;
static pthread_once_t load_once = PTHREAD_ONCE_INIT;

static void load(void)
{
    void *library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
    loaded = library != NULL;
#define FIND(name)                                                                                                     \
    if (library) pq.name = (__typeof__(pq.name))dlsym(library, #name);                                                 \
    loaded = loaded && pq.name;
    FUNCTIONS(FIND)
#undef FIND
}

enum { BOOL = 16, INT8 = 20, INT2 = 21, INT4 = 23, TEXT = 25, FLOAT4 = 700, FLOAT8 = 701, NUMERIC = 1700 };
enum { MOST = 60 };

struct wire {
    struct statement base;
    char *given, *sql; /* as it was written; as PostgreSQL takes it */
    char name[32];     /* "": not prepared on this connection */
    unsigned generation;
    int n;
    Oid types[MOST], prepared[MOST];
    char *values[MOST];
    bool full; /* no memory for a value */
    PGresult *result;
    int row;
};

static PGconn *of(struct connection *c)
{
    return c->db;
}

static struct wire *wire(struct statement *s)
{
    return (struct wire *)s;
}

/* ---- its SQL ---- */

struct change {
    const char *from, *to;
};

/* Longest first where one begins another. */
static const struct change queries[] = {
    {"name COLLATE NOCASE", "lower(name) COLLATE \"C\""}, {" LIKE ", " ILIKE "}, {NULL, NULL}};
static const struct change tables[] = {{"name COLLATE NOCASE", "lower(name) COLLATE \"C\""},
                                       {" STRICT, WITHOUT ROWID", ""},
                                       {" INTEGER", " BIGINT"},
                                       {" REAL", " DOUBLE PRECISION"},
                                       {" TEXT", " TEXT COLLATE \"C\""},
                                       {NULL, NULL}};

static const struct change *change_at(const char *at, const struct change *changes)
{
    for (; changes->from; changes++)
        if (strncmp(at, changes->from, strlen(changes->from)) == 0) return changes;
    return NULL;
}

/* What is between quotes stays; ?1 is $1. *n: the greatest parameter. The caller's. */
static char *translate(const char *sql, const struct change *changes, int *n)
{
    char *text = NULL;
    size_t size;
    bool quoted = false;
    FILE *to = open_memstream(&text, &size);
    *n = 0;
    if (!to) return NULL;
    for (const char *p = sql; *p; p++) {
        const struct change *change = quoted ? NULL : change_at(p, changes);
        if (*p == '\'') quoted = !quoted;
        if (change) {
            fputs(change->to, to);
            p += strlen(change->from) - 1;
        } else if (!quoted && p[0] == '?' && p[1] >= '1' && p[1] <= '9') {
            int number = atoi(p + 1);
            if (number > *n) *n = number;
            fputc('$', to);
        } else {
            fputc(*p, to);
        }
    }
    return fclose(to) == 0 ? text : (free(text), NULL);
}

/* ---- statements ---- */

static struct statement *prepare(struct connection *c, const char *sql)
{
    struct wire *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->base.driver = &store__postgres;
    w->base.connection = c;
    w->given = strdup(sql);
    w->sql = translate(sql, queries, &w->n);
    for (int i = 0; i < MOST; i++)
        w->types[i] = TEXT;
    if (w->given && w->sql && w->n <= MOST) return &w->base;
    free(w->given);
    free(w->sql);
    free(w);
    return NULL;
}

static void reset(struct statement *s)
{
    struct wire *w = wire(s);
    if (w->result) pq.PQclear(w->result);
    w->result = NULL;
    w->row = -1;
}

static void clear(struct statement *s)
{
    struct wire *w = wire(s);
    reset(s);
    w->full = false;
    for (int i = 0; i < MOST; i++) {
        free(w->values[i]);
        w->values[i] = NULL;
    }
}

static void finalize(struct statement *s)
{
    struct wire *w = wire(s);
    char sql[64];
    clear(s);
    if (*w->name && w->generation == s->connection->generation && pq.PQstatus(of(s->connection)) == CONNECTION_OK) {
        snprintf(sql, sizeof sql, "DEALLOCATE %s", w->name);
        pq.PQclear(pq.PQexec(of(s->connection), sql));
    }
    free(w->given);
    free(w->sql);
    free(w);
}

static void bind(struct statement *s, int at, Oid type, const char *value)
{
    struct wire *w = wire(s);
    if (at > MOST) return;
    if (at > w->n) w->n = at; /* of a list's first page: named nowhere, but given all the same */
    w->types[at - 1] = type;
    free(w->values[at - 1]);
    w->values[at - 1] = value ? strdup(value) : NULL;
    if (value && !w->values[at - 1]) w->full = true;
}

static void bind_text(struct statement *s, int at, const char *text)
{
    bind(s, at, TEXT, text);
}

static void bind_integer(struct statement *s, int at, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    bind(s, at, INT8, text);
}

static void bind_real(struct statement *s, int at, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.17g", value);
    bind(s, at, FLOAT8, text);
}

static void bind_no_real(struct statement *s, int at)
{
    bind(s, at, FLOAT8, NULL);
}

/* A connection that was made anew knows no statements; nor do those with other types. */
static bool make_ready(struct wire *w)
{
    struct connection *c = w->base.connection;
    if (*w->name && w->generation == c->generation && memcmp(w->types, w->prepared, sizeof w->types) == 0) return true;
    snprintf(w->name, sizeof w->name, "s%d", ++c->code);
    PGresult *r = pq.PQprepare(of(c), w->name, w->sql, w->n, w->types);
    bool done = pq.PQresultStatus(r) == PGRES_COMMAND_OK;
    if (done) {
        memcpy(w->prepared, w->types, sizeof w->types);
        w->generation = c->generation;
        pq.PQclear(r);
    } else {
        w->name[0] = '\0';
        w->result = r; /* it says why */
    }
    return done;
}

static void note(struct statement *s)
{
    struct connection *c = s->connection;
    const PGresult *r = wire(s)->result;
    const char *state = r ? pq.PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    snprintf(c->state, sizeof c->state, "%s", state ? state : "");
    snprintf(c->said, sizeof c->said, "%.150s", wire(s)->full ? "out of memory" : pq.PQerrorMessage(of(c)));
    c->said[strcspn(c->said, "\n")] = '\0';
}

static bool is_well(const PGresult *r)
{
    ExecStatusType status = pq.PQresultStatus(r);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* A plan is made once, mostly when a table is small: by its measure all of it is read, then and when it is large. */
static const char by_index[] = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

static void set_up(const struct connection *c)
{
    PGconn *db = c->db;
    pq.PQclear(pq.PQexec(db, "SET lock_timeout = '5s'; SET statement_timeout = '60s';"
                             "SET idle_in_transaction_session_timeout = '60s'; SET standard_conforming_strings = on;"
                             "SET synchronous_commit = on; SET client_min_messages = warning"));
    if (c->by_index) pq.PQclear(pq.PQexec(db, by_index));
}

static void connect_anew(struct connection *c)
{
    pq.PQreset(of(c));
    c->generation++;
    if (pq.PQstatus(of(c)) == CONNECTION_OK) set_up(c);
}

/* BEGIN, COMMIT: in one message, and told for what they did. */
static enum sql_step step_transaction(struct wire *w)
{
    struct connection *c = w->base.connection;
    bool begins = strncmp(w->given, "BEGIN", 5) == 0, commits = strncmp(w->given, "COMMIT", 6) == 0;
    if (begins && pq.PQstatus(of(c)) != CONNECTION_OK) connect_anew(c);
    w->result = pq.PQexec(of(c), w->given);
    if (begins && !is_well(w->result) && pq.PQstatus(of(c)) != CONNECTION_OK) { /* it had broken, unseen until now */
        pq.PQclear(w->result);
        connect_anew(c);
        w->result = pq.PQexec(of(c), w->given);
    }
    bool done = is_well(w->result) && !(commits && strcmp(pq.PQcmdStatus(w->result), "ROLLBACK") == 0);
    if (!done) note(&w->base);
    if (!done && begins) pq.PQclear(pq.PQexec(of(c), "ROLLBACK"));
    return done ? SQL_DONE : SQL_FAILED;
}

static enum sql_step step(struct statement *s)
{
    struct wire *w = wire(s);
    if (!w->result) {
        if (strncmp(w->given, "BEGIN", 5) == 0 || strncmp(w->given, "COMMIT", 6) == 0) return step_transaction(w);
        if (!w->full && make_ready(w))
            w->result =
                pq.PQexecPrepared(of(s->connection), w->name, w->n, (const char *const *)w->values, NULL, NULL, 0);
        w->row = -1;
        if (!is_well(w->result)) {
            note(s);
            return SQL_FAILED;
        }
    }
    return ++w->row < pq.PQntuples(w->result) ? SQL_ROW : SQL_DONE;
}

/* ---- rows ---- */

static int columns(struct statement *s)
{
    return pq.PQnfields(wire(s)->result);
}

static enum sql_type type(struct statement *s, int column)
{
    const struct wire *w = wire(s);
    if (pq.PQgetisnull(w->result, w->row, column)) return SQL_NULL;
    switch (pq.PQftype(w->result, column)) {
    case BOOL:
    case INT2:
    case INT4:
    case INT8: return SQL_INTEGER;
    case FLOAT4:
    case FLOAT8:
    case NUMERIC: return SQL_REAL;
    default: return SQL_TEXT;
    }
}

static const char *text(struct statement *s, int column)
{
    const struct wire *w = wire(s);
    return pq.PQgetisnull(w->result, w->row, column) ? NULL : pq.PQgetvalue(w->result, w->row, column);
}

static int64_t integer(struct statement *s, int column)
{
    const struct wire *w = wire(s);
    const char *value = pq.PQgetvalue(w->result, w->row, column);
    return pq.PQftype(w->result, column) == BOOL ? value[0] == 't' : strtoll(value, NULL, 10);
}

static double real(struct statement *s, int column)
{
    return strtod(pq.PQgetvalue(wire(s)->result, wire(s)->row, column), NULL);
}

static const char *sql(struct statement *s)
{
    return wire(s)->given;
}

static int changed(struct statement *s)
{
    return atoi(pq.PQcmdTuples(wire(s)->result));
}

/* ---- connections ---- */

/* One message and its answer: this is asked with each claim and heartbeat. */
static bool database_clock(struct connection *c, int64_t *now)
{
    static const char sql[] = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    PGresult *r = pq.PQexec(of(c), sql);
    if (!is_well(r) && pq.PQstatus(of(c)) != CONNECTION_OK) { /* it had broken, unseen until now */
        pq.PQclear(r);
        connect_anew(c);
        r = pq.PQexec(of(c), sql);
    }
    bool told = is_well(r) && pq.PQntuples(r) == 1;
    if (told) *now = strtoll(pq.PQgetvalue(r, 0, 0), NULL, 10);
    pq.PQclear(r);
    return told;
}

static bool in_transaction(struct connection *c)
{
    PGTransactionStatusType status = pq.PQtransactionStatus(of(c));
    return status == PQTRANS_INTRANS || status == PQTRANS_INERROR || status == PQTRANS_ACTIVE;
}

static bool script(struct connection *c, const char *given)
{
    int n;
    char *translated = translate(given, tables, &n);
    PGresult *r = translated ? pq.PQexec(of(c), translated) : NULL;
    bool done = r && is_well(r);
    if (!done) {
        const char *state = r ? pq.PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
        snprintf(c->state, sizeof c->state, "%s", state ? state : "");
        snprintf(c->said, sizeof c->said, "%.150s", pq.PQerrorMessage(of(c)));
    }
    pq.PQclear(r);
    free(translated);
    return done;
}

/* By SQLSTATE; none: the connection broke. */
static enum store_result failure(struct connection *c, char *why, size_t size)
{
    static const char *const busy[] = {"55P03", "40001", "40P01", "57014", "53300", "57P01", "57P02", "57P03", "25P03"};
    snprintf(why, size, "%s", c->said);
    if (strncmp(c->state, "23", 2) == 0) return STORE_CONFLICT;
    if (strcmp(c->state, "53100") == 0) return STORE_FULL;
    if (strncmp(c->state, "XX00", 4) == 0 && c->state[4] != '0') return STORE_DAMAGED;
    for (size_t i = 0; i < sizeof busy / sizeof *busy; i++)
        if (strcmp(c->state, busy[i]) == 0) return STORE_BUSY;
    return *c->state == '\0' || strncmp(c->state, "08", 2) == 0 ? STORE_BUSY : STORE_FAILED;
}

static void disconnect(struct connection *c)
{
    if (c->db) pq.PQfinish(of(c));
    c->db = NULL;
}

const struct sql_driver store__postgres = {.name = "postgresql",
                                           .begin_write = "BEGIN; SELECT pg_advisory_xact_lock(1214344814)",
                                           .begin_beat = "BEGIN; SET LOCAL synchronous_commit = off;"
                                                         " SELECT pg_advisory_xact_lock(1214344814)",
                                           .clock = database_clock,
                                           .begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
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

/* What is given wins over this. */
bool store__postgres_open(struct connection *c, const char *url)
{
    static const char *const names[] = {"connect_timeout",
                                        "keepalives_idle",
                                        "keepalives_interval",
                                        "keepalives_count",
                                        "application_name",
                                        "client_encoding",
                                        "dbname",
                                        NULL};
    const char *const values[] = {"10", "15", "5", "3", "halftone", "UTF8", url, NULL};
    c->driver = &store__postgres;
    pthread_once(&load_once, load);
    if (!loaded) {
        snprintf(c->said, sizeof c->said, "libpq.so.5 is not on this machine (Debian: libpq5)");
        return false;
    }
    c->db = pq.PQconnectdbParams(names, values, 1);
    snprintf(c->said, sizeof c->said, "%.150s", c->db ? pq.PQerrorMessage(of(c)) : "out of memory");
    c->said[strcspn(c->said, "\n")] = '\0';
    if (!c->db || pq.PQstatus(of(c)) != CONNECTION_OK) return false;
    if (pq.PQserverVersion(of(c)) < 130000) {
        snprintf(c->said, sizeof c->said, "the server is PostgreSQL %d; 13 or later is needed",
                 pq.PQserverVersion(of(c)) / 10000);
        return false;
    }
    set_up(c);
    return true;
}

/* ---- what services tell each other: only names and ids, the truth is in the tables ---- */

enum { LOOK_MS = 500 };

void store_notify(struct store *s, const char *kind, const char *job_id)
{
    char text[200];
    if (s->driver != &store__postgres) return;
    snprintf(text, sizeof text, "%s %s %s", s->name, kind, job_id);
    pthread_mutex_lock(&s->telling);
    store__run(s, &s->clock, NULL, "SELECT pg_notify('halftone', ?1)", "s", text);
    pthread_mutex_unlock(&s->telling);
}

static void hear(struct store *s, const PGnotify *n)
{
    char from[80], kind[40], job[STORE_ID_SIZE];
    if (sscanf(n->extra, "%79s %39s %32s", from, kind, job) != 3 || strcmp(from, s->name) == 0) return;
    s->heard(s->heard_ctx, kind, job);
}

static bool listen_again(struct store *s, struct connection *c)
{
    if (c->db)
        connect_anew(c);
    else if (!store__postgres_open(c, s->url))
        return false;
    PGresult *r = pq.PQstatus(of(c)) == CONNECTION_OK ? pq.PQexec(of(c), "LISTEN halftone") : NULL;
    bool done = r && is_well(r);
    pq.PQclear(r);
    return done;
}

static void *listen_on(void *ctx)
{
    struct store *s = ctx;
    struct connection c = {.driver = &store__postgres};
    bool hears = false, heard_before = false;
    while (!atomic_load(&s->deaf)) {
        if (!hears) {
            hears = listen_again(s, &c);
            if (hears && heard_before) s->heard(s->heard_ctx, "resync", "");
            heard_before |= hears;
        }
        struct pollfd fd = {.fd = hears ? pq.PQsocket(of(&c)) : -1, .events = POLLIN};
        poll(&fd, 1, LOOK_MS);
        if (!hears) continue;
        hears = pq.PQconsumeInput(of(&c)) == 1;
        for (PGnotify *n; (n = pq.PQnotifies(of(&c))) != NULL; pq.PQfreemem(n))
            hear(s, n);
    }
    disconnect(&c);
    return NULL;
}

bool store_listen(struct store *s, store_heard_fn *heard, void *ctx)
{
    if (s->driver != &store__postgres) return true;
    s->heard = heard;
    s->heard_ctx = ctx;
    s->listens = pthread_create(&s->listener, NULL, listen_on, s) == 0;
    return s->listens;
}

void store_listen_end(struct store *s)
{
    if (!s->listens) return;
    atomic_store(&s->deaf, true);
    pthread_join(s->listener, NULL);
    s->listens = false;
}

#endif
