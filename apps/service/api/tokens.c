#include "service/api/tokens.h"

#include "service/api/access.h"

#include <stdio.h>
#include <string.h>

static int new_token(const struct settings *settings, struct store *store)
{
    char secret[72], sha256[65], id[STORE_ID_SIZE];
    const char *wanted = settings->scope ? settings->scope : "submit";
    enum store_scope scope = store_scope_named(wanted);
    if (scope == SCOPE_NONE) {
        fprintf(stderr, "halftone serve: --scope: expected read, submit, admin or worker\n");
        return 2;
    }
    if (!access_new_secret(secret, sha256)) {
        fprintf(stderr, "halftone serve: the system has no random numbers\n");
        return 1;
    }
    enum store_result result = store_token_add(store, settings->new_token, scope, sha256, id);
    if (result != STORE_OK) {
        fprintf(stderr, "halftone serve: %s\n",
                result == STORE_CONFLICT ? "there is a token of this name" : store_result_text(result));
        return result == STORE_CONFLICT ? 2 : 1;
    }
    printf("%s\n", secret);
    fprintf(stderr,
            "This is the only time that the token is shown. Clients send it as `Authorization: Bearer %.6s…`.\n",
            secret);
    return 0;
}

static int remove_token(const char *name, struct store *store)
{
    json_t *tokens = store_tokens(store), *token;
    enum store_result result = STORE_NOT_FOUND;
    size_t i;
    json_array_foreach(tokens, i, token)
        if (strcmp(json_string_value(json_object_get(token, "name")), name) == 0)
            result = store_token_remove(store, json_string_value(json_object_get(token, "id")), false);
    json_decref(tokens);
    if (result == STORE_OK && store_token_count(store) == 0)
        fprintf(stderr, "This was the last token. From the next start on, everybody on this machine may do everything "
                        "through a loopback address; other addresses need a token.\n");
    if (result == STORE_OK) return 0;
    fprintf(stderr, "halftone serve: %s\n",
            result == STORE_NOT_FOUND ? "there is no token of this name" : store_result_text(result));
    return result == STORE_NOT_FOUND ? 2 : 1;
}

static int list_tokens(struct store *store)
{
    json_t *tokens = store_tokens(store), *t;
    size_t i;
    json_array_foreach(tokens, i, t)
        printf("%-24s %-8s %s\n", json_string_value(json_object_get(t, "name")),
               json_string_value(json_object_get(t, "scope")), json_string_value(json_object_get(t, "created_at")));
    int status = tokens ? 0 : 1;
    json_decref(tokens);
    return status;
}

int tokens_command(const struct settings *settings, struct store *store)
{
    if (settings->new_token) return new_token(settings, store);
    if (settings->remove_token) return remove_token(settings->remove_token, store);
    return list_tokens(store);
}
