/* Llama, Mistral and Mixtral: the rows of Q and K are put in the order of interleaved rotation. */
#include "model/arch/std.h"
#include "model/arch/undo.h"

#include <math.h>
#include <string.h>

static const struct ht__name_rule rules[] = {
    STD_EMBEDDING,
    STD_OUTPUT,
    STD_QKV_PERMUTED,
    STD_O("attention_bias"),
    STD_NORMS,
    STD_FFN,
    {"model.layers.#.block_sparse_moe.gate.*", "blk.#.ffn_gate_inp.*", NULL, .shape = "E,D"},
    {"model.layers.#.block_sparse_moe.experts.#.w1.weight", "blk.#.ffn_gate_exps.weight", NULL, .shape = "F,D"},
    {"model.layers.#.block_sparse_moe.experts.#.w3.weight", "blk.#.ffn_up_exps.weight", NULL, .shape = "F,D"},
    {"model.layers.#.block_sparse_moe.experts.#.w2.weight", "blk.#.ffn_down_exps.weight", NULL, .shape = "D,F"},
    STD_EXPERTS,
    STD_END,
};

static enum ht_err metadata(struct ht__arch_build *b)
{
    HT_TRY(ht__arch_common(b));
    ht__arch_u32(b, "vocab_size", b->vocab_size);
    ht__arch_u32(b, "rope.dimension_count", b->head_dim);
    return HT_OK;
}

/* Low frequencies are stretched by `factor`, high ones kept, those between blended. */
void ht__llama3_factors(const struct ht__llama3_rope *rope, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        float frequency = 1.0f / powf(rope->theta, (float)(2 * i) / (float)(2 * n));
        float wavelength = 2 * (float)M_PI / frequency;
        float smooth = (rope->original / wavelength - rope->low) / (rope->high - rope->low);
        out[i] = wavelength < rope->original / rope->high  ? 1
                 : wavelength > rope->original / rope->low ? rope->factor
                                                           : 1 / ((1 - smooth) / rope->factor + smooth);
    }
}

enum ht_err ht__arch_llama3_factors(struct ht__arch_build *b)
{
    const char *type;
    const struct ht__jnode *s = ht__arch_rope_scaling(b, &type);
    if (!s || strcmp(type, "llama3") != 0) return HT_OK;
    const struct ht__llama3_rope rope = {.factor = (float)ht__jnum(s, "factor", 8),
                                         .low = (float)ht__jnum(s, "low_freq_factor", 1),
                                         .high = (float)ht__jnum(s, "high_freq_factor", 4),
                                         .original = (float)ht__jnum(s, "original_max_position_embeddings", 8192),
                                         .theta = (float)b->rope_theta};
    int64_t n = b->head_dim / 2;
    float *factors = ht__arena_array(b->tmp, (size_t)n, sizeof *factors);
    if (!factors) return ht__fail_memory(b->diag, "rope_freqs");
    ht__llama3_factors(&rope, n, factors);
    return ht__arch_add(b, "rope_freqs.weight", ht__rows_floats(b->arena, factors, 1, n), ht__codec_by_name("f32"), 1,
                        &n);
}

static const char *folder_class(const struct ht__undo *u)
{
    if (u->gguf->n_experts > 0)
        return HT__JSON({
            "architectures" : ["MixtralForCausalLM"],
            "model_type" : "mixtral",
            "hidden_act" : "silu",
            "sliding_window" : null
        });
    return HT__JSON({"architectures" : ["LlamaForCausalLM"], "model_type" : "llama", "hidden_act" : "silu"});
}

const struct ht__key_rule ht__llama_keys[] = {
    {"expert_count", "num_local_experts"},
    {"?blk.0.attn_q.bias", "attention_bias"},
    {"?blk.0.ffn_up.bias", "mlp_bias"},
    {.key = NULL},
};

const struct ht__arch ht__arch_llama = {
    .name = "llama",
    .compute = &(const struct ht__arch_compute){.window = HT__WINDOW_ALL, .normalized_experts = true},
    .classes = "LlamaForCausalLM LLaMAForCausalLM LlamaModel MistralForCausalLM MistralModel MixtralForCausalLM",
    .rules = rules,
    .metadata = metadata,
    .generate = ht__arch_llama3_factors,
    .folder = &(const struct ht__arch_folder){.fixed_of = folder_class, .keys = ht__llama_keys},
    .defaults = HT__JSON({
        "rms_norm_eps" : 1e-6,
        "max_position_embeddings" : 2048,
        "MistralForCausalLM" : {"num_key_value_heads" : 8, "max_position_embeddings" : 131072},
        "MistralModel" : {"num_key_value_heads" : 8, "max_position_embeddings" : 131072},
        "MixtralForCausalLM" : {
            "num_key_value_heads" : 8,
            "max_position_embeddings" : 131072,
            "rms_norm_eps" : 1e-5,
            "rope_theta" : 1e6,
            "num_local_experts" : 8,
            "num_experts_per_tok" : 2
        }
    }),
};
