/* Binds a model's tensors to the engine's roles. Where the bytes come from is weight_store.c's affair. */
#include "engine/weights.h"
#include "engine/weight_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The field of struct ht__layer that a role has. */
static const struct place {
    enum ht__role role;
    size_t at;
} matrix_places[] =
    {
#define HT_MATRIX(field, role) {HT__ROLE_##role, offsetof(struct ht__layer, field)},
#include "engine/roles.def"
#undef HT_MATRIX
},
  vector_places[] = {
#define HT_VECTOR(field, role) {HT__ROLE_##role, offsetof(struct ht__layer, field)},
#include "engine/roles.def"
#undef HT_VECTOR
};

struct binder {
    struct ht__weights *w;
    const char *where;
    struct ht_diag *diag;
};

static struct ht__kept_matrix matrix_of(const struct ht__weight *weight)
{
    /* what is kept in memory: as stored, or, where rows are only computed, in the source's plain type */
    const struct ht__codec *type = weight->rows->raw_type ? weight->rows->raw_type : weight->source;
    if (!weight->rows->raw_type && (!(type->flags & HT__CODEC_PLAIN) || !type->encode)) type = ht__codec_by_name("f32");
    return (struct ht__kept_matrix){.weight = weight,
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

static void *field_of(struct ht__layer *layer, enum ht__role role, const struct place *places, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (places[i].role == role) return (char *)layer + places[i].at;
    return NULL;
}

static enum ht_err bind_matrix(struct binder *b, const struct ht__weight *weight, struct ht__kept_matrix *m)
{
    if (weight->slot.bias) return read_floats(b, weight, &m->bias, &m->n_bias);
    struct ht__kept_matrix before = *m;
    *m = matrix_of(weight);
    m->bias = before.bias;
    m->n_bias = before.n_bias;
    return HT_OK;
}

static enum ht_err bind_vector(struct binder *b, const struct ht__weight *weight, struct ht__vector *v)
{
    return weight->slot.bias ? read_floats(b, weight, &v->b, &v->n_bias) : read_floats(b, weight, &v->w, &v->n);
}

static enum ht_err not_part(struct binder *b, const struct ht__weight *weight)
{
    return ht__fail(b->diag, HT_ERR_UNSUPPORTED, b->where, -1, "tensor %s is not part of a %s model", weight->name,
                    b->w->model->arch);
}

static enum ht_err bind_layer(struct binder *b, const struct ht__weight *weight)
{
    enum ht__role role = weight->slot.role;
    if (weight->slot.layer >= b->w->hparams->n_layers)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1,
                        "tensor %s belongs to a layer that the model does not have (it has %d)", weight->name,
                        b->w->hparams->n_layers);
    struct ht__layer *layer = &b->w->layers[weight->slot.layer];
    struct ht__kept_matrix *m = field_of(layer, role, matrix_places, sizeof matrix_places / sizeof matrix_places[0]);
    if (m) return bind_matrix(b, weight, m);
    struct ht__vector *v = field_of(layer, role, vector_places, sizeof vector_places / sizeof vector_places[0]);
    return v ? bind_vector(b, weight, v) : not_part(b, weight);
}

static enum ht_err bind_global(struct binder *b, const struct ht__weight *weight)
{
    struct ht__weights *w = b->w;
    enum ht__role role = weight->slot.role;
    if (weight->slot.bias && role != HT__ROLE_OUTPUT && role != HT__ROLE_OUTPUT_NORM) return not_part(b, weight);
    switch (role) {
    case HT__ROLE_EMBEDDING: return bind_matrix(b, weight, &w->embedding);
    case HT__ROLE_POSITIONS: return bind_matrix(b, weight, &w->positions);
    case HT__ROLE_OUTPUT:
        /* apart from the matrix, which may be the embedding's */
        return weight->slot.bias ? read_floats(b, weight, &w->output_bias.w, &w->output_bias.n)
                                 : bind_matrix(b, weight, &w->output);
    case HT__ROLE_OUTPUT_NORM: return bind_vector(b, weight, &w->output_norm);
    case HT__ROLE_ROPE_FREQS: return bind_vector(b, weight, &w->rope_freqs);
    case HT__ROLE_ROPE_LONG: return bind_vector(b, weight, &w->rope_long);
    case HT__ROLE_ROPE_SHORT: return bind_vector(b, weight, &w->rope_short);
    default: return not_part(b, weight);
    }
}

static enum ht_err bind_all(struct binder *b)
{
    const struct ht__model *m = b->w->model;
    for (size_t i = 0; i < m->n_weights; i++)
        HT_TRY(m->weights[i].slot.layer < 0 ? bind_global(b, &m->weights[i]) : bind_layer(b, &m->weights[i]));
    if (!b->w->embedding.weight) return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "no token_embd.weight");
    if (!b->w->output.weight) b->w->output = b->w->embedding;
    return HT_OK;
}

