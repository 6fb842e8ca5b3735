/* Models of a hub as a job's sources: names become paths, what is not here is fetched or read from there. */
#ifndef HT_JOB_HUB_H
#define HT_JOB_HUB_H

#include "job/job.h"
#include "pipeline/settings.h"

/* Sets an option whose name begins with "hub-": how the hub is reached. Recipe files and the command line's
 * options cannot, so that nobody who may only name models sends a token elsewhere. */
enum ht_err ht__hub_option(struct ht_job *job, const char *name, const char *value, struct ht_diag *diag);

/*
 * What to open for a model that was named: the name itself, or where the hub's model then is in the cache. The hub
 * is asked only where a cache was set ("hub-cache"), and nothing on the disk is called so. *path is the job's.
 */
HT_MUST_CHECK enum ht_err ht__hub_path(struct ht_job *job, const char *name, const char **path, struct ht_diag *diag);

/* The same for the job's source. headers: its weights stay where they are, and are read by ranges. Fills in where the
 * model comes from, for as long as the job is open and has no other source. */
HT_MUST_CHECK enum ht_err ht__hub_source(struct ht_job *job, bool headers, struct ht__source *source,
                                         struct ht_diag *diag);
void ht__hub_job_close(struct ht_job *job);

/* Lends the model's files over a socket (hub/lend.h) until nobody reads them any more. ready: once, with what pull
 * reports, before the first byte is lent. */
HT_MUST_CHECK enum ht_err ht__hub_lend(struct ht_job *job, const char *name, int socket,
                                       void (*ready)(void *ctx, const char *json), void *ctx, struct ht_diag *diag);

/* For the verbs pull and hub; *json is malloc's. */
HT_MUST_CHECK enum ht_err ht__hub_pull(struct ht_job *job, const char *name, char **json, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__hub_search(struct ht_job *job, const char *text, int limit, char **json,
                                         struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__hub_info(struct ht_job *job, const char *name, char **json, struct ht_diag *diag);

#endif
