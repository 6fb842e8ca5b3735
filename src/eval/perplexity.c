#include "eval/perplexity.h"
#include "eval/logit_lens.h"
#include "base/clock.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum {
    SAMPLES = 32,           /* tokens a pass whose residual stream is compared */
    BLOCK_BYTES = 64 << 20, /* logits of all models */
    LEAST_ROWS = 8,         /* below it decoding weights would cost more than multiplying them */
};

struct run {
    const struct ht__perplexity_params *p;
    struct ht__scored **all; /* the reference first, where there is one */
    size_t n_all;
    bool reference;
    struct ht__pool *pool;
    int64_t n_vocab;
    int n_rows;                     /* most rows a block */
    float *logits;                  /* model x row x vocabulary */
    double *probability;            /* thread x vocabulary: the reference's */
    struct ht__token_score *scores; /* row x model */
    bool *bad;                      /* by row */
    int32_t *batch;                 /* tokens of a pass */
    const int32_t *targets;         /* of the block: the token after each row */
    int block;                      /* rows of the block */
    /* the residual stream of sampled tokens */
    float *kept;                /* layer x sample x n_embd, of the reference */
    double **error, **size;     /* by model, by layer */
    double *sums;               /* of the pass at hand: HT__PASS_SUMS x model x layer */
    struct ht__pass *keeping;   /* what the pass at hand shows; NULL: it is not kept */
    struct ht__logit_lens lens; /* without models: nothing to compare */
    size_t now;                 /* the model that runs */
    int n_seqs;                 /* chunks in this pass */
    uint64_t done;              /* tokens of finished passes */
    bool stop;
};

double ht__perplexity_bytes(const struct ht__hparams *h, const struct ht__engine_use *use)
{
    double models = (double)use->n_models, row = models * h->n_vocab * sizeof(float);
    double rows = BLOCK_BYTES / row < LEAST_ROWS ? LEAST_ROWS : BLOCK_BYTES / row;
    if (rows > use->n_ctx / 2.0) rows = use->n_ctx / 2.0;
    return rows * row + (double)use->n_threads * h->n_vocab * sizeof(float) +
           (double)h->n_layers * h->n_embd * sizeof(float) * (SAMPLES + models * HT__LOGIT_LENS_ROWS) +
           models * HT__LOGIT_LENS_ROWS * h->n_vocab * sizeof(float);
}

/* ---- the residual stream ---------------------------------------------------------------------- */

/* Sampled tokens are spread over the scored half of every chunk: the first tokens of a text have
 * activations hundreds of times larger than all others, and would drown them. */
static int64_t sampled_row(const struct run *r, int sample)
{
    int half = r->p->n_ctx / 2, scored = r->p->n_ctx - half;
    int64_t at = (int64_t)sample * r->n_seqs * scored / SAMPLES;
    return at / scored * r->p->n_ctx + half + at % scored;
}

static double *sum_of(const struct run *r, double *sums, enum ht__pass_sum which, size_t model)
{
    int n_layers = ht__engine_hparams(r->all[0]->engine)->n_layers;
    return sums + ((size_t)which * r->n_all + model) * (size_t)n_layers;
}

static size_t n_sums(const struct run *r)
{
    return HT__PASS_SUMS * r->n_all * (size_t)ht__engine_hparams(r->all[0]->engine)->n_layers;
}

static void compare_layer(struct run *r, int layer, const float *x, int64_t n_embd)
{
    double *error = sum_of(r, r->sums, HT__PASS_ERROR, r->now), *size = sum_of(r, r->sums, HT__PASS_SIZE, r->now);
    for (int s = 0; s < SAMPLES; s++) {
        const float *row = x + sampled_row(r, s) * n_embd;
        float *kept = r->kept + ((int64_t)layer * SAMPLES + s) * n_embd;
        if (r->now == 0) {
            memcpy(kept, row, (size_t)n_embd * sizeof *row);
            continue;
        }
        if (!r->error[r->now]) return; /* of another shape */
        for (int64_t i = 0; i < n_embd; i++) {
            double d = (double)row[i] - (double)kept[i];
            error[layer] += d * d;
            size[layer] += (double)kept[i] * (double)kept[i];
        }
    }
}

