/*
 * Inside this folder: connections, prepared statements, transactions.
 *
 * Every call to SQLite may fail (full disk, I/O, memory); each helper turns that into a store_result and
 * notes the reason, so that no caller has to look at a SQLite code.
 */
#ifndef HT_SERVICE_STORE_SQL_H
#define HT_SERVICE_STORE_SQL_H

#include "service/store/driver.h"

#include <pthread.h>
#include <sys/stat.h>

enum { STATEMENTS = 96, READERS = 4, BUILT = 16 };

struct connection {
    const struct sql_driver *driver;
    void *db;                 /* the driver's */
    bool by_index;            /* before it is opened: it looks for rows by their keys, however many there are */
    int code;                 /* the same: of the latest failure */
    unsigned generation;      /* the same: how often it was connected anew */
    char state[8], said[160]; /* the same: of the latest failure */
    struct {
        const char *sql; /* a literal: compared by address */
        struct statement *statement;
    } cache[STATEMENTS];
    int n;
    struct statement
        *built[BUILT]; /* those of lists, whose text is put together: the last ones used, compared by text */
    int oldest;
    bool taken;
};

struct store {
    char folder[3008];
    int lock;                /* flock: one process a folder */
    bool opened;             /* all of it: closing may mark it clean */
    pthread_mutex_t writing; /* owns writer */
    struct connection writer;
    struct artifacts *artifacts; /* where published files lie; NULL: in the folder */
    uint64_t last_id;            /* time in the latest id, and its number within the millisecond */
    unsigned sequence;
    pthread_mutex_t pool; /* owns taken of readers, and why */
    pthread_cond_t returned;
    struct connection readers[READERS];
    char why[256];
    const struct sql_driver *driver;
    struct stat file; /* of the database, as it was opened; of SQLite's alone */
    bool known;
    bool to_be_moved;   /* see store_open_moved */
    const char *url;    /* of its database, the caller's; NULL: SQLite */
    const char *called; /* the caller's; NULL: by the machine */
    int64_t told;       /* by its clock, last */
    pthread_t listener;
    bool listens;
    atomic_bool deaf; /* it is to end */
    store_heard_fn *heard;
    void *heard_ctx;
    struct connection clock; /* of a database that several services share: whose clock counts */
    pthread_mutex_t telling; /* owns it */
    char name[64];           /* of this service among those */
    atomic_bool damaged;     /* until it is opened anew */
    atomic_int latest_write; /* how it ended: enum store_result */
    int64_t (*now)(void *ctx);
    void *now_ctx;
    int64_t lease_ms, task_bytes;
    pthread_mutex_t asked; /* owns the line of those who ask for a claim, and who serves it */
    struct asking *first_asking, **last_asking;
    bool serving;
    bool found; /* by the claim before this one; of who serves */
};

/* The latest failure of a connection, noted. */
enum store_result store__failure(struct store *s, struct connection *c, const char *what);
enum store_result store__failed(struct store *s, enum store_result result, const char *what);
/* What failed for this thread in another, which has noted it. */
void store__failed_elsewhere(enum store_result result);

/* A prepared statement, reset and without values; sql is a literal. NULL: noted. The connection owns it. */
struct statement *store__statement(struct store *s, struct connection *c, const char *sql);
/* Binds by a format: s text or NULL, i int64_t, d double, D double that is NULL when negative, n (nothing: NULL). */
void store__bind(struct statement *statement, const char *format, ...);
/* Runs to the end. *changed (may be NULL): rows. */
enum store_result store__run(struct store *s, struct connection *c, int *changed, const char *sql, const char *format,
                             ...);
/* The first row: OK and *statement is at it (the caller resets with sql_reset), or NOT_FOUND. */
enum store_result store__first(struct store *s, struct connection *c, struct statement **statement, const char *sql,
                               const char *format, ...);
/* The next row: OK, or NOT_FOUND when there are no more (the statement is then reset). */
enum store_result store__next(struct store *s, struct connection *c, struct statement *statement);

