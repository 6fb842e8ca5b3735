/*
 * Who gives a worker its jobs and hears of them: the store of this process (runner.h), or a server elsewhere
 * (worker/worker.h). The same run from claim to end stands on either.
 *
 * A claim is (job, epoch), as in store/claims.h; each function below that has one answers STORE_CONFLICT, and has
 * changed nothing, when the claim is not the worker's any more. Any thread.
 */
#ifndef HT_SERVICE_RUNNER_LINK_H
#define HT_SERVICE_RUNNER_LINK_H

#include "service/store/claims.h"

struct worker_link;

/* How an attempt ends that published nothing. */
enum link_end { LINK_RELEASED, LINK_FAILED, LINK_CANCELLED };

/* What is to be published. */
struct publication {
    const struct store_claim *claim;
    const json_t *request;
    json_t *report;             /* of the run; `model` of its qualities is taken out */
    const char *out, *place;    /* the folder of finished files, and where it goes */
    const char *place_name;     /* relative to the service's folder */
    bool (*goes_on)(void *ctx); /* asked while it takes long; false: stop */
    void *ctx;
    bool patient; /* a store that is away is waited for until then; otherwise for two seconds */
};

/* Every file that a report names, [{name ("FILE" or "FOLDER/FILE"), size, sha256}]. The caller's. NULL: it names none, or one
 * that leads elsewhere. */
json_t *publication_files(const json_t *report);

/* A source that is not here is fetched first; `tell` hears how far it is. */
struct link_fetch {
    const struct store_claim *claim;
    json_t *request;          /* its source_path and source_type may be changed to where the model lies now */
    const char *folder;       /* the worker's */
    void (*begin)(void *ctx); /* it takes a while from now on */
    void (*tell)(void *ctx, const char *file, uint64_t done, uint64_t total);
    bool (*goes_on)(void *ctx);
    void *ctx;
};

struct link_operations {
    /* Waits up to `seconds`. NOT_FOUND: no job came. CONFLICT: see store_claim_next. */
    enum store_result (*claim)(struct worker_link *link, double seconds, struct store_claim *claim);
    json_t *(*request)(struct worker_link *link, const struct store_claim *claim); /* the caller's; NULL: failed */
    json_t *(*brief)(struct worker_link *link, const struct store_claim *claim);   /* the job as events show it */
    void (*tell)(struct worker_link *link, const struct store_claim *claim, json_t *brief); /* steals it */
    enum store_result (*heartbeat)(struct worker_link *link, const struct store_claim *claim, bool *cancel);
    enum store_result (*update)(struct worker_link *link, const struct store_claim *claim,
                                const struct store_update *update);
    enum store_result (*outputs)(struct worker_link *link, const struct store_claim *claim, const json_t *rows);
    enum store_result (*output_status)(struct worker_link *link, const struct store_claim *claim, const char *status);
    void (*log)(struct worker_link *link, const struct store_claim *claim, const char *level, const char *text);
    enum store_result (*end)(struct worker_link *link, const struct store_claim *claim, enum link_end how,
                             const char *error, const char *advice);
    enum store_result (*publish)(struct worker_link *link, const struct publication *publication);
    /* The job is divided: others, too, make its parts. The claim is over. */
    enum store_result (*split)(struct worker_link *link, const struct store_claim *claim, int parts);
    /* The part that was claimed lies finished in its work folder. */
    enum store_result (*part_done)(struct worker_link *link, const struct store_claim *claim);
    /* True: the source may be read. False: `why` says why not; "" when goes_on said so. */
    bool (*fetch)(struct worker_link *link, const struct link_fetch *fetch, char *why, size_t size);
    /* Where the attempt's unfinished work lies. */
    void (*work)(struct worker_link *link, const struct store_claim *claim, char *path, size_t size);
    void (*finished)(struct worker_link *link, const struct store_claim *claim); /* the attempt is over, however */
    void (*why)(struct worker_link *link, char *why, size_t size);               /* of the latest failure */
    void (*ring)(struct worker_link *link, const char *job_id);                  /* a job may be there */
    void (*stop)(struct worker_link *link);                                      /* no more claims; who waits returns */
    void (*close)(struct worker_link *link);
};

struct worker_link {
    const struct link_operations *operations;
    bool apart;             /* what is made here is out of others' reach until it is published: nothing is divided */
    double beat_seconds;    /* between two heartbeats */
    double silence_seconds; /* without an answer: stop writing before the lease ends */
};

#endif
