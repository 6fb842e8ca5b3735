/* From a mix, its options and a model to one type for each tensor. */
#include "recipe/recipe.h"
#include "recipe/mix.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum ht_err ht__type_rule_init(struct ht__type_rule *rule, const char *pattern, const char *type,
                               struct ht_diag *diag)
{
    memset(rule, 0, sizeof *rule);
    rule->pattern = pattern;
    rule->type = ht__codec_by_name(type);
    if (!rule->type || rule->type->flags & HT__CODEC_SOURCE_ONLY)
        return ht__fail(diag, HT_ERR_USAGE, "tensor-type", -1,
                        "no type is called \"%s\"; `halftone types` lists them", type);
    int code;
    PCRE2_SIZE offset;
    rule->regex = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &offset, NULL);
    if (rule->regex) return HT_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED) return ht__fail_memory(diag, "tensor-type");
    char message[120];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
    return ht__fail(diag, HT_ERR_USAGE, "tensor-type", (int64_t)offset,
                    "bad regular expression \"%s\": %s", pattern, message);
}

void ht__type_rule_close(struct ht__type_rule *rule)
{
    pcre2_code_free(rule->regex);
    rule->regex = NULL;
}

/* A pattern that needs more than this many steps on a name of 63 bytes is no tensor pattern. */
enum { MATCH_LIMIT = 100000 };

/* A name that needs more steps than that does not match. */
static enum ht_err matches(const struct ht__type_rule *rule, const char *name, bool *yes,
                           struct ht_diag *diag)
{
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(rule->regex, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    int n = PCRE2_ERROR_NOMEMORY;
    if (data && context) {
        pcre2_set_match_limit(context, MATCH_LIMIT);
        n = pcre2_match(rule->regex, (PCRE2_SPTR)name, strlen(name), 0, 0, data, context);
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    *yes = n >= 0;
    return n == PCRE2_ERROR_NOMEMORY ? ht__fail_memory(diag, "tensor-type") : HT_OK;
}

/* Tensors that the field's tool copies whatever the mix: parts of names, then whole names. */
static bool never_quantized(const char *name)
{
    static const char *const parts[] = {
        "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel",
        "per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight",
        "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight",
        "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight",
        "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight",
        "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd", "sam.pos_embd",
        "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook",
        "mm.a.code_embd"};
    static const char *const names[] = {"position_embd.weight", "token_types.weight"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(name, parts[i])) return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
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
    if (effective_dims(w) < 2 || !ends_in(w->name, "weight") || never_quantized(w->name)) return false;
    return !(recipe->leave_output && strcmp(w->name, "output.weight") == 0);
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
static enum ht_err fit_rows(const struct ht__weight *w, struct ht__choice *choice,
                            struct ht_diag *diag)
{
    const struct ht__codec *type = choice->type;
    if (w->ne[0] % type->block_len == 0) return HT_OK;
    if (!type->fallback)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, w->name, -1,
                        "rows of %lld weights do not divide into %s's blocks of %u, and no other type "
                        "stands in for it; choose one with --tensor-type",
                        (long long)w->ne[0], type->label, type->block_len);
    choice->fallback = true;
    choice->type = ht__codec_by_name(type->fallback);
    if (w->ne[0] % choice->type->block_len != 0) choice->type = ht__codec_by_name("f16");
    return HT_OK;
}

static enum ht_err by_rules(const struct ht__recipe *recipe, const char *name,
                            const struct ht__codec **type, struct ht_diag *diag)
{
    bool yes = false;
    *type = NULL;
    for (size_t i = 0; i < recipe->n_rules && !yes; i++) {
        HT_TRY(matches(&recipe->rules[i], name, &yes, diag));
        if (yes) *type = recipe->rules[i].type;
    }
    return HT_OK;
}

/* Absolute choices: before every rule, without fallback. */
static const struct ht__codec *by_option(const struct ht__recipe *recipe, const char *name)
{
    if (recipe->embedding_type && (strcmp(name, "token_embd.weight") == 0 ||
                                   strcmp(name, "per_layer_token_embd.weight") == 0))
        return recipe->embedding_type;
    if (recipe->output_type && strcmp(name, "output.weight") == 0) return recipe->output_type;
    return NULL;
}

static enum ht_err choose(const struct ht__recipe *recipe, struct ht__mix_state *state,
                          const struct ht__weight *w, struct ht__choice *choice,
                          struct ht_diag *diag)
{
    *choice = (struct ht__choice){.type = type_as_is(state->model, w)};
    choice->kept = !is_quantizable(recipe, w);
    if (choice->kept) return HT_OK;
    if ((choice->type = by_option(recipe, w->name)) != NULL) {
        if (w->ne[0] % choice->type->block_len == 0) return HT_OK;
        return ht__fail(diag, HT_ERR_UNSUPPORTED, w->name, -1,
                        "rows of %lld weights do not divide into %s's blocks of %u",
                        (long long)w->ne[0], choice->type->label, choice->type->block_len);
    }
    choice->type = state->default_type;
    if (is_plain(state->default_type)) return HT_OK;
    if (!recipe->pure) {
        HT_TRY(by_rules(recipe, w->name, &choice->type, diag));
        if (!choice->type) choice->type = ht__mix_rule(state, w);
    }
    return fit_rows(w, choice, diag);
}

static enum ht_err refuse_requantize(const struct ht__weight *w, const struct ht__choice *choice,
                                     struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_UNSUPPORTED, w->name, -1,
                    "it is already quantized to %s; making %s of it loses more than starting from the "
                    "original. --allow-requantize does it all the same",
                    w->source->label, choice->type->label);
}

enum ht_err ht__recipe_choose(const struct ht__recipe *recipe, const struct ht__model *model,
                              const uint32_t *order, struct ht__choice *choices,
                              struct ht_diag *diag)
{
    struct ht__mix_state state;
    ht__mix_begin(&state, recipe, model);
    if (!state.default_type)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, recipe->mix->name, -1,
                        "this build has no type %s", recipe->mix->default_type);
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[order[i]];
        struct ht__choice *choice = &choices[order[i]];
        if (recipe->convert) {
            bool f32 = w->keep_f32 || (model->from_gguf && strcmp(w->source->name, "f32") == 0 &&
                                       !is_quantizable(recipe, w));
            *choice = (struct ht__choice){
                .type = f32 ? ht__codec_by_name("f32") : state.default_type, .kept = f32};
        } else {
            HT_TRY(choose(recipe, &state, w, choice, diag));
        }
        /* integers and doubles are a GGUF's own business: they are copied */
        if (model->from_gguf && w->source->flags & HT__CODEC_SOURCE_ONLY) choice->type = w->source;
        bool raw = w->rows->raw_type == choice->type;
        if (!is_plain(w->source) && !raw && model->from_gguf && !recipe->allow_requantize)
            return refuse_requantize(w, choice, diag);
    }
    return HT_OK;
}

