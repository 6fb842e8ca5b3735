#include "advise/fit.h"

#include "base/check.h"
#include "model/arch/compute.h"

#include <stdio.h>
#include <string.h>

/* No model has counts beyond these, and within them no product below overflows: two rows of the cache, of 2^22
 * weights, times HT__FIT_MOST_CTX, 4 bytes and 2^10 layers make 2^61. */
enum { MOST_HEADS = 1 << 10, MOST_WIDTH = 1 << 12, MOST_EXPERTS = 1 << 14, MOST_ROWS = 1 << 26 };

enum ht_err ht__fit_cache_type(const char *name, const struct ht__codec **type, struct ht_diag *diag)
{
    static const char *const taken[] = {"f16", "q8_0", "q4_0", "f32"};
    const struct ht__codec *codec = ht__codec_by_name(name ? name : "f16");
    for (size_t i = 0; codec && i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(codec->name, taken[i]) == 0) {
            *type = codec;
            return HT_OK;
        }
    return ht__fail(diag, HT_ERR_USAGE, "cache-type", -1, "expected f16, q8_0, q4_0 or f32, got \"%s\"", name);
}

struct source {
    const struct ht__model *model;
    struct ht_diag *diag;
    enum ht_err err;
};

static const struct ht__kv *find(const struct source *s, const char *suffix)
{
    char key[160];
    snprintf(key, sizeof key, "%s.%s", s->model->arch, suffix);
    return ht__kv_get(&s->model->kvs, key);
}

/* A number at most `most`, of one layer where the key is a list. An absent key is `otherwise`; < 0: it is required. */
static uint64_t number(struct source *s, const char *suffix, uint64_t layer, int64_t otherwise, uint64_t most)
{
    const struct ht__kv *kv = find(s, suffix);
    uint64_t value = 0;
    bool known = false;
    if (s->err || (!kv && otherwise >= 0)) return s->err ? 0 : (uint64_t)otherwise;
    if (kv && kv->type == HT__KV_ARR && layer < kv->n && (kv->elem == HT__KV_U32 || kv->elem == HT__KV_I32)) {
        value = ((const uint32_t *)kv->data)[layer];
        known = true;
    } else if (kv) {
        known = ht__kv_get_u64(&s->model->kvs, kv->key, &value);
    }
    if (known && value <= most) return value;
    s->err =
        ht__fail(s->diag, HT_ERR_UNSUPPORTED, s->model->arch, -1, "the memory to run it is unknown: metadata key %s %s",
                 suffix, kv ? "has an impossible value" : "is missing");
    return 0;
}

/* Llama.cpp keeps the whole context where every layer has a window: only a mixture of both gets caches of two
 * sizes. */
