/*
 * Which job or task each of those who ask gets: the first in the queue's order that suits it and that nobody before it in the line has. All is read
 * by a few statements, and written by a few, however many ask.
 */
#include "service/store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_LOOK = 4,  /* more jobs than there are who ask: most of them take what is first */
    LONG_LOOK = 300, /* for those who found nothing there */
    ROWS = 14        /* of a statement that changes several: as the text of SQL below */
};

struct part {
    int64_t n, parts;
    int attempt;
};

/* A job that waits, or whose tasks do. */
struct candidate {
    char id[STORE_ID_SIZE];
    int64_t epoch; /* the latest that was given */
    int attempt;
    bool cancel, divided, gone;
    json_t *job;        /* for who does not take everything; NULL: nobody */
    struct part *parts; /* of one that is divided: those that wait; NULL: not read yet */
    int n_parts, next_part, given;
};

struct choice {
    struct store *s;
    struct asking **all;
    int n;
    int64_t now;
    struct candidate *jobs;
    int n_jobs;
};

/* ---- what there is ---- */

#define SLIM "id, epoch, attempt, cancel_requested, priority, "
#define WIDE                                                                                                           \
    ", source_type, requested, gguf_quant_types, config, options, estimated_disk_gb,"                                  \
    " EXISTS(SELECT 1 FROM tasks WHERE job_id = jobs.id)"
/* Each by an index that has its order. */
#define FIRST_OF(columns, divided, which)                                                                              \
    "SELECT * FROM (SELECT " SLIM divided columns " FROM jobs WHERE " which " ORDER BY priority DESC, id LIMIT ?2) AS "
#define THAT_WAIT(columns)                                                                                             \
    FIRST_OF(columns, "0", "lease_until = 0")                                                                          \
    "waiting UNION ALL " FIRST_OF(columns, "0", STORE__LEASE_ENDED) "ended UNION ALL " FIRST_OF(                       \
        columns, "1", STORE__TASKS_WAIT) "divided ORDER BY 5 DESC, 1 LIMIT ?2"

static json_t *described(struct statement *row)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b}", "id", store__json_text(row, 0), "source_type",
                     store__json_text(row, 6), "requested", store__json_parsed(row, 7), "gguf_quant_types",
                     store__json_parsed(row, 8), "config", store__json_parsed(row, 9), "options",
                     store__json_parsed(row, 10), "estimated_disk_gb", store__json_number(row, 11), "cancel",
                     (int)sql_int64(row, 3) != 0, "split", (int)sql_int64(row, 12) != 0);
}

static void forget(struct choice *k)
{
    for (int i = 0; i < k->n_jobs; i++) {
        json_decref(k->jobs[i].job);
        free(k->jobs[i].parts);
    }
    free(k->jobs);
    k->jobs = NULL;
    k->n_jobs = 0;
}

static enum store_result out_of_memory(struct store *s)
{
    return store__failed(s, STORE_FAILED, "out of memory");
}

static enum store_result read_jobs(struct choice *k, int most)
{
    struct statement *row;
    bool whole = true, told = true;
    for (int i = 0; i < k->n; i++)
        whole = whole && !k->all[i]->suits;
    k->jobs = calloc((size_t)most, sizeof *k->jobs);
    if (!k->jobs) return out_of_memory(k->s);
    enum store_result result =
        store__first(k->s, &k->s->writer, &row, whole ? THAT_WAIT("") : THAT_WAIT(WIDE), "ii", k->now, (int64_t)most);
    for (; result == STORE_OK && k->n_jobs < most; result = store__next(k->s, &k->s->writer, row)) {
        struct candidate *c = &k->jobs[k->n_jobs++];
        snprintf(c->id, sizeof c->id, "%s", store__text(row, 0));
        c->epoch = sql_int64(row, 1);
        c->attempt = (int)sql_int64(row, 2);
        c->cancel = (int)sql_int64(row, 3) != 0;
        c->divided = (int)sql_int64(row, 5) != 0;
        if (!whole) told = (c->job = described(row)) && told;
    }
    if (result == STORE_OK) sql_reset(row);
    if (!told) return out_of_memory(k->s);
    return result == STORE_NOT_FOUND ? STORE_OK : result;
}

#define PARTS_OF(which)                                                                                                \
    "SELECT * FROM (SELECT n, parts, attempt, abs(n) FROM tasks WHERE job_id = ?1 AND " which                          \
    " ORDER BY abs(n) LIMIT ?3) AS "

/* As many as there are who ask: nobody gets two. */
static enum store_result read_parts(struct choice *k, struct candidate *c)
{
    struct statement *row;
    c->parts = calloc((size_t)k->n, sizeof *c->parts);
    if (!c->parts) return out_of_memory(k->s);
    enum store_result result = store__first(k->s, &k->s->writer, &row,
                                            PARTS_OF("lease_until = 0") "waiting UNION ALL " PARTS_OF(
                                                "lease_until > 0 AND lease_until <= ?2") "ended ORDER BY 4 LIMIT ?3",
                                            "sii", c->id, k->now, (int64_t)k->n);
    for (; result == STORE_OK && c->n_parts < k->n; result = store__next(k->s, &k->s->writer, row))
        c->parts[c->n_parts++] =
            (struct part){.n = sql_int64(row, 0), .parts = sql_int64(row, 1), .attempt = (int)sql_int64(row, 2)};
    if (result == STORE_OK) sql_reset(row);
    return result == STORE_NOT_FOUND ? STORE_OK : result;
}

