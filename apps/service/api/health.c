/* Probes, and the description of the API. */
#include "service/api/api.h"
#include "service/api/openapi.h"
#include "service/api/readiness.h"

void api_healthz(struct api_call *call)
{
    static const char text[] = "{\"status\":\"ok\"}";
    api_common_headers(call->request);
    ht__http_answer_static(call->request, 200, "application/json", text, sizeof text - 1);
}

void api_readyz(struct api_call *call)
{
    struct server *server = call->server;
    bool stopping = atomic_load(&server->stopping), running = atomic_load(&server->ready) && !stopping;
    struct readiness_state state = {.database = STORE_OK, .room = true};
    if (running) state = readiness_state(server->readiness);
    bool ready = running && state.database == STORE_OK && state.room;
    api_json(call, ready ? 200 : 503,
             json_pack("{s:s, s:{s:s, s:s, s:s}}", "status", ready ? "ready" : "not ready", "checks", "service",
                       stopping  ? "stopping"
                       : running ? "ok"
                                 : "starting",
                       "database", store_result_text(state.database), "disk", state.room ? "ok" : "full"));
}

void api_openapi(struct api_call *call)
{
    api_common_headers(call->request);
    api_header(call, "Cache-Control", "no-cache");
    ht__http_answer_static(call->request, 200, "application/json", ht__text_openapi, ht__text_openapi_len);
}
