/* Gemma 1 to 3 (text): norm weights are stored as w - 1, embeddings are shared with the output. */
#include "model/arch/std.h"
#include "model/arch/undo.h"

#include <math.h>
#include <string.h>

/* The embedding may hold more rows than the tokenizer has tokens; rows beyond vocab_size go. */
static enum ht_err embedding(struct ht__arch_build *b, const struct ht__found *f)
{
    if (f->tensor->n_dims != 2 || f->tensor->shape[0] <= b->vocab_size) return ht__arch_add_found(b, f, f->rows);
    const int64_t ne[2] = {f->tensor->shape[1], b->vocab_size};
    return ht__arch_add(b, f->name, ht__rows_slice(b->arena, f->rows, 0, 1, b->vocab_size), f->tensor->dtype, 2, ne);
}

#define GEMMA_NORM(from, to)                                                                                           \
    {                                                                                                                  \
        "!model.layers.#." from ".*", "blk.#." to ".*", ht__arch_plus_one, .shape = "D"                                \
    }
#define GEMMA_COMMON                                                                                                   \
    {"!model.embed_tokens.*", "token_embd.*", embedding, .shape = ">V,D", .undo = ht__undo_same},                      \
        {"!model.norm.*", "output_norm.*", ht__arch_plus_one, .shape = "D"}, {.from = "lm_head.*"},                    \
        GEMMA_NORM("input_layernorm", "attn_norm"), STD_QKV("attention_bias"), STD_O("attention_bias"), STD_FFN
#define GEMMA_SANDWICH                                                                                                 \
    GEMMA_NORM("post_attention_layernorm", "post_attention_norm"),                                                     \
        GEMMA_NORM("pre_feedforward_layernorm", "ffn_norm"), GEMMA_NORM("post_feedforward_layernorm", "post_ffw_norm")

static const struct ht__name_rule gemma_rules[] = {
    GEMMA_COMMON,
    GEMMA_NORM("post_attention_layernorm", "ffn_norm"),
    STD_END,
};

static const struct ht__name_rule gemma2_rules[] = {GEMMA_COMMON, GEMMA_SANDWICH, STD_END};

static const struct ht__name_rule gemma3_rules[] = {
    GEMMA_COMMON,
    GEMMA_SANDWICH,
    {"!model.layers.#.self_attn.q_norm.*", "blk.#.attn_q_norm.*", ht__arch_plus_one, .shape = "h"},
    {"!model.layers.#.self_attn.k_norm.*", "blk.#.attn_k_norm.*", ht__arch_plus_one, .shape = "h"},
    STD_END,
};

/* Configurations that hold a text_config leave out what the class supplies. */
static const char gemma_defaults[] =
    HT__JSON({"num_key_value_heads" : 16, "head_dim" : 256, "max_position_embeddings" : 8192});
static const char gemma2_defaults[] =
    HT__JSON({"num_key_value_heads" : 4, "head_dim" : 256, "max_position_embeddings" : 8192});
static const char gemma3_defaults[] = HT__JSON({
    "vocab_size" : 262208,
    "hidden_size" : 2304,
    "intermediate_size" : 9216,
    "num_hidden_layers" : 26,
    "num_attention_heads" : 8,
    "num_key_value_heads" : 4,
    "head_dim" : 256,
    "max_position_embeddings" : 131072,
    "rms_norm_eps" : 1e-6,
    "rope_theta" : 1e6,
    "rope_local_base_freq" : 1e4
});

static enum ht_err gemma_keys(struct ht__arch_build *b)
{
    ht__arch_sizes(b, "CEBFHK");
    ht__arch_f32(b, "attention.layer_norm_rms_epsilon", ht__arch_num(b, "rms_norm_eps", 1e-6));
    ht__arch_u32(b, "attention.key_length", b->head_dim);
    ht__arch_u32(b, "attention.value_length", b->head_dim);
    ht__arch_file_type(b);
    return HT_OK;
}

static enum ht_err gemma2_keys(struct ht__arch_build *b)
{
    int64_t window;
    HT_TRY(gemma_keys(b));
    HT_TRY(ht__arch_int(b, "sliding_window", 4096, &window));
    ht__arch_f32(b, "attn_logit_softcapping", ht__arch_num(b, "attn_logit_softcapping", 50));
    ht__arch_f32(b, "final_logit_softcapping", ht__arch_num(b, "final_logit_softcapping", 30));
    ht__arch_u32(b, "attention.sliding_window", window);
    return HT_OK;
}

