/* GET /system. */
#include "service/api/estimates.h"
#include "service/system/machine.h"
#include "service/child/roots.h"

#include <openssl/crypto.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

static uint64_t used_by(const struct server *server, const char *name)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", store_folder(server->store), name);
    return machine_folder_bytes(path);
}

static json_t *disk_of(const struct server *server)
{
    struct statvfs v;
    bool known = statvfs(store_folder(server->store), &v) == 0;
    json_int_t unit = known ? (json_int_t)v.f_frsize : 0;
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "data_free_bytes", known ? (json_int_t)v.f_bavail * unit : 0,
                     "data_total_bytes", known ? (json_int_t)v.f_blocks * unit : 0, "used_by_models_bytes",
                     (json_int_t)used_by(server, "models"), "used_by_jobs_bytes", (json_int_t)used_by(server, "jobs"),
                     "used_by_uploads_bytes", (json_int_t)used_by(server, "uploads"));
}

static json_t *memory_of(const struct server *server)
{
    uint64_t total, available;
    int64_t limit = server->settings->memory_limit;
    machine_memory(&total, &available);
    return json_pack("{s:I, s:I, s:I, s:o}", "total_bytes", (json_int_t)total, "available_bytes", (json_int_t)available,
                     "server_rss_bytes", (json_int_t)machine_own_memory(), "job_limit_bytes",
                     limit > 0 ? json_integer(limit) : json_null());
}

static json_t *workers_of(const struct server *server)
{
    struct scheduler_state s;
    json_t *counts = store_job_counts(server->store);
    json_int_t queued = json_integer_value(json_object_get(counts, "queued"));
    json_decref(counts);
    scheduler_state(server->scheduler, &s);
    json_t *elsewhere = store_workers(server->store);
    return json_pack("{s:i, s:i, s:I, s:o}", "slots", s.workers, "running", s.busy, "queued", queued, "elsewhere",
                     elsewhere ? elsewhere : json_array());
}

static json_t *versions(void)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "halftone", HT_VERSION, "sqlite", sqlite3_libversion(), "openssl",
                     OpenSSL_version(OPENSSL_VERSION_STRING), "jansson", JANSSON_VERSION);
}

static void answer(struct api_call *call, json_t *gpus)
{
    struct server *server = call->server;
    struct timespec now;
    char time[32];
    json_t *roots = json_array();
    for (size_t i = 0; i < roots_count(server->roots); i++)
        json_array_append_new(roots, json_string(roots_path(server->roots, i)));
    clock_gettime(CLOCK_MONOTONIC, &now);
    log_time(time);
    api_json(call, 200,
             json_pack("{s:s, s:s, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version", HT_VERSION, "time", time,
                       "uptime_seconds", (double)now.tv_sec + (double)now.tv_nsec * 1e-9 - server->started, "disk",
                       disk_of(server), "memory", memory_of(server), "cpu", machine_cpu(), "gpus", gpus, "workers",
                       workers_of(server), "roots", roots, "versions", versions()));
}

/* nvidia-smi's lines are no JSON, or (a lone number) hardly any: each is tried as a card. */
static bool take_line(void *ctx, json_t *value, const char *text)
{
    json_t *gpu = value || !text ? NULL : machine_gpu(text);
    if (gpu) json_array_append_new(ctx, gpu);
    return true;
}

static void ask_gpus(void *ctx, struct child_stop *stop)
{
    static const char *const arguments[] = {"--query-gpu=name,memory.total,memory.free,utilization.gpu",
                                            "--format=csv,noheader,nounits", NULL};
    struct child_settings settings = {.program = machine_gpu_program(), .arguments = arguments, .timeout_seconds = 5};
    struct child_exit exit = {0};
    json_t *gpus = json_array();
    child_run(&settings, stop, take_line, NULL, gpus, &exit); /* a tool that fails knows of no cards */
    answer(ctx, gpus);
}

void api_system(struct api_call *call)
{
    if (machine_gpu_program())
        api_later(call, ask_gpus, NULL, NULL);
    else
        answer(call, json_array());
}
