/* Where scales fold: the edges of a layer, what they change, and the change. */
#include "engine/engine.h"
#include "model/arch/compute.h"
#include "pipeline/layers_parts.h"
#include "schemes/int_grid.h"
#include "pipeline/scales.h"

#include <math.h>
#include <string.h>

/*
 * The weights that read the checkpoint's tensors: of its own view, and of the GGUF view those that read one in another shape, by
 * themselves (a router of one row, which is a vector there). NULL: the weight's rows come from others; past the last: n.
 */
static size_t n_sources(const struct ht__model *m)
{
    return (m->from_gguf ? 0 : m->n_native) + m->n_weights;
}

static struct ht__weight *source_at(const struct ht__model *m, size_t i)
{
    size_t n = m->from_gguf ? 0 : m->n_native;
    return i < n ? &m->native[i] : &m->weights[i - n];
}

static bool in_gguf_view(const struct ht__model *m, const struct ht__weight *w)
{
    return w >= m->weights && w < m->weights + m->n_weights;
}

static bool is_source(const struct ht__model *m, const struct ht__weight *w)
{
    if (m->from_gguf || !in_gguf_view(m, w)) return true;
    if (!ht__rows_is_tensor(w->rows)) return false;
    for (size_t i = 0; i < m->n_native; i++)
        if (m->native[i].rows == w->rows) return false;
    return true;
}

/* Of the GGUF view. */
static const struct ht__weight *find(const struct ht__model *m, enum ht__role role, int layer)
{
    for (size_t i = 0; i < m->n_weights; i++) {
        const struct ht__weight *w = &m->weights[i];
        if (w->slot.role == role && w->slot.layer == layer && !w->slot.bias) return w;
    }
    return NULL;
}

bool ht__edge_reads(const struct ht__edge_search *e, const struct ht__weight *w)
{
    struct ht__site site = ht__slot_site(w->slot);
    if (w->slot.layer != e->result.layer || w->slot.bias || site.kind == HT__SITE_NONE) return false;
    return site.kind == e->sites[0] || site.kind == e->sites[1];
}

/* How a source holds a matrix with n inputs: by columns, or (GPT-2's Conv1D) by rows; neither: it cannot be scaled. */
static bool by_columns(const struct ht__model *m, const struct ht__weight *w, int64_t n)
{
    bool plain = in_gguf_view(m, w) || w->linear || ht__role_at(w->slot.role)->class == HT__CLASS_ROUTER;
    return plain && w->rows->row_len == n;
}

static bool by_rows(const struct ht__model *m, const struct ht__weight *w, int64_t n)
{
    return !in_gguf_view(m, w) && !w->linear && w->n_dims == 2 && w->rows->n_rows == n && !by_columns(m, w, n);
}

static bool is_from(const struct ht__edge_search *e, const struct ht__weight *w)
{
    return w->slot.role == e->result.from && w->slot.layer == e->result.layer;
}

/* Rows of a source that the edge's columns come from: the last ones, where gate and up are one matrix. */
static int64_t rows_behind(const struct ht__edge_search *e)
{
    return e->shared ? e->n / e->shared : e->n;
}

static bool from_is_sound(const struct ht__model *m, const struct ht__edge_search *e, const struct ht__weight *w)
{
    int64_t all = w->rows->n_rows * w->rows->row_len;
    if (e->norm) return all == e->n;
    if (w->slot.bias) return all >= rows_behind(e);
    return (in_gguf_view(m, w) || w->linear) && w->rows->n_rows >= rows_behind(e);
}

