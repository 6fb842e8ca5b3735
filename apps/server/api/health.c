/* Probes, and the description of the API. */
#include "server/api/api.h"
#include "server/api/openapi.h"

#include <string.h>
#include <sys/statvfs.h>

void api_healthz(struct api_call *call)
{
    static const char text[] = "{\"status\":\"ok\"}";
    api_common_headers(call->request);
    ht__http_answer_static(call->request, 200, "application/json", text, sizeof text - 1);
}

void api_readyz(struct api_call *call)
{
    struct server *server = call->server;
    struct statvfs v;
    bool running = atomic_load(&server->ready) && !atomic_load(&server->stopping);
    enum store_result database = running ? store_ping(server->store) : STORE_OK;
    /* what a database needs to go on: less is no place to take work for */
    bool disk = statvfs(store_folder(server->store), &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize >= (16 << 20);
    bool ready = running && database == STORE_OK && disk;
    api_json(call, ready ? 200 : 503,
             json_pack("{s:s, s:{s:s, s:s, s:s}}", "status", ready ? "ready" : "not ready", "checks", "service",
                       atomic_load(&server->stopping) ? "stopping"
                       : running                      ? "ok"
                                                      : "starting",
                       "database", database == STORE_OK ? "ok" : store_result_text(database), "disk",
                       disk ? "ok" : "full"));
}

void api_openapi(struct api_call *call)
{
    api_common_headers(call->request);
    api_header(call, "Cache-Control", "no-cache");
    ht__http_answer_static(call->request, 200, "application/json", ht__text_openapi, ht__text_openapi_len);
}
