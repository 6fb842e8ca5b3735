/*
 * The truth about jobs, tokens and published models: one SQLite database, DATA/halftone.db.
 *
 * The folder offers: what the API asks for (here), and claims and transitions of running jobs for the queue and the
 * runner (claims.h).
 *
 * Threads: every function may be called from any thread. Writes go one after another through one
 * connection (BEGIN IMMEDIATE); reads have connections of their own and never wait for a write.
 * Ownership: every json_t * that is returned is the caller's (json_decref). NULL from a function that
 * returns an object means "there is none"; from one that returns a list, that memory or the database
 * failed (see store_why). Arguments are copied; json_t arguments are borrowed and not changed.
 * Durability: STORE_OK from a function that writes means committed with synchronous=FULL.
 * The store publishes no events and wakes nobody: see scheduler_changed in runner/runner.h.
 */
#ifndef HT_SERVICE_STORE_STORE_H
#define HT_SERVICE_STORE_STORE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct artifacts;

enum store_result {
    STORE_OK,
    STORE_NOT_FOUND,
    STORE_CONFLICT, /* the state does not allow it, or the key belongs to another body */
    STORE_BUSY,     /* another process held the database for five seconds: 503, try again */
    STORE_FULL,     /* the disk is full: 507 */
    STORE_FAILED,   /* memory, I/O error; see store_why */
    STORE_DAMAGED,  /* the database: 503 until it is restored */
    STORE_GONE,     /* the data folder was removed or replaced: 503 until a restart */
    STORE_CROWDED   /* as many jobs wait as may: 429 */
};

#define STORE_ID_SIZE 33 /* 32 hexadecimal digits, the first 12 of them the time; ids sort by age */

/* The folder is made if it is missing (0700); inside: halftone.db, jobs/, models/, uploads/, lock.
 * Refused: a network file system, a folder that another process uses, a database of a later program, a
 * damaged one (checked after an unclean end). `why` gets the reason, for people. */
bool store_open(const char *folder, struct store **store, char *why, size_t size);
/* The same with the database at url (postgresql://…), which several services may share, each with a folder of its own or, on
 * machines of their own, with one that they share. NULL: SQLite, in the folder. name: of this service among them; NULL: the
 * machine's. Both stay the caller's, until the end. */
bool store_open_at(const char *url, const char *name, const char *folder, struct store **store, char *why, size_t size);
/* To look at it alone, beside a service that may run: nothing is made, marked, locked or brought up to a later version (which is
 * refused). Only what reads may be called. */
bool store_look(const char *url, const char *folder, struct store **store, char *why, size_t size);
/* The folder's own database, to be moved: also one that was moved before, which nothing else opens. */
bool store_open_moved(const char *folder, struct store **store, char *why, size_t size);
/* Brings all of `from`, a folder's own database, to `to`, an empty one that services share, in one transaction, compares every
 * row, and marks `from` as moved. *before: that had been done already, and both are the same. *rows: {table: n}, the
 * caller's. False: why; nothing was changed. */
bool store_migrate(struct store *from, struct store *to, bool *before, json_t **rows, char *why, size_t size);
bool store_is_shared(const struct store *store); /* may others have the database too? */
/* Tells the other services on a shared database that something happened to a job; nothing where there are none. */
void store_notify(struct store *store, const char *kind, const char *job_id);
/* From now on `heard` is called, in a thread of its own, for what the others tell; after a time in which nothing could be
 * heard, with the kind "resync" and "". Until the store closes. True where there are no others. */
typedef void store_heard_fn(void *ctx, const char *kind, const char *job_id);
bool store_listen(struct store *store, store_heard_fn *heard, void *ctx);
void store_listen_end(struct store *store);
/* As which the workers of this process claim. */
const char *store_embedded_name(const struct store *store);
/* No other call may be running. NULL-safe; sets *store to NULL. */
void store_close(struct store **store);
const char *store_folder(const struct store *store); /* absolute */
/* Where files lie whose names begin with "objects/" (artifacts/artifacts.h). Before anything else; the caller's, until the end.
 * What is deleted from the registry is removed there, too. */
void store_set_artifacts(struct store *store, struct artifacts *artifacts);
struct artifacts *store_artifacts(const struct store *store);
/* The file's name relative to the store's folder, if it lies in a bucket; NULL: it lies in the folder. */
const char *store_far_name(const struct store *store, const char *path);
const char *store_result_text(enum store_result result); /* "not found", … */
/* Is the database usable? Writes only when the latest write failed, to see whether the next one would. */
enum store_result store_state(struct store *store);
/* Reads all pages: DAMAGED when they do not fit together. Takes its time; *stop ends it. */
enum store_result store_check(struct store *store, atomic_bool *stop);
/* Makes the reserve anew when there is room: see health.c. */
void store_keep_reserve(struct store *store);
/* The latest failure in this thread since it was cleared; STORE_OK: none. It tells "there is none" from "it cannot be
 * told" where a function returns NULL for both. */