static bool can_fold(const struct ht__model *m, const struct ht__edge_search *e)
{
    size_t from = 0, to = 0;
    for (size_t i = 0; i < n_sources(m); i++) {
        const struct ht__weight *w = source_at(m, i);
        bool reads = ht__edge_reads(e, w);
        if ((!reads && !is_from(e, w)) || !is_source(m, w)) continue;
        if (!ht__rows_scalable(w->rows) || w->packed) return false;
        if (reads && !by_columns(m, w, e->n) && !by_rows(m, w, e->n)) return false;
        if (is_from(e, w) && !from_is_sound(m, e, w)) return false;
        from += is_from(e, w) && !w->slot.bias;
        to += reads;
    }
    return from == 1 && to > 0;
}

/* ---- the edges of a layer ---- */

/* A norm's weights, as the source has them, and what the model adds to them (1 for Gemma's). */
static enum ht_err read_norm(const struct ht__model *m, struct ht__edge_search *e, struct ht__arena *arena,
                             struct ht_diag *diag)
{
    const struct ht__weight *computed = find(m, e->result.from, e->result.layer);
    float *with = ht__arena_array(arena, (size_t)e->n, sizeof *with);
    e->norm = ht__arena_array(arena, (size_t)e->n, sizeof *e->norm);
    if (!with || !e->norm) return ht__fail_memory(diag, "scales");
    if (!computed || computed->ne[0] != e->n || computed->ne[1] != 1) return HT_OK;
    HT_TRY(ht__layers_read(computed, 0, 1, with, diag));
    for (size_t i = 0; i < n_sources(m); i++) {
        const struct ht__weight *w = source_at(m, i);
        if (!is_from(e, w) || w->slot.bias || w->rows->n_rows * w->rows->row_len != e->n || !is_source(m, w)) continue;
        e->dtype = w->source;
        HT_TRY(ht__layers_read(w, 0, w->rows->n_rows, e->norm, diag));
    }
    e->offset = roundf(with[0] - e->norm[0]);
    for (int64_t i = 0; i < e->n; i++)
        if (with[i] != e->norm[i] + e->offset) e->dtype = NULL; /* made in another way: it is not scaled */
    return HT_OK;
}

static enum ht_err add_norm(const struct ht__model *m, int layer, enum ht__role role, enum ht__site_kind a,
                            enum ht__site_kind b, const char *to, struct ht__arena *arena,
                            struct ht__edge_search edges[4], int *n, struct ht_diag *diag)
{
    const struct ht__weight *norm = find(m, role, layer);
    struct ht__edge_search e = {.result = {.layer = layer, .from = role, .to = to}, .sites = {a, b}};
    if (!norm) return HT_OK;
    e.n = norm->ne[0];
    HT_TRY(read_norm(m, &e, arena, diag));
    if (e.dtype && e.dtype->flags & HT__CODEC_PLAIN && can_fold(m, &e)) edges[(*n)++] = e;
    return HT_OK;
}

static void add_matrix(const struct ht__model *m, struct ht__edge_search e, struct ht__edge_search edges[4], int *n)
{
    if (can_fold(m, &e)) edges[(*n)++] = e;
}

static void add_values(const struct ht__model *m, const struct ht__hparams *h, int layer,
                       struct ht__edge_search edges[4], int *n)
{
    const struct ht__weight *v = find(m, HT__ROLE_ATTN_V, layer), *o = find(m, HT__ROLE_ATTN_OUTPUT, layer);
    struct ht__edge_search e = {.result = {.layer = layer, .from = HT__ROLE_ATTN_V, .to = "attn_output"},
                                .sites = {HT__SITE_ATTENTION_OUT, HT__SITE_NONE},
                                .head = h->value_len,
                                .shared = h->n_kv_heads > 0 ? h->n_heads / h->n_kv_heads : 0};
    if (!v || !o || e.shared < 1) return;
    e.n = o->ne[0];
    if (e.n == (int64_t)h->n_heads * h->value_len && v->ne[1] * e.shared == e.n) add_matrix(m, e, edges, n);
}

