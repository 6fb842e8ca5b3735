/* From a mix, its options and a model to one type for each tensor. */
#include "recipe/recipe.h"
#include "base/text.h"
#include "recipe/foreign.h"
#include "recipe/mix.h"
#include "recipe/pattern.h"

#include <stdlib.h>
#include <string.h>

enum ht_err ht__type_rule_init(struct ht__type_rule *rule, const char *pattern, const char *type, struct ht_diag *diag)
{
    memset(rule, 0, sizeof *rule);
    rule->pattern = pattern;
    rule->type = ht__codec_by_name(type);
    if (!rule->type || rule->type->flags & HT__CODEC_SOURCE_ONLY)
        return ht__fail(diag, HT_ERR_USAGE, "tensor-type", -1, "no type is called \"%s\"; `halftone types` lists them",
                        type);
    return ht__pattern_open("tensor-type", pattern, false, &rule->regex, diag);
}

void ht__type_rule_close(struct ht__type_rule *rule)
{
    ht__pattern_close(&rule->regex);
}

/* Tensors that llama-quantize copies whatever the mix. */
static bool never_quantized(const struct ht__weight *w)
{
    if (w->slot.role == HT__ROLE_OTHER) return !ht__ends_with(w->name, "weight") || ht__foreign_never(w->name);
    return w->slot.bias || ht__role_at(w->slot.role)->flags & HT__ROLE_NEVER;
}

/* Dimensions after trailing ones are dropped, as the file will have them. */
static int effective_dims(const struct ht__weight *w)
{
    int n = HT__GGUF_DIMS;
    while (n > 1 && w->ne[n - 1] == 1)
        n--;
    return n;
}

static bool is_quantizable(const struct ht__recipe *recipe, const struct ht__weight *w)
{
    if (effective_dims(w) < 2 || never_quantized(w)) return false;
    return !(recipe->leave_output && ht__slot_is(w->slot, HT__ROLE_OUTPUT));
}

/* The type that a tensor has where it is not quantized: a GGUF's own, or what conversion writes. */
static const struct ht__codec *type_as_is(const struct ht__model *model, const struct ht__weight *w)
{
    if (model->from_gguf) return w->source;
    if (w->keep_f32) return ht__codec_by_name("f32");
    bool half = strcmp(w->source->name, "f16") == 0 || strcmp(w->source->name, "bf16") == 0;
    return half ? w->source : ht__codec_by_name("f32");
}

static bool is_plain(const struct ht__codec *type)
{
    return type->flags & HT__CODEC_PLAIN;
}

/* The next smaller-blocked type where rows do not divide, and F16 where even 32 does not. */
static enum ht_err fit_rows(const struct ht__weight *w, struct ht__choice *choice, struct ht_diag *diag)
{
    const struct ht__codec *type = choice->type;
    if (w->ne[0] % type->block_len == 0) return HT_OK;
    if (!type->fallback)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, w->name, -1,
                        "rows of %lld weights do not divide into %s's blocks of %u, and no other type "
                        "replaces it; choose one with --tensor-type",
                        (long long)w->ne[0], type->label, type->block_len);
    choice->fallback = true;
    choice->type = ht__codec_by_name(type->fallback);
    if (w->ne[0] % choice->type->block_len != 0) choice->type = ht__codec_by_name("f16");
    return HT_OK;
}

static enum ht_err by_rules(const struct ht__recipe *recipe, const char *name, const struct ht__codec **type,
                            struct ht_diag *diag)
{
    bool yes = false;
    *type = NULL;
    for (size_t i = 0; i < recipe->n_rules && !yes; i++) {
        HT_TRY(ht__pattern_match(recipe->rules[i].regex, "tensor-type", name, strlen(name), &yes, diag));
        if (yes) *type = recipe->rules[i].type;
    }
    return HT_OK;
}

/* Absolute choices: before every rule, without fallback. */
static const struct ht__codec *by_option(const struct ht__recipe *recipe, const struct ht__weight *w)
{
    switch (ht__mix_class_of(w)) {
    case HT__MIX_EMBEDDING: return recipe->embedding_type;
    case HT__MIX_OUTPUT: return recipe->output_type;
    default: return NULL;
    }
}

bool ht__recipe_gives(const struct ht__recipe *recipe, const struct ht__weight *w)
{
    const struct ht__codec *type = by_option(recipe, w);
    return type || by_rules(recipe, w->name, &type, NULL) != HT_OK || type;
}

