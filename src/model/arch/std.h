/*
 * The names that most decoders since Llama use. STD_… are rows of a name table; an architecture takes
 * those that it has and adds its own.
 */
#ifndef HT_MODEL_ARCH_STD_H
#define HT_MODEL_ARCH_STD_H

#include "model/arch/arch.h"

#define STD_EMBEDDING                                                                              \
    {"!model.embed_tokens.*", "token_embd.*", NULL}, {"!model.norm.*", "output_norm.*", NULL}
#define STD_OUTPUT {"lm_head.*", "output.*", NULL}
#define STD_QKV                                                                                    \
    {"!model.layers.#.self_attn.q_proj.*", "blk.#.attn_q.*", NULL},                                \
        {"!model.layers.#.self_attn.k_proj.*", "blk.#.attn_k.*", NULL},                            \
        {"!model.layers.#.self_attn.v_proj.*", "blk.#.attn_v.*", NULL}
/* for runtimes that rotate interleaved pairs */
#define STD_QKV_PERMUTED                                                                           \
    {"!model.layers.#.self_attn.q_proj.*", "blk.#.attn_q.*", ht__arch_permute_q},                  \
        {"!model.layers.#.self_attn.k_proj.*", "blk.#.attn_k.*", ht__arch_permute_k},              \
        {"!model.layers.#.self_attn.v_proj.*", "blk.#.attn_v.*", NULL}
#define STD_O {"!model.layers.#.self_attn.o_proj.*", "blk.#.attn_output.*", NULL}
#define STD_QK_NORM                                                                                \
    {"!model.layers.#.self_attn.q_norm.*", "blk.#.attn_q_norm.*", NULL},                           \
        {"!model.layers.#.self_attn.k_norm.*", "blk.#.attn_k_norm.*", NULL}
#define STD_NORMS                                                                                  \
    {"!model.layers.#.input_layernorm.*", "blk.#.attn_norm.*", NULL},                              \
        {"!model.layers.#.post_attention_layernorm.*", "blk.#.ffn_norm.*", NULL}
#define STD_FFN                                                                                    \
    {"model.layers.#.mlp.gate_proj.*", "blk.#.ffn_gate.*", NULL},                                  \
        {"model.layers.#.mlp.up_proj.*", "blk.#.ffn_up.*", NULL},                                  \
        {"model.layers.#.mlp.down_proj.*", "blk.#.ffn_down.*", NULL}
/* experts one by one, or fused as newer checkpoints have them */
#define STD_EXPERTS                                                                                \
    {"model.layers.#.mlp.gate.*", "blk.#.ffn_gate_inp.*", NULL},                                   \
        {"model.layers.#.mlp.experts.#.gate_proj.weight", "blk.#.ffn_gate_exps.weight", NULL},     \
        {"model.layers.#.mlp.experts.#.up_proj.weight", "blk.#.ffn_up_exps.weight", NULL},         \
        {"model.layers.#.mlp.experts.#.down_proj.weight", "blk.#.ffn_down_exps.weight", NULL},     \
        {"model.layers.#.mlp.experts.gate_up_proj", "blk.#.ffn_gate_up", ht__arch_fused_gate_up},  \
        {"model.layers.#.mlp.experts.down_proj", "blk.#.ffn_down_exps.weight", ht__arch_experts}
#define STD_END {NULL, NULL, NULL}

#endif
