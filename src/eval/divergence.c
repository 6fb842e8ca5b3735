#include "eval/divergence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void ht__divergence_init(struct ht__divergence *t, bool against, const struct ht__alloc *alloc)
{
    *t = (struct ht__divergence){.alloc = alloc, .against = against};
}

void ht__divergence_close(struct ht__divergence *t)
{
    ht__free(t->alloc, t->kld);
    ht__free(t->alloc, t->dp);
    t->kld = t->dp = NULL;
    t->n = t->cap = 0;
}

static bool grow(struct ht__divergence *t)
{
    size_t cap = t->cap ? t->cap * 2 : 4096;
    if (cap > SIZE_MAX / sizeof(float)) return false;
    float *kld = ht__resize(t->alloc, t->kld, cap * sizeof *kld);
    if (kld) t->kld = kld;
    float *dp = kld ? ht__resize(t->alloc, t->dp, cap * sizeof *dp) : NULL;
    if (!dp) return false;
    t->dp = dp;
    t->cap = cap;
    return true;
}

enum ht_err ht__divergence_add(struct ht__divergence *t, const struct ht__token_score *s, struct ht_diag *diag)
{
    t->nll += s->nll;
    t->nll2 += s->nll * s->nll;
    if (t->against) {
        if (t->n == t->cap && !grow(t)) return ht__fail_memory(diag, "statistics");
        double square = s->dp * s->dp;
        t->kld[t->n] = (float)s->kld;
        t->dp[t->n] = (float)s->dp;
        t->base += s->base_nll;
        t->base2 += s->base_nll * s->base_nll;
        t->cross += s->nll * s->base_nll;
        t->kld_sum += s->kld;
        t->kld_sum2 += s->kld * s->kld;
        t->dp_sum += s->dp;
        t->dp_sum2 += square;
        t->dp_sum4 += square * square;
        t->n_same += s->same;
    }
    t->n++;
    return HT_OK;
}

/* Rounding may leave a variance of nothing a little below zero. */
static double over(double variance, double n)
{
    return n > 1 && variance > 0 ? variance / (n - 1) : 0;
}

static struct ht__mean mean_of(double sum, double sum2, double n)
{
    double mean = n > 0 ? sum / n : 0;
    return (struct ht__mean){mean, sqrt(over(n > 0 ? sum2 / n - mean * mean : 0, n))};
}

/* e^x of an estimate: the error spreads by the derivative. */
static struct ht__mean exp_of(struct ht__mean e)
{
    double value = exp(e.value);
    return (struct ht__mean){value, value * e.error};
}

/* The two models see the same tokens: what is hard for one is hard for the other, and the
 * covariance takes that shared part out of the error of their difference. */
static void compare(const struct ht__divergence *t, struct ht__mean nll, struct ht__divergence_result *r)
{
    double n = (double)t->n;
    struct ht__mean base = mean_of(t->base, t->base2, n);
    double covariance = n > 1 ? (t->cross / n - nll.value * base.value) / (n - 1) : 0;
    double variance = nll.error * nll.error + base.error * base.error - 2 * covariance;
    r->base_perplexity = exp_of(base);
    r->ln_ratio = (struct ht__mean){nll.value - base.value, variance > 0 ? sqrt(variance) : 0};
    r->ratio = exp_of(r->ln_ratio);
    double q = r->perplexity.error, p = r->base_perplexity.error;
    variance = q * q + p * p - 2 * r->perplexity.value * r->base_perplexity.value * covariance;
    r->difference.value = r->perplexity.value - r->base_perplexity.value;
    r->difference.error = variance > 0 ? sqrt(variance) : 0;
    r->correlation = nll.error > 0 && base.error > 0 ? covariance / (nll.error * base.error) : 1;
}

void ht__divergence_result(const struct ht__divergence *t, struct ht__divergence_result *r)
{
    double n = (double)t->n;
    struct ht__mean nll = mean_of(t->nll, t->nll2, n);
    *r = (struct ht__divergence_result){.n = t->n, .perplexity = exp_of(nll)};
    if (!t->against) return;
    compare(t, nll, r);
    r->kld = mean_of(t->kld_sum, t->kld_sum2, n);
    r->dp = mean_of(t->dp_sum, t->dp_sum2, n);
    struct ht__mean square = mean_of(t->dp_sum2, t->dp_sum4, n);
    r->dp_rms.value = sqrt(square.value);
    r->dp_rms.error = r->dp_rms.value > 0 ? 0.5 / r->dp_rms.value * square.error : 0;
    r->same.value = n > 0 ? (double)t->n_same / n : 0;
    r->same.error = sqrt(over(r->same.value * (1 - r->same.value), n));
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void ht__divergence_sort(struct ht__divergence *t)
{
    if (!t->against || t->n < 2) return;
    qsort(t->kld, t->n, sizeof *t->kld, by_value);
    qsort(t->dp, t->n, sizeof *t->dp, by_value);
}

double ht__percentile(const float *sorted, size_t n, double share)
{
    if (n == 0) return 0;
    double at = share * (double)(n - 1);
    size_t low = (size_t)at;
    if (low >= n - 1) return (double)sorted[n - 1];
    double part = at - (double)low;
    return (1 - part) * (double)sorted[low] + part * (double)sorted[low + 1];
}

bool ht__log_shift(const float *logits, int64_t n, double *shift, int64_t *best)
{
    int64_t top = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[top]) top = i;
    double sum = 0, max = (double)logits[top];
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    *best = top;
    *shift = max + log(sum);
    return isfinite(max) && isfinite(sum);
}
