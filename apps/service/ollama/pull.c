/* POST /api/pull: a model of the hub into its cache, known by the name that was asked for. */
#include "service/api/estimates.h"
#include "service/ollama/progress.h"
#include "service/runtime/own.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct pulling {
    struct progress progress;
    struct server *server;
    char name[200], repository[200], level[80]; /* "": the whole model */
    char path[PATH_MAX], message[600];
    json_int_t total, done;
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static bool on_line(void *ctx, json_t *value, const char *text)
{
    struct pulling *p = ctx;
    const char *event = text_of(value, "event");
    (void)text;
    if (strcmp(event, "error") == 0) {
        snprintf(p->message, sizeof p->message, "%s", text_of(value, "message"));
    } else if (strcmp(event, "progress") == 0 && json_object_get(value, "total")) {
        json_int_t done = (json_int_t)json_number_value(json_object_get(value, "done"));
        if (done == p->done) return true;
        p->done = done;
        progress_say(&p->progress,
                     json_pack("{s:s, s:s, s:O, s:O}", "status", "pulling model", "digest", "", "total",
                               json_object_get(value, "total"), "completed", json_object_get(value, "done")));
    } else if (*text_of(value, "path")) {
        snprintf(p->path, sizeof p->path, "%s", text_of(value, "path"));
    }
    return true;
}

/* Of a folder of GGUF files the one of the level. */
static bool choose_file(struct pulling *p)
{
    char name[PATH_MAX] = "";
    struct stat info;
    if (!*p->level || (stat(p->path, &info) == 0 && S_ISREG(info.st_mode))) return true;
    DIR *dir = opendir(p->path);
    struct dirent *e;
    while (dir && (e = readdir(dir)) != NULL) {
        size_t n = strlen(e->d_name);
        bool later = strstr(e->d_name, "-of-") && !strstr(e->d_name, "-00001-of-");
        if (n > 5 && strcmp(e->d_name + n - 5, ".gguf") == 0 && strcasestr(e->d_name, p->level) && !later)
            snprintf(name, sizeof name, "%s", e->d_name);
    }
    if (dir) closedir(dir);
    size_t n = strlen(p->path);
    return *name && snprintf(p->path + n, sizeof p->path - n, "/%s", name) < (int)(sizeof p->path - n);
}

static bool keep_name(struct pulling *p, char *why, size_t size)
{
    struct stat info;
    bool file = stat(p->path, &info) == 0 && S_ISREG(info.st_mode);
    json_t *entry =
        json_pack("{s:s, s:s, s:s}", "blob", p->path, "level", p->level, "format", file ? "gguf" : "safetensors");
    json_t *own = ollama_own(p->name, entry);
    bool kept = own_put(store_folder(p->server->store), own, why, size);
    json_decref(own);
    json_decref(entry);
    return kept;
}

static void end(struct pulling *p, bool pulled, const struct child_exit *exit)
{
    char why[900];
    if (!pulled || !*p->path) {
        const char *line = strrchr(exit->error_text, '\n');
        snprintf(why, sizeof why, "pull model: %.800s", *p->message ? p->message : line ? line + 1 : exit->error_text);
        progress_failure(&p->progress, exit->end == CHILD_EXITED ? "bad-request" : "stopping", why);
    } else if (!choose_file(p)) {
        snprintf(why, sizeof why, "pull model: %s has no file of the level %s", p->repository, p->level);
        progress_failure(&p->progress, "not-found", why);
    } else if (!keep_name(p, why, sizeof why)) {
        progress_failure(&p->progress, "internal", why);
    } else {
        progress_status(&p->progress, "writing manifest");
        progress_success(&p->progress);
    }
}

static void run(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct pulling *p = call->state;
    char glob[100];
    const char *whole[] = {"pull", "--json", "--", p->repository, NULL};
    const char *part[] = {"pull", "--json", "--include", glob, "--", p->repository, NULL};
    struct child_settings settings = {.arguments = *p->level ? part : whole,
                                      .environment = p->server->hub_environment,
                                      .network = true,
                                      .max_output = SIZE_MAX,
                                      .unwanted = progress_left,
                                      .unwanted_ctx = &p->progress};
    struct child_exit exit;
    call->state = NULL; /* a stream outlives the call */
    call->free_state = NULL;
    snprintf(glob, sizeof glob, "*%s*.gguf", p->level);
    progress_status(&p->progress, "pulling manifest");
    bool pulled = child_run(&settings, stop, on_line, NULL, p, &exit);
    end(p, pulled, &exit);
    free(p);
}

/* "hf.co/ORG/NAME:q4_K_M": ORG/NAME and Q4_K_M. false: it is no name of the hub. */
static bool take_apart(struct pulling *p, const char *name)
{
    static const char *const hosts[] = {"hf.co/", "huggingface.co/"};
    const char *at = name;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (strncmp(name, hosts[i], strlen(hosts[i])) == 0) at = name + strlen(hosts[i]);
    const char *tag = strchr(at, ':'), *slash = strchr(at, '/');
    snprintf(p->repository, sizeof p->repository, "%.*s", tag ? (int)(tag - at) : (int)strlen(at), at);
    if (tag && strcasecmp(tag + 1, "latest") != 0) snprintf(p->level, sizeof p->level, "%s", tag + 1);
    for (char *c = p->level; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return slash && (!tag || slash < tag) && !strchr(slash + 1, '/');
}

static void answer_there(struct api_call *call)
{
    struct progress p = {.call = call, .streams = !json_is_false(json_object_get(call->body, "stream"))};
    progress_status(&p, "pulling manifest");
    progress_success(&p);
}

void api_ollama_pull(struct api_call *call)
{
    const char *name = ollama_model(call);
    json_t *list = name ? run_catalog(call) : NULL;
    if (!list) return;
    bool there = catalog_find(list, name) != NULL;
    json_decref(list);
    if (there) return answer_there(call);
    struct pulling *p = calloc(1, sizeof *p);
    if (!p) {
        api_problem(call, "internal", "not enough memory");
        return;
    }
    p->server = call->server;
    p->progress = (struct progress){.call = call, .streams = !json_is_false(json_object_get(call->body, "stream"))};
    snprintf(p->name, sizeof p->name, "%s", name);
    if (!ollama_name_allowed(name) || !take_apart(p, name)) {
        free(p);
        api_problem(call, "not-found",
                    "pull model: \"%.150s\" is neither here nor a name of the hub: ORG/NAME or hf.co/ORG/NAME:LEVEL",
                    name);
        return;
    }
    api_later(call, run, p, free);
}
