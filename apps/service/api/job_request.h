/* Reading what is to be quantized, for jobs and estimates: everything checked before anything is done. */
#ifndef HT_SERVICE_API_JOB_REQUEST_H
#define HT_SERVICE_API_JOB_REQUEST_H

#include "service/api/api.h"
#include "service/api/json.h"

/*
 * The call's body as requests for store_submit, one a source. NULL: it was answered (422 with every fault).
 * source_path is set where the source lies on this machine; a hub model is named by source_model and source_revision.
 */
json_t *job_requests(struct api_call *call, bool *several);

/* A request that the service makes itself: {source_model, source_type, source_revision, name, outputs}. NULL: why. */
json_t *job_request_of(struct server *server, const json_t *body, char *why, size_t size);

/* What the program is given as the model: the path, or ORG/NAME[@REVISION]. */
const char *job_request_source(const json_t *request, char *text, size_t size);
bool job_request_is_hub(const json_t *request);

/* -- Parts. -- */
/* source_model (and source_type, which may be NULL): adds source_type and source_path or source_revision to request. */
void source_read(struct server *server, const char *model, const char *type, const char *revision, const char *pointer,
                 json_t *request, struct faults *faults);
/* options and config: checks names, kinds and paths (which become absolute). */
void options_read(struct server *server, json_t *options, struct faults *faults);
void config_read(struct server *server, json_t *config, struct faults *faults);
/* budget.c: checks calibration, effort and budget, of the options that body and config come to (command.h). With a budget
 * what is to be made, as outputs_read has it, the caller's; otherwise NULL. */
json_t *budget_read(const json_t *body, const json_t *options, struct faults *faults);
/* outputs.c: what is to be made, as [{format, type, options, quant_type}]. *known: no format was named that there is
 * not. The other two are what older clients call it. The caller's. */
json_t *outputs_read(const json_t *body, bool importance, struct faults *faults, bool *known);
json_t *outputs_formats(const json_t *body, const json_t *outputs);
json_t *outputs_gguf_types(const json_t *outputs);
/* A file's name that may stand in a folder of ours. */
bool upload_name_allowed(const char *name);

#endif