/* ---- shapes ---- */

struct want {
    enum ht__role role;
    const struct ht__kept_matrix *m;
    int64_t n_in, n_out, n_mats;
    bool required;
};

static enum ht_err check_matrix(struct binder *b, int layer, struct want w)
{
    if (!w.m->weight) {
        if (!w.required) return HT_OK;
        return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "layer %d has no %s", layer, ht__role_at(w.role)->name);
    }
    if (w.m->bias && w.m->n_bias != w.n_out * w.n_mats)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "the bias of %s has %lld numbers; %lld are needed",
                        w.m->weight->name, (long long)w.m->n_bias, (long long)(w.n_out * w.n_mats));
    if (w.m->n_in == w.n_in && w.m->n_out == w.n_out && w.m->n_mats == w.n_mats) return HT_OK;
    return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1,
                    "tensor %s is %lld x %lld x %lld; the metadata ask for %lld x %lld x %lld", w.m->weight->name,
                    (long long)w.m->n_in, (long long)w.m->n_out, (long long)w.m->n_mats, (long long)w.n_in,
                    (long long)w.n_out, (long long)w.n_mats);
}

/* One that is there has one of the lengths. */
static bool suits(const struct ht__vector *v, int64_t n, int64_t other, bool required)
{
    if (!v->w && !v->b && !required) return true;
    return (v->w || !required) && (!v->w || v->n == n || v->n == other) && (!v->b || v->n_bias == n);
}

static enum ht_err check_vector(struct binder *b, int layer, enum ht__role role, const struct ht__vector *v, int64_t n,
                                int64_t other, bool required)
{
    if (suits(v, n, other, required)) return HT_OK;
    return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "%s of layer %d %s (%lld numbers are needed)",
                    ht__role_at(role)->name, layer, v->w ? "has another length" : "is missing", (long long)n);
}

static enum ht_err check_outside(struct binder *b, const char *name, const struct ht__vector *v, int64_t n,
                                 bool required)
{
    if (suits(v, n, n, required)) return HT_OK;
    return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "%s %s (%lld numbers are needed)", name,
                    v->w ? "has another length" : "is missing", (long long)n);
}

static enum ht_err check_attention(struct binder *b, int i, const struct ht__layer *l)
{
    const struct ht__hparams *h = b->w->hparams;
    int64_t n = h->n_embd, q = (int64_t)h->n_heads * h->key_len, k = (int64_t)h->n_kv_heads * h->key_len;
    int64_t v = (int64_t)h->n_kv_heads * h->value_len, o = (int64_t)h->n_heads * h->value_len;
    if (h->latent) {
        int64_t each = h->nope_len + h->n_rot, rank = l->attn_q_a.n_out;
        bool two = l->attn_q_a.weight != NULL;
        HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_ATTN_Q, &l->attn_q, n, h->n_heads * each, 1, !two}));
        HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_ATTN_Q_A, &l->attn_q_a, n, rank, 1, false}));
        HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_ATTN_Q_B, &l->attn_q_b, rank, h->n_heads * each, 1, two}));
        HT_TRY(check_vector(b, i, HT__ROLE_ATTN_Q_A_NORM, &l->q_a_norm, rank, rank, two));
        HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_ATTN_KV_A, &l->attn_kv_a, n, h->kv_rank + h->n_rot, 1, true}));
        HT_TRY(check_vector(b, i, HT__ROLE_ATTN_KV_A_NORM, &l->kv_a_norm, h->kv_rank, h->kv_rank, true));
        HT_TRY(check_matrix(b, i,
                            (struct want){HT__ROLE_ATTN_K_B, &l->attn_k_b, h->nope_len, h->kv_rank, h->n_heads, true}));
        HT_TRY(check_matrix(
            b, i, (struct want){HT__ROLE_ATTN_V_B, &l->attn_v_b, h->kv_rank, h->mla_value_len, h->n_heads, true}));
        o = (int64_t)h->n_heads * h->mla_value_len;
    } else {
        bool fused = l->attn_qkv.weight != NULL;
        HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_ATTN_QKV, &l->attn_qkv, n, q + k + v, 1, false}));
        HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_ATTN_Q, &l->attn_q, n, q, 1, !fused}));
        HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_ATTN_K, &l->attn_k, n, k, 1, !fused}));
        HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_ATTN_V, &l->attn_v, n, v, 1, !fused}));
        HT_TRY(check_vector(b, i, HT__ROLE_ATTN_Q_NORM, &l->q_norm, h->key_len, q, false));
        HT_TRY(check_vector(b, i, HT__ROLE_ATTN_K_NORM, &l->k_norm, h->key_len, k, false));
    }
    HT_TRY(check_vector(b, i, HT__ROLE_ATTN_SINKS, &l->sinks, h->n_heads, h->n_heads, false));
    return check_matrix(b, i, (struct want){HT__ROLE_ATTN_OUTPUT, &l->attn_output, o, n, 1, true});
}