static void on_layer(void *ctx, int layer, const float *x, int64_t n_rows)
{
    struct run *r = ctx;
    const struct ht__hparams *h = ht__engine_hparams(r->all[r->now]->engine);
    if (r->kept) compare_layer(r, layer, x, h->n_embd);
    if (r->kept) ht__logit_lens_keep(&r->lens, r->now, layer, x);
    uint64_t part = (uint64_t)n_rows * (uint64_t)(layer + 1) / (uint64_t)(h->n_layers + 1);
    if (r->p->tell && r->p->tell(r->p->tell_ctx, r->done + part)) r->stop = true;
}

static struct ht__engine *engine_of(void *ctx, size_t index)
{
    const struct run *r = ctx;
    return r->all[index]->engine;
}

static enum ht_err open_layers(struct run *r, struct ht_diag *diag)
{
    const struct ht__alloc *alloc = r->p->alloc;
    const struct ht__hparams *base = ht__engine_hparams(r->all[0]->engine);
    r->error = ht__new_array(alloc, r->n_all, sizeof *r->error);
    r->size = ht__new_array(alloc, r->n_all, sizeof *r->size);
    r->sums = ht__new_array(alloc, n_sums(r) + 1, sizeof *r->sums);
    if (!r->error || !r->size || !r->sums) return ht__fail_memory(diag, "layers");
    if (!r->reference || r->n_all < 2) return HT_OK;
    r->kept = ht__new_array(alloc, (size_t)base->n_layers * SAMPLES, (size_t)base->n_embd * sizeof *r->kept);
    if (!r->kept) return ht__fail_memory(diag, "layers");
    for (size_t i = 1; i < r->n_all; i++) {
        const struct ht__hparams *h = ht__engine_hparams(r->all[i]->engine);
        if (h->n_layers != base->n_layers || h->n_embd != base->n_embd) continue;
        r->error[i] = ht__new_array(alloc, (size_t)h->n_layers, sizeof(double));
        r->size[i] = ht__new_array(alloc, (size_t)h->n_layers, sizeof(double));
        if (!r->error[i] || !r->size[i]) return ht__fail_memory(diag, "layers");
    }
    return ht__logit_lens_open(&r->lens, engine_of, r, r->n_all, alloc, diag);
}

/* What a pass has is added to those before it. */
static void add_layers(struct run *r, double *sums)
{
    int n_layers = ht__engine_hparams(r->all[0]->engine)->n_layers;
    for (size_t m = 1; m < r->n_all && r->kept; m++)
        for (int l = 0; l < n_layers; l++) {
            if (r->error[m]) r->error[m][l] += sum_of(r, sums, HT__PASS_ERROR, m)[l];
            if (r->size[m]) r->size[m][l] += sum_of(r, sums, HT__PASS_SIZE, m)[l];
            if (r->lens.models[m].kld) r->lens.models[m].kld[l] += sum_of(r, sums, HT__PASS_KLD, m)[l];
        }
}

/* Sums become relative errors and mean divergences, which the model keeps. */
static void hand_out_layers(struct run *r)
{
    ht__logit_lens_finish(&r->lens);
    for (size_t i = 0; i < r->n_all; i++) {
        struct ht__scored *m = r->all[i];
        m->n_layers = ht__engine_hparams(m->engine)->n_layers;
        if (r->kept) {
            m->layer_kld = r->lens.models[i].kld;
            m->lens_positions = r->lens.n_positions;
            r->lens.models[i].kld = NULL;
        }
        if (!r->error[i]) continue;
        for (int l = 0; l < m->n_layers; l++)
            r->error[i][l] = r->size[i][l] > 0 ? sqrt(r->error[i][l] / r->size[i][l]) : 0;
        m->layer_error = r->error[i];
        r->error[i] = NULL;
    }
}

/* ---- rows ------------------------------------------------------------------------------------- */

static const float *row_of(const struct run *r, size_t model, int64_t row)
{
    return r->logits + ((int64_t)model * r->n_rows + row) * r->n_vocab;
}

