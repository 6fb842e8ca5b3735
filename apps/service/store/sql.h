/*
 * Inside this folder: connections, prepared statements, transactions.
 *
 * Every call to SQLite may fail (full disk, I/O, memory); each helper turns that into a store_result and
 * notes the reason, so that no caller has to look at a SQLite code.
 */
#ifndef HT_SERVICE_STORE_SQL_H
#define HT_SERVICE_STORE_SQL_H

#include "service/store/claims.h"

#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>

enum { STATEMENTS = 96, READERS = 4, BUILT = 16 };

struct connection {
    sqlite3 *db;
    struct {
        const char *sql; /* a literal: compared by address */
        sqlite3_stmt *statement;
    } cache[STATEMENTS];
    int n;
    sqlite3_stmt *built[BUILT]; /* those of lists, whose text is put together: the last ones used, compared by text */
    int oldest;
    bool taken;
};

struct store {
    char folder[3008];
    int lock;                /* flock: one process a folder */
    bool opened;             /* all of it: closing may mark it clean */
    pthread_mutex_t writing; /* owns writer */
    struct connection writer;
    uint64_t last_id; /* time in the latest id, and its number within the millisecond */
    unsigned sequence;
    pthread_mutex_t pool; /* owns taken of readers, and why */
    pthread_cond_t returned;
    struct connection readers[READERS];
    char why[256];
    struct stat file; /* of the database, as it was opened */
    bool known;
    atomic_bool damaged;     /* until it is opened anew */
    atomic_int latest_write; /* how it ended: enum store_result */
    int64_t (*now)(void *ctx);
    void *now_ctx;
};

enum store_result store__result(struct store *s, struct connection *c, int rc, const char *what);
enum store_result store__failed(struct store *s, enum store_result result, const char *what);

/* A prepared statement, reset and without values; sql is a literal. NULL: noted. The connection owns it. */
sqlite3_stmt *store__statement(struct store *s, struct connection *c, const char *sql);
/* Binds by a format: s text or NULL, i int64_t, d double, D double that is NULL when negative, n (nothing: NULL). */
void store__bind(sqlite3_stmt *statement, const char *format, ...);
/* Runs to the end. *changed (may be NULL): rows. */
enum store_result store__run(struct store *s, struct connection *c, int *changed, const char *sql, const char *format,
                             ...);
/* The first row: OK and *statement is at it (the caller resets with sqlite3_reset), or NOT_FOUND. */
enum store_result store__first(struct store *s, struct connection *c, sqlite3_stmt **statement, const char *sql,
                               const char *format, ...);
/* The next row: OK, or NOT_FOUND when there are no more (the statement is then reset). */
enum store_result store__next(struct store *s, struct connection *c, sqlite3_stmt *statement);

/* Takes the writer and begins. On OK, store__end must follow. */
enum store_result store__begin(struct store *s);
/* Commits when result is OK, rolls back otherwise; gives the writer back. The final result. */
enum store_result store__end(struct store *s, enum store_result result);

/* A reader with a snapshot. NULL: noted. */
struct connection *store__read(struct store *s);
void store__read_end(struct store *s, struct connection *c);

const char *store__text(sqlite3_stmt *statement, int column);  /* "" for NULL */
json_t *store__json_text(sqlite3_stmt *statement, int column); /* null for NULL */
json_t *store__json_number(sqlite3_stmt *statement, int column);
json_t *store__json_time(sqlite3_stmt *statement, int column);   /* milliseconds as RFC 3339 */
json_t *store__json_parsed(sqlite3_stmt *statement, int column); /* null for NULL or what is no JSON */
char *store__dump(const json_t *value);                          /* malloc's; NULL for NULL and null */

int64_t store__wall(void); /* milliseconds since 1970 */
void store__new_id(struct store *s, char id[STORE_ID_SIZE]);
enum store_result store__migrate(struct store *s);

/* A page of a list: see list.c. */
struct list_column {
    const char *name, *sql; /* an expression that is never NULL; the last of the list has no name */
};
struct list_query {
    const char *key;         /* "jobs" */
    const char *columns_sql; /* SELECT … without FROM: columns for `row` */
    const char *table, *count_sql;
    const char *where; /* with ?1 … ?n_bound, bound by `bind`; "1" for all */
    int n_bound;
    void (*bind)(void *ctx, sqlite3_stmt *statement);
    void *ctx;
    json_t *(*row)(struct store *s, struct connection *c, sqlite3_stmt *statement);
    const struct list_column *columns;
    const char *sort, *cursor;
    int limit, offset;
};
json_t *store__list(struct store *s, const struct list_query *query, enum store_result *result);
char *store__like(const char *search); /* %…% with its own wildcards escaped by '\'; NULL: no memory */

/* health.c */
void store__note_file(struct store *s);
bool store__is_there(struct store *s);
/* Gives the kept room free. False: there is none. */
bool store__use_reserve(struct store *s);

/* outputs.c */
json_t *store__outputs(struct store *s, struct connection *c, const char *job);
json_t *store__url(const char *folder, const char *id, const char *kind, const char *name);
/* The files of the folder that was published at this path, each with its address behind `url`. */
json_t *store__files(struct store *s, struct connection *c, const char *path, const char *url);
/* From the columns path (relative; NULL: CONFLICT), name, size, sha256, variant, published; resets the statement. */
enum store_result store__file(struct store *s, sqlite3_stmt *row, struct store_file *file);

/* registry.c; inside a transaction. */
enum store_result store__register(struct store *s, const char *job_id, const char *folder, const json_t *published);

#endif
