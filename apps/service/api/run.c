#include "service/api/run.h"

#include "service/levels/levels.h"

#include <string.h>

json_t *run_catalog(struct api_call *call)
{
    json_t *list = catalog_list(call->server->store, call->server->roots);
    if (!list) api_problem(call, "internal", "the list of models cannot be made");
    return list;
}

bool run_find(struct api_call *call, const char *name, struct runtime_model *model, json_t **entry)
{
    const char *why = NULL;
    json_t *list = run_catalog(call);
    if (entry) *entry = NULL;
    if (!list) return false;
    const json_t *found = levels_choose(call->server->levels, list, name, catalog_find(list, name));
    bool placed = found && catalog_place(call->server->store, call->server->roots, found, model, &why);
    if (placed && entry) *entry = json_deep_copy(found);
    json_decref(list);
    if (placed) return true;
    if (found)
        api_problem(call, "model-not-found", "model \"%.200s\": %s", name, why);
    else
        api_problem(call, "model-not-found", "model \"%.200s\" not found", name);
    return false;
}

static bool has_system(const json_t *messages)
{
    const char *role = json_string_value(json_object_get(json_array_get(messages, 0), "role"));
    return role && strcmp(role, "system") == 0;
}

void run_bring(const json_t *entry, json_t *request)
{
    const json_t *system = json_object_get(entry, "system"), *own_template = json_object_get(entry, "template"), *said;
    json_t *messages = json_object_get(json_object_get(request, "chat"), "messages");
    bool spoken = has_system(messages);
    size_t i, from = spoken;
    if (json_is_string(own_template)) json_object_set(request, "template", (json_t *)own_template);
    if (json_string_length(system) > 0 && !spoken) {
        json_array_insert_new(messages, 0, json_pack("{s:s, s:O}", "role", "system", "content", system));
        from = 1;
    }
    json_array_foreach(json_object_get(entry, "messages"), i, said)
        json_array_insert(messages, from + i, (json_t *)said);
}

const char *run_who(const struct api_call *call)
{
    return *call->caller.token_id ? call->caller.token_id : call->peer;
}

const char *run_problem(const char *code)
{
    static const char *const kinds[][2] = {{"HT_ERR_USAGE", "invalid"},
                                           {"HT_ERR_LIMIT", "context-full"},
                                           {"HT_ERR_UNSUPPORTED", "unsupported"},
                                           {"HT_ERR_NOT_FOUND", "model-not-found"},
                                           {RUNTIME_ENDED, "model-ended"},
                                           {RUNTIME_FULL, "busy"},
                                           {RUNTIME_ROOM, "no-room"},
                                           {RUNTIME_STOP, "stopping"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i][0], code) == 0) return kinds[i][1];
    return "internal";
}
