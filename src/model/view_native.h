/* The native view of a model: the checkpoint's own tensors, under their own names and as they lie there. The GGUF view
 * (struct ht__model.weights) is made of the same rows, renamed, permuted and stacked. */
#ifndef HT_MODEL_VIEW_NATIVE_H
#define HT_MODEL_VIEW_NATIVE_H

#include "model/arch/arch.h"

/* Adds a tensor that no rule of the architecture knows: buffers, other modalities. rows: its weights; NULL: as it
 * has them. */
HT_MUST_CHECK enum ht_err ht__native_add_other(struct ht__arch_build *b, const struct ht__tensor *tensor,
                                               const struct ht__rows *rows);
/* Adds one that a rule matched. */
HT_MUST_CHECK enum ht_err ht__native_add(struct ht__arch_build *b, const struct ht__found *found, struct ht__slot slot);

#endif
