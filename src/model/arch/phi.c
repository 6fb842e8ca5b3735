/* Phi-2 (parallel blocks, partial rotation) and Phi-3/Phi-4 (fused QKV and gate-up). */
#include "model/arch/std.h"
#include "model/arch/undo.h"

#include <math.h>
#include <string.h>

static const struct ht__name_rule phi2_rules[] = {
    {"!model.embed_tokens.*", "token_embd.*", NULL, .shape = "V,D"},
    {"!model.final_layernorm.*", "output_norm.*", NULL, .shape = "D", .bias = "always"},
    {"!lm_head.*", "output.*", NULL, .shape = "V,D", .bias = "always"},
    STD_QKV("always"),
    {"!model.layers.#.self_attn.dense.*", "blk.#.attn_output.*", NULL, .shape = "D,D", .bias = "always"},
    {"!model.layers.#.input_layernorm.*", "blk.#.attn_norm.*", NULL, .shape = "D", .bias = "always"},
    {"!model.layers.#.mlp.fc1.*", "blk.#.ffn_up.*", NULL, .shape = "F,D", .bias = "always"},
    {"!model.layers.#.mlp.fc2.*", "blk.#.ffn_down.*", NULL, .shape = "D,F", .bias = "always"},
    STD_END,
};

static enum ht_err phi2_keys(struct ht__arch_build *b)
{
    double share = ht__arch_num(b, "partial_rotary_factor",
                                ht__jnum(ht__jget(b->config, "rope_parameters"), "partial_rotary_factor", 0.5));
    int64_t rotated;
    HT_TRY(ht__arch_rotated(b, share, b->n_embd, &rotated));
    ht__arch_sizes(b, "CEFBHK");
    ht__arch_f32(b, "attention.layer_norm_epsilon", ht__arch_num(b, "layer_norm_epsilon layer_norm_eps", 1e-5));
    ht__arch_u32(b, "rope.dimension_count", rotated / b->n_heads);
    ht__arch_file_type(b);
    ht__kv_bool(&b->model->kvs, "tokenizer.ggml.add_bos_token", false);
    return HT_OK;
}

static const struct ht__name_rule phi3_rules[] = {
    STD_EMBEDDING,
    STD_OUTPUT_UNTIED,
    {"!model.layers.#.self_attn.qkv_proj.*", "blk.#.attn_qkv.*", NULL, .shape = "Hh+2Kh,D"},
    STD_O(NULL),
    STD_NORMS,
    {"!model.layers.#.mlp.gate_up_proj.*", "blk.#.ffn_up.*", NULL, .shape = "2F,D"},
    {"!model.layers.#.mlp.down_proj.*", "blk.#.ffn_down.*", NULL, .shape = "D,F"},
    STD_END,
};

static enum ht_err phi3_rotated(struct ht__arch_build *b, int64_t *rotated)
{
    const struct ht__jnode *p = ht__jget(b->config, "rope_parameters");
    double share = ht__arch_num(b, "partial_rotary_factor", ht__jnum(p, "partial_rotary_factor", 1));
    HT_TRY(ht__arch_rotated(b, share, b->n_embd, rotated));
    *rotated /= b->n_heads;
    return HT_OK;
}

static double phi3_original(const struct ht__arch_build *b)
{
    const char *key = "original_max_position_embeddings";
    double from_rope = ht__jnum(ht__jget(b->config, "rope_parameters"), key, 0);
    double original = ht__jget(b->config, key) || from_rope <= 0 ? ht__arch_num(b, key, (double)b->n_ctx) : from_rope;
    return original >= 1 && original <= UINT32_MAX ? original : (double)b->n_ctx;
}

static enum ht_err phi3_keys(struct ht__arch_build *b)
{
    int64_t window, rotated;
    HT_TRY(ht__arch_int(b, "sliding_window", 0, &window));
    HT_TRY(phi3_rotated(b, &rotated));
    ht__arch_sizes(b, "C");
    ht__arch_u32(b, "rope.scaling.original_context_length", (int64_t)phi3_original(b));
    ht__arch_sizes(b, "EFBHK");
    ht__arch_f32(b, "attention.layer_norm_rms_epsilon", ht__arch_num(b, "rms_norm_eps", 1e-5));
    ht__arch_u32(b, "rope.dimension_count", rotated);
    ht__arch_f32(b, "rope.freq_base", b->rope_theta);
    ht__arch_file_type(b);
    ht__arch_u32(b, "attention.sliding_window", window);
    return HT_OK;
}

static enum ht_err add_factors(struct ht__arch_build *b, const struct ht__jnode *list, const char *name)
{
    int64_t n;
    HT_TRY(phi3_rotated(b, &n));
    n /= 2;
    if (!list || list->type != HT__JSON_ARRAY || (int64_t)list->n != n)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1,
                        "rope scaling: expected long_factor and short_factor of %lld numbers each", (long long)n);
    float *factors = ht__arena_array(b->tmp, (size_t)n, sizeof *factors);
    if (!factors) return ht__fail_memory(b->diag, name);
    for (int64_t i = 0; i < n; i++) {
        const struct ht__jnode *v = &list->children[i];
        if (v->type != HT__JSON_NUMBER || !isfinite(v->number))
            return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1, "rope scaling: factor %lld is not a number",
                            (long long)i);
        factors[i] = (float)v->number;
    }
    return ht__arch_add(b, name, ht__rows_floats(b->arena, factors, 1, n), ht__codec_by_name("f32"), 1, &n);
}

