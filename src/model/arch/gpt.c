/* GPT-2 (transposed weights), GPT-NeoX and Falcon (fused QKV by heads), StarCoder2. */
#include "model/arch/std.h"
#include "model/arch/undo.h"

#include <math.h>
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

static enum ht_err undo_rows(struct ht__undo *u, const struct ht__weight *w, ht__row_map_fn *map,
                             const int64_t params[4], const struct ht__rows **out)
{
    int64_t rows = u->n_dims > 1 ? w->rows->n_rows : w->rows->row_len;
    if (rows != params[0] * params[1] * params[2])
        return ht__undo_refuse(u, w->name, "it does not divide into the queries, keys and values of its heads");
    *out = ht__undo_permute(u, w, map, params);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, w->name);
}

static enum ht_err neox_qkv_back(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    const int64_t params[4] = {3, u->b->n_heads, u->b->n_embd / u->b->n_heads};
    return undo_rows(u, w, ht__map_regroup, params, out);
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
    {"!gpt_neox.layers.#.attention.query_key_value.*", "blk.#.attn_qkv.*", neox_qkv, .shape = "3D,D",
     .bias = "attention_bias", .undo = neox_qkv_back},
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

static enum ht_err falcon_qkv_back(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    const struct ht__arch_build *b = u->b;
    const int64_t params[4] = {b->n_kv_heads, b->n_heads / b->n_kv_heads, b->head_dim};
    int64_t rows = u->n_dims > 1 ? w->rows->n_rows : w->rows->row_len;
    if (rows != params[0] * (params[1] + 2) * params[2])
        return ht__undo_refuse(u, w->name, "it does not divide into the queries, keys and values of its heads");
    *out = ht__undo_permute(u, w, ht__map_falcon_qkv_back, params);
    return *out ? HT_OK : ht__fail_memory(b->diag, w->name);
}

/* attn_norm is the one norm of both, or, beside attn_norm_2, that of the feed-forward. */
static enum ht_err norm_of_both(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    const char *other = ht__arch_name(u->b, u->layer, "attn_norm_2.weight");
    if (!other) return ht__fail_memory(u->b->diag, w->name);
    *out = ht__undo_find(u, other) ? NULL : w->rows;
    return HT_OK;
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
    {"!transformer.h.#.input_layernorm.*", "blk.#.attn_norm.*", NULL, .shape = "D", .bias = "always",
     .undo = norm_of_both},
    FALCON("", "ln_mlp", "attn_norm", NULL, "D", NULL),
    FALCON("", "ln_attn", "attn_norm_2", NULL, "D", NULL),
    {"!transformer.h.#.self_attention.query_key_value.*", "blk.#.attn_qkv.*", falcon_qkv, .shape = "Hh+2Kh,D",
     .bias = "bias", .undo = falcon_qkv_back},
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

/* ---- back to folders ---- */

static const struct ht__key_rule gpt2_folder_keys[] = {
    {"block_count", "n_layer"},
    {"context_length", "n_positions"},
    {"embedding_length", "n_embd"},
    {"feed_forward_length", "n_inner"},
    {"attention.head_count", "n_head"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {.key = NULL},
};

static const struct ht__key_rule neox_folder_keys[] = {
    {"use_parallel_residual", "use_parallel_residual"},
    {"?blk.0.attn_qkv.bias", "attention_bias"},
    {.key = NULL},
};

/* rope.dimension_count as a share of a head, so that the share of it is that number again. */
static enum ht_err neox_folder(struct ht__undo *u)
{
    double heads = ht__undo_num(u, "attention.head_count", 0), width = ht__undo_num(u, "embedding_length", 0);
    double rotated = ht__undo_num(u, "rope.dimension_count", 0);
    if (!(heads >= 1) || !(width >= heads))
        return ht__undo_refuse(u, "gptneox.attention.head_count", "it has no heads");
    ht__jw_double(u->config, "rotary_pct", rotated / floor(width / heads));
    ht__undo_put(u, "rotary_emb_base", ht__undo_num(u, "rope.freq_base", 10000));
    return HT_OK;
}

static const struct ht__key_rule falcon_folder_keys[] = {
    {"feed_forward_length", "ffn_hidden_size"},
    {"attention.head_count_kv", "num_kv_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {"attention.key_length", NULL},
    {"?blk.0.attn_qkv.bias", "bias"},
    {.key = NULL},
};

/* The three ways in which heads share keys and values, of which the newest may have a norm for each of both. */
static enum ht_err falcon_folder(struct ht__undo *u)
{
    double heads = ht__undo_num(u, "attention.head_count", 0), kv = ht__undo_num(u, "attention.head_count_kv", heads);
    bool two_norms = ht__undo_find(u, "blk.0.attn_norm_2.weight") != NULL;
    bool new_decoder = two_norms || (kv != 1 && kv != heads);
    ht__jw_bool(u->config, "new_decoder_architecture", new_decoder);
    ht__jw_bool(u->config, "multi_query", kv == 1);
    if (new_decoder) ht__jw_int(u->config, "num_ln_in_parallel_attn", two_norms ? 2 : 1);
    return HT_OK;
}

static const struct ht__key_rule starcoder2_folder_keys[] = {
    {"attention.layer_norm_epsilon", "norm_epsilon"},
    {"?blk.0.attn_q.bias", "use_bias"},
    {.key = NULL},
};

const struct ht__arch ht__arch_gpt2 = {
    .name = "gpt2",
    .compute = &(const struct ht__arch_compute){.layer_norm = true, .rope = HT__ROPE_NONE, .act = HT__ACT_GELU_TANH},
    .classes = "GPT2LMHeadModel",
    .rules = gpt2_rules,
    .metadata = gpt2_keys,
    .folder = &(const struct ht__arch_folder){
        .fixed = HT__JSON(
            {"architectures" : ["GPT2LMHeadModel"], "model_type" : "gpt2", "activation_function" : "gelu_new"}),
        .keys = gpt2_folder_keys,
        .own_rope = true}};
const struct ht__arch ht__arch_gpt_neox = {
    .name = "gptneox",
    .compute =
        &(const struct ht__arch_compute){
            .layer_norm = true, .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU, .parallel = HT__PARALLEL_KEY},
    .classes = "GPTNeoXForCausalLM",
    .rules = neox_rules,
    .metadata = neox_keys,
    .folder =
        &(const struct ht__arch_folder){
            .fixed =
                HT__JSON({"architectures" : ["GPTNeoXForCausalLM"], "model_type" : "gpt_neox", "hidden_act" : "gelu"}),
            .keys = neox_folder_keys,
            .more = neox_folder,
            .own_rope = true},
    .defaults = HT__JSON({"attention_bias" : true})};
const struct ht__arch ht__arch_falcon = {
    .name = "falcon",
    .compute =
        &(const struct ht__arch_compute){
            .layer_norm = true, .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU, .parallel = HT__PARALLEL_YES},
    .classes = "FalconForCausalLM RWForCausalLM",
    .rules = falcon_rules,
    .metadata = falcon_keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["FalconForCausalLM"],
                                                  "model_type" : "falcon",
                                                  "activation" : "gelu",
                                                  "alibi" : false,
                                                  "parallel_attn" : true
                                              }),
                                              .keys = falcon_folder_keys,
                                              .more = falcon_folder},
    .numbers = falcon_heads};
const struct ht__arch ht__arch_starcoder2 = {
    .name = "starcoder2",
    .compute =
        &(const struct ht__arch_compute){
            .layer_norm = true, .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU_TANH, .window = HT__WINDOW_ALL},
    .classes = "Starcoder2ForCausalLM",
    .rules = starcoder2_rules,
    .metadata = starcoder2_keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["Starcoder2ForCausalLM"],
                                                  "model_type" : "starcoder2",
                                                  "hidden_act" : "gelu_pytorch_tanh",
                                                  "sliding_window" : null
                                              }),
                                              .keys = starcoder2_folder_keys},
    .defaults = HT__JSON(
        {"num_key_value_heads" : 2, "max_position_embeddings" : 4096, "norm_epsilon" : 1e-5, "use_bias" : true})};
