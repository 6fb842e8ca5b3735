/* GPT-2 (transposed weights), GPT-NeoX and Falcon (fused QKV by heads), StarCoder2. */
#include "model/arch/std.h"

#include <string.h>

/* ---- GPT-2: its Conv1D keeps [in, out] ---- */

#define GPT2_NAMES(prefix)                                                                                             \
    {"!" prefix "wte.*", "token_embd.*", NULL, .shape = "V,D"},                                                        \
        {"!" prefix "wpe.*", "position_embd.*", NULL, .shape = "P,D"},                                                 \
        {"!" prefix "h.#.ln_1.*", "blk.#.attn_norm.*", NULL, .shape = "D", .bias = "always"},                          \
        {"!" prefix "h.#.ln_2.*", "blk.#.ffn_norm.*", NULL, .shape = "D", .bias = "always"},                           \
        {"!" prefix "h.#.attn.c_attn.*", "blk.#.attn_qkv.*", ht__arch_transpose, .shape = "D,3D", .bias = "always"},   \
        {"!" prefix "h.#.attn.c_proj.*", "blk.#.attn_output.*", ht__arch_transpose, .shape = "D,D", .bias = "always"}, \
        {"!" prefix "h.#.mlp.c_fc.*", "blk.#.ffn_up.*", ht__arch_transpose, .shape = "D,F", .bias = "always"},         \
        {"!" prefix "h.#.mlp.c_proj.*", "blk.#.ffn_down.*", ht__arch_transpose, .shape = "F,D", .bias = "always"},     \
    {                                                                                                                  \
        "!" prefix "ln_f.*", "output_norm.*", NULL, .shape = "D", .bias = "always"                                     \
    }

static const struct ht__name_rule gpt2_rules[] = {
    GPT2_NAMES("transformer."),
    GPT2_NAMES(""),
    STD_OUTPUT_UNTIED,
    STD_END,
};

static enum ht_err gpt2_keys(struct ht__arch_build *b)
{
    HT_TRY(ht__arch_int(b, "n_ctx n_positions", 1024, &b->n_ctx));
    ht__arch_sizes(b, "BCEFH");
    ht__arch_f32(b, "attention.layer_norm_epsilon", ht__arch_num(b, "layer_norm_epsilon", 1e-5));
    ht__arch_file_type(b);
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
    const int64_t params[4] = {b->n_heads, 3, b->n_embd / b->n_heads};
    return permute_rows(b, f, ht__map_regroup, params);
}

#define NEOX(from, to, how, dims, biased)                                                                              \
    {                                                                                                                  \
        "!gpt_neox.layers.#." from ".*", "blk.#." to ".*", how, .shape = dims, .bias = biased                          \
    }

static const struct ht__name_rule neox_rules[] = {
    {"!gpt_neox.embed_in.*", "token_embd.*", NULL, .shape = "V,D"},
    {"!embed_out.*", "output.*", NULL, .shape = "V,D"},
    {"!gpt_neox.final_layer_norm.*", "output_norm.*", NULL, .shape = "D", .bias = "always"},
    NEOX("input_layernorm", "attn_norm", NULL, "D", "always"),
    NEOX("post_attention_layernorm", "ffn_norm", NULL, "D", "always"),
    NEOX("attention.query_key_value", "attn_qkv", neox_qkv, "3D,D", "attention_bias"),
    NEOX("attention.dense", "attn_output", NULL, "D,D", "attention_bias"),
    NEOX("mlp.dense_h_to_4h", "ffn_up", NULL, "F,D", "always"),
    NEOX("mlp.dense_4h_to_h", "ffn_down", NULL, "D,F", "always"),
    STD_END,
};

static enum ht_err neox_keys(struct ht__arch_build *b)
{
    double share = ht__arch_num(b, "rotary_pct partial_rotary_factor",
                                ht__jnum(ht__jget(b->config, "rope_parameters"), "partial_rotary_factor", 0.25));
    int64_t rotated;
    HT_TRY(ht__arch_rotated(b, share, b->n_embd / b->n_heads, &rotated));
    ht__arch_sizes(b, "CEBF");
    ht__arch_u32(b, "rope.dimension_count", rotated);
    ht__arch_sizes(b, "H");
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
    const int64_t params[4] = {b->n_kv_heads, b->n_heads / b->n_kv_heads, b->head_dim};
    return permute_rows(b, f, ht__map_falcon_qkv, params);
}

#define FALCON(need, from, to, how, dims, biased)                                                                      \
    {                                                                                                                  \
        need "transformer.h.#." from ".*", "blk.#." to ".*", how, .shape = dims, .bias = biased                        \
    }

