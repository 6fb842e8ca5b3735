/*
 * Inside this folder: a kind of database. Everything else of the folder is written once, in the SQL that all of them
 * take; what a database says otherwise (parameters, types, its own words) its driver translates.
 *
 * sqlite.c: a file of this machine. postgres.c: a server that several of these services may share.
 */
#ifndef HT_SERVICE_STORE_DRIVER_H
#define HT_SERVICE_STORE_DRIVER_H

#include "service/store/claims.h"

enum sql_type { SQL_NULL, SQL_INTEGER, SQL_REAL, SQL_TEXT };
enum sql_step { SQL_ROW, SQL_DONE, SQL_FAILED };

struct connection;

/* A prepared statement. Each driver's begins with this. */
struct statement {
    const struct sql_driver *driver;
    struct connection *connection;
};

struct sql_driver {
    const char *name;
    const char *begin_write, *begin_read; /* the first keeps other writers out until the end */
    const char *begin_beat;               /* a write that a crash of the database may take back: see store_heartbeat */
    /* The database's own clock in milliseconds, where several services share it; false: it does not answer. */
    bool (*clock)(struct connection *c, int64_t *now);
    /* NULL: it failed, see failure. */
    struct statement *(*prepare)(struct connection *c, const char *sql);
    void (*finalize)(struct statement *s);
    void (*reset)(struct statement *s); /* no row is looked at any more */
    void (*clear)(struct statement *s); /* reset, and all values NULL */
    /* Parameters from 1. A failure is told by the next step. text NULL: NULL. */
    void (*bind_text)(struct statement *s, int at, const char *text);
    void (*bind_integer)(struct statement *s, int at, int64_t value);
    void (*bind_real)(struct statement *s, int at, double value);
    void (*bind_no_real)(struct statement *s, int at); /* NULL, where a number would be */
    enum sql_step (*step)(struct statement *s);
    int (*columns)(struct statement *s);
    enum sql_type (*type)(struct statement *s, int column);
    const char *(*text)(struct statement *s, int column); /* NULL for NULL; until the next step */
    int64_t (*integer)(struct statement *s, int column);
    double (*real)(struct statement *s, int column);
    const char *(*sql)(struct statement *s); /* as it was prepared */
    int (*changed)(struct statement *s);     /* rows, by the statement that ended just now */
    bool (*in_transaction)(struct connection *c);
    /* Several statements, of which none gives rows. */
    bool (*script)(struct connection *c, const char *sql);
    /* What the latest failure means, and says. */
    enum store_result (*failure)(struct connection *c, char *text, size_t size);
    void (*disconnect)(struct connection *c);
};

static inline void sql_reset(struct statement *s)
{
    s->driver->reset(s);
}
static inline enum sql_step sql_step(struct statement *s)
{
    return s->driver->step(s);
}
static inline enum sql_type sql_type(struct statement *s, int column)
{
    return s->driver->type(s, column);
}
static inline const char *sql_text(struct statement *s, int column)
{
    return s->driver->text(s, column);
}
static inline int64_t sql_int64(struct statement *s, int column)
{
    return s->driver->integer(s, column);
}
static inline double sql_real(struct statement *s, int column)
{
    return s->driver->real(s, column);
}

#endif
