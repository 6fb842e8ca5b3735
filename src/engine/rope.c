/* Rotary position embeddings: the angles, their scalings, and the turning. */
#include "engine/state.h"

#include <math.h>

/* YaRN: dimension at which a wave turns `turns` times over the original context. */
static float yarn_dimension(const struct ht__hparams *h, float base, float turns)
{
    return (float)h->n_rot * logf(h->yarn_original / (turns * 2 * (float)M_PI)) / (2 * logf(base));
}

/* 1 where the wave is long and positions are scaled down, 0 where it is kept, a ramp between. */
static float yarn_share(const struct ht__hparams *h, float base, int i)
{
    float low = yarn_dimension(h, base, h->yarn_fast), high = yarn_dimension(h, base, h->yarn_slow);
    if (!h->compute->fine_ramp) {
        low = floorf(low);
        high = ceilf(high);
    }
    low = fmaxf(low, 0);
    high = fminf(high, (float)h->n_rot - 1);
    float ramp = ((float)i - low) / fmaxf(0.001f, high - low);
    return fminf(1, fmaxf(0, ramp));
}

/* Angle of a position's i-th pair, computed in double: float angles lose digits at long contexts. */
static double frequency(const struct ht__engine *e, float base, float scale, const float *factors, int i)
{
    const struct ht__hparams *h = &e->hparams;
    double f = pow(base, -2.0 * i / h->n_rot);
    if (factors) f /= factors[i];
    if (h->yarn && scale != 1) {
        double share = yarn_share(h, base, i);
        return f * scale * share + f * (1 - share);
    }
    return f * scale;
}

/* The factor lengthens the turned pairs: YaRN's correction of attention. */
static enum ht_err plan(struct ht__engine *e, float base, float scale, float factor, struct ht__rope *rope,
                        struct ht_diag *diag)
{
    const struct ht__hparams *h = &e->hparams;
    const struct ht__weights *w = e->weights;
    const float *factors = w->rope_freqs.w;
    if (w->rope_long.w && w->rope_short.w)
        factors = h->original_ctx > 0 && (float)e->params.n_ctx > h->original_ctx ? w->rope_long.w : w->rope_short.w;
    int half = h->n_rot / 2;
    rope->cos_sin = ht__new_array(e->alloc, (size_t)e->params.n_ctx, (size_t)(2 * half) * sizeof(float));
    if (!rope->cos_sin) return ht__fail_memory(diag, "positions");
    for (int i = 0; i < half; i++) {
        double f = frequency(e, base, scale, factors, i);
        for (int p = 0; p < e->params.n_ctx; p++) {
            float *at = rope->cos_sin + ((size_t)p * (size_t)half + (size_t)i) * 2;
            at[0] = (float)cos(f * p) * factor;
            at[1] = (float)sin(f * p) * factor;
        }
    }
    return HT_OK;
}

enum ht_err ht__engine_open_rope(struct ht__engine *e, struct ht_diag *diag)
{
    const struct ht__hparams *h = &e->hparams;
    if (h->compute->rope == HT__ROPE_NONE || h->n_rot < 2) return HT_OK;
    HT_TRY(plan(e, h->rope_base, h->rope_scale, h->rope_factor, &e->rope, diag));
    if (!h->sliding_unscaled) return HT_OK;
    return plan(e, h->rope_base_sliding, 1, 1, &e->sliding_rope, diag);
}

static void turn_head(const struct ht__hparams *h, const float *cos_sin, float *x)
{
    int half = h->n_rot / 2, step = h->compute->rope == HT__ROPE_PAIRS ? 2 : 1, other = step == 2 ? 1 : half;
    for (int i = 0; i < half; i++) {
        float c = cos_sin[2 * i], s = cos_sin[2 * i + 1], a = x[i * step], b = x[i * step + other];
        x[i * step] = a * c - b * s;
        x[i * step + other] = a * s + b * c;
    }
}

struct turn {
    const struct ht__engine *e;
    const float *cos_sin;
    float *x;
    int64_t ld;
    int heads, head_len, skip;
};

/* Sixteen rows of the pass. */
enum { TOGETHER = 16 };

static void turn_some(void *ctx, int64_t task, int thread)
{
    const struct turn *w = ctx;
    const struct ht__hparams *h = &w->e->hparams;
    const struct ht__engine_run *run = w->e->runs;
    int64_t first = task * TOGETHER, last = first + TOGETHER < w->e->n_rows ? first + TOGETHER : w->e->n_rows;
    int64_t begin = 0; /* of the run */
    (void)thread;
    for (int64_t row = first; row < last; row++) {
        while (row >= begin + run->n_tokens)
            begin += run++->n_tokens;
        const float *at = w->cos_sin + (size_t)(run->at + row - begin) * (size_t)(h->n_rot / 2 * 2);
        for (int i = 0; i < w->heads; i++)
            turn_head(h, at, w->x + row * w->ld + i * w->head_len + w->skip);
    }
}

void ht__engine_rope(struct ht__engine *e, int layer, float *x, int64_t ld, int heads, int head_len, int skip)
{
    const struct ht__hparams *h = &e->hparams;
    const struct ht__rope *rope = e->sliding_rope.cos_sin && h->slides[layer] ? &e->sliding_rope : &e->rope;
    bool still = h->compute->no_rope_every && (layer + 1) % h->compute->no_rope_every == 0;
    if (!rope->cos_sin || still) return;
    struct turn w = {e, rope->cos_sin, x, ld, heads, head_len, skip};
    ht__pool_run(e->pool, (e->n_rows + TOGETHER - 1) / TOGETHER, turn_some, &w);
}
