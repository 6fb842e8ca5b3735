/* StableLM, OLMo 2, SmolLM3 and Granite: Llama's names with one or two turns of their own. */
#include "model/arch/std.h"
#include "model/arch/undo.h"

#include <math.h>
#include <string.h>

/* ---- StableLM: partial rotation, per-head norms one by one ---- */

/* The norm of one head: gathered into [heads, head] by the expert's stack. */
static enum ht_err head_norm(struct ht__arch_build *b, const struct ht__found *f)
{
    return ht__arch_stack(b, f, strstr(f->name, "attn_q_norm") ? b->n_heads : b->n_kv_heads, 2);
}

static const struct ht__name_rule stablelm_rules[] = {
    {"!model.embed_tokens.*", "token_embd.*", NULL, .shape = "V,D"},
    {"!model.norm.*", "output_norm.*", NULL, .shape = "D", .bias = "always"},
    STD_OUTPUT,
    STD_QKV("use_qkv_bias"),
    STD_O(NULL),
    {"!model.layers.#.input_layernorm.*", "blk.#.attn_norm.*", NULL, .shape = "D", .bias = "always"},
    {"!model.layers.#.post_attention_layernorm.*", "blk.#.ffn_norm.*", NULL, .shape = "D",
     .when = "!use_parallel_residual", .bias = "!use_parallel_residual"},
    STD_FFN,
    {"!model.layers.#.self_attn.q_layernorm.norms.#.weight", "blk.#.attn_q_norm.weight", head_norm, .shape = "h",
     .when = "qk_layernorm", .undo = ht__undo_part},
    {"!model.layers.#.self_attn.k_layernorm.norms.#.weight", "blk.#.attn_k_norm.weight", head_norm, .shape = "h",
     .when = "qk_layernorm", .undo = ht__undo_part},
    STD_END,
};

static enum ht_err stablelm_keys(struct ht__arch_build *b)
{
    const struct ht__jnode *p = ht__jget(b->config, "rope_parameters");
    double share = ht__arch_num(b, "partial_rotary_factor rope_pct", ht__jnum(p, "partial_rotary_factor", 0.25));
    int64_t rotated;
    HT_TRY(ht__arch_rotated(b, share, b->n_embd / b->n_heads, &rotated));
    ht__arch_sizes(b, "CEBF");
    ht__arch_u32(b, "rope.dimension_count", rotated);
    ht__arch_sizes(b, "HK");
    ht__arch_bool(b, "use_parallel_residual", ht__jbool(b->config, "use_parallel_residual", false));
    ht__arch_f32(b, "attention.layer_norm_epsilon", ht__arch_num(b, "layer_norm_eps norm_eps", 1e-5));
    ht__arch_file_type(b);
    if (b->rope_theta != 10000) ht__arch_f32(b, "rope.freq_base", b->rope_theta); /* what runtimes take without it */
    return HT_OK;
}

/* ---- OLMo 2 and 3: norms after, not before ---- */

static const struct ht__name_rule olmo2_rules[] = {
    STD_EMBEDDING,
    STD_OUTPUT,
    STD_QKV("attention_bias"),
    STD_QK_NORM("Hh", "Kh"),
    STD_O("attention_bias"),
    {"!model.layers.#.post_attention_layernorm.*", "blk.#.post_attention_norm.*", NULL, .shape = "D"},
    {"!model.layers.#.post_feedforward_layernorm.*", "blk.#.post_ffw_norm.*", NULL, .shape = "D"},
    STD_FFN,
    STD_END,
};

/* OLMo 3: three sliding layers, then one over the whole context, unless layer_types says otherwise. */
static enum ht_err sliding_layers(struct ht__arch_build *b)
{
    const struct ht__jnode *types = ht__jget(b->config, "layer_types");
    int64_t window;
    HT_TRY(ht__arch_int(b, "sliding_window", 4096, &window));
    uint8_t *pattern = ht__arena_array(b->tmp, (size_t)b->n_layers, 1);
    const char *key = ht__arena_printf(b->tmp, "%s.attention.sliding_window_pattern", b->arch->name);
    if (!pattern || !key) return ht__fail_memory(b->diag, "olmo3");
    for (int64_t i = 0; i < b->n_layers; i++) {
        bool listed = types && types->type == HT__JSON_ARRAY && (int64_t)types->n == b->n_layers &&
                      types->children[i].type == HT__JSON_STRING;
        pattern[i] = listed ? strcmp(types->children[i].text, "sliding_attention") == 0 : (i + 1) % 4 != 0;
    }
    ht__arch_u32(b, "attention.sliding_window", window);
    ht__kv_array(&b->model->kvs, key, HT__KV_BOOL, pattern, (uint64_t)b->n_layers);
    return HT_OK;
}

