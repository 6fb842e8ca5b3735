/*
 * A library to be loaded before others: the process notes in UNSYNCED_LOG/log, before each change of a file or folder
 * under UNSYNCED_UNDER, what it takes to undo it, and after each sync what is on the disk from then on. unsynced.py
 * makes from that what a power failure could have left. Its children have a scrubbed environment and are not concerned.
 */
#undef _FILE_OFFSET_BITS /* open and open64 are two names here */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum kind { WRITE = 'w', SYNC = 's', CREATE = 'c', RENAME = 'r', UNLINK = 'u', MKDIR = 'm', RMDIR = 'd' };

/* inode: of the file, or of the folder that changes; other: the folder that a file was renamed from; for SYNC: how many
 * records it covers. size: the file's, before. Then `first` and `second` bytes: old contents, or paths. */
struct record {
    int64_t kind, inode, other, at, length, size, first, second;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *under, *folder;
static int out = -1;
static int64_t records;

__attribute__((constructor)) static void begin(void)
{
    char path[PATH_MAX];
    under = getenv("UNSYNCED_UNDER");
    folder = getenv("UNSYNCED_LOG");
    if (!under || !folder) return;
    snprintf(path, sizeof path, "%s/log", folder);
    out = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Under the lock. */
static void put(struct record r, const void *first, const void *second)
{
    size_t n = sizeof r + (size_t)r.first + (size_t)r.second;
    char *bytes = malloc(n), *p = bytes;
    if (!bytes) abort();
    memcpy(p, &r, sizeof r);
    if (r.first) memcpy(p + sizeof r, first, (size_t)r.first);
    if (r.second) memcpy(p + sizeof r + r.first, second, (size_t)r.second);
    if (syscall(SYS_write, out, bytes, n) != (long)n) abort();
    free(bytes);
    records++;
}

/* SQLite's shared memory is made anew by who opens the database first: a power failure cannot matter to it. */
static int concerns(const char *path)
{
    size_t n = strlen(path), u = under ? strlen(under) : 0;
    return out >= 0 && strncmp(path, under, u) == 0 && (path[u] == '/' || !path[u]) &&
           (n < 4 || strcmp(path + n - 4, "-shm") != 0);
}

static int path_of(int fd, char path[PATH_MAX])
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 0 && concerns(path);
}

static int64_t parent_of(const char *path)
{
    char parent[PATH_MAX];
    struct stat st;
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash) *slash = '\0';
    return slash && stat(parent, &st) == 0 ? (int64_t)st.st_ino : 0;
}

static void note_entry(enum kind kind, const char *path, const char *from)
{
    struct record r = {.kind = kind, .inode = parent_of(path), .first = (int64_t)strlen(path)};
    if (from) r.other = parent_of(from), r.second = (int64_t)strlen(from);
    put(r, path, from);
}

/* What the bytes from `at` on are before they are written or, with n < 0, cut off. */
static void note_bytes(int fd, int64_t at, int64_t n)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return;
    int64_t end = n < 0 ? st.st_size : at + n < st.st_size ? at + n : st.st_size, old = end > at ? end - at : 0;
    char path[40], *bytes = malloc((size_t)old + 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd); /* this one may be open for writing alone */
    int in = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (!bytes || in < 0 || pread(in, bytes, (size_t)old, at) != old) abort();
    close(in);
    put((struct record){.kind = WRITE,
                        .inode = (int64_t)st.st_ino,
                        .at = at,
                        .length = n < 0 ? old : n,
                        .size = st.st_size,
                        .first = old},
        bytes, NULL);
    free(bytes);
}

#define REAL(result, name, parameters)                                                                                 \
    static result(*real) parameters;                                                                                   \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

#define CHANGES(result, name, parameters, arguments, is_concerned, note)                                               \
    EXPORT result name parameters;                                                                                     \
    EXPORT result name parameters                                                                                      \
    {                                                                                                                  \
        char path[PATH_MAX];                                                                                           \
        (void)path;                                                                                                    \
        REAL(result, name, parameters);                                                                                \
        if (!(is_concerned)) return real arguments;                                                                    \
        pthread_mutex_lock(&lock);                                                                                     \
        note;                                                                                                          \
        result r = real arguments;                                                                                     \
        pthread_mutex_unlock(&lock);                                                                                   \
        return r;                                                                                                      \
    }

