/* /session: the page's cookie; /tokens: who may come at all. */
#include "service/api/access.h"
#include "service/api/grants.h"
#include "service/api/json.h"
#include "service/api/streams.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A token's name by its id, or NULL; the caller's. */
static json_t *token_name(struct server *server, const char *id)
{
    json_t *tokens = *id ? store_tokens(server->store) : NULL, *token, *name = NULL;
    size_t i;
    json_array_foreach(tokens, i, token)
        if (strcmp(json_string_value(json_object_get(token, "id")), id) == 0)
            name = json_incref(json_object_get(token, "name"));
    json_decref(tokens);
    return name ? name : json_null();
}

static void answer_session(struct api_call *call, enum store_scope scope, const char *token_id)
{
    api_json(call, 200,
             json_pack("{s:b, s:b, s:s?, s:o}", "authenticated", scope != SCOPE_NONE, "token_required",
                       access_wants_token(call->server->access), "scope",
                       scope == SCOPE_NONE ? NULL : store_scope_names[scope], "name",
                       token_name(call->server, token_id)));
}

void api_session_get(struct api_call *call)
{
    answer_session(call, call->caller.scope, call->caller.token_id);
}

static void refuse_token(struct api_call *call, int wait)
{
    char seconds[16];
    if (!wait) {
        api_problem(call, "token-unknown", "the token is not known");
        return;
    }
    snprintf(seconds, sizeof seconds, "%d", wait);
    api_header(call, "Retry-After", seconds);
    api_problem(call, "too-many", "too many wrong tokens came from this address");
}

void api_session_open(struct api_call *call)
{
    static const struct field fields[] = {{"token", FIELD_TEXT, 1, 256}, {NULL, FIELD_FLAG, 0, 0}};
    struct access *access = call->server->access;
    const char *token = json_string_value(json_object_get(call->body, "token"));
    struct faults faults = {0};
    char id[STORE_ID_SIZE] = "", cookie[65], header[200];
    fields_check(call->body, fields, "", &faults);
    if (!token) faults_add(&faults, "/token", "a token is required");
    if (faults.list) {
        api_problem_at(call, "invalid", faults.list);
        return;
    }
    enum store_scope scope = access_token(access, token, id);
    if (scope == SCOPE_NONE && store_failure() != STORE_OK) {
        api_store_problem(call, store_failure(), "token");
        return;
    }
    if (scope == SCOPE_NONE) {
        refuse_token(call, access_wrong_token(access, call->peer));
        return;
    }
    if (!access_session_open(access, token, cookie)) {
        api_problem(call, "internal", "the system has no random numbers");
        return;
    }
    /* behind a proxy that speaks TLS, the cookie stays on TLS */
    const char *proto = ht__http_header(call->request, "X-Forwarded-Proto");
    snprintf(header, sizeof header, "halftone_session=%s; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200%s", cookie,
             proto && strcmp(proto, "https") == 0 ? "; Secure" : "");
    api_header(call, "Set-Cookie", header);
    OPENSSL_cleanse(cookie, sizeof cookie);
    answer_session(call, scope, id);
}

void api_session_close(struct api_call *call)
{
    const char *cookie = ht__http_cookie(call->request, "halftone_session");
    char session[65];
    if (cookie) {
        access_session_close(call->server->access, cookie, session);
        grants_end_of(call->server->grants, session);
        streams_end_of(call->server->streams, session);
    }
    api_header(call, "Set-Cookie", "halftone_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    api_empty(call, 204);
}

void api_tokens_list(struct api_call *call)
{
    json_t *tokens = store_tokens(call->server->store);
    if (tokens)
        api_json(call, 200, json_pack("{s:o}", "tokens", tokens));
    else
        api_store_problem(call, STORE_FAILED, "list");
}

void api_tokens_add(struct api_call *call)
{
    static const struct field fields[] = {
        {"name", FIELD_TEXT, 1, 100}, {"scope", FIELD_TEXT, 1, 16}, {NULL, FIELD_FLAG, 0, 0}};
    const char *name = json_string_value(json_object_get(call->body, "name"));
    const char *scope_name = json_string_value(json_object_get(call->body, "scope"));
    struct faults faults = {0};
    enum store_scope scope = store_scope_named(scope_name);
    char secret[72], sha256[65], id[STORE_ID_SIZE];
    fields_check(call->body, fields, "", &faults);
    if (!name) faults_add(&faults, "/name", "a name is required");
    if (scope == SCOPE_NONE) faults_add(&faults, "/scope", "expected read, submit, admin or worker");
    if (faults.list) {
        api_problem_at(call, "invalid", faults.list);
        return;
    }
    if (!access_new_secret(secret, sha256)) {
        api_problem(call, "internal", "the system has no random numbers");
        return;
    }
    enum store_result result = store_token_add(call->server->store, name, scope, sha256, id);
    if (result == STORE_CONFLICT)
        api_problem(call, "conflict", "there is a token of this name");
    else if (result != STORE_OK)
        api_store_problem(call, result, "token");
    if (result == STORE_OK) {
        access_tokens_changed(call->server->access);
        api_json(call, 201,
                 json_pack("{s:s, s:s, s:s, s:s}", "id", id, "name", name, "scope", scope_name, "token", secret));
    }
    OPENSSL_cleanse(secret, sizeof secret);
}

void api_tokens_remove(struct api_call *call)
{
    enum store_result result = store_token_remove(call->server->store, call->segments[0], true);
    access_tokens_changed(call->server->access);
    if (result == STORE_OK) {
        grants_end_of(call->server->grants, call->segments[0]);
        streams_end_of(call->server->streams, call->segments[0]);
        api_empty(call, 204);
    } else if (result == STORE_CONFLICT) {
        api_problem(call, "conflict",
                    "this is the last token: without it the service would be open to everybody who reaches it, or to "
                    "nobody. Make another one first, or stop the service and use `halftone serve --remove-token NAME`");
    } else {
        api_store_problem(call, result, "token");
    }
}
