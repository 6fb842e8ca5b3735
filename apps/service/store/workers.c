/* Workers on other machines: what they said of themselves, and when they said something last. */
#include "service/store/sql.h"

#include <stdio.h>
#include <stdlib.h>

/* One that said nothing for so long is forgotten; its jobs were given to others long before. */
#define FORGET_MS (24 * 3600 * 1000LL)

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

enum store_result store_worker_add(struct store *s, const json_t *who, char id[STORE_ID_SIZE])
{
    char *labels = store__dump(json_object_get(who, "labels")), *machine = store__dump(json_object_get(who, "machine"));
    int64_t now = store__wall();
    enum store_result result = store__begin(s);
    if (result != STORE_OK) goto out;
    store__new_id(s, id);
    /* of those that ended without a word, too, when they come back */
    result = store__run(s, &s->writer, NULL, "DELETE FROM workers WHERE seen_at < ?1 OR (name = ?2 AND seen_at < ?3)",
                        "isi", now - FORGET_MS, text_of(who, "name"), now - 2 * s->lease_ms);
    if (result == STORE_OK)
        result = store__run(s, &s->writer, NULL,
                            "INSERT INTO workers(id, name, version, slots, labels, machine, started_at, seen_at)"
                            " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
                            "sssissi", id, text_of(who, "name"), text_of(who, "version"),
                            (int64_t)json_integer_value(json_object_get(who, "slots")), labels ? labels : "[]",
                            machine ? machine : "{}", now);
    result = store__end(s, result);
out:
    free(labels);
    free(machine);
    return result;
}

enum store_result store_worker_seen(struct store *s, const char *id, const json_t *machine, bool draining)
{
    int changed = 0;
    char *text = store__dump(machine);
    enum store_result result = store__begin(s);
    if (result == STORE_OK) {
        result =
            store__run(s, &s->writer, &changed,
                       "UPDATE workers SET seen_at = ?2, machine = coalesce(?3, machine), draining = ?4 WHERE id = ?1",
                       "sisi", id, store__wall(), text, (int64_t)draining);
        result = store__end(s, result == STORE_OK && !changed ? STORE_NOT_FOUND : result);
    }
    free(text);
    return result;
}

enum store_result store_worker_remove(struct store *s, const char *id)
{
    int changed = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, &changed, "DELETE FROM workers WHERE id = ?1", "s", id);
    return store__end(s, result == STORE_OK && !changed ? STORE_NOT_FOUND : result);
}

/* What it works on. */
static json_t *tasks_of(struct store *s, struct connection *c, const char *worker)
{
    struct statement *row;
    json_t *list = json_array();
    enum store_result result =
        store__first(s, c, &row,
                     "SELECT id, name, status, progress, attempt FROM jobs WHERE worker = ?1 AND lease_until > ?2"
                     " UNION ALL SELECT job_id, name, status, progress, tasks.attempt FROM tasks JOIN jobs ON"
                     " id = job_id WHERE tasks.worker = ?1 AND tasks.lease_until > ?2 ORDER BY 1",
                     "si", worker, s->now(s->now_ctx));
    for (; result == STORE_OK; result = store__next(s, c, row))
        json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o, s:o}", "job_id", store__json_text(row, 0), "name",
                                              store__json_text(row, 1), "status", store__json_text(row, 2), "progress",
                                              store__json_number(row, 3), "attempt", store__json_number(row, 4)));
    return list;
}

static json_t *worker_row(struct store *s, struct connection *c, struct statement *row)
{
    double silent = (double)(store__wall() - sql_int64(row, 7)) / 1000;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:b, s:o}", "id", store__json_text(row, 0), "name",
                     store__json_text(row, 1), "version", store__json_text(row, 2), "slots", store__json_number(row, 3),
                     "labels", store__json_parsed(row, 4), "machine", store__json_parsed(row, 5), "started_at",
                     store__json_time(row, 6), "seconds_silent", silent > 0 ? silent : 0, "draining",
                     (int)sql_int64(row, 8) != 0, "tasks", tasks_of(s, c, store__text(row, 0)));
}

json_t *store_workers(struct store *s)
{
    struct connection *c = store__read(s);
    struct statement *row;
    if (!c) return NULL;
    json_t *list = json_array();
    enum store_result result = store__first(s, c, &row,
                                            "SELECT id, name, version, slots, labels, machine, started_at, seen_at,"
                                            " draining FROM workers ORDER BY name, id",
                                            "");
    for (; result == STORE_OK && list; result = store__next(s, c, row))
        json_array_append_new(list, worker_row(s, c, row));
    store__read_end(s, c);
    if (result == STORE_NOT_FOUND) return list;
    json_decref(list);
    return NULL;
}