static void add_up(const struct ht__model *m, const struct ht__hparams *h, int layer, struct ht__edge_search edges[4],
                   int *n)
{
    const struct ht__weight *up = find(m, HT__ROLE_FFN_UP, layer), *down = find(m, HT__ROLE_FFN_DOWN, layer);
    struct ht__edge_search e = {.result = {.layer = layer, .from = HT__ROLE_FFN_UP, .to = "ffn_down"},
                                .sites = {HT__SITE_FEED_FORWARD_OUT, HT__SITE_NONE}};
    if (!up || !down || h->compute->act == HT__ACT_SWIGLU_OAI) return;
    e.n = down->ne[0];
    bool gated = find(m, HT__ROLE_FFN_GATE, layer) ? up->ne[1] == e.n : up->ne[1] == 2 * e.n;
    if (gated) add_matrix(m, e, edges, n);
}

int ht__scales_edges(const struct ht__model *m, const struct ht__engine *engine, int layer, struct ht__arena *arena,
                     struct ht__edge_search edges[4], struct ht_diag *diag)
{
    const struct ht__hparams *h = ht__engine_hparams(engine);
    bool own = find(m, HT__ROLE_FFN_NORM, layer) != NULL;
    bool parallel = h->parallel || (h->compute->parallel == HT__PARALLEL_BY_NORM && !own);
    enum ht__role first = find(m, HT__ROLE_ATTN_NORM_2, layer) ? HT__ROLE_ATTN_NORM_2 : HT__ROLE_ATTN_NORM;
    enum ht__role second = h->compute->post_is_ffn_norm ? HT__ROLE_ATTN_POST_NORM : HT__ROLE_FFN_NORM;
    if (parallel && !own) second = HT__ROLE_ATTN_NORM;
    bool shared = parallel && first == second;
    int n = 0;
    enum ht_err err = add_norm(m, layer, first, HT__SITE_ATTENTION, shared ? HT__SITE_FEED_FORWARD : HT__SITE_NONE,
                               shared ? "attention and feed-forward" : "attention", arena, edges, &n, diag);
    if (err == HT_OK) add_values(m, h, layer, edges, &n);
    if (err == HT_OK && !shared)
        err =
            add_norm(m, layer, second, HT__SITE_FEED_FORWARD, HT__SITE_EXPERTS, "feed-forward", arena, edges, &n, diag);
    if (err == HT_OK) add_up(m, h, layer, edges, &n);
    return err == HT_OK ? n : -1;
}

/* ---- what an edge changes ---- */

static struct ht__fold *fold_of(struct ht__scales *s, const struct ht__weight *w)
{
    for (size_t i = 0; i < s->n_folds; i++)
        if (strcmp(s->folds[i].name, w->name) == 0) return &s->folds[i];
    s->folds[s->n_folds] = (struct ht__fold){.name = w->name};
    return &s->folds[s->n_folds++];
}

/* scales[i] *= by[i], of n, made where there are none. */
static bool multiply(float **scales, int64_t n, struct ht__arena *arena)
{
    if (*scales) return true;
    *scales = ht__arena_array(arena, (size_t)n, sizeof **scales);
    for (int64_t i = 0; *scales && i < n; i++)
        (*scales)[i] = 1;
    return *scales != NULL;
}

/* The scale of row i of those behind the edge's columns. */
static float scale_behind(const struct ht__edge_search *e, int64_t i)
{
    if (!e->shared) return e->s[i];
    return e->s[i / e->head * e->shared * e->head + i % e->head];
}

