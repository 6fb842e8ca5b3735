#include "service/runtime/catalog.h"

#include "service/artifacts/artifacts.h"
#include "service/artifacts/checkpoints.h"
#include "service/runtime/own.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { MOST_LOCAL = 2000, MOST_DEPTH = 4, PAGE = 200, NAME = 512 };

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* ---- levels ------------------------------------------------------------------------------------- */

/* Is this how levels are written: Q4_K_M, IQ3_XXS, f16, BF16, fp16? */
static bool is_level(const char *text)
{
    static const char *const whole[] = {"f16", "f32", "bf16", "fp16", "fp32", "mxfp4"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strcasecmp(text, whole[i]) == 0) return true;
    const char *at = text + (tolower((unsigned char)*text) == 'i' || tolower((unsigned char)*text) == 't');
    if (tolower((unsigned char)at[0]) != 'q' || !isdigit((unsigned char)at[1])) return false;
    return at[2] == '\0' || at[2] == '_';
}

void catalog_level(const char *level, char *out, size_t size)
{
    bool plain = strcasecmp(level, "f16") == 0 || strcasecmp(level, "f32") == 0;
    snprintf(out, size, "%s%s", plain ? "fp" : "", plain ? level + 1 : level);
    size_t n = strcspn(out, "_");
    for (size_t i = 0; i < n && i < size; i++) /* Q4_K_M: only what is before the underscore */
        out[i] = (char)tolower((unsigned char)out[i]);
}

/* The level that a file's name ends with, which is cut off there; "": none. */
static void cut_level(char *stem, char *level, size_t size)
{
    *level = '\0';
    for (char *at = stem + strlen(stem); at > stem; at--) {
        if (*at != '-' && *at != '.') continue;
        if (is_level(at + 1)) {
            snprintf(level, size, "%s", at + 1);
            *at = '\0';
        }
        return;
    }
}

/* ---- the registry ------------------------------------------------------------------------------- */

static json_t *entry(const char *base, const char *level, const char *format)
{
    char name[NAME], tag[80];
    catalog_level(level, tag, sizeof tag);
    snprintf(name, sizeof name, "%s%s%s", base, *tag ? ":" : "", tag);
    for (char *c = name; *c; c++)
        if (isspace((unsigned char)*c)) *c = '-';
    return json_pack("{s:s, s:s, s:s, s:s}", "name", name, "base", base, "level", level, "format", format);
}

/* "2026-11-29T16:10:08Z" and the like: seconds since 1970. */
static json_int_t seconds_of(const char *text)
{
    struct tm tm = {0};
    return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (json_int_t)timegm(&tm) : 0;
}

static void add_model(json_t *list, const json_t *model)
{
    const json_t *variant;
    size_t i;
    json_array_foreach(json_object_get(model, "variants"), i, variant) {
        const char *format = text_of(variant, "format");
        json_t *e =
            strcmp(format, "onnx") == 0 ? NULL : entry(text_of(model, "name"), text_of(variant, "quant_type"), format);
        if (!e) continue;
        json_object_set(e, "model", json_object_get(model, "id"));
        json_object_set(e, "variant", json_object_get(variant, "id"));
        if (strcmp(text_of(model, "source_type"), "local") == 0)
            json_object_set(e, "source", json_object_get(model, "source_model"));
        json_object_set(e, "size", json_object_get(variant, "file_size"));
        json_object_set(e, "digest", json_object_get(variant, "sha256"));
        json_object_set(e, "architecture", json_object_get(model, "architecture"));
        json_object_set(e, "parameters", json_object_get(model, "parameters"));
        json_object_set_new(e, "modified", json_integer(seconds_of(text_of(variant, "created_at"))));
        json_array_append_new(list, e);
    }
}

static bool add_registry(json_t *list, struct store *store)
{
    char cursor[600] = "";
    for (;;) {
        enum store_result result;
        struct model_filter filter = {.limit = PAGE, .cursor = *cursor ? cursor : NULL};
        json_t *page = store_models(store, &filter, &result);
        const json_t *model;
        size_t i;
        if (!page) return false;
        json_array_foreach(json_object_get(page, "models"), i, model)
            add_model(list, model);
        snprintf(cursor, sizeof cursor, "%s", text_of(page, "next_cursor"));
        json_decref(page);
        if (!*cursor) return true;
    }
}

