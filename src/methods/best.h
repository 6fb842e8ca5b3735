/*
 * The method "best": a matrix's codes, in a type of GGUF files or a scheme of folders, are chosen so that the quantized model's own activations q
 * give what the float model's f give, on the tokens of a calibration text.
 *
 *   Y = f W' + r / share                  r: what the residual stream lacks so far, for matrices that add to it
 *   W* = argmin |Y - q W*'|^2 + damping |W* - W|^2
 *   scales: as the type's own encoder, or the scheme, fits them to W*; codes: error feedback on W* over what they can say,
 *   then exact sweeps
 *
 * Several such candidates (and the weights rounded) are made of each matrix; the one with the least |Y - q W^'|^2
 * on held-out tokens is taken.
 */
#ifndef HT_METHODS_BEST_H
#define HT_METHODS_BEST_H

#include "calibrate/site.h"
#include "base/arena.h"
#include "methods/coder.h"
#include "methods/factor.h"

struct ht__best;

enum {
    HT__BEST_SPEND = 1, /* nothing else is made of the site: its gram and cross are freed as soon as they are copied */
    /* For wide sites: one factor at a time, made again for each matrix, and the products with the stream as floats. */
    HT__BEST_LEAN = 2,
};
/* HT__BEST_LEAN, or 0 where memory does not ask for it. */
int ht__best_lean(int64_t n_in);
/* Bytes that are held between ht__best_open and ht__best_close, and that making it takes beside the site's. */
uint64_t ht__best_bytes(int64_t n_in, int64_t n_stream, bool cross);

/* Of a finished site, for all of its matrices. how: HT__BEST_… */
HT_MUST_CHECK enum ht_err ht__best_open(struct ht__site_stats *site, int how, struct ht__order order,
                                        const struct ht__ops *ops, struct ht__pool *pool, const struct ht__alloc *alloc,
                                        struct ht__best **out, struct ht_diag *diag);
void ht__best_close(struct ht__best **best);

/* Groups of columns that are about as large: the group of each, n_in numbers. `group` columns in each; divides n_in. */
void ht__best_group(const struct ht__best *best, int64_t group, int32_t *column_group);

struct ht__best_matrix {
    const struct ht__coder *coder; /* of n_out x n_in */
    const float *w;                /* n_out x n_in; NULL: */
    /* n rows of it from `row` on; thread-safe */
    enum ht_err (*read)(const void *ctx, int64_t row, int64_t n, float *dst, struct ht_diag *diag);
    const void *ctx;
    const float *importance; /* for rounding: n_in, or NULL */
    double share; /* of the products in the residual stream (site->n_stream is n_out then); 0: not corrected */
    /* results */
    void *coded;          /* coder->size bytes */
    float *decoded;       /* n_out x n_in; NULL: not wanted */
    const char *taken;    /* the candidate: constant */
    double before, after; /* the error of rounding and of what was taken, as shares of |Y|^2 on held-out tokens */
};
HT_MUST_CHECK enum ht_err ht__best_matrix(struct ht__best *best, struct ht__best_matrix *m, struct ht_diag *diag);

#endif
