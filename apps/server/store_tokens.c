/* Access tokens, of which only hashes are known here. */
#include "server/store_sql.h"

#include <stdio.h>

enum { USE_NOTED_EVERY_MS = 60000 };

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

static void note_use(struct store *s, const char *id)
{
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return; /* not worth failing a request */
    result =
        store__run(s, &s->writer, NULL, "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1", "si", id, store__wall());
    store__end(s, result);
}

enum store_scope store_token_check(struct store *s, const char *sha256, char id[STORE_ID_SIZE])
{
    struct connection *c = store__read(s);
    sqlite3_stmt *row;
    enum store_scope scope = SCOPE_NONE;
    bool stale = false;
    id[0] = '\0';
    if (!c) return SCOPE_NONE;
    if (store__first(s, c, &row, "SELECT id, scope, last_used_at FROM tokens WHERE sha256 = ?1", "s", sha256) ==
        STORE_OK) {
        snprintf(id, STORE_ID_SIZE, "%s", store__text(row, 0));
        scope = (enum store_scope)sqlite3_column_int(row, 1);
        stale = store__wall() - sqlite3_column_int64(row, 2) > USE_NOTED_EVERY_MS;
        sqlite3_reset(row);
    }
    store__read_end(s, c);
    if (stale) note_use(s, id);
    return scope;
}

json_t *store_tokens(struct store *s)
{
    static const char *const scopes[] = {"none", "read", "submit", "admin"};
    struct connection *c = store__read(s);
    sqlite3_stmt *row;
    if (!c) return NULL;
    json_t *list = json_array();
    enum store_result result =
        store__first(s, c, &row, "SELECT id, name, scope, created_at, last_used_at FROM tokens ORDER BY id", "");
    for (; result == STORE_OK && list; result = store__next(s, c, row))
        json_array_append_new(list, json_pack("{s:o, s:o, s:s, s:o, s:o}", "id", store__json_text(row, 0), "name",
                                              store__json_text(row, 1), "scope",
                                              scopes[sqlite3_column_int(row, 2) & 3], "created_at",
                                              store__json_time(row, 3), "last_used_at", store__json_time(row, 4)));
    store__read_end(s, c);
    if (result == STORE_NOT_FOUND) return list;
    json_decref(list);
    return NULL;
}

enum store_result store_token_remove(struct store *s, const char *id)
{
    int changed = 0;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, &changed, "DELETE FROM tokens WHERE id = ?1", "s", id);
    return store__end(s, result == STORE_OK && !changed ? STORE_NOT_FOUND : result);
}

int store_token_count(struct store *s)
{
    struct connection *c = store__read(s);
    sqlite3_stmt *row;
    int n = -1;
    if (!c) return -1;
    if (store__first(s, c, &row, "SELECT count(*) FROM tokens", "") == STORE_OK) {
        n = sqlite3_column_int(row, 0);
        sqlite3_reset(row);
    }
    store__read_end(s, c);
    return n;
}
