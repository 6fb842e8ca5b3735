/* pull and hub, and what the environment says about the hub. */
#include "cli.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the environment ---- */

#define HUB_SOCKET "HALFTONE_HUB_SOCKET"

/* The first variable that is set to something. */
static const char *variable(const char *const *names)
{
    for (; *names; names++) {
        const char *value = getenv(*names);
        if (value && *value) return value;
    }
    return NULL;
}

static void set(struct ht_job *job, const char *option, const char *value)
{
    if (value) ht_job_set(job, option, value, NULL);
}

/* $HF_HOME, or where it is when nobody says. false: there is no home. */
static bool hub_home(char path[4000])
{
    const char *home = getenv("HF_HOME"), *cache = getenv("XDG_CACHE_HOME"), *user = getenv("HOME");
    int n = -1;
    if (home && *home)
        n = snprintf(path, 4000, "%s", home);
    else if (cache && *cache)
        n = snprintf(path, 4000, "%s/huggingface", cache);
    else if (user && *user)
        n = snprintf(path, 4000, "%s/.cache/huggingface", user);
    return n > 0 && n < 4000;
}

static void set_cache(struct ht_job *job)
{
    static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", NULL};
    const char *cache = variable(names);
    char home[4000], path[4100];
    if (!cache && hub_home(home)) {
        snprintf(path, sizeof path, "%s/hub", home);
        cache = path;
    }
    set(job, "hub-cache", cache);
}

static void set_token(struct ht_job *job)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGINGFACE_TOKEN", "HUGGING_FACE_HUB_TOKEN", NULL};
    const char *token = variable(names), *file = getenv("HF_TOKEN_PATH");
    char home[4000], path[4100], line[4096] = "";
    if (!token && !(file && *file) && hub_home(home)) {
        snprintf(path, sizeof path, "%s/token", home);
        file = path;
    }
    FILE *f = !token && file && *file ? fopen(file, "re") : NULL;
    if (f && fgets(line, sizeof line, f)) token = line;
    if (f) fclose(f);
    if (!token) return;
    char clean[4096]; /* pasted tokens have blanks and ends of lines around them */
    while (isspace((unsigned char)*token))
        token++;
    snprintf(clean, sizeof clean, "%s", token);
    for (size_t n = strlen(clean); n && isspace((unsigned char)clean[n - 1]); n--)
        clean[n - 1] = '\0';
    if (*clean) set(job, "hub-token", clean);
}

static bool offline_wanted;

bool hub_flag(const char *arg)
{
    if (strcmp(arg, "--offline") != 0) return false;
    return offline_wanted = true;
}