static enum ht_err fold_from(struct ht__scales *s, const struct ht__edge_search *e, const struct ht__weight *w,
                             struct ht__arena *arena, struct ht_diag *diag)
{
    struct ht__fold *f = fold_of(s, w);
    int64_t all = w->rows->n_rows * w->rows->row_len, n = rows_behind(e),
            units = w->slot.bias || e->norm ? all : w->rows->n_rows;
    if (e->norm || w->slot.bias) {
        f->values = ht__arena_array(arena, (size_t)all, sizeof *f->values);
        if (!f->values) return ht__fail_memory(diag, "scales");
        HT_TRY(ht__layers_read(w, 0, w->rows->n_rows, f->values, diag));
        for (int64_t i = 0; i < n; i++) {
            float *x = &f->values[units - n + i];
            *x = e->norm && !w->slot.bias ? (*x + e->offset) / scale_behind(e, i) - e->offset : *x / scale_behind(e, i);
            if (e->norm && !w->slot.bias) *x = ht__round_to(e->dtype, *x);
        }
        return HT_OK;
    }
    if (!multiply(&f->rows, units, arena)) return ht__fail_memory(diag, "scales");
    for (int64_t i = 0; i < n; i++)
        f->rows[units - n + i] /= scale_behind(e, i);
    return HT_OK;
}

static enum ht_err fold_to(struct ht__scales *s, const struct ht__model *m, const struct ht__edge_search *e,
                           const struct ht__weight *w, struct ht__arena *arena, struct ht_diag *diag)
{
    struct ht__fold *f = fold_of(s, w);
    float **scales = by_columns(m, w, e->n) ? &f->columns : &f->rows;
    if (!multiply(scales, e->n, arena)) return ht__fail_memory(diag, "scales");
    for (int64_t i = 0; i < e->n; i++)
        (*scales)[i] *= e->s[i];
    return HT_OK;
}

enum ht_err ht__scales_add(struct ht__scales *s, const struct ht__model *m, const struct ht__edge_search *e,
                           struct ht__arena *arena, struct ht_diag *diag)
{
    if (!s->folds) s->folds = ht__arena_array(arena, n_sources(m), sizeof *s->folds);
    if (!s->folds) return ht__fail_memory(diag, "scales");
    for (size_t i = 0; i < n_sources(m); i++) {
        const struct ht__weight *w = source_at(m, i);
        bool from = is_from(e, w), to = ht__edge_reads(e, w);
        if ((!from && !to) || !is_source(m, w)) continue;
        if (from) HT_TRY(fold_from(s, e, w, arena, diag));
        if (to) HT_TRY(fold_to(s, m, e, w, arena, diag));
    }
    return HT_OK;
}

/* What is made of a source that changed is no more as it is stored, and what the engine keeps of it are floats. */
static void forget_stored(struct ht__weight *all, size_t n, struct ht__slot slot, bool engine)
{
    for (size_t i = 0; i < n; i++) {
        struct ht__slot other = all[i].slot;
        if (other.role != slot.role || other.layer != slot.layer || other.bias != slot.bias) continue;
        struct ht__rows *rows = (struct ht__rows *)(uintptr_t)all[i].rows;
        rows->raw_type = rows->stored = NULL;
        rows->read_raw = NULL;
        if (engine) all[i].source = &ht__codec_f32;
    }
}

static enum ht_err fold_one(const struct ht__fold *f, struct ht__model *m, struct ht_diag *diag)
{
    struct ht__rows_scales by = {f->values, f->rows, f->columns};
    for (size_t i = 0; i < n_sources(m); i++) {
        const struct ht__weight *w = source_at(m, i);
        if (strcmp(w->name, f->name) != 0 || !is_source(m, w)) continue;
        if (!ht__rows_scale(&m->arena, (struct ht__rows *)(uintptr_t)w->rows, &by))
            return ht__fail_memory(diag, "scales");
        forget_stored(m->native, m->n_native, w->slot, false);
        forget_stored(m->weights, m->n_weights, w->slot, true);
        return HT_OK;
    }
    return ht__fail(diag, HT_ERR_FORMAT, f->name, -1, "it is not in the model any more");
}

enum ht_err ht__scales_fold(const struct ht__scales *s, struct ht__model *m, struct ht_diag *diag)
{
    for (size_t k = 0; k < s->n_folds; k++)
        HT_TRY(fold_one(&s->folds[k], m, diag));
    return HT_OK;
}
