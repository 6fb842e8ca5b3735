/*
 * The rules of the named mixes. Each rule function answers with a type name, or NULL for "no rule":
 * the default type is kept. Names of mixes are compared by their general.file_type (FT_*).
 */
#include "recipe/mix.h"
#include "base/nearest.h"
#include "recipe/foreign.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    FT_Q4_0 = 2,
    FT_Q8_0 = 7,
    FT_Q5_0 = 8,
    FT_Q2_K = 10,
    FT_Q3_K_S = 11,
    FT_Q3_K_M = 12,
    FT_Q3_K_L = 13,
    FT_Q4_K_S = 14,
    FT_Q4_K_M = 15,
    FT_Q5_K_S = 16,
    FT_Q5_K_M = 17,
    FT_Q6_K = 18,
    FT_IQ2_XXS = 19,
    FT_IQ2_XS = 20,
    FT_Q2_K_S = 21,
    FT_IQ3_XS = 22,
    FT_IQ3_XXS = 23,
    FT_IQ1_S = 24,
    FT_IQ4_NL = 25,
    FT_IQ3_S = 26,
    FT_IQ3_M = 27,
    FT_IQ2_S = 28,
    FT_IQ2_M = 29,
    FT_IQ4_XS = 30,
    FT_IQ1_M = 31,
    FT_TQ1_0 = 36,
    FT_TQ2_0 = 37,
    FT_MXFP4_MOE = 38,
    FT_Q2_0 = 41
};

static const struct ht__mix mixes[] = {
#define HT_MIX(name_, ftype_, type_, needs_, about_)                                                                   \
    {.name = name_, .ftype = ftype_, .default_type = type_, .needs_importance = needs_, .about = about_},
#include "recipe/mixes.def"
#undef HT_MIX
};

const struct ht__mix *ht__mix_at(size_t index)
{
    return index < sizeof mixes / sizeof mixes[0] ? &mixes[index] : NULL;
}

const struct ht__mix *ht__mix_by_name(const char *name)
{
    static const char *const aliases[][2] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strcasecmp(name, aliases[i][0]) == 0) name = aliases[i][1];
    char *end;
    unsigned long number = strtoul(name, &end, 10);
    bool numeric = *name >= '0' && *name <= '9' && *end == '\0';
    for (size_t i = 0; ht__mix_at(i); i++)
        if (strcasecmp(name, mixes[i].name) == 0 || (numeric && number == mixes[i].ftype)) return &mixes[i];
    return NULL;
}

static const char *name_at(void *ctx, size_t i)
{
    (void)ctx;
    return ht__mix_at(i) ? mixes[i].name : NULL;
}

const char *ht__mix_nearest(const char *name)
{
    return ht__nearest(name, name_at, NULL);
}

enum ht__mix_class ht__mix_class_of(const struct ht__weight *w)
{
    if (w->slot.role == HT__ROLE_OTHER) return ht__foreign_class(w->name);
    return w->slot.bias ? HT__MIX_OTHER : ht__role_at(w->slot.role)->mix;
}

/* A fused qkv and MLA's kv_b follow the rules of attn_v. */
static bool follows_v(enum ht__mix_class c)
{
    return c == HT__MIX_V || c == HT__MIX_QKV || c == HT__MIX_KV_B;
}