static uint64_t window_of(struct source *s, uint64_t layer)
{
    const struct ht__arch_compute *compute = ht__arch_compute_of(s->model->arch);
    const struct ht__kv *list = find(s, "attention.sliding_window_pattern");
    uint64_t window = number(s, "attention.sliding_window", layer, 0, UINT32_MAX);
    bool slides = false;
    if (list && list->type == HT__KV_ARR && list->elem == HT__KV_BOOL)
        slides = layer < list->n && ((const uint8_t *)list->data)[layer];
    else if (compute)
        slides = (compute->window == HT__WINDOW_EVEN && layer % 2 == 0) ||
                 (compute->window == HT__WINDOW_FIVE_OF_SIX && (layer + 1) % 6 != 0);
    return slides ? window : 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* One layer's cache rows, and what its attention and feed-forward hold for a token. */
static void read_layer(struct source *s, uint64_t i, struct ht__fit_shape *shape)
{
    uint64_t heads = number(s, "attention.head_count", i, 0, MOST_HEADS);
    uint64_t kv_heads = number(s, "attention.head_count_kv", i, (int64_t)heads, MOST_HEADS);
    uint64_t head = heads ? shape->n_embd / heads : 0;
    uint64_t key = number(s, "attention.key_length", i, (int64_t)head, MOST_WIDTH);
    uint64_t value = number(s, "attention.value_length", i, (int64_t)head, MOST_WIDTH);
    uint64_t rank = number(s, "attention.kv_lora_rank", i, 0, MOST_WIDTH);
    uint64_t full_key = number(s, "attention.key_length_mla", i, 0, MOST_WIDTH);
    bool latent = rank > 0 && full_key > 0;
    uint64_t full_value = number(s, "attention.value_length_mla", i, 0, MOST_WIDTH);
    shape->layers[i] = (struct ht__fit_layer){kv_heads * key, latent ? 0 : kv_heads * value, window_of(s, i),
                                              latent ? heads * (full_key + full_value) : 0};
    /* queries, keys, values and results. Latent attention: queries, their unturned part apart, that part against
     * the latent, and both joined again: key_mla + (key_mla - turned) + rank + (rank + turned) */
    uint64_t attention = latent ? heads * 2 * (full_key + rank) : (heads + kv_heads) * (key + value);
    uint64_t ff = 3 * number(s, "feed_forward_length", i, 0, MOST_ROWS);
    if (shape->experts)
        ff = larger(ff, shape->experts_used *
                            (3 * number(s, "expert_feed_forward_length", i, 0, MOST_ROWS) + shape->n_embd));
    shape->attention = larger(shape->attention, attention);
    shape->ff = larger(shape->ff, ff);
}

static uint64_t vocabulary(const struct ht__model *m)
{
    const struct ht__weight *embedding = ht__model_find(m, HT__ROLE_EMBEDDING);
    return embedding && embedding->ne[1] <= MOST_ROWS ? (uint64_t)embedding->ne[1] : 0;
}

enum ht_err ht__fit_shape(const struct ht__model *model, struct ht__fit_shape *shape, struct ht_diag *diag)
{
    struct source s = {model, diag, HT_OK};
    *shape = (struct ht__fit_shape){.n_vocab = vocabulary(model)};
    if (find(&s, "ssm.conv_kernel") || find(&s, "wkv.head_size"))
        return ht__fail(diag, HT_ERR_UNSUPPORTED, model->arch, -1,
                        "the memory to run it is unknown: it keeps a state, not keys and values");
    shape->n_layers = number(&s, "block_count", 0, -1, HT__FIT_LAYERS);
    shape->n_embd = number(&s, "embedding_length", 0, -1, MOST_ROWS);
    shape->n_ctx_train = number(&s, "context_length", 0, -1, HT__FIT_MOST_CTX);
    shape->experts = number(&s, "expert_count", 0, 0, MOST_EXPERTS);
    shape->experts_used = number(&s, "expert_used_count", 0, 0, shape->experts);
    for (uint64_t i = 0; i < shape->n_layers && !s.err; i++)
        read_layer(&s, i, shape);
    return s.err;
}

uint64_t ht__fit_default_ctx(const struct ht__fit_shape *shape)
{
    return shape->n_ctx_train && shape->n_ctx_train < 4096 ? shape->n_ctx_train : 4096;
}

static uint64_t cells(uint64_t n)
{
    return (n + HT__FIT_CELLS - 1) / HT__FIT_CELLS * HT__FIT_CELLS;
}

uint64_t ht__fit_cache_of_layer(const struct ht__fit_shape *shape, uint64_t layer, uint64_t ctx,
                                const struct ht__codec *type)
{
    const struct ht__fit_layer *l = &shape->layers[layer];
    uint64_t n = cells(ctx);
    if (l->window && cells(l->window + HT__FIT_BATCH) < n) n = cells(l->window + HT__FIT_BATCH);
    return n * (l->k + l->v) / type->block_len * type->block_size;
}

uint64_t ht__fit_overhead(const struct ht__fit_shape *shape, uint64_t ctx)
{
    uint64_t batch = ctx < HT__FIT_BATCH ? ctx : HT__FIT_BATCH, mask = batch * cells(ctx) * 2;
    uint64_t logits = shape->n_vocab + 2 * shape->n_embd;
    uint64_t layer = larger(shape->ff, shape->attention) + 4 * shape->n_embd;
    return larger(batch * logits * sizeof(float), batch * layer * sizeof(float) + mask) +
           shape->n_vocab * sizeof(float);
}

struct ht__fit_need ht__fit_need(const struct ht__fit_shape *shape, uint64_t weights, uint64_t ctx,
                                 const struct ht__codec *cache_type)
{
    struct ht__fit_need need = {.ctx = ctx, .weights = weights, .overhead = ht__fit_overhead(shape, ctx)};
    for (uint64_t i = 0; i < shape->n_layers; i++)
        need.cache += ht__fit_cache_of_layer(shape, i, ctx, cache_type);
    need.total = need.weights + need.cache + need.overhead;
    need.with_margin = need.total + need.total / 5;
    return need;
}

uint64_t ht__fit_room(const struct ht__fit_shape *shape, uint64_t memory, uint64_t ctx,
                      const struct ht__codec *cache_type)
{
    struct ht__fit_need none = ht__fit_need(shape, 0, ctx, cache_type);
    uint64_t total = memory - memory / 6; /* no less than what memory is with its margin */
    while (total + total / 5 > memory)
        total--;
    return total > none.total ? total - none.total : 0;
}

void ht__fit_put_need(struct ht__jw *w, const struct ht__fit_need *need, const struct ht__codec *cache_type)
{
    ht__jw_object(w, "run_memory");
    ht__jw_uint(w, "ctx", need->ctx);
    ht__jw_str(w, "cache_type", cache_type->name);
    ht__jw_uint(w, "weights_bytes", need->weights);
    ht__jw_uint(w, "kv_cache_bytes", need->cache);
    ht__jw_uint(w, "overhead_bytes", need->overhead);
    ht__jw_uint(w, "total_bytes", need->total);
    ht__jw_uint(w, "with_margin_bytes", need->with_margin);
    ht__jw_end(w);
}
