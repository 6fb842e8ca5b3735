/* POST /v1/completions. */
#include "service/openai/requests.h"

static const struct field fields[] = {OPENAI_FIELDS,
                                      {"logprobs", FIELD_INTEGER, 0, 20},
                                      {"echo", FIELD_FLAG, 0, 0},
                                      {"best_of", FIELD_INTEGER, 1, 1},
                                      {"stream_options", FIELD_OBJECT, 0, 0},
                                      {"response_format", FIELD_OBJECT, 0, 0},
                                      {"logit_bias", FIELD_OBJECT, 0, 0},
                                      {NULL, FIELD_FLAG, 0, 0}};
static const char *const also[] = {"stop", "prompt", "suffix", NULL};

enum { DEFAULT_TOKENS = 16 /* as the original has it */, MOST_PROMPTS = 64 };

static json_t *requests_for(const json_t *request, const json_t *prompts, size_t n)
{
    json_t *list = json_array();
    const json_t *prompt;
    size_t i;
    json_array_foreach(prompts, i, prompt) {
        json_t *one = json_copy((json_t *)request);
        json_object_set(one, json_is_string(prompt) ? "prompt" : "tokens", (json_t *)prompt);
        json_t *copies = requests_copies(one, n);
        json_array_extend(list, copies);
        json_decref(copies);
        json_decref(one);
    }
    return list;
}

/* What each choice begins with, when the prompt is told too. */
static json_t *echoes_of(const json_t *prompts, size_t n)
{
    json_t *list = json_array();
    const json_t *prompt;
    size_t i;
    json_array_foreach(prompts, i, prompt)
        for (size_t k = 0; k < n; k++)
            json_array_append_new(list, json_is_string(prompt) ? json_incref((json_t *)prompt) : json_string(""));
    return list;
}

static bool check(struct api_call *call, const json_t *body, const json_t *prompts, size_t n)
{
    const json_t *suffix = json_object_get(body, "suffix");
    if (!prompts)
        return known_fault(call, "/prompt", "expected a text, a list of tokens, or a list of at most %d of them",
                           MOST_PROMPTS);
    if (suffix && json_string_length(suffix) > 0)
        return known_fault(call, "/suffix", "texts cannot be made between two others here");
    if (json_array_size(prompts) * n > ANSWER_MOST_CHOICES)
        return known_fault(call, "/n", "at most %d texts at once", ANSWER_MOST_CHOICES);
    return true;
}

static void start(struct api_call *call, const json_t *body, json_t *request, const json_t *prompts, size_t n,
                  const struct runtime_model *model)
{
    bool echo = json_is_true(json_object_get(body, "echo"));
    const json_t *logprobs = json_object_get(body, "logprobs");
    if (!json_object_get(request, "max_tokens"))
        json_object_set_new(request, "max_tokens", json_integer(DEFAULT_TOKENS));
    if (logprobs) json_object_set(request, "n_top", (json_t *)logprobs);
    if (echo && logprobs) json_object_set_new(request, "echo", json_true());
    struct answer_settings settings = {.kind = ANSWER_TEXT,
                                       .model = model->name,
                                       .stream = json_is_true(json_object_get(body, "stream")),
                                       .usage = requests_want_usage(body),
                                       .logprobs = logprobs != NULL,
                                       .n_choices = json_array_size(prompts) * n,
                                       .n_each = n,
                                       .echoes = echo ? echoes_of(prompts, n) : NULL};
    answer_start(call, &settings, model, requests_for(request, prompts, n));
}

static void run(struct api_call *call, const json_t *body, const json_t *prompts)
{
    struct runtime_model model;
    json_int_t n = json_integer_value(json_object_get(body, "n"));
    const char *name = requests_model(call, body);
    if (!name || !check(call, body, prompts, n > 1 ? (size_t)n : 1)) return;
    json_t *request = requests_of(call, body);
    if (!request) return;
    if (run_find(call, name, &model, NULL)) start(call, body, request, prompts, n > 1 ? (size_t)n : 1, &model);
    json_decref(request);
}

void api_openai_completions(struct api_call *call)
{
    json_t *body = known_members(call, fields, also);
    if (!body) return;
    json_t *prompts = requests_texts(json_object_get(body, "prompt"), MOST_PROMPTS);
    run(call, body, prompts);
    json_decref(prompts);
    json_decref(body);
}
