/* POST /v1/chat/completions. */
#include "service/openai/requests.h"
#include "service/runtime/conversation.h"

#include <string.h>

static const struct field fields[] = {OPENAI_FIELDS,
                                      {"messages", FIELD_OBJECTS, 1, 10000},
                                      {"max_completion_tokens", FIELD_INTEGER, 0, 1e9},
                                      {"logprobs", FIELD_FLAG, 0, 0},
                                      {"top_logprobs", FIELD_INTEGER, 0, 20},
                                      {"tools", FIELD_OBJECTS, 0, 128},
                                      {"stream_options", FIELD_OBJECT, 0, 0},
                                      {"response_format", FIELD_OBJECT, 0, 0},
                                      {"logit_bias", FIELD_OBJECT, 0, 0},
                                      {"chat_template_kwargs", FIELD_OBJECT, 0, 0},
                                      {NULL, FIELD_FLAG, 0, 0}};
static const char *const also[] = {"stop", "tool_choice", "modalities", "audio", "functions", NULL};

/* Tools that the model may call; *none: the choice is to call none. */
static bool check_tools(struct api_call *call, const json_t *body, bool *none)
{
    const json_t *choice = json_object_get(body, "tool_choice"), *tool;
    const char *text = json_string_value(choice);
    size_t i;
    *none = text && strcmp(text, "none") == 0;
    if (choice && !*none && !(text && strcmp(text, "auto") == 0))
        return known_fault(call, "/tool_choice",
                           "only \"auto\" and \"none\" can be chosen: no model is forced to call a tool");
    json_array_foreach(json_object_get(body, "tools"), i, tool) {
        const json_t *function = json_object_get(tool, "function");
        if (!json_is_string(json_object_get(function, "name")))
            return known_fault(call, "/tools",
                               "tool %zu: expected {\"type\": \"function\", \"function\": {\"name\": …}}", i);
    }
    return true;
}

static bool refuse_others(struct api_call *call, const json_t *body)
{
    if (json_object_get(body, "functions"))
        return known_fault(call, "/functions", "functions are called as \"tools\" here");
    if (json_object_get(body, "audio")) return known_fault(call, "/audio", "only text is made here");
    const json_t *kinds = json_object_get(body, "modalities");
    bool text = !kinds ||
                (json_array_size(kinds) == 1 &&
                 strcmp(json_string_value(json_array_get(kinds, 0)) ? json_string_value(json_array_get(kinds, 0)) : "",
                        "text") == 0);
    return text || known_fault(call, "/modalities", "only text is made here");
}

/* The conversation for the template: {"messages", "tools", and what the client names for it}. */
static json_t *conversation(struct api_call *call, const json_t *body, bool tools)
{
    char pointer[200], why[300];
    json_t *messages =
        conversation_messages(json_object_get(body, "messages"), pointer, sizeof pointer, why, sizeof why);
    if (!messages) {
        if (*why)
            known_fault(call, pointer, "%s", why);
        else
            api_problem(call, "internal", "not enough memory for the conversation");
        return NULL;
    }
    json_t *chat = json_object();
    if (json_object_get(body, "chat_template_kwargs"))
        json_object_update(chat, json_object_get(body, "chat_template_kwargs"));
    json_object_set_new(chat, "messages", messages);
    if (tools) json_object_set(chat, "tools", json_object_get(body, "tools"));
    return chat;
}

static bool make_request(struct api_call *call, const json_t *body, json_t **request, bool *tools)
{
    bool none;
    if (!check_tools(call, body, &none) || !refuse_others(call, body)) return false;
    *tools = !none && json_array_size(json_object_get(body, "tools")) > 0;
    if (json_object_get(body, "top_logprobs") && !json_is_true(json_object_get(body, "logprobs")))
        return known_fault(call, "/top_logprobs", "it belongs to \"logprobs\": true");
    if (!(*request = requests_of(call, body))) return false;
    json_t *chat = conversation(call, body, *tools);
    if (!chat) return json_decref(*request), false;
    json_object_set_new(*request, "chat", chat);
    if (json_is_true(json_object_get(body, "logprobs")))
        json_object_set_new(*request, "n_top", json_integer(json_integer_value(json_object_get(body, "top_logprobs"))));
    return true;
}

static void run(struct api_call *call, const json_t *body)
{
    struct runtime_model model;
    json_t *request;
    bool tools;
    const char *name = requests_model(call, body);
    if (!name) return;
    if (!json_object_get(body, "messages")) {
        known_fault(call, "/messages", "expected a list of messages");
        return;
    }
    if (!make_request(call, body, &request, &tools)) return;
    json_t *entry;
    bool found = run_find(call, name, &model, &entry);
    if (found) run_bring(entry, request);
    json_decref(entry);
    if (!found) return json_decref(request);
    json_int_t n = json_integer_value(json_object_get(body, "n"));
    struct answer_settings settings = {.kind = ANSWER_CHAT,
                                       .model = model.name,
                                       .stream = json_is_true(json_object_get(body, "stream")),
                                       .usage = requests_want_usage(body),
                                       .logprobs = json_object_get(request, "n_top") != NULL,
                                       .tools = tools,
                                       .n_choices = n > 1 ? (size_t)n : 1,
                                       .n_each = n > 1 ? (size_t)n : 1};
    json_t *requests = requests_copies(request, settings.n_choices);
    json_decref(request);
    answer_start(call, &settings, &model, requests);
}

void api_openai_chat(struct api_call *call)
{
    json_t *body = known_members(call, fields, also);
    if (body) run(call, body);
    json_decref(body);
}
