/*
 * Importance as llama-imatrix collects it: for every weight matrix of the layers the sum of squares of each input
 * column, and how many rows were summed. Experts are summed and counted one by one. The output matrix only when
 * asked for; a tied one (the token embedding) never.
 *
 * Sums belong to sites: q, k and v see the same rows, which are added once. Files list them by weight, as llama.cpp's
 * tools do. A file of theirs may say something else of q than of k: from then on the two have sums of their own.
 *
 * Sums are doubles, added row by row in the order of the text, of each group of chunks from zero, and then group by group
 * (groups.h): they do not depend on threads, on how chunks are grouped into passes, on interruptions, or on how many machines
 * collect them.
 */
#ifndef HT_CALIBRATE_IMPORTANCE_H
#define HT_CALIBRATE_IMPORTANCE_H

#include "base/map.h"
#include "engine/engine.h"
#include "formats/imatrix_sums.h"

/* The sums of a site, or of a weight that a file gave sums of its own. */
struct ht__site_sums {
    struct ht__site site;            /* kind HT__SITE_NONE: of one weight */
    struct ht__sums sums;            /* without name */
    const struct ht__weight *adding; /* whose rows are added: those of the site's other weights are the same */
    uint32_t n_weights;              /* that they are the sums of */
};

struct ht__importance {
    const struct ht__alloc *alloc;
    struct ht__arena arena; /* names and sums */
    struct ht__map by_name; /* name -> index in weights */
    struct ht__map by_site; /* site -> index in sites */
    struct ht__importance_weight {
        const char *name;
        uint32_t site; /* index in sites */
    } * weights;
    size_t n, cap;
    struct ht__site_sums *sites;
    size_t n_sites, cap_sites;
    struct ht__sums *listed;
    struct ht__pool *pool;
    bool process_output;
    bool failed;     /* memory ran out */
    int skip_layers; /* of the pass that runs: counted before the interruption */
    int layers_done; /* of the pass that runs */
};

HT_MUST_CHECK enum ht_err ht__importance_open(struct ht__importance *imp, int n_threads, const struct ht__alloc *alloc,
                                              struct ht_diag *diag);
void ht__importance_close(struct ht__importance *imp);

/* Adds n_rows rows of n_in columns to the matrix `mat` of a weight: an engine's observer, ctx is the importance. */
void ht__importance_add(void *ctx, const struct ht__weight *weight, int64_t mat, const float *x, int64_t n_rows,
                        int64_t n_in);

/* What an unfinished run of the same model and text had summed: taken up before the first row is added. */
HT_MUST_CHECK enum ht_err ht__importance_resume(struct ht__importance *imp, const struct ht__model *model,
                                                const struct ht__sums_file *file, const char *where,
                                                struct ht_diag *diag);
/* Sums and counts of a file are added, weight by weight. `where` names it. */
HT_MUST_CHECK enum ht_err ht__importance_merge(struct ht__importance *imp, const struct ht__sums_file *file,
                                               const char *where, struct ht_diag *diag);
/* Sums of a group of chunks, of the same model, are added site by site (groups.h). */
HT_MUST_CHECK enum ht_err ht__importance_add_group(struct ht__importance *imp, const struct ht__importance *group,
                                                   struct ht_diag *diag);
/* Those of one weight, lent; i < imp->n. */
struct ht__sums ht__importance_at(const struct ht__importance *imp, size_t i);
/* Those of the weight of this name, lent. false: it has none. */
bool ht__importance_find(const struct ht__importance *imp, const char *name, struct ht__sums *sums);
/* Sorts by name and lends the sums, until the next call: those of a site's weights are the same arrays. */
HT_MUST_CHECK enum ht_err ht__importance_list(struct ht__importance *imp, struct ht__sums_file *out,
                                              struct ht_diag *diag);
/* Chunks that the sums are of: of the matrix that saw most. */
uint32_t ht__importance_chunks(const struct ht__importance *imp, uint32_t chunk_size);

/* ---- collecting ---- */

/* Tokens done, after every layer in proportion. */
typedef void ht__collect_tell_fn(void *ctx, uint64_t tokens);
/* After a pass: all sums are whole. */
typedef enum ht_err ht__collect_pass_fn(void *ctx, size_t passes, struct ht_diag *diag);

struct ht__collect_params {
    const int32_t *tokens; /* n_chunks x n_ctx */
    size_t n_chunks;
    int n_ctx, n_seqs;          /* chunks a pass, as the engine was opened */
    int32_t bos;                /* takes the place of each chunk's first token; -1: none */
    struct ht__sums_state from; /* passes and layers that the sums hold already */
    ht__collect_tell_fn *tell;
    ht__collect_pass_fn *pass;
    void *ctx;
};

/* Runs the chunks through the engine. When it is cancelled the sums stand as `at` says: go on from there. */
HT_MUST_CHECK enum ht_err ht__collect(struct ht__engine *engine, struct ht__importance *imp,
                                      const struct ht__collect_params *params, struct ht__sums_state *at,
                                      struct ht_diag *diag);

#endif
