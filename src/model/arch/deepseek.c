/*
 * DeepSeek V2 and V3: multi-head latent attention. The factor that expands keys and values from the
 * latent is split in two, keys transposed, so that the runtime can absorb it into the query.
 */
#include "model/arch/std.h"
#include "model/arch/undo.h"

#include <string.h>

struct sizes {
    int64_t nope, rope, value, rank;
};

static enum ht_err read_sizes(struct ht__arch_build *b, struct sizes *s)
{
    HT_TRY(ht__arch_int(b, "qk_nope_head_dim", 128, &s->nope));
    HT_TRY(ht__arch_int(b, "qk_rope_head_dim", 64, &s->rope));
    HT_TRY(ht__arch_int(b, "v_head_dim", 128, &s->value));
    return ht__arch_int(b, "kv_lora_rank", 512, &s->rank);
}

/* Rows [heads, nope + value] of the latent's rank: keys to [heads, rank, nope], values as they are. */
static enum ht_err split_kv_b(struct ht__arch_build *b, const struct ht__found *f)
{
    struct sizes s;
    HT_TRY(read_sizes(b, &s));
    int64_t h = b->n_heads, each = s.nope + s.value;
    const struct ht__rows **keys = ht__arena_array(b->tmp, (size_t)h, sizeof *keys);
    const struct ht__rows **values = ht__arena_array(b->tmp, (size_t)h, sizeof *values);
    if (!keys || !values) return ht__fail_memory(b->diag, f->name);
    for (int64_t i = 0; i < h; i++) {
        keys[i] = ht__rows_slice(b->arena, f->rows, i * each, 1, s.nope);
        values[i] = ht__rows_slice(b->arena, f->rows, i * each + s.nope, 1, s.value);
    }
    const int64_t key_ne[3] = {s.nope, s.rank, h}, value_ne[3] = {s.rank, s.value, h};
    const struct ht__rows *k = ht__rows_concat(b->arena, keys, h);
    HT_TRY(ht__arch_add(b, ht__arch_name(b, f->layer, "attn_k_b.weight"), ht__rows_transpose(b->arena, k, s.nope),
                        f->tensor->dtype, 3, key_ne));
    return ht__arch_add(b, ht__arch_name(b, f->layer, "attn_v_b.weight"), ht__rows_concat(b->arena, values, h),
                        f->tensor->dtype, 3, value_ne);
}

/* Of each head the rows of the keys, turned back, then those of the values. */
static enum ht_err join_kv_b(struct ht__undo *u, const struct ht__weight *k, const struct ht__rows **out)
{
    struct ht__arch_build *b = u->b;
    struct sizes s;
    const struct ht__weight *v;
    HT_TRY(read_sizes(b, &s));
    HT_TRY(ht__undo_take(u, "attn_v_b.weight", &v));
    int64_t h = b->n_heads;
    bool fits = k->ne[0] == s.nope && k->ne[1] == s.rank && k->ne[2] == h && v->ne[0] == s.rank &&
                v->ne[1] == s.value && v->ne[2] == h && k->ne[3] == 1 && v->ne[3] == 1;
    if (!fits) return ht__undo_refuse(u, k->name, "it and attn_v_b have not the shapes that the metadata imply");
    const struct ht__rows **parts = ht__arena_array(b->tmp, (size_t)(2 * h), sizeof *parts);
    const struct ht__rows *keys = ht__rows_transpose(b->arena, k->rows, s.rank);
    for (int64_t i = 0; parts && i < h; i++) {
        parts[2 * i] = ht__rows_slice(b->arena, keys, i * s.nope, 1, s.nope);
        parts[2 * i + 1] = ht__rows_slice(b->arena, v->rows, i * s.value, 1, s.value);
    }
    *out = parts ? ht__rows_concat(b->arena, parts, 2 * h) : NULL;
    return *out ? HT_OK : ht__fail_memory(b->diag, k->name);
}

