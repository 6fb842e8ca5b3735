/* Which of a repository's files are fetched: what conversion reads, and never what training left beside it. */
#ifndef HT_HUB_SELECT_H
#define HT_HUB_SELECT_H

#include "hub/api.h"

struct ht__selection {
    size_t n;
    struct ht__repo_file **files; /* in the repository's arena */
};

/* Configuration, tokenizer, model card, and the index of the weights where there is one. */
HT_MUST_CHECK enum ht_err ht__select_companions(struct ht__repo *repo, struct ht__selection *out, struct ht_diag *diag);
/* The weights: *index is the index that names them, which has to be read (ht__select_indexed); NULL: `out` is all. */
HT_MUST_CHECK enum ht_err ht__select_weights(struct ht__repo *repo, struct ht__selection *out,
                                             const struct ht__repo_file **index, struct ht_diag *diag);
/* The files that an index names; its text. */
HT_MUST_CHECK enum ht_err ht__select_indexed(struct ht__repo *repo, const char *index, const char *text, size_t size,
                                             struct ht__selection *out, struct ht_diag *diag);
/* One file by its name, with the other parts of a split GGUF. */
HT_MUST_CHECK enum ht_err ht__select_file(struct ht__repo *repo, const char *name, struct ht__selection *out,
                                          struct ht_diag *diag);
/* Every file that one of the patterns matches. */
HT_MUST_CHECK enum ht_err ht__select_matching(struct ht__repo *repo, const char *const *globs, size_t n,
                                              struct ht__selection *out, struct ht_diag *diag);
/* Names of companions that the repository lacks, one by one; NULL past the end. */
const char *ht__select_lacking(const struct ht__repo *repo, size_t *at);

#endif
