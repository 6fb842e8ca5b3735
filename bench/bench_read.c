/*
 * Reading memory, GB/s by the wall clock, the best of a few:
 *     bench_read [--json FILE] [FILE]
 *     bench_read --machine [--json FILE]
 * One thread and two; memory in pages of 4 KB, in huge pages where the kernel gives them, and FILE (or a temporary file)
 * mapped; each thread from one place or from four in turn; by itself or with lines asked for ahead. The best of a row is what
 * one token with a model's weights can have at most. --machine: the line about the machine alone.
 */
#include "common/reading.h"
#include "common/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 4, AHEAD = 4096 };

static const size_t MOST = (size_t)1 << 30;

struct source {
    const char *name;
    const uint8_t *from;
    size_t size;
};

static void put_row(const struct source *source, int threads)
{
    static const struct {
        const char *name;
        int streams, ahead;
    } ways[] = {
        {"one_place", 1, 0}, {"one_place_ahead", 1, AHEAD}, {"four_places", 4, 0}, {"four_places_ahead", 4, AHEAD}};
    double speeds[4];
    printf("%-12s %7d", source->name, threads);
    for (int i = 0; i < 4; i++) {
        struct reading r = {source->from, source->size, threads, ways[i].streams, ways[i].ahead};
        speeds[i] = reading_speed(&r, TRIES) / 1e9;
        printf(" %10.2f", speeds[i]);
        fflush(stdout);
    }
    printf("\n");
    BENCH_ROW({"memory", .text = source->name}, {"threads", .number = threads}, {ways[0].name, .number = speeds[0]},
              {ways[1].name, .number = speeds[1]}, {ways[2].name, .number = speeds[2]},
              {ways[3].name, .number = speeds[3]});
}

static int temporary_file(void)
{
    static uint8_t bytes[1 << 20];
    char path[] = "/tmp/bench_read.XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) return -1;
    unlink(path);
    memset(bytes, 1, sizeof bytes);
    for (size_t n = 0; n < MOST; n += sizeof bytes)
        if (write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes) {
            close(fd);
            return -1;
        }
    return fd;
}

static struct source map_file(const char *path)
{
    struct source s = {"mapped file", NULL, 0};
    struct stat stat;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : temporary_file();
    if (fd < 0 || fstat(fd, &stat) != 0 || stat.st_size < 1 << 20) {
        fprintf(stderr, "%s: %s\n", path ? path : "/tmp", fd < 0 ? strerror(errno) : "less than 1 MB");
        exit(1);
    }
    s.size = (size_t)stat.st_size < MOST ? (size_t)stat.st_size : MOST;
    void *base = mmap(NULL, s.size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (base != MAP_FAILED) s.from = base;
    return s;
}

int main(int argc, char **argv)
{
    const struct machine *machine = bench_begin("bench_read", &argc, argv);
    const char *path = argc > 1 ? argv[1] : NULL;
    if (path && strcmp(path, "--machine") == 0) return bench_end();
    struct source sources[] = {
        {"4 KB pages", reading_room(MOST, 0), MOST}, {"huge pages", reading_room(MOST, 1), MOST}, map_file(path)};
    printf("\n%-12s %7s %10s %10s %10s %10s\n", "", "", "one place", "and ahead", "4 places", "and ahead");
    printf("%-12s %7s %10s %10s %10s %10s\n", "memory", "threads", "GB/s", "GB/s", "GB/s", "GB/s");
    for (int threads = 1; threads <= 2 && threads <= machine->cores; threads++)
        for (int i = 0; i < 3; i++)
            if (sources[i].from) put_row(&sources[i], threads);
    return bench_end();
}
