/* Where a model is: the hub, the allowed folders, or among the uploads. */
#include "service/api/job_request.h"
#include "service/child/roots.h"

#include <halftone/halftone.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ORG/NAME[@REVISION][:FILE.gguf] with a revision that was given apart; false: no name. */
static bool hub_name(const char *model, const char *revision, char *name, size_t size)
{
    size_t id = strcspn(model, "@:");
    bool own = model[id] == '@';
    int n = snprintf(name, size, "%.*s%s%s%s", (int)id, model, revision && !own ? "@" : "",
                     revision && !own ? revision : "", model + id);
    return n > 0 && n < (int)size && !(revision && strchr(revision, ':')) && ht_hub_is_name(name);
}

static void read_hub(const char *model, const char *revision, const char *pointer, json_t *request,
                     struct faults *faults)
{
    char name[1400], own[256] = "";
    const char *at = strchr(model, '@');
    if (at && !memchr(model, ':', (size_t)(at - model)))
        snprintf(own, sizeof own, "%.*s", (int)strcspn(at + 1, ":"), at + 1);
    if (!hub_name(model, NULL, name, sizeof name)) {
        faults_add(faults, pointer,
                   "expected ORG/NAME[@REVISION][:FILE.gguf] of the model hub, or a path under the allowed folders");
        return;
    }
    if (*own && revision && strcmp(own, revision) != 0)
        faults_add(faults, "/source_revision", "source_model names another revision");
    else if (!hub_name(model, revision, name, sizeof name))
        faults_add(faults, "/source_revision", "this cannot be a revision");
    json_object_set_new(request, "source_type", json_string("huggingface"));
    if (*own || revision) json_object_set_new(request, "source_revision", json_string(*own ? own : revision));
    /* when a file is named too, the revision becomes part of the name */
    if (revision && !*own && strchr(model, ':')) json_object_set_new(request, "source_model", json_string(name));
}

static void read_local(const struct roots *roots, const char *model, const char *pointer, json_t *request,
                       struct faults *faults)
{
    char real[PATH_MAX];
    json_object_set_new(request, "source_type", json_string("local"));
    const char *fault = roots_count(roots) ? roots_model_fault(roots, model, real)
                                           : "no folder is allowed: start the service with --models DIR";
    if (fault)
        faults_add(faults, pointer, "%s", fault);
    else
        json_object_set_new(request, "source_path", json_string(real));
}

bool upload_name_allowed(const char *name)
{
    size_t n = strlen(name);
    if (n < 6 || n > 200 || strcmp(name + n - 5, ".gguf") != 0 || !isalnum((unsigned char)name[0])) return false;
    for (size_t i = 0; i < n; i++)
        if (!isascii((unsigned char)name[i]) || (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i])))
            return false;
    return true;
}

static bool upload_path(const struct server *server, const char *name, char path[PATH_MAX])
{
    return upload_name_allowed(name) && snprintf(path, PATH_MAX, "%s/%s", server->uploads, name) < PATH_MAX &&
           access(path, R_OK) == 0;
}

static void read_upload(const struct server *server, const char *name, const char *pointer, json_t *request,
                        struct faults *faults)
{
    char path[PATH_MAX];
    json_object_set_new(request, "source_type", json_string("upload"));
    if (upload_path(server, name, path))
        json_object_set_new(request, "source_path", json_string(path));
    else
        faults_add(faults, pointer, "there is no such upload");
}

/* What a name looks like, when nobody says what it is. */
static const char *type_of(const struct server *server, const char *model)
{
    char path[PATH_MAX];
    if (model[0] == '/' || model[0] == '.' || model[0] == '~') return "local";
    if (upload_path(server, model, path)) return "upload";
    if (roots_resolve(server->roots, model, path, NULL, NULL) != ROOTS_MISSING)
        return "local"; /* there, or refused there */
    return ht_hub_is_name(model) ? "huggingface" : "local";
}

void source_read(struct server *server, const char *model, const char *type, const char *revision, const char *pointer,
                 json_t *request, struct faults *faults)
{
    for (const char *p = model; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            faults_add(faults, pointer, "a name has no control characters");
            return;
        }
    json_object_set_new(request, "source_model", json_string(model));
    if (!type) type = type_of(server, model);
    if (revision && strcmp(type, "huggingface") != 0)
        faults_add(faults, "/source_revision", "only models of the hub have revisions");
    if (strcmp(type, "huggingface") == 0)
        read_hub(model, revision, pointer, request, faults);
    else if (strcmp(type, "local") == 0)
        read_local(server->roots, model, pointer, request, faults);
    else if (strcmp(type, "upload") == 0)
        read_upload(server, model, pointer, request, faults);
    else
        faults_add(faults, "/source_type", "expected huggingface, local or upload");
}

bool job_request_is_hub(const json_t *request)
{
    const char *type = json_string_value(json_object_get(request, "source_type"));
    return type && strcmp(type, "huggingface") == 0;
}

const char *job_request_source(const json_t *request, char *text, size_t size)
{
    const char *path = json_string_value(json_object_get(request, "source_path"));
    if (path) return path;
    const char *model = json_string_value(json_object_get(request, "source_model"));
    const char *revision = json_string_value(json_object_get(request, "source_revision"));
    bool apart = revision && !strchr(model, '@');
    snprintf(text, size, "%s%s%s", model, apart ? "@" : "", apart ? revision : "");
    return text;
}
