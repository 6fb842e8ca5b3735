/*
 * What a job is to make: `outputs`, or the names that clients of other servers use (output_formats, gguf_quant_types,
 * gptq_bits, awq_bits). Either becomes [{format, type, options, quant_type}].
 */
#include "service/api/job_request.h"
#include "service/api/types.h"

#include <halftone/halftone.h>

#include <stdio.h>
#include <string.h>

enum { MOST_OUTPUTS = 64 };

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A type that goes into the list, unless it is there; where says which part of the body it is. */
struct reader {
    json_t *list;
    bool importance;
    struct faults *faults;
};

/* What the library says to the whole of it: options that are each right may not go together. */
static bool suits(const char *text, const char *pointer, struct faults *faults)
{
    struct ht_matrix m = {.size = sizeof m, .n_out = 4096, .n_in = 4096, .dtype = "bf16"};
    struct ht_diag diag = {0};
    size_t n = 0;
    const char *slash = strchr(text, '/'); /* behind the format, where it is named */
    enum ht_err err = ht_matrix_parts(slash ? slash + 1 : text, &m, NULL, &n, &diag);
    if (err != HT_OK) faults_add(faults, pointer, "%s", diag.message);
    return err == HT_OK;
}

static void add(struct reader *r, const struct type *type, const json_t *given, const char *text, const char *pointer)
{
    char options_at[160], quant_type[256];
    const json_t *other;
    size_t i;
    snprintf(options_at, sizeof options_at, "%s%s", pointer, given ? "/options" : "");
    json_t *options = type_options(type, given, text, options_at, r->faults);
    if (!options) return;
    type_text(type, options, quant_type, sizeof quant_type);
    json_array_foreach(r->list, i, other)
        if (strcmp(text_of(other, "quant_type"), quant_type) == 0) {
            faults_add(r->faults, pointer, "%s is there twice", quant_type);
            json_decref(options);
            return;
        }
    if (type->needs_importance && !r->importance)
        faults_add(r->faults, pointer, "%s needs importance: set config.use_imatrix", type->name);
    if (type->scheme && !suits(quant_type, pointer, r->faults)) {
        json_decref(options);
        return;
    }
    json_array_append_new(r->list, json_pack("{s:s, s:s, s:o, s:s}", "format", type->format.name, "type", type->name,
                                             "options", options, "quant_type", quant_type));
}

/* "safetensors/F16": the format, and *text is what follows; false: none is named so. */
static bool take_format(const char **text, struct format *format)
{
    char name[40];
    size_t n = strcspn(*text, "/:");
    if ((*text)[n] != '/' || n >= sizeof name) return false;
    snprintf(name, sizeof name, "%.*s", (int)n, *text);
    if (!format_named(name, format)) return false;
    *text += n + 1;
    return true;
}

/* "gptq:bits=3", of the format (NULL: any). */
static void read_type(struct reader *r, const char *text, const struct format *format, const json_t *options,
                      const char *pointer)
{
    char name[80], near[80];
    struct type type;
    struct format named;
    if (!format && take_format(&text, &named)) format = &named;
    size_t n = strcspn(text, ":");
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    if (type_named(name, format, &type)) {
        add(r, &type, options, text[n] ? text + n + 1 : NULL, pointer);
    } else if (type_named(name, NULL, &type)) {
        faults_add(r->faults, pointer, "%s is a type of the format %s, not of %s", type.name, type.format.name,
                   format->name);
    } else {
        type_nearest(name, format, near, sizeof near);
        faults_add(r->faults, pointer, "there is no type \"%s\"%s; see /api/v1/quantize/formats/%s/types", name, near,
                   format ? format->name : "{format}");
    }
}

/* -- outputs -- */

static void read_output(struct reader *r, const json_t *output, size_t i)
{
    static const struct field fields[] = {{"format", FIELD_TEXT, 1, 40},
                                          {"type", FIELD_TEXT, 1, 200},
                                          {"options", FIELD_OBJECT, 0, 0},
                                          {NULL, FIELD_FLAG, 0, 0}};
    char pointer[64], at[80], near[80];
    const char *name = text_of(output, "format"), *type = text_of(output, "type");
    struct faults own = {0};
    const json_t *fault;
    size_t k;
    snprintf(pointer, sizeof pointer, "/outputs/%zu", i);
    fields_check(output, fields, pointer, &own);
    snprintf(at, sizeof at, "%s/type", pointer);
    if (!json_object_get(output, "type")) faults_add(&own, at, "a type is required");
    struct format format;
    bool known = name && format_named(name, &format);
    if (name && !known) {
        format_nearest(name, near, sizeof near);
        snprintf(at, sizeof at, "%s/format", pointer);
        faults_add(&own, at, "there is no format \"%.40s\"%s; see /api/v1/quantize/formats", name, near);
    }
    if (!own.list) read_type(r, type, known ? &format : NULL, json_object_get(output, "options"), pointer);
    json_array_foreach(own.list, k, fault)
        faults_add(r->faults, text_of(fault, "pointer"), "%s", text_of(fault, "detail"));
    json_decref(own.list);
}

/* -- The names of other servers. -- */

