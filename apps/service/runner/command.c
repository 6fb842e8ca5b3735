#include "service/runner/command.h"
#include "service/store/store.h"

#include <halftone/halftone.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* As the library takes it: numbers as text. */
static void add_value(json_t *options, const char *name, json_t *value)
{
    if (json_is_integer(value))
        json_object_set_new(options, name, json_sprintf("%lld", (long long)json_integer_value(value)));
    else if (json_is_real(value))
        json_object_set_new(options, name, json_sprintf("%.15g", json_real_value(value)));
    else if (value)
        json_object_set(options, name, value);
}

/* Members of config that are options of the same value. */
static void add_named(json_t *options, const json_t *config)
{
    static const char *const names[][2] = {{"threads", "threads"},
                                           {"effort", "effort"},
                                           {"calibration_length", "calibration-length"},
                                           {"calibration_seed", "calibration-seed"},
                                           {"fit", "fit"},
                                           {"bpw", "bpw"},
                                           {"ctx", "ctx"},
                                           {"gpu", "gpu"},
                                           {"budget_time", "budget-time"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add_value(options, names[i][1], json_object_get(config, names[i][0]));
}

/* A text is looked at when use_imatrix is true, or is absent while a text or a file is named, or when the text is for
 * more than importance: `best` learns from it. */
static void add_importance(json_t *options, const json_t *config)
{
    const json_t *use = json_object_get(config, "use_imatrix"), *effort = json_object_get(config, "effort");
    const char *dataset = json_string_value(json_object_get(config, "imatrix_dataset"));
    const char *calibration = json_string_value(json_object_get(config, "calibration_dataset"));
    bool best = calibration && json_is_string(effort) && strcmp(json_string_value(effort), "best") == 0;
    if (!dataset || best) dataset = calibration ? calibration : dataset;
    if (!best && (use ? !json_is_true(use) : !dataset)) return;
    if (!dataset) dataset = "default";
    bool file = ends_with(dataset, ".gguf") || ends_with(dataset, ".dat") || ends_with(dataset, ".imatrix");
    json_object_set_new(options, file ? "imatrix" : "calibration", json_string(dataset));
    const json_t *samples = json_object_get(config, "calibration_samples");
    if (!file && samples)
        json_object_set_new(options, "chunks", json_sprintf("%lld", (long long)json_integer_value(samples)));
}

json_t *command_options(const json_t *request)
{
    const json_t *config = json_object_get(request, "config"), *given = json_object_get(request, "options");
    json_t *options = json_object();
    const char *name;
    json_t *value;
    add_importance(options, config);
    add_named(options, config);
    if (json_is_true(json_object_get(config, "measure"))) json_object_set_new(options, "measure", json_true());
    json_object_foreach((json_t *)given, name, value) {
        /* a file of importance and a text for it exclude each other: the one that is nearer wins */
        if (strcmp(name, "imatrix") == 0) json_object_del(options, "calibration");
        if (strcmp(name, "calibration") == 0) json_object_del(options, "imatrix");
        add_value(options, name, value);
    }
    return options;
}

bool command_budget(const json_t *options, char *text, size_t size)
{
    const char *fit = json_string_value(json_object_get(options, "fit")),
               *bpw = json_string_value(json_object_get(options, "bpw"));
    bool gpu = json_object_get(options, "gpu") != NULL;
    if (fit)
        snprintf(text, size, "%s", fit);
    else if (bpw && !gpu)
        snprintf(text, size, "%.6gbpw", strtod(bpw, NULL));
    else
        snprintf(text, size, "gpu");
    return fit || bpw || gpu;
}

/* Does the verb take the option? */
static bool takes(const char *verb, const char *name)
{
    struct ht_option_info o;
    size_t n = strlen(verb);
    for (size_t i = 0; ht_option_at(i, &o); i++) {
        if (strcmp(o.name, name) != 0) continue;
        for (const char *p = o.verbs; (p = strstr(p, verb)) != NULL; p += n)
            if ((p == o.verbs || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0')) return true;
    }
    return false;
}

struct words {
    char **items;
    size_t n;
    bool failed;
};

static void add(struct words *w, const char *a, const char *b, const char *c)
{
    char **items = realloc(w->items, (w->n + 2) * sizeof *items), *text = NULL;
    if (items) w->items = items;
    if (!items || asprintf(&text, "%s%s%s", a, b, c) < 0) {
        w->failed = true;
        return;
    }
    items[w->n++] = text;
    items[w->n] = NULL;
}

static void add_option(struct words *w, const char *name, const json_t *value)
{
    const json_t *item;
    size_t i;
    char start[80];
    if (json_is_false(value)) return;
    snprintf(start, sizeof start, "--%s%s", name, json_is_true(value) ? "" : "=");
    if (json_is_true(value)) add(w, start, "", "");
    if (json_is_string(value)) add(w, start, json_string_value(value), "");
    json_array_foreach(value, i, item)
        add(w, start, json_string_value(item) ? json_string_value(item) : "", "");
}

static void add_types(struct words *w, const json_t *request)
{
    const json_t *output;
    size_t i;
    char list[8192] = "";
    json_t *requested = store_requested(request);
    json_array_foreach(requested, i, output) {
        const char *type = json_string_value(json_object_get(output, "quant_type"));
        size_t n = strlen(list);
        if (type) snprintf(list + n, sizeof list - n, "%s%s", n ? "," : "", type);
    }
    json_decref(requested);
    if (*list) add(w, "--type=", list, "");
}

char **command_arguments(const char *verb, const json_t *request, const char *source, const char *const *extra)
{
    struct words w = {0};
    json_t *options = command_options(request), *value;
    const char *name;
    char budget[80];
    add(&w, verb, "", "");
    if (!command_budget(options, budget, sizeof budget)) add_types(&w, request);
    json_object_foreach(options, name, value)
        if (takes(verb, name)) add_option(&w, name, value);
    for (; extra && *extra; extra++)
        add(&w, *extra, "", "");
    add(&w, "--", "", "");
    add(&w, source, "", "");
    if (w.failed || !options) command_free(&w.items);
    json_decref(options);
    return w.items;
}

void command_free(char ***arguments)
{
    for (char **a = *arguments; a && *a; a++)
        free(*a);
    free(*arguments);
    *arguments = NULL;
}

/* Quoted unless every character is one that no shell treats specially. */
static void put_word(FILE *to, const char *word)
{
    const char *plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%_+=:,./-";
    if (*word && strspn(word, plain) == strlen(word)) {
        fputs(word, to);
        return;
    }
    fputc('\'', to);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", to);
        else
            fputc(*word, to);
    fputc('\'', to);
}

char *command_text(char *const *arguments)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to) return NULL;
    fputs("halftone", to);
    for (; *arguments; arguments++) {
        fputc(' ', to);
        put_word(to, *arguments);
    }
    return fclose(to) == 0 ? text : (free(text), NULL);
}
