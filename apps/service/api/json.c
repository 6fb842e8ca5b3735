#include "service/api/json.h"

#include "service/api/api.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Depth is counted before parsing, for the parser recurses; quotes hide brackets, backslashes hide quotes. */
static int depth_of(const char *text, size_t len)
{
    int depth = 0, deepest = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (quoted)
            continue;
        else if ((c == '{' || c == '[') && ++depth > deepest)
            deepest = depth;
        else if (c == '}' || c == ']')
            depth--;
    }
    return deepest;
}

json_t *api_parse_object(const char *text, size_t len, char *why, size_t size)
{
    json_error_t error;
    if (len == 0) return snprintf(why, size, "the body is empty: expected a JSON object"), NULL;
    if (depth_of(text, len) > API_MAX_DEPTH)
        return snprintf(why, size, "the body is nested deeper than %d levels", API_MAX_DEPTH), NULL;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value) return snprintf(why, size, "line %d, column %d: %.120s", error.line, error.column, error.text), NULL;
    if (json_is_object(value)) return value;
    json_decref(value);
    return snprintf(why, size, "the body is not a JSON object"), NULL;
}

/* A text of ours that holds one of a client's, perhaps cut within a character. */
static json_t *shown(char *text)
{
    json_t *value = json_string(text);
    for (char *c = text; !value && *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    return value ? value : json_string(text);
}

void faults_add(struct faults *faults, const char *pointer, const char *format, ...)
{
    char detail[600];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    char at[256];
    snprintf(at, sizeof at, "%s", pointer);
    if (!faults->list) faults->list = json_array();
    if (json_array_size(faults->list) < 50)
        json_array_append_new(faults->list, json_pack("{s:o, s:o}", "pointer", shown(at), "detail", shown(detail)));
}

void faults_pointer(char *pointer, size_t size, const char *parent, const char *name)
{
    size_t n = (size_t)snprintf(pointer, size, "%s/", parent);
    for (const char *p = name; *p && n + 3 < size; p++) {
        if (*p == '~' || *p == '/')
            pointer[n++] = '~', pointer[n++] = *p == '~' ? '0' : '1';
        else
            pointer[n++] = *p;
    }
    if (n < size) pointer[n] = '\0';
}

static const char *kind_name(const struct field *f)
{
    static const char *const names[] = {"a text",          "an integer",        "a number", "true or false",
                                        "a list of texts", "a list of objects", "an object"};
    return names[f->kind];
}

static bool is_kind(const json_t *value, enum field_kind kind)
{
    switch (kind) {
    case FIELD_TEXT: return json_is_string(value);
    case FIELD_INTEGER: return json_is_integer(value);
    case FIELD_NUMBER: return json_is_number(value);
    case FIELD_FLAG: return json_is_boolean(value);
    case FIELD_TEXTS:
    case FIELD_OBJECTS: return json_is_array(value);
    default: return json_is_object(value);
    }
}

static void check_texts(const json_t *list, const char *pointer, struct faults *faults)
{
    const json_t *item, *other;
    size_t i, k;
    json_array_foreach(list, i, item) {
        char at[300];
        snprintf(at, sizeof at, "%s/%zu", pointer, i);
        if (!json_is_string(item))
            faults_add(faults, at, "expected a text");
        else if (json_string_length(item) == 0 || json_string_length(item) > 1024)
            faults_add(faults, at, "expected a text of 1 to 1024 bytes");
        else
            json_array_foreach(list, k, other)
                if (k < i && json_equal(item, other)) faults_add(faults, at, "it is there twice");
    }
}

static void check_objects(const json_t *list, const char *pointer, struct faults *faults)
{
    const json_t *item;
    size_t i;
    json_array_foreach(list, i, item) {
        char at[300];
        snprintf(at, sizeof at, "%s/%zu", pointer, i);
        if (!json_is_object(item)) faults_add(faults, at, "expected an object");
    }
}

static void check(const json_t *value, const struct field *f, const char *pointer, struct faults *faults)
{
    if (!is_kind(value, f->kind)) {
        faults_add(faults, pointer, "expected %s", kind_name(f));
        return;
    }
    double n = json_is_number(value)   ? json_number_value(value)
               : json_is_string(value) ? (double)json_string_length(value)
                                       : (double)json_array_size(value);
    bool measured = f->kind != FIELD_FLAG && f->kind != FIELD_OBJECT;
    if (measured && !(n >= f->least && n <= f->most)) {
        const char *what = f->kind == FIELD_TEXT ? " bytes" : json_is_array(value) ? " entries" : "";
        faults_add(faults, pointer, "from %.15g to %.15g%s are allowed", f->least, f->most, what);
        return;
    }
    if (f->kind == FIELD_TEXTS) check_texts(value, pointer, faults);
    if (f->kind == FIELD_OBJECTS) check_objects(value, pointer, faults);
}

void fields_check(const json_t *object, const struct field *fields, const char *parent, struct faults *faults)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        char pointer[256];
        const struct field *f = fields;
        while (f->name && strcmp(f->name, name) != 0)
            f++;
        faults_pointer(pointer, sizeof pointer, parent, name);
        if (f->name)
            check(value, f, pointer, faults);
        else
            faults_add(faults, pointer, "there is no field \"%.60s\"", name);
    }
}
