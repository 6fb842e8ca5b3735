/* Claims and the transitions of running jobs: each a compare-and-set on (id, running, epoch). */
#include "service/store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MINE " WHERE id = ?1 AND epoch = ?2 AND lease_until > 0"

static int64_t lease(struct store *s)
{
    return s->now(s->now_ctx) + LEASE_SECONDS * 1000;
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

static enum store_result claim(struct store *s, const char *worker, const struct store_claim *c)
{
    return store__run(s, &s->writer, NULL,
                      "UPDATE jobs SET status = 'preparing', step = 'prepare', current_step = 'preparing',"
                      " epoch = ?2, attempt = ?3, worker = ?4, lease_until = ?5, started_at ="
                      " coalesce(started_at, ?6) WHERE id = ?1",
                      "siisii", c->id, c->epoch, (int64_t)c->attempt, worker, lease(s), store__wall());
}

/* CONFLICT: worn out. */
static enum store_result next(struct store *s, const char *worker, int max_attempts, struct store_claim *c)
{
    sqlite3_stmt *row;
    enum store_result result =
        store__first(s, &s->writer, &row,
                     "SELECT id, epoch, attempt, cancel_requested FROM jobs WHERE lease_until IS NOT NULL AND"
                     " lease_until <= ?1 ORDER BY priority DESC, id LIMIT 1",
                     "i", s->now(s->now_ctx));
    if (result != STORE_OK) return result;
    snprintf(c->id, sizeof c->id, "%s", store__text(row, 0));
    c->epoch = sqlite3_column_int64(row, 1) + 1;
    c->attempt = sqlite3_column_int(row, 2) + 1;
    bool cancel = sqlite3_column_int(row, 3) != 0; /* its worker died: the next one has to clean up */
    sqlite3_reset(row);
    if (c->attempt <= max_attempts || cancel) return claim(s, worker, c);
    result = fail_worn_out(s, c->id, c->attempt - 1);
    return result == STORE_OK ? STORE_CONFLICT : result;
}

/* An idle worker asks often: the snapshot of a reader answers that there is nothing without a
 * write. */
static bool is_idle(struct store *s)
{
    sqlite3_stmt *row;
    struct connection *c = store__read(s);
    if (!c) return false;
    enum store_result result =
        store__first(s, c, &row, "SELECT 1 FROM jobs WHERE lease_until IS NOT NULL AND lease_until <= ?1 LIMIT 1", "i",
                     s->now(s->now_ctx));
    if (result == STORE_OK) sqlite3_reset(row);
    store__read_end(s, c);
    return result == STORE_NOT_FOUND;
}

enum store_result store_claim_next(struct store *s, const char *worker, int max_attempts, struct store_claim *c)
{
    if (is_idle(s)) return STORE_NOT_FOUND;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = next(s, worker, max_attempts, c);
    if (result != STORE_CONFLICT) return store__end(s, result);
    result = store__end(s, STORE_OK);
    return result == STORE_OK ? STORE_CONFLICT : result;
}

enum store_result store_heartbeat(struct store *s, const struct store_claim *c, bool *cancel)
{
    sqlite3_stmt *row;
    *cancel = false;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__first(s, &s->writer, &row, "UPDATE jobs SET lease_until = ?3" MINE " RETURNING cancel_requested",
                          "sii", c->id, c->epoch, lease(s));
    if (result == STORE_OK) {
        *cancel = sqlite3_column_int(row, 0) != 0;
        while ((result = store__next(s, &s->writer, row)) == STORE_OK)
            ;
        if (result == STORE_NOT_FOUND) result = STORE_OK;
    } else if (result == STORE_NOT_FOUND) {
        result = STORE_CONFLICT;
    }
    return store__end(s, result);
}

enum store_result store_update_job(struct store *s, const struct store_claim *c, const struct store_update *u)
{
    int changed = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, &changed,
                        "UPDATE jobs SET status = coalesce(?3, status), step = coalesce(?4, step), current_step"
                        " = CASE cancel_requested WHEN 0 THEN coalesce(?5, current_step) ELSE current_step END,"
                        " progress = max(progress, coalesce(?6, 0)), estimated_disk_gb = coalesce(?7,"
                        " estimated_disk_gb), estimated_time_minutes = coalesce(?8, estimated_time_minutes),"
                        " source_revision = coalesce(?9, source_revision), source_path = coalesce(?10,"
                        " source_path)" MINE,
                        "sisssDDDss", c->id, c->epoch, u->status, u->step, u->current_step, u->progress,
                        u->estimated_disk_gb, u->estimated_time_minutes, u->source_revision, u->source_path);
    return store__end(s, result == STORE_OK && !changed ? STORE_CONFLICT : result);
}

static enum store_result is_mine(struct store *s, const struct store_claim *c, const char *sql)
{
    sqlite3_stmt *row;
    enum store_result result = store__first(s, &s->writer, &row, sql, "si", c->id, c->epoch);
    if (result != STORE_OK) return result == STORE_NOT_FOUND ? STORE_CONFLICT : result;
    sqlite3_reset(row);
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
    sqlite3_stmt *row;
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
        sqlite3_reset(row);
    }
    store__read_end(s, c);
    return request;
}

static enum store_result look_up(struct store *s, const char *sql, const char *value)
{
    sqlite3_stmt *row;
    struct connection *c = store__read(s);
    if (!c) return STORE_FAILED;
    enum store_result result = store__first(s, c, &row, sql, "s", value);
    if (result == STORE_OK) sqlite3_reset(row);
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
    return store__end(s, result == STORE_OK && !changed ? STORE_CONFLICT : result);
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
