/* Looking for models in the allowed folders. */
#include "service/api/api.h"
#include "service/artifacts/checkpoints.h"
#include "service/child/roots.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ENTRIES = 2000 };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static json_t *entry(const char *name, const char *path, const char *format, bool folder, int64_t size)
{
    json_t *text = json_string(name);
    if (!text) return NULL; /* no UTF-8: it could not be asked for */
    return json_pack("{s:o, s:s, s:s, s:s?, s:o}", "name", text, "path", path, "kind", folder ? "folder" : "model",
                     "format", format, "size_bytes", size < 0 ? json_null() : json_integer(size));
}

static json_t *one_entry(int fd, const char *real, const char *name)
{
    char path[PATH_MAX];
    struct stat info;
    if (name[0] == '.' || fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return NULL;
    if (snprintf(path, sizeof path, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name) >= (int)sizeof path) return NULL;
    if (S_ISDIR(info.st_mode)) {
        int64_t size = -1;
        const char *format = checkpoints_folder(fd, name, &size);
        return entry(name, path, format, !format, format ? size : -1);
    }
    const char *format = S_ISREG(info.st_mode) ? checkpoints_file(name) : NULL;
    return format ? entry(name, path, format, false, info.st_size) : NULL;
}

static int by_name(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    bool fx = strcmp(json_string_value(json_object_get(x, "kind")), "folder") == 0;
    bool fy = strcmp(json_string_value(json_object_get(y, "kind")), "folder") == 0;
    if (fx != fy) return fx ? 1 : -1; /* models first */
    return strcmp(json_string_value(json_object_get(x, "name")), json_string_value(json_object_get(y, "name")));
}

static json_t *entries_of(int fd, const char *real, bool *truncated)
{
    json_t **found = calloc(MAX_ENTRIES, sizeof *found), *list = json_array();
    DIR *dir = fdopendir(fd);
    struct dirent *e;
    size_t n = 0;
    while (found && dir && (e = readdir(dir)) != NULL) {
        json_t *one = one_entry(fd, real, e->d_name);
        if (one && n == MAX_ENTRIES) {
            *truncated = true;
            json_decref(one);
            break;
        }
        if (one) found[n++] = one;
    }
    if (found) qsort(found, n, sizeof *found, by_name);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, found[i]);
    free(found);
    if (dir)
        closedir(dir);
    else
        close(fd);
    return list;
}

/* A model's folder as an entry; NULL: there is none. */
static json_t *model_at(const struct roots *roots, const char *path)
{
    char real[PATH_MAX];
    int64_t size = -1;
    if (roots_resolve(roots, path, real, NULL, NULL) != ROOTS_OK) return NULL;
    const char *format = checkpoints_folder(AT_FDCWD, real, &size);
    return format ? entry(strrchr(real, '/') + 1, real, format, false, size) : NULL;
}

/* The example model: "examples/model", wherever an allowed folder lies beside it. */
static json_t *example_model(const struct roots *roots)
{
    static const char *const ends[] = {"/examples/model", "/examples", ""};
    static const char *const rests[] = {"", "/model", "/examples/model"};
    char path[PATH_MAX];
    json_t *found = NULL;
    for (size_t i = 0; i < roots_count(roots) && !found; i++)
        for (int k = 0; k < 3 && !found; k++) {
            const char *root = roots_path(roots, i);
            int n = snprintf(path, sizeof path, "%s%s", root, rests[k]);
            if (ends_with(root, ends[k]) && n < (int)sizeof path) found = model_at(roots, path);
        }
    return found ? found : json_null();
}

static json_t *list_of_roots(const struct roots *roots)
{
    json_t *list = json_array();
    for (size_t i = 0; i < roots_count(roots); i++) {
        json_t *one = entry(roots_path(roots, i), roots_path(roots, i), NULL, true, -1);
        if (one) json_array_append_new(list, one);
    }
    return json_pack("{s:n, s:n, s:o, s:b, s:o}", "path", "parent", "entries", list, "truncated", 0, "example",
                     example_model(roots));
}

void api_local(struct api_call *call)
{
    const struct roots *roots = call->server->roots;
    const char *name = ht__http_query(call->request, "path");
    char real[PATH_MAX], parent[PATH_MAX];
    enum roots_result result;
    size_t root;
    bool truncated = false;
    if (!api_query_known(call, "path")) return;
    if (!name || !*name) {
        api_json(call, 200, list_of_roots(roots));
        return;
    }
    int fd = roots_open_at(roots, name, real, &root, &result);
    struct stat info;
    if (fd >= 0 && (fstat(fd, &info) != 0 || !S_ISDIR(info.st_mode))) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) { /* outside and missing get the same answer, which reveals nothing of what is outside */
        api_problem(call, "not-found", "there is no such folder under the allowed ones");
        return;
    }
    snprintf(parent, sizeof parent, "%s", real);
    char *slash = strrchr(parent, '/');
    bool top = strcmp(real, roots_path(roots, root)) == 0;
    if (slash) slash[slash == parent] = '\0';
    json_t *entries = entries_of(fd, real, &truncated);
    api_json(call, 200,
             json_pack("{s:s, s:s?, s:o, s:b}", "path", real, "parent", top ? NULL : parent, "entries", entries,
                       "truncated", truncated));
}
