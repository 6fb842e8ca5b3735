#include "service/api/job_request.h"

#include "service/runner/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct field fields[] = {{"name", FIELD_TEXT, 1, 200},
                                      {"description", FIELD_TEXT, 0, 4000},
                                      {"source_model", FIELD_TEXT, 1, 1024},
                                      {"source_models", FIELD_TEXTS, 1, 100},
                                      {"source_type", FIELD_TEXT, 1, 20},
                                      {"source_revision", FIELD_TEXT, 1, 200},
                                      {"output_formats", FIELD_TEXTS, 1, 16},
                                      {"gguf_quant_types", FIELD_TEXTS, 1, 64},
                                      {"outputs", FIELD_OBJECTS, 1, 64},
                                      {"gptq_bits", FIELD_INTEGER, 1, 64},
                                      {"awq_bits", FIELD_INTEGER, 1, 64},
                                      {"priority", FIELD_INTEGER, -100, 100},
                                      {"config", FIELD_OBJECT, 0, 0},
                                      {"options", FIELD_OBJECT, 0, 0},
                                      {NULL, FIELD_FLAG, 0, 0}};

/* A job's name, when nobody gives one: that of its source. */
static json_t *default_name(const json_t *request)
{
    const char *model = json_string_value(json_object_get(request, "source_model"));
    const char *path = json_string_value(json_object_get(request, "source_path"));
    const char *text = path ? path : model ? model : "job";
    const char *slash = strrchr(text, '/');
    if (slash && slash[1]) text = slash + 1;
    return json_string(text);
}

static void add_command(json_t *request)
{
    static const char *const extra[] = {"--output=out", NULL};
    char source[1400];
    char **arguments =
        command_arguments("quantize", request, job_request_source(request, source, sizeof source), extra);
    char *text = arguments ? command_text(arguments) : NULL;
    json_object_set_new(request, "command", json_string(text ? text : ""));
    free(text);
    command_free(&arguments);
}

/* One request of the body, for a source. */
static json_t *read_one(struct server *server, const json_t *body, const json_t *outputs, const char *model,
                        const char *pointer, struct faults *faults)
{
    json_t *r = json_object(), *value;
    source_read(server, model, json_string_value(json_object_get(body, "source_type")),
                json_string_value(json_object_get(body, "source_revision")), pointer, r, faults);
    value = json_object_get(body, "name");
    json_object_set_new(r, "name", value ? json_deep_copy(value) : default_name(r));
    value = json_object_get(body, "description");
    json_object_set_new(r, "description", value ? json_deep_copy(value) : json_string(""));
    value = json_object_get(body, "priority");
    json_object_set_new(r, "priority", value ? json_deep_copy(value) : json_integer(0));
    value = json_object_get(body, "config");
    json_object_set_new(r, "config", value ? json_deep_copy(value) : json_object());
    value = json_object_get(body, "options");
    json_object_set_new(r, "options", value ? json_deep_copy(value) : json_object());
    json_object_set_new(r, "requested", json_deep_copy(outputs));
    json_object_set_new(r, "output_formats", outputs_formats(body, outputs));
    json_object_set_new(r, "gguf_quant_types", outputs_gguf_types(outputs));
    json_object_set_new(r, "estimated_disk_gb", json_null());
    json_object_set_new(r, "estimated_time_minutes", json_null());
    if (!faults->list) add_command(r);
    return r;
}

static json_t *read_sources(struct server *server, const json_t *body, const json_t *outputs, bool *several,
                            struct faults *faults)
{
    const json_t *model = json_object_get(body, "source_model"), *models = json_object_get(body, "source_models");
    json_t *list = json_array();
    *several = models != NULL;
    if (!model == !models) {
        faults_add(faults, "/source_model",
                   model ? "give source_model or source_models, not both" : "a model is required");
        return list;
    }
    if (json_is_string(model))
        json_array_append_new(list, read_one(server, body, outputs, json_string_value(model), "/source_model", faults));
    const json_t *one;
    size_t i;
    json_array_foreach(models, i, one) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "/source_models/%zu", i);
        if (json_is_string(one))
            json_array_append_new(list, read_one(server, body, outputs, json_string_value(one), pointer, faults));
    }
    return list;
}

json_t *job_requests(struct api_call *call, bool *several)
{
    struct faults faults = {0};
    json_t *body = call->body;
    json_t *config = json_object_get(body, "config"), *options = json_object_get(body, "options");
    fields_check(body, fields, "", &faults);
    bool shapes = !faults.list; /* what follows trusts the kinds */
    bool known = true;
    if (json_is_object(config)) config_read(call->server, config, &faults);
    if (json_is_object(options)) options_read(call->server, options, &faults);
    json_t *requests = NULL, *outputs = NULL;
    if (shapes) {
        json_t *merged = faults.list ? NULL : command_options(body);
        bool importance = faults.list || json_object_get(merged, "imatrix") || json_object_get(merged, "calibration");
        outputs = merged ? budget_read(body, merged, &faults) : NULL;
        if (!outputs) outputs = outputs_read(body, importance, &faults, &known);
        requests = read_sources(call->server, body, outputs, several, &faults);
        json_decref(merged);
        json_decref(outputs);
    }
    if (!faults.list) return requests;
    json_decref(requests);
    api_problem_at(call, known ? "invalid" : "not-built", faults.list);
    return NULL;
}

json_t *job_request_of(struct server *server, const json_t *body, char *why, size_t size)
{
    struct faults faults = {0};
    bool known = true;
    json_t *outputs = outputs_read(body, false, &faults, &known);
    const char *model = json_string_value(json_object_get(body, "source_model"));
    json_t *request = read_one(server, body, outputs, model, "/source_model", &faults);
    json_decref(outputs);
    if (!faults.list) return request;
    const char *detail = json_string_value(json_object_get(json_array_get(faults.list, 0), "detail"));
    snprintf(why, size, "%s", detail ? detail : "the request is not valid");
    json_decref(faults.list);
    json_decref(request);
    return NULL;
}
