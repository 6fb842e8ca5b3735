/*
 * A library to be loaded before others: the process that has KILL_AT=N ends by SIGKILL just before its Nth
 * call that changes a file; with FULL_FROM=N and FULL_TO=M the disk is full for the calls from N to M. Its children
 * have a scrubbed environment and are not concerned.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
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
