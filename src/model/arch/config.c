/* Reading config.json with its classes' defaults, and the metadata that most architectures share. */
#include "model/arch/arch.h"

#include <math.h>
#include <string.h>

/* The first of the names that is there; *none: one is, and says null, which is a value. */
static const struct ht__jnode *first_of(const struct ht__jnode *object, const char *names, bool *none)
{
    for (const char *p = names; object && *p;) {
        size_t n = strcspn(p, " ");
        for (size_t i = 0; i < object->n; i++) {
            if (strncmp(object->keys[i], p, n) != 0 || object->keys[i][n] != '\0') continue;
            if (object->children[i].type != HT__JSON_NULL) return &object->children[i];
            *none = true;
        }
        p += n + (p[n] == ' ');
    }
    return NULL;
}

const struct ht__jnode *ht__arch_get(const struct ht__arch_build *b, const char *names)
{
    bool none = false;
    const struct ht__jnode *v = first_of(b->config, names, &none);
    if (!v && !none) v = first_of(b->class_defaults, names, &none);
    return v || none ? v : first_of(b->defaults, names, &none);
}

enum ht_err ht__arch_int(struct ht__arch_build *b, const char *names, int64_t otherwise, int64_t *out)
{
    enum { LARGEST = 1 << 30 };
    const struct ht__jnode *v = ht__arch_get(b, names);
    if (v && (v->type != HT__JSON_NUMBER || !v->is_int || v->integer < 0 || v->integer > LARGEST))
        return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1,
                        "\"%s\" is not a natural number up to 2^30", names);
    if (!v && otherwise < 0)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1, "\"%s\" is missing", names);
    *out = v ? v->integer : otherwise;
    return HT_OK;
}

double ht__arch_num(const struct ht__arch_build *b, const char *names, double otherwise)
{
    const struct ht__jnode *v = ht__arch_get(b, names);
    return v && v->type == HT__JSON_NUMBER ? v->number : otherwise;
}

const struct ht__jnode *ht__arch_rope_scaling(const struct ht__arch_build *b, const char **type)
{
    const struct ht__jnode *scaling = ht__jget(b->config, "rope_scaling");
    if (!scaling) scaling = ht__arch_get(b, "rope_parameters");
    /* one for sliding layers, which is plain, and one for the others */
    const struct ht__jnode *full = ht__jget(scaling, "full_attention");
    if (full) scaling = full;
    *type = ht__jstr(scaling, "rope_type", ht__jstr(scaling, "type", NULL));
    if (!*type || strcmp(*type, "default") == 0) return NULL;
    return scaling;
}

static const char *key(struct ht__arch_build *b, const char *suffix)
{
    const char *k = ht__arena_printf(b->tmp, "%s.%s", b->arch->name, suffix);
    if (!k) b->model->kvs.failed = true;
    return k ? k : suffix;
}

void ht__arch_u32(struct ht__arch_build *b, const char *suffix, int64_t v)
{
    ht__kv_u32(&b->model->kvs, key(b, suffix), (uint32_t)v);
}

void ht__arch_f32(struct ht__arch_build *b, const char *suffix, double v)
{
    ht__kv_f32(&b->model->kvs, key(b, suffix), (float)v);
}

void ht__arch_bool(struct ht__arch_build *b, const char *suffix, bool v)
{
    ht__kv_bool(&b->model->kvs, key(b, suffix), v);
}

void ht__arch_str(struct ht__arch_build *b, const char *suffix, const char *v)
{
    ht__kv_str(&b->model->kvs, key(b, suffix), v);
}

void ht__arch_basic(struct ht__arch_build *b, bool kv_heads)
{
    ht__arch_u32(b, "context_length", b->n_ctx);
    ht__arch_u32(b, "embedding_length", b->n_embd);
    ht__arch_u32(b, "block_count", b->n_layers);
    ht__arch_u32(b, "feed_forward_length", b->n_ff);
    ht__arch_u32(b, "attention.head_count", b->n_heads);
    if (kv_heads) ht__arch_u32(b, "attention.head_count_kv", b->n_kv_heads);
}

void ht__arch_yarn(struct ht__arch_build *b, const struct ht__jnode *s)
{
    static const char *const optional[][2] = {
        {"extrapolation_factor", "rope.scaling.yarn_ext_factor"},
        {"attention_factor", "rope.scaling.yarn_attn_factor"},
        {"beta_fast", "rope.scaling.yarn_beta_fast"},
        {"beta_slow", "rope.scaling.yarn_beta_slow"}};
    double original = ht__jnum(s, "original_max_position_embeddings", 0);
    double usual = 1 + 0.1 * log(ht__jnum(s, "factor", 1)), attention = ht__jnum(s, "attention_factor", usual);
    if (fabs(attention - usual) > 1e-4)
        ht__log_printf(b->log, HT__LOG_WARNING,
                       "YaRN's attention_factor is %g; runtimes of GGUF files compute their own, %g", attention, usual);
    ht__arch_str(b, "rope.scaling.type", "yarn");
    ht__arch_f32(b, "rope.scaling.factor", ht__jnum(s, "factor", 1));
    if (original > 0) ht__arch_u32(b, "rope.scaling.original_context_length", (int64_t)original);
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++)
        if (ht__jget(s, optional[i][0]))
            ht__arch_f32(b, optional[i][1], ht__jnum(s, optional[i][0], 0));
}

static void rope_scaling(struct ht__arch_build *b)
{
    const char *type;
    const struct ht__jnode *s = ht__arch_rope_scaling(b, &type);
    if (s && strcmp(type, "linear") == 0) {
        ht__arch_str(b, "rope.scaling.type", "linear");
        ht__arch_f32(b, "rope.scaling.factor", ht__jnum(s, "factor", 1));
    } else if (s && strcmp(type, "yarn") == 0) {
        ht__arch_yarn(b, s);
    }
}

void ht__arch_norm_eps(struct ht__arch_build *b)
{
    double rms = ht__arch_num(b, "rms_norm_eps", -1);
    double norm = ht__arch_num(b, "layer_norm_eps layer_norm_epsilon norm_epsilon", -1);
    if (rms >= 0) ht__arch_f32(b, "attention.layer_norm_rms_epsilon", rms);
    if (norm >= 0) ht__arch_f32(b, "attention.layer_norm_epsilon", norm);
}

void ht__arch_experts_keys(struct ht__arch_build *b)
{
    if (!b->n_experts) return;
    ht__arch_u32(b, "expert_count", b->n_experts);
    ht__arch_u32(b, "expert_used_count", b->n_experts_used);
}

void ht__arch_common(struct ht__arch_build *b)
{
    ht__arch_basic(b, true);
    ht__arch_f32(b, "rope.freq_base", b->rope_theta);
    ht__arch_norm_eps(b);
    ht__arch_experts_keys(b);
    if (ht__jget(b->config, "head_dim")) {
        ht__arch_u32(b, "attention.key_length", b->head_dim);
        ht__arch_u32(b, "attention.value_length", b->head_dim);
    }
    rope_scaling(b);
}
