/* The rules of the named mixes, apart from the options around them. */
#ifndef HT_RECIPE_MIX_H
#define HT_RECIPE_MIX_H

#include "recipe/recipe.h"

/* What the rules look at and count, over one run through the tensors in order. */
struct ht__mix_state {
    const struct ht__mix *mix;
    const struct ht__model *model;
    const struct ht__codec *default_type, *output_type;
    bool has_importance, has_output;
    int n_layers, n_v;             /* layers; tensors that follow the attn_v rules */
    int i_v, i_down, i_gate, i_up; /* how many of each have been given a type */
    bool e8, g4;
};

/* How the rules treat a weight: by its role, or by its name where it has none. */
enum ht__mix_class ht__mix_class_of(const struct ht__weight *weight);

void ht__mix_begin(struct ht__mix_state *state, const struct ht__recipe *recipe, const struct ht__model *model);
/* The type of one tensor by the mix's rules, before any fallback. Advances the counters. */
const struct ht__codec *ht__mix_rule(struct ht__mix_state *state, const struct ht__weight *weight);

#endif
