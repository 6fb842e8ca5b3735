/*
 * POST /runtime/compare: the same prompts over levels of a model.
 *
 *   the highest level (the reference) goes on with each prompt, at temperature 0     -> texts, as tokens
 *   every level goes on with them likewise, so many times                            -> seconds, tokens a second, memory
 *   every level reads the reference's texts, token by token                          -> loss, agreement
 */
#include "service/api/ask_model.h"
#include "service/api/estimates.h"
#include "service/api/json.h"
#include "service/api/level_switch.h"
#include "service/api/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PROMPTS = 32, MOST_TIMES = 20, MOST_TOKENS = 1024 };

struct comparing {
    struct api_call *call;
    struct child_stop *stop;
    struct level_switch model; /* name and family */
    json_t *prompts, *levels;  /* levels: texts, or NULL: all */
    json_t *texts;             /* of each prompt: {ids, prompt_tokens, text}, of the reference */
    json_t *list;              /* of the catalog */
    int times, max_tokens;
};

/* Of one level. */
struct figures {
    double sum, least, most, token_seconds, loss;
    json_int_t calls, tokens, scored, agreed, same;
};

static void free_comparing(void *state)
{
    struct comparing *c = state;
    json_decref(c->prompts);
    json_decref(c->levels);
    json_decref(c->texts);
    json_decref(c->list);
    free(c);
}

static bool wanted(void *ctx)
{
    const struct comparing *c = ctx;
    return atomic_load(&c->stop->wished) == 0 && !ht__http_client_left(c->call->request);
}

static bool ask(struct comparing *c, const struct runtime_model *model, json_t *request, struct asked *asked)
{
    json_object_set_new(request, "do", json_string("text"));
    json_object_set_new(request, "temperature", json_real(0));
    return ask_model(c->call->server->runtime, model, request, "compare", wanted, c, asked);
}

static json_int_t count(const struct asked *asked, const char *name)
{
    return json_integer_value(json_object_get(asked->end, name));
}

/* ---- the reference's texts ---------------------------------------------------------------------- */

static json_t *ids_of(const json_t *tokens, size_t most)
{
    json_t *ids = json_array();
    const json_t *token;
    size_t i;
    json_array_foreach(tokens, i, token)
        if (i < most) json_array_append(ids, json_object_get(token, "token"));
    return ids;
}

static bool make_texts(struct comparing *c, const struct runtime_model *model, char *why, size_t size)
{
    const json_t *prompt;
    size_t i;
    c->texts = json_array();
    json_array_foreach(c->prompts, i, prompt) {
        struct asked asked;
        bool ok =
            ask(c, model,
                json_pack("{s:O, s:i, s:b, s:i}", "prompt", prompt, "max_tokens", c->max_tokens, "echo", 1, "n_top", 0),
                &asked);
        if (ok)
            json_array_append_new(c->texts, json_pack("{s:o, s:I}", "ids", ids_of(asked.tokens, SIZE_MAX),
                                                      "prompt_tokens", count(&asked, "prompt_tokens")));
        else
            snprintf(why, size, "prompt %zu: %s", i, asked.why);
        asked_free(&asked);
        if (!ok) return false;
    }
    return true;
}

/* ---- one level ---------------------------------------------------------------------------------- */

static bool is_same(const json_t *ids, json_int_t first, const json_t *tokens)
{
    size_t n = json_array_size(tokens);
    if (json_array_size(ids) != (size_t)first + n) return false;
    for (size_t i = 0; i < n; i++)
        if (!json_equal(json_array_get(ids, (size_t)first + i), json_object_get(json_array_get(tokens, i), "token")))
            return false;
    return true;
}

/* Goes on with a prompt, so many times. */
static bool time_text(struct comparing *c, const struct runtime_model *model, const json_t *text, struct figures *f,
                      char *why, size_t size)
{
    json_int_t first = json_integer_value(json_object_get(text, "prompt_tokens"));
    json_t *ids = json_object_get(text, "ids"), *prompt = json_array();
    for (json_int_t i = 0; i < first; i++)
        json_array_append(prompt, json_array_get(ids, (size_t)i));
    bool ok = true;
    for (int i = 0; ok && i < c->times; i++) {
        struct asked asked;
        ok = ask(c, model, json_pack("{s:O, s:i, s:i}", "tokens", prompt, "max_tokens", c->max_tokens, "n_top", 0),
                 &asked);
        if (ok) {
            if (f->calls == 0 || asked.seconds < f->least) f->least = asked.seconds;
            if (asked.seconds > f->most) f->most = asked.seconds;
            f->sum += asked.seconds;
            f->calls++;
            f->tokens += count(&asked, "new_tokens");
            f->token_seconds += json_number_value(json_object_get(asked.end, "seconds"));
            if (i == 0) f->same += is_same(ids, first, asked.tokens);
        } else {
            snprintf(why, size, "%s", asked.why);
        }
        asked_free(&asked);
    }
    json_decref(prompt);
    return ok;
}

