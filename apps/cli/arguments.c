/* Arguments to options. Every option of the library is one here; two have letters. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

bool option_at(size_t index, struct ht_option_info *o)
{
    size_t n = 0;
    while (ht_option_at(n, o))
        if (n++ == index) return true;
    return ht_generator_option_at(index - n, o);
}

bool option_is_for(const struct ht_option_info *option, const char *verb)
{
    size_t n = strlen(verb);
    for (const char *p = option->verbs; (p = strstr(p, verb)) != NULL; p += n)
        if ((p == option->verbs || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0')) return true;
    return false;
}

static bool find_option(const char *verb, const char *name, size_t len, struct ht_option_info *o)
{
    for (size_t i = 0; ht_option_at(i, o); i++)
        if (strlen(o->name) == len && strncmp(o->name, name, len) == 0 && option_is_for(o, verb)) return true;
    return false;
}

static bool own_flag(const char *arg, struct arguments *args)
{
    if (strcmp(arg, "--json") == 0) return args->json = true;
    if (strcmp(arg, "--quiet") == 0) return args->quiet = true;
    if (strcmp(arg, "--dry-run") == 0) return args->dry_run = true;
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) return args->help = true;
    return false;
}

/* One option with its value, which may follow as the next argument. Returns how many were taken. */
static int take_option(const struct command *c, int argc, char **argv, int i, struct ht_job *job,
                       int *status, bool json)
{
    const char *arg = argv[i], *name = arg + 2;
    struct ht_option_info o;
    struct ht_diag diag = {0};
    if (strcmp(arg, "-t") == 0) name = "type";
    if (strcmp(arg, "-o") == 0) name = "output";
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    bool config = len == 6 && strncmp(name, "config", 6) == 0;
    if (!config && !find_option(c->name, name, len, &o)) {
        *status = usage_error(c, "there is no option %s", arg);
        return 1;
    }
    int used = 1;
    if (!value && (config || o.kind != HT_OPTION_FLAG)) {
        if (i + 1 >= argc) {
            *status = usage_error(c, "%s wants a value", arg);
            return 1;
        }
        value = argv[i + 1];
        used = 2;
    }
    enum ht_err err = config ? ht_job_config(job, value, &diag) : ht_job_set(job, o.name, value, &diag);
    if (err != HT_OK) *status = report_error(c, err, &diag, json);
    return used;
}

int parse_job_arguments(const struct command *c, int argc, char **argv, struct ht_job *job,
                        struct arguments *args)
{
    int status = EXIT_DONE;
    hub_from_environment(job);
    bool options = true, several = c->run == run_eval; /* any number of models */
    for (int i = 1; i < argc && status == EXIT_DONE;) {
        const char *arg = argv[i];
        if (options && strcmp(arg, "--") == 0) {
            options = false;
            i++;
        } else if (options && own_flag(arg, args)) {
            i++;
        } else if (options && arg[0] == '-' && (arg[1] == '-' || ((arg[1] == 't' || arg[1] == 'o') && !arg[2]))) {
            i += take_option(c, argc, argv, i, job, &status, args->json);
        } else if (options && arg[0] == '-' && arg[1]) {
            status = usage_error(c, "there is no option %s", arg);
        } else if (several) {
            args->model = arg;
            ht_job_set(job, "model", arg, NULL);
            i++;
        } else if (args->model) {
            status = usage_error(c, "one model is wanted, but \"%s\" and \"%s\" were given", args->model, arg);
        } else {
            args->model = arg;
            i++;
        }
    }
    if (status == EXIT_DONE && args->model && !several) ht_job_set(job, "source", args->model, NULL);
    return status;
}
