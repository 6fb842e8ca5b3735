/* Arguments to options of a job, and what all commands that run a job have in common. */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool own_flag(const char *name, struct arguments *args)
{
    bool *flag = strcmp(name, "json") == 0      ? &args->json
                 : strcmp(name, "quiet") == 0   ? &args->quiet
                 : strcmp(name, "dry-run") == 0 ? &args->dry_run
                 : strcmp(name, "tensors") == 0 ? &args->tensors
                 : strcmp(name, "verify") == 0  ? &args->verify
                                                : NULL;
    if (flag) *flag = true;
    return flag != NULL;
}

/* ---- models that are not there ------------------------------------------------------------------ */

struct neighbours {
    DIR *folder;
    char name[256];
};

static const char *neighbour_at(void *ctx, size_t index)
{
    struct neighbours *n = ctx;
    const struct dirent *e = NULL;
    (void)index; /* asked for in order */
    do
        e = readdir(n->folder);
    while (e && (e->d_name[0] == '.' || strlen(e->d_name) >= sizeof n->name));
    return e ? e->d_name : NULL;
}

/* "; did you mean X?", of the files beside it; or nothing. */
static void suggest_file(const char *path, char *text, size_t size)
{
    char folder[4096];
    const char *slash = strrchr(path, '/'), *found = NULL;
    struct neighbours n = {0};
    *text = '\0';
    if (strlen(path) >= sizeof folder) return;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    n.folder = opendir(folder);
    if (!n.folder) return;
    found = ht_text_nearest(slash ? slash + 1 : path, neighbour_at, &n);
    if (found)
        snprintf(text, size, "; did you mean %.*s%s?", slash ? (int)(slash - path) + 1 : 0, slash ? path : "", found);
    closedir(n.folder);
}

int check_model(const struct command *c, const char *model, bool json)
{
    struct ht_diag diag = {.code = HT_ERR_NOT_FOUND, .offset = -1};
    char near[400];
    if (ht_hub_is_name(model) || access(model, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR)) return EXIT_DONE;
    suggest_file(model, near, sizeof near);
    ht_text_escape(model, strlen(model), diag.where, sizeof diag.where);
    snprintf(diag.message, sizeof diag.message, "%s", "no such file or folder");
    size_t used = strlen(diag.message);
    if (*near)
        ht_text_escape(near, strlen(near), diag.message + used, sizeof diag.message - used);
    else
        snprintf(diag.message + used, sizeof diag.message - used, "; models of a hub are named ORG/NAME");
    return report_error(c, diag.code, &diag, json);
}

/* A name that may be a hub's, and is mistyped for a file here, is told after the hub did not know it. */
static void suggest_after(const char *model)
{
    char near[400];
    if (!model || !ht_hub_is_name(model)) return;
    suggest_file(model, near, sizeof near);
    if (!*near) return;
    fputs("there is no such file or folder here either", stderr);
    put_safe(stderr, near);
    fputc('\n', stderr);
}

static int take_model(const struct command *c, const char *arg, struct ht_job *job, struct arguments *args)
{
    bool several = c->run == run_eval; /* any number of models */
    if (!several && args->model) return usage_error(c, "expected one model, got \"%s\" and \"%s\"", args->model, arg);
    args->model = arg;
    ht_job_set(job, several ? "model" : "source", arg, NULL);
    return c->run == run_pull ? EXIT_DONE : check_model(c, arg, args->json); /* what is pulled is not here yet */
}

/* One option with its value, which may follow as the next argument. Returns how many were taken. */
static int take_option(const struct command *c, int argc, char **argv, int i, struct ht_job *job, int *status,
                       struct arguments *args)
{
    const char *arg = argv[i], *equals = strchr(arg, '='), *value = equals ? equals + 1 : NULL;
    struct option o;
    struct ht_diag diag = {0};
    if (!find_option(c->name, arg, &o)) return *status = unknown_argument(c, arg), 1;
    if (o.kind == HT_OPTION_FLAG && !value && own_flag(o.name, args)) return 1;
    int used = 1;
    if (!value && o.kind != HT_OPTION_FLAG) {
        if (i + 1 >= argc) return *status = usage_error(c, "%s needs a value: %s", arg, o.metavar), 1;
        value = argv[i + 1];
        used = 2;
    }
    if (strcmp(o.name, "model") == 0) return *status = take_model(c, value, job, args), used;
    if (strcmp(o.name, "type") == 0 || strcmp(o.name, "method") == 0) args->types = value;
    if (strcmp(o.name, "to-ollama") == 0) return args->to_ollama = value, used;
    enum ht_err err =
        strcmp(o.name, "config") == 0 ? ht_job_config(job, value, &diag) : ht_job_set(job, o.name, value, &diag);
    if (err != HT_OK) *status = report_error(c, err, &diag, args->json);
    return used;
}

/* Asked before the arguments are read, so that their errors are JSON too. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0) return true;
    return false;
}

static int parse(const struct command *c, int argc, char **argv, struct ht_job *job, struct arguments *args)
{
    int status = EXIT_DONE;
    bool options = true;
    hub_from_environment(job);
    args->json = wants_json(argc, argv);
    for (int i = 1; i < argc && status == EXIT_DONE;) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false, i++;
        else if (options && argv[i][0] == '-' && argv[i][1])
            i += take_option(c, argc, argv, i, job, &status, args);
        else
            status = take_model(c, argv[i++], job, args);
    }
    return status;
}

int run_job(const struct command *c, int argc, char **argv, const struct job_verb *verb)
{
    struct ht_job *job;
    struct arguments args = {0};
    struct ht_diag diag = {0};
    char *text = NULL;
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    if (verb->prepare) verb->prepare(c, job);
    int status = parse(c, argc, argv, job, &args);
    if (status == EXIT_DONE && verb->needs_model && !args.model)
        status = usage_error(c, "which model? Give a file, a folder or ORG/NAME");
    if (status == EXIT_DONE && verb->check) status = verb->check(c, &args);
    if (status == EXIT_DONE) {
        watch_job(job, &args, verb->one_object);
        enum ht_err err = verb->run(job, c, &args, &text, &diag);
        progress_done();
        signal(SIGPIPE, SIG_DFL); /* the job is done: a reader that has seen enough is no error */
        json_t *result = err == HT_OK && text ? json_loads(text, 0, NULL) : NULL;
        if (result && verb->after) status = verb->after(c, result, &args);
        if (err != HT_OK)
            status = report_error(c, err, &diag, args.json), suggest_after(args.model);
        else if (args.json)
            puts(text);
        else
            verb->show(c, result, &args);
        if (err == HT_OK && verb->status) status = verb->status(result);
        json_decref(result);
    }
    ht_free(text);
    ht_job_close(&job);
    return status;
}
