/*
 * What the passes over a text have shown, pass by pass, so that some of them are made here and others elsewhere (eval --part,
 * --take-from). Of each scored token it is what the models' statistics are added up of; of layers the sums of the pass. They are
 * added in the order of the passes, whoever made them: the figures are those of one run, to the last digit.
 */
#ifndef HT_EVAL_PASSES_H
#define HT_EVAL_PASSES_H

#include "base/run.h"
#include "eval/divergence.h"

#include <stddef.h>

enum ht__pass_sum { HT__PASS_ERROR, HT__PASS_SIZE, HT__PASS_KLD, HT__PASS_SUMS };

struct ht__pass {
    size_t n;                       /* tokens; 0: nothing is known of it */
    struct ht__token_score *scores; /* n x models, the reference first */
    double *sums;                   /* HT__PASS_SUMS x models x layers; zero where a model's are not known */
};

struct ht__passes {
    const struct ht__alloc *alloc;
    struct ht__pass *at;
    size_t n, n_models, n_layers;
    size_t most;       /* tokens that a pass scores */
    char identity[65]; /* of models, text and how it is cut: only what belongs together is taken */
    size_t from, to;   /* passes that are made here; those that are known are not */
    bool keeps;        /* what is made here is kept */
};

HT_MUST_CHECK enum ht_err ht__passes_open(struct ht__passes *passes, const struct ht__alloc *alloc,
                                          struct ht_diag *diag);
void ht__passes_close(struct ht__passes *passes);
/* Room for a pass that is about to be made. */
HT_MUST_CHECK enum ht_err ht__pass_begin(const struct ht__passes *passes, struct ht__pass *pass, struct ht_diag *diag);
/* One token of all models. */
void ht__pass_add(const struct ht__passes *passes, struct ht__pass *pass, const struct ht__token_score *scores);

/* HT_ERR_USAGE: it is of other models, another text or another division. A pass that is known already stays as it is. */
HT_MUST_CHECK enum ht_err ht__passes_read(struct ht__passes *passes, const char *path, struct ht_diag *diag);
/* All that is known; overwrites. */
HT_MUST_CHECK enum ht_err ht__passes_write(const struct ht__passes *passes, const char *path, struct ht_diag *diag);

#endif
