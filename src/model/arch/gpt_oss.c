/*
 * gpt-oss: experts in MXFP4 blocks or BF16, gate and up interleaved row by row, attention sinks. MXFP4
 * experts are repacked without decoding.
 */
#include "model/arch/std.h"
#include "model/arch/undo.h"

#include <string.h>

/* Even rows of every expert are gate, odd ones up: every other row over all experts, as each has an even
 * number of rows. */
static enum ht_err add_half(struct ht__arch_build *b, const struct ht__found *f, const struct ht__rows *rows,
                            const char *name, int64_t per_expert)
{
    const int64_t ne[3] = {rows ? rows->row_len : 0, per_expert / 2, b->n_experts};
    return ht__arch_add(b, ht__arch_name(b, f->layer, name), rows, f->tensor->dtype, 3, ne);
}

/* Experts are kept [experts, in, out]; blocks of MXFP4, which lie the other way, are seen so, too. */
static enum ht_err transposed(struct ht__arch_build *b, const struct ht__found *f, const struct ht__rows **out)
{
    if (f->tensor->n_dims != 3 || f->tensor->shape[0] != b->n_experts)
        return ht__arch_shape_error(b, f, "[experts, in, out]");
    *out = ht__rows_transpose(b->arena, f->rows, f->tensor->shape[1]);
    b->stack = *out; /* as folders of MXFP4 have them */
    return *out ? HT_OK : ht__fail_memory(b->diag, f->name);
}

static enum ht_err gate_up(struct ht__arch_build *b, const struct ht__found *f)
{
    const struct ht__rows *rows;
    HT_TRY(transposed(b, f, &rows));
    int64_t half = rows->n_rows / 2;
    HT_TRY(add_half(b, f, ht__rows_slice(b->arena, rows, 0, 2, half), "ffn_gate_exps.weight", f->tensor->shape[2]));
    return add_half(b, f, ht__rows_slice(b->arena, rows, 1, 2, half), "ffn_up_exps.weight", f->tensor->shape[2]);
}

static enum ht_err down(struct ht__arch_build *b, const struct ht__found *f)
{
    const struct ht__rows *rows;
    HT_TRY(transposed(b, f, &rows));
    const int64_t ne[3] = {f->tensor->shape[1], f->tensor->shape[2], b->n_experts};
    return ht__arch_add(b, ht__arch_name(b, f->layer, "ffn_down_exps.weight"), rows, f->tensor->dtype, 3, ne);
}

/* [experts, 2F]: every other value. */
static enum ht_err gate_up_bias(struct ht__arch_build *b, const struct ht__found *f)
{
    if (f->tensor->n_dims != 2 || f->tensor->shape[0] != b->n_experts || f->tensor->shape[1] % 2)
        return ht__arch_shape_error(b, f, "[experts, 2 x feed forward]");
    int64_t half = f->tensor->shape[1] / 2;
    const int64_t ne[2] = {half, b->n_experts};
    static const char *const names[2] = {"ffn_gate_exps.bias", "ffn_up_exps.bias"};
    for (int which = 0; which < 2; which++) {
        const int64_t params[4] = {which};
        HT_TRY(ht__arch_add(b, ht__arch_name(b, f->layer, names[which]),
                            ht__rows_pick(b->arena, f->rows, half, ht__map_every_second, params), f->tensor->dtype, 2,
                            ne));
    }
    return HT_OK;
}

/* ---- and back ---- */

/* Rows, or weights, of gate and up by turns: as rotation's pairs are from two halves, of one head for all. */
static enum ht_err by_turns(struct ht__undo *u, const struct ht__weight *gate, const char *up_name,
                            const struct ht__rows **out)
{
    const struct ht__weight *up;
    HT_TRY(ht__undo_take(u, up_name, &up));
    if (memcmp(gate->ne, up->ne, sizeof up->ne) != 0)
        return ht__undo_refuse(u, up->name, "it has not the shape of the gate's");
    const struct ht__rows *const parts[2] = {gate->rows, up->rows};
    *out = ht__rows_concat(u->b->arena, parts, 2);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, gate->name);
}

