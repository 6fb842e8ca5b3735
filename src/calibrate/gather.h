/* Statistics of every site of the float model, layer by layer: what is kept for many runs (kept.h). */
#ifndef HT_CALIBRATE_GATHER_H
#define HT_CALIBRATE_GATHER_H

#include "calibrate/calibration.h"
#include "calibrate/kept.h"

/* A layer is done; what it has is lent. */
typedef enum ht_err ht__gather_fn(void *ctx, const struct ht__kept_layer *layer, struct ht_diag *diag);

/* Of which groups of the text's chunks (groups.h), and whether each is handed over by itself or all of them, added. */
struct ht__gather_share {
    size_t from, to;
    bool apart;
};

/*
 * Runs the calibration text through the model. Progress is told as step "calibrate". An activation that is no number is
 * HT_ERR_NONFINITE, with the layer.
 */
HT_MUST_CHECK enum ht_err ht__gather(struct ht__calibration *cal, const struct ht__run *run,
                                     const struct ht__model *model, const struct ht__gather_share *share,
                                     ht__gather_fn *done, void *ctx, struct ht_diag *diag);
/* The whole text; part 1 <= part <= parts of it. */
struct ht__gather_share ht__gather_whole(const struct ht__calibration *cal);
struct ht__gather_share ht__gather_part(const struct ht__calibration *cal, uint32_t part, uint32_t parts);
/* Bytes of the files that are made of it, about. */
HT_MUST_CHECK enum ht_err ht__gather_size(const struct ht__calibration *cal, const struct ht__model *model,
                                          const struct ht__gather_share *share, uint64_t *bytes, struct ht_diag *diag);

#endif
