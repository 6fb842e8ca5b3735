/* What there is: tags, show, ps, version. */
#include "service/api/estimates.h"
#include "service/ollama/ollama.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INSPECT_SECONDS = 60 };

void api_ollama_version(struct api_call *call)
{
    api_json(call, 200, json_pack("{s:s}", "version", HT_VERSION));
}

/* ---- tags --------------------------------------------------------------------------------------- */

static json_t *tag(const json_t *entry)
{
    char time[OLLAMA_TIME], digest[65];
    ollama_time((double)json_integer_value(json_object_get(entry, "modified")), time);
    ollama_digest(entry, digest);
    json_t *name = ollama_name(entry);
    return json_pack("{s:O, s:o, s:s, s:I, s:s, s:o}", "name", name, "model", name, "modified_at", time, "size",
                     json_integer_value(json_object_get(entry, "size")), "digest", digest, "details",
                     ollama_details(entry));
}

void api_ollama_tags(struct api_call *call)
{
    json_t *list = run_catalog(call), *tags = json_array();
    const json_t *entry;
    size_t i;
    if (!list) return json_decref(tags);
    json_array_foreach(list, i, entry)
        json_array_append_new(tags, tag(entry));
    json_decref(list);
    api_json(call, 200, json_pack("{s:o}", "models", tags));
}

/* ---- ps ----------------------------------------------------------------------------------------- */

static json_t *running(const json_t *entry, const json_t *instance)
{
    const json_t *keep = json_object_get(instance, "keep_seconds"), *ready = json_object_get(instance, "ready");
    char until[OLLAMA_TIME], digest[65];
    double left = json_is_null(keep) ? 1e10 : json_number_value(keep); /* for ever: some centuries */
    ollama_time((double)time(NULL) + left, until);
    ollama_digest(entry, digest);
    json_t *name = ollama_name(entry);
    return json_pack("{s:O, s:o, s:I, s:s, s:o, s:s, s:i, s:I}", "name", name, "model", name, "size",
                     json_integer_value(json_object_get(instance, "memory")), "digest", digest, "details",
                     ollama_details(entry), "expires_at", until, "size_vram", 0, "context_length",
                     json_integer_value(json_object_get(ready, "n_ctx")));
}

void api_ollama_ps(struct api_call *call)
{
    json_t *instances = runtime_list(call->server->runtime), *list = run_catalog(call), *out = json_array();
    const json_t *instance;
    size_t i;
    if (!list) return json_decref(out), json_decref(instances);
    json_array_foreach(instances, i, instance) {
        const char *name = json_string_value(json_object_get(instance, "name"));
        const json_t *entry = catalog_find(list, name);
        json_t *other = entry ? NULL : json_pack("{s:s}", "name", name);
        json_array_append_new(out, running(entry ? entry : other, instance));
        json_decref(other);
    }
    json_decref(list);
    json_decref(instances);
    api_json(call, 200, json_pack("{s:o}", "models", out));
}

/* ---- show --------------------------------------------------------------------------------------- */

struct showing {
    struct runtime_model model;
    json_t *entry;
    bool verbose;
};

static void free_showing(void *state)
{
    struct showing *s = state;
    json_decref(s->entry);
    free(s);
}

/* Metadata of a GGUF file without its name and template, arrays emptied but for `verbose`; of a folder what its model says. */
static json_t *model_info(const json_t *report, bool verbose, const char **template_text)
{
    const json_t *metadata = json_object_get(report, "metadata"), *model = json_object_get(report, "model");
    json_t *info = json_object(), *value;
    const char *name, *arch = json_string_value(json_object_get(model, "architecture"));
    *template_text = json_string_value(json_object_get(metadata, "tokenizer.chat_template"));
    json_object_foreach((json_t *)metadata, name, value) {
        if (strcmp(name, "general.name") == 0 || strcmp(name, "tokenizer.chat_template") == 0) continue;
        const json_t *first = json_object_get(value, "first");
        json_object_set_new(info, name,
                            !json_is_object(value) ? json_incref(value)
                            : verbose && first     ? json_incref((json_t *)first)
                                                   : json_array());
    }
    if (!metadata && arch) {
        char key[200];
        json_object_set(info, "general.architecture", json_object_get(model, "architecture"));
        snprintf(key, sizeof key, "%s.context_length", arch);
        json_object_set(info, key, json_object_get(model, "context"));
        snprintf(key, sizeof key, "%s.embedding_length", arch);
        json_object_set(info, key, json_object_get(model, "embedding"));
        snprintf(key, sizeof key, "%s.block_count", arch);
        json_object_set(info, key, json_object_get(model, "layers"));
    }
    json_object_set(info, "general.parameter_count", json_object_get(report, "parameters"));
    return info;
}

