#include "engine/sampler.h"

#include <math.h>
#include <string.h>

struct candidate {
    float logit;
    int32_t id;
};

struct ht__sampler {
    const struct ht__alloc *alloc;
    struct ht__sampler_params params;
    uint64_t state[4];
    int n_vocab;
    struct candidate *candidates; /* a heap in front, what was taken from it behind, in rising order */
    uint16_t *occurred;           /* how often, of each token */
};

/* ---- random numbers ----------------------------------------------------------------------------- */

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

/* SplitMix64 fills the state: a seed with few bits set would otherwise show in the first numbers. */
static void seed_random(struct ht__sampler *s, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u; /* 2^64 over the golden ratio */
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        s->state[i] = z ^ z >> 31;
    }
}

/* xoshiro256** of Blackman and Vigna. */
static uint64_t next_random(uint64_t s[4])
{
    uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* In [0, 1): the 53 bits that a double holds. */
static double next_share(struct ht__sampler *s)
{
    return (double)(next_random(s->state) >> 11) * 0x1p-53;
}

/*
 * e^x for x <= 0. The C library's differ in last bits, and a last bit can change a token. x = n ln 2 + r with
 * |r| <= ln 2 / 2; the series to r^13 / 13! leaves 0.35^14 / 14! = 4e-18.
 */
static double exponential(double x)
{
    static const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33; /* ln 2 in two parts */
    if (x < -700) return 0; /* e^-700 = 1e-304: below what doubles hold without losing digits */
    double n = floor(x * 0x1.71547652b82fep+0 + 0.5), sum = 1; /* 1 / ln 2 */
    double r = x - n * ln2_high - n * ln2_low;
    for (int i = 13; i > 0; i--)
        sum = 1 + sum * r / i;
    return ldexp(sum, (int)n);
}

/* ---- settings ----------------------------------------------------------------------------------- */

struct ht__sampler_params ht__sampler_defaults(void)
{
    return (struct ht__sampler_params){
        .top_k = 40, .top_p = 0.95, .min_p = 0.05, .repeat_penalty = 1, .repeat_last = 64};
}

enum ht_err ht__sampler_check(const struct ht__sampler_params *p, struct ht_diag *diag)
{
    /* written so that NaN fails */
    if (!(p->temperature >= 0 && p->temperature <= 1000))
        return ht__fail(diag, HT_ERR_USAGE, "temperature", -1, "%g is not between 0 and 1000", p->temperature);
    if (p->top_k < 0) return ht__fail(diag, HT_ERR_USAGE, "top-k", -1, "%d is negative", p->top_k);
    if (!(p->top_p > 0 && p->top_p <= 1))
        return ht__fail(diag, HT_ERR_USAGE, "top-p", -1, "%g is not above 0 and at most 1", p->top_p);
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return ht__fail(diag, HT_ERR_USAGE, "min-p", -1, "%g is not between 0 and 1", p->min_p);
    if (!(p->repeat_penalty > 0 && p->repeat_penalty <= 1000))
        return ht__fail(diag, HT_ERR_USAGE, "repeat-penalty", -1, "%g is not above 0 and at most 1000",
                        p->repeat_penalty);
    if (!(fabs(p->presence_penalty) <= 1000))
        return ht__fail(diag, HT_ERR_USAGE, "presence-penalty", -1, "%g is not between -1000 and 1000",
                        p->presence_penalty);
    if (!(fabs(p->frequency_penalty) <= 1000))
        return ht__fail(diag, HT_ERR_USAGE, "frequency-penalty", -1, "%g is not between -1000 and 1000",
                        p->frequency_penalty);
    if (p->repeat_last < 0) return ht__fail(diag, HT_ERR_USAGE, "repeat-last", -1, "%d is negative", p->repeat_last);
    return HT_OK;
}

enum ht_err ht__sampler_open(int n_vocab, const struct ht__alloc *alloc, struct ht__sampler **out, struct ht_diag *diag)
{
    *out = NULL;
    if (n_vocab < 1) return ht__fail(diag, HT_ERR_FORMAT, "sampling", -1, "a vocabulary of %d tokens", n_vocab);
    struct ht__sampler *s = ht__new(alloc, sizeof *s);
    if (!s) return ht__fail_memory(diag, "sampling");
    s->alloc = alloc;
    s->n_vocab = n_vocab;
    s->params = ht__sampler_defaults();
    seed_random(s, 0);
    s->candidates = ht__new_array(alloc, (size_t)n_vocab, sizeof *s->candidates);
    s->occurred = ht__new_array(alloc, (size_t)n_vocab, sizeof *s->occurred);
    if (!s->candidates || !s->occurred) {
        ht__sampler_close(&s);
        return ht__fail_memory(diag, "sampling");
    }
    *out = s;
    return HT_OK;
}

void ht__sampler_close(struct ht__sampler **sampler)
{
    struct ht__sampler *s = *sampler;
    if (!s) return;
    ht__free(s->alloc, s->candidates);
    ht__free(s->alloc, s->occurred);
    ht__free(s->alloc, s);
    *sampler = NULL;
}

enum ht_err ht__sampler_set(struct ht__sampler *s, const struct ht__sampler_params *params, struct ht_diag *diag)
{
    HT_TRY(ht__sampler_check(params, diag));
    s->params = *params;
    seed_random(s, params->seed);
    return HT_OK;
}

/* ---- candidates by rank ------------------------------------------------------------------------- */

static bool better(struct candidate a, struct candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(struct candidate *heap, int n, int at)
{
    struct candidate moved = heap[at];
    for (int child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && better(heap[child + 1], heap[child])) child++;
        if (!better(heap[child], moved)) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static void make_heap(struct candidate *heap, int n)
{
    for (int i = n / 2 - 1; i >= 0; i--)
        sift_down(heap, n, i);
}

/* The best of the heap's n moves to its end, which then is behind the heap. */
static struct candidate take_best(struct candidate *heap, int n)
{
    struct candidate best = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = best;
    sift_down(heap, n - 1, 0);
    return best;
}

/* Counts what occurred, or forgets it again. */
static void mark_occurred(struct ht__sampler *s, const int32_t *so_far, size_t n, bool count)
{
    size_t last = (size_t)s->params.repeat_last < n ? (size_t)s->params.repeat_last : n;
    for (size_t i = n - last; i < n; i++) {
        if (so_far[i] < 0 || so_far[i] >= s->n_vocab) continue;
        uint16_t *times = &s->occurred[so_far[i]];
        *times = !count ? 0 : *times < UINT16_MAX ? (uint16_t)(*times + 1) : *times;
    }
}

static float penalized(float logit, const struct ht__sampler_params *p, unsigned times)
{
    double x = logit > 0 ? logit / p->repeat_penalty : logit * p->repeat_penalty;
    x -= p->presence_penalty + p->frequency_penalty * times;
    return x < -3.0e38 ? -3.0e38f : x > 3.0e38 ? 3.0e38f : (float)x;
}

/* Every token that can be picked at all. Returns how many, or -1 for a logit that is no number. */
static int gather(struct ht__sampler *s, const float *logits, int *fault)
{
    int n = 0;
    for (int i = 0; i < s->n_vocab; i++) {
        float x = logits[i];
        if (x == -INFINITY) continue;
        if (!(x < INFINITY)) return *fault = i, -1;
        if (s->occurred[i]) x = penalized(x, &s->params, s->occurred[i]);
        s->candidates[n++] = (struct candidate){x, i};
    }
    return n;
}

/* ---- filters: each keeps so many of the best --------------------------------------------------- */

static double total_weight(const struct candidate *c, int n, double best, double temperature)
{
    double total = 0;
    for (int i = 0; i < n; i++)
        total += exponential(((double)c[i].logit - best) / temperature);
    return total;
}

/*
 * All filters keep a prefix of the ranking, so that no more is sorted than what they keep: `ranked` counts the
 * best that were taken off the heap. Without top-k the shares are those of the whole vocabulary.
 */
static int filter(struct ht__sampler *s, int n)
{
    const struct ht__sampler_params *p = &s->params;
    struct candidate *c = s->candidates;
    double best = c[0].logit, total = 0, sum = 0;
    int ranked = 0, limit = p->top_k > 0 && p->top_k < n ? p->top_k : n;
    if (p->top_p >= 1 && p->min_p <= 0 && limit == n) return 0;
    if (limit < n) {
        while (ranked < limit) {
            take_best(c, n - ranked);
            ranked++;
        }
        total = total_weight(c + n - limit, limit, best, 1);
    } else if (p->top_p < 1) {
        total = total_weight(c, n, best, 1);
    }
    for (int kept = 0; kept < limit; kept++) {
        struct candidate next = kept < ranked ? c[n - 1 - kept] : c[0];
        double weight = exponential((double)next.logit - best);
        if (kept > 0 && ((p->top_p < 1 && sum >= p->top_p * total) || weight < p->min_p)) return kept;
        if (kept == ranked) take_best(c, n - ranked++);
        sum += weight;
    }
    return limit;
}

/* Of the `kept` best, which stand ranked at the end; 0: of all n, which are a heap. */
static int32_t draw(struct ht__sampler *s, int n, int kept)
{
    struct candidate *c = s->candidates;
    double temperature = s->params.temperature, best = kept ? c[n - 1].logit : c[0].logit;
    int of = kept ? kept : n;
    double left = next_share(s) * total_weight(c + n - of, of, best, temperature);
    struct candidate one = kept ? c[n - 1] : c[0];
    for (int i = 0; i < of; i++) {
        struct candidate next = kept ? c[n - 1 - i] : take_best(c, n - i);
        double weight = exponential(((double)next.logit - best) / temperature);
        if (weight > 0) one = next; /* rounding may leave a last bit: the last that can be picked takes it */
        left -= weight;
        if (left < 0) break;
    }
    return one.id;
}

enum ht_err ht__sampler_pick(struct ht__sampler *s, const float *logits, const int32_t *so_far, size_t n_so_far,
                             int32_t *token, struct ht_diag *diag)
{
    bool penalize =
        s->params.repeat_penalty != 1 || s->params.presence_penalty != 0 || s->params.frequency_penalty != 0;
    int fault = 0;
    if (penalize) mark_occurred(s, so_far, n_so_far, true);
    int n = gather(s, logits, &fault);
    if (penalize) mark_occurred(s, so_far, n_so_far, false);
    if (n < 0) return ht__fail(diag, HT_ERR_NONFINITE, "logits", -1, "token %d has NaN or infinity", fault);
    if (n == 0) return ht__fail(diag, HT_ERR_NONFINITE, "logits", -1, "no token has a finite logit");
    if (s->params.temperature == 0) {
        struct candidate best = s->candidates[0];
        for (int i = 1; i < n; i++)
            if (better(s->candidates[i], best)) best = s->candidates[i];
        *token = best.id;
        return HT_OK;
    }
    make_heap(s->candidates, n);
    *token = draw(s, n, filter(s, n));
    return HT_OK;
}