static enum ht_err check_feed_forward(struct binder *b, int i, const struct ht__layer *l)
{
    const struct ht__hparams *h = b->w->hparams;
    int64_t n = h->n_embd, e = h->n_experts;
    bool experts = l->router.weight != NULL;
    int64_t ff = l->ffn_down.n_in, xff = l->experts_down.n_in, sff = l->shared_down.n_in;
    int64_t up = l->ffn_up.n_out == 2 * ff && !l->ffn_gate.weight ? 2 * ff : ff;
    HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_FFN_DOWN, &l->ffn_down, ff, n, 1, !experts}));
    HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_FFN_UP, &l->ffn_up, n, up, 1, !experts}));
    HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_FFN_GATE, &l->ffn_gate, n, ff, 1, false}));
    HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_ROUTER, &l->router, n, e, 1, false}));
    HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_EXPERTS_GATE, &l->experts_gate, n, xff, e, experts}));
    HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_EXPERTS_UP, &l->experts_up, n, xff, e, experts}));
    HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_EXPERTS_DOWN, &l->experts_down, xff, n, e, experts}));
    HT_TRY(check_matrix(b, i, (struct want){HT__ROLE_SHARED_DOWN, &l->shared_down, sff, n, 1, false}));
    HT_TRY(
        check_matrix(b, i, (struct want){HT__ROLE_SHARED_UP, &l->shared_up, n, sff, 1, l->shared_down.weight != NULL}));
    HT_TRY(check_matrix(
        b, i, (struct want){HT__ROLE_SHARED_GATE, &l->shared_gate, n, sff, 1, l->shared_down.weight != NULL}));
    HT_TRY(check_vector(b, i, HT__ROLE_ROUTER_SHIFT, &l->router_shift, e, e, false));
    return check_matrix(b, i, (struct want){HT__ROLE_SHARED_ROUTER, &l->shared_router, n, 1, 1, false});
}

