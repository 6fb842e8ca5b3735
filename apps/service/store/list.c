/*
 * Pages of a list. A cursor is the place after the last row (its sort value and id), so rows that come
 * or go between two pages neither repeat nor hide others. To clients it is opaque: the hexadecimal
 * digits of a JSON array [sort, value, id].
 */
#include "service/store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *to_hex(const char *text)
{
    size_t len = strlen(text);
    char *hex = malloc(2 * len + 1);
    for (size_t i = 0; hex && i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)text[i]);
    if (hex) hex[2 * len] = '\0';
    return hex;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static json_t *read_cursor(const char *hex, const char *sort)
{
    size_t len = strlen(hex);
    if (len % 2 || len > 4096) return NULL;
    char text[2049];
    for (size_t i = 0; i < len / 2; i++) {
        int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);
        if (high < 0 || low < 0) return NULL;
        text[i] = (char)(high << 4 | low);
    }
    json_t *cursor = json_loadb(text, len / 2, JSON_DECODE_ANY, NULL);
    const json_t *value = json_array_get(cursor, 1);
    if (json_array_size(cursor) == 3 && json_is_string(json_array_get(cursor, 2)) &&
        json_is_string(json_array_get(cursor, 0)) && strcmp(json_string_value(json_array_get(cursor, 0)), sort) == 0 &&
        (json_is_string(value) || json_is_number(value)))
        return cursor;
    json_decref(cursor);
    return NULL;
}

static json_t *next_cursor(const char *sort, struct statement *row)
{
    int n = row->driver->columns(row);
    json_t *value = sql_type(row, n - 2) == SQL_TEXT ? store__json_text(row, n - 2) : store__json_number(row, n - 2);
    json_t *cursor = json_pack("[s, o, s]", sort, value, store__text(row, n - 1));
    char *text = store__dump(cursor), *hex = text ? to_hex(text) : NULL;
    json_t *result = hex ? json_string(hex) : NULL;
    json_decref(cursor);
    free(text);
    free(hex);
    return result;
}

/* Preparing costs ten times what a short page does, and clients ask for few different pages. The connection owns it. */
static struct statement *prepare(struct store *s, struct connection *c, const char *sql, enum store_result *result)
{
    const struct sql_driver *d = c->driver;
    for (int i = 0; i < BUILT; i++)
        if (c->built[i] && strcmp(d->sql(c->built[i]), sql) == 0) {
            d->clear(c->built[i]);
            return c->built[i];
        }
    struct statement *statement = d->prepare(c, sql);
    if (!statement) {
        *result = store__failure(s, c, "list");
        return NULL;
    }
    if (c->built[c->oldest]) d->finalize(c->built[c->oldest]);
    c->built[c->oldest] = statement;
    c->oldest = (c->oldest + 1) % BUILT;
    return statement;
}

static int64_t count(struct store *s, struct connection *c, const struct list_query *q, enum store_result *result)
{
    char sql[2048];
    snprintf(sql, sizeof sql, "%s WHERE %s", q->count_sql, q->where);
    struct statement *statement = prepare(s, c, sql, result);
    if (!statement) return 0;
    q->bind(q->ctx, statement);
    enum sql_step step = sql_step(statement);
    int64_t n = step == SQL_ROW ? sql_int64(statement, 0) : 0;
    *result = step == SQL_FAILED ? store__failure(s, c, "count") : STORE_OK;
    sql_reset(statement);
    return n;
}

/* The page's statement, bound; one row more than asked for shows whether there is a next page. */
static struct statement *page(struct store *s, struct connection *c, const struct list_query *q,
                              const struct list_column *by, const json_t *cursor, int limit, enum store_result *result)
{
    char sql[4096], after[256] = "1 = 1";
    bool down = q->sort[0] == '-';
    int n = q->n_bound;
    if (cursor) snprintf(after, sizeof after, "(%s, id) %c (?%d, ?%d)", by->sql, down ? '<' : '>', n + 1, n + 2);
    snprintf(sql, sizeof sql,
             "%s, %s AS sort_value, id AS sort_id FROM %s WHERE (%s) AND %s ORDER BY %s %s, id %s LIMIT ?%d OFFSET ?%d",
             q->columns_sql, by->sql, q->table, q->where, after, by->sql, down ? "DESC" : "ASC", down ? "DESC" : "ASC",
             n + 3, n + 4);
    struct statement *statement = prepare(s, c, sql, result);
    if (!statement) return NULL;
    q->bind(q->ctx, statement);
    const json_t *value = json_array_get(cursor, 1);
    const struct sql_driver *d = c->driver;
    if (json_is_string(value)) d->bind_text(statement, n + 1, json_string_value(value));
    if (json_is_integer(value)) d->bind_integer(statement, n + 1, json_integer_value(value));
    if (json_is_real(value)) d->bind_real(statement, n + 1, json_real_value(value));
    if (cursor) d->bind_text(statement, n + 2, json_string_value(json_array_get(cursor, 2)));
    d->bind_integer(statement, n + 3, limit + 1);
    d->bind_integer(statement, n + 4, cursor ? 0 : q->offset);
    return statement;
}

static json_t *rows(struct store *s, struct connection *c, const struct list_query *q, struct statement *statement,
                    int limit, json_t **next, enum store_result *result)
{
    json_t *list = json_array();
    enum sql_step step = SQL_ROW;
    for (int i = 0; list && (step = sql_step(statement)) == SQL_ROW; i++) {
        if (i == limit) break; /* only shows that there is more */
        store_failure_clear();
        json_t *row = q->row(s, c, statement);
        if (!row || json_array_append_new(list, row) != 0) {
            *result = store_failure() != STORE_OK ? store_failure() : STORE_FAILED;
            break;
        }
        if (i + 1 == limit) *next = next_cursor(q->sort, statement);
    }
    if (step == SQL_DONE && *next) { /* the page was the last */
        json_decref(*next);
        *next = NULL;
    }
    if (*result == STORE_OK && !list) *result = STORE_FAILED;
    if (*result == STORE_OK && step == SQL_FAILED) *result = store__failure(s, c, "list");
    return list;
}

static json_t *answer(struct store *s, struct connection *c, const struct list_query *q, const struct list_column *by,
                      const json_t *cursor, enum store_result *result)
{
    int limit = q->limit > 0 && q->limit <= 200 ? q->limit : q->limit > 200 ? 200 : 50;
    json_t *next = NULL, *list = NULL;
    int64_t total = count(s, c, q, result);
    struct statement *statement = *result == STORE_OK ? page(s, c, q, by, cursor, limit, result) : NULL;
    if (statement) list = rows(s, c, q, statement, limit, &next, result);
    if (statement) sql_reset(statement);
    if (*result == STORE_OK && list)
        return json_pack("{s:o, s:I, s:o}", q->key, list, "total", (json_int_t)total, "next_cursor",
                         next ? next : json_null());
    json_decref(list);
    json_decref(next);
    return NULL;
}

json_t *store__list(struct store *s, const struct list_query *q, enum store_result *result)
{
    const struct list_column *by = q->columns;
    json_t *cursor = NULL, *list = NULL;
    *result = STORE_CONFLICT;
    while (by->name && strcmp(by->name, q->sort + (q->sort[0] == '-')) != 0)
        by++;
    if (!by->name) return NULL;
    if (q->cursor && !(cursor = read_cursor(q->cursor, q->sort))) return NULL;
    struct connection *c = store__read(s);
    *result = c ? STORE_OK : store_failure();
    if (c) {
        list = answer(s, c, q, by, cursor, result);
        store__read_end(s, c);
    }
    json_decref(cursor);
    return list;
}
