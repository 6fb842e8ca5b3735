/* Claims and the transitions of running jobs: each a compare-and-set on (id, running, epoch). */
#include "service/store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* By the id: "+" keeps both databases from the index of leases, whose plan is good while few run, and stays when many do. */
#define MINE " WHERE id = ?1 AND epoch = ?2 AND +lease_until > 0 AND +lease_until < " STORE__IN_PARTS

static int64_t lease(struct store *s)
{
    return s->now(s->now_ctx) + s->lease_ms;
}

json_t *store_waiting(struct store *s, int most)
{
    struct statement *row;
    struct connection *c = store__read(s);
    json_t *list = c ? json_array() : NULL;
    if (!c) return NULL;
    enum store_result result = store__first(
        s, c, &row,
        "SELECT id, epoch, priority FROM jobs WHERE lease_until = 0 UNION ALL"
        " SELECT id, epoch, priority FROM jobs WHERE " STORE__LEASE_ENDED " UNION ALL"
        " SELECT job_id, -1 - n, priority FROM jobs JOIN tasks ON jobs.id = job_id WHERE jobs.lease_until ="
        " " STORE__IN_PARTS " AND tasks.lease_until = 0 UNION ALL"
        " SELECT job_id, -1 - n, priority FROM jobs JOIN tasks ON jobs.id = job_id WHERE jobs.lease_until ="
        " " STORE__IN_PARTS " AND tasks.lease_until > 0 AND tasks.lease_until <= ?1"
        " ORDER BY 3 DESC, 1 LIMIT ?2",
        "ii", s->now(s->now_ctx), (int64_t)most);
    for (; result == STORE_OK; result = store__next(s, c, row))
        json_array_append_new(
            list, json_pack("{s:s, s:I}", "id", store__text(row, 0), "epoch", (json_int_t)sql_int64(row, 1)));
    store__read_end(s, c);
    if (result == STORE_NOT_FOUND) return list;
    json_decref(list);
    return NULL;
}

/* NOT_FOUND: no. */
static enum store_result find(struct store *s, const char *sql, const struct store_claim *claim)
{
    struct statement *row;
    struct connection *c = store__read(s);
    if (!c) return store_failure();
    enum store_result result = store__first(s, c, &row, sql, "si", claim->id, claim->epoch);
    if (result == STORE_OK) sql_reset(row);
    store__read_end(s, c);
    return result;
}

enum store_result store_claim_holds(struct store *s, const struct store_claim *claim)
{
    enum store_result result = find(s, "SELECT 1 FROM jobs" MINE, claim);
    if (result == STORE_NOT_FOUND)
        result = find(s,
                      "SELECT 1 FROM tasks WHERE " STORE__TASK_OF_CLAIM " AND +lease_until > 0 AND"
                      " EXISTS(SELECT 1 FROM jobs WHERE id = ?1 AND lease_until = " STORE__IN_PARTS ")",
                      claim);
    return result == STORE_NOT_FOUND ? STORE_CONFLICT : result;
}

bool store_claim_is_task(struct store *s, const struct store_claim *claim)
{
    return find(s, "SELECT 1 FROM tasks WHERE " STORE__TASK_OF_CLAIM, claim) == STORE_OK;
}

bool store_claim_completed(struct store *s, const struct store_claim *claim)
{
    return find(s, "SELECT 1 FROM jobs WHERE id = ?1 AND epoch = ?2 AND status = 'completed'", claim) == STORE_OK;
}

/* On PostgreSQL it is not waited for until it lies on the disk: when that crashes, the lease is as it was a moment before, and
 * who claims the job then has a later epoch. The disk's syncs are left to what must not be lost. */