/* What output_formats, which names a type too ("gptq"), and the fields beside it say of the type's options. */
static json_t *alias_options(const json_t *body, const struct type *type)
{
    static const char *const bits[][2] = {{"gptq", "gptq_bits"}, {"awq", "awq_bits"}};
    json_t *options = json_object(), *group = json_object_get(json_object_get(body, "config"), "group_size");
    for (int i = 0; i < 2; i++) {
        json_t *value = json_object_get(body, bits[i][1]);
        if (strcmp(type->name, bits[i][0]) == 0 && value) json_object_set(options, "bits", value);
    }
    if (group && type_has_option(type->name, "group")) json_object_set(options, "group", group);
    return options;
}

static void read_gguf_types(struct reader *r, const json_t *body)
{
    struct format gguf;
    const json_t *types = json_object_get(body, "gguf_quant_types"), *type;
    size_t i;
    if (!format_named("gguf", &gguf)) return;
    if (!types) read_type(r, "Q4_K_M", &gguf, NULL, "/gguf_quant_types");
    json_array_foreach(types, i, type) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "/gguf_quant_types/%zu", i);
        if (json_is_string(type)) read_type(r, json_string_value(type), &gguf, NULL, pointer);
    }
}

/* false: there is no such format. */
static bool read_format(struct reader *r, const json_t *body, const char *name, const char *pointer)
{
    char near[80];
    struct type type;
    struct format format;
    bool known = format_named(name, &format);
    if (known && strcmp(format.name, "gguf") == 0) {
        read_gguf_types(r, body);
    } else if (known) {
        faults_add(r->faults, pointer, "the format %s has several types: name them in `outputs`", format.name);
    } else if (type_named(name, NULL, &type) && type.format.folder) {
        json_t *options = alias_options(body, &type);
        add(r, &type, options, NULL, pointer);
        json_decref(options);
    } else {
        format_nearest(name, near, sizeof near);
        faults_add(r->faults, pointer, "the format \"%.60s\" is not available%s; see /api/v1/quantize/formats", name,
                   near);
        return false;
    }
    return true;
}

static bool names_format(const json_t *formats, const char *name)
{
    const json_t *format;
    size_t i;
    if (!formats) return strcmp(name, "gguf") == 0;
    json_array_foreach(formats, i, format)
        if (json_is_string(format) && strcasecmp(json_string_value(format), name) == 0) return true;
    return false;
}

/* A field that says something of a format that is not asked for. */
static void check_unused(struct reader *r, const json_t *body)
{
    static const char *const of[][2] = {{"gguf_quant_types", "gguf"}, {"gptq_bits", "gptq"}, {"awq_bits", "awq"}};
    const json_t *formats = json_object_get(body, "output_formats");
    for (int i = 0; i < 3; i++) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "/%s", of[i][0]);
        if (json_object_get(body, of[i][0]) && !names_format(formats, of[i][1]))
            faults_add(r->faults, pointer, "%s is not among output_formats: add it, or leave this out", of[i][1]);
    }
}

static bool read_aliases(struct reader *r, const json_t *body)
{
    const json_t *formats = json_object_get(body, "output_formats"), *format;
    bool known = true;
    size_t i;
    check_unused(r, body);
    if (!formats) read_gguf_types(r, body);
    json_array_foreach(formats, i, format) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "/output_formats/%zu", i);
        if (json_is_string(format)) known = read_format(r, body, json_string_value(format), pointer) && known;
    }
    return known;
}

json_t *outputs_read(const json_t *body, bool importance, struct faults *faults, bool *known)
{
    static const char *const aliases[] = {"output_formats", "gguf_quant_types", "gptq_bits", "awq_bits"};
    const json_t *outputs = json_object_get(body, "outputs"), *output;
    struct reader r = {json_array(), importance, faults};
    size_t i;
    *known = true;
    if (!outputs) {
        *known = read_aliases(&r, body);
    } else {
        for (i = 0; i < sizeof aliases / sizeof *aliases; i++) {
            char pointer[64];
            snprintf(pointer, sizeof pointer, "/%s", aliases[i]);
            if (json_object_get(body, aliases[i]))
                faults_add(faults, pointer, "not together with outputs, which says the same");
        }
        json_array_foreach(outputs, i, output)
            if (json_is_object(output)) read_output(&r, output, i);
    }
    if (json_array_size(r.list) > MOST_OUTPUTS)
        faults_add(faults, "/outputs", "at most %d outputs are allowed", MOST_OUTPUTS);
    return r.list;
}

json_t *outputs_formats(const json_t *body, const json_t *outputs)
{
    json_t *given = json_object_get(body, "output_formats"), *list = json_array();
    const json_t *output;
    size_t i, k;
    if (given) {
        json_decref(list);
        return json_deep_copy(given);
    }
    json_array_foreach(outputs, i, output) {
        json_t *format = json_object_get(output, "format"), *other;
        bool there = false;
        json_array_foreach(list, k, other)
            there |= json_equal(other, format);
        if (!there) json_array_append(list, format);
    }
    return list;
}

json_t *outputs_gguf_types(const json_t *outputs)
{
    json_t *list = json_array();
    const json_t *output;
    size_t i;
    json_array_foreach(outputs, i, output)
        if (strcmp(text_of(output, "format"), "gguf") == 0) json_array_append(list, json_object_get(output, "type"));
    return list;
}
