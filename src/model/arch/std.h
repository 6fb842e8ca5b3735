/*
 * The names that most decoders since Llama use. STD_… are rows of a name table; an architecture takes
 * those that it has and adds its own.
 */
#ifndef HT_MODEL_ARCH_STD_H
#define HT_MODEL_ARCH_STD_H

#include "model/arch/arch.h"

/* clang-format off: rows, not blocks of code */
#define STD_EMBEDDING                                                                                                  \
    {"!model.embed_tokens.*", "token_embd.*", NULL, .shape = "V,D"},                                                   \
    {                                                                                                                  \
        "!model.norm.*", "output_norm.*", NULL, .shape = "D"                                                           \
    }
#define STD_OUTPUT                                                                                                     \
    {                                                                                                                  \
        "!lm_head.*", "output.*", NULL, .shape = "V,D", .when = "untied"                                               \
    }
/* dropped when the model is tied */
#define STD_OUTPUT_UNTIED                                                                                              \
    {                                                                                                                  \
        "!lm_head.*", "output.*", ht__arch_output, .shape = "V,D", .when = "untied"                                    \
    }
/* `biased`: when the three have biases */
#define STD_QKV_AS(permute_q, permute_k, biased)                                                                       \
    {"!model.layers.#.self_attn.q_proj.*", "blk.#.attn_q.*", permute_q, .shape = "Hh,D", .bias = biased},              \
        {"!model.layers.#.self_attn.k_proj.*", "blk.#.attn_k.*", permute_k, .shape = "Kh,D", .bias = biased},          \
    {                                                                                                                  \
        "!model.layers.#.self_attn.v_proj.*", "blk.#.attn_v.*", NULL, .shape = "Kh,D", .bias = biased                  \
    }
#define STD_QKV(biased) STD_QKV_AS(NULL, NULL, biased)
/* for runtimes that rotate interleaved pairs */
#define STD_QKV_PERMUTED STD_QKV_AS(ht__arch_permute_q, ht__arch_permute_k, "attention_bias")
#define STD_O(biased)                                                                                                  \
    {                                                                                                                  \
        "!model.layers.#.self_attn.o_proj.*", "blk.#.attn_output.*", NULL, .shape = "D,Hh", .bias = biased             \
    }
/* over each head, or over all of them */
#define STD_QK_NORM(q, k)                                                                                              \
    {"!model.layers.#.self_attn.q_norm.*", "blk.#.attn_q_norm.*", NULL, .shape = q},                                   \
    {                                                                                                                  \
        "!model.layers.#.self_attn.k_norm.*", "blk.#.attn_k_norm.*", NULL, .shape = k                                  \
    }
#define STD_NORMS                                                                                                      \
    {"!model.layers.#.input_layernorm.*", "blk.#.attn_norm.*", NULL, .shape = "D"},                                    \
    {                                                                                                                  \
        "!model.layers.#.post_attention_layernorm.*", "blk.#.ffn_norm.*", NULL, .shape = "D"                           \
    }
#define STD_FFN                                                                                                         \
    {                                                                                                                   \
        "!model.layers.#.mlp.gate_proj.*",                                                                              \
        "blk.#.ffn_gate.*",                                                                                             \
        NULL,                                                                                                           \
        .shape = "F,D",                                                                                                 \
        .when = "dense",                                                                                                \
        .bias = "mlp_bias"},                                                                                            \
        {"!model.layers.#.mlp.up_proj.*", "blk.#.ffn_up.*", NULL, .shape = "F,D", .when = "dense", .bias = "mlp_bias"}, \
    {                                                                                                                   \
        "!model.layers.#.mlp.down_proj.*", "blk.#.ffn_down.*", NULL, .shape = "D,F", .when = "dense",                   \
                                                                     .bias = "mlp_bias"                                 \
    }
/* experts one by one, or fused as newer checkpoints have them */
#define STD_EXPERTS                                                                                                    \
    {"!model.layers.#.mlp.gate.*", "blk.#.ffn_gate_inp.*", NULL, .shape = "E,D", .when = "experts"},                   \
        {"!model.layers.#.mlp.experts.#.gate_proj.weight", "blk.#.ffn_gate_exps.weight", NULL, .shape = "f,D",         \
         .when = "experts"},                                                                                           \
        {"!model.layers.#.mlp.experts.#.up_proj.weight", "blk.#.ffn_up_exps.weight", NULL, .shape = "f,D",             \
         .when = "experts"},                                                                                           \
        {"!model.layers.#.mlp.experts.#.down_proj.weight", "blk.#.ffn_down_exps.weight", NULL, .shape = "D,f",         \
         .when = "experts"},                                                                                           \
        {"model.layers.#.mlp.experts.gate_up_proj", "blk.#.ffn_gate_exps.weight", ht__arch_fused_gate_up,              \
         .shape = "E,2f,D", .when = "experts"},                                                                        \
    {                                                                                                                  \
        "model.layers.#.mlp.experts.down_proj", "blk.#.ffn_down_exps.weight", ht__arch_experts, .shape = "E,D,f",      \
                                                                                                .when = "experts"      \
    }
/* DeepSeek's and Qwen's: `where` is the checkpoint's name for them */
#define STD_SHARED_EXPERTS(where, gate_up, down, holds)                                                                \
    {"!model.layers.#.mlp." where ".gate_proj.*", "blk.#.ffn_gate_shexp.*", NULL, .shape = gate_up,                    \
     .when = "experts " holds},                                                                                        \
        {"!model.layers.#.mlp." where ".up_proj.*", "blk.#.ffn_up_shexp.*", NULL, .shape = gate_up,                    \
         .when = "experts " holds},                                                                                    \
    {                                                                                                                  \
        "!model.layers.#.mlp." where ".down_proj.*", "blk.#.ffn_down_shexp.*", NULL, .shape = down,                    \
                                                                                     .when = "experts " holds          \
    }
#define STD_END                                                                                                        \
    {                                                                                                                  \
        .from = NULL                                                                                                   \
    }

/* clang-format on */

#endif
