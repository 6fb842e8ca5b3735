/* The inside of the layers driver, for its files. */
#ifndef HT_PIPELINE_LAYERS_PARTS_H
#define HT_PIPELINE_LAYERS_PARTS_H

#include "calibrate/calibration.h"
#include "calibrate/site.h"
#include "engine/engine.h"
#include "methods/best.h"
#include "pipeline/layers_driver.h"

enum {
    HT__MOST_HELD = 4096,   /* rows that are kept of a site */
    HT__MOST_JUDGED = 2048, /* tokens that an embedding is judged by, or one chunk */
    HT__MOST_STAGES = 32,   /* sites of a layer */
};

/* A residual stream on its way through the layer at hand, of all tokens. */
struct ht__flow {
    float *x; /* n_tokens x n_embd */
    enum ht__mark mark;
};

/*
 * An output on its way through the layers. The model is run in the GGUF view; the matrices of a folder are those of the native
 * view, whose rows may lie in another order, or are parts of what the model is run with.
 */
struct ht__course {
    struct ht__plan_output *out;
    struct ht__chosen *chosen; /* out->chosen, to be filled */
    struct ht__flow flow;      /* as the model quantized so far has it */
    /* What that model has in the layer at hand, where it is not what the float model has: by item the encoded rows, which are
     * those in chosen or in `rounded`; */
    const void **rows;
    void **rounded;
    /* of a folder by weight the floats, and by item the same of its own matrices; otherwise NULL. */
    float **weights, **native;
    bool *used; /* by item: the model that is run has it */
    /* Where a site is looked at without what was chosen for those before it in the layer: the stream at the layer's start, and
     * that the layer is run for that just now. NULL: with it. */
    float *start;
    bool unchosen;
    struct ht__plan *plan;
};

/* A site of the layer at hand. */
struct ht__stage {
    struct ht__site site;
    const struct ht__weight *first; /* the first of its matrices that the layer multiplies with */
    enum ht__mark mark;             /* the last one before it */
    bool kept;                      /* its input is what is kept there */
    double share;      /* of its products in the residual stream; 0: they are not added to it as they are */
    const float *bias; /* that is added to them; NULL: nothing */
    /* The first mark behind it, where the residual stream has the products and nothing else beside; HT__MARK_START: there is none. */
    enum ht__mark behind;
    bool learnt; /* importance of the site is known */
};

struct ht__layers {
    struct ht__plan *plan;
    const struct ht__journal *journal;
    struct ht__stream *stream;
    struct ht__calibration cal;
    struct ht__engine *engine;
    struct ht__pool *pool;
    const struct ht__ops *ops;
    int64_t n_embd, n_tokens; /* of the text */
    struct ht__flow flow;     /* as the float model has it */
    float *rows[2];    /* what is kept at a mark, of the float model and of one output at a time; NULL: too large */
    int64_t most_kept; /* floats a token in these */
    struct ht__course *courses;
    size_t n_courses, n_starts, n_folders; /* of those with a start, and that are folders: for the memory */
    struct ht__stage stages[HT__MOST_STAGES];
    size_t n_stages;
    struct ht__importance sums; /* where importance comes from what is looked at (plan->importance_later) */
    bool learnt;                /* of all that the layer at hand multiplies with */
    bool learnt_experts;        /* of its experts */
    struct ht__route *routes;   /* of all tokens, n_used each, in the layer at hand; NULL: there are no experts */
    bool routed;                /* they are known */
    int n_used;                 /* experts of a token */
    bool says_wanted;           /* the residual stream says what matrices that add to it give: for the memory */
    struct ht__progress progress;
    double done, step;      /* tokens through all layers; what a stage of an output adds */
    double most_done, told; /* at the end of this layer; so far, to who watches */
};

/* The outputs that are made so, each with a residual stream of d->n_tokens. */
HT_MUST_CHECK enum ht_err ht__courses_open(struct ht__layers *d, struct ht_diag *diag);
/* Is it one matrix by itself, in a form whose codes the method can choose? Stacks of experts and of heads are not. */
bool ht__course_can_choose(const struct ht__course *course, const struct ht__weight *w, size_t item);

/* layers_kept.c: the same by statistics that `calibrate` kept: the model is not run, and a layer is not corrected for what
 * those before it lost. Bytes for what is read of a layer. */
