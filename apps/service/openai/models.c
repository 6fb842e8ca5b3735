/* GET /v1/models. */
#include "service/api/run.h"

#include <string.h>

/* What OpenAI's cards do not say is under "meta", as llama.cpp's server does it. */
static json_t *meta(const json_t *entry)
{
    const char *level = json_string_value(json_object_get(entry, "level"));
    const char *format = json_string_value(json_object_get(entry, "format"));
    const char *variant = json_string_value(json_object_get(entry, "variant"));
    return json_pack("{s:I, s:s, s:s, s:s?}", "size", json_integer_value(json_object_get(entry, "size")), "level",
                     level ? level : "", "format", format ? format : "", "variant", variant);
}

static json_t *card(const json_t *entry)
{
    const json_t *modified = json_object_get(entry, "modified");
    return json_pack("{s:O, s:s, s:I, s:s, s:o}", "id", json_object_get(entry, "name"), "object", "model", "created",
                     json_integer_value(modified), "owned_by", "halftone", "meta", meta(entry));
}

void api_openai_models(struct api_call *call)
{
    json_t *list = run_catalog(call), *cards = json_array();
    const json_t *entry;
    size_t i;
    if (!list) return json_decref(cards);
    json_array_foreach(list, i, entry)
        json_array_append_new(cards, card(entry));
    json_decref(list);
    api_json(call, 200, json_pack("{s:s, s:o}", "object", "list", "data", cards));
}

void api_openai_model(struct api_call *call)
{
    struct runtime_model model;
    json_t *entry;
    if (run_find(call, call->segments[0], &model, &entry)) api_json(call, 200, card(entry));
    json_decref(entry);
}