/* ---- local files -------------------------------------------------------------------------------- */

struct scan {
    json_t *list;
    const char *root;
    size_t n;
};

static void add_local(struct scan *s, const char *path, const char *relative, const char *format, int64_t size,
                      const struct stat *info)
{
    char base[NAME], level[80] = "";
    if (s->n++ >= MOST_LOCAL) return;
    snprintf(base, sizeof base, "%s", relative);
    if (S_ISREG(info->st_mode)) {
        char *dot = strrchr(base, '.'), *part = strstr(base, "-00001-of-");
        *(part ? part : dot) = '\0';
        cut_level(base, level, sizeof level);
    }
    json_t *path_text = json_string(path), *e = path_text ? entry(base, level, format) : NULL;
    if (!e) return json_decref(path_text); /* no UTF-8: it could not be asked for */
    json_object_set_new(e, "path", path_text);
    json_object_set_new(e, "size", json_integer(size));
    json_object_set_new(e, "modified", json_integer((json_int_t)info->st_mtime));
    json_array_append_new(s->list, e);
}

static const char *relative_to(const struct scan *s, const char *path)
{
    const char *rest = path + strlen(s->root);
    return *rest == '/' ? rest + 1 : strrchr(path, '/') + 1;
}

static void scan(struct scan *s, const char *folder, int depth)
{
    char path[PATH_MAX];
    struct stat info;
    int64_t size = 0;
    const char *format = checkpoints_folder(AT_FDCWD, folder, &size);
    if (format && stat(folder, &info) == 0) return add_local(s, folder, relative_to(s, folder), format, size, &info);
    DIR *dir = depth < MOST_DEPTH ? opendir(folder) : NULL;
    struct dirent *e;
    while (dir && s->n < MOST_LOCAL && (e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path)
            continue;
        if (lstat(path, &info) != 0) continue; /* links may lead out of the allowed folders: they are no models */
        if (S_ISDIR(info.st_mode)) scan(s, path, depth + 1);
        format = S_ISREG(info.st_mode) ? checkpoints_file(e->d_name) : NULL;
        if (format && strcmp(format, "gguf") == 0)
            add_local(s, path, relative_to(s, path), format, info.st_size, &info);
    }
    if (dir) closedir(dir);
}

json_t *catalog_list(struct store *store, const struct roots *roots)
{
    json_t *list = json_array();
    if (!list || !add_registry(list, store)) {
        json_decref(list);
        return NULL;
    }
    struct scan s = {.list = list};
    for (size_t i = 0; i < roots_count(roots); i++) {
        s.root = roots_path(roots, i);
        scan(&s, s.root, 0);
    }
    own_overlay(store_folder(store), list);
    return list;
}

/* ---- names -------------------------------------------------------------------------------------- */

/* Letters and digits, small; "fp16" is "f16". Without ":latest". */
void catalog_plain(const char *name, char *out, size_t size)
{
    size_t n = 0, len = strlen(name), end = len > 7 && strcasecmp(name + len - 7, ":latest") == 0 ? len - 7 : len;
    for (size_t i = 0; i < end && n + 1 < size; i++) {
        bool letter = isalnum((unsigned char)name[i]) || (unsigned char)name[i] >= 0x80;
        if (!letter || (strncasecmp(name + i, "p16", 3) == 0 && n && out[n - 1] == 'f') ||
            (strncasecmp(name + i, "p32", 3) == 0 && n && out[n - 1] == 'f'))
            continue;
        out[n++] = (char)tolower((unsigned char)name[i]);
    }
    out[n] = '\0';
}

static const json_t *find_by(const json_t *list, const char *key, const char *wanted)
{
    const json_t *e;
    char name[NAME];
    size_t i;
    json_array_foreach(list, i, e) {
        catalog_plain(text_of(e, key), name, sizeof name);
        if (*wanted && strcmp(name, wanted) == 0) return e;
    }
    return NULL;
}

