/*
 * The server's side of jobs that run on other machines: who may have which, what its worker tells, what it brought.
 * The files of an attempt come into DATA/jobs/ID.eEPOCH/out, and go to their place in one rename, after the claim
 * was looked at: an attempt whose claim is lost has a folder of its own, and publishes nothing.
 *
 * Any thread. STORE_CONFLICT: the claim is not the worker's any more.
 */
#ifndef HT_SERVICE_RUNNER_REMOTE_H
#define HT_SERVICE_RUNNER_REMOTE_H

#include "service/runner/link.h"
#include "service/runner/runner.h"

/* A job for this worker, whose `machine` decides which it may have: {formats [..], cpu_levels [..], memory_bytes,
 * disk_free_bytes, …}. OK: *request is what it is to do, the caller's. NOT_FOUND: none. */
enum store_result remote_claim(struct scheduler *s, const char *worker, const json_t *machine,
                               struct store_claim *claim, json_t **request);
/*
 * What a worker tells of its job, which also prolongs the lease: {status, step, current_step, progress, live,
 * source_revision, estimated_disk_gb, estimated_time_minutes, outputs [..], output_status, log [{level, text}]}, all of them
 * optional and looked through by who calls.
 */
enum store_result remote_hear(struct scheduler *s, const struct store_claim *claim, const json_t *told, bool *cancel);
enum store_result remote_end(struct scheduler *s, const struct store_claim *claim, enum link_end how, const char *error,
                             const char *advice);
/* Where the files of an attempt come; made when it is not there. CONFLICT as above. */
enum store_result remote_out(struct scheduler *s, const struct store_claim *claim, char *path, size_t size);
/* A file came, with this hash. It need not be read again. */
void remote_received(struct scheduler *s, const struct store_claim *claim, const char *name, const char *sha256);
/* The job is divided; the claim is over. */
enum store_result remote_split(struct scheduler *s, const struct store_claim *claim, int parts);
/* Publishes what came; a task's part counts as done. FAILED: why. Reads what came by another way than remote_received; *stop ends that. staged: what the
 * worker brought to the bucket itself (artifacts_stage); NULL: all came here. */
enum store_result remote_publish(struct scheduler *s, const struct store_claim *claim, const json_t *staged,
                                 bool (*goes_on)(void *ctx), void *ctx, char *why, size_t size);
/* The bucket in which the claim's files go ("" where there is none), and under which name. */
const char *remote_bucket(const struct scheduler *s);
void remote_place(const struct scheduler *s, const struct store_claim *claim, const json_t *request, char *name,
                  size_t size);
/* Jobs that were to be cancelled and whose worker is gone; lists that hold what has ended. Every few seconds. */
void remote_tidy(struct scheduler *s);

/* May somebody continue this job's unfinished work? True when that cannot be told. */
bool remote_wants_work(struct scheduler *s, const char *id);

/* "ID-EPOCH" as a task is called. */
bool remote_task_named(const char *text, struct store_claim *claim);

#endif
