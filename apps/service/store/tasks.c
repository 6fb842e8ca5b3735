/* Tasks: the parts of a job that several workers make at once. Each write is a compare-and-set on (job, epoch, running), and
 * on the job being in parts: a job that is cancelled, failed or put together has no tasks that could change anything. */
#include "service/store/sql.h"

#include <stdio.h>

#define OF_JOB_IN_PARTS " AND EXISTS(SELECT 1 FROM jobs WHERE id = ?1 AND +lease_until = " STORE__IN_PARTS ")"
/* "+": by the epoch, see claims.c. */
#define MINE " WHERE " STORE__TASK_OF_CLAIM " AND +lease_until > 0" OF_JOB_IN_PARTS

/* Tasks of a kind; ?2 is there for number(). */
#define COUNT_MAKING "SELECT count(*) FROM tasks WHERE job_id = ?1 AND ?2 > 0 AND n > 0"
#define COUNT_COLLECTING "SELECT count(*) FROM tasks WHERE job_id = ?1 AND ?2 > 0 AND n < 0"

static enum store_result changed_or_conflict(enum store_result result, int changed)
{
    return result == STORE_OK && !changed ? STORE_CONFLICT : result;
}

static enum store_result number(struct store *s, const char *sql, const struct store_claim *c, int64_t *value)
{
    struct statement *row;
    *value = 0;
    enum store_result result = store__first(s, &s->writer, &row, sql, "si", c->id, c->epoch);
    if (result != STORE_OK) return result;
    *value = sql_int64(row, 0);
    sql_reset(row);
    return STORE_OK;
}

/* ---- claims: their first moment is in choice.c ---- */

enum store_result store__task_beat(struct store *s, const struct store_claim *c)
{
    int changed = 0;
    enum store_result result = store__run(s, &s->writer, &changed, "UPDATE tasks SET lease_until = ?3" MINE, "sii",
                                          c->id, c->epoch, s->now(s->now_ctx) + s->lease_ms);
    return changed_or_conflict(result, changed);
}

enum store_result store__task_release(struct store *s, const struct store_claim *c)
{
    int changed = 0;
    enum store_result result = store__run(s, &s->writer, &changed,
                                          "UPDATE tasks SET lease_until = 0, attempt = attempt - 1, worker = NULL" MINE,
                                          "si", c->id, c->epoch);
    return changed_or_conflict(result, changed);
}

enum store_result store__task_holds(struct store *s, const struct store_claim *c)
{
    int64_t one;
    enum store_result result = number(s, "SELECT 1 FROM tasks" MINE, c, &one);
    return result == STORE_NOT_FOUND ? STORE_CONFLICT : result;
}

/* ---- dividing, and fan-in ---- */

static enum store_result add_tasks(struct store *s, const char *id, int parts)
{
    enum store_result result = STORE_OK;
    int sign = parts < 0 ? -1 : 1;
    for (int n = 1; n <= sign * parts && result == STORE_OK; n++)
        result =
            store__run(s, &s->writer, NULL, "INSERT INTO tasks(job_id, n, parts, lease_until) VALUES(?1, ?2, ?3, 0)",
                       "sii", id, (int64_t)(sign * n), (int64_t)(sign * parts));
    return result;
}

static enum store_result park(struct store *s, const struct store_claim *c)
{
    int changed = 0;
    enum store_result result = store__run(
        s, &s->writer, &changed,
        "UPDATE jobs SET status = 'quantizing', step = 'quantize', current_step = 'in parts', lease_until"
        " = " STORE__IN_PARTS ", attempt = attempt - 1, epoch = epoch + 1, worker = NULL WHERE id = ?1 AND epoch = ?2"
        " AND +lease_until > 0 AND +lease_until < " STORE__IN_PARTS " AND cancel_requested = 0",
        "si", c->id, c->epoch);
    return changed_or_conflict(result, changed);
}

enum { COLLECTED = 40, MADE = 90 }; /* per cent, when all of a kind are done */

/* The last one: the job waits for who puts its parts together, or divides it once more. */
static enum store_result count_down(struct store *s, const struct store_claim *c)
{
    int64_t left, parts, collecting;
    char text[80];
    enum store_result result = number(s, "SELECT count(lease_until) FROM tasks WHERE job_id = ?1 AND ?2 > 0", c, &left);
    if (result == STORE_OK) result = number(s, COUNT_MAKING, c, &parts);
    if (result == STORE_OK) result = number(s, COUNT_COLLECTING, c, &collecting);
    if (result != STORE_OK) return result;
    double from = parts && collecting ? COLLECTED : 0, to = parts ? MADE : COLLECTED;
    bool makes = parts > 0;
    if (!makes) parts = collecting;
    snprintf(text, sizeof text, "%s: %d of %d are done", makes ? "in parts" : "calibrating in parts",
             (int)(parts - left), (int)parts);
    if (left > 0)
        return store__run(
            s, &s->writer, NULL,
            "UPDATE jobs SET current_step = ?2, progress = CASE WHEN ?3 > progress THEN ?3 ELSE progress END"
            " WHERE id = ?1",
            "ssd", c->id, text, from + (to - from) * (double)(parts - left) / (double)parts);
    return store__run(s, &s->writer, NULL,
                      "UPDATE jobs SET status = 'queued', step = NULL, current_step = ?2,"
                      " lease_until = 0 WHERE id = ?1 AND lease_until = " STORE__IN_PARTS,
                      "ss", c->id, makes ? "waiting to be put together" : "waiting to be divided");
}

enum store_result store_split(struct store *s, const struct store_claim *c, int parts)
{
    int64_t known = 0;
    int n = parts < 0 ? -parts : parts;
    if (n < 2 || n > STORE_MOST_PARTS) return STORE_FAILED;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = park(s, c);
    if (result == STORE_OK) result = number(s, parts < 0 ? COUNT_COLLECTING : COUNT_MAKING, c, &known);
    if (result == STORE_OK && known == 0) result = add_tasks(s, c->id, parts);
    if (result == STORE_OK && known > 0) /* divided before, by an attempt whose job was retried: nobody has them now */
        result = store__run(s, &s->writer, NULL,
                            "UPDATE tasks SET lease_until = 0, attempt = 0, worker = NULL WHERE job_id = ?1 AND"
                            " lease_until IS NOT NULL",
                            "s", c->id);
    if (result == STORE_OK && known > 0) result = count_down(s, c);
    return store__end(s, result);
}

enum store_result store_task_done(struct store *s, const struct store_claim *c)
{
    int changed = 0;
    int64_t one = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, &changed, "UPDATE tasks SET lease_until = NULL" MINE, "si", c->id, c->epoch);
    if (result == STORE_OK && changed) result = count_down(s, c);
    if (result == STORE_OK && !changed) { /* done before, and asked again; or over; or no task */
        result = number(s,
                        "SELECT CASE WHEN lease_until IS NULL AND NOT EXISTS(SELECT 1 FROM jobs WHERE id = ?1 AND"
                        " status = 'completed') THEN 1 ELSE 0 END FROM tasks WHERE " STORE__TASK_OF_CLAIM,
                        c, &one);
        if (result == STORE_OK && !one) result = STORE_CONFLICT;
    }
    return store__end(s, result);
}
