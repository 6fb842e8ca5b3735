/*
 * A library to be loaded before others: the process that has KILL_AT=N ends by SIGKILL just before its Nth
 * call that changes a file. Its children have a scrubbed environment and are not concerned.
 */
#include <dlfcn.h>
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

static void count(void)
{
    const char *at = getenv("KILL_AT");
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (at && n == atol(at)) kill(getpid(), SIGKILL);
}

#define AROUND(result, name, parameters, arguments)                                                                  \
    EXPORT result name parameters;                                                                                   \
    EXPORT result name parameters                                                                                    \
    {                                                                                                                \
        static result(*real) parameters;                                                                             \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);                                                        \
        count();                                                                                                     \
        return real arguments;                                                                                       \
    }

AROUND(int, rename, (const char *from, const char *to), (from, to))
AROUND(int, fsync, (int fd), (fd))
AROUND(int, fdatasync, (int fd), (fd))
AROUND(int, unlink, (const char *path), (path))
AROUND(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
AROUND(int, rmdir, (const char *path), (path))
AROUND(int, mkdir, (const char *path, mode_t mode), (path, mode))
AROUND(int, ftruncate64, (int fd, off64_t size), (fd, size))
AROUND(ssize_t, pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at))
