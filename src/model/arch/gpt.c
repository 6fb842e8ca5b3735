/* GPT-2 (transposed weights), GPT-NeoX and Falcon (fused QKV by heads), StarCoder2. */
#include "model/arch/std.h"

#include <string.h>

/* ---- GPT-2: its Conv1D keeps [in, out] ---- */

#define GPT2_NAMES(prefix)                                                                         \
    {prefix "wte.*", "token_embd.*", NULL}, {prefix "wpe.*", "position_embd.*", NULL},             \
        {prefix "h.#.ln_1.*", "blk.#.attn_norm.*", NULL},                                          \
        {prefix "h.#.ln_2.*", "blk.#.ffn_norm.*", NULL},                                           \
        {prefix "h.#.attn.c_attn.*", "blk.#.attn_qkv.*", ht__arch_transpose},                      \
        {prefix "h.#.attn.c_proj.*", "blk.#.attn_output.*", ht__arch_transpose},                   \
        {prefix "h.#.mlp.c_fc.*", "blk.#.ffn_up.*", ht__arch_transpose},                           \
        {prefix "h.#.mlp.c_proj.*", "blk.#.ffn_down.*", ht__arch_transpose},                       \
        {prefix "ln_f.*", "output_norm.*", NULL}

static const struct ht__name_rule gpt2_rules[] = {
    GPT2_NAMES("transformer."), GPT2_NAMES(""), {"lm_head.*", "output.*", ht__arch_output}, STD_END,
};

static enum ht_err gpt2_keys(struct ht__arch_build *b)
{
    b->n_ff = 4 * b->n_embd;
    HT_TRY(ht__arch_int(b, "n_ctx n_positions", 1024, &b->n_ctx));
    ht__arch_basic(b, false);
    ht__arch_f32(b, "attention.layer_norm_epsilon", ht__arch_num(b, "layer_norm_epsilon", 1e-5));
    return HT_OK;
}

/* ---- GPT-NeoX: [heads, 3, head] becomes all q, all k, all v ---- */

/* A bias is permuted weight by weight. */
static enum ht_err permute_rows(struct ht__arch_build *b, const struct ht__found *f, ht__row_map_fn *map,
                                const int64_t params[4])
{
    const struct ht__rows *rows = f->tensor->n_dims == 1
                                      ? ht__rows_pick(b->arena, f->rows, f->tensor->shape[0], map, params)
                                      : ht__rows_permute(b->arena, f->rows, map, params);
    return ht__arch_add_found(b, f, rows);
}

static enum ht_err neox_qkv(struct ht__arch_build *b, const struct ht__found *f)
{
    if (f->tensor->n_dims < 1 || f->tensor->shape[0] != 3 * b->n_embd)
        return ht__arch_shape_error(b, f, "3 x hidden size rows");
    const int64_t params[4] = {b->n_heads, 3, b->n_embd / b->n_heads};
    return permute_rows(b, f, ht__map_regroup, params);
}

static const struct ht__name_rule neox_rules[] = {
    {"!gpt_neox.embed_in.*", "token_embd.*", NULL},
    {"!embed_out.*", "output.*", NULL},
    {"!gpt_neox.final_layer_norm.*", "output_norm.*", NULL},
    {"!gpt_neox.layers.#.input_layernorm.*", "blk.#.attn_norm.*", NULL},
    {"!gpt_neox.layers.#.post_attention_layernorm.*", "blk.#.ffn_norm.*", NULL},
    {"!gpt_neox.layers.#.attention.query_key_value.*", "blk.#.attn_qkv.*", neox_qkv},
    {"!gpt_neox.layers.#.attention.dense.*", "blk.#.attn_output.*", NULL},
    {"!gpt_neox.layers.#.mlp.dense_h_to_4h.*", "blk.#.ffn_up.*", NULL},
    {"!gpt_neox.layers.#.mlp.dense_4h_to_h.*", "blk.#.ffn_down.*", NULL},
    STD_END,
};

static enum ht_err neox_keys(struct ht__arch_build *b)
{
    double share = ht__arch_num(b, "rotary_pct partial_rotary_factor",
                                ht__jnum(ht__jget(b->config, "rope_parameters"), "partial_rotary_factor", 0.25));
    ht__arch_basic(b, false);
    ht__arch_u32(b, "rope.dimension_count", (int64_t)(share * (double)(b->n_embd / b->n_heads)));
    ht__arch_bool(b, "use_parallel_residual", ht__jbool(b->config, "use_parallel_residual", true));
    ht__arch_f32(b, "attention.layer_norm_epsilon", ht__arch_num(b, "layer_norm_eps", 1e-5));
    return HT_OK;
}

