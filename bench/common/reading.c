#include "reading.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST_THREADS = 64, MOST_STREAMS = 8, STEP = 256 };

typedef uint64_t lane __attribute__((vector_size(16)));

static double wall_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline void read_step(const uint8_t *from, int ahead, lane sums[4])
{
    for (int i = 0; i < STEP && ahead; i += 64)
        __builtin_prefetch(from + ahead + i, 0,
                           2); /* to the second cache: more are under way than the first may have */
    for (int i = 0; i < STEP; i += 64)
        for (int j = 0; j < 4; j++) {
            lane v;
            memcpy(&v, from + i + 16 * j, sizeof v);
            sums[j] += v;
        }
}

static void read_part(const struct reading *r, int thread)
{
    size_t each = r->size / (size_t)(r->threads * r->streams) / STEP * STEP;
    const uint8_t *from = r->from + (size_t)thread * each * (size_t)r->streams;
    lane sums[4] = {{0}};
    for (size_t at = 0; at < each; at += STEP)
        for (int s = 0; s < r->streams; s++)
            read_step(from + (size_t)s * each + at, r->ahead, sums);
    __asm__ volatile("" ::"x"(sums[0] + sums[1] + sums[2] + sums[3]) : "memory");
}

struct reader {
    const struct reading *reading;
    int thread;
    atomic_int *ready;
};

/* All begin at once: making threads is not measured. */
static void *read_with_others(void *arg)
{
    struct reader *r = arg;
    atomic_fetch_add(r->ready, 1);
    while (atomic_load(r->ready) < r->reading->threads)
        ;
    read_part(r->reading, r->thread);
    return NULL;
}

static double once(const struct reading *reading)
{
    pthread_t threads[MOST_THREADS];
    struct reader readers[MOST_THREADS];
    atomic_int ready = 0;
    int started = 1;
    for (int t = 1; t < reading->threads && t < MOST_THREADS; t++, started++) {
        readers[t] = (struct reader){reading, t, &ready};
        if (pthread_create(&threads[t], NULL, read_with_others, &readers[t])) break;
    }
    if (started < reading->threads) atomic_store(&ready, reading->threads); /* the others are not waited for */
    while (atomic_load(&ready) < reading->threads - 1)
        ;
    double start = wall_seconds();
    atomic_fetch_add(&ready, 1);
    read_part(reading, 0);
    for (int t = 1; t < started; t++)
        pthread_join(threads[t], NULL);
    return started < reading->threads ? 0 : (double)reading->size / (wall_seconds() - start);
}

double reading_speed(const struct reading *reading, int tries)
{
    double best = 0;
    for (int i = 0; i < tries; i++) {
        double speed = once(reading);
        best = speed > best ? speed : best;
    }
    return best;
}

uint8_t *reading_room(size_t size, int huge)
{
    uint8_t *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return NULL;
    madvise(room, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    memset(room, 1, size); /* zeroes might all be one page */
    return room;
}
