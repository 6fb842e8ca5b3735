/*
 * Attention: queries of a block of tokens against the keys so far, softmax, and the sum of values. Scores of a
 * block are a product with the keys as matrix rows; latent attention is the same with one wide head for all.
 */
#include "engine/state.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { BLOCK = 64 }; /* queries that share a pass over the keys */

struct work {
    struct ht__engine *e;
    const struct ht__layer *l;
    int layer;
    const float *q; /* [token][head][key length] */
    int64_t ldq;
    int n_blocks; /* of all runs */
};

/* A block of queries of one run. */
struct part {
    const struct ht__engine_run *run;
    int row;     /* of the run's first token, in the pass */
    int from, n; /* tokens of the run */
};

static int blocks_of(const struct ht__engine_run *run)
{
    return (run->n_tokens + BLOCK - 1) / BLOCK;
}

static struct part part_of(const struct ht__engine *e, int at_block)
{
    struct part p = {.run = e->runs};
    while (at_block >= blocks_of(p.run)) {
        at_block -= blocks_of(p.run);
        p.row += p.run->n_tokens;
        p.run++;
    }
    p.from = at_block * BLOCK;
    p.n = p.run->n_tokens - p.from < BLOCK ? p.run->n_tokens - p.from : BLOCK;
    return p;
}

static float *key_at(const struct ht__engine *e, int layer, int seq, int head)
{
    const struct ht__cache *c = &e->cache;
    return c->k + (size_t)(c->every_layer ? layer : 0) * c->k_layer + (size_t)seq * c->k_seq + (size_t)head * c->k_head;
}

static float *value_at(const struct ht__engine *e, int layer, int seq, int head)
{
    const struct ht__cache *c = &e->cache;
    return c->v + (size_t)(c->every_layer ? layer : 0) * c->v_layer + (size_t)seq * c->v_seq + (size_t)head * c->v_head;
}

/* Scores of n queries for keys first … last-1: n x ld. */
static void score(const struct work *w, const float *q, int n, const float *keys, int first, int last, float *scores,
                  int64_t ld, float *scratch)
{
    const struct ht__engine *e = w->e;
    if (n == 1 && e->params.fast) { /* turning keys for one query would cost more than its products */
        for (int j = first; j < last; j++)
            scores[j - first] = e->ops->dot(q, keys + (size_t)j * (size_t)e->hparams.key_len, e->hparams.key_len);
        return;
    }
    const struct ht__codec *f32 = ht__codec_by_name("f32");
    struct ht__matmul_weights m = {.decode = f32->decode,
                                   .row_bytes = (size_t)e->hparams.key_len * sizeof(float),
                                   .block_len = 1,
                                   .block_size = 4,
                                   .n_in = e->hparams.key_len};
    for (int j = first; j < last; j += HT__MATMUL_ROWS) {
        m.n_rows = last - j < HT__MATMUL_ROWS ? last - j : HT__MATMUL_ROWS;
        m.rows = keys + (size_t)j * (size_t)e->hparams.key_len;
        e->ops->matmul(&m, q, w->ldq, n, scores + (j - first), ld, scratch);
    }
}

/* Of max and n floats; in lanes, as the order does not matter. */
static float largest(const float *s, int64_t n, float max)
{
    enum { LANES = 16 };
    float most[LANES];
    int64_t i = 0;
    for (int j = 0; j < LANES; j++)
        most[j] = max;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            most[j] = s[i + j] > most[j] ? s[i + j] : most[j];
    for (; i < n; i++)
        max = s[i] > max ? s[i] : max;
    for (int j = 0; j < LANES; j++)
        max = most[j] > max ? most[j] : max;
    return max;
}

/* Softmax of one query's scores, sinks included; gives what the values are to be divided by. */
static float soften(const struct ht__engine *e, float *s, int64_t n, const float *sink)
{
    const float scale = e->hparams.attn_scale, cap = e->hparams.attn_cap;
    float max = sink ? *sink : -FLT_MAX;
    for (int64_t i = 0; i < n; i++)
        s[i] *= scale;
    for (int64_t i = 0; cap > 0 && i < n; i++)
        s[i] = cap * tanhf(s[i] / cap);
    max = largest(s, n, max);
    float sum = e->ops->exp_sum(s, n, max);
    return sink ? sum + expf(*sink - max) : sum;
}

