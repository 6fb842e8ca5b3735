/* POST /api/create: a name of the client's for a model that is there, or for files that it brought; quantized if wanted. */
#include "service/api/estimates.h"
#include "service/artifacts/dir.h"
#include "service/ollama/progress.h"
#include "service/runtime/own.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_FILES = 200 };

struct creating {
    struct progress progress;
    struct server *server;
    json_t *body, *entry; /* what it is made of; then what it is */
    char name[200], level[80], source[PATH_MAX], made[PATH_MAX];
    bool brought; /* the source lies in a folder that was put together here */
};

static void free_creating(void *state)
{
    struct creating *c = state;
    json_decref(c->body);
    json_decref(c->entry);
    free(c);
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* ---- files that were brought -------------------------------------------------------------------- */

static bool new_folder(const struct server *server, char *path, size_t size)
{
    uint64_t r;
    const char *data = store_folder(server->store);
    if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r || !own_folders(data)) return false;
    snprintf(path, size, "%s/run/blobs/folder-%016llx", data, (unsigned long long)r);
    return mkdir(path, 0700) == 0;
}

static bool file_name_allowed(const char *name)
{
    bool ok = *name && *name != '.' && strlen(name) < 200;
    for (const char *c = name; *c; c++)
        ok = ok && (isalnum((unsigned char)*c) || strchr("._-", *c));
    return ok;
}

/* A folder of links to the blobs, by the names that they have there. */
static const char *put_together(struct creating *c, const json_t *files)
{
    char path[PATH_MAX], link_path[PATH_MAX + 220];
    const char *name;
    json_t *digest;
    if (!new_folder(c->server, c->source, sizeof c->source)) return "the folder could not be made";
    c->brought = true;
    json_object_foreach((json_t *)files, name, digest) {
        if (!own_blob(store_folder(c->server->store), json_string_value(digest), path, sizeof path))
            return "invalid digest format";
        snprintf(link_path, sizeof link_path, "%s/%s", c->source, name);
        if (link(path, link_path) != 0) return "a file of this digest was not brought: POST it to /api/blobs first";
    }
    return NULL;
}

/* The files as an entry: one GGUF file as it is, others as a folder. NULL: it went well. */
static const char *take_files(struct creating *c, const json_t *files)
{
    const char *name, *why = NULL;
    json_t *digest;
    size_t n = json_object_size(files);
    if (n == 0 || n > MOST_FILES) return "no files provided to convert";
    json_object_foreach((json_t *)files, name, digest)
        if (!json_is_string(digest) || !file_name_allowed(name))
            return "file path must be relative, and its digest a text";
    name = json_object_iter_key(json_object_iter((json_t *)files));
    bool gguf = n == 1 && strlen(name) > 5 && strcmp(name + strlen(name) - 5, ".gguf") == 0;
    if (gguf) {
        if (!own_blob(store_folder(c->server->store), json_string_value(json_object_get(files, name)), c->source,
                      sizeof c->source))
            return "invalid digest format";
        if (access(c->source, R_OK) != 0) return "a file of this digest was not brought: POST it to /api/blobs first";
    } else if ((why = put_together(c, files)) != NULL) {
        return why;
    }
    c->entry = json_pack("{s:s, s:s, s:s}", "blob", c->source, "format", gguf ? "gguf" : "safetensors", "level", "");
    if (gguf) json_object_set_new(c->entry, "digest", json_string(strrchr(c->source, '-') + 1));
    return c->entry ? NULL : "not enough memory";
}

/* ---- what a child says of it -------------------------------------------------------------------- */

static void confine_for(struct creating *c, struct child_settings *s, struct confined *confined)
{
    char folder[PATH_MAX];
    struct stat info;
    const struct confine_roots *held = roots_held(c->server->roots);
    s->readable_fds = held->fds;
    s->n_readable_fds = held->n;
    snprintf(folder, sizeof folder, "%s", c->source);
    if (stat(folder, &info) == 0 && S_ISREG(info.st_mode)) *strrchr(folder, '/') = '\0';
    confine_to_repository(s, confined, folder);
    s->unwanted = progress_left;
    s->unwanted_ctx = &c->progress;
}

static void failed(struct creating *c, const struct child_exit *exit)
{
    char shown[1000];
    const char *text = *exit->error_text ? exit->error_text : exit->reason, *line = strrchr(text, '\n');
    if (line) text = line + 1;
    if (strncmp(text, "halftone ", 9) == 0 && strstr(text, ": ")) text = strstr(text, ": ") + 2;
    api_hide_paths(c->server->roots, text, shown, sizeof shown);
    progress_failure(&c->progress, "bad-request", shown);
}

