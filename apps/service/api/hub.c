/* The model hub, asked by the program itself in a process that has the network and the token; and `recommend`. */
#include "service/api/estimates.h"
#include "service/api/job_request.h"

#include "service/runner/command.h"

#include <halftone/halftone.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HUB_SECONDS = 30, RECOMMEND_SECONDS = 120, MAX_ARGUMENTS = 16 };

struct asking {
    char *arguments[MAX_ARGUMENTS]; /* ends with NULL */
    int n;
    json_t *request; /* the model that it parses, confined; NULL: it asks the hub */
    double seconds;
    const char *what; /* is asked */
};

static void free_asking(void *state)
{
    struct asking *a = state;
    for (int i = 0; i < a->n; i++)
        free(a->arguments[i]);
    json_decref(a->request);
    free(a);
}

static bool add(struct asking *a, const char *first, const char *rest)
{
    if (!a || a->n + 1 >= MAX_ARGUMENTS) return false;
    return asprintf(&a->arguments[a->n], "%s%s", first, rest) >= 0 ? a->n++, true : (a->arguments[a->n] = NULL, false);
}

static void ask(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct asking *a = call->state;
    struct child_settings settings = {.arguments = (const char *const *)a->arguments,
                                      .environment = a->request ? NULL : call->server->hub_environment,
                                      .timeout_seconds = a->seconds,
                                      .nice = 5,
                                      .unwanted = api_client_left,
                                      .unwanted_ctx = call->request,
                                      .network = !a->request};
    json_t *answer = a->request ? api_ask_reader(call, &settings, a->request, stop, a->what)
                                : api_ask_child(call, &settings, stop, a->what);
    json_object_del(json_object_get(answer, "source"), "path"); /* the place of an upload is not published */
    if (answer) api_json(call, 200, answer);
}

/* Takes over a, which may be NULL or not whole. */
static void ask_later(struct api_call *call, struct asking *a, bool whole)
{
    if (whole) {
        api_later(call, ask, a, free_asking);
        return;
    }
    if (a) free_asking(a);
    api_problem(call, "internal", "not enough memory");
}

static bool printable(const char *text, size_t most)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) return false;
    return *text && strlen(text) <= most;
}

void api_hub_search(struct api_call *call)
{
    const char *words = ht__http_query(call->request, "q");
    int64_t limit = 20;
    char number[32];
    if (!api_query_known(call, "q limit") || !api_query_number(call, "limit", 1, 100, &limit)) return;
    if (!words || !printable(words, 200)) {
        api_problem_at(call, "invalid",
                       json_pack("[{s:s, s:s}]", "pointer", "q", "detail", "expected a text of 1 to 200 bytes"));
        return;
    }
    struct asking *a = calloc(1, sizeof *a);
    snprintf(number, sizeof number, "%lld", (long long)limit);
    bool whole = add(a, "hub", "") && add(a, "search", "") && add(a, "--json", "") && add(a, "--limit", "") &&
                 add(a, number, "") && add(a, "--", "") && add(a, words, "");
    if (a) a->seconds = HUB_SECONDS, a->what = "the search on the hub";
    ask_later(call, a, whole);
}

void api_hub_model(struct api_call *call)
{
    char name[600], source[1400];
    const char *revision = ht__http_query(call->request, "revision");
    struct faults faults = {0};
    if (!api_query_known(call, "revision")) return;
    snprintf(name, sizeof name, "%s/%s", call->segments[0], call->segments[1]);
    json_t *request = json_object();
    source_read(call->server, name, "huggingface", revision, "", request, &faults);
    const char *model = faults.list ? "" : job_request_source(request, source, sizeof source);
    struct asking *a = faults.list ? NULL : calloc(1, sizeof *a);
    bool whole =
        a && add(a, "hub", "") && add(a, "info", "") && add(a, "--json", "") && add(a, "--", "") && add(a, model, "");
    json_decref(request);
    if (a) a->seconds = HUB_SECONDS, a->what = "the hub";
    if (faults.list)
        api_problem_at(call, "invalid", faults.list);
    else
        ask_later(call, a, whole);
}

