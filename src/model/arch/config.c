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
        return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1, "\"%s\" is not a natural number up to 2^30", names);
    if (!v && otherwise < 0) return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1, "\"%s\" is missing", names);
    *out = v ? v->integer : otherwise;
    return HT_OK;
}

double ht__arch_num(const struct ht__arch_build *b, const char *names, double otherwise)
{
    const struct ht__jnode *v = ht__arch_get(b, names);
    return v && v->type == HT__JSON_NUMBER && isfinite(v->number) ? v->number : otherwise;
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

void ht__arch_sizes(struct ht__arch_build *b, const char *letters)
{
    for (const char *p = letters; *p; p++) {
        switch (*p) {
        case 'C': ht__arch_u32(b, "context_length", b->n_ctx); break;
        case 'E': ht__arch_u32(b, "embedding_length", b->n_embd); break;
        case 'B': ht__arch_u32(b, "block_count", b->n_layers); break;
        case 'F': ht__arch_u32(b, "feed_forward_length", b->n_ff); break;
        case 'H': ht__arch_u32(b, "attention.head_count", b->n_heads); break;
        default: ht__arch_u32(b, "attention.head_count_kv", b->n_kv_heads); break;
        }
    }
}

void ht__arch_file_type(struct ht__arch_build *b)
{
    b->model->file_type_at = b->model->kvs.n;
}

/* Transformers' classes of some types always have a head_dim; others only where config.json says it. */
static void key_length(struct ht__arch_build *b)
{
    static const char *const types[] = {"llama", "mistral", "deepseek_v2", "deepseek_v3"};
    const char *type = ht__jstr(b->config, "model_type", "");
    bool has = ht__jget(b->config, "head_dim") != NULL;
    for (size_t i = 0; i < sizeof types / sizeof types[0] && !has; i++)
        has = strcmp(types[i], type) == 0;
    if (!has) return;
    ht__arch_u32(b, "attention.key_length", b->head_dim);
    ht__arch_u32(b, "attention.value_length", b->head_dim);
}

enum ht_err ht__arch_rotated(struct ht__arch_build *b, double share, int64_t width, int64_t *out)
{
    if (!(share >= 0 && share <= 1))
        return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1,
                        "%g of a head's weights are rotated, but the share must be from 0 to 1", share);
    *out = (int64_t)(share * (double)width);
    return HT_OK;
}

/* The context length before YaRN: where the scaling says it, where the configuration does, or the length itself. */
static int64_t original_context(const struct ht__arch_build *b, const struct ht__jnode *s)
{
    static const char name[] = "original_max_position_embeddings";
    double original = ht__jnum(s, name, ht__arch_num(b, name, 0));
    return original > 0 && original <= UINT32_MAX ? (int64_t)original : b->n_ctx;
}

static void yarn(struct ht__arch_build *b, const struct ht__jnode *s)
{
    static const char *const optional[][2] = {{"extrapolation_factor", "rope.scaling.yarn_ext_factor"},
                                              {"attention_factor", "rope.scaling.yarn_attn_factor"},
                                              {"beta_fast", "rope.scaling.yarn_beta_fast"},
                                              {"beta_slow", "rope.scaling.yarn_beta_slow"}};
    double usual = 1 + 0.1 * log(ht__jnum(s, "factor", 1));
    double attention = ht__jnum(s, "attention_factor", ht__jnum(s, "attn_factor", usual));
    bool said = ht__jget(s, "attention_factor") || ht__jget(s, "attn_factor");
    if (fabs(attention - usual) > 1e-4)
        ht__log_printf(b->log, HT__LOG_WARNING,
                       "YaRN's attention_factor is %g; runtimes of GGUF files compute their own, %g", attention, usual);
    ht__arch_str(b, "rope.scaling.type", "yarn");
    ht__arch_f32(b, "rope.scaling.factor", ht__jnum(s, "factor", 1));
    ht__arch_u32(b, "rope.scaling.original_context_length", original_context(b, s));
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++) {
        if (strcmp(optional[i][0], "attention_factor") == 0 && said)
            ht__arch_f32(b, optional[i][1], attention);
        else if (ht__jget(s, optional[i][0]))
            ht__arch_f32(b, optional[i][1], ht__jnum(s, optional[i][0], 0));
    }
}

