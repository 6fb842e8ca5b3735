/* Planning an output that is a Hugging Face folder: weights in shards with their index, config.json, and the files that lie
 * beside the source's. */
#ifndef HT_PIPELINE_FOLDER_H
#define HT_PIPELINE_FOLDER_H

#include "pipeline/plan.h"

/* Chooses how each tensor is stored, and fills the output's files and places. */
HT_MUST_CHECK enum ht_err ht__plan_folder(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag);

/* The folder's files other than weights and their index (folder_files.c): at most ht__folder_most_files() of them, from
 * out->files[out->n_files] on. */
size_t ht__folder_most_files(const struct ht__plan *plan);
HT_MUST_CHECK enum ht_err ht__folder_add_files(struct ht__plan *plan, struct ht__plan_output *out,
                                               struct ht_diag *diag);
/* A file with that name in the folder, still empty. */
HT_MUST_CHECK enum ht_err ht__folder_add_file(struct ht__plan *plan, struct ht__plan_output *out, const char *name,
                                              struct ht__plan_file **file, struct ht_diag *diag);

/* Marks tensors that share their bytes with an earlier one of their file, which has its place already. */
HT_MUST_CHECK enum ht_err ht__folder_share(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag);

/* What a configuration must know of the folder's Linears. */
HT_MUST_CHECK enum ht_err ht__folder_package(struct ht__plan *plan, const struct ht__plan_output *out,
                                             struct ht__scheme_package *package, struct ht_diag *diag);
/* The dtype of the model's floats: that of most of its matrices, or what config.json says. */
const struct ht__codec *ht__folder_dtype(const struct ht__plan *plan);

#endif
