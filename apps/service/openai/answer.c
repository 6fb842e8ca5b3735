#include "service/openai/answer.h"

#include "service/runtime/tools.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { QUEUE = 4 << 20 /* bytes that wait for a slow client */ };

struct choice {
    struct answer *answer;
    size_t index;
    char *text;
    size_t len;
    json_t *tokens; /* all of them, or of the stream those that are not told yet */
    json_t *calls;
    const char *finish;
    struct tools_text tools;
    bool begun;
    size_t offset; /* of text that was told, for `text_offset` */
};

struct answer {
    pthread_mutex_t lock;
    struct answer_settings settings;
    struct api_call *call; /* until it is answered */
    struct ht__http_stream *stream;
    char id[48], model[512];
    json_int_t created, prompt_tokens, cached_tokens, new_tokens;
    size_t n_left, n_open; /* choices that go on; tasks that may still have an event */
    bool over;             /* it was answered, or the client is gone: what comes goes nowhere */
    struct choice *choices;
};

static void free_answer(struct answer *a)
{
    for (size_t i = 0; i < a->settings.n_choices; i++) {
        free(a->choices[i].text);
        json_decref(a->choices[i].tokens);
        json_decref(a->choices[i].calls);
        tools_free(&a->choices[i].tools);
    }
    free(a->choices);
    json_decref(a->settings.echoes);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* ---- probabilities ------------------------------------------------------------------------------ */

static json_t *member(const json_t *o, const char *name)
{
    return json_object_get(o, name);
}

/* Chat: {token, logprob, bytes, top_logprobs: [the same]}. */
static json_t *chat_token(const json_t *token, bool top)
{
    json_t *o = json_pack("{s:O, s:O, s:O}", "token", member(token, "text"), "logprob", member(token, "logprob"),
                          "bytes", member(token, "bytes"));
    if (!top) return o;
    json_t *list = json_array();
    const json_t *one;
    size_t i;
    json_array_foreach(member(token, "top"), i, one)
        json_array_append_new(list, chat_token(one, false));
    json_object_set_new(o, "top_logprobs", list);
    return o;
}

static json_t *chat_logprobs(const json_t *tokens)
{
    json_t *list = json_array();
    const json_t *token;
    size_t i;
    json_array_foreach(tokens, i, token)
        json_array_append_new(list, chat_token(token, true));
    return json_pack("{s:o, s:n}", "content", list, "refusal");
}

/* Completions: lists side by side. `offset` is where the first token's text begins, in characters as bytes. */
static json_t *text_logprobs(const json_t *tokens, size_t *offset)
{
    json_t *texts = json_array(), *logprobs = json_array(), *tops = json_array(), *offsets = json_array();
    const json_t *token, *one;
    size_t i, k;
    json_array_foreach(tokens, i, token) {
        json_t *top = json_object();
        json_array_foreach(member(token, "top"), k, one)
            if (!member(top, json_string_value(member(one, "text"))))
                json_object_set(top, json_string_value(member(one, "text")), member(one, "logprob"));
        json_array_append(texts, member(token, "text"));
        json_array_append(logprobs, member(token, "logprob"));
        json_array_append_new(tops, json_is_null(member(token, "logprob")) ? (json_decref(top), json_null()) : top);
        json_array_append_new(offsets, json_integer((json_int_t)*offset));
        *offset += json_array_size(member(token, "bytes"));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", texts, "token_logprobs", logprobs, "top_logprobs", tops,
                     "text_offset", offsets);
}

static json_t *logprobs_of(struct choice *c)
{
    if (!c->answer->settings.logprobs) return json_null();
    return c->answer->settings.kind == ANSWER_CHAT ? chat_logprobs(c->tokens) : text_logprobs(c->tokens, &c->offset);
}

/* ---- calls of tools ----------------------------------------------------------------------------- */

static json_t *calls_json(const struct choice *c, bool with_index)
{
    json_t *list = json_array();
    const json_t *call;
    size_t i;
    json_array_foreach(c->calls, i, call) {
        char id[80];
        char *arguments = json_dumps(member(call, "arguments"), JSON_COMPACT);
        snprintf(id, sizeof id, "call_%s_%zu_%zu", c->answer->id + strcspn(c->answer->id, "-") + 1, c->index, i);
        json_t *one = json_pack("{s:s, s:s, s:{s:O, s:s}}", "id", id, "type", "function", "function", "name",
                                member(call, "name"), "arguments", arguments ? arguments : "{}");
        if (with_index) json_object_set_new(one, "index", json_integer((json_int_t)i));
        json_array_append_new(list, one);
        free(arguments);
    }
    return list;
}

/* ---- bodies and events -------------------------------------------------------------------------- */

static json_t *usage(const struct answer *a)
{
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", a->prompt_tokens, "completion_tokens", a->new_tokens,
                     "total_tokens", a->prompt_tokens + a->new_tokens, "prompt_tokens_details", "cached_tokens",
                     a->cached_tokens);
}

