/* From a client's name of a model to a task of its process, for the endpoints that speak as other programs do. */
#ifndef HT_SERVICE_API_RUN_H
#define HT_SERVICE_API_RUN_H

#include "service/api/api.h"
#include "service/runtime/catalog.h"

/* All that can be run; NULL: it was answered. */
json_t *run_catalog(struct api_call *call);
/* Finds and places a model; entry, if not NULL, is the caller's then. false: it was answered. */
bool run_find(struct api_call *call, const char *name, struct runtime_model *model, json_t **entry);
/* What a name that a client made brings to a request with a "chat": its template, its messages, its system prompt where the
 * conversation has none. */
void run_bring(const json_t *entry, json_t *request);
/* Who gets a turn of its own: the token, or the address. */
const char *run_who(const struct api_call *call);
/* The kind of problem (problems.def) that a task's code is. */
const char *run_problem(const char *code);

#endif
