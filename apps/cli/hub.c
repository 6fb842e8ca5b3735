/* pull and hub, and what the environment says about the hub. */
#include "cli.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the environment ---- */

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

static int pull(const struct command *c, struct ht_job *job, const char *name, bool json, char **text)
{
    struct ht_diag diag = {0};
    enum ht_err err = ht_hub_pull(job, name, text, &diag);
    progress_done();
    return err == HT_OK ? EXIT_DONE : report_error(c, err, &diag, json);
}

int hub_model(const struct command *c, const char **model, bool tokenizer, bool json)
{
    static char path[4200];
    struct ht_job *job;
    char *text = NULL;
    if (!ht_hub_is_name(*model)) return EXIT_DONE;
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    hub_from_environment(job);
    if (tokenizer) ht_job_set(job, "vocab-only", "true", NULL);
    watch_job(job, false, json); /* the output is the command's own */
    int status = pull(c, job, *model, json, &text);
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
    json_array_foreach(json_object_get(answer, "files"), i, file)
        printf("%10s  %s\n",
               json_object_get(file, "size")
                   ? human_bytes((double)json_integer_value(json_object_get(file, "size")), size)
                   : "",
               json_string_value(json_object_get(file, "name")));
}

int run_pull(const struct command *c, int argc, char **argv)
{
    struct ht_job *job;
    struct arguments args = {0};
    char *text = NULL;
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    int status = parse_job_arguments(c, argc, argv, job, &args);
    if (args.help) {
        print_help(c);
    } else if (status == EXIT_DONE && !args.model) {
        status = usage_error(c, "no model was named");
    } else if (status == EXIT_DONE) {
        watch_job(job, args.json, args.quiet);
        status = pull(c, job, args.model, args.json, &text);
    }
    if (text && args.json) {
        puts(text);
    } else if (text) {
        json_t *answer = json_loads(text, 0, NULL);
        print_files(answer);
        printf("%s\n", json_string_value(json_object_get(answer, "path")));
        json_decref(answer);
    }
    ht_free(text);
    ht_job_close(&job);
    return status;
}

/* ---- hub ---- */

struct hub_args {
    const char *verb, *what, *limit;
    bool json, help;
};

static int read_args(const struct command *c, int argc, char **argv, struct hub_args *a)
{
    bool options = true;
    for (int i = 1; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && strcmp(argv[i], "--json") == 0)
            a->json = true;
        else if (options && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0))
            a->help = true;
        else if (options && strcmp(argv[i], "--limit") == 0 && i + 1 < argc)
            a->limit = argv[++i];
        else if ((options && argv[i][0] == '-') || a->what)
            return usage_error(c, "\"%s\" was not expected", argv[i]);
        else if (!a->verb)
            a->verb = argv[i];
        else
            a->what = argv[i];
    }
    if (a->help) return EXIT_DONE;
    if (!a->verb || (strcmp(a->verb, "search") != 0 && strcmp(a->verb, "info") != 0))
        return usage_error(c, "search or info is wanted");
    return a->what ? EXIT_DONE
                   : usage_error(c, "%s is wanted", strcmp(a->verb, "search") == 0 ? "a text" : "a model's name");
}

static void print_models(const json_t *answer)
{
    const json_t *m;
    size_t i;
    json_array_foreach(json_object_get(answer, "models"), i, m)
        printf("%-60s %12lld downloads%s\n", json_string_value(json_object_get(m, "id")),
               (long long)json_integer_value(json_object_get(m, "downloads")),
               json_is_true(json_object_get(m, "gated")) ? ", gated" : "");
}

static void print_info(const json_t *answer)
{
    char size[32];
    print_files(answer);
    printf("%10s  %s at commit %s\n",
           human_bytes((double)json_integer_value(json_object_get(answer, "bytes")), size),
           json_string_value(json_object_get(answer, "id")), json_string_value(json_object_get(answer, "commit")));
}

static int show(const struct command *c, struct ht_job *job, const struct hub_args *a)
{
    struct ht_diag diag = {0};
    char *text = NULL, *end;
    bool search = strcmp(a->verb, "search") == 0;
    long limit = a->limit ? strtol(a->limit, &end, 10) : 20;
    if (a->limit && (*end || end == a->limit || limit < 1 || limit > 100))
        return usage_error(c, "--limit %s: a number from 1 to 100 is wanted", a->limit);
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

int run_hub(const struct command *c, int argc, char **argv)
{
    struct ht_job *job;
    struct hub_args a = {0};
    int status = read_args(c, argc, argv, &a);
    if (a.help) return print_help(c), EXIT_DONE;
    if (status != EXIT_DONE) return status;
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    hub_from_environment(job);
    watch_job(job, false, true);
    status = show(c, job, &a);
    ht_job_close(&job);
    return status;
}
