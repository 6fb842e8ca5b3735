#include "service/ollama/ollama.h"

#include <ctype.h>
#include <math.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

bool ollama_fault(struct api_call *call, const char *format, ...)
{
    char detail[500];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    api_problem(call, "bad-request", "%s", detail);
    return false;
}

void ollama_begin(void *ctx, struct ht__http_request *r)
{
    static const char running[] = "Ollama is running";
    bool get = strcmp(ht__http_method(r), "GET") == 0 || strcmp(ht__http_method(r), "HEAD") == 0;
    if (get && strcmp(ht__http_path(r), "/") == 0)
        ht__http_answer_static(r, 200, "text/plain; charset=utf-8", running, sizeof running - 1);
    else
        api_begin(ctx, r);
}

/* ---- times and names ---------------------------------------------------------------------------- */

void ollama_time(double seconds, char text[OLLAMA_TIME])
{
    time_t whole = (time_t)seconds;
    char day[24] = "1970-01-01T00:00:00";
    struct tm tm;
    if (gmtime_r(&whole, &tm)) strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, OLLAMA_TIME, "%s.%06dZ", day, (int)((seconds - floor(seconds)) * 1e6));
}

void ollama_now(char text[OLLAMA_TIME])
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    ollama_time((double)now.tv_sec + (double)now.tv_nsec * 1e-9, text);
}

json_t *ollama_name(const json_t *entry)
{
    const char *name = text_of(entry, "name"), *slash = strrchr(name, '/');
    return strchr(slash ? slash : name, ':') ? json_string(name) : json_sprintf("%s:latest", name);
}

void ollama_digest(const json_t *entry, char digest[65])
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    char text[5000];
    const char *known = text_of(entry, "digest");
    if (strlen(known) == 64) {
        memcpy(digest, known, 65);
        return;
    }
    int n = snprintf(text, sizeof text, "%s%s:%lld:%lld", text_of(entry, "path"), text_of(entry, "variant"),
                     (long long)json_integer_value(json_object_get(entry, "size")),
                     (long long)json_integer_value(json_object_get(entry, "modified")));
    SHA256((const unsigned char *)text, (size_t)n, hash);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(digest + 2 * i, 3, "%02x", hash[i]);
}

/* "8.0B", "135.2M"; "": unknown. */
static void parameter_size(double n, char text[24])
{
    *text = '\0';
    if (n >= 1e9)
        snprintf(text, 24, "%.1fB", n * 1e-9);
    else if (n > 0)
        snprintf(text, 24, "%.2fM", n * 1e-6);
}

json_t *ollama_details(const json_t *entry)
{
    char size[24], level[80];
    const char *family = text_of(entry, "architecture"), *format = text_of(entry, "format");
    parameter_size(json_number_value(json_object_get(entry, "parameters")), size);
    snprintf(level, sizeof level, "%s", text_of(entry, "level"));
    for (char *c = level; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    json_t *families = *family ? json_pack("[s]", family) : json_array();
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "parent_model", text_of(entry, "parent"), "format", format,
                     "family", family, "families", families, "parameter_size", size, "quantization_level",
                     strncmp(level, "FP", 2) == 0 ? level + 1 : level);
}

const char *ollama_model(struct api_call *call)
{
    const char *name = json_string_value(json_object_get(call->body, "model"));
    if (!name || !*name) name = json_string_value(json_object_get(call->body, "name"));
    if (name && *name) return name;
    api_problem(call, "bad-request", "model is required");
    return NULL;
}

/* ---- how long ----------------------------------------------------------------------------------- */

/* "1h30m", "300ms", "-1": false where it is no duration. */
static bool duration(const char *text, double *seconds)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"h", 3600}, {"m", 60}, {"s", 1}};
    bool minus = *text == '-';
    double sum = 0;
    text += minus || *text == '+';
    if (!*text) return false;
    while (*text) {
        char *end;
        if (*text < '0' || *text > '9') return false;
        double n = strtod(text, &end);
        size_t k = 0;
        while (k < sizeof units / sizeof *units && strncmp(end, units[k].unit, strlen(units[k].unit)) != 0)
            k++;
        if (k == sizeof units / sizeof *units && *end) return false;
        sum += n * (*end ? units[k].seconds : 1);
        text = *end ? end + strlen(units[k].unit) : end;
    }
    *seconds = minus ? -sum : sum;
    return sum < 1e12;
}

bool ollama_keep_alive(struct api_call *call, double *seconds)
{
    const json_t *value = json_object_get(call->body, "keep_alive");
    *seconds = (double)NAN;
    if (!value || json_is_null(value)) return true;
    if (json_is_number(value) && fabs(json_number_value(value)) < 1e12)
        return *seconds = json_number_value(value), true;
    if (json_is_string(value) && duration(json_string_value(value), seconds)) return true;
    return ollama_fault(call, "invalid keep_alive: expected seconds, or a duration such as \"5m\"");
}

/* ---- options ------------------------------------------------------------------------------------ */

