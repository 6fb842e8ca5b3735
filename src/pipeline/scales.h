/*
 * Scales of AWQ (Lin et al., https://arxiv.org/abs/2306.00978) and of SmoothQuant (Xiao et al.,
 * https://arxiv.org/abs/2211.10438): before anything is quantized, the source becomes another model
 * that computes the same. Where the output of one operation is the input of matrices and of nothing else, its channels are
 * divided by scales, and the matrices' columns multiplied with them, so that columns with large activations fall on finer steps:
 *
 *   norm     -> what reads it: queries, keys, values; gate, up, experts, routers
 *   values   -> the output of attention, one scale for all heads that share a value
 *   up       -> down, where a gate multiplies it
 *
 * AWQ's s = rms(activations)^alpha. SmoothQuant's are for programs that round activations, too: s = max|activations|^alpha /
 * max|weights|^(1 - alpha), by columns, and inputs are rounded as well while alpha is looked for. alpha is the one with the least error of the layer's output, on a few windows of the
 * calibration text, when the matrices are rounded; and 0 unless windows that were held out lose less with it, too.
 * Scales of norms are such that the norm's new weights are numbers of their dtype: there the fold is exact.
 */
#ifndef HT_PIPELINE_SCALES_H
#define HT_PIPELINE_SCALES_H

#include "model/rows.h"
#include "pipeline/plan.h"

/* An edge of a layer, and what became of it. */
struct ht__edge {
    int32_t layer;
    enum ht__role from;
    const char *to;       /* constant */
    double alpha;         /* 0: it is left as it is */
    double without, with; /* squared error of the layer's output over its squares, on windows that were held out */
};

/* A weight of the source (of the checkpoint's own view), and its scales. */
struct ht__fold {
    const char *name;
    float *values, *rows, *columns;
};

struct ht__scales {
    struct ht__edge *edges;
    size_t n_edges;
    struct ht__fold *folds;
    size_t n_folds;
};

/* Does an output want it? */
bool ht__scales_wanted(const struct ht__pipeline_settings *settings);
/* Finds scales (in a run; otherwise none) and folds them into the plan's model. */
HT_MUST_CHECK enum ht_err ht__scales_find(struct ht__plan *plan, struct ht_diag *diag);
/* The same scales in another model of the same checkpoint. */
HT_MUST_CHECK enum ht_err ht__scales_fold(const struct ht__scales *scales, struct ht__model *model,
                                          struct ht_diag *diag);
/* The report's member. */
void ht__scales_put(struct ht__jw *w, const struct ht__plan *plan);

/* ---- for the files of the search ---- */

struct ht__engine;

/* An edge while it is looked for. */
struct ht__edge_search {
    struct ht__edge result;
    enum ht__site_kind sites[2];   /* whose matrices are multiplied; the second may be HT__SITE_NONE */
    int64_t n;                     /* columns */
    int64_t head, shared;          /* values -> output: columns of a head, heads that share a value; otherwise 0 */
    float *x;                      /* rms of the columns' activations; for SmoothQuant the largest */
    float *w;                      /* for SmoothQuant the columns' largest weights; otherwise NULL */
    float *s;                      /* scales of the columns */
    float offset;                  /* of a norm: it computes with weight + offset */
    float *norm;                   /* a norm's weights; NULL: it is a matrix that is divided by rows */
    const struct ht__codec *dtype; /* of the norm */
};

/* Edges of a layer whose weights can be scaled; how many. */
int ht__scales_edges(const struct ht__model *model, const struct ht__engine *engine, int layer, struct ht__arena *arena,
                     struct ht__edge_search edges[4], struct ht_diag *diag);
bool ht__edge_reads(const struct ht__edge_search *edge, const struct ht__weight *w);
/* Adds what an edge changes. */
HT_MUST_CHECK enum ht_err ht__scales_add(struct ht__scales *scales, const struct ht__model *model,
                                         const struct ht__edge_search *edge, struct ht__arena *arena,
                                         struct ht_diag *diag);

#endif
