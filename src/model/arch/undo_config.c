/* config.json out of a GGUF file's metadata. */
#include "model/arch/undo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- keys ---- */

const struct ht__kv *ht__undo_kv(const struct ht__undo *u, const char *suffix)
{
    char key[256];
    snprintf(key, sizeof key, "%s.%s", u->gguf->arch, suffix);
    return ht__kv_get(&u->gguf->kvs, key);
}

static bool number_of(const struct ht__kv *kv, double *out)
{
    switch (kv->type) {
    case HT__KV_U8:
    case HT__KV_U16:
    case HT__KV_U32:
    case HT__KV_U64: *out = (double)kv->u; return true;
    case HT__KV_I8:
    case HT__KV_I16:
    case HT__KV_I32:
    case HT__KV_I64: *out = (double)kv->i; return true;
    case HT__KV_F32:
    case HT__KV_F64: *out = kv->f; return true;
    default: return false;
    }
}

double ht__undo_num(const struct ht__undo *u, const char *suffix, double otherwise)
{
    double v;
    const struct ht__kv *kv = ht__undo_kv(u, suffix);
    return kv && number_of(kv, &v) && isfinite(v) ? v : otherwise;
}

void ht__undo_put(struct ht__undo *u, const char *name, double value)
{
    char text[40];
    double v = value;
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        v = strtod(text, NULL);
        if ((float)v == (float)value) break;
    }
    ht__jw_double(u->config, name, v);
}

void ht__undo_put_int(struct ht__undo *u, const char *name, double value)
{
    ht__jw_int(u->config, name, value >= 0 && value <= UINT32_MAX ? (int64_t)value : 0);
}

/* An array is one value a layer: where all are alike, they are one. */
static bool all_alike(const struct ht__kv *kv, struct ht__kv *one)
{
    size_t size = kv->type == HT__KV_ARR ? ht__kv_type_size(kv->elem) : 0;
    const char *data = kv->data;
    if (size != 4 || kv->n == 0 || kv->elem == HT__KV_F32) return false;
    for (uint64_t i = 1; i < kv->n; i++)
        if (memcmp(data, data + i * size, size) != 0) return false;
    uint32_t v;
    memcpy(&v, data, sizeof v);
    *one = (struct ht__kv){.key = kv->key, .type = HT__KV_U32, .u = v};
    return true;
}

static enum ht_err put_kv(struct ht__undo *u, const char *name, const struct ht__kv *kv)
{
    struct ht__kv one;
    if (kv->type == HT__KV_ARR) {
        if (!all_alike(kv, &one))
            return ht__undo_refuse(u, kv->key, "it is one value for each layer, which its configuration cannot say");
        kv = &one;
    }
    switch (kv->type) {
    case HT__KV_F32:
    case HT__KV_F64: ht__undo_put(u, name, kv->f); break;
    case HT__KV_BOOL: ht__jw_bool(u->config, name, kv->u != 0); break;
    case HT__KV_STR: ht__jw_text(u->config, name, kv->str.text, kv->str.len); break;
    case HT__KV_I8:
    case HT__KV_I16:
    case HT__KV_I32:
    case HT__KV_I64: ht__jw_int(u->config, name, kv->i); break;
    default: ht__jw_uint(u->config, name, kv->u);
    }
    return HT_OK;
}

static const struct ht__key_rule common[] = {
    {"block_count", "num_hidden_layers"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"expert_used_count", "num_experts_per_tok"},
    {.key = NULL},
};

static const struct ht__key_rule *rule_of(const struct ht__key_rule *rules, const char *key)
{
    for (; rules && rules->key; rules++)
        if (strcmp(rules->key, key) == 0) return rules;
    return NULL;
}

