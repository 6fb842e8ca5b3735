/* Models of a hub as a job's sources: names become paths, what is not here is fetched or read from there. */
#ifndef HT_JOB_HUB_H
#define HT_JOB_HUB_H

#include "job/job.h"

/* Sets an option whose name begins with "hub-": how the hub is reached. Recipe files and the command line's
 * options cannot, so that nobody who may only name models sends a token elsewhere. */
enum ht_err ht__hub_option(struct ht_job *job, const char *name, const char *value, struct ht_diag *diag);

/*
 * What to open for a model that was named: the name itself, or where the hub's model then is in the cache. The hub
 * is asked only where a cache was set ("hub-cache"), and nothing on the disk is called so. *path is the job's.
 */
HT_MUST_CHECK enum ht_err ht__hub_path(struct ht_job *job, const char *name, const char **path,
                                       struct ht_diag *diag);

/* The same for the job's source. headers: its weights stay where they are, and are read by ranges. */
HT_MUST_CHECK enum ht_err ht__hub_source(struct ht_job *job, bool headers, struct ht_diag *diag);
/* Files that stayed on the hub; NULL: none. */
const struct ht__remote_folder *ht__hub_remote(const struct ht_job *job);
/* Bytes of them. */
uint64_t ht__hub_missing(const struct ht_job *job);
/* Memory that reading them takes, where the job does more than read their headers. */
uint64_t ht__hub_memory(const struct ht_job *job);
/* "NAME" or "FILE.gguf" where the source came from a hub: what outputs are called after. NULL: it did not. */
const char *ht__hub_named(const struct ht_job *job);
/* The SHA-256 that the hub gives for a file that stayed there, or "". */
const char *ht__hub_sha256(const struct ht_job *job, const char *path);
/* "hub": {…} of the report, with a comma; nothing for a local source. */
void ht__hub_report(const struct ht_job *job, struct ht__buf *out);
void ht__hub_job_close(struct ht_job *job);

/* For the verbs pull and hub; *json is malloc's. */
HT_MUST_CHECK enum ht_err ht__hub_pull(struct ht_job *job, const char *name, char **json, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__hub_search(struct ht_job *job, const char *text, int limit, char **json,
                                         struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__hub_info(struct ht_job *job, const char *name, char **json, struct ht_diag *diag);

#endif