void hub_from_environment(struct ht_job *job)
{
    static const struct {
        const char *option, *names[5];
    } texts[] = {
        {"hub-endpoint", {"HF_ENDPOINT"}},
        {"hub-proxy", {"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}},
        {"hub-no-proxy", {"NO_PROXY", "no_proxy"}},
        {"hub-ca-file", {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}},
        {"hub-timeout", {"HF_HUB_DOWNLOAD_TIMEOUT"}},
        {"hub-tries", {"HALFTONE_HUB_TRIES"}},
        {"hub-socket", {HUB_SOCKET}}, /* what `halftone hub lend` holds the other end of */
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        set(job, texts[i].option, variable(texts[i].names));
    set_cache(job);
    set_token(job);
    const char *offline = getenv("HF_HUB_OFFLINE");
    static const char *const yes[] = {"1", "true", "TRUE", "True", "yes", "YES", "on", "ON"};
    if (offline_wanted) ht_job_set(job, "offline", "true", NULL);
    for (size_t i = 0; offline && i < sizeof yes / sizeof yes[0]; i++)
        if (strcmp(offline, yes[i]) == 0) ht_job_set(job, "offline", "true", NULL);
}

/* ---- pull ---- */

int hub_model(const struct command *c, const char **model, bool tokenizer, bool json)
{
    static char path[4200];
    struct ht_job *job;
    char *text = NULL;
    struct arguments args = {.model = *model, .quiet = json};
    struct ht_diag diag = {0};
    if (!ht_hub_is_name(*model)) return check_model(c, *model, json);
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    hub_from_environment(job);
    if (tokenizer) ht_job_set(job, "vocab-only", "true", NULL);
    watch_job(job, &args, true); /* the output is the command's own */
    enum ht_err err = ht_hub_pull(job, *model, &text, &diag);
    progress_done();
    int status = err == HT_OK ? EXIT_DONE : report_error(c, err, &diag, json);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (status == EXIT_DONE) {
        json_t *answer = json_loads(text, 0, NULL);
        snprintf(path, sizeof path, "%s", json_string_value(json_object_get(answer, "path")));
        *model = path;
        json_decref(answer);
    }
    ht_free(text);
    ht_job_close(&job);
    return status;
}

static void print_files(const json_t *answer)
{
    const json_t *file;
    size_t i;
    char size[32];
    json_array_foreach(json_object_get(answer, "files"), i, file) {
        printf("%10s  ", json_object_get(file, "size") ? human_bytes(number_of(file, "size"), size) : "");
        print_safe(text_of(file, "name"), 0);
        putchar('\n');
    }
}

static void show_pulled(const struct command *c, const json_t *answer, const struct arguments *args)
{
    (void)c, (void)args;
    print_files(answer);
    print_safe(text_of(answer, "path"), 0);
    putchar('\n');
}

static enum ht_err run(struct ht_job *job, const struct command *c, const struct arguments *args, char **json,
                       struct ht_diag *diag)
{
    (void)c;
    return ht_hub_pull(job, args->model, json, diag);
}

int run_pull(const struct command *c, int argc, char **argv)
{
    static const struct job_verb verb = {.run = run, .show = show_pulled, .needs_model = true};
    return run_job(c, argc, argv, &verb);
}

/* ---- hub ---- */

struct hub_args {
    const char *verb, *what, *limit;
    bool json;
};

static int read_args(const struct command *c, int argc, char **argv, struct hub_args *a)
{
    bool options = true;
    for (int i = 1; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && strcmp(argv[i], "--json") == 0)
            a->json = true;
        else if (options && strcmp(argv[i], "--limit") == 0 && i + 1 < argc)
            a->limit = argv[++i];
        else if ((options && argv[i][0] == '-') || a->what)
            return unknown_argument(c, argv[i]);
        else if (!a->verb)
            a->verb = argv[i];
        else
            a->what = argv[i];
    }
    if (!a->verb) return usage_error(c, "expected a command: search or info");
    if (strcmp(a->verb, "lend") == 0 && a->what) return EXIT_DONE;
    if (strcmp(a->verb, "search") != 0 && strcmp(a->verb, "info") != 0)
        return unknown_name(c, "command", a->verb, subcommand_name_at, (void *)(uintptr_t)c);
    return a->what ? EXIT_DONE
                   : usage_error(c, "%s needs %s", a->verb,
                                 strcmp(a->verb, "search") == 0 ? "a text" : "the name of a model");
}

static void print_models(const json_t *answer)
{
    const json_t *m;
    size_t i;
    json_array_foreach(json_object_get(answer, "models"), i, m) {
        print_safe(text_of(m, "id"), 60);
        printf(" %12.0f downloads%s\n", number_of(m, "downloads"),
               json_is_true(json_object_get(m, "gated")) ? ", gated" : "");
    }
}

static void print_info(const json_t *answer)
{
    char size[32];
    print_files(answer);
    printf("%10s  ", human_bytes(number_of(answer, "bytes"), size));
    print_safe(text_of(answer, "id"), 0);
    printf(" at commit ");
    print_safe(text_of(answer, "commit"), 0);
    fputs(*text_of(answer, "license") ? ", license " : "", stdout);
    print_safe(text_of(answer, "license"), 0);
    puts(json_is_true(json_object_get(answer, "gated")) ? ", gated" : "");
}

static int show(const struct command *c, struct ht_job *job, const struct hub_args *a)
{
    struct ht_diag diag = {0};
    char *text = NULL, *end;
    bool search = strcmp(a->verb, "search") == 0;
    long limit = a->limit ? strtol(a->limit, &end, 10) : 20;
    if (a->limit && (*end || end == a->limit || limit < 1 || limit > 100))
        return usage_error(c, "--limit: expected a number from 1 to 100, got \"%s\"", a->limit);
    enum ht_err err =
        search ? ht_hub_search(job, a->what, (int)limit, &text, &diag) : ht_hub_info(job, a->what, &text, &diag);
    if (err != HT_OK) return report_error(c, err, &diag, a->json);
    if (a->json) {
        puts(text);
    } else {
        json_t *answer = json_loads(text, 0, NULL);
        (search ? print_models : print_info)(answer);
        json_decref(answer);
    }
    ht_free(text);
    return EXIT_DONE;
}

static void say(void *ctx, const char *json)
{
    (void)ctx;
    puts(json);
    fflush(stdout);
}

/* For the service alone, and in no help: reads from the hub for a process that may not (ht_hub_lend). */
static int lend(const struct command *c, struct ht_job *job, const char *name)
{
    struct ht_diag diag = {0};
    const char *number = getenv(HUB_SOCKET);
    if (!number) return usage_error(c, "%s names no socket", HUB_SOCKET);
    enum ht_err err = ht_hub_lend(job, name, atoi(number), say, NULL, &diag);
    return err == HT_OK ? EXIT_DONE : report_error(c, err, &diag, true);
}

int run_hub(const struct command *c, int argc, char **argv)
{
    struct ht_job *job;
    struct hub_args a = {0};
    int status = read_args(c, argc, argv, &a);
    if (status != EXIT_DONE) return status;
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    hub_from_environment(job);
    bool lends = strcmp(a.verb, "lend") == 0;
    watch_job(job, &(struct arguments){.quiet = true, .json = lends}, !lends);
    status = lends ? lend(c, job, a.what) : show(c, job, &a);
    ht_job_close(&job);
    return status;
}
