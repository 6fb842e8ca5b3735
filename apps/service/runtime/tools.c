#include "service/runtime/tools.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const markers[] = {"<tool_call>", "[TOOL_CALLS]", "<|python_tag|>"};
enum { N_MARKERS = sizeof markers / sizeof *markers };

/* Where the first marker begins, or what may become one; or the length. */
static size_t marker_at(const struct tools_text *t, bool *whole)
{
    *whole = false;
    for (size_t at = t->given; at < t->len; at++)
        for (int k = 0; k < N_MARKERS; k++) {
            size_t len = strlen(markers[k]), left = t->len - at, n = left < len ? left : len;
            if (memcmp(t->text + at, markers[k], n) != 0) continue;
            *whole = n == len;
            return at;
        }
    return t->len;
}

/* An answer that is one object from its first character on may be a call. */
static bool begins_as_object(const struct tools_text *t)
{
    size_t i = 0;
    while (i < t->len && isspace((unsigned char)t->text[i]))
        i++;
    return i == t->len || t->text[i] == '{';
}

bool tools_put(struct tools_text *t, const char *piece, size_t len, const char **from, size_t *n)
{
    if (t->len + len + 1 > t->room) {
        size_t room = 2 * (t->len + len + 1);
        char *text = realloc(t->text, room);
        if (!text) return false;
        t->text = text;
        t->room = room;
    }
    memcpy(t->text + t->len, piece, len);
    t->len += len;
    t->text[t->len] = '\0';
    *from = t->text + t->given;
    *n = 0;
    if (t->call || (t->given == 0 && begins_as_object(t))) return true;
    size_t end = marker_at(t, &t->call);
    *n = end - t->given;
    t->given = end;
    return true;
}

/* {"name", "arguments" or "parameters"}; false: it is none. */
static bool add_call(json_t *list, const json_t *value)
{
    const json_t *name = json_object_get(value, "name"), *arguments = json_object_get(value, "arguments");
    if (!arguments) arguments = json_object_get(value, "parameters");
    json_t *parsed = json_is_string(arguments) ? json_loads(json_string_value(arguments), 0, NULL)
                                               : json_incref((json_t *)arguments);
    bool ok = json_is_string(name) && json_is_object(parsed);
    if (ok) json_array_append_new(list, json_pack("{s:O, s:O}", "name", name, "arguments", parsed));
    json_decref(parsed);
    return ok;
}

static bool add_calls(json_t *list, const json_t *value)
{
    const json_t *one;
    size_t i;
    if (!json_is_array(value)) return add_call(list, value);
    json_array_foreach(value, i, one)
        if (!add_call(list, one)) return false;
    return i > 0;
}

static const char *skip_marker(const char *at)
{
    for (int k = 0; k < N_MARKERS; k++)
        if (strncmp(at, markers[k], strlen(markers[k])) == 0) return at + strlen(markers[k]);
    return at;
}

/* All that follows must be calls, with what stands between them. */
static bool read_calls(json_t *list, const char *at)
{
    static const char closing[] = "</tool_call>";
    for (;;) {
        json_error_t error;
        while (isspace((unsigned char)*at) || *at == ';')
            at++;
        if (!*at) return json_array_size(list) > 0;
        at = skip_marker(at);
        json_t *value = json_loads(at, JSON_DISABLE_EOF_CHECK, &error);
        bool ok = value && add_calls(list, value);
        json_decref(value);
        if (!ok) return false;
        at += error.position;
        while (isspace((unsigned char)*at))
            at++;
        if (strncmp(at, closing, sizeof closing - 1) == 0) at += sizeof closing - 1;
    }
}

json_t *tools_end(struct tools_text *t, const char **from, size_t *n)
{
    json_t *list = json_array();
    *from = t->text ? t->text + t->given : "";
    *n = t->len - t->given;
    if (*n > 0 && list && read_calls(list, *from)) return *n = 0, list;
    json_decref(list);
    return NULL;
}

void tools_free(struct tools_text *t)
{
    free(t->text);
}
