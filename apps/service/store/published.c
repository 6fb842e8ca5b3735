/* What is published, file by file, for who compares it with what lies there. */
#include "service/store/sql.h"

#include <stdio.h>
#include <string.h>

/* Columns: job, variant's path, its size and sha256, and of a folder a file's name, size and sha256. */
static json_t *file_of(struct statement *row)
{
    char name[1400];
    bool inside = sql_type(row, 4) != SQL_NULL;
    snprintf(name, sizeof name, "%s%s%s", store__text(row, 1), inside ? "/" : "", store__text(row, 4));
    if (!inside && sql_type(row, 3) == SQL_NULL) return NULL; /* a folder without files */
    return json_pack("{s:s, s:s, s:I, s:s}", "job_id", store__text(row, 0), "name", name, "size",
                     (json_int_t)sql_int64(row, inside ? 5 : 2), "sha256", store__text(row, inside ? 6 : 3));
}

json_t *store_published(struct store *s)
{
    struct connection *c = store__read(s);
    struct statement *row;
    json_t *list = json_array();
    enum store_result result =
        c ? store__first(s, c, &row,
                         "SELECT job_id, path, file_size, variants.sha256, files.name, files.size, files.sha256 FROM"
                         " variants LEFT JOIN files ON variant_id = id ORDER BY path, position",
                         "")
          : STORE_FAILED;
    for (; result == STORE_OK; result = store__next(s, c, row)) {
        json_t *file = file_of(row);
        if (file) json_array_append_new(list, file);
    }
    if (c) store__read_end(s, c);
    if (result == STORE_NOT_FOUND) return list;
    json_decref(list);
    return NULL;
}

bool store_is_published(struct store *s, const char *name)
{
    struct connection *c = store__read(s);
    struct statement *row;
    if (!c) return true;
    enum store_result result =
        store__first(s, c, &row,
                     "SELECT 1 FROM variants LEFT JOIN files ON variant_id = id WHERE CASE WHEN files.name IS NULL THEN"
                     " path ELSE path || '/' || files.name END = ?1",
                     "s", name);
    if (result == STORE_OK) sql_reset(row);
    store__read_end(s, c);
    return result != STORE_NOT_FOUND;
}

json_t *store_unrecorded(struct store *s)
{
    struct connection *c = store__read(s);
    struct statement *row;
    json_t *list = json_array();
    enum store_result result =
        c ? store__first(
                s, c, &row,
                "SELECT job_id, coalesce(path, ''), coalesce(name, '') FROM outputs WHERE status = 'completed' AND NOT"
                " EXISTS(SELECT 1 FROM variants WHERE variants.path = outputs.path) ORDER BY 1, 3",
                "")
          : STORE_FAILED;
    for (; result == STORE_OK; result = store__next(s, c, row))
        json_array_append_new(list, json_pack("{s:o, s:o, s:o}", "job_id", store__json_text(row, 0), "path",
                                              store__json_text(row, 1), "name", store__json_text(row, 2)));
    if (c) store__read_end(s, c);
    if (result == STORE_NOT_FOUND) return list;
    json_decref(list);
    return NULL;
}
