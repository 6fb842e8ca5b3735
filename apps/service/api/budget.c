/* Calibration, effort and budget of a request: values that can be meant, of members that go together. */
#include "service/api/job_request.h"
#include "service/runner/command.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- values ---- */

static bool is_effort(const char *text)
{
    return strcmp(text, "fast") == 0 || strcmp(text, "best") == 0;
}

/* A number above 0; *rest is what follows. */
static double number(const char *text, const char **rest)
{
    char *end = NULL;
    double value = isdigit((unsigned char)*text) || *text == '.' ? strtod(text, &end) : 0;
    *rest = end ? end : text;
    return isfinite(value) ? value : 0;
}

static bool is_size(const char *text)
{
    const char *rest;
    double value = number(text, &rest);
    if (*rest && strchr("KMGTkmgt", *rest)) rest += 1 + (rest[1] == 'i');
    if (*rest == 'B' || *rest == 'b') rest++;
    return value > 0 && *rest == '\0';
}

static bool is_bits(const char *text)
{
    const char *rest;
    double value = number(text, &rest);
    return value >= .01 && value <= 32 && *rest == '\0';
}

static bool is_time(const char *text)
{
    const char *rest;
    double value = number(text, &rest);
    if (*rest && strchr("smh", *rest)) rest++;
    return value > 0 && *rest == '\0';
}

static bool is_count(const char *text, double least, double most)
{
    const char *rest;
    double value = number(text, &rest);
    return value >= least && value <= most && value == floor(value) && *rest == '\0';
}

static bool is_length(const char *text)
{
    return is_count(text, 16, 1 << 20);
}

static bool is_context(const char *text)
{
    return is_count(text, 1, 1 << 26);
}

static bool is_seed(const char *text)
{
    return is_count(text, 1, UINT32_MAX);
}

/* As the option is called, as a member of config is; of which options one must be there, too. */
static const struct member {
    const char *option, *name;
    bool (*right)(const char *text);
    const char *expected, *of;
} members[] = {
    {"effort", "effort", is_effort, "expected fast or best", NULL},
    {"calibration-length", "calibration_length", is_length, "from 16 to 1048576 are allowed", NULL},
    {"calibration-seed", "calibration_seed", is_seed, "from 1 to 4294967295 are allowed", NULL},
    {"bpw", "bpw", is_bits, "expected bits a weight, from 0.01 to 32", NULL},
    {"fit", "fit", is_size, "expected a size such as 8GB, 300M or 1.5Gi", NULL},
    {"gpu", "gpu", NULL, NULL, NULL},
    {"budget-time", "budget_time", is_time, "expected a time such as 90s, 10m or 2h", "fit bpw gpu"},
};

static void place(const json_t *body, const struct member *m, char *pointer, size_t size)
{
    bool option = json_object_get(json_object_get(body, "options"), m->option) != NULL;
    snprintf(pointer, size, "/%s/%s", option ? "options" : "config", option ? m->option : m->name);
}

static bool has_one(const json_t *options, const char *names)
{
    char name[40];
    for (size_t n; *names; names += n + (names[n] == ' ')) {
        n = strcspn(names, " ");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        if (json_object_get(options, name)) return true;
    }
    return false;
}

static void check(const json_t *body, const json_t *options, const struct member *m, struct faults *faults)
{
    const json_t *value = json_object_get(options, m->option);
    const char *text = json_string_value(value);
    char pointer[80];
    if (!value) return;
    place(body, m, pointer, sizeof pointer);
    if (m->right && (!text || !m->right(text)))
        faults_add(faults, pointer, "%s", m->expected);
    else if (m->of && !has_one(options, m->of))
        faults_add(faults, pointer, "it says nothing without a budget: fit, bpw or gpu");
}

/* ---- what goes together ---- */

/* ctx is the context to run the model with, beside fit and gpu; among options, of other jobs, tokens of a chunk. */
static void check_context(const json_t *body, const json_t *options, struct faults *faults)
{
    static const struct member member = {"ctx", "ctx", is_context, "from 1 to 67108864 are allowed", "fit gpu"};
    const json_t *given = json_object_get(json_object_get(body, "config"), "ctx");
    if (given && !has_one(options, member.of))
        faults_add(faults, "/config/ctx", "it is the context to run the model with: give fit or gpu, too");
    else if (has_one(options, member.of))
        check(body, options, &member, faults);
}

static bool only_gguf(const json_t *formats)
{
    const json_t *format;
    size_t i;
    json_array_foreach(formats, i, format)
        if (!json_is_string(format) || strcasecmp(json_string_value(format), "gguf") != 0) return false;
    return true;
}

/* A budget chooses types itself: nobody else does. */
static void check_alone(const json_t *body, const json_t *options, struct faults *faults)
{
    static const char *const others[] = {"outputs", "gguf_quant_types", "gptq_bits", "awq_bits"};
    char pointer[80];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(pointer, sizeof pointer, "/%s", others[i]);
        if (json_object_get(body, others[i]))
            faults_add(faults, pointer, "a budget (fit, bpw, gpu) chooses the types: leave this out");
    }
    if (!only_gguf(json_object_get(body, "output_formats")))
        faults_add(faults, "/output_formats",
                   "a budget (fit, bpw, gpu) chooses types of GGUF files: gguf alone is possible");
    if (json_object_get(options, "bpw") && has_one(options, "fit gpu")) {
        place(body, &members[3], pointer, sizeof pointer);
        faults_add(faults, pointer, "a size or bits a weight, not both");
    }
}

json_t *budget_read(const json_t *body, const json_t *options, struct faults *faults)
{
    char text[80];
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        check(body, options, &members[i], faults);
    check_context(body, options, faults);
    if (!command_budget(options, text, sizeof text)) return NULL;
    check_alone(body, options, faults);
    return json_pack("[{s:s, s:s, s:{}, s:s}]", "format", "gguf", "type", text, "options", "quant_type", text);
}