static json_t *envelope(const struct answer *a, const char *object, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", a->id, "object", object, "created", a->created, "model",
                     a->model, "choices", choices);
}

static void send_text(struct answer *a, const char *text)
{
    char *line = NULL;
    int n = asprintf(&line, "data: %s\n\n", text);
    if (n < 0 || !ht__http_stream_send(a->stream, line, (size_t)n))
        a->over = true; /* the client is gone, or too slow */
    if (n >= 0) free(line);
}

static void send_json(struct answer *a, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    if (text)
        send_text(a, text);
    else
        a->over = true;
    free(text);
}

static void send_chunk(struct choice *c, json_t *choice)
{
    struct answer *a = c->answer;
    json_object_set_new(choice, "index", json_integer((json_int_t)c->index));
    json_t *chunk = envelope(a, a->settings.kind == ANSWER_CHAT ? "chat.completion.chunk" : "text_completion",
                             json_pack("[o]", choice));
    if (a->settings.usage) json_object_set_new(chunk, "usage", json_null());
    send_json(a, chunk);
}

static void begin_stream(struct answer *a)
{
    if (a->stream || a->over) return;
    api_common_headers(a->call->request);
    api_header(a->call, "Cache-Control", "no-store");
    a->stream = ht__http_answer_stream(a->call->request, "text/event-stream", QUEUE);
    a->call = NULL;
}

static void send_delta(struct choice *c, json_t *delta, const char *finish)
{
    json_t *choice = json_pack("{s:o, s:s?}", "delta", delta, "finish_reason", finish);
    bool tell = json_array_size(c->tokens) > 0;
    json_object_set_new(choice, "logprobs", tell ? logprobs_of(c) : json_null());
    json_array_clear(c->tokens);
    send_chunk(c, choice);
}

static void send_piece(struct choice *c, const char *text, size_t len)
{
    struct answer *a = c->answer;
    if (a->settings.kind == ANSWER_CHAT) {
        send_delta(c, json_pack("{s:s%}", "content", text, len), NULL);
        return;
    }
    json_t *logprobs = logprobs_of(c);
    json_array_clear(c->tokens);
    send_chunk(c, json_pack("{s:s%, s:n, s:o}", "text", text, len, "finish_reason", "logprobs", logprobs));
}

static const char *echo_of(const struct choice *c)
{
    const char *text = json_string_value(json_array_get(c->answer->settings.echoes, c->index));
    return text ? text : "";
}

static void begin_choice(struct choice *c)
{
    struct answer *a = c->answer;
    if (c->begun) return;
    c->begun = true;
    begin_stream(a);
    if (a->over) return;
    if (a->settings.kind == ANSWER_CHAT)
        send_delta(c, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL);
    else if (*echo_of(c))
        send_piece(c, echo_of(c), strlen(echo_of(c)));
}

static void send_end(struct choice *c, const char *rest, size_t n)
{
    struct answer *a = c->answer;
    if (n > 0 || json_array_size(c->tokens) > 0) send_piece(c, rest, n);
    if (c->calls) send_delta(c, json_pack("{s:o}", "tool_calls", calls_json(c, true)), NULL);
    if (a->settings.kind == ANSWER_CHAT)
        send_delta(c, json_object(), c->finish);
    else
        send_chunk(c, json_pack("{s:s, s:s, s:n}", "text", "", "finish_reason", c->finish, "logprobs"));
}

