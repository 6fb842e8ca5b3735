/* Where the matrices' bytes are: mapped files, memory, or, under a cap, read layer by layer. */
#ifndef HT_ENGINE_KEEPER_H
#define HT_ENGINE_KEEPER_H

#include "engine/weights.h"

struct ht__keeper;

/* Fills the data of the matrices outside layers, and, where all stays in place, of those in layers. */
HT_MUST_CHECK enum ht_err ht__keeper_open(struct ht__weights *weights, const struct ht__weights_params *params,
                                          const struct ht__alloc *alloc, struct ht__keeper **out, struct ht_diag *diag);
void ht__keeper_close(struct ht__keeper **keeper);
/* The layer's buffer, or NULL where its matrices know their data already. Valid until the next call. */
HT_MUST_CHECK enum ht_err ht__keeper_layer(struct ht__keeper *keeper, int layer, const uint8_t **base,
                                           struct ht_diag *diag);

#endif
