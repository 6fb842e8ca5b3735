/* Binds a model's tensors to the engine's roles. Where the bytes come from is keeper.c's affair. */
#include "engine/weights.h"
#include "engine/keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t at;
} matrix_roles[] = {
#define HT_MATRIX(field, name) {name, offsetof(struct ht__layer, field)},
#include "engine/roles.def"
#undef HT_MATRIX
}, vector_roles[] = {
#define HT_VECTOR(field, name) {name, offsetof(struct ht__layer, field)},
#include "engine/roles.def"
#undef HT_VECTOR
};

struct binder {
    struct ht__weights *w;
    const char *where;
    struct ht_diag *diag;
};

static struct ht__matrix matrix_of(const struct ht__weight *weight)
{
    /* what is kept in memory: as stored, or, where rows are only computed, in the source's plain type */
    const struct ht__codec *type = weight->rows->raw_type ? weight->rows->raw_type : weight->source;
    if (!weight->rows->raw_type && (!(type->flags & HT__CODEC_PLAIN) || !type->encode)) type = ht__codec_by_name("f32");
    return (struct ht__matrix){.weight = weight,
                               .type = type,
                               .n_in = weight->ne[0],
                               .n_out = weight->ne[1],
                               .n_mats = weight->ne[2] * weight->ne[3],
                               .row_bytes = ht__codec_bytes(type, (uint64_t)weight->ne[0])};
}

static enum ht_err read_floats(struct binder *b, const struct ht__weight *weight, const float **out, int64_t *n)
{
    struct ht__arena scratch;
    *n = weight->rows->n_rows * weight->rows->row_len;
    float *data = ht__arena_raw(&b->w->arena, (size_t)*n * sizeof(float));
    if (!data) return ht__fail_memory(b->diag, weight->name);
    ht__arena_init(&scratch, NULL);
    enum ht_err err = weight->rows->read(weight->rows, 0, weight->rows->n_rows, data, &scratch, b->diag);
    ht__arena_close(&scratch);
    *out = data;
    return err;
}

/* "blk.N.<role>.weight" or ".bias" of a layer. */
static enum ht_err bind_layer(struct binder *b, const struct ht__weight *weight, int layer, const char *rest)
{
    char *base = (char *)&b->w->layers[layer];
    const char *dot = strrchr(rest, '.');
    size_t len = dot ? (size_t)(dot - rest) : 0;
    bool bias = dot && strcmp(dot, ".bias") == 0;
    for (size_t i = 0; dot && i < sizeof matrix_roles / sizeof matrix_roles[0]; i++) {
        if (strlen(matrix_roles[i].name) != len || memcmp(matrix_roles[i].name, rest, len) != 0) continue;
        struct ht__matrix *m = (struct ht__matrix *)(base + matrix_roles[i].at);
        if (bias) return read_floats(b, weight, &m->bias, &m->n_bias);
        struct ht__matrix before = *m;
        *m = matrix_of(weight);
        m->bias = before.bias;
        m->n_bias = before.n_bias;
        return HT_OK;
    }
    for (size_t i = 0; dot && i < sizeof vector_roles / sizeof vector_roles[0]; i++) {
        if (strlen(vector_roles[i].name) != len || memcmp(vector_roles[i].name, rest, len) != 0) continue;
        struct ht__vector *v = (struct ht__vector *)(base + vector_roles[i].at);
        return bias ? read_floats(b, weight, &v->b, &v->n_bias) : read_floats(b, weight, &v->w, &v->n);
    }
    return ht__fail(b->diag, HT_ERR_UNSUPPORTED, b->where, -1, "tensor %s has no part in running a %s model", weight->name,
                    b->w->model->arch);
}

static enum ht_err bind_global(struct binder *b, const struct ht__weight *weight)
{
    struct ht__weights *w = b->w;
    const char *name = weight->name;
    if (strcmp(name, "token_embd.weight") == 0) return w->embedding = matrix_of(weight), HT_OK;
    if (strcmp(name, "position_embd.weight") == 0) return w->positions = matrix_of(weight), HT_OK;
    if (strcmp(name, "output.weight") == 0) return w->output = matrix_of(weight), HT_OK;
    if (strcmp(name, "output.bias") == 0) return read_floats(b, weight, &w->output_bias.w, &w->output_bias.n);
    if (strcmp(name, "output_norm.weight") == 0) return read_floats(b, weight, &w->output_norm.w, &w->output_norm.n);
    if (strcmp(name, "output_norm.bias") == 0) return read_floats(b, weight, &w->output_norm.b, &w->output_norm.n_bias);
    if (strcmp(name, "rope_freqs.weight") == 0) return read_floats(b, weight, &w->rope_freqs.w, &w->rope_freqs.n);
    if (strcmp(name, "rope_factors_long.weight") == 0) return read_floats(b, weight, &w->rope_long.w, &w->rope_long.n);
    if (strcmp(name, "rope_factors_short.weight") == 0) return read_floats(b, weight, &w->rope_short.w, &w->rope_short.n);
    return ht__fail(b->diag, HT_ERR_UNSUPPORTED, b->where, -1, "tensor %s has no part in running a %s model", name,
                    w->model->arch);
}