static enum ht_err gemma3_keys(struct ht__arch_build *b)
{
    int64_t window, pattern;
    HT_TRY(ht__arch_common(b));
    HT_TRY(ht__arch_int(b, "sliding_window", 4096, &window));
    HT_TRY(ht__arch_int(b, "sliding_window_pattern _sliding_window_pattern", 6, &pattern));
    ht__arch_u32(b, "attention.key_length", b->head_dim);
    ht__arch_u32(b, "attention.value_length", b->head_dim);
    double cap = ht__arch_num(b, "final_logit_softcapping", 0);
    if (cap > 0) ht__arch_f32(b, "final_logit_softcapping", cap);
    if (pattern != 1) ht__arch_u32(b, "attention.sliding_window", window);
    return HT_OK;
}

/* ---- back to a folder ---- */

static const struct ht__key_rule folder_keys[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"attention.sliding_window", "sliding_window"},
    {"?blk.0.attn_q.bias", "attention_bias"},
    {.key = NULL},
};

/* What attention is scaled by is in no key: runtimes know it by the number of layers. */
static enum ht_err put_scale(struct ht__undo *u)
{
    double heads = ht__undo_num(u, "attention.head_count", 1), embedding = ht__undo_num(u, "embedding_length", 0);
    bool wide = (int64_t)u->gguf->n_layers == u->b->arch->compute->wide_scale_layers;
    double width = wide ? floor(embedding / (heads > 0 ? heads : 1)) : ht__undo_num(u, "attention.key_length", 0);
    ht__undo_put_int(u, "query_pre_attn_scalar", width);
    return HT_OK;
}

static enum ht_err gemma3_folder(struct ht__undo *u)
{
    bool sliding = ht__undo_kv(u, "attention.sliding_window") != NULL;
    ht__undo_put(u, "rope_local_base_freq", ht__undo_num(u, "rope.freq_base_swa", 10000));
    ht__jw_int(u->config, "sliding_window_pattern", sliding ? 6 : 1);
    return put_scale(u);
}

const struct ht__arch ht__arch_gemma = {
    .name = "gemma",
    .compute =
        &(const struct ht__arch_compute){.rope = HT__ROPE_HALVES, .act = HT__ACT_GELU_TANH, .scaled_embedding = true},
    .classes = "GemmaForCausalLM",
    .rules = gemma_rules,
    .metadata = gemma_keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["GemmaForCausalLM"],
                                                  "model_type" : "gemma",
                                                  "hidden_act" : "gelu_pytorch_tanh",
                                                  "hidden_activation" : "gelu_pytorch_tanh"
                                              }),
                                              .keys = folder_keys},
    .defaults = gemma_defaults};
const struct ht__arch ht__arch_gemma2 = {
    .name = "gemma2",
    .compute = &(const struct ht__arch_compute){.rope = HT__ROPE_HALVES,
                                                .act = HT__ACT_GELU_TANH,
                                                .scaled_embedding = true,
                                                .window = HT__WINDOW_EVEN,
                                                .wide_scale_layers = 46},
    .classes = "Gemma2ForCausalLM",
    .rules = gemma2_rules,
    .metadata = gemma2_keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["Gemma2ForCausalLM"],
                                                  "model_type" : "gemma2",
                                                  "hidden_act" : "gelu_pytorch_tanh",
                                                  "hidden_activation" : "gelu_pytorch_tanh"
                                              }),
                                              .keys = folder_keys,
                                              .more = put_scale},
    .defaults = gemma2_defaults};
const struct ht__arch ht__arch_gemma3 = {
    .name = "gemma3",
    .compute = &(const struct ht__arch_compute){.rope = HT__ROPE_HALVES,
                                                .act = HT__ACT_GELU_TANH,
                                                .scaled_embedding = true,
                                                .window = HT__WINDOW_FIVE_OF_SIX,
                                                .sliding_base = 10000,
                                                .wide_scale_layers = 62},
    .classes = "Gemma3ForCausalLM Gemma3ForConditionalGeneration",
    .rules = gemma3_rules,
    .metadata = gemma3_keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["Gemma3ForCausalLM"],
                                                  "model_type" : "gemma3_text",
                                                  "hidden_activation" : "gelu_pytorch_tanh"
                                              }),
                                              .keys = folder_keys,
                                              .more = gemma3_folder},
    .defaults = gemma3_defaults};
