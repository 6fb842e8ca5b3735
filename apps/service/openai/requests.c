#include "service/openai/requests.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MOST_STOPS = 16, MOST_STOP = 1000 };

static bool take_stops(struct api_call *call, const json_t *stop, json_t *request)
{
    json_t *list = json_is_string(stop) ? json_pack("[O]", stop) : json_incref((json_t *)stop);
    const json_t *one;
    size_t i;
    bool ok = json_is_array(list) && json_array_size(list) <= MOST_STOPS;
    json_array_foreach(list, i, one)
        ok = ok && json_is_string(one) && json_string_length(one) > 0 && json_string_length(one) <= MOST_STOP;
    if (ok)
        json_object_set_new(request, "stops", list);
    else
        json_decref(list);
    return ok ||
           known_fault(call, "/stop", "expected a text, or a list of at most %d texts that are not empty", MOST_STOPS);
}

/* {"type": "text" | "json_object" | "json_schema", "json_schema": {"schema": {…}}} */
static bool take_format(struct api_call *call, const json_t *format, json_t *request)
{
    const char *type = json_string_value(json_object_get(format, "type"));
    const json_t *schema = json_object_get(json_object_get(format, "json_schema"), "schema");
    if (type && strcmp(type, "text") == 0) return true;
    if (type && strcmp(type, "json_object") == 0) {
        schema = json_object_get(format, "schema"); /* as llama.cpp's server takes it */
        if (!schema) return json_object_set_new(request, "schema", json_string("")) == 0;
    } else if (!type || strcmp(type, "json_schema") != 0) {
        return known_fault(call, "/response_format/type", "expected \"text\", \"json_object\" or \"json_schema\"");
    }
    if (!json_is_object(schema))
        return known_fault(call, "/response_format/json_schema/schema", "expected a JSON Schema");
    char *text = json_dumps(schema, JSON_COMPACT);
    json_object_set_new(request, "schema", json_string(text ? text : ""));
    free(text);
    return true;
}

/* Without a seed every answer is another one; it stays below 2^53, where all readers of JSON agree. */
static json_int_t random_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = 1;
    return (json_int_t)(seed >> 11);
}

static void take_numbers(const json_t *body, json_t *request)
{
    static const char *const names[][2] = {{"temperature", "temperature"},
                                           {"top_p", "top_p"},
                                           {"min_p", "min_p"},
                                           {"max_tokens", "max_tokens"},
                                           {"max_completion_tokens", "max_tokens"},
                                           {"presence_penalty", "presence_penalty"},
                                           {"frequency_penalty", "frequency_penalty"},
                                           {"repetition_penalty", "repeat_penalty"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_object_get(body, names[i][0]))
            json_object_set(request, names[i][1], json_object_get(body, names[i][0]));
    json_int_t top_k = json_integer_value(json_object_get(body, "top_k"));
    json_object_set_new(request, "top_k", json_integer(top_k > 0 ? top_k : 0));
    const json_t *top_p = json_object_get(body, "top_p"), *seed = json_object_get(body, "seed");
    if (top_p && json_number_value(top_p) <= 0) { /* the likeliest token alone */
        json_object_set_new(request, "top_p", json_real(1));
        json_object_set_new(request, "top_k", json_integer(1));
    }
    json_object_set_new(request, "seed", seed ? json_incref((json_t *)seed) : json_integer(random_seed()));
}

json_t *requests_of(struct api_call *call, const json_t *body)
{
    const json_t *stop = json_object_get(body, "stop"), *format = json_object_get(body, "response_format");
    json_t *request = json_pack("{s:s}", "do", "text");
    take_numbers(body, request);
    bool ok = (!stop || take_stops(call, stop, request)) && (!format || take_format(call, format, request));
    if (ok && json_object_size(json_object_get(body, "logit_bias")) > 0)
        ok = known_fault(call, "/logit_bias", "single tokens cannot be favoured here");
    if (ok) return request;
    json_decref(request);
    return NULL;
}

json_t *requests_copies(const json_t *request, size_t n)
{
    json_t *list = json_array();
    json_int_t seed = json_integer_value(json_object_get(request, "seed"));
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_copy((json_t *)request);
        if (i) json_object_set_new(one, "seed", json_integer((json_int_t)((uint64_t)seed + i)));
        json_array_append_new(list, one);
    }
    return list;
}

bool requests_want_usage(const json_t *body)
{
    return json_is_true(json_object_get(json_object_get(body, "stream_options"), "include_usage"));
}

const char *requests_model(struct api_call *call, const json_t *body)
{
    const char *name = json_string_value(json_object_get(body, "model"));
    if (!name) known_fault(call, "/model", "expected the name of a model");
    return name;
}

static bool are_tokens(const json_t *list)
{
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one)
        if (!json_is_integer(one)) return false;
    return i > 0;
}

json_t *requests_texts(const json_t *given, size_t most)
{
    const json_t *one;
    size_t i;
    if (json_is_string(given) || are_tokens(given)) return json_pack("[O]", given);
    if (!json_is_array(given) || json_array_size(given) == 0 || json_array_size(given) > most) return NULL;
    json_array_foreach(given, i, one)
        if (!json_is_string(one) && !(json_is_array(one) && are_tokens(one))) return NULL;
    return json_incref((json_t *)given);
}