static void block(void *ctx, int64_t task, int thread)
{
    const struct work *w = ctx;
    struct ht__engine *e = w->e;
    if (ht__engine_stopped(e) && !e->observe) return; /* what attended holds is of no use, but floats */
    const struct ht__hparams *h = &e->hparams;
    struct part p = part_of(e, (int)(task % w->n_blocks));
    int head = (int)(task / w->n_blocks), kv = head / (h->n_heads / h->n_kv_heads), seq = p.run->seq;
    int window = h->slides[w->layer] ? h->window : 0, at = p.run->at + p.from, row = p.row + p.from;
    int last = at + p.n, first = window && at + 1 > window ? at + 1 - window : 0;
    float *scores = e->scores + (size_t)thread * e->n_scores;
    const float *q = w->q + (int64_t)row * w->ldq + (int64_t)head * h->key_len;
    const float *values = value_at(e, w->layer, seq, kv);
    int64_t ld = e->params.n_ctx;
    score(w, q, p.n, key_at(e, w->layer, seq, kv), first, last, scores, ld,
          e->scratch + (size_t)thread * HT__MATMUL_SCRATCH);
    for (int i = 0; i < p.n; i++) {
        int end = at + i + 1, begin = window && end > window ? end - window : 0;
        float *s = scores + i * ld - first, *out = e->attended;
        out += ((int64_t)(row + i) * h->n_heads + head) * h->value_len;
        float sum = soften(e, s + begin, end - begin, w->l->sinks.w ? w->l->sinks.w + head : NULL);
        e->ops->weighted_sum(out, s + begin, values + (size_t)begin * (size_t)h->value_len, h->value_len, end - begin,
                             h->value_len);
        for (int d = 0; d < h->value_len; d++)
            out[d] /= sum;
    }
}

static void store_keys(struct ht__engine *e, int layer, const float *k, int64_t ldk, const float *v, int64_t ldv)
{
    const struct ht__hparams *h = &e->hparams;
    size_t nk = (size_t)h->key_len, nv = (size_t)h->value_len;
    for (const struct ht__engine_run *r = e->runs; r < e->runs + e->n_runs; r++)
        for (int t = 0; t < r->n_tokens; t++, k += ldk, v += ldv)
            for (int head = 0; head < h->n_kv_heads; head++) {
                size_t at = (size_t)(r->at + t);
                memcpy(key_at(e, layer, r->seq, head) + at * nk, k + head * h->key_len, nk * sizeof(float));
                memcpy(value_at(e, layer, r->seq, head) + at * nv, v + head * h->value_len, nv * sizeof(float));
            }
}

void ht__engine_copy_seq(struct ht__engine *e, int from, int to, int n)
{
    const struct ht__hparams *h = &e->hparams;
    for (int layer = 0; layer < h->n_layers; layer++)
        for (int head = 0; head < h->n_kv_heads; head++) {
            memcpy(key_at(e, layer, to, head), key_at(e, layer, from, head),
                   (size_t)n * (size_t)h->key_len * sizeof(float));
            memcpy(value_at(e, layer, to, head), value_at(e, layer, from, head),
                   (size_t)n * (size_t)h->value_len * sizeof(float));
        }
}

/* Per head, or over all heads where the norm is as long. */
static void norm_heads(struct ht__engine *e, const struct ht__vector *norm, float *x, int64_t ld, int heads)
{
    const struct ht__hparams *h = &e->hparams;
    bool whole = norm->n == (int64_t)heads * h->key_len && heads > 1 && !h->compute->layer_norm;
    bool own = norm->n == (int64_t)heads * h->key_len && !whole; /* a norm for each head */
    int n = whole ? 1 : heads, len = whole ? heads * h->key_len : h->key_len;
    for (int64_t t = 0; norm->w && t < e->n_rows; t++)
        for (int i = 0; i < n; i++) {
            float *at = x + t * ld + (int64_t)i * len;
            e->ops->norm(at, at, norm->w + (own ? i * len : 0), norm->b ? norm->b + (own ? i * len : 0) : NULL, len,
                         h->eps, !h->compute->layer_norm);
        }
}

static void attend(struct ht__engine *e, const struct ht__layer *l, int layer, const float *q, int64_t ldq)
{
    struct work w = {e, l, layer, q, ldq, 0};
    if (e->enough) return;
    for (int r = 0; r < e->n_runs; r++)
        w.n_blocks += blocks_of(&e->runs[r]);
    ht__pool_run(e->pool, (int64_t)w.n_blocks * e->hparams.n_heads, block, &w);
}

static void observe(struct ht__engine *e, const struct ht__kept_matrix *m, const float *x, int64_t ld)
{
    if (e->observe && m->weight && ld == m->n_in) e->observe(e->observe_ctx, m->weight, 0, x, e->n_rows, m->n_in);
}

static void plain_attention(struct ht__engine *e, const struct ht__layer *l, int layer)
{
    const struct ht__hparams *h = &e->hparams;
    int64_t n = e->n_rows;
    int64_t nq = (int64_t)h->n_heads * h->key_len, nk = (int64_t)h->n_kv_heads * h->key_len;
    int64_t nv = (int64_t)h->n_kv_heads * h->value_len, ldq = nq, ldk = nk, ldv = nv;
    float *q = e->q, *k = e->k, *v = e->v;
    if (l->attn_qkv.weight) {
        ldq = ldk = ldv = nq + nk + nv;
        k = q + nq;
        v = k + nk;
        observe(e, &l->attn_qkv, e->normed, h->n_embd);
        ht__engine_matmul(e, &l->attn_qkv, 0, e->normed, h->n_embd, n, q, ldq);
    } else {
        observe(e, &l->attn_q, e->normed, h->n_embd);
        observe(e, &l->attn_k, e->normed, h->n_embd);
        observe(e, &l->attn_v, e->normed, h->n_embd);
        ht__engine_matmul(e, &l->attn_q, 0, e->normed, h->n_embd, n, q, ldq);
        ht__engine_matmul_again(e, &l->attn_k, 0, e->normed, h->n_embd, n, k, ldk);
        ht__engine_matmul_again(e, &l->attn_v, 0, e->normed, h->n_embd, n, v, ldv);
    }
    if (e->enough) return;
    norm_heads(e, &l->q_norm, q, ldq, h->n_heads);
    norm_heads(e, &l->k_norm, k, ldk, h->n_kv_heads);
    ht__engine_rope(e, layer, q, ldq, h->n_heads, h->key_len, 0);
    ht__engine_rope(e, layer, k, ldk, h->n_kv_heads, h->key_len, 0);
    store_keys(e, layer, k, ldk, v, ldv);
    attend(e, l, layer, q, ldq);
}