/* The layers that get more bits in the _M mixes: the first and last eighth, and each third between. */
static bool more_bits(int i, int n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

/* In expert models the layer is the weight's own, as a layer may have several such tensors. */
static int layer_of(const struct ht__mix_state *s, const struct ht__weight *w, int counter)
{
    return s->model->n_experts > 1 && w->slot.layer >= 0 ? w->slot.layer : counter;
}

static bool in(uint32_t ftype, const uint8_t *list, size_t n)
{
    return memchr(list, (int)ftype, n) != NULL;
}
#define IN(ftype, ...) in(ftype, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static const char *output_rule(const struct ht__mix_state *s, const struct ht__weight *w)
{
    uint32_t ft = s->mix->ftype;
    if (s->output_type) return s->output_type->name;
    if (ft == FT_MXFP4_MOE || strcmp(s->model->arch, "falcon") == 0 || w->ne[0] % s->default_type->block_len != 0)
        return "q8_0";
    if (IN(ft, FT_IQ1_S, FT_IQ1_M, FT_IQ2_XXS, FT_IQ2_XS, FT_IQ2_S, FT_IQ2_M, FT_IQ3_XXS)) return "q5_k";
    return ft == FT_Q8_0 ? "q8_0" : "q6_k";
}

static const char *embedding_rule(const struct ht__mix_state *s)
{
    uint32_t ft = s->mix->ftype;
    if (IN(ft, FT_IQ1_S, FT_IQ1_M, FT_IQ2_XXS, FT_IQ2_XS)) return "q2_k";
    if (IN(ft, FT_IQ2_S, FT_IQ2_M, FT_IQ3_XXS)) return "iq3_s";
    if (IN(ft, FT_TQ1_0, FT_TQ2_0, FT_Q2_0)) return "q4_k";
    return NULL;
}

/* The mixes of one and two bits. */
static const char *tiny_rule(struct ht__mix_state *s, enum ht__mix_class c)
{
    uint32_t ft = s->mix->ftype;
    bool s_or_m = ft == FT_IQ2_S || ft == FT_IQ2_M;
    const char *better = s_or_m ? "iq3_s" : "q2_k";
    if (follows_v(c)) {
        s->i_v++;
        return s->g4 || s->model->n_experts >= 4 ? "q4_k" : better;
    }
    if (c == HT__MIX_K && s->e8) return "q4_k";
    if (c == HT__MIX_DOWN) return s->i_down++ < s->n_layers / 8 ? better : NULL;
    if (c != HT__MIX_O) return NULL;
    if (s->e8) return "q5_k";
    if (IN(ft, FT_IQ1_S, FT_IQ1_M)) return "iq2_xxs";
    return s_or_m ? "iq3_s" : NULL;
}

static const char *v_rule_of_mix(const struct ht__mix_state *s)
{
    switch (s->mix->ftype) {
    case FT_Q2_K: return s->g4 ? "q4_k" : "q3_k";
    case FT_Q2_K_S: return s->g4 ? "q4_k" : NULL;
    case FT_IQ3_XXS: return s->g4 ? "q4_k" : s->has_importance ? "iq3_xxs" : "iq3_s";
    case FT_IQ3_XS:
    case FT_IQ3_S: return s->g4 ? "q4_k" : NULL;
    case FT_IQ3_M: return "q4_k";
    case FT_Q3_K_M: return s->i_v < 2 ? "q5_k" : "q4_k";
    case FT_Q3_K_L: return "q5_k";
    case FT_IQ4_NL:
    case FT_IQ4_XS: return s->g4 ? "q5_k" : NULL;
    case FT_Q4_K_M:
    case FT_Q5_K_M: return more_bits(s->i_v, s->n_v) ? "q6_k" : NULL;
    case FT_Q4_K_S: return s->i_v < 4 ? "q5_k" : NULL;
    default: return NULL;
    }
}

/* Models of the 70B class share each K and V among 8 heads: V is small and worth a step more. */
static bool is_70b(const struct ht__model *m)
{
    if (m->n_layers == 80)
        return (strcmp(m->arch, "llama") == 0 && m->n_heads != m->n_kv_heads) || strcmp(m->arch, "qwen2") == 0 ||
               strcmp(m->arch, "deci") == 0 || strcmp(m->arch, "olmo") == 0;
    return m->n_layers == 68 && strcmp(m->arch, "jais2") == 0;
}

static const char *v_rule(struct ht__mix_state *s)
{
    const char *type = v_rule_of_mix(s);
    const char *now = type ? type : s->default_type->name;
    if (is_70b(s->model) && (strcmp(now, "q3_k") == 0 || strcmp(now, "q4_k") == 0)) type = "q5_k";
    if (s->e8) type = "q8_0";
    s->i_v++;
    return type;
}

static const char *k_or_q_rule(const struct ht__mix_state *s, enum ht__mix_class c)
{
    if (c == HT__MIX_K && s->e8) return "q8_0";
    if (s->mix->ftype == FT_IQ3_XS) return "iq3_xxs";
    if (s->mix->ftype == FT_IQ3_XXS) return "iq2_s";
    return NULL;
}

static const char *down_rule(struct ht__mix_state *s, const struct ht__weight *w)
{
    int n = s->n_layers, i = layer_of(s, w, s->i_down++);
    bool falcon = strcmp(s->model->arch, "falcon") == 0, im = s->has_importance;
    bool first = i < n / 8, more = more_bits(i, n);
    switch (s->mix->ftype) {
    case FT_Q2_K: return "q3_k";
    case FT_Q2_K_S: return first ? "q4_k" : NULL;
    case FT_IQ3_XXS: return im ? NULL : first ? "q4_k" : "q3_k";
    case FT_Q3_K_M: return i < n / 16 ? "q5_k" : falcon && !more ? "q3_k" : "q4_k";
    case FT_IQ3_M: return first || (s->e8 && more) ? "q4_k" : NULL;
    case FT_Q3_K_L: return falcon ? "q4_k" : "q5_k";
    case FT_Q4_K_M:
        if (falcon) return i < n / 16 ? "q6_k" : more ? "q5_k" : "q4_k";
        return more ? "q6_k" : NULL;
    case FT_IQ4_NL:
    case FT_IQ4_XS: return first && !im ? "q5_k" : NULL;
    case FT_Q5_K_M: return more ? "q6_k" : NULL;
    case FT_Q4_K_S: return first && !falcon ? "q5_k" : NULL;
    case FT_Q4_0: return first && im ? "q4_1" : NULL;
    case FT_Q5_0: return first && im ? "q5_1" : NULL;
    default: return NULL;
    }
}

static const char *attn_output_rule(const struct ht__mix_state *s)
{
    uint32_t ft = s->mix->ftype;
    if (strcmp(s->model->arch, "falcon") == 0) return ft == FT_Q3_K_L ? "q4_k" : NULL;
    if (s->e8)
        return IN(ft, FT_Q2_K, FT_IQ3_XS, FT_IQ3_XXS, FT_Q3_K_S, FT_Q3_K_M, FT_IQ4_NL, FT_Q4_K_S, FT_Q4_K_M, FT_IQ3_S,
                  FT_IQ3_M, FT_IQ4_XS)
                   ? "q5_k"
                   : NULL;
    switch (ft) {
    case FT_Q2_K: return "q3_k";
    case FT_IQ3_XXS: return "iq3_s";
    case FT_Q3_K_M: return "q4_k";
    case FT_Q3_K_L: return "q5_k";
    case FT_IQ3_M: return "q4_k";
    default: return NULL;
    }
}

static const char *gate_or_up_rule(struct ht__mix_state *s, const struct ht__weight *w, int *counter)
{
    int n = s->n_layers, i = layer_of(s, w, (*counter)++);
    return s->mix->ftype == FT_IQ3_XS && i >= n / 8 && i < 7 * n / 8 ? "iq3_xxs" : NULL;
}

static const char *rule(struct ht__mix_state *s, const struct ht__weight *w)
{
    enum ht__mix_class c = ht__mix_class_of(w);
    uint32_t ft = s->mix->ftype;
    if (c == HT__MIX_OUTPUT || (c == HT__MIX_EMBEDDING && !s->has_output)) return output_rule(s, w);
    if (ft == FT_MXFP4_MOE) return w->ne[2] > 1 ? "mxfp4" : "q8_0";
    if (c == HT__MIX_EMBEDDING) return embedding_rule(s);
    if (IN(ft, FT_IQ1_S, FT_IQ1_M, FT_IQ2_XXS, FT_IQ2_XS, FT_IQ2_S, FT_IQ2_M)) return tiny_rule(s, c);
    if (follows_v(c)) return v_rule(s);
    switch (c) {
    case HT__MIX_K:
    case HT__MIX_Q: return k_or_q_rule(s, c);
    case HT__MIX_DOWN: return down_rule(s, w);
    case HT__MIX_O: return attn_output_rule(s);
    case HT__MIX_GATE: return gate_or_up_rule(s, w, &s->i_gate);
    case HT__MIX_UP: return gate_or_up_rule(s, w, &s->i_up);
    default: return NULL;
    }
}

void ht__mix_begin(struct ht__mix_state *state, const struct ht__recipe *recipe, const struct ht__model *model)
{
    *state = (struct ht__mix_state){.mix = recipe->mix, .model = model};
    state->default_type = ht__codec_by_name(recipe->mix->default_type);
    state->output_type = recipe->output_type;
    state->has_importance = recipe->has_importance;
    state->n_layers = (int)model->n_layers;
    state->e8 = model->n_experts == 8;
    state->g4 = model->n_kv_heads > 0 && model->n_heads / model->n_kv_heads >= 4;
    for (size_t i = 0; i < model->n_weights; i++) {
        enum ht__mix_class c = ht__mix_class_of(&model->weights[i]);
        state->has_output |= c == HT__MIX_OUTPUT;
        state->n_v += follows_v(c);
    }
}

const struct ht__codec *ht__mix_rule(struct ht__mix_state *state, const struct ht__weight *weight)
{
    const char *name = rule(state, weight);
    return name ? ht__codec_by_name(name) : state->default_type;
}