/* Rotation by time, height, width and one more, in the text part of a vision model. */
static void rope_sections(struct ht__arch_build *b)
{
    const struct ht__jnode *list = ht__jget(ht__jget(b->config, "rope_parameters"), "mrope_section");
    if (!list) list = ht__jget(ht__jget(b->config, "rope_scaling"), "mrope_section");
    int32_t sections[4] = {0};
    if (!list || list->type != HT__JSON_ARRAY) return;
    for (size_t i = 0; i < list->n && i < 4; i++) {
        const struct ht__jnode *v = &list->children[i];
        if (v->type == HT__JSON_NUMBER && v->is_int && v->integer >= 0 && v->integer <= INT32_MAX)
            sections[i] = (int32_t)v->integer;
    }
    ht__kv_array(&b->model->kvs, key(b, "rope.dimension_sections"), HT__KV_I32, sections, 4);
}

/* The base of sliding layers, or 0 where they have none of their own. */
static double sliding_theta(const struct ht__arch_build *b)
{
    const struct ht__jnode *p = ht__jget(b->config, "rope_parameters");
    bool olmo3 = strcmp(b->arch->name, "olmo2") == 0 && ht__arch_get(b, "sliding_window");
    double theta = ht__arch_num(b, "local_rope_theta rope_local_theta swa_rope_theta rope_local_base_freq",
                                olmo3 ? b->rope_theta : 0);
    return ht__jnum(ht__jget(p, "sliding_attention"), "rope_theta", theta);
}

static void rope(struct ht__arch_build *b)
{
    const char *type;
    const struct ht__jnode *s = ht__arch_rope_scaling(b, &type);
    bool factor = ht__jget(s, "factor") != NULL;
    if (s && strcmp(type, "linear") == 0 && factor) {
        ht__arch_str(b, "rope.scaling.type", "linear");
        ht__arch_f32(b, "rope.scaling.factor", ht__jnum(s, "factor", 1));
    } else if (s && strcmp(type, "yarn") == 0 && factor) {
        yarn(b, s);
    } else if (s && (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0)) {
        ht__arch_str(b, "rope.scaling.type", "longrope");
    }
    rope_sections(b);
    ht__arch_f32(b, "rope.freq_base", b->rope_theta);
    double sliding = sliding_theta(b);
    if (sliding > 0) ht__arch_f32(b, "rope.freq_base_swa", sliding);
}

static void norms(struct ht__arch_build *b)
{
    double rms = ht__arch_num(b, "rms_norm_eps", -1);
    double norm = ht__arch_num(b, "layer_norm_eps layer_norm_epsilon norm_epsilon", -1);
    if (rms >= 0) ht__arch_f32(b, "attention.layer_norm_rms_epsilon", rms);
    if (norm >= 0) ht__arch_f32(b, "attention.layer_norm_epsilon", norm);
}

/* Runtimes take softmax where the key is missing. DeepSeek V3 means sigmoid, and its configuration need not say so. */
static void expert_gating(struct ht__arch_build *b)
{
    static const struct {
        const char *name;
        int id;
    } known[] = {{"softmax", 1}, {"sigmoid", 2}, {"sqrtsoftplus", 4}};
    const struct ht__jnode *v = ht__arch_get(b, "score_function scoring_func score_func moe_router_activation");
    bool v3 = b->n_experts && strstr(ht__jstr(b->config, "model_type", ""), "deepseek_v3");
    const char *said = v && v->type == HT__JSON_STRING ? v->text : v3 ? "sigmoid" : "";
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, said) == 0) ht__arch_u32(b, "expert_gating_func", known[i].id);
}

static enum ht_err experts(struct ht__arch_build *b)
{
    int64_t groups, used;
    HT_TRY(ht__arch_int(b, "n_group", 0, &groups));
    HT_TRY(ht__arch_int(b, "topk_group", 0, &used));
    if (b->n_experts) {
        ht__arch_u32(b, "expert_count", b->n_experts);
        ht__arch_u32(b, "expert_used_count", b->n_experts_used);
    }
    if (groups > 0) ht__arch_u32(b, "expert_group_count", groups);
    if (used > 0) ht__arch_u32(b, "expert_group_used_count", used);
    expert_gating(b);
    return HT_OK;
}

enum ht_err ht__arch_common(struct ht__arch_build *b)
{
    ht__arch_sizes(b, "BCEFHK");
    rope(b);
    norms(b);
    HT_TRY(experts(b));
    key_length(b);
    ht__arch_file_type(b);
    return HT_OK;
}
