/* Figures for Prometheus (text format 0.0.4). */
#include "service/api/metrics.h"

#include "service/api/api.h"
#include "service/api/request_log.h"
#include "service/api/streams.h"
#include "service/artifacts/artifacts.h"
#include "service/doorbell/bell.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const double limits[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60};
enum { N_LIMITS = sizeof limits / sizeof *limits };

struct metrics {
    atomic_ullong by_class[6], buckets[N_LIMITS + 1], bytes_out, bytes_in, busy;
    atomic_ullong microseconds;
};

struct metrics *metrics_open(void)
{
    return calloc(1, sizeof(struct metrics));
}

void metrics_close(struct metrics **metrics)
{
    free(*metrics);
    *metrics = NULL;
}

void metrics_request(struct metrics *m, int status, uint64_t bytes, double seconds)
{
    int i = 0;
    while (i < N_LIMITS && seconds > limits[i])
        i++;
    atomic_fetch_add_explicit(&m->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->by_class[status >= 100 && status < 600 ? status / 100 : 0], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->bytes_out, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->microseconds, (unsigned long long)(seconds * 1e6), memory_order_relaxed);
}

void metrics_upload(struct metrics *m, uint64_t bytes)
{
    atomic_fetch_add_explicit(&m->bytes_in, bytes, memory_order_relaxed);
}

void metrics_busy(struct metrics *m)
{
    atomic_fetch_add_explicit(&m->busy, 1, memory_order_relaxed);
}

static void put_requests(FILE *to, const struct metrics *m)
{
    unsigned long long sum = 0;
    fprintf(to, "# HELP halftone_http_requests_total Requests answered, by class of status.\n"
                "# TYPE halftone_http_requests_total counter\n");
    for (int i = 1; i < 6; i++)
        fprintf(to, "halftone_http_requests_total{class=\"%dxx\"} %llu\n", i, atomic_load(&m->by_class[i]));
    fprintf(to, "# HELP halftone_http_request_seconds Time from headers to the last byte.\n"
                "# TYPE halftone_http_request_seconds histogram\n");
    for (int i = 0; i < N_LIMITS; i++)
        fprintf(to, "halftone_http_request_seconds_bucket{le=\"%g\"} %llu\n", limits[i],
                sum += atomic_load(&m->buckets[i]));
    sum += atomic_load(&m->buckets[N_LIMITS]);
    fprintf(to,
            "halftone_http_request_seconds_bucket{le=\"+Inf\"} %llu\nhalftone_http_request_seconds_sum %.6f\n"
            "halftone_http_request_seconds_count %llu\n",
            sum, (double)atomic_load(&m->microseconds) * 1e-6, sum);
}

static void put(FILE *to, const char *name, const char *type, const char *help, double value)
{
    fprintf(to, "# HELP halftone_%s %s\n# TYPE halftone_%s %s\nhalftone_%s %.17g\n", name, help, name, type, name,
            value);
}

static void put_jobs(FILE *to, struct server *server)
{
    struct scheduler_state s;
    json_t *counts = store_job_counts(server->store), *n;
    const char *status;
    fprintf(to, "# HELP halftone_jobs Jobs by state.\n# TYPE halftone_jobs gauge\n");
    json_object_foreach(counts, status, n)
        fprintf(to, "halftone_jobs{status=\"%s\"} %lld\n", status, (long long)json_integer_value(n));
    json_decref(counts);
    put(to, "queue_age_seconds", "gauge", "How long the oldest queued job has waited.", store_queue_age(server->store));
    scheduler_state(server->scheduler, &s);
    put(to, "workers", "gauge", "Jobs that may run at the same time.", s.workers);
    put(to, "workers_busy", "gauge", "Jobs that run.", s.busy);
    put(to, "jobs_claimed_total", "counter", "Jobs taken up since the start.", (double)s.claimed);
    put(to, "jobs_completed_total", "counter", "Jobs completed since the start.", (double)s.completed);
    put(to, "jobs_failed_total", "counter", "Jobs failed since the start.", (double)s.failed);
    put(to, "jobs_cancelled_total", "counter", "Jobs cancelled since the start.", (double)s.cancelled);
    put(to, "heartbeats_missed_total", "counter", "Signs of life of jobs that came late.", (double)s.heartbeats_missed);
    put(to, "writes_fenced_total", "counter", "Writes of workers that had lost their job.", (double)s.fenced);
    put(to, "weights_per_second", "gauge", "Of the job that was finished last.", s.weights_per_second);
}

