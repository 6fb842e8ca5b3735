/*
 * Files of a repository into the cache: several at once, each resumed where an earlier attempt ended, and given
 * its name only when length and hash are right.
 */
#ifndef HT_HUB_FETCH_H
#define HT_HUB_FETCH_H

#include "hub/api.h"
#include "hub/cache.h"
#include "hub/select.h"

struct ht__fetch {
    struct ht__hub *hub;
    struct ht__repo *repo;
    const struct ht__cache_repo *cache;
    /* About ten times a second from the calling thread; true ends the work. May be NULL. */
    bool (*tell)(void *ctx, uint64_t done, uint64_t total, const char *file);
    void *ctx;
};

/* Brings the files that are not there yet, and links all of them into the commit's snapshot. */
HT_MUST_CHECK enum ht_err ht__fetch_files(const struct ht__fetch *fetch, const struct ht__selection *files,
                                          struct ht_diag *diag);
/* Bytes of these files that are not in the cache. */
uint64_t ht__fetch_missing(const struct ht__cache_repo *cache, const struct ht__selection *files);

/* One blob; what the above does for each file that is missing. */
struct ht__blob_job {
    struct ht__link *link;
    const struct ht__repo *repo;
    const struct ht__cache_repo *cache;
    const struct ht__repo_file *file;
    atomic_ullong *done; /* bytes, of all blobs */
};
HT_MUST_CHECK enum ht_err ht__blob_fetch(const struct ht__blob_job *job, struct ht_diag *diag);

#endif