/* A row for all models: the reference's probabilities are made once. */
static void score_row(void *ctx, int64_t row, int thread)
{
    struct run *r = ctx;
    struct ht__token_score *scores = r->scores + (size_t)row * r->n_all;
    double *p = r->probability + (int64_t)thread * r->n_vocab, base_shift = 0, shift;
    int64_t base_best = 0, best, target = r->targets[row];
    const float *base = row_of(r, 0, row);
    for (size_t m = 0; m < r->n_all; m++) {
        const float *x = row_of(r, m, row);
        struct ht__token_score *s = &scores[m];
        if (!ht__log_shift(x, r->n_vocab, &shift, &best)) r->bad[row] = true;
        s->nll = shift - (double)x[target];
        if (!r->reference) continue;
        if (m == 0) {
            base_shift = shift;
            base_best = best;
            for (int64_t i = 0; i < r->n_vocab; i++)
                p[i] = exp((double)base[i] - shift);
            continue;
        }
        double kld = 0;
        for (int64_t i = 0; i < r->n_vocab; i++)
            if (p[i] > 0) kld += p[i] * (((double)base[i] - base_shift) - ((double)x[i] - shift));
        s->kld = kld;
        s->base_nll = scores[0].nll;
        s->dp = exp(-s->nll) - exp(-s->base_nll);
        s->same = best == base_best;
    }
}

static const char *name_of_bad(const struct run *r, int row)
{
    double shift;
    int64_t best;
    size_t m = 0;
    while (m + 1 < r->n_all && ht__log_shift(row_of(r, m, row), r->n_vocab, &shift, &best))
        m++;
    return ht__engine_name(r->all[m]->engine);
}

static enum ht_err add_token(struct run *r, const struct ht__token_score *scores, struct ht_diag *diag)
{
    for (size_t m = 0; m < r->n_all; m++)
        HT_TRY(ht__divergence_add(&r->all[m]->divergence, &scores[m], diag));
    return HT_OK;
}

static enum ht_err score_block(struct run *r, int seq, int token, int n, struct ht_diag *diag)
{
    for (size_t m = 0; m < r->n_all; m++) {
        double start = ht__seconds();
        HT_TRY(
            ht__engine_logits(r->all[m]->engine, seq, token, n, r->logits + (int64_t)m * r->n_rows * r->n_vocab, diag));
        r->all[m]->seconds += ht__seconds() - start;
    }
    memset(r->bad, 0, (size_t)n * sizeof *r->bad);
    r->targets = r->batch + (int64_t)seq * r->p->n_ctx + token + 1;
    ht__pool_run(r->pool, n, score_row, r);
    for (int row = 0; row < n; row++) {
        if (r->bad[row])
            return ht__fail(diag, HT_ERR_NONFINITE, name_of_bad(r, row), -1,
                            "NaN or infinity among the logits of position %d", token + row);
        HT_TRY(add_token(r, r->scores + (size_t)row * r->n_all, diag));
        if (r->keeping) ht__pass_add(r->p->passes, r->keeping, r->scores + (size_t)row * r->n_all);
    }
    return HT_OK;
}

static enum ht_err told(struct run *r, struct ht_diag *diag)
{
    if (!r->stop && r->p->tell) r->stop = r->p->tell(r->p->tell_ctx, r->done);
    return r->stop ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled") : HT_OK;
}

/* The divergence after one layer, of rows first … first + n of those that were kept. */
static void look_at_layer(struct run *r, int layer, int first, int n)
{
    for (size_t m = 0; m < r->n_all; m++)
        if (r->lens.models[m].rows)
            ht__engine_logit_lens(r->all[m]->engine, ht__logit_lens_rows(&r->lens, m, layer, first), n,
                                  r->logits + (int64_t)m * r->n_rows * r->n_vocab);
    memset(r->bad, 0, (size_t)n * sizeof *r->bad);
    r->targets = r->batch; /* any tokens do: only divergences are taken */
    ht__pool_run(r->pool, n, score_row, r);
    for (size_t m = 1; m < r->n_all; m++)
        for (int row = 0; r->lens.models[m].kld && row < n; row++)
            sum_of(r, r->sums, HT__PASS_KLD, m)[layer] += r->bad[row] ? NAN : r->scores[(size_t)row * r->n_all + m].kld;
}

