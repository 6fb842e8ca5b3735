/* jobs submit: the options of `quantize`, sent to a server instead. */
#include "jobs.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct submission {
    json_t *body, *options, *types, *models;
    const char *key;
    bool watch, dry_run;
};

/* Length of the first type: "gptq:bits=3,group=64" has commas between its options. */
static size_t type_length(const char *text)
{
    size_t n = strcspn(text, ",");
    while (text[n] == ',' && text[n + 1 + strcspn(text + n + 1, "=:,")] == '=')
        n += 1 + strcspn(text + n + 1, ",");
    return n;
}

static void add_types(struct submission *s, const char *value)
{
    for (const char *p = value; *p; p += strspn(p, ",")) {
        size_t n = type_length(p);
        json_array_append_new(s->types, json_pack("{s:s%}", "type", p, n));
        p += n;
    }
}

static void set_option(struct submission *s, const struct option *o, const char *value)
{
    if (strcmp(o->name, "type") == 0) {
        add_types(s, value);
    } else if (o->kind == HT_OPTION_FLAG) {
        json_object_set_new(s->options, o->name, json_true());
    } else if (o->kind == HT_OPTION_LIST) {
        if (!json_object_get(s->options, o->name)) json_object_set_new(s->options, o->name, json_array());
        json_array_append_new(json_object_get(s->options, o->name), json_string(value));
    } else {
        json_object_set_new(s->options, o->name, json_string(value));
    }
}

/* An option of quantize at argv[*i], of those that are the library's. EXIT_DONE or a status. */
static int quantize_option(const struct command *c, struct submission *s, int argc, char **argv, int *i)
{
    struct option o;
    const char *equals = strchr(argv[*i], '='), *value = equals ? equals + 1 : NULL;
    if (!find_option("quantize", argv[*i], &o) || strcmp(o.group, "General") == 0) return unknown_argument(c, argv[*i]);
    if (!value && o.kind != HT_OPTION_FLAG) {
        if (*i + 1 >= argc) return usage_error(c, "%s needs a value: %s", argv[*i], o.metavar);
        value = argv[++*i];
    }
    set_option(s, &o, value);
    return EXIT_DONE;
}

/* What lies here is named by its whole path to a server that runs here too; anything else is the server's to
 * understand. */
static void add_model(const struct remote *r, struct submission *s, const char *model)
{
    char path[PATH_MAX];
    bool here = r->here && realpath(model, path) != NULL;
    json_array_append_new(s->models, json_string(here ? path : model));
}

static int own_option(const struct command *c, struct submission *s, int argc, char **argv, int *i)
{
    static const char *const texts[][2] = {{"--name", "name"},
                                           {"--description", "description"},
                                           {"--source-type", "source_type"},
                                           {"--revision", "source_revision"}};
    const char *value;
    char *end;
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
        if (take_value(texts[k][0], argc, argv, i, &value)) {
            json_object_set_new(s->body, texts[k][1], json_string(value));
            return EXIT_DONE;
        }
    if (take_value("--idempotency-key", argc, argv, i, &s->key)) return EXIT_DONE;
    if (take_value("--priority", argc, argv, i, &value)) {
        long n = strtol(value, &end, 10);
        if (!*value || *end || n < -100 || n > 100)
            return usage_error(c, "--priority: expected a number from -100 to 100, got \"%s\"", value);
        json_object_set_new(s->body, "priority", json_integer(n));
        return EXIT_DONE;
    }
    if (strcmp(argv[*i], "--watch") == 0)
        s->watch = true;
    else if (strcmp(argv[*i], "--dry-run") == 0)
        s->dry_run = true;
    else
        return quantize_option(c, s, argc, argv, i);
    return EXIT_DONE;
}

static int read_arguments(const struct remote *r, struct submission *s, int argc, char **argv)
{
    const struct command *c = r->command;
    bool options = true;
    int status = EXIT_DONE;
    for (int i = 1; i < argc && status == EXIT_DONE; i++) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && argv[i][0] == '-')
            status = own_option(c, s, argc, argv, &i);
        else
            add_model(r, s, argv[i]);
    }
    if (status != EXIT_DONE) return status;
    size_t n = json_array_size(s->models);
    if (n == 0) return usage_error(c, "which model? Give its name or path");
    if (n == 1)
        json_object_set(s->body, "source_model", json_array_get(s->models, 0));
    else
        json_object_set(s->body, "source_models", s->models);
    if (json_array_size(s->types)) json_object_set(s->body, "outputs", s->types);
    if (json_object_size(s->options)) json_object_set(s->body, "options", s->options);
    return EXIT_DONE;
}

static int after(struct remote *r, const struct submission *s, json_t *answer)
{
    const json_t *jobs = json_object_get(answer, "jobs"), *job;
    size_t i;
    char id[33];
    int status = EXIT_DONE;
    if (r->json || s->dry_run) {
        if (!s->watch || s->dry_run) return print_answer(answer);
    } else if (jobs) {
        json_array_foreach(jobs, i, job)
            printf("%s\n", text_of(job, "id"));
    } else {
        printf("%s\n", text_of(answer, "id"));
    }
    fflush(stdout);
    snprintf(id, sizeof id, "%s", text_of(answer, "id"));
    if (s->watch && *id) status = watch_remote_job(r, id);
    json_array_foreach(jobs, i, job) {
        snprintf(id, sizeof id, "%s", text_of(job, "id"));
        int one = s->watch ? watch_remote_job(r, id) : EXIT_DONE;
        if (one != EXIT_DONE) status = one;
    }
    json_decref(answer);
    return status;
}

int jobs_submit(struct remote *r, int argc, char **argv)
{
    struct submission s = {
        .body = json_object(), .options = json_object(), .types = json_array(), .models = json_array()};
    json_t *answer = NULL;
    int status = read_arguments(r, &s, argc, argv);
    if (status == EXIT_DONE)
        status = remote_send(r, "POST", s.dry_run ? "/api/v1/quantize/jobs?dry_run=true" : "/api/v1/quantize/jobs",
                             json_incref(s.body), s.key, &answer);
    if (status == EXIT_DONE) status = after(r, &s, answer);
    json_decref(s.body);
    json_decref(s.options);
    json_decref(s.types);
    json_decref(s.models);
    return status;
}