/* Takes the writer and begins. On OK, store__end must follow. */
enum store_result store__begin(struct store *s);
/* The same for a heartbeat: the crash of a database that is shared may take it back, and then ends a lease a second early. */
enum store_result store__begin_beat(struct store *s);
/* Commits when result is OK, rolls back otherwise; gives the writer back. The final result. */
enum store_result store__end(struct store *s, enum store_result result);

/* A reader with a snapshot. NULL: noted. */
struct connection *store__read(struct store *s);
void store__read_end(struct store *s, struct connection *c);

const char *store__text(struct statement *statement, int column);  /* "" for NULL */
json_t *store__json_text(struct statement *statement, int column); /* null for NULL */
json_t *store__json_number(struct statement *statement, int column);
json_t *store__json_time(struct statement *statement, int column);   /* milliseconds as RFC 3339 */
json_t *store__json_parsed(struct statement *statement, int column); /* null for NULL or what is no JSON */
char *store__dump(const json_t *value);                              /* malloc's; NULL for NULL and null */

/* The task of a claim; as a text of SQL that its index (schema.c) serves: before its first claim a task has none. */
#define STORE__TASK_OF_CLAIM "job_id = ?1 AND epoch = ?2 AND epoch > 0"
/* jobs.lease_until of one that is made in parts; as a text of SQL. */
#define STORE__IN_PARTS "4611686018427387904"
/* tasks.c: of a claim that is a task's. OK, or CONFLICT: it is none, or over. Inside a transaction. */
enum store_result store__task_beat(struct store *s, const struct store_claim *c);
enum store_result store__task_release(struct store *s, const struct store_claim *c);
enum store_result store__task_holds(struct store *s, const struct store_claim *c);

/* Of jobs, where ?1 is now; as texts of SQL that their indexes (schema.c) serve. */
#define STORE__LEASE_ENDED "lease_until > 0 AND lease_until < " STORE__IN_PARTS " AND lease_until <= ?1"
/* not EXISTS, for which PostgreSQL reads the waiting tasks of all jobs */
#define STORE__TASKS_WAIT                                                                                                              \
    "lease_until = " STORE__IN_PARTS " AND coalesce((SELECT 1 FROM tasks WHERE job_id = jobs.id AND tasks.lease_until"                 \
    " = 0 ORDER BY abs(n) LIMIT 1), (SELECT 1 FROM tasks WHERE job_id = jobs.id AND tasks.lease_until > 0 AND tasks.lease_until <= ?1" \
    " LIMIT 1)) = 1"

/* asked.c: who waits for a claim. */
enum { STORE__MOST_ASKING = 64 };
struct asking {
    const char *worker;
    int max_attempts;
    store_suits_fn *suits; /* NULL: everything */
    void *ctx;
    struct store_claim claim; /* of OK and CONFLICT */
    enum store_result result;
    bool answered, serves;
    pthread_cond_t told;
    struct asking *next;
};
/* choice.c: what each of them gets, in their order, written inside a transaction. NOT_FOUND: nobody anything, and nothing is written. */
enum store_result store__choose(struct store *s, struct asking **all, int n);

int64_t store__wall(void); /* milliseconds since 1970 */
void store__new_id(struct store *s, char id[STORE_ID_SIZE]);
enum store_result store__migrate(struct store *s);
bool store__is_newest(struct store *s, struct connection *c); /* what the tables are of */

/* sqlite.c */
extern const struct sql_driver store__sqlite;
bool store__sqlite_open(struct connection *c, const char *path, bool writer);
void store__sqlite_stop_at(struct connection *c, atomic_bool *stop); /* what runs ends when it is true; NULL: not */

/* postgres.c; false: `said` in the connection. */
extern const struct sql_driver store__postgres;
bool store__postgres_open(struct connection *c, const char *url);

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
    void (*bind)(void *ctx, struct statement *statement);
    void *ctx;
    json_t *(*row)(struct store *s, struct connection *c, struct statement *statement);
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
enum store_result store__file(struct store *s, struct statement *row, struct store_file *file);

/* registry.c; inside a transaction. */
enum store_result store__register(struct store *s, const char *job_id, const char *folder, const json_t *published);

#endif
