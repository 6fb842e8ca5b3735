/* Jobs: submitting, showing, listing, and what users may change. */
#include "service/store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOB_COLUMNS                                                                                                    \
    "SELECT id, name, coalesce(description, ''), status, priority, progress, coalesce(current_step, ''),"              \
    " coalesce(step, ''), source_model, source_type, source_revision, output_formats, gguf_quant_types, config,"       \
    " options, coalesce(command, ''), estimated_disk_gb, estimated_time_minutes, created_at, started_at,"              \
    " completed_at, attempt, error, error_advice, (SELECT count(*) FROM outputs WHERE job_id = jobs.id),"              \
    " (SELECT count(*) FROM outputs WHERE job_id = jobs.id AND status = 'completed'),"                                 \
    " (SELECT model_id FROM variants WHERE job_id = jobs.id LIMIT 1), ended_in, requested"

/* One letter a column of JOB_COLUMNS: t text, n number, d date, j JSON. `brief` ones go into events. */
static const struct {
    const char *name;
    char kind;
    bool brief;
} fields[] = {{"id", 't', true},
              {"name", 't', true},
              {"description", 't', false},
              {"status", 't', true},
              {"priority", 'n', true},
              {"progress", 'n', true},
              {"current_step", 't', true},
              {"step", 't', true},
              {"source_model", 't', true},
              {"source_type", 't', true},
              {"source_revision", 't', false},
              {"output_formats", 'j', false},
              {"gguf_quant_types", 'j', false},
              {"config", 'j', false},
              {"options", 'j', false},
              {"command", 't', false},
              {"estimated_disk_gb", 'n', true},
              {"estimated_time_minutes", 'n', true},
              {"created_at", 'd', true},
              {"started_at", 'd', true},
              {"completed_at", 'd', true},
              {"attempt", 'n', true},
              {"error", 't', true},
              {"error_advice", 't', true},
              {"total_outputs", 'n', true},
              {"completed_outputs", 'n', true},
              {"model_id", 't', false},
              {"ended_in", 't', true},
              {"requested", 'j', false}};

static json_t *job_row(struct statement *row, bool brief)
{
    json_t *job = json_object();
    for (int i = 0; job && i < (int)(sizeof fields / sizeof *fields); i++) {
        if (brief && !fields[i].brief) continue;
        json_t *value = fields[i].kind == 't'   ? store__json_text(row, i)
                        : fields[i].kind == 'n' ? store__json_number(row, i)
                        : fields[i].kind == 'd' ? store__json_time(row, i)
                                                : store__json_parsed(row, i);
        json_object_set_new(job, fields[i].name, value);
    }
    if (job) json_object_set_new(job, "live", json_null());
    return job;
}

static json_t *whole_row(struct store *s, struct connection *c, struct statement *row)
{
    json_t *job = job_row(row, false);
    if (job && !json_is_array(json_object_get(job, "requested")))
        json_object_set_new(job, "requested", store_requested(job)); /* a job of an earlier version */
    json_t *outputs = job ? store__outputs(s, c, store__text(row, 0)) : NULL;
    if (outputs && json_object_set_new(job, "outputs", outputs) == 0) return job;
    json_decref(job);
    return NULL;
}

static json_t *get(struct store *s, const char *id, bool brief)
{
    struct connection *c = store__read(s);
    struct statement *row;
    json_t *job = NULL;
    if (!c) return NULL;
    if (store__first(s, c, &row, JOB_COLUMNS " FROM jobs WHERE id = ?1", "s", id) == STORE_OK) {
        job = brief ? job_row(row, true) : whole_row(s, c, row);
        sql_reset(row);
    }
    store__read_end(s, c);
    return job;
}

json_t *store_job(struct store *s, const char *id)
{
    return get(s, id, false);
}

json_t *store_job_brief(struct store *s, const char *id)
{
    return get(s, id, true);
}

struct filter {
    char *status; /* ",queued,failed," */
    char *like;
};

static void bind_filter(void *ctx, struct statement *statement)
{
    const struct filter *f = ctx;
    store__bind(statement, "ss", f->status, f->like);
}

json_t *store_jobs(struct store *s, const struct job_filter *filter, enum store_result *result)
{
    static const struct list_column columns[] = {{"created", "created_at"}, {"name", "name COLLATE NOCASE"},
                                                 {"status", "status"},      {"progress", "progress"},
                                                 {"priority", "priority"},  {NULL, NULL}};
    struct filter f = {0};
    json_t *list = NULL;
    *result = STORE_FAILED;
    if (filter->status && asprintf(&f.status, ",%s,", filter->status) < 0) return NULL;
    if (filter->search && !(f.like = store__like(filter->search))) goto out;
    struct list_query q = {
        .key = "jobs",
        .columns_sql = JOB_COLUMNS,
        .table = "jobs",
        .count_sql = "SELECT count(*) FROM jobs",
        .n_bound = 2,
        .where = "(?1 IS NULL OR ?1 LIKE '%,' || status || ',%') AND (?2 IS NULL OR name LIKE ?2 ESCAPE '\\'"
                 " OR description LIKE ?2 ESCAPE '\\' OR source_model LIKE ?2 ESCAPE '\\')",
        .bind = bind_filter,
        .ctx = &f,
        .row = whole_row,
        .columns = columns,
        .sort = filter->sort ? filter->sort : "-created",
        .cursor = filter->cursor,
        .limit = filter->limit,
        .offset = filter->offset};
    list = store__list(s, &q, result);
out:
    free(f.status);
    free(f.like);
    return list;
}