/* Reads the reference's text: how likely its tokens are here, and how many are the likeliest. */
static bool score_text(struct comparing *c, const struct runtime_model *model, const json_t *text, struct figures *f,
                       char *why, size_t size)
{
    json_int_t first = json_integer_value(json_object_get(text, "prompt_tokens"));
    struct asked asked;
    bool ok = ask(c, model,
                  json_pack("{s:O, s:i, s:b, s:i}", "tokens", json_object_get(text, "ids"), "max_tokens", 0, "echo", 1,
                            "n_top", 1),
                  &asked);
    for (size_t i = (size_t)first; ok && i < json_array_size(asked.tokens); i++) {
        const json_t *token = json_array_get(asked.tokens, i), *logprob = json_object_get(token, "logprob");
        const json_t *likeliest = json_array_get(json_object_get(token, "top"), 0);
        if (!json_is_number(logprob)) continue;
        f->loss -= json_number_value(logprob);
        f->agreed += json_equal(json_object_get(likeliest, "token"), json_object_get(token, "token"));
        f->scored++;
    }
    if (!ok) snprintf(why, size, "%s", asked.why);
    asked_free(&asked);
    return ok;
}

static json_t *real_or_null(bool known, double value)
{
    return known ? json_real(value) : json_null();
}

static json_t *memory_of(struct comparing *c, const char *path)
{
    json_t *running = runtime_list(c->call->server->runtime), *one, *memory = NULL;
    size_t i;
    json_array_foreach(running, i, one) {
        const char *its = json_string_value(json_object_get(one, "path"));
        json_int_t resident = json_integer_value(json_object_get(one, "resident"));
        if (its && strcmp(its, path) == 0 && resident > 0 && !memory) memory = json_integer(resident);
    }
    json_decref(running);
    return memory ? memory : json_null();
}

static json_t *figures_json(struct comparing *c, const struct figures *f, const struct runtime_model *model)
{
    bool timed = f->calls > 0, scored = f->scored > 0;
    return json_pack(
        "{s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:n}", "name", model->name, "size_bytes",
        (json_int_t)model->size, "calls", f->calls, "average_seconds",
        real_or_null(timed, timed ? f->sum / (double)f->calls : 0), "least_seconds", real_or_null(timed, f->least),
        "most_seconds", real_or_null(timed, f->most), "tokens_per_second",
        real_or_null(f->token_seconds > 0, f->token_seconds > 0 ? (double)f->tokens / f->token_seconds : 0),
        "memory_bytes", memory_of(c, model->path), "agreement",
        real_or_null(scored, scored ? (double)f->agreed / (double)f->scored : 0), "loss",
        real_or_null(scored, scored ? f->loss / (double)f->scored : 0), "same_texts",
        json_real((double)f->same / (double)json_array_size(c->texts)), "fault");
}

static json_t *fault_json(const char *name, const char *why)
{
    json_t *o = json_pack("{s:s?, s:s}", "name", name, "fault", why);
    static const char *const empty[] = {
        "size_bytes",        "calls",        "average_seconds", "least_seconds", "most_seconds",
        "tokens_per_second", "memory_bytes", "agreement",       "loss",          "same_texts"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++)
        json_object_set_new(o, empty[i], json_null());
    return o;
}

/* A level's figures, or why there are none. The first that works is the reference. */
static json_t *measure(struct comparing *c, enum level level)
{
    struct server *server = c->call->server;
    struct runtime_model model;
    struct figures f = {.calls = 0};
    char why[900] = "";
    const char *gone = "";
    const json_t *entry = levels_find(server->levels, c->list, c->model.family, level, c->stop), *text;
    size_t i;
    if (!entry) return fault_json(NULL, "there is no such level here; a switch makes it");
    if (!catalog_place(server->store, server->roots, entry, &model, &gone))
        return fault_json(json_string_value(json_object_get(entry, "name")), gone);
    struct asked loaded;
    bool ok = ask_model(server->runtime, &model, json_pack("{s:s}", "do", "load"), "compare", wanted, c, &loaded);
    if (!ok) snprintf(why, sizeof why, "%s", loaded.why);
    asked_free(&loaded);
    if (ok && json_array_size(c->texts) < json_array_size(c->prompts)) {
        json_decref(c->texts);
        ok = make_texts(c, &model, why, sizeof why);
    }
    json_array_foreach(c->texts, i, text)
        ok = ok && time_text(c, &model, text, &f, why, sizeof why) && score_text(c, &model, text, &f, why, sizeof why);
    return ok ? figures_json(c, &f, &model) : fault_json(model.name, *why ? why : "nobody waited for it");
}