static enum ht_err look_at_layers(struct run *r, struct ht_diag *diag)
{
    for (int layer = 0; r->lens.n > 0 && layer < r->lens.n_layers; layer++)
        for (int first = 0; first < r->lens.n; first += r->n_rows) {
            int left = r->lens.n - first;
            look_at_layer(r, layer, first, left < r->n_rows ? left : r->n_rows);
            HT_TRY(told(r, diag));
        }
    return HT_OK;
}

static enum ht_err score_batch(struct run *r, size_t chunk, struct ht_diag *diag)
{
    const struct ht__perplexity_params *p = r->p;
    size_t n_tokens = (size_t)r->n_seqs * (size_t)p->n_ctx;
    memcpy(r->batch, p->tokens + chunk * (size_t)p->n_ctx, n_tokens * sizeof *r->batch);
    for (int s = 0; s < r->n_seqs && p->bos >= 0; s++)
        r->batch[s * p->n_ctx] = p->bos;
    for (r->now = 0; r->now < r->n_all; r->now++) {
        struct ht__scored *m = r->all[r->now];
        double start = ht__seconds();
        HT_TRY(ht__engine_pass(m->engine, r->batch, r->n_seqs, p->n_ctx, 0, diag));
        m->seconds += ht__seconds() - start;
        m->tokens += n_tokens;
        r->done += n_tokens;
        HT_TRY(told(r, diag));
    }
    int first = p->n_ctx / 2, last = p->n_ctx - 1;
    for (int s = 0; s < r->n_seqs; s++)
        for (int t = first; t < last; t += r->n_rows) {
            HT_TRY(score_block(r, s, t, last - t < r->n_rows ? last - t : r->n_rows, diag));
            HT_TRY(told(r, diag));
        }
    return look_at_layers(r, diag);
}

/* ---- the run ---------------------------------------------------------------------------------- */

static enum ht_err open_run(struct run *r, struct ht_diag *diag)
{
    const struct ht__perplexity_params *p = r->p;
    r->n_vocab = ht__engine_hparams(r->all[0]->engine)->n_vocab;
    for (size_t i = 1; i < r->n_all; i++) {
        int n = ht__engine_hparams(r->all[i]->engine)->n_vocab;
        if (n != r->n_vocab)
            return ht__fail(diag, HT_ERR_UNSUPPORTED, "vocabulary", -1,
                            "models with %d and %lld tokens cannot be compared", n, (long long)r->n_vocab);
    }
    int64_t rows = BLOCK_BYTES / ((int64_t)r->n_all * r->n_vocab * (int64_t)sizeof(float));
    int most = p->n_ctx - p->n_ctx / 2 - 1;
    r->n_rows = (int)(rows < LEAST_ROWS ? LEAST_ROWS : rows > most ? most : rows);
    HT_TRY(ht__pool_open(p->n_threads, p->alloc, &r->pool, diag));
    size_t n = (size_t)r->n_rows, vocab = (size_t)r->n_vocab;
    r->logits = ht__new_array(p->alloc, r->n_all * n, vocab * sizeof *r->logits);
    r->probability = ht__new_array(p->alloc, (size_t)ht__pool_threads(r->pool), vocab * sizeof *r->probability);
    r->scores = ht__new_array(p->alloc, n, r->n_all * sizeof *r->scores);
    r->bad = ht__new_array(p->alloc, n, sizeof *r->bad);
    r->batch = ht__new_array(p->alloc, (size_t)p->n_seqs, (size_t)p->n_ctx * sizeof *r->batch);
    if (!r->logits || !r->probability || !r->scores || !r->bad || !r->batch) return ht__fail_memory(diag, "logits");
    return open_layers(r, diag);
}

static void close_run(struct run *r)
{
    const struct ht__alloc *alloc = r->p->alloc;
    for (size_t i = 0; i < r->n_all; i++) {
        ht__engine_on_layer(r->all[i]->engine, NULL, NULL);
        if (r->error) ht__free(alloc, r->error[i]);
        if (r->size) ht__free(alloc, r->size[i]);
    }
    void *all[] = {r->logits, r->probability, r->scores, r->bad, r->batch, r->kept, r->error, r->size, r->sums, r->all};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        ht__free(alloc, all[i]);
    ht__logit_lens_close(&r->lens);
    ht__pool_close(&r->pool);
}

