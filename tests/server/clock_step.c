/*
 * A library to be loaded before others: clocks that are off by what the file CLOCK_STEP says at the moment, two numbers
 * of 64 bits in seconds, for the wall clock and for CLOCK_MONOTONIC. Waiting is the kernel's and not concerned.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static const volatile int64_t *offsets;

__attribute__((constructor)) static void map(void)
{
    const char *path = getenv("CLOCK_STEP");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, 2 * sizeof *offsets, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) offsets = at;
    close(fd);
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *t);
EXPORT int clock_gettime(clockid_t clock, struct timespec *t)
{
    int error = (int)syscall(SYS_clock_gettime, clock, t);
    if (error || !offsets) return error;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) t->tv_sec += offsets[0];
    if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) t->tv_sec += offsets[1];
    return 0;
}

EXPORT time_t time(time_t *result);
EXPORT time_t time(time_t *result)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_REALTIME, &t);
    if (result) *result = t.tv_sec;
    return t.tv_sec;
}

EXPORT int gettimeofday(struct timeval *restrict result, void *restrict zone);
EXPORT int gettimeofday(struct timeval *restrict result, void *restrict zone)
{
    struct timespec t = {0};
    (void)zone;
    int error = clock_gettime(CLOCK_REALTIME, &t);
    result->tv_sec = t.tv_sec;
    result->tv_usec = t.tv_nsec / 1000;
    return error;
}
