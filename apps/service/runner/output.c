/*
 * What a report or an estimate says of an output: one or several files, or a folder. It is a folder when its files lie
 * inside its path. Reports are made by who read a stranger's model: nothing in them is believed that is not looked at.
 */
#include "service/runner/run.h"

#include <halftone/halftone.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

const char *run__base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path;
}

const char *run__folder_of(const json_t *output)
{
    const char *path = text_of(output, "path"),
               *first = text_of(json_array_get(json_object_get(output, "files"), 0), "path");
    size_t n = path ? strlen(path) : 0;
    return n > 0 && first && strncmp(first, path, n) == 0 && first[n] == '/' ? run__base_name(path) : NULL;
}

/* Is it the name of a scheme, or of a ladder of them? "gptq:bits=3", "w4a16>none", "nf4@round" */
static bool is_of_folders(const char *type)
{
    struct ht_scheme_info scheme = {.size = sizeof scheme};
    struct ht_ladder_info ladder = {.size = sizeof ladder};
    size_t n = strcspn(type, ":@>");
    for (size_t i = 0; ht_scheme_at(i, &scheme); i++)
        if (strncmp(scheme.name, type, n) == 0 && scheme.name[n] == '\0') return true;
    for (size_t i = 0; ht_ladder_at(i, &ladder); i++)
        if (strncmp(ladder.name, type, n) == 0 && ladder.name[n] == '\0') return true;
    return false;
}

/* Where a type goes that names no format: schemes into folders, all else, mixes and what a budget chose, into files. */
static const char *usual_format(const char *type)
{
    struct ht_container_info c = {.size = sizeof c};
    bool folder = is_of_folders(type);
    for (size_t i = 0; ht_container_at(i, &c); i++)
        if (c.can_write && c.is_folder == folder) return c.name;
    return NULL;
}

json_t *run__quant_type(const json_t *output)
{
    const char *type = text_of(output, "type"), *format = text_of(output, "format");
    const char *usual = type ? usual_format(type) : NULL;
    return usual && format && strcmp(format, usual) != 0 ? json_sprintf("%s/%s", format, type) : json_string(type);
}

/* A name of its own in a folder: no way out of it, and nothing that is hidden. */
static bool is_plain(const char *name)
{
    return name && *name && *name != '.' && strlen(name) < 256 && !strchr(name, '/');
}

static bool is_sha256(const char *text)
{
    return text && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

/* Is the file there, as long as the report says? */
static bool is_there(const char *folder, const json_t *file)
{
    char path[5000];
    struct stat st;
    const char *name = run__base_name(text_of(file, "path"));
    if (!is_plain(name) || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return false;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           st.st_size == json_integer_value(json_object_get(file, "size_bytes")) && is_sha256(text_of(file, "sha256"));
}

/* Of a folder, each of whose files is named once, all lie directly in it. */
static bool lies_in(const json_t *output, const json_t *file, json_t *seen)
{
    const char *path = text_of(output, "path"), *at = text_of(file, "path");
    const char *name = run__base_name(at);
    size_t n = strlen(path);
    if (!at || strncmp(at, path, n) != 0 || at[n] != '/' || name != at + n + 1 || json_object_get(seen, name))
        return false;
    return json_object_set_new(seen, name, json_true()) == 0;
}

static bool is_whole(const char *out, const json_t *output)
{
    char folder[4700];
    struct stat st;
    const char *name = run__folder_of(output);
    const json_t *files = json_object_get(output, "files"), *file;
    size_t i;
    if (json_array_size(files) == 0 || (name && !is_plain(name))) return false;
    if (snprintf(folder, sizeof folder, "%s%s%s", out, name ? "/" : "", name ? name : "") >= (int)sizeof folder)
        return false;
    if (name && (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode))) return false;
    bool whole = true;
    json_t *seen = json_object();
    json_array_foreach(files, i, file)
        whole = whole && (!name || lies_in(output, file, seen)) && is_there(folder, file);
    json_decref(seen);
    return whole;
}

bool run__is_whole(const char *out, const json_t *report)
{
    const json_t *outputs = json_object_get(report, "outputs"), *output;
    size_t i;
    json_array_foreach(outputs, i, output)
        if (!is_whole(out, output)) return false;
    return json_array_size(outputs) > 0;
}

json_t *publication_files(const json_t *report)
{
    const json_t *output, *file;
    size_t i, j;
    bool plain = true;
    json_t *list = json_array();
    json_array_foreach(json_object_get(report, "outputs"), i, output) {
        const char *folder = run__folder_of(output);
        json_array_foreach(json_object_get(output, "files"), j, file) {
            char name[520];
            const char *base = run__base_name(text_of(file, "path"));
            plain = plain && is_plain(base) && (!folder || is_plain(folder)) && is_sha256(text_of(file, "sha256"));
            snprintf(name, sizeof name, "%s%s%s", folder ? folder : "", folder ? "/" : "", base ? base : "");
            json_array_append_new(list,
                                  json_pack("{s:s, s:O?, s:s?}", "name", name, "size",
                                            json_object_get(file, "size_bytes"), "sha256", text_of(file, "sha256")));
        }
    }
    if (plain && json_array_size(list) > 0) return list;
    json_decref(list);
    return NULL;
}

double run__bytes_of(const json_t *output)
{
    const json_t *file;
    size_t i;
    double sum = 0;
    json_array_foreach(json_object_get(output, "files"), i, file)
        sum += json_number_value(json_object_get(file, "size_bytes"));
    return sum;
}
