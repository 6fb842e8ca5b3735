#include "service/child/model_files.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH = 2, MOST_FILES = 20000 };

static bool is_one_of(const char *text, const char *const *list)
{
    while (*list && strcmp(text, *list) != 0)
        list++;
    return *list != NULL;
}

/* ".json" of a name; "" when it has none. */
static const char *extension(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot : "";
}

bool model_reads_with(const char *name, const char *model)
{
    static const char *const companions[] = {".json", ".model", ".txt", ".jinja", ".md", ".tiktoken", NULL};
    const char *part = strstr(model, "-of-");
    if (strcmp(extension(model), ".gguf") != 0) return is_one_of(extension(name), companions);
    return part && part - model > 5 && strncmp(name, model, (size_t)(part - model) - 5) == 0;
}

/* Kinds of weights; of those in a folder the first is read. */
static const char *const weights[] = {".safetensors", ".bin", ".pth",     ".pt", ".onnx",
                                      ".gguf",        ".h5",  ".msgpack", ".ot", NULL};

static const char *kind_of_folder(const char *path)
{
    struct dirent *e;
    size_t best = sizeof weights / sizeof *weights - 1;
    DIR *dir = opendir(path);
    while (dir && (e = readdir(dir)) != NULL)
        for (size_t i = 0; i < best; i++)
            if (strcmp(extension(e->d_name), weights[i]) == 0) best = i;
    if (dir) closedir(dir);
    return weights[best];
}

static bool add(json_t *list, const char *name, const struct stat *info)
{
    json_int_t modified = (json_int_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
    json_t *file =
        json_pack("{s:s, s:I, s:I}", "name", name, "size", (json_int_t)info->st_size, "modified_ns", modified);
    return file && json_array_size(list) < MOST_FILES && json_array_append_new(list, file) == 0;
}

/* Which files of one folder are taken: a folder's weights of one kind and all that describes them, or what is read with a file. */
struct wanted {
    const char *kind;  /* of weights; NULL: none */
    const char *model; /* NULL: a whole folder */
};

static bool takes(const struct wanted *w, const char *name)
{
    if (*name == '.') return false;
    if (w->model) return strcmp(name, w->model) == 0 || model_reads_with(name, w->model);
    return !is_one_of(extension(name), weights) || (w->kind && strcmp(extension(name), w->kind) == 0);
}

static bool walk(json_t *list, const char *folder, const char *prefix, const struct wanted *w, int depth)
{
    DIR *dir = opendir(folder);
    struct dirent *e;
    bool whole = dir != NULL;
    while (whole && (e = readdir(dir)) != NULL) {
        char path[PATH_MAX], name[PATH_MAX];
        struct stat info;
        if (*e->d_name == '.' || snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path) continue;
        if (snprintf(name, sizeof name, "%s%s", prefix, e->d_name) > 250 || stat(path, &info) != 0) continue;
        if (S_ISREG(info.st_mode) && takes(w, e->d_name)) whole = add(list, name, &info);
        if (!S_ISDIR(info.st_mode) || w->model || depth == DEPTH) continue;
        strcat(name, "/");
        whole = walk(list, path, name, w, depth + 1);
    }
    if (dir) closedir(dir);
    return whole;
}

json_t *model_files(const char *path)
{
    struct stat info;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char folder[PATH_MAX];
    if (!slash || stat(path, &info) != 0) return NULL;
    bool is_folder = S_ISDIR(info.st_mode);
    const struct wanted w = {is_folder ? kind_of_folder(path) : NULL, is_folder ? NULL : name};
    snprintf(folder, sizeof folder, "%.*s", is_folder ? (int)strlen(path) : (int)(slash - path), path);
    json_t *list = json_array();
    if (walk(list, folder, "", &w, 0) && json_array_size(list) > 0)
        return json_pack("{s:s, s:b, s:o}", "name", name, "folder", is_folder, "files", list);
    json_decref(list);
    return NULL;
}
