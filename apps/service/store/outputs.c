/* A job's outputs and log. */
#include "service/store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_LINES = 2000 }; /* of a job; at most 2 MB with the child's bound on a line */

/* Names are made of the source's name: whatever is not plain is escaped. */
static void append_escaped(char *out, size_t size, const char *name)
{
    size_t n = strlen(out);
    for (; *name && n + 4 < size; name++) {
        unsigned char c = (unsigned char)*name;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        n += (size_t)snprintf(out + n, size - n, plain ? "%c" : "%%%02X", c);
    }
}

json_t *store__url(const char *folder, const char *id, const char *kind, const char *name)
{
    char url[1200];
    snprintf(url, sizeof url, "/api/v1/%s/%s/%s/", folder, id, kind);
    append_escaped(url, sizeof url, name);
    return json_string(url);
}

json_t *store__files(struct store *s, struct connection *c, const char *path, const char *url)
{
    struct statement *row;
    json_t *list = json_array();
    enum store_result result =
        store__first(s, c, &row,
                     "SELECT files.name, files.size, files.sha256 FROM variants JOIN files ON variant_id = id WHERE"
                     " path = ?1 ORDER BY position",
                     "s", path);
    for (; result == STORE_OK && list; result = store__next(s, c, row)) {
        char address[2400];
        snprintf(address, sizeof address, "%s/files/", url);
        append_escaped(address, sizeof address, store__text(row, 0));
        json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:s}", "name", store__json_text(row, 0), "size",
                                              store__json_number(row, 1), "sha256", store__json_text(row, 2), "url",
                                              address));
    }
    if (result == STORE_NOT_FOUND) return list;
    json_decref(list);
    return NULL;
}

static json_t *output_row(struct store *s, struct connection *c, struct statement *row, const char *job)
{
    bool done = strcmp(store__text(row, 10), "completed") == 0, folder = done && !*store__text(row, 11);
    json_t *url = done ? store__url("quantize/jobs", job, "outputs", store__text(row, 1)) : json_null(),
           *files = folder ? store__files(s, c, store__text(row, 13), json_string_value(url)) : json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
                     store__json_text(row, 0), "name", store__json_text(row, 1), "format", store__json_text(row, 2),
                     "quant_type", store__json_text(row, 3), "file_size", store__json_number(row, 4), "bits_per_weight",
                     store__json_number(row, 5), "perplexity", store__json_number(row, 6), "kld",
                     store__json_number(row, 7), "top1_agreement", store__json_number(row, 8), "relative_rmse",
                     store__json_number(row, 9), "status", store__json_text(row, 10), "sha256",
                     store__json_text(row, 11), "error", store__json_text(row, 12), "url", url, "files", files);
}

json_t *store__outputs(struct store *s, struct connection *c, const char *job)
{
    struct statement *row;
    json_t *list = json_array();
    enum store_result result =
        store__first(s, c, &row,
                     "SELECT id, coalesce(name, ''), format, quant_type, file_size, bits_per_weight,"
                     " perplexity, kld, top1_agreement, relative_rmse, status, sha256, error, path FROM outputs WHERE"
                     " job_id = ?1 ORDER BY position, id",
                     "s", job);
    for (; result == STORE_OK && list; result = store__next(s, c, row))
        json_array_append_new(list, output_row(s, c, row, job));
    if (result == STORE_NOT_FOUND) return list;
    json_decref(list);
    return NULL;
}

static bool exists(struct store *s, struct connection *c, const char *id)
{
    struct statement *row;
    if (store__first(s, c, &row, "SELECT 1 FROM jobs WHERE id = ?1", "s", id) != STORE_OK) return false;
    sql_reset(row);
    return true;
}

json_t *store_outputs(struct store *s, const char *id)
{
    struct connection *c = store__read(s);
    if (!c) return NULL;
    json_t *list = exists(s, c, id) ? store__outputs(s, c, id) : NULL;
    store__read_end(s, c);
    return list;
}

/* Columns: path, name, size, sha256, the variant's id and when it was published. */
enum store_result store__file(struct store *s, struct statement *row, struct store_file *file)
{
    snprintf(file->path, sizeof file->path, "%s/%.1000s", s->folder, store__text(row, 0));
    snprintf(file->name, sizeof file->name, "%s", store__text(row, 1));
    file->size = (uint64_t)sql_int64(row, 2);
    snprintf(file->sha256, sizeof file->sha256, "%s", store__text(row, 3));
    snprintf(file->variant, sizeof file->variant, "%s", store__text(row, 4));
    file->published = sql_int64(row, 5) / 1000;
    enum store_result result = sql_type(row, 0) == SQL_NULL ? STORE_CONFLICT : STORE_OK;
    sql_reset(row);
    return result;
}

enum store_result store_output_file(struct store *s, const char *job, const char *output, struct store_file *file)
{
    struct connection *c = store__read(s);
    struct statement *row;
    if (!c) return STORE_FAILED;
    enum store_result result =
        store__first(s, c, &row,
                     "SELECT CASE outputs.status WHEN 'completed' THEN outputs.path END, outputs.name,"
                     " outputs.file_size, outputs.sha256, variants.id, variants.created_at FROM outputs LEFT JOIN"
                     " variants ON variants.path = outputs.path WHERE outputs.job_id = ?1 AND (outputs.name = ?2 OR"
                     " outputs.id = ?2) ORDER BY outputs.id = ?2 DESC",
                     "ss", job, output);
    /* A job may be forgotten while its files stay in the registry: their address goes on working. */
    if (result == STORE_NOT_FOUND && !exists(s, c, job))
        result = store__first(
            s, c, &row,
            "SELECT path, name, file_size, sha256, id, created_at FROM variants WHERE job_id = ?1 AND (name = ?2 OR"
            " id = ?2)",
            "ss", job, output);
    if (result == STORE_OK) result = store__file(s, row, file);
    store__read_end(s, c);
    return result;
}