static enum ht_err bind_all(struct binder *b)
{
    const struct ht__model *m = b->w->model;
    for (size_t i = 0; i < m->n_weights; i++) {
        const char *name = m->weights[i].name;
        char *end;
        if (strncmp(name, "blk.", 4) != 0) {
            HT_TRY(bind_global(b, &m->weights[i]));
            continue;
        }
        long layer = strtol(name + 4, &end, 10);
        if (end == name + 4 || *end != '.' || layer < 0 || layer >= b->w->hyper->n_layers)
            return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "tensor %s is of no layer of the model's %d", name,
                            b->w->hyper->n_layers);
        HT_TRY(bind_layer(b, &m->weights[i], (int)layer, end + 1));
    }
    if (!b->w->embedding.weight) return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "no token_embd.weight");
    if (!b->w->output.weight) b->w->output = b->w->embedding;
    return HT_OK;
}

/* ---- shapes ---- */

struct want {
    const char *name;
    const struct ht__matrix *m;
    int64_t n_in, n_out, n_mats;
    bool required;
};

static enum ht_err check_matrix(struct binder *b, int layer, struct want w)
{
    if (!w.m->weight) {
        if (!w.required) return HT_OK;
        return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "layer %d has no %s", layer, w.name);
    }
    if (w.m->bias && w.m->n_bias != w.n_out * w.n_mats)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "the bias of %s has %lld numbers; %lld are needed",
                        w.m->weight->name, (long long)w.m->n_bias, (long long)(w.n_out * w.n_mats));
    if (w.m->n_in == w.n_in && w.m->n_out == w.n_out && w.m->n_mats == w.n_mats) return HT_OK;
    return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "tensor %s is %lld x %lld x %lld; the metadata ask for %lld x %lld x %lld",
                    w.m->weight->name, (long long)w.m->n_in, (long long)w.m->n_out, (long long)w.m->n_mats,
                    (long long)w.n_in, (long long)w.n_out, (long long)w.n_mats);
}

/* A vector that is there has one of the lengths. */
static enum ht_err check_vector(struct binder *b, int layer, const char *name, const struct ht__vector *v, int64_t n,
                                int64_t other, bool required)
{
    if (!v->w && !v->b && !required) return HT_OK;
    if ((v->w || !required) && (!v->w || v->n == n || v->n == other) && (!v->b || v->n_bias == n)) return HT_OK;
    return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "%s of layer %d %s (%lld numbers are needed)", name, layer,
                    v->w ? "has another length" : "is missing", (long long)n);
}