static void end_stream(struct answer *a)
{
    if (a->settings.usage && !a->over) {
        json_t *chunk =
            envelope(a, a->settings.kind == ANSWER_CHAT ? "chat.completion.chunk" : "text_completion", json_array());
        json_object_set_new(chunk, "usage", usage(a));
        send_json(a, chunk);
    }
    if (!a->over) send_text(a, "[DONE]");
    a->over = true;
}

static json_t *whole_choice(struct choice *c)
{
    struct answer *a = c->answer;
    json_t *choice =
        json_pack("{s:i, s:s, s:o}", "index", (int)c->index, "finish_reason", c->finish, "logprobs", logprobs_of(c));
    if (a->settings.kind == ANSWER_TEXT) {
        const char *echo = echo_of(c);
        json_object_set_new(choice, "text", json_sprintf("%s%s", echo, c->text ? c->text : ""));
        return choice;
    }
    bool silent = c->calls && c->len == 0;
    json_t *message = json_pack("{s:s, s:o, s:n}", "role", "assistant", "content",
                                silent ? json_null() : json_stringn(c->text ? c->text : "", c->len), "refusal");
    if (c->calls) json_object_set_new(message, "tool_calls", calls_json(c, false));
    json_object_set_new(choice, "message", message);
    return choice;
}

static void answer_whole(struct answer *a)
{
    json_t *choices = json_array();
    for (size_t i = 0; i < a->settings.n_choices; i++)
        json_array_append_new(choices, whole_choice(&a->choices[i]));
    json_t *body = envelope(a, a->settings.kind == ANSWER_CHAT ? "chat.completion" : "text_completion", choices);
    json_object_set_new(body, "usage", usage(a));
    a->over = true;
    api_json(a->call, 200, body);
    a->call = NULL;
}

/* ---- events of tasks ---------------------------------------------------------------------------- */

static bool keep(struct choice *c, const char *text, size_t len)
{
    char *grown = realloc(c->text, c->len + len + 1);
    if (!grown) return false;
    c->text = grown;
    memcpy(grown + c->len, text, len);
    c->len += len;
    grown[c->len] = '\0';
    return true;
}

static void fail(struct answer *a, const char *kind, const char *message)
{
    if (a->over) return;
    a->over = true;
    if (a->stream) {
        send_json(a, api_openai_error(kind, message, NULL));
        return;
    }
    if (strcmp(kind, "busy") == 0 || strcmp(kind, "no-room") == 0) api_header(a->call, "Retry-After", "2");
    api_problem(a->call, kind, "%s", message);
    a->call = NULL;
}

static void show(struct choice *c, const char *text, size_t len)
{
    struct answer *a = c->answer;
    if (a->settings.stream) {
        if (len > 0 || (json_array_size(c->tokens) > 0 && a->settings.logprobs && !a->settings.tools))
            send_piece(c, text, len);
    } else if (!keep(c, text, len)) {
        fail(a, "internal", "not enough memory for the answer");
    }
}

static void take_piece(struct choice *c, const json_t *event)
{
    struct answer *a = c->answer;
    const json_t *piece = member(event, "text");
    const char *text = json_string_value(piece);
    size_t n = json_string_length(piece);
    if (a->settings.logprobs) json_array_extend(c->tokens, member(event, "tokens"));
    if (a->settings.stream) begin_choice(c);
    if (a->settings.tools && !tools_put(&c->tools, text, n, &text, &n))
        fail(a, "internal", "not enough memory for the answer");
    if (!a->over) show(c, text, n);
}

static const char *finish_of(const struct choice *c, const json_t *event)
{
    const char *reason = json_string_value(member(event, "reason"));
    if (c->calls) return "tool_calls";
    return reason && strcmp(reason, "length") == 0 ? "length" : "stop";
}

static json_int_t count(const json_t *event, const char *name)
{
    return json_integer_value(member(event, name));
}