enum store_result store_parts(struct store *s, const struct store_file *folder, struct store_part **files, size_t *n)
{
    struct connection *c = store__read(s);
    struct statement *row;
    size_t room = 0;
    *files = NULL;
    *n = 0;
    if (!c) return STORE_FAILED;
    enum store_result result =
        store__first(s, c, &row, "SELECT name, size, sha256 FROM files WHERE variant_id = ?1 ORDER BY position", "s",
                     folder->variant);
    for (; result == STORE_OK; result = store__next(s, c, row)) {
        if (*n == room) {
            struct store_part *more = realloc(*files, (room = room * 2 + 16) * sizeof **files);
            if (!more) {
                sql_reset(row);
                result = store__failed(s, STORE_FAILED, "out of memory");
                break;
            }
            *files = more;
        }
        struct store_part *part = &(*files)[(*n)++];
        snprintf(part->name, sizeof part->name, "%s", store__text(row, 0));
        part->size = (uint64_t)sql_int64(row, 1);
        snprintf(part->sha256, sizeof part->sha256, "%s", store__text(row, 2));
    }
    store__read_end(s, c);
    if (result == STORE_NOT_FOUND && *n > 0) return STORE_OK;
    free(*files);
    *files = NULL;
    return result;
}

enum store_result store_part_file(struct store *s, const struct store_file *folder, const char *name,
                                  struct store_file *file)
{
    struct connection *c = store__read(s);
    struct statement *row;
    if (!c) return STORE_FAILED;
    enum store_result result = store__first(
        s, c, &row,
        "SELECT path || '/' || files.name, files.name, size, files.sha256, id, created_at FROM files JOIN variants ON"
        " id = variant_id WHERE variant_id = ?1 AND files.name = ?2",
        "ss", folder->variant, name);
    if (result == STORE_OK) result = store__file(s, row, file);
    store__read_end(s, c);
    return result;
}

enum store_result store_published_folder(struct store *s, const char *job, char *path, size_t size)
{
    struct connection *c = store__read(s);
    struct statement *row;
    if (!c) return STORE_FAILED;
    enum store_result result =
        store__first(s, c, &row, "SELECT path FROM variants WHERE job_id = ?1 LIMIT 1", "s", job);
    if (result == STORE_OK) {
        const char *file = store__text(row, 0), *slash = strrchr(file, '/');
        int n = snprintf(path, size, "%s/%.*s", s->folder, slash ? (int)(slash - file) : 0, file);
        if (n < 0 || (size_t)n >= size) result = STORE_FAILED;
        sql_reset(row);
    }
    store__read_end(s, c);
    return result;
}

static enum store_result append_line(struct store *s, const char *id, const char *level, const char *text, size_t len)
{
    char *line = strndup(text, len);
    if (!line) return store__failed(s, STORE_FAILED, "out of memory");
    enum store_result result =
        store__run(s, &s->writer, NULL,
                   "INSERT INTO log(job_id, n, time, level, text) SELECT ?1, coalesce(max(n), 0) + 1, ?2, ?3,"
                   " ?4 FROM log WHERE job_id = ?1",
                   "siss", id, store__wall(), level, line);
    free(line);
    return result == STORE_CONFLICT ? STORE_NOT_FOUND : result; /* the job is gone */
}

enum store_result store_log_append(struct store *s, const char *id, const char *level, const char *text)
{
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    while (*text && result == STORE_OK) {
        size_t len = strcspn(text, "\n");
        if (len) result = append_line(s, id, level, text, len);
        text += len + (text[len] == '\n');
    }
    if (result == STORE_OK)
        result = store__run(s, &s->writer, NULL,
                            "DELETE FROM log WHERE job_id = ?1 AND n <= (SELECT max(n) FROM log WHERE job_id ="
                            " ?1) - ?2",
                            "si", id, (int64_t)LOG_LINES);
    return store__end(s, result);
}

json_t *store_log(struct store *s, const char *id, int64_t after, int limit)
{
    struct connection *c = store__read(s);
    struct statement *row;
    json_t *lines = json_array();
    bool there = c && exists(s, c, id);
    int64_t next = after;
    if (limit <= 0 || limit > LOG_LINES) limit = LOG_LINES;
    enum store_result result =
        there ? store__first(s, c, &row,
                             "SELECT n, time, level, text FROM log WHERE job_id = ?1 AND n > ?2 ORDER BY n LIMIT ?3",
                             "sii", id, after, (int64_t)limit)
              : STORE_FAILED;
    for (; result == STORE_OK; result = store__next(s, c, row)) {
        next = sql_int64(row, 0);
        json_array_append_new(lines, json_pack("{s:I, s:o, s:o, s:o}", "id", (json_int_t)next, "time",
                                               store__json_time(row, 1), "level", store__json_text(row, 2), "line",
                                               store__json_text(row, 3)));
    }
    if (c) store__read_end(s, c);
    if (result == STORE_NOT_FOUND) return json_pack("{s:o, s:I}", "lines", lines, "next_after", (json_int_t)next);
    json_decref(lines);
    return NULL;
}