/* Without a level: the one that most people take, if it is there. */
static const json_t *usual(const json_t *list, const char *base)
{
    static const char *const levels[] = {"Q4_K_M", "Q4_K_S", "Q5_K_M", "Q8_0"};
    char name[NAME];
    for (size_t k = 0; k < sizeof levels / sizeof *levels; k++) {
        const json_t *e;
        size_t i;
        json_array_foreach(list, i, e) {
            catalog_plain(text_of(e, "base"), name, sizeof name);
            if (strcmp(name, base) == 0 && strcasecmp(text_of(e, "level"), levels[k]) == 0) return e;
        }
    }
    return find_by(list, "base", base);
}

/* "llama3.1:q4_8b-instruct" is the 4-bit level of "llama3.1:8b-instruct": Q4_K_M; with q8_, Q8_0. */
static const json_t *find_prefixed(const json_t *list, const char *name)
{
    char turned[NAME], wanted[NAME];
    const char *tag = strrchr(name, ':');
    if (!tag || (strncasecmp(tag + 1, "q4_", 3) != 0 && strncasecmp(tag + 1, "q8_", 3) != 0)) return NULL;
    snprintf(turned, sizeof turned, "%.*s-%s-%s", (int)(tag - name), name, tag + 4, tag[2] == '4' ? "Q4_K_M" : "Q8_0");
    catalog_plain(turned, wanted, sizeof wanted);
    return find_by(list, "name", wanted);
}

const json_t *catalog_find(const json_t *list, const char *name)
{
    char wanted[NAME];
    const json_t *found = NULL, *e;
    size_t i;
    json_array_foreach(list, i, e)
        if (strcmp(text_of(e, "path"), name) == 0 || strcmp(text_of(e, "variant"), name) == 0 ||
            strcmp(text_of(e, "name"), name) == 0)
            return *name ? e : NULL;
    catalog_plain(name, wanted, sizeof wanted);
    if (!*wanted) return NULL;
    found = find_by(list, "name", wanted);
    if (!found) found = usual(list, wanted);
    return found ? found : find_prefixed(list, name);
}

/* ---- families ----------------------------------------------------------------------------------- */

/* A level as such, whole: Q4_K_M, q8_0; not "q4_8b". */
static bool is_whole_level(const char *text)
{
    static const char *const ends[] = {"", "_0", "_1", "_K", "_K_S", "_K_M", "_K_L", "_S", "_M", "_XS", "_XXS", "_NL"};
    const char *digit = strpbrk(text, "0123456789");
    if (!is_level(text)) return false;
    if (tolower((unsigned char)*text) == 'f' || tolower((unsigned char)*text) == 'b' || !digit) return true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strcasecmp(digit + 1, ends[i]) == 0) return true;
    return strcasecmp(text, "mxfp4") == 0;
}

/* "llama3.1:q4_8b-instruct": llama3.1-8b-instruct, and 4. */
static bool take_prefix(const char *name, char *base, size_t size, int *bits)
{
    const char *tag = strrchr(name, ':');
    if (!tag || is_whole_level(tag + 1)) return false;
    if (strncasecmp(tag + 1, "q4_", 3) != 0 && strncasecmp(tag + 1, "q8_", 3) != 0) return false;
    bool latest = strcasecmp(tag + 4, "latest") == 0;
    snprintf(base, size, "%.*s%s%s", (int)(tag - name), name, latest ? "" : "-", latest ? "" : tag + 4);
    *bits = tag[2] - '0';
    return true;
}

/* A name of a client's own without the level that it ends with. */
static void own_family(const char *name, char *key, size_t size)
{
    char base[NAME];
    int bits;
    snprintf(base, sizeof base, "%s", name);
    char *tag = strrchr(base, ':'), *dash = strrchr(base, '-');
    if (take_prefix(name, base, sizeof base, &bits))
        ;
    else if (tag && is_whole_level(tag + 1))
        *tag = '\0';
    else if (dash && is_whole_level(dash + 1))
        *dash = '\0';
    catalog_plain(base, key, size);
}

