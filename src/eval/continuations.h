/*
 * What a model says next: greedy continuations of prompts, how far another model agrees with them,
 * and how likely given continuations are.
 */
#ifndef HT_EVAL_CONTINUATIONS_H
#define HT_EVAL_CONTINUATIONS_H

#include "eval/perplexity.h"

/* n sequences of n_prompt tokens that are to be, or were, continued by n_new. */
struct ht__prompts {
    int n, n_prompt, n_new;
    int32_t *tokens; /* n x (n_prompt + n_new) */
};

/* Fills the continuations in. The engine has a cache and takes n sequences of n_prompt + n_new
 * tokens. */
HT_MUST_CHECK enum ht_err ht__continue_greedily(struct ht__engine *engine, struct ht__prompts *prompts,
                                                ht__eval_tell_fn *tell, void *tell_ctx, const struct ht__alloc *alloc,
                                                struct ht_diag *diag);
/*
 * By prompt, how many tokens of the continuation the engine's own greedy continuation has in common
 * from its start. One pass over the whole tells it: up to the first difference both have the same
 * tokens before them. The engine takes n_seqs sequences a pass and needs no cache.
 */
HT_MUST_CHECK enum ht_err ht__count_equal(struct ht__engine *engine, const struct ht__prompts *prompts, int n_seqs,
                                          int *equal, ht__eval_tell_fn *tell, void *tell_ctx,
                                          const struct ht__alloc *alloc, struct ht_diag *diag);

/* tokens[first …] are scored, after those before them; first is 1 or more. */
struct ht__continuation {
    const int32_t *tokens;
    int n, first;
    double log_likelihood; /* filled */
};

/* The engine takes n_seqs sequences and n_batch tokens a pass; no continuation is longer than
 * either n_batch or its context. tell counts continuations. */
HT_MUST_CHECK enum ht_err ht__score_continuations(struct ht__engine *engine, struct ht__continuation *rows, size_t n,
                                                  int n_seqs, int n_batch, ht__eval_tell_fn *tell, void *tell_ctx,
                                                  const struct ht__alloc *alloc, struct ht_diag *diag);

#endif