static enum ht_err check_shapes(struct binder *b)
{
    const struct ht__weights *w = b->w;
    const struct ht__hparams *h = w->hparams;
    int64_t n = h->n_embd;
    for (int i = 0; i < h->n_layers; i++) {
        const struct ht__layer *l = &w->layers[i];
        HT_TRY(check_vector(b, i, HT__ROLE_ATTN_NORM, &l->attn_norm, n, n, false));
        HT_TRY(check_vector(b, i, HT__ROLE_ATTN_NORM_2, &l->attn_norm_2, n, n, false));
        HT_TRY(check_vector(b, i, HT__ROLE_ATTN_POST_NORM, &l->attn_post_norm, n, n, false));
        HT_TRY(check_vector(b, i, HT__ROLE_FFN_NORM, &l->ffn_norm, n, n, false));
        HT_TRY(check_vector(b, i, HT__ROLE_FFN_POST_NORM, &l->ffn_post_norm, n, n, false));
        HT_TRY(check_attention(b, i, l));
        HT_TRY(check_feed_forward(b, i, l));
    }
    HT_TRY(check_matrix(b, -1, (struct want){HT__ROLE_EMBEDDING, &w->embedding, n, h->n_vocab, 1, true}));
    HT_TRY(check_matrix(b, -1, (struct want){HT__ROLE_OUTPUT, &w->output, n, h->n_vocab, 1, true}));
    int64_t half = h->n_rot / 2;
    HT_TRY(check_outside(b, "output.bias", &w->output_bias, h->n_vocab, false));
    HT_TRY(check_outside(b, "rope_freqs", &w->rope_freqs, half, false));
    HT_TRY(check_outside(b, "rope_factors_long", &w->rope_long, half, false));
    HT_TRY(check_outside(b, "rope_factors_short", &w->rope_short, half, false));
    HT_TRY(check_outside(b, "output_norm", &w->output_norm, n, true));
    if (h->compute->rope == HT__ROPE_NONE && !w->positions.weight)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "no position_embd.weight");
    return w->positions.weight && w->positions.n_in != n
               ? ht__fail(b->diag, HT_ERR_FORMAT, b->where, -1, "position_embd.weight has rows of %lld",
                          (long long)w->positions.n_in)
               : HT_OK;
}

static void place_layer(struct ht__layer *l)
{
    for (size_t i = 0; i < sizeof matrix_places / sizeof matrix_places[0]; i++) {
        struct ht__kept_matrix *m = (struct ht__kept_matrix *)((char *)l + matrix_places[i].at);
        if (!m->weight) continue;
        m->offset = l->n_bytes;
        l->n_bytes += ((uint64_t)m->n_out * (uint64_t)m->n_mats * m->row_bytes + 63) / 64 * 64;
    }
}

static enum ht_err open_parts(struct binder *b, const struct ht__weights_params *params, const struct ht__alloc *alloc)
{
    struct ht__weights *w = b->w;
    w->layers = ht__arena_array(&w->arena, (size_t)w->hparams->n_layers, sizeof *w->layers);
    if (!w->layers) return ht__fail_memory(b->diag, b->where);
    HT_TRY(bind_all(b));
    HT_TRY(check_shapes(b));
    for (int i = 0; i < w->hparams->n_layers; i++)
        place_layer(&w->layers[i]);
    return ht__weight_store_open(w, params, alloc, &w->store, b->diag);
}

enum ht_err ht__weights_open(const struct ht__model *model, const struct ht__hparams *hparams,
                             const struct ht__weights_params *params, const struct ht__alloc *alloc,
                             struct ht__weights **out, struct ht_diag *diag)
{
    struct ht__weights *w = ht__new(alloc, sizeof *w);
    if (!w) return ht__fail_memory(diag, "weights");
    w->model = model;
    w->hparams = hparams;
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
    ht__weight_store_close(&w->store);
    const struct ht__alloc *alloc = w->arena.alloc;
    ht__arena_close(&w->arena);
    ht__free(alloc, w);
    *weights = NULL;
}

enum ht_err ht__weights_layer(struct ht__weights *w, int layer, const struct ht__layer **out, struct ht_diag *diag)
{
    struct ht__layer *l = &w->layers[layer];
    const uint8_t *base;
    HT_TRY(ht__weight_store_layer(w->store, layer, &base, diag));
    for (size_t i = 0; i < sizeof matrix_places / sizeof matrix_places[0]; i++) {
        struct ht__kept_matrix *m = (struct ht__kept_matrix *)((char *)l + matrix_places[i].at);
        if (m->weight && base) m->data = base + m->offset;
    }
    *out = l;
    return HT_OK;
}

void ht__weights_put_stats(const struct ht__weights_stats *s, struct ht__jw *w)
{
    if (!s->taking_turns) return;
    ht__jw_object(w, "layers");
    ht__jw_uint(w, "hits", s->layer_hits);
    ht__jw_uint(w, "misses", s->layer_misses);
    ht__jw_uint(w, "reads", s->layer_reads);
    ht__jw_uint(w, "cache_reads", s->spill_reads);
    ht__jw_uint(w, "bytes_read", s->bytes_read);
    ht__jw_end(w);
}
