/* Limits on quality: "kld>0.05" is broken by a larger divergence. */
#ifndef HT_EVAL_LIMIT_H
#define HT_EVAL_LIMIT_H

#include "base/err.h"

#include <stdbool.h>

/* Columns: name in a limit, identifier. */
#define HT_FIGURES(X)                                                                                                  \
    X("kld", KLD)                                                                                                      \
    X("kld_median", KLD_MEDIAN)                                                                                        \
    X("kld_p99", KLD_P99)                                                                                              \
    X("kld_max", KLD_MAX)                                                                                              \
    X("top1", TOP1) X("ppl_ratio", PPL_RATIO) X("perplexity", PERPLEXITY) X("retention", RETENTION)

enum ht__figure {
#define HT_FIGURE(name, id) HT__FIGURE_##id,
    HT_FIGURES(HT_FIGURE)
#undef HT_FIGURE
        HT__N_FIGURES
};

struct ht__limit {
    enum ht__figure figure;
    bool above; /* broken above the value; otherwise below it */
    double value;
    const char *text; /* as it was given */
};

const char *ht__figure_name(enum ht__figure figure);
HT_MUST_CHECK enum ht_err ht__limit_parse(const char *text, struct ht__limit *limit, struct ht_diag *diag);
/* NaN breaks every limit. */
bool ht__limit_broken(const struct ht__limit *limit, double value);

#endif
