/* Where the matrices' bytes are: mapped files, memory, or, under a cap, read layer by layer. */
#ifndef HT_ENGINE_WEIGHT_STORE_H
#define HT_ENGINE_WEIGHT_STORE_H

#include "engine/weights.h"

struct ht__weight_store;

/* Fills the data of the matrices outside layers, and, where all stays in place, of those in layers. */
HT_MUST_CHECK enum ht_err ht__weight_store_open(struct ht__weights *weights, const struct ht__weights_params *params,
                                                const struct ht__alloc *alloc, struct ht__weight_store **out,
                                                struct ht_diag *diag);
void ht__weight_store_close(struct ht__weight_store **store);
/* The layer's buffer, or NULL where its matrices know their data already. Valid until the next call. */
HT_MUST_CHECK enum ht_err ht__weight_store_layer(struct ht__weight_store *store, int layer, const uint8_t **base,
                                                 struct ht_diag *diag);
/* Gives back what buffers of layers hold while none is run: those that take turns, or, where every layer has its own, that of the
 * layer and of the next. They are read again when they are needed. */
void ht__weight_store_release(struct ht__weight_store *store, int layer);
/* The same of the embedding and the output, for good. */
void ht__weight_store_drop_outside(struct ht__weight_store *store);
/* Before a pass of a few tokens, which takes as long as reading all weights does. While nobody reads them. */
void ht__weight_store_narrow(struct ht__weight_store *store, struct ht__pool *pool);
/* What was read so far; the next layers may be on their way. */
struct ht__weights_stats ht__weight_store_stats(struct ht__weight_store *store);

#endif
