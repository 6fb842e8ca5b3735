#include "service/api/run.h"

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
    const json_t *found = catalog_find(list, name);
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
