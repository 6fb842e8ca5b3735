/*
 * --fit and --bpw: which matrix gets which type, so that the model loses least and its file, its memory or its bits meet
 * the budget exactly.
 *
 * 1. Of each matrix it is measured what two types cost the whole model (pipeline/sensitivity.h); other types lie on the
 *    line through both, by the errors that they make of the weights, in logarithms.
 * 2. The best types under the budget are found exactly (recipe/budget.h).
 * 3. That choice is run on held-out text, and so are some near it, and the named mix that should lose least of those that
 *    meet the budget. The one with the least divergence is taken.
 *
 * With less time the measuring is coarser: see enum ht__budget_way.
 *
 * Of a folder it is the same with schemes in the place of types (budget_scheme.c): the choice becomes rules, such as --rule
 * takes, and the folder is made by them. In the place of named mixes there is one scheme for all matrices.
 */
#ifndef HT_PIPELINE_BUDGET_H
#define HT_PIPELINE_BUDGET_H

#include "pipeline/plan.h"
#include "recipe/budget.h"

enum { HT__BUDGET_POINTS = 24, HT__BUDGET_TYPES = 32 };

/* How costs were measured. */
enum ht__budget_way {
    HT__BUDGET_TWO,    /* two types of each matrix, each run to the end of the model */
    HT__BUDGET_ONE,    /* one type of each */
    HT__BUDGET_LAYERS, /* a layer's matrices together; shared out by what each does to the stream behind its layer */
    HT__N_BUDGET_WAYS
};

/* One of several matrices of a folder that end alike. */
struct ht__budget_member {
    uint32_t native, item; /* of the plan */
};

/* A matrix that the budget chooses for; of a folder, those together that programs fuse. */
struct ht__budget_matrix {
    uint32_t weight; /* of the model; of a folder, none */
    struct ht__slot slot;
    size_t n;
    const struct ht__codec **types;           /* NULL: of a folder, which has */
    const struct ht__scheme_params **schemes; /* NULL among them: as in the source */
    const struct ht__budget_member *members;  /* of a folder, n_members */
    size_t n_members;
    double *bits;                      /* a weight, by type; 0: nothing is lost, or too little to be measured */
    struct ht__budget_option *options; /* bytes that count toward the budget, cost in nats a token */
    double *errors;                    /* of the rounded weights, by type */
    double *rounded;                   /* cost if it is rounded; that of options is after the method */
    size_t probes[2], n_probes;        /* types whose cost was measured */
    double measured[2];                /* that cost, rounded */
    bool unseen;                       /* the engine does not compute with it: it is as in the named mix */
};

/* Of a type in matrices of a role: what `best` leaves of the error, in logarithms. */
struct ht__budget_gain {
    double log_sum;
    int n;
};

struct ht__budget_plan {
    uint64_t limit; /* of what counts: bytes of the file, or of all tensors */
    uint64_t fixed; /* of that: what the budget does not choose */
    uint64_t size;  /* of the choice, as the limit counts */
    enum ht__budget_way way;
    struct ht__budget_matrix *matrices;
    size_t n;
    const struct ht__codec **types; /* by weight; NULL: as the mix has it; of a folder, not there */
    const struct ht__mix *mix;      /* the rest, and general.file_type; NULL: a folder */
    uint64_t n_weights;             /* over which bits are counted */
    /* of a folder: what there is beside leaving a matrix as it is; and the choice as rules */
    const struct ht__scheme_params *candidates;
    size_t n_candidates;
    struct ht__scheme_rule *rules;
    size_t n_rules;
    bool exact;
    bool measured;                                               /* a run; otherwise types are the mix's */
    struct ht__budget_gain gains[HT__N_ROLES][HT__BUDGET_TYPES]; /* by candidate */
    size_t n_tokens;
    /* of the choice, by the sum of costs; and measured; NAN: it was not */
    double estimated, divergence;
    const char *named; /* mix, or scheme of all matrices, beside it; NULL: none meets the budget */
    uint64_t named_size;
    double named_estimated, named_divergence;
    const char *taken; /* "solved", "swapped" or "named" */
    size_t n_tried;
    struct ht__budget_sum curve[HT__BUDGET_POINTS]; /* bytes with what is fixed */
    size_t n_curve;
};

/* Fills plan->budget, and gives the plan's output its mix. HT_ERR_LIMIT: nothing meets the budget; the smallest that can
 * is named. */
HT_MUST_CHECK enum ht_err ht__budget_choose(struct ht__plan *plan, struct ht_diag *diag);
void ht__budget_close(struct ht__budget_plan *b); /* or NULL */
/* The recipe as a file that --config takes, and where it is written, beside the model. */
void ht__budget_yaml(const struct ht__plan *plan, struct ht__buf *out);
const char *ht__budget_path(const struct ht__plan *plan, char *path, size_t size);
/* As the report's member "budget"; nothing where there is none. */
void ht__budget_put(struct ht__jw *w, const struct ht__plan *plan);
/* Size against loss as a plot of a page; ctx is the plan. */
void ht__budget_html(const void *ctx, struct ht__buf *out);

#endif