enum store_result store_failure(void);
void store_failure_clear(void);
/* The reason of the latest STORE_FULL, STORE_BUSY or STORE_FAILED (any thread's), for the log; "" when there was
 * none. */
void store_why(struct store *store, char *why, size_t size);

/*
 * JOBS. The request is a validated object. Kept as they are and given back in the REST object:
 *   name, description, source_model (as the client named it), source_type ("huggingface", "local", "upload"),
 *   source_revision, output_formats [..], gguf_quant_types [..], priority (integer, default 0; higher first),
 *   config {..}, options {..}, command (text), estimated_disk_gb, estimated_time_minutes (numbers or null)
 * Used and never shown:
 *   source_path  where a local or uploaded source really lies (resolved and allowed by the caller).
 *   requested [{format, type, options, quant_type (the text that `quantize --type` takes)}]: one output row is made for
 *   each, status pending. Where it is absent, gguf_quant_types says it.
 */
/* What a request, or a stored job, asks for, as `requested`. The caller's. */
json_t *store_requested(const json_t *request);
/* n validated requests become n jobs in one transaction: all or none. ids: n of them. The key covers the whole batch:
 * with *replayed the ids are those of the first time (n must be equal; keys live 24 hours). CONFLICT: the same key
 * with another body. CROWDED: more than max_queued would wait (0: no bound), and these are no replay. NOT_FOUND: an
 * upload is not there any more. */
enum store_result store_submit(struct store *store, const json_t *const *requests, size_t n, const char *token_id,
                               const char *idempotency_key, const char *body_sha256, int64_t max_queued,
                               char (*ids)[STORE_ID_SIZE], bool *replayed);
/* Calls `remove` unless a job that waits or runs reads the source at this path: then CONFLICT, with its id. FAILED:
 * `remove` said no. No job is submitted meanwhile. */
enum store_result store_unless_needed(struct store *store, const char *source_path, bool (*remove)(void *ctx),
                                      void *ctx, char id[STORE_ID_SIZE]);

/* The REST object. `live` is null in it, and `progress` is at most 30 s old while the job runs: let
 * scheduler_add_live (runner/runner.h) put in what is known right now. */
json_t *store_job(struct store *store, const char *id);
/* The object without outputs and options, as events carry it. */
json_t *store_job_brief(struct store *store, const char *id);

struct job_filter {
    const char *status; /* one or several, separated by commas; NULL: all */
    const char *search; /* part of name, description or source_model, whatever the case; NULL: all */
    const char *sort;   /* created, name, status, progress, priority; "-created" descends; NULL: "-created" */
    const char *cursor; /* next_cursor of the page before (same sort); NULL: from the start */
    int limit;          /* 1..200; 0: 50 */
    int offset;         /* of what the filter leaves; not together with cursor */
};
/* {"jobs": […], "total": N (of the filter), "next_cursor": "…"|null}. *result CONFLICT: sort or cursor makes no
 * sense (answer 422); then NULL is returned. */
json_t *store_jobs(struct store *store, const struct job_filter *filter, enum store_result *result);
/* {"queued": 3, "quantizing": 1, …}: all nine states. */
json_t *store_job_counts(struct store *store);
/* Jobs, and tasks of jobs, that somebody may claim now, in the queue's order: [{id, epoch}], `most` of them; of a task the epoch is
 * -1 - its part. The caller's; NULL: failed. */
json_t *store_waiting(struct store *store, int most);
/* Seconds that the oldest queued job has waited; 0: none. */
double store_queue_age(struct store *store);

/* A queued job is cancelled at once; a running one gets the wish, which its runner fulfils (use
 * scheduler_cancel, which also notifies the runner). CONFLICT: it had ended. */
enum store_result store_cancel(struct store *store, const char *id);
/* failed or cancelled -> queued, attempts counted anew. CONFLICT otherwise. */
enum store_result store_retry(struct store *store, const char *id);
/* Forgets the job, its outputs' rows and log; what was published stays in the registry. CONFLICT while it
 * runs or waits to be stopped. The job's work folder is the caller's (scheduler_delete does both). */
enum store_result store_delete(struct store *store, const char *id);
enum store_result store_set_priority(struct store *store, const char *id, int priority); /* CONFLICT: not queued */

/* Array of outputs as in the job's REST object; NULL: no such job. Of one that is a folder, `files` is the list of
 * [{name, size, sha256, url}] once it is published; of others it is null. */
json_t *store_outputs(struct store *store, const char *id);
/* An output by name or id, also after the job was deleted while its files are in the registry. `file` gets its
 * absolute path; NOT_FOUND: none; CONFLICT: not published yet. */
struct store_file {
    char path[4096];
    char name[256];
    uint64_t size;   /* of a folder: of its files together */
    char sha256[65]; /* "": it is a folder */
    char variant[STORE_ID_SIZE];
    int64_t published; /* seconds since 1970 */
};
enum store_result store_output_file(struct store *store, const char *job_id, const char *output,
                                    struct store_file *file);
