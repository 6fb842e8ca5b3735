/* POST /v1/embeddings. */
#include "service/openai/requests.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct field fields[] = {{"model", FIELD_TEXT, 1, 500},
                                      {"encoding_format", FIELD_TEXT, 1, 20},
                                      {"dimensions", FIELD_INTEGER, 1, 1e6},
                                      {NULL, FIELD_FLAG, 0, 0}};
static const char *const also[] = {"input", NULL};

enum { MOST_INPUTS = 2048 };

struct embedding {
    struct api_call *call;
    char model[512];
    bool base64;
    size_t dimensions; /* 0: all */
};

/* Little-endian floats in base64: what the official clients ask for. */
static json_t *base64_of(const float *v, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = n * sizeof *v, k = 0;
    const unsigned char *b = (const unsigned char *)v;
    char *out = malloc((len + 2) / 3 * 4 + 1);
    for (size_t i = 0; out && i < len; i += 3) {
        size_t left = len - i;
        unsigned three = (unsigned)b[i] << 16 | (left > 1 ? (unsigned)b[i + 1] << 8 : 0) | (left > 2 ? b[i + 2] : 0u);
        for (int d = 0; d < 4; d++)
            out[k++] = (size_t)d > left ? '=' : digits[three >> (18 - 6 * d) & 63];
    }
    json_t *text = out ? json_stringn(out, k) : NULL;
    free(out);
    return text;
}

/* The first dimensions, of length 1 again. */
static json_t *vector_of(const struct embedding *e, const json_t *vector)
{
    size_t n = json_array_size(vector);
    if (e->dimensions && e->dimensions < n) n = e->dimensions;
    float *v = malloc((n + 1) * sizeof *v);
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += pow(json_number_value(json_array_get(vector, i)), 2);
    json_t *list = json_array();
    for (size_t i = 0; v && i < n; i++) {
        v[i] = (float)(json_number_value(json_array_get(vector, i)) / (squares > 0 ? sqrt(squares) : 1));
        if (!e->base64) json_array_append_new(list, json_real((double)v[i]));
    }
    if (v && e->base64) json_decref(list), list = base64_of(v, n);
    free(v);
    return list;
}

static void answer(struct embedding *e, const json_t *event)
{
    json_t *data = json_array();
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(event, "embeddings"), i, vector)
        json_array_append_new(data, json_pack("{s:s, s:i, s:o}", "object", "embedding", "index", (int)i, "embedding",
                                              vector_of(e, vector)));
    const json_t *n = json_object_get(event, "prompt_tokens");
    api_json(e->call, 200,
             json_pack("{s:s, s:o, s:s, s:{s:O, s:O}}", "object", "list", "data", data, "model", e->model, "usage",
                       "prompt_tokens", n, "total_tokens", n));
}

static void on_event(void *ctx, const json_t *event)
{
    struct embedding *e = ctx;
    const char *kind = json_string_value(json_object_get(event, "event"));
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
    struct embedding *e = ctx;
    return !ht__http_client_left(e->call->request);
}

static void start(struct api_call *call, const json_t *body, json_t *inputs, const struct runtime_model *model)
{
    struct embedding *e = calloc(1, sizeof *e);
    if (!e) {
        json_decref(inputs);
        api_problem(call, "internal", "not enough memory for the answer");
        return;
    }
    const char *format = json_string_value(json_object_get(body, "encoding_format"));
    e->call = call;
    e->base64 = format && strcmp(format, "base64") == 0;
    e->dimensions = (size_t)json_integer_value(json_object_get(body, "dimensions"));
    snprintf(e->model, sizeof e->model, "%s", model->name);
    struct runtime_task task = {.request = json_pack("{s:s, s:o}", "do", "embed", "inputs", inputs),
                                .who = run_who(call),
                                .keep_alive = (double)NAN,
                                .wanted = wanted,
                                .on_event = on_event,
                                .ctx = e};
    runtime_submit(call->server->runtime, model, &task);
}

static void run(struct api_call *call, const json_t *body)
{
    struct runtime_model model;
    const char *name = requests_model(call, body),
               *format = json_string_value(json_object_get(body, "encoding_format"));
    if (!name) return;
    if (format && strcmp(format, "float") != 0 && strcmp(format, "base64") != 0) {
        known_fault(call, "/encoding_format", "expected \"float\" or \"base64\"");
        return;
    }
    json_t *inputs = requests_texts(json_object_get(body, "input"), MOST_INPUTS);
    if (!inputs) {
        known_fault(call, "/input", "expected a text, a list of tokens, or a list of at most %d of them", MOST_INPUTS);
        return;
    }
    if (run_find(call, name, &model, NULL))
        start(call, body, inputs, &model);
    else
        json_decref(inputs);
}

void api_openai_embeddings(struct api_call *call)
{
    json_t *body = known_members(call, fields, also);
    if (body) run(call, body);
    json_decref(body);
}