static bool is_program(const char *name)
{
    struct ht_program_info p = {.size = sizeof p};
    for (size_t i = 0; ht_program_at(i, &p); i++)
        if (strcasecmp(p.name, name) == 0) return true;
    return false;
}

void api_recommend(struct api_call *call)
{
    static const struct field fields[] = {{"source_model", FIELD_TEXT, 1, 1024},
                                          {"source_type", FIELD_TEXT, 1, 20},
                                          {"source_revision", FIELD_TEXT, 1, 200},
                                          {"memory", FIELD_TEXT, 1, 32},
                                          {"gpu", FIELD_TEXT, 1, 64},
                                          {"gpu_count", FIELD_INTEGER, 1, 64},
                                          {"ctx", FIELD_INTEGER, 1, 16777216},
                                          {"cache_type", FIELD_TEXT, 1, 8},
                                          {"for", FIELD_TEXT, 1, 20},
                                          {NULL, FIELD_FLAG, 0, 0}};
    struct faults faults = {0};
    const json_t *b = call->body;
    const char *program = json_string_value(json_object_get(b, "for"));
    const char *model = json_string_value(json_object_get(b, "source_model"));
    const char *memory = json_string_value(json_object_get(b, "memory")),
               *gpu = json_string_value(json_object_get(b, "gpu")),
               *cache = json_string_value(json_object_get(b, "cache_type"));
    json_t *request = json_object();
    char ctx[32], count[32], source[1400];
    fields_check(b, fields, "", &faults);
    if (!json_object_get(b, "source_model")) faults_add(&faults, "/source_model", "a model is required");
    if (memory && settings_size(memory) <= 0) faults_add(&faults, "/memory", "expected a size, such as 8G or 24GB");
    if (gpu && !printable(gpu, 64)) faults_add(&faults, "/gpu", "expected the name of a card");
    if (json_object_get(b, "gpu_count") && !gpu) faults_add(&faults, "/gpu_count", "of which card? gpu says it");
    if (program && !is_program(program)) faults_add(&faults, "/for", "expected a program that /gpus lists");
    if (cache && strcmp(cache, "f16") && strcmp(cache, "q8_0") && strcmp(cache, "q4_0") && strcmp(cache, "f32"))
        faults_add(&faults, "/cache_type", "expected f16, q8_0, q4_0 or f32");
    if (!faults.list && model)
        source_read(call->server, model, json_string_value(json_object_get(b, "source_type")),
                    json_string_value(json_object_get(b, "source_revision")), "/source_model", request, &faults);
    if (faults.list) {
        json_decref(request);
        api_problem_at(call, "invalid", faults.list);
        return;
    }
    struct asking *a = calloc(1, sizeof *a);
    snprintf(ctx, sizeof ctx, "%lld", (long long)json_integer_value(json_object_get(b, "ctx")));
    snprintf(count, sizeof count, "%lld", (long long)json_integer_value(json_object_get(b, "gpu_count")));
    bool whole = add(a, "recommend", "") && add(a, "--json", "") && (!memory || add(a, "--memory=", memory)) &&
                 (!gpu || add(a, "--gpu=", gpu)) && (!json_object_get(b, "ctx") || add(a, "--ctx=", ctx)) &&
                 (!json_object_get(b, "gpu_count") || add(a, "--gpu-count=", count)) &&
                 (!cache || add(a, "--cache-type=", cache)) && (!program || add(a, "--for=", program)) &&
                 add(a, "--", "") && add(a, job_request_source(request, source, sizeof source), "");
    if (a) a->seconds = RECOMMEND_SECONDS, a->what = "the recommendation";
    if (a) a->request = json_incref(request);
    json_decref(request);
    ask_later(call, a, whole);
}
