/*
 * A library to be loaded before others: the process that has KILL_AT=N ends by SIGKILL just before its Nth
 * call that changes a file; with FULL_FROM=N and FULL_TO=M the disk is full for the calls from N to M; with KILL_DONE=N
 * it ends once it has written N lines that begin with "done", as a journal's of finished tensors do. The children of a
 * service have a scrubbed environment and are not concerned.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static atomic_long calls;

/* A process that ends by itself tells how many there were. */
__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("KILL_COUNT");
    FILE *f = path ? fopen(path, "we") : NULL;
    if (f && fprintf(f, "%ld", atomic_load(&calls)) > 0) fclose(f);
}

/* Is this call to fail? */
static int count(int grows)
{
    const char *at = getenv("KILL_AT"), *from = getenv("FULL_FROM"), *to = getenv("FULL_TO");
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (at && n == atol(at)) kill(getpid(), SIGKILL);
    /* whoever writes the journal comes to it on a busy machine, too, before everything is done */
    if (getenv("KILL_DONE")) nanosleep(&(const struct timespec){.tv_nsec = 2000000}, NULL);
    return grows && from && to && n >= atol(from) && n < atol(to);
}

#define AROUND(result, grows, name, parameters, arguments)                                                             \
    EXPORT result name parameters;                                                                                     \
    EXPORT result name parameters                                                                                      \
    {                                                                                                                  \
        static result(*real) parameters;                                                                               \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);                                                          \
        if (!count(grows)) return real arguments;                                                                      \
        errno = ENOSPC;                                                                                                \
        return -1;                                                                                                     \
    }

AROUND(int, 1, rename, (const char *from, const char *to), (from, to))
AROUND(int, 1, fsync, (int fd), (fd))
AROUND(int, 1, fdatasync, (int fd), (fd))
AROUND(int, 0, unlink, (const char *path), (path))
AROUND(int, 0, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
AROUND(int, 0, rmdir, (const char *path), (path))
AROUND(int, 1, mkdir, (const char *path, mode_t mode), (path, mode))
AROUND(int, 0, ftruncate64, (int fd, off64_t size), (fd, size))
AROUND(ssize_t, 1, pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at))

EXPORT ssize_t write(int fd, const void *data, size_t n);
EXPORT ssize_t write(int fd, const void *data, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    static atomic_long finished;
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "write");
    const char *wanted = getenv("KILL_DONE");
    long lines = 0;
    for (const char *p = data; wanted && p && (size_t)(p - (const char *)data) + 4 <= n; lines++) {
        if (memcmp(p, "done", 4) != 0) break;
        p = memchr(p, '\n', n - (size_t)(p - (const char *)data));
        if (p) p++;
    }
    ssize_t written = real(fd, data, n);
    if (lines && atomic_fetch_add(&finished, lines) + lines >= atol(wanted)) kill(getpid(), SIGKILL);
    return written;
}
