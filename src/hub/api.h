/* What a hub tells about a model: its files and their contents' names, at one commit. */
#ifndef HT_HUB_API_H
#define HT_HUB_API_H

#include "base/buf.h"
#include "hub/link.h"
#include "hub/name.h"

struct ht__repo_file {
    const char *name;            /* such as ht__hub_is_file takes */
    uint64_t size;               /* UINT64_MAX: not said */
    char etag[HT__ETAG_MAX + 1]; /* "": not said */
};

enum { HT__LICENSE_MAX = 64 };

struct ht__repo {
    struct ht__arena arena;
    struct ht__hub_name name;
    char commit[41];
    size_t n;
    struct ht__repo_file *files;
    size_t n_odd;                      /* files left out: their names are no paths inside a repository */
    const char *odd;                   /* one of them, for people */
    bool gated;                        /* its terms must be accepted on the hub first */
    char license[HT__LICENSE_MAX + 1]; /* an identifier as hubs use them: "apache-2.0"; "": not said */
};

void ht__repo_init(struct ht__repo *repo, const struct ht__hub_name *name, const struct ht__alloc *alloc);
void ht__repo_close(struct ht__repo *repo);
const struct ht__repo_file *ht__repo_find(const struct ht__repo *repo, const char *name);

/* Asks for the files of the name's revision. *lost: nobody answered; with `hasty` that is found out soon. */
HT_MUST_CHECK enum ht_err ht__api_files(struct ht__link *link, struct ht__repo *repo, bool hasty, bool *lost,
                                        struct ht_diag *diag);
/* The answer's text; fills commit and files. */
HT_MUST_CHECK enum ht_err ht__api_read_files(struct ht__repo *repo, const char *text, size_t size, const char *where,
                                             struct ht_diag *diag);
/* Asks for a file's size and content name where the list was silent. */
HT_MUST_CHECK enum ht_err ht__api_file(struct ht__link *link, const struct ht__repo *repo, struct ht__repo_file *file,
                                       struct ht_diag *diag);

/* Models that match a text: {"models": [{id, downloads, likes, updated, gated, private, license, task,
 * library}]}. */
HT_MUST_CHECK enum ht_err ht__api_search(struct ht__link *link, const char *text, int limit, struct ht__buf *json,
                                         struct ht_diag *diag);
/* The answer's text to ours. */
HT_MUST_CHECK enum ht_err ht__api_read_search(const char *text, size_t size, const char *where, struct ht__buf *json,
                                              const struct ht__alloc *alloc, struct ht_diag *diag);
/* ENDPOINT/ORG/NAME/resolve/COMMIT/FILE. */
HT_MUST_CHECK enum ht_err ht__api_url(const struct ht__hub *hub, const struct ht__repo *repo, const char *file,
                                      char url[HT__URL_MAX], struct ht_diag *diag);
/* An answer that is no 2xx: what it means and what to do next. file may be NULL. */
enum ht_err ht__api_refused(const struct ht__hub *hub, const struct ht__hub_name *name, const char *file,
                            const struct ht__reply *reply, struct ht_diag *diag);

#endif
