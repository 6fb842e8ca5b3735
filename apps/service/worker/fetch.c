/*
 * A job's model that lies with the server. Where this worker sees the same files (the same path under one of its own
 * folders, sizes and times of change alike, as on a shared disk), they are read in place; otherwise they are fetched
 * into FOLDER/uploads/JOB, and go on where an earlier attempt ended.
 */
#include "service/worker/far.h"

#include "service/artifacts/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static json_int_t number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

/* "a" or "a/b/c": nothing hidden, no way out. */
static bool is_plain(const char *name)
{
    if (!name || !*name || strlen(name) > 250) return false;
    for (const char *p = name; *p; p++)
        if ((p == name || p[-1] == '/') && (*p == '.' || *p == '/')) return false;
    return name[strlen(name) - 1] != '/';
}

/* Does the folder hold each of the files as the server has it? */
static bool is_same(const char *folder, const json_t *files)
{
    const json_t *file;
    size_t i;
    json_array_foreach(files, i, file) {
        char path[PATH_MAX];
        struct stat info;
        const char *name = text_of(file, "name");
        if (!is_plain(name) || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return false;
        if (stat(path, &info) != 0 || info.st_size != number_of(file, "size")) return false;
        if ((json_int_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec != number_of(file, "modified_ns"))
            return false;
    }
    return true;
}

static bool is_seen(const struct far *f, const json_t *source, char real[PATH_MAX])
{
    const char *path = text_of(source, "path");
    char folder[PATH_MAX];
    if (!path || roots_model_fault(f->roots, path, real)) return false;
    snprintf(folder, sizeof folder, "%s", real);
    if (!json_is_true(json_object_get(source, "folder"))) *strrchr(folder, '/') = '\0';
    return is_same(*folder ? folder : "/", json_object_get(source, "files"));
}

struct coming {
    const struct link_fetch *fetch;
    const char *file;
    uint64_t before, total; /* bytes of earlier files and of what was there; of all */
};

static void came(void *ctx, uint64_t n)
{
    const struct coming *c = ctx;
    c->fetch->tell(c->fetch->ctx, c->file, c->before + n, c->total);
}

static bool goes_on(void *ctx)
{
    const struct coming *c = ctx;
    return c->fetch->goes_on(c->fetch->ctx);
}

/* Folders on the way to a file. */
static bool make_way(const char *base, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", base, name);
    if (n >= (int)sizeof path) return false;
    for (char *p = path + strlen(base) + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        if (!dir_make(path)) return false;
    }
    return true;
}

/* `to` is there when it is whole. */
static bool fetch_file(struct far *f, struct coming *c, const char *name, uint64_t size, const char *to)
{
    char part[PATH_MAX], task[80], escaped[800], path[1000];
    struct stat info;
    if (lstat(to, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size == size) return true;
    if (snprintf(part, sizeof part, "%s.part", to) >= (int)sizeof part) return false;
    int fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_APPEND, 0600);
    if (fd < 0 || fstat(fd, &info) != 0) {
        far_fail(f, "%s cannot be written here: %s", name, strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    if ((uint64_t)info.st_size > size && ftruncate(fd, 0) == 0) info.st_size = 0;
    far_task(c->fetch->claim, task);
    far_escape(name, escaped, sizeof escaped);
    snprintf(path, sizeof path, "/tasks/%s/source/%s", task, escaped);
    enum store_result result = STORE_OK;
    uint64_t there = (uint64_t)info.st_size;
    struct patience patience = {0};
    while (there < size && far_again(f, &patience, goes_on, c)) {
        c->before += there;
        struct asked a = {
            .method = "GET", .path = path, .to = fd, .from = there, .came = came, .goes_on = goes_on, .ctx = c};
        result = far_ask(f, &a, NULL);
        c->before -= there;
        if (fstat(fd, &info) != 0) break;
        there = (uint64_t)info.st_size;
        if (result == STORE_NOT_FOUND || result == STORE_CONFLICT) break;
    }
    close(fd);
    if (there == size && rename(part, to) == 0) return true;
    if (result == STORE_OK)
        far_fail(f, "%s did not come whole: %llu of %llu bytes", name, (unsigned long long)there,
                 (unsigned long long)size);
    return false;
}

static bool fetch_all(struct far *f, const struct link_fetch *fetch, const json_t *source, const char *base)
{
    const json_t *files = json_object_get(source, "files"), *file;
    struct coming c = {.fetch = fetch};
    char to[PATH_MAX];
    size_t i;
    json_array_foreach(files, i, file)
        c.total += (uint64_t)number_of(file, "size");
    json_array_foreach(files, i, file) {
        const char *name = text_of(file, "name");
        json_int_t size = number_of(file, "size");
        if (!is_plain(name) || size < 0 || !make_way(base, name) ||
            snprintf(to, sizeof to, "%s/%s", base, name) >= (int)sizeof to) {
            far_fail(f, "the server names a file that cannot be one of a model");
            return false;
        }
        c.file = name;
        if (!fetch_file(f, &c, name, (uint64_t)size, to)) return false;
        c.before += (uint64_t)size;
        fetch->tell(fetch->ctx, name, c.before, c.total);
    }
    return true;
}

static bool fetch_to(struct far *f, const struct link_fetch *fetch, const json_t *source)
{
    char base[PATH_MAX], path[PATH_MAX];
    const char *name = text_of(source, "name");
    bool folder = json_is_true(json_object_get(source, "folder"));
    if (!is_plain(name) || strchr(name, '/')) {
        far_fail(f, "the server names a model that cannot be one");
        return false;
    }
    snprintf(base, sizeof base, "%s/uploads/%s", fetch->folder, fetch->claim->id);
    if (!dir_make(base) || snprintf(path, sizeof path, "%s/%s", base, name) >= (int)sizeof path ||
        (folder && !dir_make(path))) {
        far_fail(f, "the folder for the model cannot be made: %s", strerror(errno));
        return false;
    }
    if (!fetch_all(f, fetch, source, folder ? path : base)) return false;
    json_object_set_new(fetch->request, "source_path", json_string(path));
    json_object_set_new(fetch->request, "source_type", json_string("upload")); /* what may be read, and no more */
    return true;
}

/* What the model is, and where. NULL: far_why. */
static json_t *ask_for_source(struct far *f, const struct link_fetch *fetch)
{
    char task[80], path[120];
    json_t *source = NULL;
    struct patience patience = {0};
    enum store_result result = STORE_BUSY;
    far_task(fetch->claim, task);
    snprintf(path, sizeof path, "/tasks/%s/source", task);
    while ((result == STORE_BUSY || result == STORE_FAILED) && far_again(f, &patience, fetch->goes_on, fetch->ctx)) {
        struct asked a = {.method = "GET", .path = path};
        result = far_ask(f, &a, &source);
    }
    return source;
}

bool far_fetch(struct worker_link *link, const struct link_fetch *fetch, char *why, size_t size)
{
    struct far *f = (struct far *)link;
    char real[PATH_MAX];
    json_t *source = ask_for_source(f, fetch);
    bool done = source != NULL;
    if (done && strcmp(text_of(fetch->request, "source_type"), "local") == 0 && is_seen(f, source, real)) {
        json_object_set_new(fetch->request, "source_path", json_string(real));
    } else if (done) {
        fetch->begin(fetch->ctx);
        done = fetch_to(f, fetch, source);
    }
    json_decref(source);
    why[0] = '\0';
    if (!done && fetch->goes_on(fetch->ctx)) far_why(f, why, size);
    return done;
}
