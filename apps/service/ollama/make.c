/* POST /api/generate and /api/chat: an object at once, or lines of JSON as the text is made, the last with what it took. */
#include "service/ollama/ollama.h"

#include "service/runtime/conversation.h"
#include "service/runtime/tools.h"
#include "service/system/steady.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE = 4 << 20 };

struct making {
    pthread_mutex_t lock;
    struct api_call *call; /* until it is answered */
    struct ht__http_stream *stream;
    bool chat, streams, tools, logprobs, over;
    char model[512];
    double since, load_seconds;
    char *text;
    size_t len;
    struct tools_text calls;
    json_t *tokens; /* not told yet */
};

static void free_making(struct making *m)
{
    free(m->text);
    tools_free(&m->calls);
    json_decref(m->tokens);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* ---- lines -------------------------------------------------------------------------------------- */

static json_t *calls_json(const json_t *calls)
{
    json_t *list = json_array();
    const json_t *call;
    size_t i;
    json_array_foreach(calls, i, call)
        json_array_append_new(list, json_pack("{s:{s:i, s:O, s:O}}", "function", "index", (int)i, "name",
                                              json_object_get(call, "name"), "arguments",
                                              json_object_get(call, "arguments")));
    return list;
}

static json_t *token_json(const json_t *token, bool top)
{
    json_t *o = json_pack("{s:O, s:O, s:O}", "token", json_object_get(token, "text"), "logprob",
                          json_object_get(token, "logprob"), "bytes", json_object_get(token, "bytes"));
    json_t *list = top && json_array_size(json_object_get(token, "top")) > 0 ? json_array() : NULL;
    const json_t *one;
    size_t i;
    json_array_foreach(list ? json_object_get(token, "top") : NULL, i, one)
        json_array_append_new(list, token_json(one, false));
    if (list) json_object_set_new(o, "top_logprobs", list);
    return o;
}

static json_t *line(struct making *m, const char *text, size_t len, const json_t *calls, bool done)
{
    char now[OLLAMA_TIME];
    ollama_now(now);
    json_t *o = json_pack("{s:s, s:s}", "model", m->model, "created_at", now), *piece = json_stringn(text, len),
           *message;
    if (m->chat) {
        message = json_pack("{s:s, s:o}", "role", "assistant", "content", piece);
        if (calls) json_object_set_new(message, "tool_calls", calls_json(calls));
        json_object_set_new(o, "message", message);
    } else {
        json_object_set_new(o, "response", piece);
    }
    json_object_set_new(o, "done", json_boolean(done));
    json_t *list = json_array_size(m->tokens) > 0 ? json_array() : NULL;
    const json_t *token;
    size_t i;
    json_array_foreach(list ? m->tokens : NULL, i, token)
        json_array_append_new(list, token_json(token, true));
    if (list) json_object_set_new(o, "logprobs", list);
    json_array_clear(m->tokens);
    return o;
}

static json_int_t nanoseconds(double seconds)
{
    return (json_int_t)(seconds * 1e9);
}

static void add_figures(const struct making *m, json_t *o, const json_t *event)
{
    double prompt = json_number_value(json_object_get(event, "prompt_seconds"));
    const char *reason = json_string_value(json_object_get(event, "reason"));
    json_object_set_new(o, "done_reason", json_string(reason && strcmp(reason, "length") == 0 ? "length" : "stop"));
    json_object_set_new(o, "total_duration", json_integer(nanoseconds(steady_seconds() - m->since)));
    json_object_set_new(o, "load_duration", json_integer(nanoseconds(m->load_seconds)));
    json_object_set(o, "prompt_eval_count", json_object_get(event, "prompt_tokens"));
    json_object_set_new(o, "prompt_eval_duration", json_integer(nanoseconds(prompt)));
    json_object_set(o, "eval_count", json_object_get(event, "new_tokens"));
    json_object_set_new(o, "eval_duration",
                        json_integer(nanoseconds(json_number_value(json_object_get(event, "seconds")))));
}

/* Never a blank line: some clients take each line for JSON. */
static void send_line(struct making *m, json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL, *whole = NULL;
    json_decref(o);
    int n = text ? asprintf(&whole, "%s\n", text) : -1;
    if (n < 0 || !ht__http_stream_send(m->stream, whole, (size_t)n)) m->over = true;
    if (n >= 0) free(whole);
    free(text);
}

static void begin_stream(struct making *m)
{
    if (m->stream || m->over || !m->streams) return;
    api_common_headers(m->call->request);
    api_header(m->call, "Cache-Control", "no-store");
    m->stream = ht__http_answer_stream(m->call->request, "application/x-ndjson", QUEUE);
    m->call = NULL;
}

/* ---- events ------------------------------------------------------------------------------------- */

static void fail(struct making *m, const char *kind, const char *message)
{
    if (m->over) return;
    m->over = true;
    if (m->stream) {
        send_line(m, json_pack("{s:s}", "error", message));
        return;
    }
    if (strcmp(kind, "busy") == 0 || strcmp(kind, "no-room") == 0) api_header(m->call, "Retry-After", "2");
    api_problem(m->call, kind, "%s", message);
    m->call = NULL;
}

static bool keep(struct making *m, const char *text, size_t len)
{
    char *grown = realloc(m->text, m->len + len + 1);
    if (!grown) return false;
    m->text = grown;
    memcpy(grown + m->len, text, len);
    m->len += len;
    return true;
}

static void show(struct making *m, const char *text, size_t len)
{
    if (!m->streams) {
        if (!keep(m, text, len)) fail(m, "internal", "not enough memory for the answer");
    } else if (len > 0 && !m->over) {
        send_line(m, line(m, text, len, NULL, false));
    }
}

static void take_piece(struct making *m, const json_t *event)
{
    const json_t *piece = json_object_get(event, "text");
    const char *text = json_string_value(piece);
    size_t n = json_string_length(piece);
    if (m->logprobs) json_array_extend(m->tokens, json_object_get(event, "tokens"));
    begin_stream(m);
    if (m->tools && !tools_put(&m->calls, text, n, &text, &n)) fail(m, "internal", "not enough memory for the answer");
    if (!m->over) show(m, text, n);
}

static void take_end(struct making *m, const json_t *event)
{
    const char *rest = "";
    size_t n = 0;
    json_t *calls = m->tools ? tools_end(&m->calls, &rest, &n) : NULL;
    begin_stream(m);
    if (m->over) return json_decref(calls);
    if (n > 0) show(m, rest, n);
    if (m->streams && calls) send_line(m, line(m, "", 0, calls, false));
    json_t *last = m->streams ? line(m, "", 0, NULL, true) : line(m, m->text ? m->text : "", m->len, calls, true);
    json_decref(calls);
    add_figures(m, last, event);
    if (m->streams) {
        send_line(m, last);
    } else {
        api_json(m->call, 200, last);
        m->call = NULL;
    }
    m->over = true;
}

static void let_go(struct making *m)
{
    if (m->over) return;
    m->over = true;
    if (m->call) api_empty(m->call, 503); /* to nobody: it lets go of the request */
    m->call = NULL;
}

static void on_event(void *ctx, const json_t *event)
{
    struct making *m = ctx;
    const char *kind = json_string_value(json_object_get(event, "event"));
    bool end = strcmp(kind, "end") == 0, error = strcmp(kind, "error") == 0, gone = strcmp(kind, "gone") == 0;
    pthread_mutex_lock(&m->lock);
    if (strcmp(kind, "ready") == 0) m->load_seconds = json_number_value(json_object_get(event, "load_seconds"));
    if (strcmp(kind, "piece") == 0 && !m->over) take_piece(m, event);
    if (end && !m->over) take_end(m, event);
    if (error)
        fail(m, run_problem(json_string_value(json_object_get(event, "code"))),
             json_string_value(json_object_get(event, "message")));
    if (gone) let_go(m);
    bool last = end || error || gone;
    if (last && m->stream) ht__http_stream_end(&m->stream);
    pthread_mutex_unlock(&m->lock);
    if (last) free_making(m);
}

static bool wanted(void *ctx)
{
    struct making *m = ctx;
    pthread_mutex_lock(&m->lock);
    bool there = !m->over && (m->stream ? ht__http_stream_send(m->stream, "", 0)
                                        : m->call && !ht__http_client_left(m->call->request));
    pthread_mutex_unlock(&m->lock);
    return there;
}

/* ---- beginning ---------------------------------------------------------------------------------- */

static bool flag(const json_t *body, const char *name, bool otherwise)
{
    const json_t *value = json_object_get(body, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static void start(struct api_call *call, const struct runtime_model *model, const json_t *entry, json_t *request,
                  bool chat, double keep_alive)
{
    struct making *m = calloc(1, sizeof *m);
    if (!m) {
        json_decref(request);
        api_problem(call, "internal", "not enough memory for the answer");
        return;
    }
    json_t *name = ollama_name(entry);
    pthread_mutex_init(&m->lock, NULL);
    m->call = call;
    m->chat = chat;
    m->streams = flag(call->body, "stream", true);
    m->logprobs = flag(call->body, "logprobs", false);
    m->tools = json_object_get(json_object_get(request, "chat"), "tools") != NULL;
    m->tokens = json_array();
    m->since = steady_seconds();
    snprintf(m->model, sizeof m->model, "%s", json_string_value(name));
    json_decref(name);
    struct runtime_task task = {.request = request,
                                .who = run_who(call),
                                .keep_alive = keep_alive,
                                .wanted = wanted,
                                .on_event = on_event,
                                .ctx = m};
    runtime_submit(call->server->runtime, model, &task);
}

/* Nothing is to be made: the model is loaded, or with keep_alive 0 unloaded. */
static void answer_idle(struct api_call *call, const char *name, bool chat, const char *reason)
{
    char now[OLLAMA_TIME];
    ollama_now(now);
    json_t *o = json_pack("{s:s, s:s, s:b, s:s}", "model", name, "created_at", now, "done", 1, "done_reason", reason);
    if (chat)
        json_object_set_new(o, "message", json_pack("{s:s, s:s}", "role", "assistant", "content", ""));
    else
        json_object_set_new(o, "response", json_string(""));
    api_json(call, 200, o);
}

struct loading {
    struct api_call *call;
    bool chat;
    char name[512];
};

static void on_loaded(void *ctx, const json_t *event)
{
    struct loading *l = ctx;
    const char *kind = json_string_value(json_object_get(event, "event"));
    if (strcmp(kind, "end") == 0)
        answer_idle(l->call, l->name, l->chat, "load");
    else if (strcmp(kind, "error") == 0)
        api_problem(l->call, run_problem(json_string_value(json_object_get(event, "code"))), "%s",
                    json_string_value(json_object_get(event, "message")));
    else if (strcmp(kind, "gone") == 0)
        api_empty(l->call, 503);
    else
        return;
    free(l);
}

static bool still_wanted(void *ctx)
{
    const struct loading *l = ctx;
    return !ht__http_client_left(l->call->request);
}

static void load(struct api_call *call, const struct runtime_model *model, const json_t *entry, bool chat,
                 double keep_alive)
{
    json_t *name = ollama_name(entry);
    struct loading *l = keep_alive == 0 ? NULL : calloc(1, sizeof *l);
    if (keep_alive == 0) {
        runtime_unload(call->server->runtime, model->path);
        answer_idle(call, json_string_value(name), chat, "unload");
    } else if (l) {
        *l = (struct loading){.call = call, .chat = chat};
        snprintf(l->name, sizeof l->name, "%s", json_string_value(name));
        struct runtime_task task = {.request = json_pack("{s:s}", "do", "load"),
                                    .who = run_who(call),
                                    .keep_alive = keep_alive,
                                    .wanted = still_wanted,
                                    .on_event = on_loaded,
                                    .ctx = l};
        runtime_submit(call->server->runtime, model, &task);
    } else {
        api_problem(call, "internal", "not enough memory");
    }
    json_decref(name);
}

/* What the body has and nothing here does. */
static bool refuse_others(struct api_call *call)
{
    const json_t *body = call->body, *images = json_object_get(body, "images");
    if (json_array_size(images) > 0) return ollama_fault(call, "this model is missing data required for image input");
    if (json_string_length(json_object_get(body, "suffix")) > 0)
        return ollama_fault(call, "texts cannot be made between two others here: suffix is not supported");
    if (json_string_length(json_object_get(body, "template")) > 0)
        return ollama_fault(call,
                            "templates of requests are not supported: create a model with the template, in Jinja");
    const json_t *stream = json_object_get(body, "stream"), *raw = json_object_get(body, "raw");
    if (stream && !json_is_boolean(stream) && !json_is_null(stream))
        return ollama_fault(call, "stream must be true or false");
    if (raw && !json_is_boolean(raw) && !json_is_null(raw)) return ollama_fault(call, "raw must be true or false");
    return true;
}

/* {"do": "text"} with options, the model's own first; NULL: it was answered. */
static json_t *new_request(struct api_call *call, const json_t *entry)
{
    const json_t *top = json_object_get(call->body, "top_logprobs");
    json_t *request = json_pack("{s:s}", "do", "text");
    bool ok = ollama_options(call, json_object_get(entry, "options"), request) &&
              ollama_options(call, json_object_get(call->body, "options"), request) && ollama_format(call, request);
    json_int_t n = json_integer_value(top);
    if (ok && top && !json_is_null(top) && (!json_is_integer(top) || n < 0 || n > 20))
        ok = ollama_fault(call, "top_logprobs must be between 0 and 20");
    if (ok && flag(call->body, "logprobs", false)) json_object_set_new(request, "n_top", json_integer(n));
    if (ok && json_is_string(json_object_get(entry, "template")))
        json_object_set(request, "template", json_object_get(entry, "template"));
    if (ok) return request;
    json_decref(request);
    return NULL;
}

static json_t *new_chat(const struct api_call *call, json_t *messages)
{
    json_t *chat = json_pack("{s:o}", "messages", messages);
    const json_t *think = json_object_get(call->body, "think"), *tools = json_object_get(call->body, "tools");
    if (json_is_boolean(think)) json_object_set(chat, "enable_thinking", (json_t *)think);
    if (json_array_size(tools) > 0) json_object_set(chat, "tools", (json_t *)tools);
    return chat;
}

/* ---- generate ----------------------------------------------------------------------------------- */

static json_t *prompt_messages(const json_t *system, const json_t *prompt)
{
    json_t *list = json_array();
    if (json_string_length(system) > 0)
        json_array_append_new(list, json_pack("{s:s, s:O}", "role", "system", "content", system));
    json_array_append_new(list, json_pack("{s:s, s:O}", "role", "user", "content", prompt));
    return list;
}

static void generate(struct api_call *call, const struct runtime_model *model, const json_t *entry, double keep_alive)
{
    const json_t *prompt = json_object_get(call->body, "prompt"), *system = json_object_get(call->body, "system");
    bool raw = flag(call->body, "raw", false);
    if ((prompt && !json_is_string(prompt) && !json_is_null(prompt)) || (system && !json_is_string(system))) {
        ollama_fault(call, "prompt and system must be texts");
        return;
    }
    if (json_string_length(prompt) == 0) return load(call, model, entry, false, keep_alive);
    if (raw && (system || json_array_size(json_object_get(call->body, "context")) > 0)) {
        ollama_fault(call, "raw mode does not support template, system, or context");
        return;
    }
    json_t *request = new_request(call, entry);
    if (!request) return;
    if (raw) {
        json_object_set(request, "prompt", (json_t *)prompt);
    } else {
        json_object_set_new(request, "chat", new_chat(call, prompt_messages(system, prompt)));
        run_bring(entry, request);
        json_object_set(request, "plain", (json_t *)prompt);
    }
    start(call, model, entry, request, false, keep_alive);
}

/* ---- chat --------------------------------------------------------------------------------------- */

static void chat(struct api_call *call, const struct runtime_model *model, const json_t *entry, double keep_alive)
{
    const json_t *given = json_object_get(call->body, "messages");
    char pointer[200], why[300];
    if (given && !json_is_array(given) && !json_is_null(given)) {
        ollama_fault(call, "messages must be a list");
        return;
    }
    if (json_array_size(given) == 0) return load(call, model, entry, true, keep_alive);
    json_t *messages = conversation_messages(given, pointer, sizeof pointer, why, sizeof why);
    if (!messages) {
        ollama_fault(call, "%s: %s", pointer, why);
        return;
    }
    json_t *request = new_request(call, entry);
    if (!request) return json_decref(messages);
    json_object_set_new(request, "chat", new_chat(call, messages));
    run_bring(entry, request);
    start(call, model, entry, request, true, keep_alive);
}

static void make(struct api_call *call,
                 void (*how)(struct api_call *, const struct runtime_model *, const json_t *, double))
{
    struct runtime_model model;
    json_t *entry;
    double keep_alive;
    const char *name = ollama_model(call);
    if (!name || !ollama_keep_alive(call, &keep_alive) || !refuse_others(call)) return;
    if (run_find(call, name, &model, &entry)) how(call, &model, entry, keep_alive);
    json_decref(entry);
}

void api_ollama_generate(struct api_call *call)
{
    make(call, generate);
}

void api_ollama_chat(struct api_call *call)
{
    make(call, chat);
}