static enum ht_err gate_up_back(struct ht__undo *u, const struct ht__weight *gate, const struct ht__rows **out)
{
    const struct ht__rows *both;
    HT_TRY(by_turns(u, gate, "ffn_up_exps.weight", &both));
    const int64_t params[4] = {both->n_rows};
    both = ht__rows_permute(u->b->arena, both, ht__map_rope, params);
    *out = ht__rows_transpose(u->b->arena, both, 2 * gate->ne[1]);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, gate->name);
}

static enum ht_err gate_up_bias_back(struct ht__undo *u, const struct ht__weight *gate, const struct ht__rows **out)
{
    const struct ht__rows *both;
    HT_TRY(by_turns(u, gate, "ffn_up_exps.bias", &both));
    const int64_t params[4] = {both->n_rows * both->row_len};
    *out = ht__rows_pick(u->b->arena, both, 2 * gate->ne[0], ht__map_rope, params);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, gate->name);
}

static enum ht_err down_back(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    *out = ht__rows_transpose(u->b->arena, w->rows, w->ne[1]);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, w->name);
}

#define EXPERTS(from, to, how, dims, back)                                                                             \
    {                                                                                                                  \
        "!model.layers.#.mlp.experts." from, "blk.#." to, how, .shape = dims, .undo = back                             \
    }

static const struct ht__name_rule rules[] = {
    STD_EMBEDDING,
    {"!lm_head.*", "output.*", NULL, .shape = "V,D"},
    STD_QKV("attention_bias"),
    STD_O("attention_bias"),
    {"!model.layers.#.self_attn.sinks", "blk.#.attn_sinks.weight", NULL, .shape = "H"},
    {"!model.layers.#.input_layernorm.*", "blk.#.attn_norm.*", NULL, .shape = "D"},
    {"!model.layers.#.post_attention_layernorm.*", "blk.#.post_attention_norm.*", NULL, .shape = "D"},
    {"!model.layers.#.mlp.router.*", "blk.#.ffn_gate_inp.*", NULL, .shape = "E,D", .bias = "always"},
    EXPERTS("gate_up_proj", "ffn_gate_exps.weight", gate_up, "E,D,2F", gate_up_back),
    EXPERTS("down_proj", "ffn_down_exps.weight", down, "E,F,D", down_back),
    EXPERTS("gate_up_proj_bias", "ffn_gate_exps.bias", gate_up_bias, "E,2F", gate_up_bias_back),
    EXPERTS("down_proj_bias", "ffn_down_exps.bias", NULL, "E,D", NULL),
    STD_END,
};

static enum ht_err keys(struct ht__arch_build *b)
{
    int64_t window;
    HT_TRY(ht__arch_int(b, "sliding_window", 128, &window));
    HT_TRY(ht__arch_common(b));
    ht__arch_u32(b, "attention.key_length", b->head_dim);
    ht__arch_u32(b, "attention.value_length", b->head_dim);
    ht__arch_u32(b, "attention.sliding_window", window);
    ht__arch_u32(b, "expert_feed_forward_length", b->n_ff);
    return HT_OK;
}

static const struct ht__key_rule folder_keys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"expert_count", "num_local_experts"},
    {"?blk.0.attn_q.bias", "attention_bias"},
    {.key = NULL},
};

const struct ht__arch ht__arch_gpt_oss = {
    .name = "gpt-oss",
    .compute = &(const struct ht__arch_compute){.rope = HT__ROPE_HALVES,
                                                .act = HT__ACT_SWIGLU_OAI,
                                                .window = HT__WINDOW_EVEN,
                                                .post_is_ffn_norm = true,
                                                .fine_ramp = true,
                                                .softmax_chosen = true},
    .classes = "GptOssForCausalLM",
    .rules = rules,
    .metadata = keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["GptOssForCausalLM"],
                                                  "model_type" : "gpt_oss",
                                                  "hidden_act" : "silu",
                                                  "swiglu_limit" : 7.0
                                              }),
                                              .keys = folder_keys},
    .defaults = HT__JSON({
        "head_dim" : 64,
        "num_key_value_heads" : 8,
        "attention_bias" : true,
        "rms_norm_eps" : 1e-5,
        "max_position_embeddings" : 131072,
        "num_local_experts" : 128,
        "num_experts_per_tok" : 4,
        "rope_theta" : 150000,
        "rope_parameters" : {
            "rope_type" : "yarn",
            "factor" : 32,
            "beta_fast" : 32,
            "beta_slow" : 1,
            "original_max_position_embeddings" : 4096
        }
    })};