/* What a folder holds, in its order: the caller frees *files. */
struct store_part {
    char name[256];
    uint64_t size;
    char sha256[65];
};
enum store_result store_parts(struct store *store, const struct store_file *folder, struct store_part **files,
                              size_t *n);
/* One of them, by name. */
enum store_result store_part_file(struct store *store, const struct store_file *folder, const char *name,
                                  struct store_file *file);
/* The folder of a job's published files, also after the job was deleted; NOT_FOUND: it published none. */
enum store_result store_published_folder(struct store *store, const char *job_id, char *path, size_t size);

/* The job's log, one or several lines. level: "info", "warning", "error". Lines of a job are bounded: the oldest go. */
enum store_result store_log_append(struct store *store, const char *id, const char *level, const char *text);
/* {"lines": [{"id", "time", "level", "line"}], "next_after": N}; NULL: no such job. */
json_t *store_log(struct store *store, const char *id, int64_t after, int limit);

/*
 * REGISTRY: a row for each published output (variant), grouped by source (model).
 * Model: id, name, source_model, source_type, source_revision, architecture, parameters, tags [..], created_at,
 * updated_at, variants [{id, job_id, name, format, quant_type, file_size, bits_per_weight, perplexity, kld,
 * top1_agreement, relative_rmse, sha256 (of a folder null), files (as of outputs), quality {..}|null (the report's), run_memory {..}|null, created_at,
 * job_name, importance (the text or file that it was collected on)|null, url}].
 */
struct model_filter {
    const char *search; /* part of name or source_model */
    const char *tag;
    const char *sort; /* created, name, updated; "-…" descends; NULL: "-updated" */
    const char *cursor;
    int limit, offset;
};
json_t *store_models(struct store *store, const struct model_filter *filter, enum store_result *result);
json_t *store_model(struct store *store,
                    const char *id); /* {"models": …, "total", "next_cursor"} has the same objects */
enum store_result store_model_set_tags(struct store *store, const char *id, const json_t *tags /* array of texts */);
enum store_result store_model_rename(struct store *store, const char *id, const char *name);
/* Forgets, and removes the files. */
enum store_result store_model_delete(struct store *store, const char *id);
enum store_result store_variant_delete(struct store *store, const char *model_id, const char *variant_id);
enum store_result store_variant_file(struct store *store, const char *model_id, const char *variant,
                                     struct store_file *file);

/* Every published file: [{job_id, name (relative to the data folder), size, sha256}]. NULL: failed. The caller's. */
json_t *store_published(struct store *store);
bool store_is_published(struct store *store, const char *name); /* true also where it cannot be told */
/* Outputs that count as completed and are not in the registry: [{job_id, path, name}]. NULL: failed. The caller's. */
json_t *store_unrecorded(struct store *store);

/* TOKENS: only the SHA-256 of a secret comes here (64 hexadecimal digits). */
/* A worker's token is good for what workers do and nothing else: it is no step between others. */
enum store_scope { SCOPE_NONE, SCOPE_READ, SCOPE_SUBMIT, SCOPE_ADMIN, SCOPE_WORKER };
extern const char *const store_scope_names[]; /* "none", "read" … "worker", NULL */
/* SCOPE_NONE: it names none that a token can have. */
enum store_scope store_scope_named(const char *name);
bool store_scope_allows(enum store_scope has, enum store_scope wanted);
enum store_result store_token_add(struct store *store, const char *name, enum store_scope scope, const char *sha256,
                                  char id[STORE_ID_SIZE]); /* CONFLICT: the name or the secret is there already */
/* NOT_FOUND: SCOPE_NONE and id "". One lookup by index, no write. */
enum store_scope store_token_check(struct store *store, const char *sha256, char id[STORE_ID_SIZE]);
json_t *store_tokens(struct store *store); /* [{id, name, scope ("read" …), created_at, last_used_at}] */
/* These were used just now; written once a minute at most. */
enum store_result store_tokens_used(struct store *store, char (*ids)[STORE_ID_SIZE], size_t n);
/* CONFLICT: it is the last one, and one must stay. */
enum store_result store_token_remove(struct store *store, const char *id, bool one_must_stay);
bool store_token_known(struct store *store, const char *id); /* true when that is unknown */
int store_token_count(struct store *store);                  /* -1: failed */

/* WORKERS on other machines. who: {name, version, slots, labels [..], machine {..}}. */
enum store_result store_worker_add(struct store *store, const json_t *who, char id[STORE_ID_SIZE]);
/* It said something. machine NULL: as it was. NOT_FOUND: it has to introduce itself anew. */
enum store_result store_worker_seen(struct store *store, const char *id, const json_t *machine, bool draining);
enum store_result store_worker_remove(struct store *store, const char *id);
/* [{id, name, version, slots, labels, machine, started_at, seconds_silent, draining, tasks [{job_id, name, status,
 * progress, attempt}]}] */
json_t *store_workers(struct store *store);

/* EVENTS: raises the stored high-water mark by n and returns the first id of the block; 0: failed. */
uint64_t store_event_block(struct store *store, unsigned n);

#endif