static enum ht_err olmo2_keys(struct ht__arch_build *b)
{
    HT_TRY(ht__arch_common(b));
    return ht__arch_get(b, "sliding_window") ? sliding_layers(b) : HT_OK;
}

/* ---- SmolLM3: Llama; every fourth layer without rotation is the runtime's affair ---- */

static const struct ht__name_rule llama_rules[] = {
    STD_EMBEDDING, STD_OUTPUT, STD_QKV_PERMUTED, STD_O("attention_bias"), STD_NORMS, STD_FFN, STD_END,
};

static enum ht_err smollm3_keys(struct ht__arch_build *b)
{
    HT_TRY(ht__arch_common(b));
    ht__arch_u32(b, "vocab_size", b->vocab_size);
    ht__arch_u32(b, "rope.dimension_count", b->head_dim);
    return HT_OK;
}

/* ---- Granite: Llama with four multipliers; experts fused gate-up ---- */

/* Without experts the shared layer is the feed-forward itself. */
static enum ht_err shared_input(struct ht__arch_build *b, const struct ht__found *f)
{
    bool dense = b->n_experts == 0;
    int64_t half = f->tensor->shape[0] / 2;
    const int64_t ne[2] = {f->tensor->shape[1], half};
    const char *gate = dense ? "ffn_gate.weight" : "ffn_gate_shexp.weight";
    const char *up = dense ? "ffn_up.weight" : "ffn_up_shexp.weight";
    HT_TRY(ht__arch_add(b, ht__arch_name(b, f->layer, gate), ht__rows_slice(b->arena, f->rows, 0, 1, half),
                        f->tensor->dtype, 2, ne));
    return ht__arch_add(b, ht__arch_name(b, f->layer, up), ht__rows_slice(b->arena, f->rows, half, 1, half),
                        f->tensor->dtype, 2, ne);
}

static enum ht_err shared_output(struct ht__arch_build *b, const struct ht__found *f)
{
    struct ht__found named = *f;
    named.name = ht__arch_name(b, f->layer, b->n_experts ? "ffn_down_shexp.weight" : "ffn_down.weight");
    return ht__arch_add_found(b, &named, f->rows);
}

static enum ht_err shared_input_back(struct ht__undo *u, const struct ht__weight *gate, const struct ht__rows **out)
{
    const struct ht__weight *up;
    HT_TRY(ht__undo_take(u, "ffn_up_shexp.weight", &up));
    if (memcmp(gate->ne, up->ne, sizeof up->ne) != 0)
        return ht__undo_refuse(u, up->name, "it has not the shape of ffn_gate_shexp");
    const struct ht__rows *const parts[2] = {gate->rows, up->rows};
    *out = ht__rows_concat(u->b->arena, parts, 2);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, gate->name);
}

#define GRANITE_EXPERTS(from, to, how, dims)                                                                           \
    {                                                                                                                  \
        "!model.layers.#.block_sparse_moe." from, "blk.#." to, how, .shape = dims, .when = "experts"                   \
    }

static const struct ht__name_rule granite_rules[] = {
    STD_EMBEDDING, STD_OUTPUT_UNTIED, STD_QKV_PERMUTED, STD_O("attention_bias"), STD_NORMS, STD_FFN, STD_END,
};

static const struct ht__name_rule granite_moe_rules[] = {
    STD_EMBEDDING,
    STD_OUTPUT_UNTIED,
    STD_QKV_PERMUTED,
    STD_O("attention_bias"),
    STD_NORMS,
    GRANITE_EXPERTS("router.layer.*", "ffn_gate_inp.*", NULL, "E,D"),
    GRANITE_EXPERTS("input_linear.weight", "ffn_gate_exps.weight", ht__arch_fused_gate_up, "E,2F,D"),
    GRANITE_EXPERTS("output_linear.weight", "ffn_down_exps.weight", ht__arch_experts, "E,D,F"),
    {"!model.layers.#.shared_mlp.input_linear.weight", "blk.#.ffn_gate_shexp.weight", shared_input, .shape = "2s,D",
     .when = "shared_intermediate_size", .undo = shared_input_back},
    {"!model.layers.#.shared_mlp.output_linear.weight", "blk.#.ffn_down_shexp.weight", shared_output, .shape = "D,s",
     .when = "shared_intermediate_size", .undo = ht__undo_same},
    STD_END,
};