static enum ht_err check_attention(struct binder *b, int i, const struct ht__layer *l)
{
    const struct ht__hyper *h = b->w->hyper;
    int64_t n = h->n_embd, q = (int64_t)h->n_heads * h->key_len, k = (int64_t)h->n_kv_heads * h->key_len;
    int64_t v = (int64_t)h->n_kv_heads * h->value_len, o = (int64_t)h->n_heads * h->value_len;
    if (h->latent) {
        int64_t each = h->nope_len + h->n_rot, rank = l->attn_q_a.n_out;
        bool two = l->attn_q_a.weight != NULL;
        HT_TRY(check_matrix(b, i, (struct want){"attn_q", &l->attn_q, n, h->n_heads * each, 1, !two}));
        HT_TRY(check_matrix(b, i, (struct want){"attn_q_a", &l->attn_q_a, n, rank, 1, false}));
        HT_TRY(check_matrix(b, i, (struct want){"attn_q_b", &l->attn_q_b, rank, h->n_heads * each, 1, two}));
        HT_TRY(check_vector(b, i, "attn_q_a_norm", &l->q_a_norm, rank, rank, two));
        HT_TRY(check_matrix(b, i, (struct want){"attn_kv_a_mqa", &l->attn_kv_a, n, h->kv_rank + h->n_rot, 1, true}));
        HT_TRY(check_vector(b, i, "attn_kv_a_norm", &l->kv_a_norm, h->kv_rank, h->kv_rank, true));
        HT_TRY(check_matrix(b, i, (struct want){"attn_k_b", &l->attn_k_b, h->nope_len, h->kv_rank, h->n_heads, true}));
        HT_TRY(check_matrix(b, i, (struct want){"attn_v_b", &l->attn_v_b, h->kv_rank, h->mla_value_len, h->n_heads, true}));
        o = (int64_t)h->n_heads * h->mla_value_len;
    } else {
        bool fused = l->attn_qkv.weight != NULL;
        HT_TRY(check_matrix(b, i, (struct want){"attn_qkv", &l->attn_qkv, n, q + k + v, 1, false}));
        HT_TRY(check_matrix(b, i, (struct want){"attn_q", &l->attn_q, n, q, 1, !fused}));
        HT_TRY(check_matrix(b, i, (struct want){"attn_k", &l->attn_k, n, k, 1, !fused}));
        HT_TRY(check_matrix(b, i, (struct want){"attn_v", &l->attn_v, n, v, 1, !fused}));
        HT_TRY(check_vector(b, i, "attn_q_norm", &l->q_norm, h->key_len, q, false));
        HT_TRY(check_vector(b, i, "attn_k_norm", &l->k_norm, h->key_len, k, false));
    }
    HT_TRY(check_vector(b, i, "attn_sinks", &l->sinks, h->n_heads, h->n_heads, false));
    return check_matrix(b, i, (struct want){"attn_output", &l->attn_output, o, n, 1, true});
}

static enum ht_err check_feed_forward(struct binder *b, int i, const struct ht__layer *l)
{
    const struct ht__hyper *h = b->w->hyper;
    int64_t n = h->n_embd, e = h->n_experts;
    bool experts = l->router.weight != NULL;
    int64_t ff = l->ffn_down.n_in, xff = l->experts_down.n_in, sff = l->shared_down.n_in;
    int64_t up = l->ffn_up.n_out == 2 * ff && !l->ffn_gate.weight ? 2 * ff : ff;
    HT_TRY(check_matrix(b, i, (struct want){"ffn_down", &l->ffn_down, ff, n, 1, !experts}));
    HT_TRY(check_matrix(b, i, (struct want){"ffn_up", &l->ffn_up, n, up, 1, !experts}));
    HT_TRY(check_matrix(b, i, (struct want){"ffn_gate", &l->ffn_gate, n, ff, 1, false}));
    HT_TRY(check_matrix(b, i, (struct want){"ffn_gate_inp", &l->router, n, e, 1, false}));
    HT_TRY(check_matrix(b, i, (struct want){"ffn_gate_exps", &l->experts_gate, n, xff, e, experts}));
    HT_TRY(check_matrix(b, i, (struct want){"ffn_up_exps", &l->experts_up, n, xff, e, experts}));
    HT_TRY(check_matrix(b, i, (struct want){"ffn_down_exps", &l->experts_down, xff, n, e, experts}));
    HT_TRY(check_matrix(b, i, (struct want){"ffn_down_shexp", &l->shared_down, sff, n, 1, false}));
    HT_TRY(check_matrix(b, i, (struct want){"ffn_up_shexp", &l->shared_up, n, sff, 1, l->shared_down.weight != NULL}));
    HT_TRY(check_matrix(b, i, (struct want){"ffn_gate_shexp", &l->shared_gate, n, sff, 1, l->shared_down.weight != NULL}));
    HT_TRY(check_vector(b, i, "exp_probs_b", &l->router_shift, e, e, false));
    return check_matrix(b, i, (struct want){"ffn_gate_inp_shexp", &l->shared_router, n, 1, 1, false});
}

