/*
 * One request on its way through the API.
 *
 * The folder offers serve.c: this (callbacks of the HTTP server), server.h (what the service's parts share), and what is
 * opened and closed with the service: access, helpers, metrics, streams, answers, readiness, request_log, proxies.
 *
 *   on_begin:   guards (Host, origin, token, rate) -> route -> limits        refusals answer here
 *   on_request: the route's handler, which answers once, now or later
 *
 * A handler gets a call and answers it with one of the functions below. Nothing of a call outlives its answer.
 */
#ifndef HT_SERVICE_API_API_H
#define HT_SERVICE_API_API_H

#include "service/api/server.h"

#include <jansson.h>

enum { API_MAX_BODY = 1 << 20, API_MAX_DEPTH = 24 };

struct api_call;
typedef void api_handler(struct api_call *call);

enum route_flags {
    ROUTE_JSON = 1,   /* wants a body of JSON, which is then in call->body */
    ROUTE_UPLOAD = 2, /* takes its body itself: begin is called when the headers are there */
    ROUTE_OPEN = 4,   /* answers without a token */
    ROUTE_RAW = 8,    /* beside the API: without rate limit, for probes and the page */
    ROUTE_REST = 32,  /* the last {} takes all that follows, slashes too */
    ROUTE_QUICK = 16, /* changes nothing in the store, though it is no GET: see run_or_wait */
};

struct route {
    const char *method, *pattern; /* "/api/v1/quantize/jobs/{}": {} is one segment */
    enum store_scope scope;
    unsigned flags;
    api_handler *run;
    api_handler *begin; /* ROUTE_UPLOAD */
};

extern const struct route api_routes[]; /* ends with a NULL method */

struct caller {
    enum store_scope scope;
    char token_id[STORE_ID_SIZE]; /* "": no token was required */
    bool cookie;
    char session[65]; /* of the page, by the hash of its cookie; "": none */
    double until;     /* when it ends, by steady_seconds; 0: never */
};

struct api_call {
    struct server *server;
    struct ht__http_request *request;
    const struct route *route;
    char segments[3][256]; /* what stood for {} */
    char id[32];           /* the request's, in its answer and in the log */
    char peer[64];         /* the client's address: see proxies.h */
    struct caller caller;
    json_t *body;
    void *state; /* the handler's own, freed by free_state with the call */
    void (*free_state)(void *state);
};

/* The callbacks of struct ht__http_settings; ctx is the struct server. */
void api_begin(void *ctx, struct ht__http_request *r);
void api_request(void *ctx, struct ht__http_request *r);
void api_done(void *ctx, struct ht__http_request *r, int status, uint64_t bytes, double seconds);

/* -- Answers. -- */
/* Steals value; NULL answers 500. */
void api_json(struct api_call *call, int status, json_t *value);
void api_text(struct api_call *call, int status, const char *type, const char *text);
void api_empty(struct api_call *call, int status);
/* problem.c: kind is one of its list: the status and title come from there. */
void api_problem(struct api_call *call, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with the places that are wrong: an array of {pointer, detail}, stolen. */
void api_problem_at(struct api_call *call, const char *kind, json_t *errors);
/* The endpoints that speak as other programs do have errors of their own shape. */
enum api_shape { SHAPE_PROBLEM, SHAPE_OPENAI, SHAPE_OLLAMA };
enum api_shape api_shape_of(const char *path);
/* OpenAI's shape of a problem, for streams; param may be NULL. */
json_t *api_openai_error(const char *kind, const char *detail, const char *param);
/* What a store's failure answers. */
void api_store_problem(struct api_call *call, enum store_result result, const char *what);
/* Headers that every answer carries. */
void api_common_headers(struct ht__http_request *r);
/* The same for a document that was made of a job: it has styles of its own, and may do nothing. */
void api_document_headers(struct ht__http_request *r);
void api_header(struct api_call *call, const char *name, const char *value);

/* A page of a list with its Link; NULL: what the result says. */
void api_answer_page(struct api_call *call, const char *path, json_t *page, enum store_result result);

/* -- Questions. -- */
/* An integer of the query; false: it was answered with 422. Absent: value stays. */
bool api_query_number(struct api_call *call, const char *name, int64_t least, int64_t most, int64_t *value);
/* Names of the query that the handler does not know are refused; names: separated by blanks. */
bool api_query_known(struct api_call *call, const char *names);
bool api_is(const struct api_call *call, const char *method);

/* The answers to /quantize/formats/{format}/types, in the order of the formats, which are the same for as long as the
 * program runs; NULL after the last. NULL: no memory. */
char **formats_types(void);
void formats_free(char ***texts);

/* -- Handlers, one file a resource. -- */
api_handler api_jobs_list, api_jobs_create, api_jobs_get, api_jobs_patch, api_jobs_delete, api_jobs_cancel,
    api_jobs_retry;
api_handler api_outputs_list, api_outputs_download, api_outputs_file, api_jobs_log, api_jobs_report, api_jobs_tensors,
    api_jobs_events, api_events;
api_handler api_estimate, api_recommend, api_formats, api_types, api_gpus;
api_handler api_models_list, api_models_get, api_models_patch, api_models_delete, api_variant_download,
    api_variant_file, api_variant_delete;
api_handler api_local, api_uploads_list, api_upload_begin, api_upload_end, api_upload_delete, api_hub_search,
    api_hub_model;
api_handler api_workers_list, api_workers_add, api_workers_remove, api_workers_claim;
api_handler api_task_tell, api_task_finish, api_task_file_begin, api_task_file_end, api_task_source,
    api_task_source_file;
api_handler api_system, api_healthz, api_readyz, api_metrics, api_openapi;
api_handler api_levels_compare, api_levels_list, api_levels_patch, api_levels_get, api_levels_switch, api_adjust_get,
    api_adjust_patch;
api_handler api_session_get, api_session_open, api_session_close, api_tokens_list, api_tokens_add, api_tokens_remove;
api_handler api_page, api_problems;
api_handler api_ollama_version, api_ollama_tags, api_ollama_ps, api_ollama_show, api_ollama_generate, api_ollama_chat,
    api_ollama_embed, api_ollama_embeddings, api_ollama_copy, api_ollama_delete, api_ollama_create, api_ollama_pull,
    api_ollama_blob_begin, api_ollama_blob_end, api_ollama_blob_there;
api_handler api_openai_models, api_openai_model, api_openai_chat, api_openai_completions, api_openai_embeddings;

#endif
