/* /models: the registry of what was made. */
#include "service/api/json.h"

#include "service/api/api.h"

#include <stdio.h>
#include <string.h>

/* Variants are found under their model: their job may be forgotten by now. */
static void set_urls(json_t *model)
{
    const char *id = json_string_value(json_object_get(model, "id"));
    json_t *variant, *file;
    size_t i, k;
    json_array_foreach(json_object_get(model, "variants"), i, variant) {
        const char *v = json_string_value(json_object_get(variant, "id"));
        if (!id || !v) continue;
        json_object_set_new(variant, "url", json_sprintf("/api/v1/models/%s/variants/%s", id, v));
        json_array_foreach(json_object_get(variant, "files"), k, file) {
            const char *url = json_string_value(json_object_get(file, "url")), *name = url ? strrchr(url, '/') : NULL;
            if (name) /* what is behind the last slash is escaped already */
                json_object_set_new(file, "url", json_sprintf("/api/v1/models/%s/variants/%s/files%s", id, v, name));
        }
    }
}

void api_models_list(struct api_call *call)
{
    struct ht__http_request *r = call->request;
    enum store_result result = STORE_FAILED;
    int64_t limit = 50, offset = 0;
    struct model_filter f = {.search = ht__http_query(r, "search"),
                             .tag = ht__http_query(r, "tag"),
                             .sort = ht__http_query(r, "sort"),
                             .cursor = ht__http_query(r, "cursor")};
    if (!api_query_known(call, "search tag sort limit offset cursor") ||
        !api_query_number(call, "limit", 1, 200, &limit) || !api_query_number(call, "offset", 0, 1000000000, &offset))
        return;
    f.limit = (int)limit;
    f.offset = (int)offset;
    json_t *page = store_models(call->server->store, &f, &result), *model;
    size_t i;
    json_array_foreach(json_object_get(page, "models"), i, model)
        set_urls(model);
    api_answer_page(call, ht__http_path(r), page, result);
}

void api_models_get(struct api_call *call)
{
    json_t *model = store_model(call->server->store, call->segments[0]);
    set_urls(model);
    if (model)
        api_json(call, 200, model);
    else
        api_problem(call, "not-found", "there is no such model");
}

void api_models_patch(struct api_call *call)
{
    static const struct field fields[] = {
        {"tags", FIELD_TEXTS, 0, 64}, {"name", FIELD_TEXT, 1, 200}, {NULL, FIELD_FLAG, 0, 0}};
    struct faults faults = {0};
    json_t *tags = json_object_get(call->body, "tags"), *name = json_object_get(call->body, "name"), *tag;
    size_t i;
    fields_check(call->body, fields, "", &faults);
    if (!tags && !name) faults_add(&faults, "", "expected tags or a name");
    json_array_foreach(tags, i, tag) {
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/tags/%zu", i);
        if (json_is_string(tag) && json_string_length(tag) > 64)
            faults_add(&faults, pointer, "at most 64 bytes are allowed");
    }
    if (faults.list) {
        api_problem_at(call, "invalid", faults.list);
        return;
    }
    enum store_result result = STORE_OK;
    if (tags) result = store_model_set_tags(call->server->store, call->segments[0], tags);
    if (result == STORE_OK && name)
        result = store_model_rename(call->server->store, call->segments[0], json_string_value(name));
    if (result == STORE_OK)
        api_models_get(call);
    else
        api_store_problem(call, result, "model");
}

void api_models_delete(struct api_call *call)
{
    enum store_result result = store_model_delete(call->server->store, call->segments[0]);
    if (result == STORE_OK)
        api_empty(call, 204);
    else
        api_store_problem(call, result, "model");
}

void api_variant_delete(struct api_call *call)
{
    enum store_result result = store_variant_delete(call->server->store, call->segments[0], call->segments[1]);
    if (result == STORE_OK)
        api_empty(call, 204);
    else
        api_store_problem(call, result, "variant");
}