static const struct ht__name_rule rules[] = {
    STD_EMBEDDING,
    STD_OUTPUT_UNTIED,
    {"!model.layers.#.self_attn.q_proj.*", "blk.#.attn_q.*", NULL, .shape = "Hn+Hr,D", .when = "!q_lora_rank"},
    {"!model.layers.#.self_attn.q_a_proj.*", "blk.#.attn_q_a.*", NULL, .shape = "q,D", .when = "q_lora_rank",
     .bias = "q_lora_rank attention_bias"},
    {"!model.layers.#.self_attn.q_b_proj.*", "blk.#.attn_q_b.*", NULL, .shape = "Hn+Hr,q", .when = "q_lora_rank"},
    {"!model.layers.#.self_attn.q_a_layernorm.*", "blk.#.attn_q_a_norm.*", NULL, .shape = "q", .when = "q_lora_rank"},
    {"!model.layers.#.self_attn.kv_a_proj_with_mqa.*", "blk.#.attn_kv_a_mqa.*", NULL, .shape = "k+r,D",
     .bias = "attention_bias"},
    {"!model.layers.#.self_attn.kv_a_layernorm.*", "blk.#.attn_kv_a_norm.*", NULL, .shape = "k"},
    {"!model.layers.#.self_attn.kv_b_proj.weight", "blk.#.attn_k_b.weight", split_kv_b, .shape = "Hn+Hv,k",
     .native = "blk.#.attn_kv_b.weight", .undo = join_kv_b},
    {"!model.layers.#.self_attn.o_proj.*", "blk.#.attn_output.*", NULL, .shape = "D,Hv", .bias = "attention_bias"},
    STD_NORMS,
    STD_FFN,
    STD_EXPERTS,
    {"!model.layers.#.mlp.gate.e_score_correction_bias", "blk.#.exp_probs_b.bias", NULL, .shape = "E",
     .when = "experts model_type=deepseek_v3"},
    STD_SHARED_EXPERTS("shared_experts", "Nf,D", "D,Nf", "n_shared_experts"),
    /* the layers past the last that predict several tokens */
    {.from = "model.layers.#.eh_proj.*"},
    {.from = "model.layers.#.enorm.*"},
    {.from = "model.layers.#.hnorm.*"},
    {.from = "model.layers.#.embed_tokens.*"},
    {.from = "model.layers.#.shared_head.norm.*"},
    {.from = "model.layers.#.shared_head.head.*"},
    STD_END,
};

static void expert_keys(struct ht__arch_build *b, int64_t expert_ff, int64_t shared)
{
    bool v3 = strstr(ht__jstr(b->config, "model_type", ""), "v3") != NULL;
    ht__arch_u32(b, "expert_feed_forward_length", expert_ff);
    ht__arch_u32(b, "expert_shared_count", shared);
    ht__arch_f32(b, "expert_weights_scale", ht__arch_num(b, "routed_scaling_factor", v3 ? 2.5 : 1));
    if (ht__jbool(b->config, "norm_topk_prob", v3)) ht__arch_bool(b, "expert_weights_norm", true);
}

static enum ht_err keys(struct ht__arch_build *b)
{
    struct sizes s;
    int64_t q_rank, dense, expert_ff, shared;
    HT_TRY(read_sizes(b, &s));
    HT_TRY(ht__arch_int(b, "q_lora_rank", 0, &q_rank));
    HT_TRY(ht__arch_int(b, "first_k_dense_replace", 0, &dense));
    HT_TRY(ht__arch_int(b, "moe_intermediate_size", b->n_ff, &expert_ff));
    HT_TRY(ht__arch_int(b, "n_shared_experts", 0, &shared));
    b->n_kv_heads = 1; /* keys and values are one latent for all heads */
    HT_TRY(ht__arch_common(b));
    ht__arch_u32(b, "leading_dense_block_count", dense);
    ht__arch_u32(b, "vocab_size", b->vocab_size);
    if (q_rank) ht__arch_u32(b, "attention.q_lora_rank", q_rank);
    ht__arch_u32(b, "attention.kv_lora_rank", s.rank);
    ht__arch_u32(b, "attention.key_length", s.rank + s.rope);
    ht__arch_u32(b, "attention.value_length", s.rank);
    ht__arch_u32(b, "attention.key_length_mla", s.nope + s.rope);
    ht__arch_u32(b, "attention.value_length_mla", s.value);
    expert_keys(b, expert_ff, shared);
    ht__arch_u32(b, "rope.dimension_count", s.rope);
    const char *type;
    const struct ht__jnode *scaling = ht__arch_rope_scaling(b, &type);
    if (scaling && strcmp(type, "yarn") == 0) {
        double all = ht__jnum(scaling, "mscale_all_dim", 0), mscale = ht__jnum(scaling, "mscale", 0);
        if (mscale != all || mscale == 0)
            ht__log_printf(b->log, HT__LOG_WARNING,
                           "YaRN's mscale is %g and mscale_all_dim %g; runtimes of GGUF files take them for equal",
                           mscale, all);
    }
    /* 0.1 times the configuration's number, which is what llama.cpp expects of this architecture alone */
    if (ht__jget(scaling, "mscale_all_dim"))
        ht__arch_f32(b, "rope.scaling.yarn_log_multiplier", 0.1 * ht__jnum(scaling, "mscale_all_dim", 0));
    return HT_OK;
}