enum store_result store_heartbeat(struct store *s, const struct store_claim *c, bool *cancel)
{
    struct statement *row;
    *cancel = false;
    enum store_result result = store__begin_beat(s);
    if (result != STORE_OK) return result;
    result = store__first(s, &s->writer, &row, "UPDATE jobs SET lease_until = ?3" MINE " RETURNING cancel_requested",
                          "sii", c->id, c->epoch, lease(s));
    if (result == STORE_OK) {
        *cancel = (int)sql_int64(row, 0) != 0;
        while ((result = store__next(s, &s->writer, row)) == STORE_OK)
            ;
        if (result == STORE_NOT_FOUND) result = STORE_OK;
    } else if (result == STORE_NOT_FOUND) {
        result = store__task_beat(s, c);
    }
    return store__end(s, result);
}

enum store_result store_update_job(struct store *s, const struct store_claim *c, const struct store_update *u)
{
    int changed = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(
        s, &s->writer, &changed,
        "UPDATE jobs SET status = coalesce(?3, status), step = coalesce(?4, step), current_step"
        " = CASE cancel_requested WHEN 0 THEN coalesce(?5, current_step) ELSE current_step END,"
        " progress = CASE WHEN coalesce(?6, 0) > progress THEN ?6 ELSE progress END, estimated_disk_gb = coalesce(?7,"
        " estimated_disk_gb), estimated_time_minutes = coalesce(?8, estimated_time_minutes),"
        " source_revision = coalesce(?9, source_revision), source_path = coalesce(?10,"
        " source_path)" MINE,
        "sisssDDDss", c->id, c->epoch, u->status, u->step, u->current_step, u->progress, u->estimated_disk_gb,
        u->estimated_time_minutes, u->source_revision, u->source_path);
    /* what a task's worker is at says nothing of the whole job */
    return store__end(s, result == STORE_OK && !changed ? store__task_holds(s, c) : result);
}

