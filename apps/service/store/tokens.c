/* Access tokens, of which only hashes are known here. */
#include "service/store/sql.h"

#include <stdio.h>
#include <string.h>

const char *const store_scope_names[] = {"none", "read", "submit", "admin", "worker", NULL};

enum store_scope store_scope_named(const char *name)
{
    for (int i = SCOPE_READ; name && store_scope_names[i]; i++)
        if (strcmp(store_scope_names[i], name) == 0) return (enum store_scope)i;
    return SCOPE_NONE;
}

bool store_scope_allows(enum store_scope has, enum store_scope wanted)
{
    if (has == SCOPE_WORKER || wanted == SCOPE_WORKER) return has == wanted || has == SCOPE_ADMIN;
    return has >= wanted;
}

enum store_result store_token_add(struct store *s, const char *name, enum store_scope scope, const char *sha256,
                                  char id[STORE_ID_SIZE])
{
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    store__new_id(s, id);
    result = store__run(s, &s->writer, NULL,
                        "INSERT INTO tokens(id, name, scope, sha256, created_at) VALUES(?1, ?2, ?3, ?4, ?5)", "ssisi",
                        id, name, (int64_t)scope, sha256, store__wall());
    return store__end(s, result);
}

enum store_result store_tokens_used(struct store *s, char (*ids)[STORE_ID_SIZE], size_t n)
{
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    for (size_t i = 0; i < n && result == STORE_OK; i++)
        result = store__run(s, &s->writer, NULL,
                            "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1 AND"
                            " (last_used_at IS NULL OR last_used_at NOT BETWEEN ?2 - 60000 AND ?2)",
                            "si", ids[i], store__wall());
    return store__end(s, result);
}

enum store_scope store_token_check(struct store *s, const char *sha256, char id[STORE_ID_SIZE])
{
    struct connection *c = store__read(s);
    struct statement *row;
    enum store_scope scope = SCOPE_NONE;
    id[0] = '\0';
    if (!c) return SCOPE_NONE;
    if (store__first(s, c, &row, "SELECT id, scope FROM tokens WHERE sha256 = ?1", "s", sha256) == STORE_OK) {
        snprintf(id, STORE_ID_SIZE, "%s", store__text(row, 0));
        scope = (enum store_scope)(int)sql_int64(row, 1);
        sql_reset(row);
    }
    store__read_end(s, c);
    return scope;
}

static const char *scope_name(int scope)
{
    return store_scope_names[scope >= SCOPE_READ && scope <= SCOPE_WORKER ? scope : SCOPE_NONE];
}

json_t *store_tokens(struct store *s)
{
    struct connection *c = store__read(s);
    struct statement *row;
    if (!c) return NULL;
    json_t *list = json_array();
    enum store_result result =
        store__first(s, c, &row, "SELECT id, name, scope, created_at, last_used_at FROM tokens ORDER BY id", "");
    for (; result == STORE_OK && list; result = store__next(s, c, row))
        json_array_append_new(list, json_pack("{s:o, s:o, s:s, s:o, s:o}", "id", store__json_text(row, 0), "name",
                                              store__json_text(row, 1), "scope", scope_name((int)sql_int64(row, 2)),
                                              "created_at", store__json_time(row, 3), "last_used_at",
                                              store__json_time(row, 4)));
    store__read_end(s, c);
    if (result == STORE_NOT_FOUND) return list;
    json_decref(list);
    return NULL;
}

static enum store_result is_the_last(struct store *s, const char *id, bool *last)
{
    struct statement *row;
    enum store_result result =
        store__first(s, &s->writer, &row, "SELECT count(*) = 0 FROM tokens WHERE id <> ?1", "s", id);
    if (result != STORE_OK) return result;
    *last = (int)sql_int64(row, 0);
    sql_reset(row);
    return STORE_OK;
}

enum store_result store_token_remove(struct store *s, const char *id, bool one_must_stay)
{
    int changed = 0;
    bool last = false;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, &changed, "DELETE FROM tokens WHERE id = ?1", "s", id);
    if (result == STORE_OK && !changed) result = STORE_NOT_FOUND;
    if (result == STORE_OK) result = is_the_last(s, id, &last);
    return store__end(s, result == STORE_OK && last && one_must_stay ? STORE_CONFLICT : result);
}

int store_token_count(struct store *s)
{
    struct connection *c = store__read(s);
    struct statement *row;
    int n = -1;
    if (!c) return -1;
    if (store__first(s, c, &row, "SELECT count(*) FROM tokens", "") == STORE_OK) {
        n = (int)sql_int64(row, 0);
        sql_reset(row);
    }
    store__read_end(s, c);
    return n;
}

bool store_token_known(struct store *s, const char *id)
{
    struct connection *c = store__read(s);
    struct statement *row;
    if (!c) return true;
    enum store_result result = store__first(s, c, &row, "SELECT 1 FROM tokens WHERE id = ?1", "s", id);
    if (result == STORE_OK) sql_reset(row);
    store__read_end(s, c);
    return result != STORE_NOT_FOUND;
}