static enum ht_err put_rules(struct ht__undo *u, const struct ht__key_rule *rules, const struct ht__key_rule *before)
{
    for (; rules && rules->key; rules++) {
        if (!rules->name || rule_of(before, rules->key)) continue;
        if (rules->key[0] == '?') {
            ht__jw_bool(u->config, rules->name, ht__undo_find(u, rules->key + 1) != NULL);
            continue;
        }
        const struct ht__kv *kv = ht__undo_kv(u, rules->key);
        if (kv) HT_TRY(put_kv(u, rules->name, kv));
    }
    return HT_OK;
}

/* ---- what all have ---- */

static enum ht_err put_fixed(struct ht__undo *u)
{
    const struct ht__arch_folder *f = u->b->arch->folder;
    const char *text = f->fixed_of ? f->fixed_of(u) : f->fixed;
    struct ht__jnode *root;
    HT_TRY(ht__json_parse(u->b->tmp, text, strlen(text), u->b->arch->name, &root, u->b->diag));
    ht__jw_members(u->config, root, NULL, 0);
    return HT_OK;
}

static void put_ids(struct ht__undo *u)
{
    static const char *const ids[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                         {"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                         {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        uint64_t id;
        if (ht__kv_get_u64(&u->gguf->kvs, ids[i][0], &id))
            ht__jw_uint(u->config, ids[i][1], id);
        else
            ht__jw_null(u->config, ids[i][1]); /* said, as classes have their own */
    }
}

/* The dtype of most of its weights, or, of blocks, that in which models are made. */
static const char *dtype_name(const struct ht__undo *u)
{
    for (size_t i = 0; i < u->gguf->n_weights; i++) {
        const struct ht__weight *w = &u->gguf->weights[i];
        const struct ht__role_info *role = ht__role_at(w->slot.role);
        if (!role->matrix || role->flags & HT__ROLE_NEVER || w->slot.bias || w->slot.layer < 0) continue;
        if (w->source == &ht__codec_f32) return "float32";
        if (w->source == &ht__codec_f16) return "float16";
        if (w->source == &ht__codec_bf16) return "bfloat16";
    }
    return "bfloat16";
}

static enum ht_err put_sizes(struct ht__undo *u)
{
    const struct ht__weight *embedding = ht__model_find(u->gguf, HT__ROLE_EMBEDDING);
    if (!embedding) return ht__undo_refuse(u, "token_embd.weight", "the file lacks it");
    ht__jw_int(u->config, "vocab_size", embedding->ne[1]);
    ht__jw_bool(u->config, "tie_word_embeddings", !ht__model_find(u->gguf, HT__ROLE_OUTPUT));
    return HT_OK;
}

enum ht_err ht__undo_config(struct ht__undo *u)
{
    const struct ht__arch_folder *f = u->b->arch->folder;
    HT_TRY(put_fixed(u));
    HT_TRY(put_sizes(u));
    HT_TRY(put_rules(u, f->keys, NULL));
    HT_TRY(put_rules(u, common, f->keys));
    if (!f->own_rope) HT_TRY(ht__undo_rope(u));
    if (f->more) HT_TRY(f->more(u));
    put_ids(u);
    ht__jw_str(u->config, "torch_dtype", dtype_name(u));
    return HT_OK;
}

/* ---- rotation ---- */

static void put_num(struct ht__undo *u, const char *suffix, const char *name)
{
    const struct ht__kv *kv = ht__undo_kv(u, suffix);
    double v;
    if (!kv || !number_of(kv, &v) || !isfinite(v)) return;
    if (kv->type == HT__KV_F32 || kv->type == HT__KV_F64)
        ht__undo_put(u, name, v);
    else
        ht__undo_put_int(u, name, v);
}

static void put_yarn(struct ht__undo *u)
{
    static const char *const names[][2] = {{"rope.scaling.original_context_length", "original_max_position_embeddings"},
                                           {"rope.scaling.yarn_ext_factor", "extrapolation_factor"},
                                           {"rope.scaling.yarn_attn_factor", "attention_factor"},
                                           {"rope.scaling.yarn_beta_fast", "beta_fast"},
                                           {"rope.scaling.yarn_beta_slow", "beta_slow"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        put_num(u, names[i][0], names[i][1]);
    double log_multiplier = ht__undo_num(u, "rope.scaling.yarn_log_multiplier", 0);
    if (ht__undo_kv(u, "rope.scaling.yarn_log_multiplier")) {
        ht__undo_put(u, "mscale", 10 * log_multiplier);
        ht__undo_put(u, "mscale_all_dim", 10 * log_multiplier);
    }
    if (u->b->arch->compute && u->b->arch->compute->fine_ramp) ht__jw_bool(u->config, "truncate", false);
}

/* Llama 3.1's factors: one of their numbers is free, and models take 1 for it. */
static enum ht_err put_llama3(struct ht__undo *u, const struct ht__weight *w, double theta)
{
    enum { MOST = 4096, LEAST_CONTEXT = 16, MOST_CONTEXT = 1 << 20 };
    float *file;
    HT_TRY(ht__undo_floats(u, w, MOST, &file));
    int64_t n = w->rows->n_rows * w->rows->row_len;
    float factor = file[0];
    for (int64_t i = 0; i < n; i++)
        factor = file[i] > factor ? file[i] : factor;
    struct ht__llama3_rope rope = {.factor = factor, .low = 1, .high = 4, .theta = (float)theta};
    float *ours = ht__arena_array(u->b->tmp, (size_t)n, sizeof *ours);
    if (!ours) return ht__fail_memory(u->b->diag, w->name);
    for (int64_t original = LEAST_CONTEXT; original <= MOST_CONTEXT; original *= 2) {
        bool same = true;
        rope.original = (float)original;
        ht__llama3_factors(&rope, n, ours);
        for (int64_t i = 0; i < n && same; i++)
            same = fabsf(ours[i] - file[i]) <= 1e-5f * fabsf(file[i]);
        if (!same) continue;
        ht__jw_object(u->config, "rope_scaling");
        ht__jw_str(u->config, "rope_type", "llama3");
        ht__undo_put(u, "factor", factor);
        ht__undo_put(u, "low_freq_factor", 1);
        ht__undo_put(u, "high_freq_factor", 4);
        ht__jw_int(u->config, "original_max_position_embeddings", original);
        ht__jw_end(u->config);
        return HT_OK;
    }
    return ht__undo_refuse(u, w->name,
                           "it scales the rotation by factors that are not those of Llama 3.1 for any context");
}

enum ht_err ht__undo_rope(struct ht__undo *u)
{
    enum { DEFAULT_THETA = 10000 }; /* of runtimes */
    struct ht__str type;
    const struct ht__kv *kv = ht__undo_kv(u, "rope.scaling.type");
    const struct ht__weight *factors = ht__undo_find(u, "rope_freqs.weight");
    double theta = ht__undo_num(u, "rope.freq_base", DEFAULT_THETA);
    ht__undo_put(u, "rope_theta", theta);
    if (factors) return put_llama3(u, factors, theta);
    if (!kv || kv->type != HT__KV_STR) return HT_OK;
    type = kv->str;
    bool yarn = type.len == 4 && memcmp(type.text, "yarn", 4) == 0;
    bool linear = type.len == 6 && memcmp(type.text, "linear", 6) == 0;
    if (!yarn && !linear) return HT_OK; /* longrope is phi3's; others are found when the keys are compared */
    ht__jw_object(u->config, "rope_scaling");
    ht__jw_str(u->config, "rope_type", yarn ? "yarn" : "linear");
    put_num(u, "rope.scaling.factor", "factor");
    if (yarn) put_yarn(u);
    ht__jw_end(u->config);
    return HT_OK;
}

void ht__undo_dense_layers(struct ht__undo *u)
{
    int64_t layers = (int64_t)u->gguf->n_layers;
    ht__jw_array(u->config, "mlp_only_layers");
    for (int64_t i = 0; i < layers && i <= 512; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%lld.ffn_gate_inp.weight", (long long)i);
        if (!ht__undo_find(u, name)) ht__jw_int(u->config, NULL, i);
    }
    ht__jw_end(u->config);
}