bool ht__needs_importance(const struct ht__mix *mix, const struct ht__codec *type,
                          const char *tensor)
{
    if (strcmp(tensor, "token_embd.weight") == 0 || strcmp(tensor, "output.weight") == 0 ||
        strcmp(tensor, "per_layer_token_embd.weight") == 0)
        return false;
    static const char *const needy[] = {"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs"};
    for (size_t i = 0; i < sizeof needy / sizeof needy[0]; i++)
        if (strcmp(type->name, needy[i]) == 0) return true;
    return strcmp(mix->name, "Q2_K_S") == 0 && strcmp(type->name, "q2_k") == 0;
}

/* -1 for a tensor outside the layers. */
static long layer_number(const char *name)
{
    bool in_layer = strncmp(name, "blk.", 4) == 0 && name[4] >= '0' && name[4] <= '9';
    return in_layer ? strtol(name + 4, NULL, 10) : -1;
}

static int compare(const void *a, const void *b, void *ctx)
{
    const struct ht__model *model = ctx;
    const char *x = model->weights[*(const uint32_t *)a].name;
    const char *y = model->weights[*(const uint32_t *)b].name;
    long i = layer_number(x), j = layer_number(y);
    return i != j ? (i < j ? -1 : 1) : strcmp(x, y);
}

void ht__weight_order(const struct ht__model *model, bool keep_split, uint32_t *order)
{
    for (uint32_t i = 0; i < model->n_weights; i++)
        order[i] = i;
    /* a split GGUF's tensors stand by shard and position already */
    if (!keep_split)
        qsort_r(order, model->n_weights, sizeof *order, compare, (void *)(uintptr_t)model);
}