/* ---- who gets what ---- */

/* CONFLICT: worn out. One that is to be cancelled and whose worker died: the next one has to clean up. */
static void give(struct asking *a, struct candidate *c)
{
    const struct part *part = c->divided ? &c->parts[c->next_part++] : NULL;
    a->claim = (struct store_claim){.epoch = ++c->epoch, .attempt = (part ? part->attempt : c->attempt) + 1};
    memcpy(a->claim.id, c->id, sizeof c->id);
    a->claim.part = part ? (int)part->n : 0;
    a->claim.parts = part ? (int)part->parts : 0;
    a->result = a->claim.attempt <= a->max_attempts || c->cancel ? STORE_OK : STORE_CONFLICT;
    if (!part || a->result != STORE_OK) c->gone = true;
    if (a->result == STORE_OK) c->given++;
}

static enum store_result look_for(struct choice *k, struct asking *a)
{
    enum store_result result;
    a->result = STORE_NOT_FOUND;
    for (int i = 0; i < k->n_jobs; i++) {
        struct candidate *c = &k->jobs[i];
        if (c->gone || (a->suits && !a->suits(a->ctx, c->job))) continue;
        if (c->divided && !c->parts && (result = read_parts(k, c)) != STORE_OK) return result;
        c->gone = c->divided && c->next_part == c->n_parts;
        if (c->gone) continue;
        give(a, c);
        break;
    }
    return STORE_OK;
}

static enum store_result look(struct choice *k, int most, bool *all_have)
{
    forget(k);
    enum store_result result = read_jobs(k, most);
    *all_have = true;
    for (int i = 0; i < k->n && result == STORE_OK; i++) {
        result = look_for(k, k->all[i]);
        *all_have = *all_have && k->all[i]->result != STORE_NOT_FOUND;
    }
    return result;
}

/* ---- written down ---- */

/* Columns of VALUES are called the same by every database. A row that is not used has no id, and changes nothing. */
#define PAIRS                                                                                                          \
    " FROM (VALUES (?1, ?2), (?3, ?4), (?5, ?6), (?7, ?8), (?9, ?10), (?11, ?12), (?13, ?14), (?15, ?16), (?17, ?18)," \
    " (?19, ?20), (?21, ?22), (?23, ?24), (?25, ?26), (?27, ?28)) AS v WHERE id = v.column1"
#define FOURS                                                                                                            \
    " FROM (VALUES (?1, ?2, ?3, ?4), (?5, ?6, ?7, ?8), (?9, ?10, ?11, ?12), (?13, ?14, ?15, ?16), (?17, ?18, ?19, ?20)," \
    " (?21, ?22, ?23, ?24), (?25, ?26, ?27, ?28), (?29, ?30, ?31, ?32), (?33, ?34, ?35, ?36), (?37, ?38, ?39, ?40),"     \
    " (?41, ?42, ?43, ?44), (?45, ?46, ?47, ?48), (?49, ?50, ?51, ?52), (?53, ?54, ?55, ?56)) AS v"                      \
    " WHERE job_id = v.column1 AND n = v.column2"

static const char claim_jobs[] = "UPDATE jobs SET status = 'preparing', step = 'prepare', current_step = 'preparing',"
                                 " epoch = epoch + 1, attempt = attempt + 1, worker = v.column2, lease_until = ?29,"
                                 " started_at = coalesce(started_at, ?30)" PAIRS;
static const char claim_tasks[] = "UPDATE tasks SET epoch = v.column3, attempt = attempt + 1, worker = v.column4,"
                                  " lease_until = ?57" FOURS;
static const char raise_epochs[] = "UPDATE jobs SET epoch = v.column2" PAIRS;

/* A change of up to ROWS rows that is being put together. */
struct change {
    struct choice *choice;
    const char *sql;
    struct statement *statement; /* NULL: no row yet */
    int rows;
    void (*bind)(struct statement *s, int row, const void *what); /* what NULL: a row that is not used */
};

static void bind_job(struct statement *s, int row, const void *what)
{
    const struct asking *a = what;
    s->driver->bind_text(s, 2 * row + 1, a ? a->claim.id : NULL);
    s->driver->bind_text(s, 2 * row + 2, a ? a->worker : NULL);
}

static void bind_task(struct statement *s, int row, const void *what)
{
    const struct asking *a = what;
    s->driver->bind_text(s, 4 * row + 1, a ? a->claim.id : NULL);
    s->driver->bind_integer(s, 4 * row + 2, a ? a->claim.part : 0);
    s->driver->bind_integer(s, 4 * row + 3, a ? a->claim.epoch : 0);
    s->driver->bind_text(s, 4 * row + 4, a ? a->worker : NULL);
}