static enum ht_err phi3_factors(struct ht__arch_build *b)
{
    const char *type;
    const struct ht__jnode *s = ht__arch_rope_scaling(b, &type);
    if (!s || (!ht__jget(s, "long_factor") && !ht__jget(s, "short_factor"))) return HT_OK;
    double original = phi3_original(b), stretch = (double)b->n_ctx / original, factor = 1;
    if (stretch > 1)
        factor = strcmp(type, "yarn") == 0 ? 0.1 * log(stretch) + 1 : sqrt(1 + log(stretch) / log(original));
    ht__arch_f32(b, "rope.scaling.attn_factor", factor); /* the first of the keys */
    HT_TRY(add_factors(b, ht__jget(s, "long_factor"), "rope_factors_long.weight"));
    return add_factors(b, ht__jget(s, "short_factor"), "rope_factors_short.weight");
}

/* ---- back to folders ---- */

/* rope.dimension_count as a share of all heads' width, so that the conversion finds that number again. */
static enum ht_err put_share(struct ht__undo *u)
{
    double heads = ht__undo_num(u, "attention.head_count", 0), width = ht__undo_num(u, "embedding_length", 0);
    double rotated = ht__undo_num(u, "rope.dimension_count", 0) * heads;
    if (!(heads >= 1) || !(width >= heads) || rotated > width)
        return ht__undo_refuse(u, "rope.dimension_count", "more of a head is rotated than there is");
    double share = rotated / width;
    ht__jw_double(u->config, "partial_rotary_factor", share * width < rotated ? nextafter(share, 2) : share);
    return HT_OK;
}

static const struct ht__key_rule phi3_folder_keys[] = {
    {"rope.scaling.original_context_length", "original_max_position_embeddings"},
    {.key = NULL},
};

static enum ht_err put_factors(struct ht__undo *u, const struct ht__weight *w, const char *name)
{
    enum { MOST = 4096 };
    float *factors;
    HT_TRY(ht__undo_floats(u, w, MOST, &factors));
    ht__jw_array(u->config, name);
    for (int64_t i = 0; i < w->rows->n_rows * w->rows->row_len; i++)
        ht__undo_put(u, NULL, factors[i]);
    ht__jw_end(u->config);
    return HT_OK;
}

static enum ht_err phi3_folder(struct ht__undo *u)
{
    const struct ht__weight *longer = ht__undo_find(u, "rope_factors_long.weight");
    const struct ht__weight *shorter = ht__undo_find(u, "rope_factors_short.weight");
    double window = ht__undo_num(u, "attention.sliding_window", 0);
    if (window >= 1)
        ht__undo_put_int(u, "sliding_window", window);
    else
        ht__jw_null(u->config, "sliding_window");
    ht__undo_put(u, "rope_theta", ht__undo_num(u, "rope.freq_base", 10000));
    HT_TRY(put_share(u));
    if (!longer || !shorter) return HT_OK;
    ht__jw_object(u->config, "rope_scaling");
    ht__jw_str(u->config, "type", "longrope");
    HT_TRY(put_factors(u, longer, "long_factor"));
    HT_TRY(put_factors(u, shorter, "short_factor"));
    ht__jw_end(u->config);
    return HT_OK;
}

const struct ht__arch ht__arch_phi2 = {
    .name = "phi2",
    .compute =
        &(const struct ht__arch_compute){
            .layer_norm = true, .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU_TANH, .parallel = HT__PARALLEL_YES},
    .classes = "PhiForCausalLM",
    .rules = phi2_rules,
    .metadata = phi2_keys,
    .folder = &(const struct ht__arch_folder){.fixed = HT__JSON({
                                                  "architectures" : ["PhiForCausalLM"],
                                                  "model_type" : "phi",
                                                  "hidden_act" : "gelu_new",
                                                  "qk_layernorm" : false
                                              }),
                                              .more = put_share}};
const struct ht__arch ht__arch_phi3 = {
    .name = "phi3",
    .compute = &(const struct ht__arch_compute){.rope = HT__ROPE_HALVES, .window = HT__WINDOW_ALL},
    .classes = "Phi3ForCausalLM Phi4ForCausalLM",
    .rules = phi3_rules,
    .metadata = phi3_keys,
    .folder =
        &(const struct ht__arch_folder){
            .fixed = HT__JSON({"architectures" : ["Phi3ForCausalLM"], "model_type" : "phi3", "hidden_act" : "silu"}),
            .keys = phi3_folder_keys,
            .more = phi3_folder,
            .own_rope = true},
    .generate = phi3_factors,
    .defaults =
        HT__JSON({"rms_norm_eps" : 1e-5, "max_position_embeddings" : 4096, "original_max_position_embeddings" : 4096})};