/* ---- Falcon ---- */

static enum ht_err falcon_heads(struct ht__arch_build *b)
{
    bool new_decoder = ht__jbool(b->config, "new_decoder_architecture", false);
    bool multi_query = ht__jbool(b->config, "multi_query", true);
    int64_t kv;
    HT_TRY(ht__arch_int(b, "num_kv_heads n_head_kv", b->n_heads, &kv));
    b->n_kv_heads = new_decoder ? kv : multi_query ? 1 : b->n_heads;
    if (b->n_kv_heads < 1 || b->n_heads % b->n_kv_heads)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1, "heads and key-value heads do not fit");
    return HT_OK;
}

static enum ht_err falcon_qkv(struct ht__arch_build *b, const struct ht__found *f)
{
    HT_TRY(falcon_heads(b));
    int64_t head = b->n_embd / b->n_heads;
    if (f->tensor->n_dims < 1 || f->tensor->shape[0] != (b->n_heads + 2 * b->n_kv_heads) * head)
        return ht__arch_shape_error(b, f, "rows for every query, key and value head");
    const int64_t params[4] = {b->n_kv_heads, b->n_heads / b->n_kv_heads, head};
    return permute_rows(b, f, ht__map_falcon_qkv, params);
}

static const struct ht__name_rule falcon_rules[] = {
    {"!transformer.word_embeddings.*", "token_embd.*", NULL},
    {"!transformer.ln_f.*", "output_norm.*", NULL},
    {"lm_head.*", "output.*", NULL},
    {"transformer.h.#.input_layernorm.*", "blk.#.attn_norm.*", NULL},
    {"transformer.h.#.ln_mlp.*", "blk.#.attn_norm.*", NULL},
    {"transformer.h.#.ln_attn.*", "blk.#.attn_norm_2.*", NULL},
    {"!transformer.h.#.self_attention.query_key_value.*", "blk.#.attn_qkv.*", falcon_qkv},
    {"!transformer.h.#.self_attention.dense.*", "blk.#.attn_output.*", NULL},
    {"!transformer.h.#.mlp.dense_h_to_4h.*", "blk.#.ffn_up.*", NULL},
    {"!transformer.h.#.mlp.dense_4h_to_h.*", "blk.#.ffn_down.*", NULL},
    STD_END,
};

static enum ht_err falcon_keys(struct ht__arch_build *b)
{
    HT_TRY(falcon_heads(b));
    b->n_ctx = 2048; /* the field's converter fixes it */
    b->n_ff = 4 * b->n_embd;
    ht__arch_basic(b, true);
    ht__arch_str(b, "tensor_data_layout", "jploski");
    ht__arch_f32(b, "attention.layer_norm_epsilon", ht__arch_num(b, "layer_norm_epsilon", 1e-5));
    return HT_OK;
}

/* ---- StarCoder2 ---- */

static const struct ht__name_rule starcoder2_rules[] = {
    STD_EMBEDDING,
    STD_OUTPUT,
    STD_QKV,
    STD_O,
    STD_NORMS,
    {"!model.layers.#.mlp.c_fc.*", "blk.#.ffn_up.*", NULL},
    {"!model.layers.#.mlp.c_proj.*", "blk.#.ffn_down.*", NULL},
    STD_END,
};

static enum ht_err starcoder2_keys(struct ht__arch_build *b)
{
    ht__arch_common(b);
    ht__arch_f32(b, "attention.layer_norm_epsilon", ht__arch_num(b, "norm_epsilon", 1e-5));
    return HT_OK;
}

const struct ht__arch ht__arch_gpt2 = {
    .name = "gpt2", .classes = "GPT2LMHeadModel", .rules = gpt2_rules, .metadata = gpt2_keys};
const struct ht__arch ht__arch_gpt_neox = {
    .name = "gptneox", .classes = "GPTNeoXForCausalLM", .rules = neox_rules, .metadata = neox_keys};
const struct ht__arch ht__arch_falcon = {
    .name = "falcon", .classes = "FalconForCausalLM RWForCausalLM", .rules = falcon_rules,
    .metadata = falcon_keys};
const struct ht__arch ht__arch_starcoder2 = {
    .name = "starcoder2", .classes = "Starcoder2ForCausalLM", .rules = starcoder2_rules,
    .metadata = starcoder2_keys};