HT_MUST_CHECK enum ht_err ht__layers_run_kept(struct ht__layers *d, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__layers_kept_memory(const struct ht__plan *plan, uint64_t *total, struct ht_diag *diag);

/* The rows of the residual stream x that a pass from this chunk on takes, and how many chunks it takes. */
float *ht__layers_rows(const struct ht__layers *d, float *x, size_t chunk);
int ht__layers_seqs(const struct ht__layers *d, size_t chunk);
/* What the course has in the place of the model's weights: an ht__replace_fn. */
struct ht__replacement ht__course_weight(void *course, const struct ht__weight *weight);
/* Share of the pass at hand; HT_ERR_CANCELLED. */
HT_MUST_CHECK enum ht_err ht__layers_tell(struct ht__layers *d, double share, const char *what, struct ht_diag *diag);

/* layers_flow.c: moves a residual stream to a mark of the layer, of which it is at an earlier one; course NULL: of the float
 * model. Tells the progress this share of a step. */
HT_MUST_CHECK enum ht_err ht__layers_move(struct ht__layers *d, struct ht__course *course, int layer, enum ht__mark to,
                                          double share, struct ht_diag *diag);
/* May a stream be left at the mark, and is there memory for what is kept there? */
bool ht__layers_can_stop(const struct ht__layers *d, int layer, enum ht__mark mark);
/* The first of these behind one. */
enum ht__mark ht__layers_next_mark(const struct ht__layers *d, int layer, enum ht__mark mark);
/* Floats a token that are kept at the widest mark that is worth it; bytes for so many of all tokens. */
int64_t ht__layers_widest_kept(const struct ht__layers *d);
/* layers_memory.c: bytes beside the engine's. */
uint64_t ht__layers_besides(const struct ht__layers *d);
/* Rows that are kept of a site to judge by: those of the windows that are held out, HT__MOST_HELD at most. */
int64_t ht__layers_most_held(const struct ht__layers *d);
uint64_t ht__layers_kept_bytes(const struct ht__layers *d, int64_t width);

/* layers_importance.c: importance from what is looked at. Of the whole layer, by a pass of the float model, where that is needed
 * before its sites are looked at; of one site: rows of it, then that these were all. */
HT_MUST_CHECK enum ht_err ht__layers_learn(struct ht__layers *d, int layer, struct ht_diag *diag);
void ht__layers_learn_rows(struct ht__layers *d, const struct ht__stage *stage, const float *x, int64_t n_rows);
HT_MUST_CHECK enum ht_err ht__layers_learnt(struct ht__layers *d, struct ht__stage *stage, struct ht_diag *diag);
/* Are codes of the item chosen at a site of the layer at hand? */
bool ht__course_chooses(const struct ht__layers *d, const struct ht__course *course, size_t item);

/* What was learnt is the layer's importance. */
HT_MUST_CHECK enum ht_err ht__layers_settle(struct ht__layers *d, int layer, struct ht_diag *diag);

/* layers_experts.c: is the site one of experts, and is the matrix a stack of theirs whose codes are chosen? Chooses those of a
 * site; the streams are at its mark, or before. Bytes for experts with the inputs of w. */
bool ht__layers_of_experts(const struct ht__stage *stage);
bool ht__course_chooses_experts(const struct ht__course *course, const struct ht__weight *w, size_t item);
HT_MUST_CHECK enum ht_err ht__layers_choose_experts(struct ht__layers *d, struct ht__course *course,
                                                    const struct ht__stage *stage, struct ht_diag *diag);
uint64_t ht__layers_expert_bytes(const struct ht__layers *d, const struct ht__weight *w);

/* layers_site.c: finds the sites of a layer; statistics of one of them, for a course. */
HT_MUST_CHECK enum ht_err ht__layers_find(struct ht__layers *d, int layer, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__layers_look(struct ht__layers *d, struct ht__course *course, struct ht__stage *stage,
                                          struct ht__site_stats *site, struct ht_diag *diag);
/* The same of the output matrix, behind the last layer. */
HT_MUST_CHECK enum ht_err ht__layers_look_at_end(struct ht__layers *d, const struct ht__course *course,
                                                 struct ht__stage *stage, struct ht__site_stats *site,
                                                 struct ht_diag *diag);

/* layers_embedding.c: chooses the output's embedding, and starts its residual stream with it. */
HT_MUST_CHECK enum ht_err ht__course_embed(struct ht__layers *d, struct ht__course *course, struct ht_diag *diag);

/* Is it a matrix of the layer that the output holds? */
const struct ht__weight *ht__course_matrix(const struct ht__course *course, size_t item, int layer);
/* The order that the output's method works on columns in. */
struct ht__order ht__course_order(const struct ht__course *course);
/* The site of the layer at hand whose input the matrix takes; NULL: none of those. */
const struct ht__stage *ht__layers_stage(const struct ht__layers *d, const struct ht__weight *w);

/* layers_weights.c */
/* Rows of a weight of the source; thread-safe. */
HT_MUST_CHECK enum ht_err ht__layers_read(const struct ht__weight *w, int64_t row, int64_t n, float *dst,
                                          struct ht_diag *diag);
/* Does the output hold the item in a form that its values change in? */
bool ht__course_changes(const struct ht__course *course, size_t item);
/* Makes the item's rows, or floats, as its encoder would, */
HT_MUST_CHECK enum ht_err ht__course_round(struct ht__layers *d, struct ht__course *course, size_t item,
                                           struct ht_diag *diag);
/* or by the method, with chosen[item], */
HT_MUST_CHECK enum ht_err ht__course_choose(struct ht__layers *d, struct ht__course *course, size_t item,
                                            struct ht__best *best, double share, struct ht_diag *diag);
/* or, of a stack, one expert's by the method: n_rows tokens were learnt from; after the last, that it is whole; */
HT_MUST_CHECK enum ht_err ht__course_choose_expert(struct ht__layers *d, struct ht__course *course, size_t item,
                                                   int expert, struct ht__best *best, int64_t n_rows,
                                                   struct ht_diag *diag);
void ht__course_chose_experts(struct ht__course *course, size_t item);
/* or as an earlier run wrote them. */
HT_MUST_CHECK enum ht_err ht__course_read_back(struct ht__layers *d, struct ht__course *course, size_t item,
                                               struct ht_diag *diag);
/* Frees what a layer held. */
void ht__course_forget(struct ht__course *course);

/* layers_native.c: gives the model that is run the floats of a folder's matrices, of one site or of the whole layer (NULL). */
HT_MUST_CHECK enum ht_err ht__course_follow(struct ht__course *course, int layer, const struct ht__stage *stage,
                                            struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__native_round(struct ht__course *course, size_t item, float *x, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__native_read_back(struct ht__course *course, size_t item, float *x, struct ht_diag *diag);

#endif
