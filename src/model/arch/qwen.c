/* Qwen2, Qwen3 and their mixtures of experts: half-split rotation, so Q and K stay as they are. */
#include "model/arch/std.h"
#include "model/arch/undo.h"

static const struct ht__name_rule qwen2_rules[] = {
    STD_EMBEDDING, STD_OUTPUT, STD_QKV("always"), STD_O(NULL), STD_NORMS, STD_FFN, STD_END,
};

static const struct ht__name_rule qwen2_moe_rules[] = {
    STD_EMBEDDING,
    STD_OUTPUT,
    STD_QKV("qkv_bias"),
    STD_O(NULL),
    STD_NORMS,
    STD_FFN,
    STD_EXPERTS,
    STD_SHARED_EXPERTS("shared_expert", "s,D", "D,s", "shared_expert_intermediate_size"),
    {"!model.layers.#.mlp.shared_expert_gate.*", "blk.#.ffn_gate_inp_shexp.*", NULL, .shape = "1,D",
     .when = "experts shared_expert_intermediate_size"},
    STD_END,
};

#define QWEN3_ATTENTION STD_QKV("attention_bias"), STD_QK_NORM("h", "h"), STD_O("attention_bias")

static const struct ht__name_rule qwen3_rules[] = {
    STD_EMBEDDING, STD_OUTPUT, QWEN3_ATTENTION, STD_NORMS, STD_FFN, STD_END,
};

static const struct ht__name_rule qwen3_moe_rules[] = {
    STD_EMBEDDING, STD_OUTPUT, QWEN3_ATTENTION, STD_NORMS, STD_FFN, STD_EXPERTS, STD_END,
};

static enum ht_err dense(struct ht__arch_build *b)
{
    return ht__arch_common(b);
}

static enum ht_err experts(struct ht__arch_build *b)
{
    int64_t expert_ff, shared_ff;
    HT_TRY(ht__arch_int(b, "moe_intermediate_size", b->n_ff, &expert_ff));
    HT_TRY(ht__arch_int(b, "shared_expert_intermediate_size", 0, &shared_ff));
    HT_TRY(ht__arch_common(b));
    ht__arch_u32(b, "expert_feed_forward_length", expert_ff);
    if (shared_ff) ht__arch_u32(b, "expert_shared_feed_forward_length", shared_ff);
    return HT_OK;
}

/* Heads are as wide whatever the hidden size: the class has a width. */
static enum ht_err qwen3_keys(struct ht__arch_build *b)
{
    HT_TRY(dense(b));
    ht__arch_u32(b, "attention.key_length", b->head_dim);
    ht__arch_u32(b, "attention.value_length", b->head_dim);
    return HT_OK;
}

static enum ht_err qwen3_moe_keys(struct ht__arch_build *b)
{
    HT_TRY(experts(b));
    ht__arch_u32(b, "attention.key_length", b->head_dim);
    ht__arch_u32(b, "attention.value_length", b->head_dim);
    return HT_OK;
}

static const struct ht__key_rule qwen3_folder_keys[] = {{"?blk.0.attn_q.bias", "attention_bias"}, {.key = NULL}};

static const struct ht__key_rule moe_folder_keys[] = {
    {"expert_count", "num_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    {"?blk.0.attn_q.bias", "qkv_bias"}, /* as Qwen2Moe calls it */
    {"?blk.0.attn_output.bias", "attention_bias"},
    {.key = NULL},
};

static enum ht_err moe_folder(struct ht__undo *u)
{
    ht__undo_dense_layers(u);
    return HT_OK;
}

const struct ht__arch ht__arch_qwen2 = {
    .name = "qwen2",
    .compute = &(const struct ht__arch_compute){.rope = HT__ROPE_HALVES},
    .classes = "Qwen2ForCausalLM Qwen2Model",
    .rules = qwen2_rules,
    .metadata = dense,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["Qwen2ForCausalLM"],
                                                  "model_type" : "qwen2",
                                                  "hidden_act" : "silu",
                                                  "use_sliding_window" : false
                                              })},
    .defaults = HT__JSON({"num_key_value_heads" : 32, "max_position_embeddings" : 32768, "rms_norm_eps" : 1e-6})};
const struct ht__arch ht__arch_qwen2_moe = {
    .name = "qwen2moe",
    .compute = &(const struct ht__arch_compute){.rope = HT__ROPE_HALVES},
    .classes = "Qwen2MoeForCausalLM",
    .rules = qwen2_moe_rules,
    .metadata = experts,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["Qwen2MoeForCausalLM"],
                                                  "model_type" : "qwen2_moe",
                                                  "hidden_act" : "silu",
                                                  "use_sliding_window" : false,
                                                  "decoder_sparse_step" : 1,
                                                  "norm_topk_prob" : false
                                              }),
                                              .keys = moe_folder_keys,
                                              .more = moe_folder},
    .defaults = HT__JSON({
        "num_key_value_heads" : 16,
        "max_position_embeddings" : 32768,
        "rms_norm_eps" : 1e-6,
        "num_experts" : 60,
        "num_experts_per_tok" : 4,
        "moe_intermediate_size" : 1408,
        "shared_expert_intermediate_size" : 5632,
        "qkv_bias" : true
    })};
const struct ht__arch ht__arch_qwen3 = {
    .name = "qwen3",
    .compute = &(const struct ht__arch_compute){.rope = HT__ROPE_HALVES},
    .classes = "Qwen3ForCausalLM Qwen3Model",
    .rules = qwen3_rules,
    .metadata = qwen3_keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["Qwen3ForCausalLM"],
                                                  "model_type" : "qwen3",
                                                  "hidden_act" : "silu",
                                                  "use_sliding_window" : false
                                              }),
                                              .keys = qwen3_folder_keys},
    /* heads are as wide whatever the hidden size */
    .defaults = HT__JSON(
        {"num_key_value_heads" : 32, "head_dim" : 128, "max_position_embeddings" : 32768, "rms_norm_eps" : 1e-6})};
const struct ht__arch ht__arch_qwen3_moe = {
    .name = "qwen3moe",
    .compute = &(const struct ht__arch_compute){.rope = HT__ROPE_HALVES, .normalized_experts = true},
    .classes = "Qwen3MoeForCausalLM",
    .rules = qwen3_moe_rules,
    .metadata = qwen3_moe_keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["Qwen3MoeForCausalLM"],
                                                  "model_type" : "qwen3_moe",
                                                  "hidden_act" : "silu",
                                                  "use_sliding_window" : false,
                                                  "decoder_sparse_step" : 1,
                                                  "norm_topk_prob" : true
                                              }),
                                              .keys = moe_folder_keys,
                                              .more = moe_folder},
    .defaults = HT__JSON({
        "num_key_value_heads" : 4,
        "max_position_embeddings" : 32768,
        "rms_norm_eps" : 1e-6,
        "num_experts" : 128,
        "num_experts_per_tok" : 8,
        "moe_intermediate_size" : 768
    })};