/* ---- all of them -------------------------------------------------------------------------------- */

/* A ratio to the reference: above 1, more of it. */
static void relate(json_t *one, const json_t *reference, const char *of, const char *as)
{
    double mine = json_number_value(json_object_get(one, of)), its = json_number_value(json_object_get(reference, of));
    json_object_set_new(one, as, real_or_null(mine > 0 && its > 0, its > 0 ? mine / its : 0));
}

static void relate_all(json_t *one, const json_t *reference)
{
    const json_t *mine = json_object_get(one, "loss"), *its = json_object_get(reference, "loss");
    relate(one, reference, "tokens_per_second", "speedup");
    relate(one, reference, "memory_bytes", "memory_ratio");
    bool known = json_is_number(mine) && json_is_number(its);
    json_object_set_new(one, "loss_difference", real_or_null(known, json_number_value(mine) - json_number_value(its)));
}

static bool is_asked(const struct comparing *c, enum level level)
{
    const json_t *one;
    size_t i;
    json_array_foreach(c->levels, i, one)
        if (level_named(json_string_value(one)) == level) return true;
    return c->levels == NULL;
}

static void run(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct comparing *c = call->state;
    json_t *levels = json_array();
    const json_t *reference = NULL;
    c->stop = stop;
    for (int i = 0; i < N_LEVELS && wanted(c); i++) {
        if (!is_asked(c, level_order[i])) continue;
        json_t *one = measure(c, level_order[i]);
        json_object_set_new(one, "level", json_string(level_text(level_order[i])));
        if (!reference && json_is_null(json_object_get(one, "fault"))) reference = one;
        relate_all(one, reference);
        json_array_append_new(levels, one);
    }
    if (reference)
        api_json(call, 200,
                 json_pack("{s:s, s:O, s:I, s:i, s:i, s:o}", "model", c->model.name, "reference",
                           json_object_get(reference, "name"), "prompts", (json_int_t)json_array_size(c->prompts),
                           "iterations", c->times, "max_tokens", c->max_tokens, "levels", json_incref(levels)));
    else
        api_problem(call, "unsupported", "no level of %s could be measured: %s", c->model.name,
                    json_array_size(levels) ? json_string_value(json_object_get(json_array_get(levels, 0), "fault"))
                                            : "none was asked for");
    json_decref(levels);
}

static bool check(struct api_call *call)
{
    static const struct field fields[] = {{"model", FIELD_TEXT, 1, 500},
                                          {"prompts", FIELD_TEXTS, 1, MOST_PROMPTS},
                                          {"levels", FIELD_TEXTS, 1, N_LEVELS},
                                          {"iterations", FIELD_INTEGER, 1, MOST_TIMES},
                                          {"max_tokens", FIELD_INTEGER, 1, MOST_TOKENS},
                                          {NULL, FIELD_FLAG, 0, 0}};
    static const char *const needed[] = {"model", "prompts"};
    struct faults faults = {0};
    const json_t *one;
    size_t i;
    fields_check(call->body, fields, "", &faults);
    for (i = 0; i < 2; i++)
        if (!json_object_get(call->body, needed[i])) faults_add(&faults, i ? "/prompts" : "/model", "it is needed");
    json_array_foreach(json_object_get(call->body, "levels"), i, one)
        if (level_named(json_string_value(one)) == LEVEL_UNSET)
            faults_add(&faults, "/levels", "expected \"off\", \"8\" or \"4\"");
    if (faults.list) api_problem_at(call, "invalid", faults.list);
    return !faults.list;
}

static int number_or(const json_t *body, const char *name, int otherwise)
{
    const json_t *value = json_object_get(body, name);
    return value ? (int)json_integer_value(value) : otherwise;
}

void api_levels_compare(struct api_call *call)
{
    const char *name = json_string_value(json_object_get(call->body, "model"));
    json_t *list = check(call) ? run_catalog(call) : NULL;
    struct comparing *c = list ? calloc(1, sizeof *c) : NULL;
    if (list && !c) api_problem(call, "internal", "not enough memory");
    if (!c) return json_decref(list);
    c->call = call;
    c->list = list;
    c->prompts = json_incref(json_object_get(call->body, "prompts"));
    c->levels = json_incref(json_object_get(call->body, "levels"));
    c->times = number_or(call->body, "iterations", 1);
    c->max_tokens = number_or(call->body, "max_tokens", 64);
    if (level_switch_find(&c->model, call->server, list, name)) {
        call->state = c;
        call->free_state = free_comparing;
        ht__http_defer(call->request);
        if (helpers_do(call->server->switchers, run, call)) return;
        api_header(call, "Retry-After", "2");
        api_problem(call, "busy", "too many of these are under way");
        return;
    }
    free_comparing(c);
    api_problem(call, "model-not-found", "model \"%.200s\" not found", name);
}