json_t *store_job_counts(struct store *s)
{
    static const char *const states[] = {"queued",    "downloading", "preparing", "quantizing", "measuring",
                                         "verifying", "completed",   "failed",    "cancelled"};
    struct connection *c = store__read(s);
    json_t *counts = json_object();
    struct statement *row;
    if (!c) goto fail;
    for (int i = 0; i < 9; i++)
        json_object_set_new(counts, states[i], json_integer(0));
    enum store_result result = store__first(s, c, &row, "SELECT status, count(*) FROM jobs GROUP BY status", "");
    for (; result == STORE_OK; result = store__next(s, c, row))
        json_object_set_new(counts, store__text(row, 0), store__json_number(row, 1));
    store__read_end(s, c);
    if (result == STORE_NOT_FOUND) return counts;
fail:
    json_decref(counts);
    return NULL;
}

double store_queue_age(struct store *s)
{
    struct connection *c = store__read(s);
    struct statement *row;
    double age = 0;
    if (!c) return 0;
    if (store__first(s, c, &row, "SELECT min(created_at) FROM jobs WHERE status = 'queued'", "") == STORE_OK) {
        if (sql_type(row, 0) == SQL_INTEGER) age = (double)(store__wall() - sql_int64(row, 0)) / 1000;
        sql_reset(row);
    }
    store__read_end(s, c);
    return age > 0 ? age : 0;
}

/* Why did a compare-and-set change nothing: no such job, or not in that state? */
static enum store_result changed_or(struct store *s, enum store_result result, int changed, const char *id)
{
    struct statement *row;
    if (result != STORE_OK || changed) return result;
    result = store__first(s, &s->writer, &row, "SELECT 1 FROM jobs WHERE id = ?1", "s", id);
    if (result != STORE_OK) return result;
    sql_reset(row);
    return STORE_CONFLICT;
}

static enum store_result cancel_once(struct store *s, const char *id)
{
    int ended = 0, wished = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result =
        store__run(s, &s->writer, &ended,
                   "UPDATE jobs SET ended_in = status, status = 'cancelled', current_step = 'cancelled', step = NULL,"
                   " completed_at = ?2, lease_until = NULL, epoch = epoch + 1 WHERE id = ?1 AND (status ="
                   " 'queued' OR lease_until = " STORE__IN_PARTS ")",
                   "si", id, store__wall());
    if (result == STORE_OK && ended)
        result = store__run(s, &s->writer, NULL, "UPDATE outputs SET status = 'cancelled' WHERE job_id = ?1", "s", id);
    if (result == STORE_OK && ended)
        result = store__run(s, &s->writer, NULL, "DELETE FROM tasks WHERE job_id = ?1", "s", id);
    if (result == STORE_OK && !ended)
        result = store__run(s, &s->writer, &wished,
                            "UPDATE jobs SET cancel_requested = 1, current_step = 'cancelling' WHERE id = ?1"
                            " AND lease_until > 0",
                            "s", id);
    return store__end(s, changed_or(s, result, ended + wished, id));
}

enum store_result store_cancel(struct store *s, const char *id)
{
    enum store_result result = cancel_once(s, id);
    return result == STORE_FULL && store__use_reserve(s) ? cancel_once(s, id) : result;
}

enum store_result store_retry(struct store *s, const char *id)
{
    int changed = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(
        s, &s->writer, &changed,
        "UPDATE jobs SET status = 'queued', ended_in = NULL, step = NULL, current_step = NULL, progress = 0,"
        " attempt = 0, lease_until = 0, cancel_requested = 0, error = NULL, error_advice ="
        " NULL, completed_at = NULL, started_at = NULL, epoch = epoch + 1 WHERE id = ?1 AND status IN ('failed',"
        " 'cancelled')",
        "s", id);
    if (result == STORE_OK && changed)
        result = store__run(s, &s->writer, NULL,
                            "UPDATE outputs SET status = 'pending', error = NULL WHERE job_id = ?1", "s", id);
    return store__end(s, changed_or(s, result, changed, id));
}

static enum store_result delete_once(struct store *s, const char *id)
{
    int changed = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, &changed,
                        "DELETE FROM jobs WHERE id = ?1 AND (lease_until IS NULL OR lease_until = 0)", "s", id);
    return store__end(s, changed_or(s, result, changed, id));
}

enum store_result store_delete(struct store *s, const char *id)
{
    enum store_result result = delete_once(s, id);
    return result == STORE_FULL && store__use_reserve(s) ? delete_once(s, id) : result;
}

enum store_result store_set_priority(struct store *s, const char *id, int priority)
{
    int changed = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, &changed, "UPDATE jobs SET priority = ?2 WHERE id = ?1 AND status = 'queued'",
                        "si", id, (int64_t)priority);
    return store__end(s, changed_or(s, result, changed, id));
}

enum store_result store_unless_needed(struct store *s, const char *path, bool (*remove)(void *ctx), void *ctx,
                                      char id[STORE_ID_SIZE])
{
    struct statement *row;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__first(s, &s->writer, &row,
                          "SELECT id FROM jobs WHERE lease_until IS NOT NULL AND source_path = ?1 ORDER BY id LIMIT 1",
                          "s", path);
    if (result == STORE_OK) {
        snprintf(id, STORE_ID_SIZE, "%s", store__text(row, 0));
        sql_reset(row);
        return store__end(s, STORE_CONFLICT);
    }
    if (result == STORE_NOT_FOUND) result = remove(ctx) ? STORE_OK : STORE_FAILED;
    return store__end(s, result);
}
