#include "eval/continuations.h"

#include <math.h>
#include <string.h>

static enum ht_err stopped(struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
}

static enum ht_err no_number(const struct ht__engine *e, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_NONFINITE, ht__engine_name(e), -1, "NaN or infinity among the logits");
}

/* The likeliest token of each of n rows, the first of equals. */
static enum ht_err best_tokens(struct ht__engine *e, int seq, int token, int n, float *logits, int32_t *best,
                               struct ht_diag *diag)
{
    int64_t n_vocab = ht__engine_hparams(e)->n_vocab;
    HT_TRY(ht__engine_logits(e, seq, token, n, logits, diag));
    for (int i = 0; i < n; i++) {
        const float *x = logits + i * n_vocab;
        int64_t top = 0;
        for (int64_t v = 1; v < n_vocab; v++)
            if (x[v] > x[top]) top = v;
        if (!isfinite(x[top])) return no_number(e, diag);
        best[i] = (int32_t)top;
    }
    return HT_OK;
}

/* ---- greedy ----------------------------------------------------------------------------------- */

static enum ht_err extend(struct ht__engine *e, struct ht__prompts *p, int32_t *step, float *logits,
                          ht__eval_tell_fn *tell, void *tell_ctx, struct ht_diag *diag)
{
    int length = p->n_prompt + p->n_new;
    for (int s = 0; s < p->n; s++)
        memcpy(step + (size_t)s * (size_t)p->n_prompt, p->tokens + (size_t)s * (size_t)length,
               (size_t)p->n_prompt * sizeof *step);
    HT_TRY(ht__engine_pass(e, step, p->n, p->n_prompt, 0, diag));
    for (int i = 0; i < p->n_new; i++) {
        if (i > 0) HT_TRY(ht__engine_pass(e, step, p->n, 1, p->n_prompt + i - 1, diag));
        int last = i > 0 ? 0 : p->n_prompt - 1;
        for (int s = 0; s < p->n && last > 0; s++)
            HT_TRY(best_tokens(e, s, last, 1, logits, step + s, diag));
        if (last == 0) HT_TRY(best_tokens(e, 0, 0, p->n, logits, step, diag));
        for (int s = 0; s < p->n; s++)
            p->tokens[(size_t)s * (size_t)length + (size_t)(p->n_prompt + i)] = step[s];
        if (tell && tell(tell_ctx, (uint64_t)p->n * (uint64_t)(p->n_prompt + i))) return stopped(diag);
    }
    return HT_OK;
}

enum ht_err ht__continue_greedily(struct ht__engine *e, struct ht__prompts *p, ht__eval_tell_fn *tell, void *tell_ctx,
                                  const struct ht__alloc *alloc, struct ht_diag *diag)
{
    int32_t *step = ht__new_array(alloc, (size_t)p->n * (size_t)p->n_prompt, sizeof *step);
    float *logits = ht__new_array(alloc, (size_t)p->n, (size_t)ht__engine_hparams(e)->n_vocab * sizeof *logits);
    enum ht_err err =
        step && logits ? extend(e, p, step, logits, tell, tell_ctx, diag) : ht__fail_memory(diag, "continuations");
    ht__free(alloc, step);
    ht__free(alloc, logits);
    return err;
}

/* ---- agreement -------------------------------------------------------------------------------- */

static enum ht_err count(struct ht__engine *e, const struct ht__prompts *p, int n_seqs, int32_t *best, float *logits,
                         int *equal, ht__eval_tell_fn *tell, void *tell_ctx, struct ht_diag *diag)
{
    int length = p->n_prompt + p->n_new;
    for (int first = 0; first < p->n; first += n_seqs) {
        int n = p->n - first < n_seqs ? p->n - first : n_seqs;
        HT_TRY(ht__engine_pass(e, p->tokens + (size_t)first * (size_t)length, n, length, 0, diag));
        for (int s = 0; s < n; s++) {
            const int32_t *wanted = p->tokens + (size_t)(first + s) * (size_t)length + p->n_prompt;
            HT_TRY(best_tokens(e, s, p->n_prompt - 1, p->n_new, logits, best, diag));
            int same = 0;
            while (same < p->n_new && best[same] == wanted[same])
                same++;
            equal[first + s] = same;
        }
        if (tell && tell(tell_ctx, (uint64_t)(first + n) * (uint64_t)length)) return stopped(diag);
    }
    return HT_OK;
}