/* The level that most weights have: what the file is, whatever its name says. */
static void take_level(struct creating *c, const json_t *report)
{
    const char *type, *most = "";
    json_t *one;
    json_int_t weights = 0;
    json_object_foreach(json_object_get(report, "types"), type, one) {
        json_int_t n = json_integer_value(json_object_get(one, "weights"));
        if (n > weights) weights = n, most = type;
    }
    const char *told = text_of(json_object_get(report, "model"), "file_type");
    json_object_set_new(c->entry, "level", json_string(*told ? told : most));
    json_object_set(c->entry, "parameters", json_object_get(report, "parameters"));
    json_object_set(c->entry, "architecture", json_object_get(json_object_get(report, "model"), "architecture"));
}

static bool look_into(struct creating *c, struct child_stop *stop)
{
    const char *arguments[] = {"inspect", "--json", "--", c->source, NULL};
    struct child_settings settings = {
        .arguments = arguments, .timeout_seconds = 120, .memory_limit = confine_headers_memory(0)};
    struct confined confined;
    struct child_exit exit;
    progress_status(&c->progress, "%s", c->brought ? "converting model" : "parsing GGUF");
    confine_for(c, &settings, &confined);
    json_t *report = child_json(&settings, stop, &exit);
    if (report)
        take_level(c, report);
    else
        failed(c, &exit);
    json_decref(report);
    return report != NULL;
}

/* ---- quantizing --------------------------------------------------------------------------------- */

static bool on_line(void *ctx, json_t *value, const char *text)
{
    struct creating *c = ctx;
    (void)text;
    if (!json_object_get(value, "event") && json_object_get(value, "outputs")) {
        const json_t *output = json_array_get(json_object_get(value, "outputs"), 0);
        json_object_set(c->entry, "output", json_object_get(output, "path"));
        json_object_set(c->entry, "digest", json_object_get(output, "sha256"));
    } else if (strcmp(text_of(value, "step"), "quantize") == 0) {
        json_t *status = json_pack("{s:o, s:s, s:O, s:O}", "status",
                                   json_sprintf("quantizing %s model to %s", text_of(c->entry, "level"), c->level),
                                   "digest", "0000000000000000000", "total", json_object_get(value, "total"),
                                   "completed", json_object_get(value, "done"));
        if (status) progress_say(&c->progress, status);
    }
    return true;
}

static void upper(const char *level, char *out, size_t size)
{
    snprintf(out, size, "%s",
             strncasecmp(level, "fp16", 4) == 0   ? "F16"
             : strncasecmp(level, "fp32", 4) == 0 ? "F32"
                                                  : level);
}

