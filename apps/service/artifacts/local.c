/*
 * Files in a folder: of this machine, or of a share that behaves as one (which is tried out: probe). Finished work lies in
 * the same file system, so nothing is copied: to publish is to rename.
 */
#include "service/artifacts/dir.h"
#include "service/artifacts/driver.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void path_of(const struct artifacts *a, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%.1100s", a->folder, name);
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* ---- does the folder behave? ---- */

static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0) close(fd);
    if (n >= 0) text[n] = '\0';
    return n > 0;
}

static int put_file(const char *path, const char *text)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t len = (ssize_t)strlen(text);
    if (fd >= 0 && (write(fd, text, (size_t)len) != len || fsync(fd) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* What the work leans on: files that are synced, renamed over others, and locked. */
static bool probe(struct artifacts *a, const char *id, const char **note, struct artifacts_call *call)
{
    char one[4200], two[4200], text[16] = "";
    const char *fault = NULL;
    (void)note;
    snprintf(one, sizeof one, "%s/jobs/.probe-%s", a->folder, id);
    snprintf(two, sizeof two, "%s/jobs/.probe-%s-2", a->folder, id);
    int f = put_file(one, "one"), g = put_file(two, "two");
    if (f < 0 || g < 0)
        fault = "files cannot be written and synced there";
    else if (flock(f, LOCK_EX | LOCK_NB) != 0)
        fault = "files cannot be locked there";
    else if (rename(two, one) != 0 || !read_text(one, text, sizeof text) || strcmp(text, "two") != 0 ||
             access(two, F_OK) == 0)
        fault = "a file cannot be renamed over another there";
    if (f >= 0) close(f);
    if (g >= 0) close(g);
    unlink(one);
    unlink(two);
    if (fault) artifacts__fail(call, ARTIFACTS_FAILED, "%s: %s", a->folder, fault);
    return !fault;
}

/* ---- publishing ---- */

static bool is_whole(const char *folder, const json_t *files)
{
    const json_t *file;
    size_t i;
    json_array_foreach(files, i, file) {
        char path[5300];
        struct stat st;
        snprintf(path, sizeof path, "%s/%.1100s", folder, text_of(file, "name"));
        if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) ||
            st.st_size != json_integer_value(json_object_get(file, "size")))
            return false;
    }
    return true;
}

static json_t *stage(struct artifacts *a, const char *from, const char *place, const json_t *files,
                     struct artifacts_call *call)
{
    (void)a, (void)place;
    if (is_whole(from, files)) return json_array();
    artifacts__fail(call, ARTIFACTS_FAILED, "not all files are there");
    return NULL;
}

static bool sync_one(const char *path, int flags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags);
    bool done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return done;
}

/* Names and contents of everything in the folder reach the disk before its new name does. What is large was synced by who
 * wrote it, and costs nothing here. */
static bool sync_folder(const char *folder, int depth)
{
    DIR *dir = opendir(folder);
    bool done = dir != NULL;
    for (struct dirent *e; done && (e = readdir(dir)) != NULL;) {
        char path[4700];
        struct stat st;
        if (e->d_name[0] == '.') continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path || lstat(path, &st) != 0)
            done = false;
        else if (S_ISREG(st.st_mode))
            done = sync_one(path, 0);
        else if (S_ISDIR(st.st_mode) && depth > 0)
            done = sync_folder(path, depth - 1);
    }
    if (dir) closedir(dir);
    return done && sync_one(folder, O_DIRECTORY);
}

static enum artifacts_result publish(struct artifacts *a, const char *from, const char *place, const json_t *files,
                                     const json_t *staged, struct artifacts_call *call)
{
    char path[4352];
    (void)staged;
    path_of(a, place, path, sizeof path);
    if (dir_exists(path)) /* an earlier attempt came as far as this */
        return is_whole(path, files) ? ARTIFACTS_OK
                                     : artifacts__fail(call, ARTIFACTS_CONFLICT, "%s holds something else", place);
    if (sync_folder(from, 1) && dir_move(from, path)) return ARTIFACTS_OK;
    return artifacts__fail(call, ARTIFACTS_FAILED, "%s: %s", place, strerror(errno));
}

