/*
 * Which tensor gets which format: llama.cpp's named mixes with their rules, counters, exceptions
 * and fallbacks, and the options that override them. The result is the same, tensor by tensor, as that
 * of llama-quantize.
 */
#ifndef HT_RECIPE_RECIPE_H
#define HT_RECIPE_RECIPE_H

#include "model/model.h"
#include "schemes/scheme.h"

struct ht__mix {
    const char *name;
    uint32_t ftype; /* general.file_type */
    const char *default_type;
    bool needs_importance; /* without an importance matrix it is refused */
    const char *about;
};

/* By index, in the order of mixes.def; NULL past the end. */
const struct ht__mix *ht__mix_at(size_t index);
/* By name (case-insensitive; Q3_K, Q4_K and Q5_K mean their _M) or by file type number; or NULL. */
const struct ht__mix *ht__mix_by_name(const char *name);
/* The name of the mix nearest to a mistyped one; NULL: none is near. */
const char *ht__mix_nearest(const char *name);

struct ht__type_rule {
    const char *pattern; /* regular expression, searched in the tensor's name */
    const struct ht__codec *type;
    void *regex; /* compiled by ht__type_rule_init */
};
HT_MUST_CHECK enum ht_err ht__type_rule_init(struct ht__type_rule *rule, const char *pattern, const char *type,
                                             struct ht_diag *diag);
void ht__type_rule_close(struct ht__type_rule *rule);

struct ht__recipe {
    const struct ht__mix *mix;
    bool convert;      /* only change the float type: the rules of conversion, not of quantization */
    bool pure;         /* the default type everywhere */
    bool leave_output; /* output.weight stays as it is */
    bool has_importance;
    bool allow_requantize;
    const struct ht__codec *output_type, *embedding_type; /* or NULL */
    size_t n_rules;
    const struct ht__type_rule *rules; /* the first that matches wins */
    const struct ht__codec *const
        *types; /* by weight: what a budget gave it where no rule does, or NULL; NULL: no budget */
};

struct ht__choice {
    const struct ht__codec *type;
    const struct ht__scheme_params *scheme; /* stored by a scheme rather than in `type`; or NULL */
    bool kept;     /* not a tensor that is quantized: as in the source, or as conversion writes it */
    bool fallback; /* the row did not divide into the type's blocks */
};

/*
 * Chooses a type for each of the model's weights. `order` lists indices of model->weights in the order
 * of processing (it decides the counters); choices[i] belongs to model->weights[i].
 * Refuses by tensor name: rows that no type fits, quantized sources without allow_requantize.
 */
HT_MUST_CHECK enum ht_err ht__recipe_choose(const struct ht__recipe *recipe, const struct ht__model *model,
                                            const uint32_t *order, struct ht__choice *choices, struct ht_diag *diag);

/* Do options or rules give this weight a type, whatever the mix? */
bool ht__recipe_gives(const struct ht__recipe *recipe, const struct ht__weight *weight);

/* Does encoding this tensor to this type need importance under this mix? */
bool ht__needs_importance(const struct ht__mix *mix, const struct ht__codec *type, const struct ht__weight *weight);

/* llama-quantize's order: by layer number (none first), then by name; with keep_split by shard and position. */
void ht__weight_order(const struct ht__model *model, bool keep_split, uint32_t *order);

#endif
