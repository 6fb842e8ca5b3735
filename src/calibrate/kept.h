/*
 * Statistics that are kept for many runs: a folder that `halftone calibrate` writes.
 *
 *   statistics.json            the model's fingerprint, the texts, and of each layer its sites and the file's SHA-256
 *   layer-0000.safetensors …   of each site (model/slot.h), all doubles but the last:
 *     NAME.squares, .sums, .magnitudes   [n_mat, n_in]   sums of x², x and |x| over the rows, by matrix (expert) and column
 *     NAME.gram                          n_in (n_in + 1) / 2: the lower triangle, by rows, of the sum of x x' over those
 *                                        rows that are not held out
 *     NAME.held_out                      [rows, n_in] floats: rows to judge by what was made of the others
 *   output.safetensors         the same of the output matrix, where it is one of its own
 *
 * Of a part of the text (calibrate --part) a folder has such files for each group of chunks (groups.h) instead,
 * layer-0000.group-01.safetensors …, whose grams are floats: what a group adds is rounded to them wherever it is summed, so that
 * parts take half the space.
 *
 * Rows are tokens, the first of each chunk left out: it is the same everywhere, and models send it activations like no
 * others. An expert's rows are the tokens that it was sent, all of them; experts have no gram and no rows held out.
 */
#ifndef HT_CALIBRATE_KEPT_H
#define HT_CALIBRATE_KEPT_H

#include "base/json_write.h"
#include "base/run.h"
#include "formats/imatrix_sums.h"
#include "model/model.h"

enum { HT__KEPT_HELD = 4096, HT__KEPT_PATH = 4300 }; /* rows that are held out of a site; of a file's path */

struct ht__kept_site {
    struct ht__site site;
    uint64_t n_in, n_mat;
    const char **weights; /* of the GGUF view, that take it */
    size_t n_weights;
    double *rows; /* n_mat: how many */
    double *squares, *sums, *magnitudes;
    bool dense; /* it has a gram, and rows held out */
    double *gram;
    uint64_t gram_rows, n_held;
    float *held;
};

struct ht__kept_layer {
    int32_t layer;  /* -1: the output */
    uint32_t group; /* of chunks, from 1; 0: of all */
    struct ht__kept_site *sites;
    size_t n;
    char sha256[65];
};

struct ht__kept_text {
    const char *name;
    char sha256[65]; /* of the tokens as they were run */
    uint64_t seed, chunks, ctx;
};

struct ht__kept {
    const char *path; /* lent */
    const char *arch;
    char model[65]; /* its fingerprint */
    struct ht__kept_text *texts;
    size_t n_texts;
    /* Of a part: the groups from <= group < to of n_groups, from 0; n_groups 0: of the whole text. */
    uint32_t n_groups, from_group, to_group;
    struct ht__kept_layer *layers; /* without arrays, but weights and rows; of a part for each layer its groups */
    size_t n_layers;
    struct ht__arena arena;
};

/*
 * What a model is, whatever files hold it: its architecture, and of every weight its name, shape and some rows as floats. The
 * same numbers in a folder and in a GGUF file are the same model.
 */
HT_MUST_CHECK enum ht_err ht__fingerprint(const struct ht__model *model, char hex[65], struct ht_diag *diag);

/* Is the path a folder of statistics? */
bool ht__kept_is_there(const char *path);
/* Reads and checks statistics.json, and that each file has its size. Close it on failure too. */
HT_MUST_CHECK enum ht_err ht__kept_open(struct ht__kept *kept, const char *path, const struct ht__alloc *alloc,
                                        struct ht_diag *diag);
void ht__kept_close(struct ht__kept *kept);
/* HT_ERR_USAGE: they are another model's, or of a part of the text. */
HT_MUST_CHECK enum ht_err ht__kept_check(const struct ht__kept *kept, const struct ht__model *model,
                                         struct ht_diag *diag);
/* Reads the arrays of a layer into the arena, the whole of them (`all`; the file's SHA-256 is checked then) or without gram and
 * rows held out. Numbers that are none are HT_ERR_FORMAT. */
HT_MUST_CHECK enum ht_err ht__kept_read(const struct ht__kept *kept, size_t layer, bool all, struct ht__arena *arena,
                                        struct ht__kept_layer *out, struct ht_diag *diag);
/* Squares of all sites by weight, sorted by name, as an importance file has them. */
HT_MUST_CHECK enum ht_err ht__kept_importance(const struct ht__kept *kept, struct ht__arena *arena,
                                              struct ht__sums_file *out, struct ht_diag *diag);

/* Bytes of a layer's file. */
uint64_t ht__kept_bytes(const struct ht__kept_layer *layer);

/*
 * A folder in the making, as "PATH.part": it takes its name when it is whole. Closing it without that removes it.
 * HT_ERR_EXISTS: the path is there, and is not to be overwritten or is no folder of statistics.
 */
struct ht__keeper {
    char path[HT__KEPT_PATH], part[HT__KEPT_PATH];
    const struct ht__alloc *alloc;
    bool begun, published;
    struct ht__buf layers; /* their part of statistics.json */
};
HT_MUST_CHECK enum ht_err ht__keeper_open(struct ht__keeper *keeper, const char *path, bool overwrite,
                                          const struct ht__alloc *alloc, struct ht_diag *diag);
/* Layers in their order. */
HT_MUST_CHECK enum ht_err ht__keeper_put(struct ht__keeper *keeper, const struct ht__kept_layer *layer,
                                         struct ht_diag *diag);
/* `about`: arch, model and texts. */
HT_MUST_CHECK enum ht_err ht__keeper_publish(struct ht__keeper *keeper, const struct ht__kept *about,
                                             struct ht_diag *diag);
void ht__keeper_close(struct ht__keeper *keeper);

/* The same in pieces for both: name of a site and of a layer's file; the head of that file. */
const char *ht__kept_site_name(enum ht__site_kind kind);
void ht__kept_file_name(const struct ht__kept_layer *layer, char name[48]);
void ht__kept_head(const struct ht__kept_layer *layer, struct ht__buf *out);

#endif