enum kind { INTEGER, NUMBER, FLAG, TEXTS };
static const struct option {
    const char *name;
    enum kind kind;
    const char *to; /* as the model's process calls it; NULL: nothing here depends on it */
} options[] = {{"temperature", NUMBER, "temperature"},
               {"top_k", INTEGER, "top_k"},
               {"top_p", NUMBER, "top_p"},
               {"min_p", NUMBER, "min_p"},
               {"repeat_penalty", NUMBER, "repeat_penalty"},
               {"repeat_last_n", INTEGER, "repeat_last"},
               {"presence_penalty", NUMBER, "presence_penalty"},
               {"frequency_penalty", NUMBER, "frequency_penalty"},
               {"seed", INTEGER, "seed"},
               {"num_predict", INTEGER, "max_tokens"},
               {"stop", TEXTS, "stops"},
               {"num_ctx", INTEGER, NULL},
               {"num_batch", INTEGER, NULL},
               {"num_keep", INTEGER, NULL},
               {"num_gpu", INTEGER, NULL},
               {"main_gpu", INTEGER, NULL},
               {"num_thread", INTEGER, NULL},
               {"draft_num_predict", INTEGER, NULL},
               {"typical_p", NUMBER, NULL},
               {"use_mmap", FLAG, NULL}};
enum { N_OPTIONS = sizeof options / sizeof *options, MOST_STOPS = 16 };

static bool fits(const json_t *value, enum kind kind)
{
    const json_t *one;
    size_t i;
    if (kind == INTEGER)
        return json_is_integer(value) ||
               (json_is_real(value) && floor(json_real_value(value)) == json_real_value(value));
    if (kind == NUMBER) return json_is_number(value);
    if (kind == FLAG) return json_is_boolean(value);
    if (!json_is_array(value) || json_array_size(value) > MOST_STOPS) return false;
    json_array_foreach(value, i, one)
        if (!json_is_string(one) || json_string_length(one) == 0) return false;
    return true;
}

static bool take_option(struct api_call *call, const struct option *o, json_t *value, json_t *request)
{
    static const char *const kinds[] = {"integer", "float32", "boolean", "a list of texts"};
    if (o->kind == TEXTS && json_is_string(value)) {
        json_t *list = json_pack("[O]", value);
        bool ok = take_option(call, o, list, request);
        json_decref(list);
        return ok;
    }
    if (!fits(value, o->kind)) return ollama_fault(call, "option \"%s\" must be of type %s", o->name, kinds[o->kind]);
    double n = json_number_value(value);
    if (strcmp(o->name, "typical_p") == 0 && n != 1 && n != 0)
        return ollama_fault(call, "option \"typical_p\": this filter is not known here");
    if (!o->to) return true;
    bool off = (n < 0 && (strcmp(o->to, "seed") == 0 || strcmp(o->to, "max_tokens") == 0 ||
                          strcmp(o->to, "repeat_last") == 0)) ||
               (n <= 0 && (strcmp(o->to, "top_p") == 0 || strcmp(o->to, "repeat_penalty") == 0));
    if (off)
        return json_object_del(request, o->to), true; /* another one each time; without an end; the whole context */
    json_object_set(request, o->to, value);
    return true;
}

/* Ollama's own defaults. */
static void set_defaults(json_t *request)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = 1;
    json_object_set_new(request, "temperature", json_real(0.8));
    json_object_set_new(request, "top_k", json_integer(40));
    json_object_set_new(request, "top_p", json_real(0.9));
    json_object_set_new(request, "repeat_last", json_integer(64));
    json_object_set_new(request, "seed", json_integer((json_int_t)(seed >> 11)));
}

bool ollama_options(struct api_call *call, const json_t *given, json_t *request)
{
    const char *name;
    json_t *value;
    if (!json_object_get(request, "temperature")) set_defaults(request);
    json_int_t seed = json_integer_value(json_object_get(request, "seed"));
    if (given && !json_is_null(given) && !json_is_object(given)) return ollama_fault(call, "options must be an object");
    json_object_foreach((json_t *)given, name, value) {
        const struct option *o = options;
        while (o < options + N_OPTIONS && strcmp(o->name, name) != 0)
            o++;
        if (o == options + N_OPTIONS || json_is_null(value)) continue; /* unknown ones are no error there */
        if (!take_option(call, o, value, request)) return false;
    }
    if (!json_object_get(request, "seed")) json_object_set_new(request, "seed", json_integer(seed));
    return true;
}

bool ollama_format(struct api_call *call, json_t *request)
{
    const json_t *format = json_object_get(call->body, "format");
    if (!format || json_is_null(format)) return true;
    if (json_is_string(format) && json_string_length(format) == 0) return true;
    if (json_is_string(format) && strcmp(json_string_value(format), "json") == 0)
        return json_object_set_new(request, "schema", json_string("")) == 0;
    if (!json_is_object(format)) return ollama_fault(call, "invalid format: expected \"json\" or a JSON Schema object");
    char *text = json_dumps(format, JSON_COMPACT);
    json_object_set_new(request, "schema", json_string(text ? text : ""));
    free(text);
    return true;
}
