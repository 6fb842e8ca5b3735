#include "service/runtime/own.h"

#include "service/artifacts/dir.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 5000, PATH = 4600, MOST_NAME = 120 };

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

bool own_folders(const char *data)
{
    static const char *const folders[] = {"run", "run/names", "run/blobs"};
    char path[PATH];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", data, folders[i]);
        if (mkdir(path, 0700) != 0 && errno != EEXIST) return false;
    }
    return true;
}

/* A name as a file's: hexadecimal digits of its small letters; "lines" and "lines:latest" are one. */
static bool path_of(const char *data, const char *name, char *path, size_t size)
{
    size_t len = strlen(name), n;
    if (len > 7 && strcasecmp(name + len - 7, ":latest") == 0) len -= 7;
    if (len == 0 || len > MOST_NAME) return false;
    n = (size_t)snprintf(path, size, "%s/run/names/", data);
    if (n + 2 * len + 6 > size) return false;
    for (size_t i = 0; i < len; i++)
        n += (size_t)snprintf(path + n, size - n, "%02x", (unsigned)tolower((unsigned char)name[i]));
    snprintf(path + n, size - n, ".json");
    return true;
}

/* ---- reading ------------------------------------------------------------------------------------ */

static const json_t *target_entry(const json_t *list, const json_t *target)
{
    static const char *const keys[] = {"variant", "path"};
    const json_t *e;
    size_t i;
    for (size_t k = 0; k < 2; k++)
        json_array_foreach(list, i, e)
            if (*text_of(target, keys[k]) && strcmp(text_of(e, keys[k]), text_of(target, keys[k])) == 0) return e;
    return NULL;
}

/* The entry that a name stands for; NULL: what it stood for is gone. */
static json_t *entry_of(const json_t *list, const json_t *own)
{
    static const char *const kept[] = {"system", "template", "options", "messages", "license", "modified", "parent"};
    const json_t *target = json_object_get(own, "target"), *found = target_entry(list, target);
    json_t *entry = NULL;
    struct stat info;
    if (*text_of(target, "blob") && stat(text_of(target, "blob"), &info) == 0) {
        entry = json_pack("{s:O, s:O?, s:O?, s:I, s:O?, s:O?, s:O?}", "blob", json_object_get(target, "blob"), "level",
                          json_object_get(own, "level"), "format", json_object_get(own, "format"), "size",
                          (json_int_t)info.st_size, "digest", json_object_get(own, "digest"), "architecture",
                          json_object_get(own, "architecture"), "parameters", json_object_get(own, "parameters"));
    } else if (found) {
        entry = json_copy((json_t *)found);
    }
    if (!entry) return NULL;
    json_object_set(entry, "name", json_object_get(own, "name"));
    json_object_set(entry, "base", json_object_get(own, "name"));
    json_object_set_new(entry, "own", json_true());
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (json_object_get(own, kept[i])) json_object_set(entry, kept[i], json_object_get(own, kept[i]));
    return entry;
}

void own_overlay(const char *data, json_t *list)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/run/names", data);
    DIR *dir = opendir(path);
    json_t *names = json_array();
    struct dirent *e;
    for (int n = 0; dir && n < MOST && (e = readdir(dir)) != NULL; n++) {
        if (snprintf(path, sizeof path, "%s/run/names/%s", data, e->d_name) >= (int)sizeof path) continue;
        json_t *own = e->d_name[0] == '.' ? NULL : json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
        json_t *entry = own ? entry_of(list, own) : NULL;
        if (entry) json_array_append_new(names, entry);
        json_decref(own);
    }
    if (dir) closedir(dir);
    for (size_t i = 0; i < json_array_size(names); i++)
        json_array_insert(list, i, json_array_get(names, i));
    json_decref(names);
}

/* ---- writing ------------------------------------------------------------------------------------ */

bool own_put(const char *data, const json_t *own, char *why, size_t size)
{
    char path[PATH], new[PATH + 8];
    if (!path_of(data, text_of(own, "name"), path, sizeof path)) {
        snprintf(why, size, "invalid model name");
        return false;
    }
    snprintf(new, sizeof new, "%s.new", path);
    if (own_folders(data) && json_dump_file(own, new, JSON_INDENT(2)) == 0 && rename(new, path) == 0) return true;
    snprintf(why, size, "the name cannot be written: %s", strerror(errno));
    unlink(new);
    return false;
}

/* Does a name still stand for this blob? */
static bool is_used(const char *data, const char *blob)
{
    json_t *list = json_array();
    const json_t *e;
    size_t i;
    bool used = false;
    own_overlay(data, list);
    json_array_foreach(list, i, e)
        used |= strcmp(text_of(e, "blob"), blob) == 0;
    json_decref(list);
    return used;
}

/* A file; or the folder under DATA/run/blobs that it lies in. What lies elsewhere, in the hub's cache, is not ours. */
static void remove_blob(const char *data, const char *blob)
{
    char path[PATH];
    int n = snprintf(path, sizeof path, "%s/run/blobs/", data);
    if (strncmp(blob, path, (size_t)n) != 0) return;
    size_t len = strcspn(blob + n, "/");
    snprintf(path + n, sizeof path - (size_t)n, "%.*s", (int)len, blob + n);
    if (strncmp(blob + n, "sha256-", 7) == 0)
        unlink(path);
    else
        dir_remove(path);
}

bool own_remove(const char *data, const char *name)
{
    char path[PATH];
    json_t *own = path_of(data, name, path, sizeof path) ? json_load_file(path, 0, NULL) : NULL;
    bool removed = own && unlink(path) == 0;
    const char *blob = text_of(json_object_get(own, "target"), "blob");
    if (removed && *blob && !is_used(data, blob)) remove_blob(data, blob);
    json_decref(own);
    return removed;
}

bool own_blob(const char *data, const char *digest, char *path, size_t size)
{
    if (strncmp(digest, "sha256", 6) != 0 || (digest[6] != ':' && digest[6] != '-') || strlen(digest) != 71)
        return false;
    for (const char *c = digest + 7; *c; c++)
        if (!isxdigit((unsigned char)*c)) return false;
    int n = snprintf(path, size, "%s/run/blobs/sha256-", data);
    for (const char *c = digest + 7; *c && n + 1 < (int)size; c++)
        path[n++] = (char)tolower((unsigned char)*c);
    path[n] = '\0';
    return true;
}

void own_prune(const char *data)
{
    char folder[PATH], path[PATH + 300];
    json_t *list = json_array();
    snprintf(folder, sizeof folder, "%s/run/blobs", data);
    own_overlay(data, list);
    DIR *dir = opendir(folder);
    struct dirent *e;
    while (dir && (e = readdir(dir)) != NULL) {
        const json_t *entry;
        size_t i, n = (size_t)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        bool used = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        json_array_foreach(list, i, entry)
            used |= strncmp(text_of(entry, "blob"), path, n) == 0;
        if (!used && unlink(path) != 0) dir_remove(path);
    }
    if (dir) closedir(dir);
    json_decref(list);
}