/* Is this local entry what `source` names, by its path or by the end of it? */
static bool is_source(const json_t *entry_, const char *source)
{
    const char *path = text_of(entry_, "path");
    size_t n = strlen(path), k = strlen(source);
    while (k > 1 && source[k - 1] == '/')
        k--;
    if (n < k || strncmp(path + n - k, source, k) != 0) return false;
    return n == k || path[n - k - 1] == '/';
}

void catalog_family(const json_t *list, const json_t *entry_, char *key, size_t size)
{
    const char *source = text_of(entry_, "source");
    const json_t *e;
    size_t i;
    if (json_is_true(json_object_get(entry_, "own"))) return own_family(text_of(entry_, "name"), key, size);
    json_array_foreach(list, i, e)
        if (*source && *text_of(e, "path") && !json_is_true(json_object_get(e, "own")) && is_source(e, source))
            return catalog_plain(text_of(e, "base"), key, size);
    catalog_plain(text_of(entry_, "base"), key, size);
}

static bool is_family(const json_t *list, const char *key)
{
    char family[NAME];
    const json_t *e;
    size_t i;
    json_array_foreach(list, i, e) {
        catalog_family(list, e, family, sizeof family);
        if (*key && strcmp(family, key) == 0) return true;
    }
    return false;
}

bool catalog_open_name(const json_t *list, const char *name, char *key, size_t size, int *bits)
{
    char base[NAME], family[NAME];
    const json_t *e;
    size_t i;
    *bits = 0;
    catalog_plain(name, key, size);
    json_array_foreach(list, i, e) {
        if (strcmp(text_of(e, "path"), name) == 0 || strcmp(text_of(e, "variant"), name) == 0) return false;
        catalog_plain(text_of(e, "name"), base, sizeof base);
        if (strcmp(base, key) != 0) continue;
        catalog_family(list, e, family, sizeof family);
        return strcmp(family, key) == 0 && is_family(list, key);
    }
    if (is_family(list, key)) return true;
    if (!take_prefix(name, base, sizeof base, bits)) return false;
    catalog_plain(base, key, size);
    return is_family(list, key);
}

/* Each file of it that is not here. */
static void fetch_folder(struct store *store, const struct store_file *folder, const char *far)
{
    struct store_part *parts;
    char name[1100];
    size_t n;
    if (store_parts(store, folder, &parts, &n) != STORE_OK) return;
    for (size_t i = 0; i < n; i++)
        if (snprintf(name, sizeof name, "%s/%s", far, parts[i].name) < (int)sizeof name)
            artifacts_copy_later(store_artifacts(store), name, parts[i].size, parts[i].sha256);
    free(parts);
}

bool catalog_place(struct store *store, const struct roots *roots, const json_t *entry_, struct runtime_model *model,
                   const char **why)
{
    const char *path = text_of(entry_, "path");
    char real[PATH_MAX];
    struct store_file file;
    *model = (struct runtime_model){.size = (uint64_t)json_integer_value(json_object_get(entry_, "size"))};
    snprintf(model->name, sizeof model->name, "%s", text_of(entry_, "name"));
    if (*text_of(entry_, "blob")) {
        *why = "its file is not there any more";
        snprintf(model->path, sizeof model->path, "%s", text_of(entry_, "blob"));
        return access(model->path, R_OK) == 0;
    }
    if (*path) {
        if ((*why = roots_model_fault(roots, path, real)) != NULL) return false;
        snprintf(model->path, sizeof model->path, "%s", real);
        return true;
    }
    *why = "the model is not in the registry any more";
    if (store_variant_file(store, text_of(entry_, "model"), text_of(entry_, "variant"), &file) != STORE_OK)
        return false;
    snprintf(model->path, sizeof model->path, "%s", file.path);
    const char *far = store_far_name(store, file.path);
    if (!far || access(file.path, R_OK) == 0) return true;
    *why = "the model is being fetched from the bucket: ask again in a while";
    if (*file.sha256)
        artifacts_copy_later(store_artifacts(store), far, file.size, file.sha256);
    else
        fetch_folder(store, &file, far);
    return false;
}
