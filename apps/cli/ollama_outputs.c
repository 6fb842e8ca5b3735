/* quantize --to-ollama: what was made becomes models of an Ollama server. */
#include "ollama.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static int open_server(struct remote *r, const struct command *c, bool json)
{
    const struct remote_options options = {.json = json};
    return remote_open(r, &ollama_server, c, &options);
}

/* Types of which folders are made are known before; a name may stand between commas, with options behind it. */
static int check_types(const struct command *c, const char *types)
{
    struct ht_scheme_info scheme = {.size = sizeof scheme};
    for (const char *p = types; p && *p; p += strspn(p, ",")) {
        size_t n = strcspn(p, ",:@");
        for (size_t i = 0; ht_scheme_at(i, &scheme); i++)
            if (strlen(scheme.name) == n && strncasecmp(scheme.name, p, n) == 0)
                return usage_error(c, "--to-ollama: Ollama takes GGUF files, and %s makes a folder", scheme.name);
        p += strcspn(p, ",");
    }
    return EXIT_DONE;
}

int ollama_check_outputs(const struct command *c, const struct arguments *args)
{
    struct remote r;
    if (!args->to_ollama) return EXIT_DONE;
    if (!ollama_name_is_good(args->to_ollama))
        return usage_error(c, "--to-ollama: \"%.400s\" is not a name of a model: expected [NAMESPACE/]MODEL[:TAG]",
                           args->to_ollama);
    int status = check_types(c, args->types);
    if (status != EXIT_DONE || args->dry_run) return status;
    status = open_server(&r, c, args->json);
    if (status == EXIT_DONE) status = remote_call(&r, "GET", "/api/version", NULL, NULL);
    remote_close(&r);
    return status;
}

/* As that world writes levels: q4_K_M, q8_0, fp16. */
static void level_of(const char *type, char level[40])
{
    size_t n = strcspn(type, "_");
    bool is_float = type[0] == 'F' && isdigit((unsigned char)type[1]);
    snprintf(level, 40, "%s%.30s", is_float ? "fp" : "", type + is_float);
    for (size_t i = 0; i < n && level[i]; i++)
        level[i] = (char)tolower((unsigned char)level[i]);
}

static bool name_of(const char *wanted, const char *type, bool several, char name[600])
{
    char level[40];
    const char *slash = strrchr(wanted, '/');
    level_of(type, level);
    if (several)
        snprintf(name, 600, "%.500s%c%s", wanted, strchr(slash ? slash : wanted, ':') ? '-' : ':', level);
    else
        snprintf(name, 600, "%.500s", wanted);
    return ollama_name_is_good(name);
}

static int send_output(struct remote *r, const json_t *output, const struct arguments *args, bool several)
{
    char name[600], *path = strdup(text_of(output, "path"));
    struct ollama_model m = {.name = name, .files = &path, .n_files = 1, .quiet = args->quiet || args->json};
    int status = EXIT_RESOURCES;
    if (path && !name_of(args->to_ollama, text_of(output, "type"), several, name))
        status = usage_error(r->command, "--to-ollama: \"%s\" is not a name of a model", name);
    else if (path)
        status = ollama_make(r, &m);
    free(path);
    return status;
}

int ollama_send_outputs(const struct command *c, const json_t *report, const struct arguments *args)
{
    const json_t *outputs = json_object_get(report, "outputs"), *o;
    struct remote r;
    size_t i;
    if (!args->to_ollama || args->dry_run) return EXIT_DONE;
    progress_done();
    signal(SIGINT, SIG_DFL); /* there is no job any more that would be cancelled */
    signal(SIGTERM, SIG_DFL);
    int status = open_server(&r, c, args->json);
    r.json = false; /* the report is the last line */
    json_array_foreach(outputs, i, o)
        if (status == EXIT_DONE) status = send_output(&r, o, args, json_array_size(outputs) > 1);
    remote_close(&r);
    return status;
}
