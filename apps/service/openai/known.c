#include "service/openai/known.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

json_t *known_members(struct api_call *call, const struct field *fields, const char *const *also)
{
    struct faults faults = {json_array()};
    json_t *known = json_object(), *rest = json_object();
    const char *name;
    json_t *value;
    json_object_foreach(call->body, name, value) {
        const struct field *f = fields;
        const char *const *a = also;
        while (f->name && strcmp(f->name, name) != 0)
            f++;
        while (*a && strcmp(*a, name) != 0)
            a++;
        if (json_is_null(value)) continue;
        if (f->name) json_object_set(known, name, value);
        if (*a) json_object_set(rest, name, value);
    }
    fields_check(known, fields, "", &faults);
    json_object_update(known, rest);
    json_decref(rest);
    if (json_array_size(faults.list) == 0) {
        json_decref(faults.list);
        return known;
    }
    json_decref(known);
    api_problem_at(call, "invalid", faults.list);
    return NULL;
}

bool known_fault(struct api_call *call, const char *pointer, const char *format, ...)
{
    struct faults faults = {json_array()};
    char detail[400];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    faults_add(&faults, pointer, "%s", detail);
    api_problem_at(call, "invalid", faults.list);
    return false;
}
