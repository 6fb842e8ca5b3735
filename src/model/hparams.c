#include "model/hparams.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct source {
    const struct ht__model *model;
    const char *where;
    struct ht_diag *diag;
    enum ht_err err;
};

static const struct ht__kv *find(const struct source *s, const char *suffix)
{
    char key[160];
    snprintf(key, sizeof key, "%s.%s", s->model->arch, suffix);
    return ht__kv_get(&s->model->kvs, key);
}

static bool has(const struct source *s, const char *suffix)
{
    return find(s, suffix) != NULL;
}

/* A whole number within low … high; `otherwise` where the key is absent; < 0 there means required. */
static int whole(struct source *s, const char *suffix, int otherwise, int low, int high)
{
    const struct ht__kv *kv = find(s, suffix);
    uint64_t v = 0;
    if (s->err) return low;
    if (!kv && otherwise >= 0) return otherwise;
    if (kv && kv->type == HT__KV_ARR && kv->elem == HT__KV_U32 && kv->n > 0) {
        const uint32_t *list = kv->data; /* per layer: taken where all agree */
        bool same = true;
        for (uint64_t i = 1; i < kv->n; i++)
            same &= list[i] == list[0];
        if (same && list[0] >= (uint32_t)low && list[0] <= (uint32_t)high) return (int)list[0];
    }
    char key[160];
    snprintf(key, sizeof key, "%s.%s", s->model->arch, suffix);
    if (!kv || !ht__kv_get_u64(&s->model->kvs, key, &v) || v < (uint64_t)low || v > (uint64_t)high) {
        s->err = ht__fail(s->diag, kv ? HT_ERR_UNSUPPORTED : HT_ERR_FORMAT, s->where, -1,
                          "metadata key %s %s (running the model needs a number from %d to %d)", key,
                          kv ? "has a value that cannot be run" : "is missing", low, high);
        return low;
    }
    return (int)v;
}

static float real(const struct source *s, const char *suffix, float otherwise)
{
    const struct ht__kv *kv = find(s, suffix);
    return kv && (kv->type == HT__KV_F32 || kv->type == HT__KV_F64) ? (float)kv->f : otherwise;
}

static bool flag(const struct source *s, const char *suffix, bool otherwise)
{
    const struct ht__kv *kv = find(s, suffix);
    return kv && kv->type == HT__KV_BOOL ? kv->u != 0 : otherwise;
}

static bool text_is(const struct source *s, const char *suffix, const char *text)
{
    const struct ht__kv *kv = find(s, suffix);
    return kv && kv->type == HT__KV_STR && kv->str.len == strlen(text) && memcmp(kv->str.text, text, kv->str.len) == 0;
}

static void read_window(const struct source *s, struct ht__hparams *h)
{
    uint64_t v;
    char key[160];
    snprintf(key, sizeof key, "%s.attention.sliding_window", s->model->arch);
    if (h->compute->window == HT__WINDOW_NONE || !ht__kv_get_u64(&s->model->kvs, key, &v) || v == 0) return;
    h->window = v < INT_MAX ? (int)v : INT_MAX;
    const struct ht__kv *list = find(s, "attention.sliding_window_pattern");
    for (int i = 0; i < h->n_layers; i++)
        switch (h->compute->window) {
        case HT__WINDOW_ALL: h->slides[i] = true; break;
        case HT__WINDOW_EVEN: h->slides[i] = i % 2 == 0; break;
        case HT__WINDOW_FIVE_OF_SIX: h->slides[i] = (i + 1) % 6 != 0; break;
        case HT__WINDOW_LISTED:
            h->slides[i] = list && list->type == HT__KV_ARR && list->elem == HT__KV_BOOL && (uint64_t)i < list->n &&
                           ((const uint8_t *)list->data)[i];
            break;
        case HT__WINDOW_NONE: break;
        }
}

static void read_rope(struct source *s, struct ht__hparams *h)
{
    h->rope_base = real(s, "rope.freq_base", 10000);
    float sliding = h->compute->sliding_base > 0 ? h->compute->sliding_base : h->rope_base;
    h->rope_base_sliding = real(s, "rope.freq_base_swa", sliding);
    h->sliding_unscaled = h->compute->sliding_unscaled || h->compute->sliding_base > 0 || has(s, "rope.freq_base_swa");
    h->rope_scale = h->rope_factor = 1;
    h->original_ctx = (float)whole(s, "rope.scaling.original_context_length", 0, 0, INT_MAX);
    float factor = real(s, "rope.scaling.factor", 0);
    h->yarn = text_is(s, "rope.scaling.type", "yarn");
    if (factor > 0 && (h->yarn || text_is(s, "rope.scaling.type", "linear"))) h->rope_scale = 1 / factor;
    if (h->yarn) {
        h->yarn_original = h->original_ctx > 0 ? h->original_ctx : (float)h->n_ctx_train;
        h->yarn_fast = real(s, "rope.scaling.yarn_beta_fast", 32);
        h->yarn_slow = real(s, "rope.scaling.yarn_beta_slow", 1);
        /* DeepSeek puts the factor into the attention scale instead */
        float log_factor = factor > 1 ? logf(factor) : 0;
        if (has(s, "rope.scaling.yarn_log_multiplier")) {
            float m = 1 + real(s, "rope.scaling.yarn_log_multiplier", 0) * log_factor;
            h->attn_scale *= m * m;
        } else {
            h->rope_factor = real(s, "rope.scaling.yarn_attn_factor", 1 + 0.1f * log_factor);
        }
    }
    h->rope_factor *= real(s, "rope.scaling.attn_factor", 1);
}