/*
 * Latent attention. Keys and values of all heads are one latent c and one turned part r: a head's score is
 * (k_b q)'c + r'r_q, and its value v_b (sum of c). So heads become wide queries [k_b q | r_q] of one shared key.
 */
static void latent_attention(struct ht__engine *e, const struct ht__layer *l, int layer)
{
    const struct ht__hparams *h = &e->hparams;
    int64_t n = e->n_rows, each = h->nope_len + h->n_rot, wide = h->key_len;
    int64_t nq = h->n_heads * each, nkv = h->kv_rank + h->n_rot;
    float *q = e->latent, *kv = e->k;
    if (l->attn_q_a.weight) {
        int64_t rank = l->attn_q_a.n_out;
        observe(e, &l->attn_q_a, e->normed, h->n_embd);
        ht__engine_matmul(e, &l->attn_q_a, 0, e->normed, h->n_embd, n, e->hidden, rank);
        for (int64_t t = 0; t < n; t++)
            e->ops->norm(e->hidden + t * rank, e->hidden + t * rank, l->q_a_norm.w, NULL, rank, h->eps, true);
        observe(e, &l->attn_q_b, e->hidden, rank);
        ht__engine_matmul(e, &l->attn_q_b, 0, e->hidden, rank, n, q, nq);
    } else {
        observe(e, &l->attn_q, e->normed, h->n_embd);
        ht__engine_matmul(e, &l->attn_q, 0, e->normed, h->n_embd, n, q, nq);
    }
    observe(e, &l->attn_kv_a, e->normed, h->n_embd);
    ht__engine_matmul(e, &l->attn_kv_a, 0, e->normed, h->n_embd, n, kv, nkv);
    if (e->enough) return;
    for (int64_t t = 0; t < n; t++)
        e->ops->norm(kv + t * nkv, kv + t * nkv, l->kv_a_norm.w, NULL, h->kv_rank, h->eps, true);
    ht__engine_rope(e, layer, kv, nkv, 1, (int)nkv, h->kv_rank);
    ht__engine_rope(e, layer, q, nq, h->n_heads, (int)each, h->nope_len);
    for (int head = 0; head < h->n_heads; head++) {
        float *to = e->q + head * wide;
        if (e->observe) /* rows of one head are not adjacent: one at a time */
            for (int64_t t = 0; t < n; t++)
                e->observe(e->observe_ctx, l->attn_k_b.weight, head, q + t * nq + head * each, 1, h->nope_len);
        ht__engine_matmul(e, &l->attn_k_b, head, q + head * each, nq, n, to, h->n_heads * wide);
        for (int64_t t = 0; t < n; t++)
            memcpy(to + t * h->n_heads * wide + h->kv_rank, q + t * nq + head * each + h->nope_len,
                   (size_t)h->n_rot * sizeof(float));
    }
    store_keys(e, layer, kv, nkv, kv, nkv);
    attend(e, l, layer, e->q, h->n_heads * wide);
    int64_t ld = (int64_t)h->n_heads * h->mla_value_len;
    for (int head = 0; head < h->n_heads; head++) {
        const float *from = e->attended + (int64_t)head * h->kv_rank;
        if (e->observe)
            for (int64_t t = 0; t < n; t++)
                e->observe(e->observe_ctx, l->attn_v_b.weight, head, from + t * h->n_heads * h->kv_rank, 1, h->kv_rank);
        ht__engine_matmul(e, &l->attn_v_b, head, from, (int64_t)h->n_heads * h->kv_rank, n,
                          e->latent + (int64_t)head * h->mla_value_len, ld);
    }
    memcpy(e->attended, e->latent, (size_t)(n * ld) * sizeof(float));
}

void ht__engine_attend(struct ht__engine *e, const struct ht__layer *l, int layer)
{
    if (e->hparams.latent)
        latent_attention(e, l, layer);
    else
        plain_attention(e, l, layer);
}

void ht__engine_attention_output(struct ht__engine *e, const struct ht__layer *l)
{
    observe(e, &l->attn_output, e->attended, l->attn_output.n_in);
    ht__engine_matmul(e, &l->attn_output, 0, e->attended, l->attn_output.n_in, e->n_rows, e->out, e->hparams.n_embd);
}
