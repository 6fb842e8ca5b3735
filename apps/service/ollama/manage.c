/* POST /api/copy, DELETE /api/delete: names. */
#include "service/ollama/ollama.h"
#include "service/runtime/own.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool ollama_name_allowed(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 120 || !isalnum((unsigned char)*name)) return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-:/", *c)) return false;
    return true;
}

json_t *ollama_own(const char *name, const json_t *entry)
{
    static const char *const kept[] = {"level",  "format",   "digest",  "architecture", "parameters",
                                       "system", "template", "options", "messages",     "license"};
    size_t len = strlen(name);
    bool latest = len > 7 && strcasecmp(name + len - 7, ":latest") == 0;
    json_t *own = json_pack("{s:s%, s:I}", "name", name, latest ? len - 7 : len, "modified", (json_int_t)time(NULL));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (json_object_get(entry, kept[i])) json_object_set(own, kept[i], json_object_get(entry, kept[i]));
    json_t *target = json_object();
    if (json_object_get(entry, "blob")) json_object_set(target, "blob", json_object_get(entry, "blob"));
    if (json_object_get(entry, "path")) json_object_set(target, "path", json_object_get(entry, "path"));
    if (json_object_get(entry, "variant")) json_object_set(target, "variant", json_object_get(entry, "variant"));
    json_object_set_new(own, "target", target);
    return own;
}

void api_ollama_copy(struct api_call *call)
{
    const char *source = json_string_value(json_object_get(call->body, "source")),
               *destination = json_string_value(json_object_get(call->body, "destination"));
    struct runtime_model model;
    json_t *entry;
    char why[300];
    if (!source || !destination || !ollama_name_allowed(destination)) {
        ollama_fault(call, "expected \"source\" and \"destination\", names of letters, digits and ._-:/");
        return;
    }
    if (!run_find(call, source, &model, &entry)) return;
    json_t *own = ollama_own(destination, entry);
    if (own_put(store_folder(call->server->store), own, why, sizeof why))
        api_empty(call, 200);
    else
        api_problem(call, "internal", "%s", why);
    json_decref(own);
    json_decref(entry);
}

void api_ollama_delete(struct api_call *call)
{
    struct runtime_model model;
    json_t *entry;
    const char *name = ollama_model(call);
    if (!name || !run_find(call, name, &model, &entry)) return;
    const char *variant = json_string_value(json_object_get(entry, "variant"));
    enum store_result result = STORE_OK;
    bool own = json_is_true(json_object_get(entry, "own"));
    if (own) {
        if (!own_remove(store_folder(call->server->store), json_string_value(json_object_get(entry, "name"))))
            result = STORE_NOT_FOUND;
    } else if (variant) {
        result = store_variant_delete(call->server->store, json_string_value(json_object_get(entry, "model")), variant);
    } else {
        ollama_fault(call, "model \"%.200s\" is a file of this machine, which the service does not delete", name);
        json_decref(entry);
        return;
    }
    json_decref(entry);
    bool other = own && access(model.path, F_OK) == 0; /* the file is there under another name, whose answers go on */
    if (!other) runtime_unload(call->server->runtime, model.path);
    if (result == STORE_OK)
        api_empty(call, 200);
    else
        api_store_problem(call, result, "model");
}
