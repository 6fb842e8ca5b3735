#include "calibrate/windows.h"
#include "calibrate/random.h"

#include <string.h>

struct mix {
    struct ht__windows *w;
    const struct ht__windows_params *p;
    struct ht_diag *diag;
    size_t *order[HT__MOST_DOMAINS]; /* in which a text's windows come; NULL: in its own */
    size_t given[HT__MOST_DOMAINS];  /* so far, skipped ones counted */
    uint64_t total;                  /* of all weights */
    size_t cap;                      /* windows that there is room for */
};

static enum ht_err check(const struct ht__windows_params *p, struct ht_diag *diag)
{
    bool any = false;
    if (p->n_texts < 1 || p->n_texts > HT__MOST_DOMAINS)
        return ht__fail(diag, HT_ERR_USAGE, "calibration", -1, "expected 1 to %d texts, got %zu", HT__MOST_DOMAINS,
                        p->n_texts);
    for (size_t i = 0; i < p->n_texts; i++) {
        const struct ht__domain_text *t = &p->texts[i];
        if (t->weight < 1 || t->weight > HT__MOST_WEIGHT)
            return ht__fail(diag, HT_ERR_USAGE, t->name, -1, "its weight is out of range");
        if (t->ids && t->n_ids < (size_t)p->n_ctx)
            return ht__fail(diag, HT_ERR_USAGE, t->name, -1,
                            "%zu tokens; at least one chunk of %d is needed (--ctx makes chunks shorter)", t->n_ids,
                            p->n_ctx);
        any = any || t->ids;
    }
    return any ? HT_OK : ht__fail(diag, HT_ERR_USAGE, "calibration", -1, "expected a text beside the random tokens");
}

static enum ht_err begin(struct mix *m)
{
    const struct ht__windows_params *p = m->p;
    m->w->n_domains = p->n_texts;
    for (size_t i = 0; i < p->n_texts; i++) {
        const struct ht__domain_text *t = &p->texts[i];
        size_t n = t->ids ? t->n_ids / (size_t)p->n_ctx : SIZE_MAX;
        m->w->domains[i] = (struct ht__domain){.name = t->name, .weight = t->weight, .n_text = n};
        m->total += t->weight;
        if (p->in_order || !t->ids) continue;
        if (!(m->order[i] = ht__new_array(m->w->alloc, n, sizeof *m->order[i])))
            return ht__fail_memory(m->diag, t->name);
        ht__random_order(ht__random_stream(p->seed, i), m->order[i], n);
    }
    return HT_OK;
}

/*
 * The domain of the k-th window, k from 1, by Tijdeman's rule (The chairman assignment problem, 1980): of the domains
 * that are behind their share by at least 1/(2n - 2) windows, the one that will soonest be behind by 1 - 1/(2n - 2).
 * No domain is ever ahead or behind by more than that.
 */
static size_t due(const struct mix *m, size_t k)
{
    size_t n = m->w->n_domains, best = 0;
    double margin = n > 1 ? 1.0 / (double)(2 * n - 2) : 1, soonest = 0;
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        double share = (double)m->w->domains[i].weight / (double)m->total;
        double behind = share * (double)k - (double)m->given[i];
        double deadline = (1 - margin - behind) / share;
        if (behind < margin - 1e-9 || (found && deadline >= soonest)) continue;
        best = i;
        soonest = deadline;
        found = true;
    }
    return best;
}

/* Is the next window of the domain, of all that it gives, one of the held-out ones? The first of them comes earlier in
 * some domains than in others, so that few windows of many domains have their 15 % too. */
static bool is_held_out(const struct mix *m, size_t domain)
{
    uint64_t phase = (50 + 100 * (uint64_t)domain / m->w->n_domains) % 100, j = m->given[domain];
    return (HT__HELD_OUT_PERCENT * (j + 1) + phase) / 100 > (HT__HELD_OUT_PERCENT * j + phase) / 100;
}

static enum ht_err fill(const struct mix *m, size_t domain, int32_t *ids)
{
    const struct ht__windows_params *p = m->p;
    const struct ht__domain_text *t = &p->texts[domain];
    size_t n_ctx = (size_t)p->n_ctx, j = m->given[domain];
    if (t->ids) {
        memcpy(ids, t->ids + (m->order[domain] ? m->order[domain][j] : j) * n_ctx, n_ctx * sizeof *ids);
        return HT_OK;
    }
    if (p->random(p->ctx, ht__random_stream(p->seed, j), ids, n_ctx)) return HT_OK;
    return ht__fail(m->diag, HT_ERR_UNSUPPORTED, t->name, -1, "the model's vocabulary has no text");
}

static enum ht_err grow(struct mix *m)
{
    struct ht__windows *w = m->w;
    enum { FIRST = 64 };
    if (w->n < m->cap) return HT_OK;
    size_t cap = m->cap ? 2 * m->cap : FIRST, bytes = (size_t)w->n_ctx * sizeof *w->tokens;
    int32_t *tokens = ht__new_array(w->alloc, cap, bytes);
    struct ht__window *at = ht__new_array(w->alloc, cap, sizeof *at);
    if (tokens && at && w->n) {
        memcpy(tokens, w->tokens, w->n * bytes);
        memcpy(at, w->at, w->n * sizeof *at);
    }
    if (!tokens || !at) {
        ht__free(w->alloc, tokens);
        ht__free(w->alloc, at);
        return ht__fail_memory(m->diag, "calibration");
    }
    ht__free(w->alloc, w->tokens);
    ht__free(w->alloc, w->at);
    w->tokens = tokens;
    w->at = at;
    m->cap = cap;
    return HT_OK;
}

static enum ht_err take(struct mix *m, size_t domain)
{
    struct ht__windows *w = m->w;
    HT_TRY(grow(m));
    w->at[w->n] = (struct ht__window){.domain = (uint16_t)domain, .held_out = is_held_out(m, domain)};
    HT_TRY(fill(m, domain, w->tokens + w->n * (size_t)w->n_ctx));
    w->domains[domain].n_taken++;
    w->n++;
    return HT_OK;
}

static enum ht_err mix(struct mix *m)
{
    struct ht__windows *w = m->w;
    size_t k = 0;
    HT_TRY(begin(m));
    for (; w->n < m->p->most; k++) {
        size_t domain = due(m, k + 1);
        if (m->given[domain] == w->domains[domain].n_text) {
            w->ended = domain;
            break;
        }
        if (k >= m->p->from) HT_TRY(take(m, domain));
        m->given[domain]++;
    }
    if (w->n == 0)
        return ht__fail(m->diag, HT_ERR_USAGE, m->p->n_texts == 1 ? w->domains[0].name : "calibration", -1,
                        "there are %zu chunks of %d tokens; skipping %zu of them leaves none", k, w->n_ctx, m->p->from);
    return HT_OK;
}

enum ht_err ht__windows_mix(struct ht__windows *windows, const struct ht__windows_params *params,
                            const struct ht__alloc *alloc, struct ht_diag *diag)
{
    struct mix m = {.w = windows, .p = params, .diag = diag};
    *windows = (struct ht__windows){.alloc = alloc, .n_ctx = params->n_ctx, .ended = SIZE_MAX};
    HT_TRY(check(params, diag));
    enum ht_err err = mix(&m);
    for (size_t i = 0; i < HT__MOST_DOMAINS; i++)
        ht__free(alloc, m.order[i]);
    return err;
}

void ht__windows_close(struct ht__windows *windows)
{
    ht__free(windows->alloc, windows->tokens);
    ht__free(windows->alloc, windows->at);
    windows->tokens = NULL;
    windows->at = NULL;
    windows->n = 0;
}
