/* `halftone admin`: what is done to a service's data from outside of it. */
#ifndef HT_SERVICE_ADMIN_ADMIN_H
#define HT_SERVICE_ADMIN_ADMIN_H

#include "service/artifacts/artifacts.h"
#include "service/store/store.h"

/* argv[0] is the verb. An exit status: 0; 1 it failed, or what was checked does not agree; 2 the arguments. */
int admin_run(int argc, char **argv);

/*
 * check.c: do the store and what lies there agree? Every published file is there with its size and its bytes (quick: without
 * reading them), and every file, folder of work and unfinished upload belongs to a job. Changes nothing; a service may run.
 *
 * {"agrees", "files", "bytes", "problems": [{"kind", "name", "job_id", "text"}]}, kinds: missing, size, sha256, unreadable,
 * unrecorded, orphan, copy (of the bucket's file, in the data folder). NULL: it could not be done, see why. The caller's.
 */
struct check_progress {
    void (*tell)(void *ctx, const char *name, uint64_t done, uint64_t of); /* bytes; may be NULL */
    void *ctx;
};
json_t *check_all(struct store *store, struct artifacts *here, struct artifacts *far, bool quick,
                  const struct check_progress *progress, char *why, size_t size);

#endif
