/*
 * Pruning: the listed layers go, the others are numbered anew without gaps, in both views of the model, its metadata, and
 * the config.json of folders.
 */
#ifndef HT_PIPELINE_PRUNE_H
#define HT_PIPELINE_PRUNE_H

#include "base/json.h"
#include "model/model.h"
#include "pipeline/settings.h"

/* Which layers went. */
struct ht__pruned {
    uint32_t n, n_gone; /* layers that there were; 0: none was to go */
    bool *gone;
    uint32_t *number; /* new, of those that stay */
};

/* old_names (one a weight of the GGUF view) moves along. *pruned lives in the model's arena. */
HT_MUST_CHECK enum ht_err ht__prune_layers(struct ht__model *model, const char **old_names,
                                           const struct ht__prune_settings *prune, struct ht__pruned *pruned,
                                           struct ht_diag *diag);
/* The native view: names of the checkpoint, where a layer's number is a part between points (prune_native.c). */
HT_MUST_CHECK enum ht_err ht__prune_native(struct ht__model *model, const struct ht__pruned *pruned,
                                           struct ht_diag *diag);
/* Makes what config.json says of the number of layers, and of each, true (prune_config.c). HT_ERR_UNSUPPORTED where it
 * says what a layer is by its place alone, which pruning moves. path: for diagnoses. */
HT_MUST_CHECK enum ht_err ht__prune_config(struct ht__jnode *root, const struct ht__model *model,
                                           const struct ht__pruned *pruned, const char *path, struct ht_diag *diag);

#endif