static enum ht_err choose(const struct ht__recipe *recipe, struct ht__mix_state *state, const struct ht__weight *w,
                          struct ht__choice *choice, struct ht_diag *diag)
{
    *choice = (struct ht__choice){.type = type_as_is(state->model, w)};
    choice->kept = !is_quantizable(recipe, w);
    if (choice->kept) return HT_OK;
    if ((choice->type = by_option(recipe, w)) != NULL) {
        if (w->ne[0] % choice->type->block_len == 0) return HT_OK;
        return ht__fail(diag, HT_ERR_UNSUPPORTED, w->name, -1,
                        "rows of %lld weights do not divide into %s's blocks of %u", (long long)w->ne[0],
                        choice->type->label, choice->type->block_len);
    }
    choice->type = state->default_type;
    if (is_plain(state->default_type)) return HT_OK;
    if (!recipe->pure) {
        HT_TRY(by_rules(recipe, w->name, &choice->type, diag));
        if (!choice->type && recipe->types) choice->type = recipe->types[w - state->model->weights];
        if (!choice->type) choice->type = ht__mix_rule(state, w);
    }
    return fit_rows(w, choice, diag);
}

static enum ht_err refuse_requantize(const struct ht__model *model, const struct ht__weight *w,
                                     const struct ht__choice *choice, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_UNSUPPORTED, w->name, -1,
                    "it is already quantized to %s; making %s of it loses more than starting from the "
                    "original; add --allow-requantize to do it all the same",
                    w->packed ? model->packed_as : w->source->label, choice->type->label);
}

/* Is the weight quantized, and will it be once more? */
static bool requantizes(const struct ht__model *model, const struct ht__weight *w, const struct ht__choice *choice)
{
    if (w->rows->raw_type == choice->type) return false; /* its blocks are copied */
    if (w->packed) return !is_plain(choice->type);
    return model->from_gguf && !is_plain(w->source);
}

enum ht_err ht__recipe_choose(const struct ht__recipe *recipe, const struct ht__model *model, const uint32_t *order,
                              struct ht__choice *choices, struct ht_diag *diag)
{
    struct ht__mix_state state;
    ht__mix_begin(&state, recipe, model);
    if (!state.default_type)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, recipe->mix->name, -1, "this build has no type %s",
                        recipe->mix->default_type);
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[order[i]];
        struct ht__choice *choice = &choices[order[i]];
        if (recipe->convert) {
            bool f32 =
                w->keep_f32 || (model->from_gguf && strcmp(w->source->name, "f32") == 0 && !is_quantizable(recipe, w));
            *choice = (struct ht__choice){.type = f32 ? ht__codec_by_name("f32") : state.default_type, .kept = f32};
        } else {
            HT_TRY(choose(recipe, &state, w, choice, diag));
        }
        /* integers and doubles are a GGUF's own business: they are copied */
        if (model->from_gguf && w->source->flags & HT__CODEC_SOURCE_ONLY) choice->type = w->source;
        if (!recipe->allow_requantize && requantizes(model, w, choice))
            return refuse_requantize(model, w, choice, diag);
    }
    return HT_OK;
}

bool ht__needs_importance(const struct ht__mix *mix, const struct ht__codec *type, const struct ht__weight *weight)
{
    enum ht__mix_class class = ht__mix_class_of(weight);
    if (class == HT__MIX_EMBEDDING || class == HT__MIX_OUTPUT) return false;
    static const char *const needy[] = {"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs"};
    for (size_t i = 0; i < sizeof needy / sizeof needy[0]; i++)
        if (strcmp(type->name, needy[i]) == 0) return true;
    return strcmp(mix->name, "Q2_K_S") == 0 && strcmp(type->name, "q2_k") == 0;
}

static int compare(const void *a, const void *b, void *ctx)
{
    const struct ht__model *model = ctx;
    const struct ht__weight *x = &model->weights[*(const uint32_t *)a], *y = &model->weights[*(const uint32_t *)b];
    int32_t i = x->slot.layer, j = y->slot.layer;
    return i != j ? (i < j ? -1 : 1) : strcmp(x->name, y->name);
}

void ht__weight_order(const struct ht__model *model, bool keep_split, uint32_t *order)
{
    for (uint32_t i = 0; i < model->n_weights; i++)
        order[i] = i;
    /* a split GGUF's tensors are in order of shard and position already */
    if (!keep_split) qsort_r(order, model->n_weights, sizeof *order, compare, (void *)(uintptr_t)model);
}