/* What is removed stays under another name, to be put back. */
static void note_unlink(const char *path)
{
    char kept[PATH_MAX];
    snprintf(kept, sizeof kept, "%s/%lld", folder, (long long)records);
    if (link(path, kept) == 0) note_entry(UNLINK, path, NULL);
}

static int is_below(int fd, const char *name, char path[PATH_MAX])
{
    if (*name == '/' || fd == AT_FDCWD) return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && concerns(path);
    if (!path_of(fd, path)) return 0;
    size_t n = strlen(path);
    return snprintf(path + n, PATH_MAX - n, "/%s", name) < (int)(PATH_MAX - n);
}

static void note_removal(const char *path, int flags)
{
    if (flags & AT_REMOVEDIR)
        note_entry(RMDIR, path, NULL);
    else
        note_unlink(path);
}

CHANGES(int, rename, (const char *from, const char *to), (from, to), concerns(to), note_entry(RENAME, to, from))
CHANGES(int, unlink, (const char *name), (name), concerns(name), note_unlink(name))
CHANGES(int, unlinkat, (int fd, const char *name, int flags), (fd, name, flags), is_below(fd, name, path),
        note_removal(path, flags))
CHANGES(int, rmdir, (const char *name), (name), concerns(name), note_entry(RMDIR, name, NULL))
CHANGES(int, mkdir, (const char *name, mode_t mode), (name, mode), concerns(name) && access(name, F_OK) != 0,
        note_entry(MKDIR, name, NULL))
CHANGES(int, ftruncate64, (int fd, off64_t size), (fd, size), path_of(fd, path), note_bytes(fd, size, -1))
CHANGES(ssize_t, pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at), path_of(fd, path),
        note_bytes(fd, at, (int64_t)n))
CHANGES(ssize_t, write, (int fd, const void *data, size_t n), (fd, data, n), path_of(fd, path),
        note_bytes(fd, lseek(fd, 0, SEEK_CUR), (int64_t)n))

#define OPENS(name)                                                                                                    \
    EXPORT int name(const char *path, int flags, ...);                                                                 \
    EXPORT int name(const char *path, int flags, ...)                                                                  \
    {                                                                                                                  \
        REAL(int, name, (const char *, int, ...));                                                                     \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                                                      \
        va_end(more);                                                                                                  \
        if (!(flags & O_CREAT) || !concerns(path) || access(path, F_OK) == 0) return real(path, flags, mode);          \
        pthread_mutex_lock(&lock);                                                                                     \
        note_entry(CREATE, path, NULL);                                                                                \
        int fd = real(path, flags, mode);                                                                              \
        pthread_mutex_unlock(&lock);                                                                                   \
        return fd;                                                                                                     \
    }
OPENS(open)
OPENS(open64)

/* It covers what was noted before it began. */
static int sync_noted(int fd, int (*real)(int))
{
    char path[PATH_MAX];
    struct stat st;
    if (!path_of(fd, path) || fstat(fd, &st) != 0) return real(fd);
    pthread_mutex_lock(&lock);
    int64_t before = records;
    pthread_mutex_unlock(&lock);
    int result = real(fd);
    pthread_mutex_lock(&lock);
    if (result == 0) put((struct record){.kind = SYNC, .inode = (int64_t)st.st_ino, .other = before}, NULL, NULL);
    pthread_mutex_unlock(&lock);
    return result;
}

#define SYNCS(name)                                                                                                    \
    EXPORT int name(int fd);                                                                                           \
    EXPORT int name(int fd)                                                                                            \
    {                                                                                                                  \
        REAL(int, name, (int));                                                                                        \
        return sync_noted(fd, real);                                                                                   \
    }
SYNCS(fsync)
SYNCS(fdatasync)
