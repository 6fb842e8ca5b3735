/* A model from the hub: which files, into the cache, and where they are then. */
#ifndef HT_HUB_PULL_H
#define HT_HUB_PULL_H

#include "hub/fetch.h"

struct ht__pull_request {
    const char *name;         /* ORG/NAME[@REVISION][:FILE] */
    const char *const *globs; /* files by pattern instead of what conversion needs */
    size_t n_globs;
    bool no_weights; /* all but the weights, which are told of but stay where they are */
    bool (*tell)(void *ctx, uint64_t done, uint64_t total, const char *file);
    void *ctx;
};

struct ht__pulled {
    struct ht__repo repo; /* its list is empty when nobody was asked */
    struct ht__cache_repo cache;
    struct ht__selection files;   /* what is in the cache now */
    struct ht__selection weights; /* with no_weights: what is not */
    char folder[HT__CACHE_PATH];  /* the snapshot */
    char model[HT__CACHE_PATH];   /* what to open: the folder, or a file in it */
};

/* Fills `pulled`, which is closed in any case. */
HT_MUST_CHECK enum ht_err ht__pull(struct ht__hub *hub, const struct ht__pull_request *request,
                                   struct ht__pulled *pulled, struct ht_diag *diag);
void ht__pulled_close(struct ht__pulled *pulled);
/* {"path": what to open, "snapshot": the folder, "id", "revision", "commit", "files": [{"name", "size"}]} */
void ht__pulled_json(const struct ht__pulled *pulled, struct ht__buf *out);

#endif