static const struct ht__name_rule falcon_rules[] = {
    {"!transformer.word_embeddings.*", "token_embd.*", NULL, .shape = "V,D"},
    {"!transformer.ln_f.*", "output_norm.*", NULL, .shape = "D", .bias = "always"},
    STD_OUTPUT,
    /* one norm for both, or one each */
    {"!transformer.h.#.input_layernorm.*", "blk.#.attn_norm.*", NULL, .shape = "D", .bias = "always"},
    FALCON("", "ln_mlp", "attn_norm", NULL, "D", NULL),
    FALCON("", "ln_attn", "attn_norm_2", NULL, "D", NULL),
    FALCON("!", "self_attention.query_key_value", "attn_qkv", falcon_qkv, "Hh+2Kh,D", "bias"),
    FALCON("!", "self_attention.dense", "attn_output", NULL, "D,D", "bias"),
    FALCON("!", "mlp.dense_h_to_4h", "ffn_up", NULL, "F,D", "bias"),
    FALCON("!", "mlp.dense_4h_to_h", "ffn_down", NULL, "D,F", "bias"),
    STD_END,
};

static enum ht_err falcon_keys(struct ht__arch_build *b)
{
    b->n_ctx = 2048; /* llama.cpp's converter always writes this */
    ht__arch_sizes(b, "C");
    ht__arch_str(b, "tensor_data_layout", "jploski");
    ht__arch_sizes(b, "EFBHK");
    ht__arch_f32(b, "attention.layer_norm_epsilon", ht__arch_num(b, "layer_norm_epsilon", 1e-5));
    ht__arch_file_type(b);
    return HT_OK;
}

/* ---- StarCoder2 ---- */

static const struct ht__name_rule starcoder2_rules[] = {
    {"!model.embed_tokens.*", "token_embd.*", NULL, .shape = "V,D"},
    {"!model.norm.*", "output_norm.*", NULL, .shape = "D", .bias = "always"},
    STD_OUTPUT,
    STD_QKV("use_bias"),
    STD_O("use_bias"),
    {"!model.layers.#.input_layernorm.*", "blk.#.attn_norm.*", NULL, .shape = "D", .bias = "always"},
    {"!model.layers.#.post_attention_layernorm.*", "blk.#.ffn_norm.*", NULL, .shape = "D", .bias = "always"},
    {"!model.layers.#.mlp.c_fc.*", "blk.#.ffn_up.*", NULL, .shape = "F,D", .bias = "use_bias"},
    {"!model.layers.#.mlp.c_proj.*", "blk.#.ffn_down.*", NULL, .shape = "D,F", .bias = "use_bias"},
    STD_END,
};

static enum ht_err starcoder2_keys(struct ht__arch_build *b)
{
    return ht__arch_common(b);
}

const struct ht__arch ht__arch_gpt2 = {
    .name = "gpt2",
    .compute = &(const struct ht__arch_compute){.layer_norm = true, .rope = HT__ROPE_NONE, .act = HT__ACT_GELU_TANH},
    .classes = "GPT2LMHeadModel",
    .rules = gpt2_rules,
    .metadata = gpt2_keys};
const struct ht__arch ht__arch_gpt_neox = {.name = "gptneox",
                                           .compute = &(const struct ht__arch_compute){.layer_norm = true,
                                                                                       .rope = HT__ROPE_HALVES,
                                                                                       .act = HT__ACT_GELU,
                                                                                       .parallel = HT__PARALLEL_KEY},
                                           .classes = "GPTNeoXForCausalLM",
                                           .rules = neox_rules,
                                           .metadata = neox_keys,
                                           .defaults = HT__JSON({"attention_bias" : true})};
const struct ht__arch ht__arch_falcon = {.name = "falcon",
                                         .compute = &(const struct ht__arch_compute){.layer_norm = true,
                                                                                     .rope = HT__ROPE_HALVES,
                                                                                     .act = HT__ACT_GELU,
                                                                                     .parallel = HT__PARALLEL_YES},
                                         .classes = "FalconForCausalLM RWForCausalLM",
                                         .rules = falcon_rules,
                                         .metadata = falcon_keys,
                                         .numbers = falcon_heads};
const struct ht__arch ht__arch_starcoder2 = {
    .name = "starcoder2",
    .compute =
        &(const struct ht__arch_compute){
            .layer_norm = true, .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU_TANH, .window = HT__WINDOW_ALL},
    .classes = "Starcoder2ForCausalLM",
    .rules = starcoder2_rules,
    .metadata = starcoder2_keys,
    .defaults = HT__JSON(
        {"num_key_value_heads" : 2, "max_position_embeddings" : 4096, "norm_epsilon" : 1e-5, "use_bias" : true})};
