/* What the tables of names demand of a checkpoint: used where tensors are mapped, by arch.c alone. */
#ifndef HT_MODEL_ARCH_CHECK_H
#define HT_MODEL_ARCH_CHECK_H

#include "model/arch/arch.h"

/* Before the first tensor: the sizes that shapes are made of. */
HT_MUST_CHECK enum ht_err ht__arch_check_begin(struct ht__arch_build *b);
HT_MUST_CHECK enum ht_err ht__arch_check_shape(struct ht__arch_build *b, const struct ht__name_rule *rule,
                                               const struct ht__found *found);
void ht__arch_check_seen(struct ht__arch_build *b, const struct ht__name_rule *rule, const struct ht__found *found);
/* The shape that the configuration implies, outermost first, for the weight or the bias; the number of dimensions. */
struct ht__shape {
    int64_t dims[HT__MAX_DIMS];
    int n;
    bool at_least; /* the first: embeddings may have rows to spare */
};
struct ht__shape ht__arch_shape(const struct ht__arch_build *b, const struct ht__name_rule *rule, bool bias);
/* Does the layer have the rule's tensor, by its conditions? */
bool ht__arch_holds(const struct ht__arch_build *b, const struct ht__name_rule *rule, int64_t layer);
/* After the last: no tensor is missing, and none is there twice. */
HT_MUST_CHECK enum ht_err ht__arch_check_end(struct ht__arch_build *b);

/* The checkpoint's name of a rule's tensor: "model.layers.1.mlp.experts.0.up_proj.weight". */
const char *ht__arch_source_name(struct ht__arch_build *b, const struct ht__name_rule *rule, int64_t layer,
                                 int64_t expert, const char *suffix);
/* "blk.#.attn_q.*" with the layer and the suffix put in. */
const char *ht__arch_gguf_name(struct ht__arch_build *b, const char *to, int64_t layer, const char *suffix);

#endif