static enum ht_err granite_keys(struct ht__arch_build *b)
{
    static const char *const scales[][2] = {{"attention_multiplier", "attention.scale"},
                                            {"embedding_multiplier", "embedding_scale"},
                                            {"residual_multiplier", "residual_scale"},
                                            {"logits_scaling", "logit_scale"}};
    int64_t shared;
    HT_TRY(ht__arch_common(b));
    HT_TRY(ht__arch_int(b, "shared_intermediate_size", 0, &shared));
    ht__arch_u32(b, "vocab_size", b->vocab_size);
    ht__arch_u32(b, "rope.dimension_count", b->head_dim);
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++)
        ht__arch_f32(b, scales[i][1], ht__arch_num(b, scales[i][0], 1));
    if (b->n_experts && shared) ht__arch_u32(b, "expert_shared_feed_forward_length", shared);
    return HT_OK;
}

/* ---- back to folders ---- */

static const struct ht__key_rule stablelm_folder_keys[] = {
    {"use_parallel_residual", "use_parallel_residual"},
    {"?blk.0.attn_q.bias", "use_qkv_bias"},
    {"?blk.0.attn_q_norm.weight", "qk_layernorm"},
    {.key = NULL},
};

static enum ht_err stablelm_folder(struct ht__undo *u)
{
    double heads = ht__undo_num(u, "attention.head_count", 0), width = ht__undo_num(u, "embedding_length", 0);
    if (!(heads >= 1) || !(width >= heads))
        return ht__undo_refuse(u, "stablelm.attention.head_count", "it has no heads");
    double head = floor(width / heads), rotated = ht__undo_num(u, "rope.dimension_count", 0), share = rotated / head;
    ht__jw_double(u->config, "partial_rotary_factor", share * head < rotated ? nextafter(share, 2) : share);
    return HT_OK;
}

static const char *olmo_class(const struct ht__undo *u)
{
    if (ht__undo_kv(u, "attention.sliding_window"))
        return HT__JSON({"architectures" : ["Olmo3ForCausalLM"], "model_type" : "olmo3", "hidden_act" : "silu"});
    return HT__JSON({"architectures" : ["Olmo2ForCausalLM"], "model_type" : "olmo2", "hidden_act" : "silu"});
}

static const struct ht__key_rule olmo2_folder_keys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"?blk.0.attn_q.bias", "attention_bias"},
    {.key = NULL},
};

/* Olmo 3's sliding layers rotate without the scaling, which readers want to be told. */
static void olmo3_rope(struct ht__undo *u)
{
    static const char *const kinds[][2] = {{"full_attention", "rope.freq_base"},
                                           {"sliding_attention", "rope.freq_base_swa"}};
    double theta = ht__undo_num(u, "rope.freq_base", 10000);
    ht__jw_object(u->config, "rope_parameters");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        ht__jw_object(u->config, kinds[i][0]);
        ht__jw_str(u->config, "rope_type", "default");
        ht__undo_put(u, "rope_theta", ht__undo_num(u, kinds[i][1], theta));
        ht__jw_end(u->config);
    }
    ht__jw_end(u->config);
}

static enum ht_err olmo2_folder(struct ht__undo *u)
{
    if (ht__undo_kv(u, "attention.sliding_window")) olmo3_rope(u);
    const struct ht__kv *kv = ht__undo_kv(u, "attention.sliding_window_pattern");
    if (!kv) return HT_OK;
    if (kv->type != HT__KV_ARR || kv->elem != HT__KV_BOOL || kv->n != u->gguf->n_layers)
        return ht__undo_refuse(u, kv->key, "it does not say of each layer whether it slides");
    ht__jw_array(u->config, "layer_types");
    for (uint64_t i = 0; i < kv->n; i++)
        ht__jw_str(u->config, NULL, ((const uint8_t *)kv->data)[i] ? "sliding_attention" : "full_attention");
    ht__jw_end(u->config);
    return HT_OK;
}

