#include "service/runtime/conversation.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    size_t at; /* the message */
    char *pointer, *why;
    size_t pointer_size, size;
};

static json_t *wrong(struct reader *r, const char *member, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static json_t *wrong(struct reader *r, const char *member, const char *format, ...)
{
    va_list args;
    snprintf(r->pointer, r->pointer_size, "/messages/%zu%s%s", r->at, *member ? "/" : "", member);
    va_start(args, format);
    vsnprintf(r->why, r->size, format, args);
    va_end(args);
    return NULL;
}

/* The texts of parts, one after the other. */
static json_t *joined(struct reader *r, const json_t *parts)
{
    const json_t *part;
    size_t i, len = 0, n = 0;
    json_array_foreach(parts, i, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        if (!type || strcmp(type, "text") != 0)
            return wrong(r, "content", "a part of type \"%.40s\": only texts are taken", type ? type : "?");
        if (!json_is_string(text)) return wrong(r, "content", "part %zu has no text", i);
        len += json_string_length(text);
    }
    char *out = malloc(len + 1);
    json_array_foreach(parts, i, part) {
        const json_t *text = json_object_get(part, "text");
        if (out) memcpy(out + n, json_string_value(text), json_string_length(text));
        n += json_string_length(text);
    }
    json_t *value = out ? json_stringn(out, n) : NULL;
    free(out);
    return value;
}

static json_t *content_of(struct reader *r, const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    if (!content || json_is_null(content)) return json_string("");
    if (json_is_string(content)) return json_incref((json_t *)content);
    if (json_is_array(content)) return joined(r, content);
    return wrong(r, "content", "expected a text or a list of parts");
}

/* {"function": {"name", "arguments"}}: templates want the arguments as an object. */
static json_t *call_of(struct reader *r, const json_t *call)
{
    const json_t *function = json_object_get(call, "function"), *arguments = json_object_get(function, "arguments");
    if (!json_is_string(json_object_get(function, "name")))
        return wrong(r, "tool_calls", "expected a function with a name");
    json_t *value = json_is_string(arguments) ? json_loads(json_string_value(arguments), 0, NULL)
                                              : json_incref((json_t *)arguments);
    if (value && !json_is_object(value)) json_decref(value), value = NULL;
    if (!value && arguments && json_string_length(arguments) > 0)
        return wrong(r, "tool_calls", "the arguments are no JSON object");
    json_t *out = json_pack("{s:s, s:{s:O, s:o}}", "type", "function", "function", "name",
                            json_object_get(function, "name"), "arguments", value ? value : json_object());
    if (json_is_string(json_object_get(call, "id"))) json_object_set(out, "id", json_object_get(call, "id"));
    return out;
}

static json_t *calls_of(struct reader *r, const json_t *calls)
{
    json_t *list = json_array();
    const json_t *call;
    size_t i;
    if (!json_is_array(calls)) return json_decref(list), wrong(r, "tool_calls", "expected a list");
    json_array_foreach(calls, i, call) {
        json_t *one = call_of(r, call);
        if (!one) return json_decref(list), NULL;
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *message_of(struct reader *r, const json_t *message)
{
    static const char *const kept[] = {"name", "tool_call_id", "tool_name", "thinking", "reasoning_content"};
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *images = json_object_get(message, "images"), *calls = json_object_get(message, "tool_calls");
    if (!json_is_object(message)) return wrong(r, "", "expected an object");
    if (!role || !*role) return wrong(r, "role", "expected a role: system, user, assistant or tool");
    if (images && json_array_size(images) > 0) return wrong(r, "images", "images are not taken");
    json_t *content = content_of(r, message);
    if (!content) return NULL;
    json_t *out = json_pack("{s:s, s:o}", "role", strcmp(role, "developer") == 0 ? "system" : role, "content", content);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (json_is_string(json_object_get(message, kept[i])))
            json_object_set(out, kept[i], json_object_get(message, kept[i]));
    if (!calls || json_is_null(calls)) return out;
    json_t *list = calls_of(r, calls);
    if (!list) return json_decref(out), NULL;
    if (json_array_size(list) > 0) json_object_set(out, "tool_calls", list);
    json_decref(list);
    return out;
}

json_t *conversation_messages(const json_t *messages, char *pointer, size_t pointer_size, char *why, size_t size)
{
    struct reader r = {.pointer = pointer, .pointer_size = pointer_size, .why = why, .size = size};
    json_t *list = json_array();
    const json_t *message;
    *why = '\0';
    json_array_foreach(messages, r.at, message) {
        json_t *one = message_of(&r, message);
        if (!one) return json_decref(list), NULL;
        json_array_append_new(list, one);
    }
    return list;
}