/* Somebody else made it: only added. */
static enum ht_err take_pass(struct run *r, const struct ht__pass *pass, struct ht_diag *diag)
{
    for (size_t i = 0; i < pass->n; i++)
        HT_TRY(add_token(r, pass->scores + i * r->n_all, diag));
    add_layers(r, pass->sums);
    r->done += (uint64_t)r->n_seqs * (uint64_t)r->p->n_ctx * r->n_all;
    return told(r, diag);
}

static enum ht_err make_pass(struct run *r, struct ht__pass *keep, size_t chunk, struct ht_diag *diag)
{
    memset(r->sums, 0, n_sums(r) * sizeof *r->sums);
    if (keep) HT_TRY(ht__pass_begin(r->p->passes, keep, diag));
    r->keeping = keep;
    HT_TRY(score_batch(r, chunk, diag));
    if (keep) memcpy(keep->sums, r->sums, n_sums(r) * sizeof *r->sums);
    add_layers(r, r->sums);
    return HT_OK;
}

static enum ht_err one_pass(struct run *r, size_t index, size_t chunk, struct ht_diag *diag)
{
    struct ht__passes *known = r->p->passes;
    if (!known) return make_pass(r, NULL, chunk, diag);
    if (known->at[index].n) return take_pass(r, &known->at[index], diag);
    if (index >= known->from && index < known->to)
        return make_pass(r, known->keeps ? &known->at[index] : NULL, chunk, diag);
    r->lens.n_positions -= r->lens.n; /* another one's */
    return HT_OK;
}

size_t ht__perplexity_passes(const struct ht__perplexity_params *p)
{
    return (p->n_chunks + (size_t)p->n_seqs - 1) / (size_t)p->n_seqs;
}

static enum ht_err run_chunks(struct run *r, struct ht_diag *diag)
{
    HT_TRY(open_run(r, diag));
    for (size_t i = 0; i < r->n_all; i++)
        ht__engine_on_layer(r->all[i]->engine, on_layer, r);
    size_t n = ht__perplexity_passes(r->p);
    for (size_t i = 0; i < n; i++) {
        size_t chunk = i * (size_t)r->p->n_seqs, left = r->p->n_chunks - chunk;
        r->n_seqs = left < (size_t)r->p->n_seqs ? (int)left : r->p->n_seqs;
        ht__logit_lens_plan(&r->lens, i, n, r->n_seqs, r->p->n_ctx);
        HT_TRY(one_pass(r, i, chunk, diag));
    }
    hand_out_layers(r);
    return HT_OK;
}

enum ht_err ht__perplexity_run(struct ht__scored *const *models, size_t n_models, struct ht__scored *reference,
                               const struct ht__perplexity_params *params, struct ht_diag *diag)
{
    struct run r = {.p = params, .reference = reference != NULL, .lens.alloc = params->alloc};
    if (params->n_ctx < 4 || params->n_chunks < 1 || params->n_seqs < 1 || n_models < 1)
        return ht__fail(diag, HT_ERR_USAGE, "score", -1, "expected a model and a chunk of at least 4 tokens");
    r.all = ht__new_array(params->alloc, n_models + 1, sizeof *r.all);
    if (!r.all) return ht__fail_memory(diag, "models");
    if (reference) r.all[r.n_all++] = reference;
    for (size_t i = 0; i < n_models; i++)
        if (models[i] != reference) r.all[r.n_all++] = models[i];
    for (size_t i = 0; i < r.n_all; i++)
        ht__divergence_init(&r.all[i]->divergence, reference && r.all[i] != reference, params->alloc);
    enum ht_err err = run_chunks(&r, diag);
    close_run(&r);
    return err;
}

void ht__scored_close(struct ht__scored *scored, const struct ht__alloc *alloc)
{
    ht__divergence_close(&scored->divergence);
    ht__free(alloc, scored->layer_error);
    ht__free(alloc, scored->layer_kld);
    scored->layer_error = scored->layer_kld = NULL;
}
