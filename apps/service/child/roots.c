/*
 * Containment is proved on the open descriptor: openat2 refuses to leave the folder while it walks, and what was
 * opened is then asked for its own path, so that neither a link nor a rename in between leads out. Where the kernel
 * has no openat2 only the second proof is left.
 */
#include "service/child/roots.h"

#include "service/child/model_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct root {
    int fd;
    char *real, *named; /* named: as it was given, which clients may write too */
};

struct roots {
    struct root *items;
    size_t n;
    int *fds; /* of the items */
    struct confine_roots held;
};

bool roots_open(const struct settings_list *folders, struct roots **out, char *why, size_t size)
{
    struct roots *roots = calloc(1, sizeof *roots);
    *out = roots;
    if (roots && folders->n) roots->items = calloc(folders->n, sizeof *roots->items);
    if (roots && folders->n) roots->fds = calloc(folders->n, sizeof *roots->fds);
    if (!roots || (folders->n && (!roots->items || !roots->fds))) {
        roots_close(out);
        return snprintf(why, size, "not enough memory"), false;
    }
    for (size_t i = 0; i < folders->n; i++) {
        struct root *r = &roots->items[roots->n++];
        r->real = realpath(folders->items[i], NULL);
        r->named = strdup(folders->items[i]);
        r->fd = r->real ? open(r->real, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        roots->fds[i] = r->fd;
        if (r->fd >= 0 && r->named) continue;
        snprintf(why, size, "models: %s is no folder that can be read", folders->items[i]);
        roots_close(out);
        return false;
    }
    roots->held = (struct confine_roots){roots->fds, roots->n};
    return true;
}

const struct confine_roots *roots_held(const struct roots *roots)
{
    return &roots->held;
}

void roots_close(struct roots **roots)
{
    if (!*roots) return;
    for (size_t i = 0; i < (*roots)->n; i++) {
        struct root *r = &(*roots)->items[i];
        if (r->fd >= 0) close(r->fd);
        free(r->real);
        free(r->named);
    }
    free((*roots)->items);
    free((*roots)->fds);
    free(*roots);
    *roots = NULL;
}

size_t roots_count(const struct roots *roots)
{
    return roots->n;
}

const char *roots_path(const struct roots *roots, size_t i)
{
    return roots->items[i].real;
}

/* What follows a folder in a path, "." for the folder itself; NULL: the path does not begin with it. */
static const char *behind(const char *folder, const char *path)
{
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/')
        n--;
    if (strncmp(folder, path, n) != 0) return NULL;
    if (n == 1) return path[1] ? path + 1 : "."; /* the root of all */
    if (path[n] == '\0') return ".";
    if (path[n] != '/') return NULL;
    path += n + strspn(path + n, "/");
    return *path ? path : ".";
}

static int open_beneath(int folder, const char *rest, int flags)
{
    struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC), .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, folder, rest, &how, sizeof how);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return (int)fd;
    return openat(folder, rest, flags | O_CLOEXEC);
}

/* The path of what is open, and whether it lies under a folder. */
static bool real_path_under(int fd, const char *folder, char real[PATH_MAX])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, real, PATH_MAX - 1);
    if (n <= 0) return false;
    real[n] = '\0';
    return behind(folder, real) != NULL;
}

static int open_in(const struct root *r, const char *rest, int flags, char real[PATH_MAX], enum roots_result *result)
{
    int fd = open_beneath(r->fd, rest, flags);
    if (fd < 0) {
        *result = errno == EXDEV || errno == ELOOP ? ROOTS_OUTSIDE : ROOTS_MISSING;
        return -1;
    }
    if (real_path_under(fd, r->real, real)) return *result = ROOTS_OK, fd;
    close(fd);
    *result = ROOTS_OUTSIDE;
    return -1;
}

static int resolve(const struct roots *roots, const char *name, int flags, char real[PATH_MAX], size_t *root,
                   enum roots_result *result)
{
    enum roots_result one;
    *result = name[0] == '/' ? ROOTS_OUTSIDE : ROOTS_MISSING;
    if (!*name || strlen(name) >= PATH_MAX) return -1;
    for (size_t i = 0; i < roots->n; i++) {
        const struct root *r = &roots->items[i];
        const char *rest = name;
        if (name[0] == '/') {
            rest = behind(r->real, name);
            if (!rest) rest = behind(r->named, name);
        }
        if (!rest) continue;
        int fd = open_in(r, rest, flags, real, &one);
        if (fd >= 0) {
            if (root) *root = i;
            return *result = ROOTS_OK, fd;
        }
        if (one == ROOTS_MISSING)
            *result = *result == ROOTS_OUTSIDE && name[0] != '/' ? ROOTS_OUTSIDE : ROOTS_MISSING;
        else
            *result = ROOTS_OUTSIDE;
    }
    return -1;
}

int roots_open_at(const struct roots *roots, const char *name, char real[PATH_MAX], size_t *root,
                  enum roots_result *result)
{
    /* not to wait for somebody to write into a pipe */
    return resolve(roots, name, O_RDONLY | O_NONBLOCK, real, root, result);
}

enum roots_result roots_resolve(const struct roots *roots, const char *name, char real[PATH_MAX], size_t *root,
                                struct stat *info)
{
    enum roots_result result;
    struct stat own;
    int fd = resolve(roots, name, O_PATH, real, root, &result);
    if (fd < 0) return result;
    int failed = fstat(fd, info ? info : &own);
    close(fd);
    return failed ? ROOTS_MISSING : ROOTS_OK;
}

/* Whether a link leads to something under the allowed folders. One to nowhere is not read by anybody. */
static bool link_stays(const struct roots *roots, const char *path)
{
    char target[PATH_MAX];
    if (!realpath(path, target)) return true;
    for (size_t i = 0; i < roots->n; i++)
        if (behind(roots->items[i].real, target)) return true;
    return false;
}

enum { LOOK_DEPTH = 3 };

/* Entries of a folder, and of the folders in it. model NULL: all of them count. */
static bool entries_stay(const struct roots *roots, const char *folder, const char *model, int depth)
{
    DIR *dir = opendir(folder);
    struct dirent *e;
    bool stay = true;
    while (dir && stay && (e = readdir(dir)) != NULL) {
        char path[PATH_MAX];
        struct stat info;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (model && !model_reads_with(e->d_name, model)) continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path) continue;
        if (lstat(path, &info) != 0) continue;
        if (S_ISLNK(info.st_mode)) stay = link_stays(roots, path);
        if (S_ISDIR(info.st_mode) && !model && depth < LOOK_DEPTH) stay = entries_stay(roots, path, NULL, depth + 1);
    }
    if (dir) closedir(dir);
    return stay;
}

const char *roots_model_fault(const struct roots *roots, const char *name, char real[PATH_MAX])
{
    struct stat info;
    char folder[PATH_MAX];
    if (roots_resolve(roots, name, real, NULL, &info) != ROOTS_OK)
        return "there is no such model under the allowed folders";
    if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)) return "this is neither a file nor a folder";
    if (S_ISDIR(info.st_mode))
        return entries_stay(roots, real, NULL, 0) ? NULL : "a link in the folder leaves the allowed folders";
    snprintf(folder, sizeof folder, "%s", real);
    char *slash = strrchr(folder, '/');
    *slash = '\0';
    return entries_stay(roots, *folder ? folder : "/", slash + 1, 0)
               ? NULL
               : "a link beside the file, which is read with it, leaves the allowed folders";
}
