/* POST /api/embed, and /api/embeddings as older clients have it. */
#include "service/ollama/ollama.h"

#include "service/system/steady.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_INPUTS = 2048 };

struct embedding {
    struct api_call *call;
    char model[512];
    bool old;
    size_t dimensions; /* 0: all */
    double since, load_seconds;
};

/* The first dimensions, of length 1 again. */
static json_t *shortened(const json_t *vector, size_t n)
{
    double squares = 0;
    json_t *list = json_array();
    if (n == 0 || n >= json_array_size(vector)) return json_decref(list), json_incref((json_t *)vector);
    for (size_t i = 0; i < n; i++)
        squares += pow(json_number_value(json_array_get(vector, i)), 2);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            list, json_real(json_number_value(json_array_get(vector, i)) / (squares > 0 ? sqrt(squares) : 1)));
    return list;
}

static void answer(struct embedding *e, const json_t *event)
{
    const json_t *vectors = json_object_get(event, "embeddings"), *vector;
    json_t *list = json_array();
    size_t i;
    if (e->old) {
        json_decref(list);
        api_json(e->call, 200, json_pack("{s:O}", "embedding", json_array_get(vectors, 0)));
        return;
    }
    json_array_foreach(vectors, i, vector)
        json_array_append_new(list, shortened(vector, e->dimensions));
    api_json(e->call, 200,
             json_pack("{s:s, s:o, s:I, s:I, s:O}", "model", e->model, "embeddings", list, "total_duration",
                       (json_int_t)((steady_seconds() - e->since) * 1e9), "load_duration",
                       (json_int_t)(e->load_seconds * 1e9), "prompt_eval_count",
                       json_object_get(event, "prompt_tokens")));
}

static void on_event(void *ctx, const json_t *event)
{
    struct embedding *e = ctx;
    const char *kind = json_string_value(json_object_get(event, "event"));
    if (strcmp(kind, "ready") == 0) e->load_seconds = json_number_value(json_object_get(event, "load_seconds"));
    if (strcmp(kind, "end") == 0)
        answer(e, event);
    else if (strcmp(kind, "error") == 0)
        api_problem(e->call, run_problem(json_string_value(json_object_get(event, "code"))), "%s",
                    json_string_value(json_object_get(event, "message")));
    else if (strcmp(kind, "gone") == 0)
        api_empty(e->call, 503); /* to nobody: it lets go of the request */
    else
        return;
    free(e);
}

static bool wanted(void *ctx)
{
    const struct embedding *e = ctx;
    return !ht__http_client_left(e->call->request);
}

static void start(struct api_call *call, json_t *inputs, bool old)
{
    struct runtime_model model;
    json_t *entry = NULL;
    const json_t *truncate = json_object_get(call->body, "truncate");
    double keep_alive;
    const char *name = ollama_model(call);
    struct embedding *e = NULL;
    bool ok = name && ollama_keep_alive(call, &keep_alive) && run_find(call, name, &model, &entry);
    if (ok && !(e = calloc(1, sizeof *e))) api_problem(call, "internal", "not enough memory");
    if (!e) return json_decref(inputs), json_decref(entry);
    json_t *shown = ollama_name(entry);
    json_int_t dimensions = json_integer_value(json_object_get(call->body, "dimensions"));
    *e = (struct embedding){.call = call, .old = old, .since = steady_seconds()};
    e->dimensions = dimensions > 0 ? (size_t)dimensions : 0;
    snprintf(e->model, sizeof e->model, "%s", json_string_value(shown));
    json_decref(shown);
    json_decref(entry);
    struct runtime_task task = {
        .request = json_pack("{s:s, s:o, s:b}", "do", "embed", "inputs", inputs, "truncate", !json_is_false(truncate)),
        .who = run_who(call),
        .keep_alive = keep_alive,
        .wanted = wanted,
        .on_event = on_event,
        .ctx = e};
    runtime_submit(call->server->runtime, &model, &task);
}

void api_ollama_embed(struct api_call *call)
{
    const json_t *input = json_object_get(call->body, "input"), *one;
    json_t *inputs = json_is_string(input) ? json_pack("[O]", input) : json_incref((json_t *)input);
    bool ok = json_is_array(inputs) && json_array_size(inputs) > 0 && json_array_size(inputs) <= MOST_INPUTS;
    size_t i;
    json_array_foreach(inputs, i, one)
        ok = ok && json_is_string(one);
    if (ok) return start(call, inputs, false);
    json_decref(inputs);
    ollama_fault(call, "invalid input type: expected a text or a list of at most %d texts", MOST_INPUTS);
}

void api_ollama_embeddings(struct api_call *call)
{
    const json_t *prompt = json_object_get(call->body, "prompt");
    if (json_is_string(prompt))
        start(call, json_pack("[O]", prompt), true);
    else
        ollama_fault(call, "invalid prompt: expected a text");
}