static enum store_result is_mine(struct store *s, const struct store_claim *c, const char *sql)
{
    struct statement *row;
    enum store_result result = store__first(s, &s->writer, &row, sql, "si", c->id, c->epoch);
    if (result != STORE_OK) return result == STORE_NOT_FOUND ? STORE_CONFLICT : result;
    sql_reset(row);
    return STORE_OK;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* The row that was there for this type since the submission keeps its id; further files of a type
 * get rows of their own. */
static enum store_result set_output_row(struct store *s, const char *job, size_t position, const json_t *o)
{
    char id[STORE_ID_SIZE], *memory = store__dump(json_object_get(o, "run_memory"));
    int changed = 0;
    enum store_result result =
        store__run(s, &s->writer, &changed,
                   "UPDATE outputs SET position = ?2, name = ?3, format = ?4, file_size = ?6, bits_per_weight "
                   "= ?7, run_memory = ?8,"
                   " status = 'pending', error = NULL WHERE id = (SELECT id FROM outputs WHERE job_id = ?1 "
                   "AND quant_type = ?5"
                   " AND position < 0 ORDER BY position DESC LIMIT 1)",
                   "sisssiDs", job, (int64_t)position, text_of(o, "name"), text_of(o, "format"),
                   text_of(o, "quant_type"), (int64_t)json_integer_value(json_object_get(o, "file_size")),
                   json_number_value(json_object_get(o, "bits_per_weight")), memory);
    store__new_id(s, id);
    if (result == STORE_OK && changed == 0)
        result = store__run(s, &s->writer, NULL,
                            "INSERT INTO outputs(id, job_id, position, name, format, quant_type, file_size, "
                            "bits_per_weight,"
                            " run_memory, status) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'pending')",
                            "ssisssiDs", id, job, (int64_t)position, text_of(o, "name"), text_of(o, "format"),
                            text_of(o, "quant_type"), (int64_t)json_integer_value(json_object_get(o, "file_size")),
                            json_number_value(json_object_get(o, "bits_per_weight")), memory);
    free(memory);
    return result;
}

enum store_result store_set_outputs(struct store *s, const struct store_claim *c, const json_t *outputs)
{
    const json_t *o;
    size_t i;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = is_mine(s, c, "SELECT 1 FROM jobs" MINE);
    if (result == STORE_OK)
        result = store__run(s, &s->writer, NULL, "UPDATE outputs SET position = -1 - position WHERE job_id = ?1", "s",
                            c->id);
    json_array_foreach(outputs, i, o)
        if (result == STORE_OK) result = set_output_row(s, c->id, i, o);
    if (result == STORE_OK)
        result = store__run(s, &s->writer, NULL, "DELETE FROM outputs WHERE job_id = ?1 AND position < 0", "s", c->id);
    return store__end(s, result);
}

enum store_result store_output_status(struct store *s, const struct store_claim *c, const char *type,
                                      const char *status)
{
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = is_mine(s, c, "SELECT 1 FROM jobs" MINE);
    if (result == STORE_OK)
        result = store__run(s, &s->writer, NULL,
                            "UPDATE outputs SET status = ?3 WHERE job_id = ?1 AND (?2 IS NULL OR quant_type ="
                            " ?2)",
                            "sss", c->id, type, status);
    return store__end(s, result);
}

json_t *store_request(struct store *s, const char *id)
{
    struct connection *c = store__read(s);
    struct statement *row;
    json_t *request = NULL;
    if (!c) return NULL;
    if (store__first(s, c, &row,
                     "SELECT name, source_model, source_type, source_revision, source_path, "
                     "gguf_quant_types,"
                     " config, options, progress, requested FROM jobs WHERE id = ?1",
                     "s", id) == STORE_OK) {
        request = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", store__json_text(row, 0),
                            "source_model", store__json_text(row, 1), "source_type", store__json_text(row, 2),
                            "source_revision", store__json_text(row, 3), "source_path", store__json_text(row, 4),
                            "gguf_quant_types", store__json_parsed(row, 5), "config", store__json_parsed(row, 6),
                            "options", store__json_parsed(row, 7), "progress", store__json_number(row, 8), "requested",
                            store__json_parsed(row, 9));
        sql_reset(row);
    }
    if (request &&
        store__first(s, c, &row,
                     "SELECT count(CASE WHEN n > 0 THEN 1 END), count(lease_until), count(CASE WHEN n < 0 THEN 1 END)"
                     " FROM tasks WHERE job_id = ?1",
                     "s", id) == STORE_OK) {
        int64_t parts = sql_int64(row, 0), left = sql_int64(row, 1), collecting = sql_int64(row, 2);
        if (parts + collecting > 0)
            json_object_set_new(request, "tasks",
                                json_pack("{s:I, s:I, s:o*}", "parts", (json_int_t)parts, "left", (json_int_t)left,
                                          "collecting", collecting ? json_integer(collecting) : NULL));
        sql_reset(row);
    }
    if (request && s->task_bytes > 0) json_object_set_new(request, "task_bytes", json_integer(s->task_bytes));
    store__read_end(s, c);
    return request;
}

static enum store_result look_up(struct store *s, const char *sql, const char *value)
{
    struct statement *row;
    struct connection *c = store__read(s);
    if (!c) return STORE_FAILED;
    enum store_result result = store__first(s, c, &row, sql, "s", value);
    if (result == STORE_OK) sql_reset(row);
    store__read_end(s, c);
    return result;
}

bool store_job_unfinished(struct store *s, const char *id)
{
    return look_up(s, "SELECT 1 FROM jobs WHERE id = ?1 AND status NOT IN ('completed', 'cancelled')", id) !=
           STORE_NOT_FOUND;
}

bool store_job_ended(struct store *s, const char *id)
{
    return look_up(s, "SELECT 1 FROM jobs WHERE id = ?1 AND status IN ('completed', 'cancelled')", id) == STORE_OK;
}

bool store_folder_used(struct store *s, const char *folder)
{
    return look_up(s, "SELECT 1 FROM variants WHERE substr(path, 1, length(?1) + 1) = ?1 || '/'", folder) !=
           STORE_NOT_FOUND;
}