static void bind_epoch(struct statement *s, int row, const void *what)
{
    const struct candidate *c = what;
    s->driver->bind_text(s, 2 * row + 1, c ? c->id : NULL);
    s->driver->bind_integer(s, 2 * row + 2, c ? c->epoch : 0);
}

/* Each row that was chosen is there, for nobody else writes meanwhile: if it is not, nothing of this may count. */
static enum store_result run(struct change *u)
{
    struct choice *k = u->choice;
    enum sql_step step;
    if (!u->statement) return STORE_OK;
    for (int row = u->rows; row < ROWS; row++)
        u->bind(u->statement, row, NULL);
    int64_t until = k->now + k->s->lease_ms;
    if (u->sql == claim_tasks) u->statement->driver->bind_integer(u->statement, 57, until);
    if (u->sql == claim_jobs) u->statement->driver->bind_integer(u->statement, 29, until);
    if (u->sql == claim_jobs) u->statement->driver->bind_integer(u->statement, 30, store__wall());
    do
        step = sql_step(u->statement);
    while (step == SQL_ROW);
    enum store_result result = step == SQL_DONE ? STORE_OK : store__failure(k->s, &k->s->writer, "claim");
    if (result == STORE_OK && u->statement->driver->changed(u->statement) != u->rows)
        result = store__failed(k->s, STORE_FAILED, "database: a job that was to be claimed is not there any more");
    sql_reset(u->statement);
    u->statement = NULL;
    u->rows = 0;
    return result;
}

static enum store_result add(struct change *u, const void *what)
{
    if (!u->statement) u->statement = store__statement(u->choice->s, &u->choice->s->writer, u->sql);
    if (!u->statement) return store_failure();
    u->bind(u->statement, u->rows++, what);
    return u->rows == ROWS ? run(u) : STORE_OK;
}

static enum store_result write_claims(struct choice *k, bool tasks)
{
    struct change u = {.choice = k, .sql = tasks ? claim_tasks : claim_jobs, .bind = tasks ? bind_task : bind_job};
    enum store_result result = STORE_OK;
    for (int i = 0; i < k->n && result == STORE_OK; i++)
        if (k->all[i]->result == STORE_OK && (k->all[i]->claim.parts != 0) == tasks) result = add(&u, k->all[i]);
    return result == STORE_OK ? run(&u) : result;
}

/* A task's epoch is one of its job's. */
static enum store_result write_epochs(struct choice *k)
{
    struct change u = {.choice = k, .sql = raise_epochs, .bind = bind_epoch};
    enum store_result result = STORE_OK;
    for (int i = 0; i < k->n_jobs && result == STORE_OK; i++)
        if (k->jobs[i].divided && k->jobs[i].given) result = add(&u, &k->jobs[i]);
    return result == STORE_OK ? run(&u) : result;
}

static enum store_result fail_worn_out(struct store *s, const char *id, int attempts)
{
    char error[120];
    snprintf(error, sizeof error,
             "%d attempts ended without a result: the server, or the whole machine, stopped each time", attempts);
    enum store_result result =
        store__run(s, &s->writer, NULL,
                   "UPDATE jobs SET ended_in = status, status = 'failed', lease_until = NULL, epoch = epoch + 1, "
                   "completed_at = ?2, error ="
                   " ?3, error_advice = ?4, current_step = 'failed' WHERE id = ?1",
                   "siss", id, store__wall(), error,
                   "See the log for what ran last; a machine that runs out of memory stops like "
                   "this: give the job a smaller memory"
                   " limit, then retry.");
    if (result != STORE_OK) return result;
    return store__run(s, &s->writer, NULL, "UPDATE outputs SET status = 'failed' WHERE job_id = ?1", "s", id);
}

/* After the epochs, which it raises once more. */
static enum store_result write_failures(struct choice *k)
{
    enum store_result result = STORE_OK;
    for (int i = 0; i < k->n && result == STORE_OK; i++)
        if (k->all[i]->result == STORE_CONFLICT)
            result = fail_worn_out(k->s, k->all[i]->claim.id, k->all[i]->claim.attempt - 1);
    return result;
}

static enum store_result write_all(struct choice *k)
{
    enum store_result result = write_claims(k, false);
    if (result == STORE_OK) result = write_claims(k, true);
    if (result == STORE_OK) result = write_epochs(k);
    return result == STORE_OK ? write_failures(k) : result;
}

enum store_result store__choose(struct store *s, struct asking **all, int n)
{
    struct choice k = {.s = s, .all = all, .n = n, .now = s->now(s->now_ctx)};
    bool all_have = false, any = false;
    enum store_result result = look(&k, n + FIRST_LOOK, &all_have);
    if (result == STORE_OK && !all_have && k.n_jobs == n + FIRST_LOOK) result = look(&k, n + LONG_LOOK, &all_have);
    for (int i = 0; i < n; i++)
        any = any || all[i]->result != STORE_NOT_FOUND;
    if (result == STORE_OK) result = any ? write_all(&k) : STORE_NOT_FOUND;
    forget(&k);
    return result;
}