static enum ht_err check_shapes(struct binder *b)
{
    const struct ht__weights *w = b->w;
    const struct ht__hyper *h = w->hyper;
    int64_t n = h->n_embd;
    for (int i = 0; i < h->n_layers; i++) {
        const struct ht__layer *l = &w->layers[i];
        const struct ht__vector *norms[] = {&l->attn_norm, &l->attn_norm_2, &l->attn_post_norm, &l->ffn_norm, &l->ffn_post_norm};
        for (size_t k = 0; k < sizeof norms / sizeof norms[0]; k++)
            HT_TRY(check_vector(b, i, "a norm", norms[k], n, n, false));
        HT_TRY(check_attention(b, i, l));
        HT_TRY(check_feed_forward(b, i, l));
    }
    HT_TRY(check_matrix(b, -1, (struct want){"token_embd", &w->embedding, n, h->n_vocab, 1, true}));
    HT_TRY(check_matrix(b, -1, (struct want){"output", &w->output, n, h->n_vocab, 1, true}));
    int64_t half = h->n_rot / 2;
    HT_TRY(check_vector(b, -1, "output.bias", &w->output_bias, h->n_vocab, h->n_vocab, false));
    HT_TRY(check_vector(b, -1, "rope_freqs", &w->rope_freqs, half, half, false));
    HT_TRY(check_vector(b, -1, "rope_factors_long", &w->rope_long, half, half, false));
    HT_TRY(check_vector(b, -1, "rope_factors_short", &w->rope_short, half, half, false));
    HT_TRY(check_vector(b, -1, "output_norm", &w->output_norm, n, n, true));
    if (h->recipe->rope == HT__ROPE_NONE && !w->positions.weight)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "no position_embd.weight");
    return w->positions.weight && w->positions.n_in != n
               ? ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "position_embd.weight has rows of %lld", (long long)w->positions.n_in)
               : HT_OK;
}

static void place_layer(struct ht__layer *l)
{
    for (size_t i = 0; i < sizeof matrix_roles / sizeof matrix_roles[0]; i++) {
        struct ht__matrix *m = (struct ht__matrix *)((char *)l + matrix_roles[i].at);
        if (!m->weight) continue;
        m->offset = l->n_bytes;
        l->n_bytes += ((uint64_t)m->n_out * (uint64_t)m->n_mats * m->row_bytes + 63) / 64 * 64;
    }
}

static enum ht_err open_parts(struct binder *b, const struct ht__weights_params *params, const struct ht__alloc *alloc)
{
    struct ht__weights *w = b->w;
    w->layers = ht__arena_array(&w->arena, (size_t)w->hyper->n_layers, sizeof *w->layers);
    if (!w->layers) return ht__fail_memory(b->diag, b->where);
    HT_TRY(bind_all(b));
    HT_TRY(check_shapes(b));
    for (int i = 0; i < w->hyper->n_layers; i++)
        place_layer(&w->layers[i]);
    return ht__keeper_open(w, params, alloc, &w->keeper, b->diag);
}

enum ht_err ht__weights_open(const struct ht__model *model, const struct ht__hyper *hyper,
                             const struct ht__weights_params *params, const struct ht__alloc *alloc, struct ht__weights **out, struct ht_diag *diag)
{
    struct ht__weights *w = ht__new(alloc, sizeof *w);
    if (!w) return ht__fail_memory(diag, "weights");
    w->model = model;
    w->hyper = hyper;
    ht__arena_init(&w->arena, alloc);
    struct binder b = {w, model->checkpoint->n_files ? model->checkpoint->files[0].path : "model", diag};
    enum ht_err err = open_parts(&b, params, alloc);
    if (err) ht__weights_close(&w);
    *out = w;
    return err;
}

void ht__weights_close(struct ht__weights **weights)
{
    struct ht__weights *w = *weights;
    if (!w) return;
    ht__keeper_close(&w->keeper);
    const struct ht__alloc *alloc = w->arena.alloc;
    ht__arena_close(&w->arena);
    ht__free(alloc, w);
    *weights = NULL;
}

enum ht_err ht__weights_layer(struct ht__weights *w, int layer, const struct ht__layer **out, struct ht_diag *diag)
{
    struct ht__layer *l = &w->layers[layer];
    const uint8_t *base;
    HT_TRY(ht__keeper_layer(w->keeper, layer, &base, diag));
    for (size_t i = 0; i < sizeof matrix_roles / sizeof matrix_roles[0]; i++) {
        struct ht__matrix *m = (struct ht__matrix *)((char *)l + matrix_roles[i].at);
        if (m->weight && base) m->data = base + m->offset;
    }
    *out = l;
    return HT_OK;
}

void ht__weights_put_stats(const struct ht__weights_stats *s, struct ht__buf *out)
{
    if (!s->taking_turns) return;
    ht__buf_printf(out, "\"layers\": {\"hits\": %llu, \"misses\": %llu, \"reads\": %llu, \"cache_reads\": %llu, \"bytes_read\": %llu}, ",
                   (unsigned long long)s->layer_hits, (unsigned long long)s->layer_misses, (unsigned long long)s->layer_reads,
                   (unsigned long long)s->spill_reads, (unsigned long long)s->bytes_read);
}