enum store_result store_release(struct store *s, const struct store_claim *c)
{
    int changed = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, &changed,
                        "UPDATE jobs SET status = 'queued', step = NULL, current_step = 'waiting to continue',"
                        " lease_until = 0, attempt = attempt - 1, epoch = epoch + 1, worker = NULL" MINE,
                        "si", c->id, c->epoch);
    return store__end(s, result == STORE_OK && !changed ? store__task_release(s, c) : result);
}

/* A task that fails fails its job: so does what it is part of. */
static enum store_result fail_with_task(struct store *s, const struct store_claim *c, const char *error,
                                        const char *advice, int *changed)
{
    enum store_result result = store__task_holds(s, c);
    if (result != STORE_OK) return result;
    return store__run(s, &s->writer, changed,
                      "UPDATE jobs SET ended_in = status, status = 'failed', step = NULL, current_step = 'failed',"
                      " lease_until = NULL, completed_at = ?2, error = ?3, error_advice = ?4 WHERE id = ?1",
                      "siss", c->id, store__wall(), error, advice);
}

static enum store_result finish(struct store *s, const struct store_claim *c, const char *status, const char *error,
                                const char *advice)
{
    int changed = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result =
        store__run(s, &s->writer, &changed,
                   "UPDATE jobs SET ended_in = status, status = ?3, step = NULL, current_step = ?3, lease_until = NULL,"
                   " completed_at = ?4, error = ?5, error_advice = ?6" MINE,
                   "sisiss", c->id, c->epoch, status, store__wall(), error, advice);
    if (result == STORE_OK && !changed && strcmp(status, "failed") == 0)
        result = fail_with_task(s, c, error, advice, &changed);
    if (result == STORE_OK && changed && strcmp(status, "cancelled") == 0) /* the parts go, and so do their tasks */
        result = store__run(s, &s->writer, NULL, "DELETE FROM tasks WHERE job_id = ?1", "s", c->id);
    if (result == STORE_OK && changed)
        result = store__run(s, &s->writer, NULL,
                            "UPDATE outputs SET status = ?2 WHERE job_id = ?1 AND status <> 'completed'", "ss", c->id,
                            status);
    return store__end(s, result == STORE_OK && !changed ? STORE_CONFLICT : result);
}

static enum store_result finish_surely(struct store *s, const struct store_claim *c, const char *status,
                                       const char *error, const char *advice)
{
    enum store_result result = finish(s, c, status, error, advice);
    return result == STORE_FULL && store__use_reserve(s) ? finish(s, c, status, error, advice) : result;
}

enum store_result store_fail(struct store *s, const struct store_claim *c, const char *error, const char *advice)
{
    return finish_surely(s, c, "failed", error, advice);
}

enum store_result store_cancelled(struct store *s, const struct store_claim *c)
{
    return finish_surely(s, c, "cancelled", NULL, NULL);
}

static enum store_result complete(struct store *s, const struct store_claim *c, const char *folder,
                                  const json_t *published)
{
    enum store_result result = store__register(s, c->id, folder, published);
    if (result != STORE_OK) return result;
    return store__run(s, &s->writer, NULL,
                      "UPDATE jobs SET status = 'completed', step = NULL, current_step = 'completed', progress"
                      " = 100, lease_until = NULL, completed_at = ?3, error = NULL, error_advice = NULL" MINE,
                      "sii", c->id, c->epoch, store__wall());
}

enum store_result store_publish(struct store *s, const struct store_claim *c, const char *folder,
                                const json_t *published, bool (*move)(void *ctx), void *ctx)
{
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = is_mine(s, c, "SELECT 1 FROM jobs" MINE " AND cancel_requested = 0");
    if (result == STORE_OK && !move(ctx))
        result = store__failed(s, STORE_FAILED, "the finished files could not be moved to their place");
    if (result == STORE_OK) result = complete(s, c, folder, published);
    return store__end(s, result);
}