/* ---- back to a folder ---- */

/* V3 shifts the router's choice. */
static bool is_v3(const struct ht__undo *u)
{
    for (size_t i = 0; i < u->gguf->n_weights; i++)
        if (u->gguf->weights[i].slot.role == HT__ROLE_ROUTER_SHIFT) return true;
    return false;
}

static const char *folder_class(const struct ht__undo *u)
{
    if (is_v3(u))
        return HT__JSON({
            "architectures" : ["DeepseekV3ForCausalLM"],
            "model_type" : "deepseek_v3",
            "hidden_act" : "silu",
            "scoring_func" : "sigmoid",
            "topk_method" : "noaux_tc",
            "moe_layer_freq" : 1,
            "num_nextn_predict_layers" : 0
        });
    return HT__JSON({
        "architectures" : ["DeepseekV2ForCausalLM"],
        "model_type" : "deepseek_v2",
        "hidden_act" : "silu",
        "scoring_func" : "softmax",
        "moe_layer_freq" : 1
    });
}

static const struct ht__key_rule folder_keys[] = {
    {"attention.head_count_kv", NULL}, /* 1: of the latent */
    {"attention.key_length", NULL},
    {"attention.kv_lora_rank", "kv_lora_rank"},
    {"attention.value_length_mla", "v_head_dim"},
    {"rope.dimension_count", "qk_rope_head_dim"},
    {"leading_dense_block_count", "first_k_dense_replace"},
    {"expert_count", "n_routed_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"expert_group_count", "n_group"},
    {"expert_group_used_count", "topk_group"},
    {"?blk.0.attn_output.bias", "attention_bias"},
    {.key = NULL},
};

static enum ht_err folder_more(struct ht__undo *u)
{
    double head = ht__undo_num(u, "attention.key_length_mla", 0), rope = ht__undo_num(u, "rope.dimension_count", 0);
    const struct ht__kv *normalized = ht__undo_kv(u, "expert_weights_norm");
    double groups = ht__undo_num(u, "expert_group_count", 1), rank = ht__undo_num(u, "attention.q_lora_rank", 0);
    if (!(head > rope))
        return ht__undo_refuse(u, "deepseek2.attention.key_length_mla",
                               "it is missing, as in files of older converters, or no wider than what is rotated");
    ht__undo_put_int(u, "qk_nope_head_dim", head - rope);
    ht__undo_put_int(u, "num_key_value_heads", ht__undo_num(u, "attention.head_count", 0));
    if (rank >= 1)
        ht__undo_put_int(u, "q_lora_rank", rank);
    else
        ht__jw_null(u->config, "q_lora_rank");
    ht__jw_bool(u->config, "norm_topk_prob", normalized && normalized->type == HT__KV_BOOL && normalized->u != 0);
    if (!is_v3(u)) ht__jw_str(u->config, "topk_method", groups > 1 ? "group_limited_greedy" : "greedy");
    return HT_OK;
}

const struct ht__arch ht__arch_deepseek2 = {
    .name = "deepseek2",
    .compute = &(const struct ht__arch_compute){.act = HT__ACT_SILU},
    .classes = "DeepseekV2ForCausalLM DeepseekV3ForCausalLM KimiVLForConditionalGeneration",
    .rules = rules,
    .metadata = keys,
    .folder = &(const struct ht__arch_folder){.fixed_of = folder_class, .keys = folder_keys, .more = folder_more},
    .drops_extra_layers = true,
    .defaults = HT__JSON({
        "rms_norm_eps" : 1e-6,
        "q_lora_rank" : 1536,
        "DeepseekV2ForCausalLM" : {"n_routed_experts" : 64, "n_shared_experts" : 2, "moe_intermediate_size" : 1407},
        "DeepseekV3ForCausalLM" : {
            "n_routed_experts" : 256,
            "num_experts_per_tok" : 8,
            "n_shared_experts" : 1,
            "moe_intermediate_size" : 2048,
            "first_k_dense_replace" : 3,
            "n_group" : 8,
            "topk_group" : 4,
            "max_position_embeddings" : 4096
        }
    }),
};
