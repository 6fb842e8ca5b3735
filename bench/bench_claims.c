/*
 * What the queue does in a second: jobs submitted, jobs and tasks claimed, heartbeats, on SQLite or on PostgreSQL.
 *
 *     bench/bench_claims FOLDER [URL]     HT_JOBS=2000  HT_THREADS=4  HT_SERVICES=1
 *
 * FOLDER is made, and has the database of SQLite; with URL (postgresql://…, an empty database) that is used, by HT_SERVICES services
 * that share it. Threads ask in turn one service after another, as workers do.
 */
#include "common/report.h"
#include "service/store/claims.h"
#include "service/system/steady.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST_THREADS = 64, MOST_SERVICES = 8, BATCH = 100 };

static struct store *stores[MOST_SERVICES];
static struct store_claim *claims;
static atomic_int next_claim, busy;
static int n_jobs, n_threads, n_services;

static int number(const char *name, int otherwise, int most)
{
    const char *text = getenv(name);
    int n = text ? atoi(text) : otherwise;
    return n < 1 ? 1 : n > most ? most : n;
}

static void stop(const char *what, const char *why)
{
    fprintf(stderr, "bench_claims: %s: %s\n", what, why);
    exit(1);
}

static void must(enum store_result result, const char *what)
{
    if (result != STORE_OK) stop(what, store_result_text(result));
}

static double processor(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void open_all(const char *folder, const char *url)
{
    char why[400];
    static char names[MOST_SERVICES][16];
    for (int i = 0; i < n_services; i++) {
        snprintf(names[i], sizeof names[i], "s%d", i);
        if (!store_open_at(url, names[i], folder, &stores[i], why, sizeof why)) stop(folder, why);
        store_set_lease(stores[i], 3600); /* nothing is claimed twice, however slow it is */
    }
}

static void submit(int n)
{
    static char ids[BATCH][STORE_ID_SIZE];
    const json_t *list[BATCH];
    bool replayed;
    json_t *r = json_pack("{s:s, s:s, s:[s]}", "name", "x", "source_model", "m", "gguf_quant_types", "Q8_0");
    for (int i = 0; i < BATCH; i++)
        list[i] = r;
    for (int done = 0; done < n; done += BATCH)
        must(store_submit(stores[0], list, (size_t)(n - done < BATCH ? n - done : BATCH), NULL, NULL, NULL, 0, ids,
                          &replayed),
             "submit");
    json_decref(r);
}

/* BUSY is an answer: ask again. */
static void *claim_all(void *ctx)
{
    int i = (int)(size_t)ctx;
    struct store_claim c;
    for (;;) {
        enum store_result result = store_claim_next(stores[i++ % n_services], "elsewhere", 3, &c);
        if (result == STORE_NOT_FOUND) return NULL;
        if (result == STORE_BUSY)
            atomic_fetch_add(&busy, 1);
        else
            must(result, "claim");
        int at = result == STORE_OK ? atomic_fetch_add(&next_claim, 1) : 0;
        if (at >= n_jobs) stop("claim", "more than there are");
        if (result == STORE_OK) claims[at] = c;
    }
}

static void *beat_all(void *ctx)
{
    int i = (int)(size_t)ctx, at;
    bool cancel;
    while ((at = atomic_fetch_sub(&next_claim, 1) - 1) >= 0)
        must(store_heartbeat(stores[i++ % n_services], &claims[at], &cancel), "heartbeat");
    return NULL;
}

static void all(const char *what, void *(*work)(void *ctx), int n)
{
    pthread_t threads[MOST_THREADS];
    double begun = steady_seconds(), used = processor();
    for (size_t i = 0; i < (size_t)n_threads; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0) stop(what, "no thread");
    for (int i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    double seconds = steady_seconds() - begun;
    used = processor() - used;
    printf("%-12s %7d in %6.2f s  %8.0f /s  %6.1f us of processor each\n", what, n, seconds, n / seconds,
           used / n * 1e6);
    BENCH_ROW({"what", .text = what}, {"n", .number = n}, {"per_second", .number = n / seconds},
              {"processor_us_each", .number = used / n * 1e6});
}

static void claim_and_beat(const char *claimed, const char *beats, int n)
{
    atomic_store(&next_claim, 0);
    all(claimed, claim_all, n);
    if (atomic_load(&next_claim) != n) stop(claimed, "not all were claimed once");
    all(beats, beat_all, n);
}

/* One job in so many parts. */
static void divide(void)
{
    struct store_claim c;
    submit(1);
    must(store_claim_next(stores[0], "elsewhere", 3, &c), "claim");
    must(store_split(stores[0], &c, n_jobs), "divide");
}

int main(int argc, char **argv)
{
    bench_begin("bench_claims", &argc, argv);
    if (argc < 2) stop("usage", "bench_claims FOLDER [URL]");
    n_jobs = number("HT_JOBS", 2000, STORE_MOST_PARTS);
    n_threads = number("HT_THREADS", 4, MOST_THREADS);
    n_services = argc > 2 ? number("HT_SERVICES", 1, MOST_SERVICES) : 1;
    claims = calloc((size_t)n_jobs, sizeof *claims);
    if (!claims) stop("memory", "there is none");
    open_all(argv[1], argc > 2 ? argv[2] : NULL);
    double begun = steady_seconds();
    submit(n_jobs);
    printf("%s, %d service(s), %d threads\nsubmitted    %7d in %6.2f s  %8.0f /s\n", argc > 2 ? "PostgreSQL" : "SQLite",
           n_services, n_threads, n_jobs, steady_seconds() - begun, n_jobs / (steady_seconds() - begun));
    claim_and_beat("jobs", "heartbeats", n_jobs);
    divide();
    claim_and_beat("tasks", "heartbeats", n_jobs);
    if (atomic_load(&busy)) printf("busy %d times\n", atomic_load(&busy));
    for (int i = 0; i < n_services; i++)
        store_close(&stores[i]);
    free(claims);
    return bench_end();
}
