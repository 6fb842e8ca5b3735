/*
 * The store as workers see it: claims, leases, transitions. For the queue and the runner only.
 *
 * A claim is (job, epoch). Each claim raises the job's epoch; every write below is compare-and-set on
 * (id, running, epoch), so a worker whose epoch is stale gets STORE_CONFLICT and has changed nothing.
 * Leases are measured with CLOCK_MONOTONIC: no jump of the wall clock moves them, and a machine that sleeps lets none
 * run out. When the store is opened, embedded workers' leases have ended, for the folder's lock shows that
 * they are dead; others get a fresh one.
 */
#ifndef HT_SERVICE_STORE_CLAIMS_H
#define HT_SERVICE_STORE_CLAIMS_H

#include "service/store/store.h"

#define LEASE_SECONDS 30 /* unless store_set_lease said otherwise */

struct store_claim {
    char id[STORE_ID_SIZE];
    int64_t epoch;
    int attempt; /* 1 for the first */
    int part,
        parts; /* a task: this part of the job alone; 0: the job. part < 0: part -part of what is collected first */
};

void store_set_lease(struct store *store, int seconds); /* before any claim */
int store_lease(const struct store *store);
/* For simulations: milliseconds that never go back, instead of CLOCK_MONOTONIC. Before any claim. */
void store_set_clock(struct store *store, int64_t (*now)(void *ctx), void *ctx);

/* The job of highest priority, then age, that is queued or whose lease ended. NOT_FOUND: none. CONFLICT: the job in
 * *claim had used up its max_attempts and is failed now, with the cause: tell, and ask again. */
enum store_result store_claim_next(struct store *store, const char *worker, int max_attempts,
                                   struct store_claim *claim);
/* The same for a worker that does not take everything: asked for each job that waits, up to some hundred; inside the transaction, and
 * perhaps in the thread of another who asks for a claim, so that it may neither wait for one nor call the store.
 * job: {split (it has tasks), id, source_type, requested, gguf_quant_types, config, options, estimated_disk_gb, cancel (its worker died, and it
 * is to end)}. */
typedef bool store_suits_fn(void *ctx, const json_t *job);
enum store_result store_claim_suited(struct store *store, const char *worker, int max_attempts, store_suits_fn *suits,
                                     void *ctx, struct store_claim *claim);
/*
 * One job over many workers. Who has claimed a job divides it: its tasks are then claimed, prolonged, given back and failed with the
 * functions for jobs. The transaction that ends the last task makes the job itself wait again: who claims it then puts
 * the parts together. A task's claim holds while its job is in parts, and no longer.
 *
 * A job has two kinds of tasks, one after the other: those that collect something over a text first (parts < 0: -parts of them), where there
 * is such a thing, and those that make its outputs. Who claims it between the two divides it once more.
 *
 * store_split: the claim is over with it, and not counted as an attempt. A job that was divided so before keeps its tasks.
 * store_task_done: NOT_FOUND: the claim is no task's. Said twice it is as said once.
 */
enum { STORE_MOST_PARTS = 10000 };
enum store_result store_split(struct store *store, const struct store_claim *claim, int parts);
enum store_result store_task_done(struct store *store, const struct store_claim *claim);
/* Is the claim a task's, whoever has it? False when that cannot be told. */
bool store_claim_is_task(struct store *store, const struct store_claim *claim);
/* Bytes of outputs that a task is to have about; 0: jobs are not divided. Before any claim. */
void store_set_task_bytes(struct store *store, int64_t bytes);

/* Is the claim the job's, or a task's? Reads only: a moment later it may be lost. CONFLICT: it is not. */
enum store_result store_claim_holds(struct store *store, const struct store_claim *claim);
/* Did this very claim complete the job? (Its answer may have been lost.) */
bool store_claim_completed(struct store *store, const struct store_claim *claim);
/* Prolongs the lease. *cancel: somebody wishes the job to end. CONFLICT: the claim is lost. */
enum store_result store_heartbeat(struct store *store, const struct store_claim *claim, bool *cancel);
/* A running state (downloading … verifying) and what goes with it; NULL and negative values change nothing. */
struct store_update {
    const char *status, *step, *current_step;
    double progress; /* < 0: as it is; otherwise it only rises */
    double estimated_disk_gb, estimated_time_minutes;
    const char *source_revision; /* the commit that was pinned */
    const char *source_path;     /* where the downloaded source lies */
};
enum store_result store_update_job(struct store *store, const struct store_claim *claim,
                                   const struct store_update *update);
/* Sizes and names that the estimate told: array of {quant_type, format, name, file_size, bits_per_weight,
 * run_memory}. */
enum store_result store_set_outputs(struct store *store, const struct store_claim *claim, const json_t *outputs);
enum store_result store_output_status(struct store *store, const struct store_claim *claim, const char *quant_type,
                                      const char *status);
/* Is the job queued, running or failed (so that its files may be needed)? True when that cannot be told. */
bool store_job_unfinished(struct store *store, const char *id);
/* Is it a job that is known, and ended for good? False when that is unknown. */
bool store_job_ended(struct store *store, const char *id);
/* Does the registry have files in this folder (relative to the store's)? True when that cannot be told. */
bool store_folder_used(struct store *store, const char *folder);
/* The job's request with source_path, for the runner. */
json_t *store_request(struct store *store, const char *id);
/* Gives the job back: queued again, this attempt not counted. */
enum store_result store_release(struct store *store, const struct store_claim *claim);
/* failed (error, advice) or cancelled. */
enum store_result store_fail(struct store *store, const struct store_claim *claim, const char *error,
                             const char *advice);
enum store_result store_cancelled(struct store *store, const struct store_claim *claim);
/*
 * Publishes: checks the claim, calls `move` (which renames the finished folder to its place; false: it could
 * not, nothing is written), fills the outputs and the registry from `published`, and completes the job:
 * one transaction. folder: relative to the store's, where the files are afterwards.
 * published: {architecture, parameters, name, outputs: [{quant_type, format, file, size, bits_per_weight, sha256,
 * relative_rmse, quality, run_memory, files [{name, size, sha256}]: of a folder, which has no sha256 itself}]}.
 * STORE_CONFLICT: the claim is lost or cancelled; `move` was not called.
 */
enum store_result store_publish(struct store *store, const struct store_claim *claim, const char *folder,
                                const json_t *published, bool (*move)(void *ctx), void *ctx);

#endif
