#include "recipe/foreign.h"

#include <string.h>

/* The first match wins. */
enum ht__mix_class ht__foreign_class(const char *name)
{
    static const struct {
        const char *part;
        enum ht__mix_class class;
        bool whole;
    } table[] = {
        {"output.weight", HT__MIX_OUTPUT, true},
        {"token_embd.weight", HT__MIX_EMBEDDING, true},
        {"per_layer_token_embd.weight", HT__MIX_EMBEDDING, true},
        {"attn_qkv.weight", HT__MIX_QKV, false},
        {"attn_kv_b.weight", HT__MIX_KV_B, false},
        {"attn_v.weight", HT__MIX_V, false},
        {"attn_k.weight", HT__MIX_K, false},
        {"attn_q.weight", HT__MIX_Q, false},
        {"attn_output.weight", HT__MIX_O, false},
        {"ffn_up", HT__MIX_UP, false},
        {"ffn_gate", HT__MIX_GATE, false},
        {"ffn_down", HT__MIX_DOWN, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].whole ? strcmp(name, table[i].part) == 0 : strstr(name, table[i].part) != NULL)
            return table[i].class;
    return HT__MIX_OTHER;
}

/* Parts of names, then whole names. */
bool ht__foreign_never(const char *name)
{
    static const char *const parts[] = {"_norm.weight",
                                        "ffn_gate_inp.weight",
                                        "ffn_gate_tid2eid.weight",
                                        "altup",
                                        "laurel",
                                        "per_layer_model_proj",
                                        "ssm_conv1d",
                                        "shortconv.conv.weight",
                                        "indexer.k_proj.weight",
                                        "indexer.q_proj.weight",
                                        "time_mix_first.weight",
                                        "time_mix_w0.weight",
                                        "time_mix_w1.weight",
                                        "time_mix_w2.weight",
                                        "time_mix_v0.weight",
                                        "time_mix_v1.weight",
                                        "time_mix_v2.weight",
                                        "time_mix_a0.weight",
                                        "time_mix_a1.weight",
                                        "time_mix_a2.weight",
                                        "time_mix_g1.weight",
                                        "time_mix_g2.weight",
                                        "time_mix_decay_w1.weight",
                                        "time_mix_decay_w2.weight",
                                        "time_mix_lerp_fused.weight",
                                        "attn_rel_b.weight",
                                        ".position_embd",
                                        "sam.pos_embd",
                                        "sam.neck.",
                                        "sam.net_",
                                        ".rel_pos",
                                        ".patch_embd",
                                        ".patch_merger",
                                        "a.rvq.codebook",
                                        "mm.a.code_embd"};
    static const char *const names[] = {"position_embd.weight", "token_types.weight"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(name, parts[i])) return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}