enum ht_err ht__count_equal(struct ht__engine *e, const struct ht__prompts *p, int n_seqs, int *equal,
                            ht__eval_tell_fn *tell, void *tell_ctx, const struct ht__alloc *alloc, struct ht_diag *diag)
{
    int32_t *best = ht__new_array(alloc, (size_t)p->n_new, sizeof *best);
    float *logits = ht__new_array(alloc, (size_t)p->n_new, (size_t)ht__engine_hparams(e)->n_vocab * sizeof *logits);
    enum ht_err err = best && logits ? count(e, p, n_seqs, best, logits, equal, tell, tell_ctx, diag)
                                     : ht__fail_memory(diag, "continuations");
    ht__free(alloc, best);
    ht__free(alloc, logits);
    return err;
}

/* ---- given continuations ---------------------------------------------------------------------- */

enum { ROWS = 32 }; /* logits at once */

static enum ht_err add_up(struct ht__engine *e, int seq, struct ht__continuation *c, float *logits,
                          struct ht_diag *diag)
{
    int64_t n_vocab = ht__engine_hparams(e)->n_vocab, best;
    double shift;
    c->log_likelihood = 0;
    for (int at = c->first - 1; at < c->n - 1; at += ROWS) {
        int n = c->n - 1 - at < ROWS ? c->n - 1 - at : ROWS;
        HT_TRY(ht__engine_logits(e, seq, at, n, logits, diag));
        for (int i = 0; i < n; i++) {
            const float *x = logits + i * n_vocab;
            if (!ht__log_shift(x, n_vocab, &shift, &best)) return no_number(e, diag);
            c->log_likelihood += (double)x[c->tokens[at + i + 1]] - shift;
        }
    }
    return HT_OK;
}

/* Shorter sequences are filled up behind: nothing looks ahead, so it changes nothing. */
static enum ht_err score_group(struct ht__engine *e, struct ht__continuation *rows, int n, int length, int32_t *batch,
                               float *logits, struct ht_diag *diag)
{
    for (int s = 0; s < n; s++)
        for (int t = 0; t < length; t++)
            batch[(size_t)s * (size_t)length + (size_t)t] = rows[s].tokens[t < rows[s].n ? t : 0];
    HT_TRY(ht__engine_pass(e, batch, n, length, 0, diag));
    for (int s = 0; s < n; s++)
        HT_TRY(add_up(e, s, &rows[s], logits, diag));
    return HT_OK;
}

static enum ht_err score_all(struct ht__engine *e, struct ht__continuation *rows, size_t n, int n_seqs, int n_batch,
                             int32_t *batch, float *logits, ht__eval_tell_fn *tell, void *tell_ctx,
                             struct ht_diag *diag)
{
    for (size_t i = 0; i < n;) {
        int take = 0, length = 0;
        while (i + (size_t)take < n && take < n_seqs) {
            int longest = rows[i + (size_t)take].n > length ? rows[i + (size_t)take].n : length;
            if (take > 0 && longest > n_batch / (take + 1)) break;
            length = longest;
            take++;
        }
        HT_TRY(score_group(e, rows + i, take, length, batch, logits, diag));
        i += (size_t)take;
        if (tell && tell(tell_ctx, i)) return stopped(diag);
    }
    return HT_OK;
}

enum ht_err ht__score_continuations(struct ht__engine *e, struct ht__continuation *rows, size_t n, int n_seqs,
                                    int n_batch, ht__eval_tell_fn *tell, void *tell_ctx, const struct ht__alloc *alloc,
                                    struct ht_diag *diag)
{
    int32_t *batch = ht__new_array(alloc, (size_t)n_batch, sizeof *batch);
    float *logits = ht__new_array(alloc, ROWS, (size_t)ht__engine_hparams(e)->n_vocab * sizeof *logits);
    enum ht_err err = batch && logits ? score_all(e, rows, n, n_seqs, n_batch, batch, logits, tell, tell_ctx, diag)
                                      : ht__fail_memory(diag, "continuations");
    ht__free(alloc, batch);
    ht__free(alloc, logits);
    return err;
}