static void take_end(struct choice *c, const json_t *event)
{
    struct answer *a = c->answer;
    const char *rest = "";
    size_t n = 0;
    if (c->index % a->settings.n_each == 0) {
        a->prompt_tokens += count(event, "prompt_tokens");
        a->cached_tokens += count(event, "prompt_tokens") - count(event, "read_tokens");
    }
    a->new_tokens += count(event, "new_tokens");
    a->n_left--;
    if (a->over) return;
    if (a->settings.tools) c->calls = tools_end(&c->tools, &rest, &n);
    c->finish = finish_of(c, event);
    if (a->settings.stream) {
        begin_choice(c);
        if (!a->over) send_end(c, rest, n);
        if (a->n_left == 0) end_stream(a);
        return;
    }
    if (n > 0) show(c, rest, n);
    if (a->n_left == 0 && !a->over) answer_whole(a);
}

static void on_event(void *ctx, const json_t *event)
{
    struct choice *c = ctx;
    struct answer *a = c->answer;
    const char *kind = json_string_value(member(event, "event"));
    bool end = strcmp(kind, "end") == 0, error = strcmp(kind, "error") == 0, gone = strcmp(kind, "gone") == 0;
    pthread_mutex_lock(&a->lock);
    if (strcmp(kind, "begun") == 0 && a->settings.stream && !a->over) begin_choice(c);
    if (strcmp(kind, "piece") == 0 && !a->over) take_piece(c, event);
    if (end) take_end(c, event);
    if (error)
        fail(a, run_problem(json_string_value(member(event, "code"))), json_string_value(member(event, "message")));
    if (gone && !a->over) {
        a->over = true;
        if (a->call) api_empty(a->call, 503); /* to nobody: it lets go of the request */
        a->call = NULL;
    }
    if (end || error || gone) a->n_open--;
    bool last = a->n_open == 0;
    if (last && a->stream) ht__http_stream_end(&a->stream);
    pthread_mutex_unlock(&a->lock);
    if (last) free_answer(a);
}

static bool wanted(void *ctx)
{
    const struct choice *c = ctx;
    struct answer *a = c->answer;
    pthread_mutex_lock(&a->lock);
    bool there = !a->over && (a->stream ? ht__http_stream_send(a->stream, "", 0)
                                        : a->call && !ht__http_client_left(a->call->request));
    pthread_mutex_unlock(&a->lock);
    return there;
}

/* ---- beginning ---------------------------------------------------------------------------------- */

static struct answer *new_answer(struct api_call *call, const struct answer_settings *settings)
{
    unsigned char bytes[12];
    struct answer *a = calloc(1, sizeof *a);
    struct choice *choices = calloc(settings->n_choices, sizeof *choices);
    if (!a || !choices || getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return free(a), free(choices), NULL;
    pthread_mutex_init(&a->lock, NULL);
    a->settings = *settings;
    a->call = call;
    a->choices = choices;
    a->created = (json_int_t)time(NULL);
    a->n_left = a->n_open = settings->n_choices;
    snprintf(a->model, sizeof a->model, "%s", settings->model);
    int n = snprintf(a->id, sizeof a->id, "%s-", settings->kind == ANSWER_CHAT ? "chatcmpl" : "cmpl");
    for (size_t i = 0; i < sizeof bytes; i++)
        n += snprintf(a->id + n, sizeof a->id - (size_t)n, "%02x", bytes[i]);
    for (size_t i = 0; i < settings->n_choices; i++)
        choices[i] = (struct choice){.answer = a, .index = i, .tokens = json_array()};
    return a;
}

void answer_start(struct api_call *call, const struct answer_settings *settings, const struct runtime_model *model,
                  json_t *requests)
{
    struct answer *a = new_answer(call, settings);
    struct runtime *runtime = call->server->runtime;
    char who[STORE_ID_SIZE + 64];
    size_t n = settings->n_choices;
    if (!a) {
        json_decref(settings->echoes);
        json_decref(requests);
        api_problem(call, "internal", "not enough memory for the answer");
        return;
    }
    snprintf(who, sizeof who, "%s", run_who(call)); /* the call may be answered before the last task is submitted */
    for (size_t i = 0; i < n; i++) {
        struct runtime_task task = {.request = json_incref(json_array_get(requests, i)),
                                    .who = who,
                                    .keep_alive = (double)NAN,
                                    .wanted = wanted,
                                    .on_event = on_event,
                                    .ctx = &a->choices[i]};
        runtime_submit(runtime, model, &task); /* after the last one, a is its own */
    }
    json_decref(requests);
}