static void discard(struct artifacts *a, const char *place, const json_t *staged)
{
    (void)a, (void)place, (void)staged; /* the folder is the caller's */
}

/* ---- reading ---- */

static int open_file(struct artifacts *a, const char *name, struct stat *st)
{
    char path[4352];
    path_of(a, name, path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || (fstat(fd, st) == 0 && S_ISREG(st->st_mode))) return fd;
    close(fd);
    return -1;
}

static enum artifacts_result read_range(struct artifacts *a, const char *name, uint64_t from, uint64_t len,
                                        artifacts_sink *sink, void *sink_ctx, struct artifacts_call *call)
{
    enum { PIECE = 1 << 20 };
    struct stat st;
    int fd = open_file(a, name, &st);
    unsigned char *piece = malloc(PIECE);
    enum artifacts_result result = fd < 0  ? artifacts__fail(call, ARTIFACTS_MISSING, "%s is not there", name)
                                   : piece ? ARTIFACTS_OK
                                           : artifacts__fail(call, ARTIFACTS_FAILED, "out of memory");
    while (result == ARTIFACTS_OK && len > 0) {
        ssize_t n = pread(fd, piece, len < PIECE ? (size_t)len : PIECE, (off_t)from);
        if (n < 0) result = artifacts__fail(call, ARTIFACTS_FAILED, "%s: %s", name, strerror(errno));
        if (n <= 0 || !sink(sink_ctx, piece, (size_t)n)) break;
        from += (uint64_t)n;
        len -= (uint64_t)n;
        if (!artifacts__goes_on(call)) result = ARTIFACTS_STOPPED;
    }
    free(piece);
    if (fd >= 0) close(fd);
    return result;
}

static enum artifacts_result look(struct artifacts *a, const char *name, uint64_t *size, char sha256[65],
                                  struct artifacts_call *call)
{
    struct stat st;
    int fd = open_file(a, name, &st);
    sha256[0] = '\0';
    if (fd < 0) return artifacts__fail(call, ARTIFACTS_MISSING, "%s is not there", name);
    *size = (uint64_t)st.st_size;
    close(fd);
    return ARTIFACTS_OK;
}

static enum artifacts_result remove_one(struct artifacts *a, const char *name, struct artifacts_call *call)
{
    char path[4352];
    path_of(a, name, path, sizeof path);
    if (unlink(path) == 0 || errno == ENOENT || dir_remove(path)) return ARTIFACTS_OK;
    return artifacts__fail(call, ARTIFACTS_FAILED, "%s: %s", name, strerror(errno));
}

static bool list_folder(struct artifacts *a, const char *name, artifacts_found *found, void *ctx, int depth)
{
    char path[4352];
    bool more = true;
    path_of(a, name, path, sizeof path);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && more && (e = readdir(dir)) != NULL;) {
        char inner[1100], inner_path[4352];
        struct stat st;
        if (e->d_name[0] == '.' || snprintf(inner, sizeof inner, "%s/%s", name, e->d_name) >= (int)sizeof inner)
            continue;
        path_of(a, inner, inner_path, sizeof inner_path);
        if (lstat(inner_path, &st) != 0) continue;
        if (S_ISDIR(st.st_mode) && depth > 0) more = list_folder(a, inner, found, ctx, depth - 1);
        if (S_ISREG(st.st_mode)) more = found(ctx, inner, (uint64_t)st.st_size);
    }
    if (dir) closedir(dir);
    return more;
}

static enum artifacts_result list(struct artifacts *a, const char *prefix, artifacts_found *found, void *found_ctx,
                                  struct artifacts_call *call)
{
    (void)call;
    list_folder(a, prefix, found, found_ctx, 3);
    return ARTIFACTS_OK;
}

const struct artifacts_driver artifacts__local = {.name = "folder",
                                                  .probe = probe,
                                                  .stage = stage,
                                                  .publish = publish,
                                                  .discard = discard,
                                                  .read = read_range,
                                                  .look = look,
                                                  .remove = remove_one,
                                                  .list = list};