static json_t *capabilities(const char *template_text, const json_t *info)
{
    json_t *list = json_array(), *value;
    const char *name;
    bool embeds = false;
    json_object_foreach((json_t *)info, name, value) {
        size_t n = strlen(name);
        embeds |= n > 13 && strcmp(name + n - 13, ".pooling_type") == 0;
    }
    json_array_append_new(list, json_string(embeds ? "embedding" : "completion"));
    if (template_text && strstr(template_text, "tools")) json_array_append_new(list, json_string("tools"));
    return list;
}

/* "stop                           \"<|im_end|>\"", a line for each value. */
static json_t *parameters_text(const json_t *parameters)
{
    char line[400], *all = strdup(""), *grown;
    const char *name;
    json_t *value, *one;
    size_t i;
    json_object_foreach((json_t *)parameters, name, value) {
        json_t *list = json_is_array(value) ? json_incref(value) : json_pack("[O]", value);
        json_array_foreach(list, i, one) {
            char *text = json_dumps(one, JSON_ENCODE_ANY);
            snprintf(line, sizeof line, "%-30s %s\n", name, text ? text : "");
            free(text);
            if (all && asprintf(&grown, "%s%s", all, line) >= 0) free(all), all = grown;
        }
        json_decref(list);
    }
    json_t *out = json_string(all ? all : "");
    free(all);
    return out;
}

static json_t *modelfile(const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *system = json_string_value(json_object_get(entry, "system"));
    return json_sprintf("# Made by halftone\nFROM %s\n%s%s%s", name, system ? "SYSTEM \"\"\"" : "",
                        system ? system : "", system ? "\"\"\"\n" : "");
}

static void answer_show(struct api_call *call, struct showing *s, const json_t *report)
{
    const char *template_text, *own = json_string_value(json_object_get(s->entry, "template"));
    json_t *info = model_info(report, s->verbose, &template_text);
    const json_t *model = json_object_get(report, "model"), *system = json_object_get(s->entry, "system");
    char time[OLLAMA_TIME];
    if (own) template_text = own;
    json_object_set(s->entry, "architecture", json_object_get(model, "architecture"));
    json_object_set(s->entry, "parameters_count", json_object_get(report, "parameters"));
    json_t *entry = json_copy(s->entry);
    json_object_set(entry, "parameters", json_object_get(report, "parameters"));
    ollama_time((double)json_integer_value(json_object_get(s->entry, "modified")), time);
    json_t *out = json_pack("{s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:s}", "license", "", "modelfile",
                            modelfile(s->entry), "parameters", parameters_text(json_object_get(s->entry, "options")),
                            "template", template_text ? template_text : "{{ .Prompt }}", "system",
                            json_is_string(system) ? json_string_value(system) : "", "details", ollama_details(entry),
                            "capabilities", capabilities(template_text, info), "model_info", info, "modified_at", time);
    if (s->verbose) {
        json_t *tensors = json_array();
        const json_t *t;
        size_t i;
        json_array_foreach(json_object_get(report, "tensors"), i, t)
            json_array_append_new(tensors, json_pack("{s:O?, s:O?, s:O?}", "name", json_object_get(t, "name"), "type",
                                                     json_object_get(t, "type"), "shape", json_object_get(t, "shape")));
        json_object_set_new(out, "tensors", tensors);
    }
    json_decref(entry);
    api_json(call, 200, out);
}

static void run_show(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct showing *s = call->state;
    char folder[4096];
    const char *arguments[] = {"inspect",
                               "--json",
                               s->verbose ? "--tensors" : "--",
                               s->verbose ? "--" : s->model.path,
                               s->verbose ? s->model.path : NULL,
                               NULL};
    struct confined confined;
    struct child_exit exit;
    struct child_settings settings = {.arguments = arguments,
                                      .timeout_seconds = INSPECT_SECONDS,
                                      .memory_limit = confine_headers_memory(0),
                                      .unwanted = api_client_left,
                                      .unwanted_ctx = call->request};
    const struct confine_roots *held = roots_held(call->server->roots);
    settings.readable_fds = held->fds;
    settings.n_readable_fds = held->n;
    snprintf(folder, sizeof folder, "%s", s->model.path);
    if (strcmp(json_string_value(json_object_get(s->entry, "format")), "gguf") == 0) *strrchr(folder, '/') = '\0';
    confine_child_to(&settings, &confined, folder);
    json_t *report = child_json(&settings, stop, &exit);
    if (report)
        answer_show(call, s, report);
    else
        api_problem(call, "failed", "the model cannot be read: %s", *exit.error_text ? exit.error_text : exit.reason);
    json_decref(report);
}

void api_ollama_show(struct api_call *call)
{
    const char *name = ollama_model(call);
    struct showing *s = name ? calloc(1, sizeof *s) : NULL;
    if (!name) return;
    if (!s) {
        api_problem(call, "internal", "not enough memory");
        return;
    }
    s->verbose = json_is_true(json_object_get(call->body, "verbose"));
    if (run_find(call, name, &s->model, &s->entry))
        api_later(call, run_show, s, free_showing);
    else
        free_showing(s);
}
