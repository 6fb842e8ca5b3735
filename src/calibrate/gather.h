/* Statistics of every site of the float model, layer by layer: what is kept for many runs (kept.h). */
#ifndef HT_CALIBRATE_GATHER_H
#define HT_CALIBRATE_GATHER_H

#include "calibrate/calibration.h"
#include "calibrate/kept.h"

/* A layer is done; what it has is lent. */
typedef enum ht_err ht__gather_fn(void *ctx, const struct ht__kept_layer *layer, struct ht_diag *diag);

/*
 * Runs the calibration text through the model. Progress is told as step "calibrate". An activation that is no number is
 * HT_ERR_NONFINITE, with the layer.
 */
HT_MUST_CHECK enum ht_err ht__gather(struct ht__calibration *cal, const struct ht__run *run,
                                     const struct ht__model *model, ht__gather_fn *done, void *ctx,
                                     struct ht_diag *diag);
/* Bytes of the files that are made of it, about. */
HT_MUST_CHECK enum ht_err ht__gather_size(const struct ht__calibration *cal, const struct ht__model *model,
                                          uint64_t *bytes, struct ht_diag *diag);

#endif