/* What was made goes where brought files lie: a file under its hash, a folder as it is. */
static bool keep_made(struct creating *c)
{
    char path[PATH_MAX], digest[80];
    const char *output = text_of(c->entry, "output"), *hash = text_of(c->entry, "digest");
    struct stat info;
    if (!*output || stat(output, &info) != 0) return false;
    if (S_ISREG(info.st_mode)) {
        snprintf(digest, sizeof digest, "sha256:%s", hash);
        if (!own_blob(store_folder(c->server->store), digest, path, sizeof path) || !dir_move(output, path))
            return false;
        dir_remove(c->made);
    } else {
        snprintf(path, sizeof path, "%s", output);
    }
    json_object_set_new(c->entry, "blob", json_string(path));
    json_object_set_new(c->entry, "level", json_string(c->level));
    json_object_set_new(c->entry, "format", json_string(S_ISREG(info.st_mode) ? "gguf" : "safetensors"));
    static const char *const gone[] = {"output", "variant", "model", "path"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        json_object_del(c->entry, gone[i]);
    return true;
}

static bool quantize(struct creating *c, struct child_stop *stop)
{
    const char *arguments[] = {"quantize", "--json", "--overwrite", "-t",      c->level,
                               "-o",       c->made,  "--",          c->source, NULL};
    struct child_settings settings = {
        .arguments = arguments,
        .writable = c->made,
        .max_output = SIZE_MAX,
        .nice = 5,
        .memory_limit = c->server->settings->memory_limit > 0 ? (uint64_t)c->server->settings->memory_limit : 0};
    struct confined confined;
    struct child_exit exit;
    if (!new_folder(c->server, c->made, sizeof c->made))
        return progress_failure(&c->progress, "internal", "the folder could not be made"), false;
    confine_for(c, &settings, &confined);
    if (!child_run(&settings, stop, on_line, NULL, c, &exit)) return failed(c, &exit), dir_remove(c->made), false;
    progress_status(&c->progress, "verifying conversion");
    if (keep_made(c)) return true;
    progress_failure(&c->progress, "internal", "what was made could not be kept");
    return dir_remove(c->made), false;
}

/* ---- the name ----------------------------------------------------------------------------------- */

static void run(void *ctx, struct child_stop *stop)
{
    static const char *const texts[][2] = {{"system", "system"},
                                           {"template", "template"},
                                           {"license", "license"},
                                           {"parameters", "options"},
                                           {"messages", "messages"}};
    struct api_call *call = ctx;
    struct creating *c = call->state;
    char why[300];
    call->state = NULL; /* a stream outlives the call */
    call->free_state = NULL;
    bool ok = (!json_object_get(c->entry, "blob") || *text_of(c->entry, "level") || look_into(c, stop)) &&
              (!*c->level || quantize(c, stop));
    for (size_t i = 0; ok && i < sizeof texts / sizeof *texts; i++)
        if (json_object_get(c->body, texts[i][0]))
            json_object_set(c->entry, texts[i][1], json_object_get(c->body, texts[i][0]));
    json_t *own = ok ? ollama_own(c->name, c->entry) : NULL;
    if (own && *text_of(c->body, "from")) json_object_set(own, "parent", json_object_get(c->body, "from"));
    if (own && own_put(store_folder(c->server->store), own, why, sizeof why)) {
        progress_status(&c->progress, "writing manifest");
        progress_success(&c->progress);
    } else if (own) {
        progress_failure(&c->progress, "internal", why);
    }
    json_decref(own);
    free_creating(c);
}

/* Go's templates: {{ .Prompt }}, {{ if .System }}. */
static bool is_foreign(const char *text)
{
    for (const char *at = text; (at = strstr(at, "{{")) != NULL;) {
        at += 2;
        at += strspn(at, "- ");
        if (*at == '.' || strncmp(at, "if ", 3) == 0 || strncmp(at, "range ", 6) == 0 || strncmp(at, "end", 3) == 0)
            return true;
    }
    return false;
}

static bool check(struct api_call *call)
{
    static const char *const texts[] = {"from", "quantize", "quantization", "template", "system"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const json_t *value = json_object_get(call->body, texts[i]);
        if (value && !json_is_null(value) && !json_is_string(value))
            return ollama_fault(call, "%s must be a text", texts[i]);
    }
    if (json_object_size(json_object_get(call->body, "adapters")) > 0)
        return ollama_fault(call, "adapters are not supported");
    if (is_foreign(text_of(call->body, "template")))
        return ollama_fault(
            call, "this template is written for Go: templates are Jinja here; without one the model's own is taken");
    json_t *options = json_object();
    bool ok = ollama_options(call, json_object_get(call->body, "parameters"), options);
    json_decref(options);
    return ok;
}

static bool find_source(struct api_call *call, struct creating *c)
{
    const json_t *files = json_object_get(call->body, "files");
    struct runtime_model model;
    const char *from = text_of(call->body, "from"), *why;
    if (json_object_size(files) > 0) {
        if ((why = take_files(c, files)) == NULL) return true;
        if (c->brought) dir_remove(c->source);
        return ollama_fault(call, "%s", why);
    }
    if (!*from) return ollama_fault(call, "neither 'from' or 'files' was specified");
    if (!run_find(call, from, &model, &c->entry)) return false;
    snprintf(c->source, sizeof c->source, "%s", model.path);
    return true;
}

void api_ollama_create(struct api_call *call)
{
    const char *name = ollama_model(call), *level = text_of(call->body, "quantize");
    struct creating *c = name ? calloc(1, sizeof *c) : NULL;
    if (!name) return;
    if (!*level) level = text_of(call->body, "quantization");
    bool ok = c != NULL;
    if (!ok) api_problem(call, "internal", "not enough memory");
    if (ok && !ollama_name_allowed(name)) ok = ollama_fault(call, "invalid model name");
    if (ok) {
        c->server = call->server;
        c->body = json_incref(call->body);
        c->progress = (struct progress){.call = call, .streams = !json_is_false(json_object_get(call->body, "stream"))};
        snprintf(c->name, sizeof c->name, "%s", name);
        upper(level, c->level, sizeof c->level);
        ok = check(call) && find_source(call, c);
    }
    if (ok)
        api_later(call, run, c, free_creating);
    else if (c)
        free_creating(c);
}