static const struct ht__key_rule granite_folder_keys[] = {
    {"attention.scale", "attention_multiplier"},
    {"embedding_scale", "embedding_multiplier"},
    {"residual_scale", "residual_multiplier"},
    {"logit_scale", "logits_scaling"},
    {"expert_count", "num_local_experts"},
    {"expert_shared_feed_forward_length", "shared_intermediate_size"},
    {"?blk.0.attn_q.bias", "attention_bias"},
    {"?blk.0.ffn_up.bias", "mlp_bias"},
    {.key = NULL},
};

static const char *granite_moe_class(const struct ht__undo *u)
{
    if (ht__undo_kv(u, "expert_shared_feed_forward_length"))
        return HT__JSON({
            "architectures" : ["GraniteMoeSharedForCausalLM"],
            "model_type" : "granitemoeshared",
            "hidden_act" : "silu"
        });
    return HT__JSON({"architectures" : ["GraniteMoeForCausalLM"], "model_type" : "granitemoe", "hidden_act" : "silu"});
}

const struct ht__arch ht__arch_stablelm = {
    .name = "stablelm",
    .compute =
        &(const struct ht__arch_compute){.layer_norm = true, .rope = HT__ROPE_HALVES, .parallel = HT__PARALLEL_BY_NORM},
    .classes = "StableLmForCausalLM StableLMEpochForCausalLM LlavaStableLMEpochForCausalLM",
    .rules = stablelm_rules,
    .metadata = stablelm_keys,
    .folder =
        &(const struct ht__arch_folder){
            .fixed =
                HT__JSON({"architectures" : ["StableLmForCausalLM"], "model_type" : "stablelm", "hidden_act" : "silu"}),
            .keys = stablelm_folder_keys,
            .more = stablelm_folder},
    .defaults = HT__JSON({"num_key_value_heads" : 32, "max_position_embeddings" : 4096})};
const struct ht__arch ht__arch_olmo2 = {
    .name = "olmo2",
    .compute = &(
        const struct ht__arch_compute){.rope = HT__ROPE_HALVES, .window = HT__WINDOW_LISTED, .sliding_unscaled = true},
    .classes = "Olmo2ForCausalLM Olmo3ForCausalLM",
    .rules = olmo2_rules,
    .metadata = olmo2_keys,
    .folder = &(const struct ht__arch_folder){.fixed_of = olmo_class, .keys = olmo2_folder_keys, .more = olmo2_folder},
    .defaults =
        HT__JSON({"rms_norm_eps" : 1e-5, "Olmo3ForCausalLM" : {"rope_theta" : 500000, "sliding_window" : 4096}})};
const struct ht__arch ht__arch_smollm3 = {
    .name = "smollm3",
    .compute = &(const struct ht__arch_compute){.no_rope_every = 4},
    .classes = "SmolLM3ForCausalLM",
    .rules = llama_rules,
    .metadata = smollm3_keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["SmolLM3ForCausalLM"],
                                                  "model_type" : "smollm3",
                                                  "hidden_act" : "silu",
                                                  "no_rope_layer_interval" : 4,
                                                  "use_sliding_window" : false
                                              }),
                                              .keys = ht__llama_keys},
    .generate = ht__arch_llama3_factors,
    .defaults = HT__JSON(
        {"num_key_value_heads" : 4, "rope_theta" : 2000000, "max_position_embeddings" : 32768, "rms_norm_eps" : 1e-6})};
const struct ht__arch ht__arch_granite = {
    .name = "granite",
    .compute = &(const struct ht__arch_compute){.act = HT__ACT_SILU},
    .classes = "GraniteForCausalLM",
    .rules = granite_rules,
    .metadata = granite_keys,
    .folder =
        &(const struct ht__arch_folder){
            .fixed =
                HT__JSON({"architectures" : ["GraniteForCausalLM"], "model_type" : "granite", "hidden_act" : "silu"}),
            .keys = granite_folder_keys},
    .defaults = HT__JSON({"rms_norm_eps" : 1e-6})};
const struct ht__arch ht__arch_granite_moe = {
    .name = "granitemoe",
    .compute = &(const struct ht__arch_compute){.softmax_chosen = true},
    .classes = "GraniteMoeForCausalLM GraniteMoeSharedForCausalLM",
    .rules = granite_moe_rules,
    .metadata = granite_keys,
    .folder = &(const struct ht__arch_folder){.fixed_of = granite_moe_class, .keys = granite_folder_keys},
    .defaults = HT__JSON({"rms_norm_eps" : 1e-6, "num_local_experts" : 8, "num_experts_per_tok" : 2})};