static void read_attention(struct source *s, struct ht__hparams *h)
{
    int head = h->n_embd / (h->n_heads > 0 ? h->n_heads : 1);
    h->latent = has(s, "attention.kv_lora_rank");
    h->key_len = whole(s, "attention.key_length", head, 1, 65536);
    h->value_len = whole(s, "attention.value_length", head, 1, 65536);
    h->n_rot = whole(s, "rope.dimension_count", h->key_len, 0, h->key_len);
    if (!s->err && h->n_rot % 2)
        s->err = ht__fail(s->diag, HT_ERR_FORMAT, s->where, -1,
                          "the head has %d rotary dimensions: expected an even number", h->n_rot);
    float scaled_by = (float)h->key_len;
    if (h->latent) {
        h->kv_rank = whole(s, "attention.kv_lora_rank", -1, 1, 65536);
        scaled_by = (float)whole(s, "attention.key_length_mla", -1, 1, 65536);
        h->mla_value_len = whole(s, "attention.value_length_mla", -1, 1, 65536);
        h->nope_len = (int)scaled_by - h->n_rot;
        if (!s->err && (h->key_len != h->kv_rank + h->n_rot || h->value_len != h->kv_rank || h->nope_len < 1 ||
                        h->n_kv_heads != 1))
            s->err = ht__fail(s->diag, HT_ERR_UNSUPPORTED, s->where, -1,
                              "latent attention whose key and value lengths do not follow from its rank; a file of an "
                              "older converter has to be converted anew");
    }
    if (h->compute->wide_scale_layers == h->n_layers) scaled_by = (float)head;
    h->attn_scale = 1 / sqrtf(scaled_by);
    float scale = real(s, "attention.scale", 0);
    if (scale > 0) h->attn_scale = scale;
    h->attn_cap = real(s, "attn_logit_softcapping", 0);
    h->final_cap = real(s, "final_logit_softcapping", 0);
}

static void read_experts(struct source *s, struct ht__hparams *h)
{
    h->n_experts = whole(s, "expert_count", 0, 0, 4096);
    if (h->n_experts == 0) return;
    h->n_used = whole(s, "expert_used_count", -1, 1, h->n_experts);
    h->n_groups = whole(s, "expert_group_count", 1, 0, h->n_experts);
    h->n_groups_used = whole(s, "expert_group_used_count", h->n_groups, 0, h->n_experts);
    if (!s->err && h->n_groups > 0 && h->n_experts % h->n_groups)
        s->err = ht__fail(s->diag, HT_ERR_FORMAT, s->where, -1, "%d experts cannot form %d groups", h->n_experts,
                          h->n_groups);
    h->sigmoid_router = whole(s, "expert_gating_func", 1, 0, 8) == 2;
    h->normalize_experts = flag(s, "expert_weights_norm", h->compute->normalized_experts);
    h->expert_scale = real(s, "expert_weights_scale", 1);
}

static int vocabulary(const struct ht__model *m)
{
    const struct ht__weight *embedding = ht__model_find(m, HT__ROLE_EMBEDDING);
    return embedding && embedding->ne[1] <= INT_MAX ? (int)embedding->ne[1] : 0;
}

enum ht_err ht__hparams_read(const struct ht__model *model, const char *where, struct ht__hparams *h,
                             struct ht_diag *diag)
{
    struct source s = {model, where, diag, HT_OK};
    *h = (struct ht__hparams){.compute = ht__arch_compute_of(model->arch), .n_vocab = vocabulary(model)};
    if (!h->compute)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, where, -1, "architecture \"%s\" can be converted but not run",
                        model->arch);
    if (!h->n_vocab) return ht__fail(diag, HT_ERR_FORMAT, where, -1, "the model has no token_embd.weight");
    h->n_layers = whole(&s, "block_count", -1, 1, HT__MOST_LAYERS);
    h->n_embd = whole(&s, "embedding_length", -1, 1, 1 << 20);
    h->n_heads = whole(&s, "attention.head_count", -1, 1, 65536);
    h->n_kv_heads = whole(&s, "attention.head_count_kv", h->n_heads, 1, 65536);
    h->n_ctx_train = whole(&s, "context_length", -1, 1, INT_MAX);
    if (!s.err && h->n_heads % h->n_kv_heads)
        return ht__fail(diag, HT_ERR_FORMAT, where, -1, "%d heads cannot share %d key-value heads", h->n_heads,
                        h->n_kv_heads);
    if (s.err) return s.err;
    const char *eps = h->compute->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    h->eps = real(&s, eps, 1e-5f);
    h->embed_scale = h->compute->scaled_embedding ? sqrtf((float)h->n_embd) : real(&s, "embedding_scale", 1);
    h->residual_scale = real(&s, "residual_scale", 1);
    h->logit_scale = 1 / real(&s, "logit_scale", 1);
    h->parallel = h->compute->parallel == HT__PARALLEL_YES ||
                  (h->compute->parallel == HT__PARALLEL_KEY && flag(&s, "use_parallel_residual", true));
    read_attention(&s, h);
    read_window(&s, h);
    read_rope(&s, h);
    read_experts(&s, h);
    return s.err;
}
