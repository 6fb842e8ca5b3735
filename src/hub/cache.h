/*
 * The cache that all of the hub's clients share, so that what one fetched the others find:
 *
 *   CACHE/models--ORG--NAME/blobs/ETAG                   contents, by their hash; ETAG.incomplete: under way
 *                          /refs/main                    the commit that a branch or tag stood for
 *                          /snapshots/COMMIT/FILE        relative links ../../blobs/ETAG
 *                          /.no_exist/COMMIT/FILE        empty: the commit has no such file
 *   CACHE/.locks/models--ORG--NAME/ETAG.lock             held (flock) while a blob is fetched
 */
#ifndef HT_HUB_CACHE_H
#define HT_HUB_CACHE_H

#include "hub/name.h"

struct ht__cache_repo {
    char root[3072];                 /* CACHE */
    char folder[HT__HUB_MAX_FOLDER]; /* models--ORG--NAME */
};

HT_MUST_CHECK enum ht_err ht__cache_repo(struct ht__cache_repo *repo, const char *cache,
                                         const struct ht__hub_name *name, struct ht_diag *diag);

/* Paths, into 4096 bytes. Names are such as hub/name.h and hub/etag.h accept; others are refused. */
enum { HT__CACHE_PATH = 4096 };
HT_MUST_CHECK enum ht_err ht__cache_blob(const struct ht__cache_repo *repo, const char *etag, char *out,
                                         struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__cache_snapshot(const struct ht__cache_repo *repo, const char *commit, char *out,
                                             struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__cache_file(const struct ht__cache_repo *repo, const char *commit, const char *file,
                                         char *out, struct ht_diag *diag);

/* The commit that a revision stands for: itself when it is one, or what refs/ says. false: not known. */
bool ht__cache_commit(const struct ht__cache_repo *repo, const char *revision, char commit[41]);
/* Remembers it. */
HT_MUST_CHECK enum ht_err ht__cache_remember(const struct ht__cache_repo *repo, const char *revision,
                                             const char *commit, struct ht_diag *diag);
/* Remembers that the commit lacks a file. */
HT_MUST_CHECK enum ht_err ht__cache_lacks(const struct ht__cache_repo *repo, const char *commit, const char *file,
                                          struct ht_diag *diag);

/* Makes snapshots/COMMIT/FILE point to the blob. */
HT_MUST_CHECK enum ht_err ht__cache_link(const struct ht__cache_repo *repo, const char *commit, const char *file,
                                         const char *etag, struct ht_diag *diag);

/* The lock of a blob. stop (may be NULL) is asked while another process holds it; true ends the wait. */
struct ht__cache_lock {
    int fd;
};
HT_MUST_CHECK enum ht_err ht__cache_lock(const struct ht__cache_repo *repo, const char *etag,
                                         struct ht__cache_lock *lock, bool (*stop)(void *ctx), void *ctx,
                                         struct ht_diag *diag);
void ht__cache_unlock(struct ht__cache_lock *lock);

#endif