static void put_artifacts(FILE *to, const struct server *server)
{
    struct artifacts_figures f;
    artifacts_figures(server->artifacts, &f);
    put(to, "artifacts_requests_total", "counter", "Requests to the bucket.", (double)f.requests);
    put(to, "artifacts_retries_total", "counter", "Requests to the bucket that were made again.", (double)f.retries);
    put(to, "artifacts_failures_total", "counter", "Requests to the bucket that failed for good.", (double)f.failures);
    put(to, "artifacts_sent_bytes_total", "counter", "Bytes that went to the bucket from here.", (double)f.bytes_sent);
    put(to, "artifacts_received_bytes_total", "counter", "Bytes that came from the bucket.", (double)f.bytes_received);
}

static void put_bell(FILE *to, const struct server *server)
{
    struct bell *bell = atomic_load(&server->bell);
    struct bell_figures f;
    if (!bell) return;
    bell_figures(bell, &f);
    put(to, "doorbell_up", "gauge", "1: Redis answers.", f.reached);
    put(to, "doorbell_entries", "gauge", "Entries of jobs that wait.", (double)f.entries);
    put(to, "doorbell_added_total", "counter", "Entries that were added.", (double)f.added);
    put(to, "doorbell_acknowledged_total", "counter", "Entries whose worker was answered.", (double)f.acknowledged);
    put(to, "doorbell_refused_total", "counter", "Acknowledgements of workers that had lost the entry.",
        (double)f.refused);
    put(to, "doorbell_reclaimed_total", "counter", "Entries that a worker took and forgot.", (double)f.reclaimed);
    put(to, "doorbell_dead_total", "counter", "Entries that were given out too often.", (double)f.dead);
    put(to, "doorbell_failures_total", "counter", "Times that Redis did not answer.", (double)f.failures);
}

static void put_workers(FILE *to, struct server *server)
{
    json_t *list = store_workers(server->store), *w;
    size_t i;
    double silent = 0;
    json_array_foreach(list, i, w) {
        double seconds = json_number_value(json_object_get(w, "seconds_silent"));
        if (seconds > silent) silent = seconds;
    }
    put(to, "remote_workers", "gauge", "Workers on other machines that are known.", (double)json_array_size(list));
    put(to, "remote_workers_silent_seconds", "gauge", "Since the quietest of them said something.", silent);
    json_decref(list);
}

void api_metrics(struct api_call *call)
{
    struct server *server = call->server;
    struct metrics *m = server->metrics;
    struct timespec now;
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to) {
        api_problem(call, "internal", "not enough memory");
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    fprintf(to,
            "# HELP halftone_build_info The program.\n# TYPE halftone_build_info gauge\n"
            "halftone_build_info{version=\"%s\"} 1\n",
            HT_VERSION);
    put(to, "uptime_seconds", "gauge", "Since the start.",
        (double)now.tv_sec + (double)now.tv_nsec * 1e-9 - server->started);
    put_jobs(to, server);
    put_artifacts(to, server);
    put_bell(to, server);
    put_workers(to, server);
    put_requests(to, m);
    put(to, "http_connections", "gauge", "Open connections.", ht__http_connections(server->http));
    put(to, "http_sent_bytes_total", "counter", "Bytes of answers' bodies.", (double)atomic_load(&m->bytes_out));
    put(to, "http_uploaded_bytes_total", "counter", "Bytes of uploads.", (double)atomic_load(&m->bytes_in));
    put(to, "sse_clients", "gauge", "Clients that listen to events.", streams_count(server->streams));
    put(to, "sqlite_busy_total", "counter", "Requests that the database kept waiting for too long.",
        (double)atomic_load(&m->busy));
    put(to, "log_dropped_lines_total", "counter", "Lines of the log that nobody took in time.",
        (double)log_dropped(server->log));
    put(to, "log_limited_lines_total", "counter", "Refused requests that were not logged one by one.",
        (double)request_log_left_out(server->request_log));
    bool ok = fclose(to) == 0;
    if (ok)
        api_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", text);
    else
        api_problem(call, "internal", "not enough memory");
    free(text);
}
